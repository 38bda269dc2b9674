//! A command that does what its arguments say, one after another, as `step` or `step=value`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

fn main() {
    for argument in std::env::args().skip(1) {
        let (step, value) = argument.split_once('=').unwrap_or((&argument, ""));
        take(step, value);
    }
}

fn take(step: &str, value: &str) {
    match step {
        "print" => println!("{value}"),
        "warn" => eprintln!("{value}"),
        "env" => println!("{value}={}", std::env::var(value).unwrap_or_default()),
        "args" => println!("{:?}", std::env::args().collect::<Vec<_>>()),
        "cat" => print!("{}", said(std::fs::read_to_string(value))),
        "ls" => println!("{}", listing(value)),
        "write" => write_file(value),
        "sleep" => std::thread::sleep(Duration::from_millis(number(value))),
        "forever" => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        "exit" => std::process::exit(i32::try_from(number(value)).unwrap_or(1)),
        "trap" => std::process::abort(),
        "spin" => spin(),
        "eat" => eat(number(value)),
        "resolve" => println!("{}", resolve(value)),
        "ask" => println!("{}", ask(value)),
        "serve" => serve(value),
        "once" => once(value),
        other => println!("no such step: {other}"),
    }
}

fn said(result: std::io::Result<String>) -> String {
    result.unwrap_or_else(|error| format!("error: {error}\n"))
}

fn number(value: &str) -> u64 {
    value.parse().unwrap_or(0)
}

fn listing(path: &str) -> String {
    let Ok(entries) = std::fs::read_dir(path) else { return format!("cannot list {path}") };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with(".."))
        .collect();
    names.sort();
    names.join(" ")
}

/// `path:text`
fn write_file(value: &str) {
    let (path, text) = value.split_once(':').unwrap_or((value, ""));
    match std::fs::write(path, text) {
        Ok(()) => println!("wrote {path}"),
        Err(error) => println!("cannot write {path}: {error}"),
    }
}

/// Fails the first time and does nothing from then on: a file remembers.
fn once(path: &str) {
    if std::fs::metadata(path).is_err() {
        std::fs::write(path, "").ok();
        std::process::exit(1);
    }
}

fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}

fn eat(megabytes: u64) {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    for _ in 0..megabytes {
        eaten.push(vec![1; 1 << 20]);
    }
    println!("ate {} MiB", std::hint::black_box(&eaten).len());
}

fn resolve(name: &str) -> String {
    match (name, 80).to_socket_addrs() {
        Ok(addresses) => {
            addresses.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("cannot resolve {name}: {error}"),
    }
}

/// Connects to `host:port`, says hello, prints what comes back.
fn ask(address: &str) -> String {
    let answer = TcpStream::connect(address).and_then(|mut stream| {
        stream.write_all(b"hello\n")?;
        let mut answer = [0; 64];
        let count = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..count]).trim().to_owned())
    });
    answer.unwrap_or_else(|error| format!("cannot ask {address}: {error}"))
}

/// Answers every connection with its pod's name and what was said.
fn serve(port: &str) {
    let name = std::env::var("HOSTNAME").unwrap_or_default();
    let listener = match TcpListener::bind(format!("0.0.0.0:{port}")) {
        Ok(listener) => listener,
        Err(error) => return println!("cannot listen: {error}"),
    };
    println!("listening");
    for connection in listener.incoming() {
        let served = connection.and_then(|mut stream| {
            let mut said = [0; 64];
            let count = stream.read(&mut said)?;
            let said = String::from_utf8_lossy(&said[..count]);
            stream.write_all(format!("{name}: {said}").as_bytes())
        });
        if let Err(error) = served {
            println!("connection lost: {error}");
        }
    }
}
