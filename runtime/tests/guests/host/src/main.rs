//! A command that uses what the host offers beyond WASI's core, and the parts of the core that nobody else uses.

wit_bindgen::generate!({ path: "wit", world: "host", generate_all });

use wasi::config::store as config;
use wasi::keyvalue::store::{self, Bucket};
use wasi::keyvalue::{atomics, batch};
use wasi::logging::logging::{Level, log};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let arg = |index: usize| args.get(index).map(String::as_str).unwrap_or_default();
    match arg(1) {
        "config" => {
            println!("{:?}", config::get(arg(2)).unwrap());
            let mut all = config::get_all().unwrap();
            all.sort();
            println!("{all:?}");
        }
        "log" => {
            log(Level::Info, "guest", "one line");
            log(Level::Critical, "", "two\nlines\n");
        }
        "set" => open(arg(2)).set(arg(3), arg(4).as_bytes()).unwrap(),
        "get" => println!("{:?}", text(open(arg(2)).get(arg(3)).unwrap())),
        "pairs" => pairs(),
        "fill" => fill(),
        "core" => core(),
        other => panic!("unknown step {other}"),
    }
}

fn open(name: &str) -> Bucket {
    store::open(name).unwrap()
}

fn text(bytes: Option<Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8(bytes).unwrap())
}

fn pairs() {
    let bucket = open("pairs");
    assert!(bucket.get("a").unwrap().is_none());
    bucket.set("a", b"1").unwrap();
    assert!(bucket.exists("a").unwrap() && !bucket.exists("b").unwrap());
    assert!(!open("other").exists("a").unwrap());
    assert_eq!(atomics::increment(&bucket, "a", 41).unwrap(), 42);
    assert_eq!(text(bucket.get("a").unwrap()).unwrap(), "42");
    bucket.set("word", b"x").unwrap();
    assert!(matches!(atomics::increment(&bucket, "word", 1), Err(store::Error::Other(_))));

    let many: Vec<_> = (0..2500).map(|n| (format!("k{n}"), vec![1])).collect();
    batch::set_many(&bucket, &many).unwrap();
    let got = batch::get_many(&bucket, &["k7".to_owned(), "none".to_owned()]).unwrap();
    assert_eq!(got, [Some(("k7".to_owned(), vec![1])), None]);
    let (mut keys, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = bucket.list_keys(cursor).unwrap();
        keys.extend(page.keys);
        pages += 1;
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 2502);
    assert!(pages > 1);
    batch::delete_many(&bucket, &keys).unwrap();
    assert!(bucket.list_keys(None).unwrap().keys.is_empty());
    assert!(matches!(store::open(&"x".repeat(5000)), Err(store::Error::NoSuchStore)));
    println!("well");
}

/// Sets more and more until the host has had enough.
fn fill() {
    let bucket = open("full");
    let value = vec![0; 1 << 20];
    let mut sets = 0;
    let error = loop {
        match bucket.set(&sets.to_string(), &value) {
            Ok(()) => sets += 1,
            Err(error) => break error,
        }
        assert!(sets < 1000, "there is no bound");
    };
    println!("{sets} {error:?}");
}

fn core() {
    let bytes = wasip2::random::insecure::get_insecure_random_bytes(8);
    assert_eq!(bytes.len(), 8);
    assert_ne!(
        wasip2::random::random::get_random_bytes(16),
        wasip2::random::random::get_random_bytes(16)
    );
    let (_, _) = wasip2::random::insecure_seed::insecure_seed();
    assert!(wasip2::cli::terminal_stdin::get_terminal_stdin().is_none());
    assert!(wasip2::cli::terminal_stdout::get_terminal_stdout().is_none());
    assert!(wasip2::cli::terminal_stderr::get_terminal_stderr().is_none());
    println!("well");
}
