//! One program for all tests of commands: the first argument says what to do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let arg = |index: usize| args.get(index).map(String::as_str).unwrap_or_default();
    match arg(1) {
        "hello" => {
            println!("hello {}", std::env::var("NAME").unwrap_or_default());
            eprintln!("to stderr");
        }
        "place" => {
            let mut env: Vec<_> = std::env::vars().collect();
            env.sort();
            let mounts = wasip2::filesystem::preopens::get_directories();
            println!("{args:?}");
            println!("{env:?}");
            println!("{:?}", wasip2::cli::environment::initial_cwd());
            println!("{:?}", mounts.iter().map(|(_, path)| path).collect::<Vec<_>>());
        }
        "cat" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).unwrap();
            print!("{text}");
        }
        "exit" => std::process::exit(arg(2).parse().unwrap()),
        "exit-with-code" => wasip2::cli::exit::exit_with_code(arg(2).parse().unwrap()),
        "panic" => panic!("on purpose"),
        "spin" => {
            println!("spinning");
            let mut n = 0u64;
            loop {
                n = std::hint::black_box(n.wrapping_add(1));
            }
        }
        "sleep" => {
            println!("sleeping");
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
        "burn" => burn(std::time::Duration::from_millis(arg(2).parse().unwrap())),
        "bomb" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1u8; 1 << 20]);
                std::hint::black_box(&all);
            }
        }
        "write" => match std::fs::write(arg(2), arg(3)) {
            Ok(()) => println!("written"),
            Err(error) => println!("error {:?}", error.kind()),
        },
        "read" => match std::fs::read_to_string(arg(2)) {
            Ok(text) => println!("{text}"),
            Err(error) => println!("error {:?}", error.kind()),
        },
        "serve" => serve(arg(2)),
        "ask" => ask(arg(2), arg(3)),
        "connect" => match TcpStream::connect(arg(2)) {
            Ok(_) => println!("connected"),
            Err(error) => println!("error {:?}", error.kind()),
        },
        "send-bytes" => send_bytes(arg(2), arg(3).parse().unwrap()),
        "bind" => match TcpListener::bind(arg(2)) {
            Ok(listener) => println!("bound {}", listener.local_addr().unwrap()),
            Err(error) => println!("error {:?}", error.kind()),
        },
        "resolve" => match (arg(2), 0).to_socket_addrs() {
            Ok(found) => found.for_each(|address| println!("{}", address.ip())),
            Err(error) => println!("error {error}"),
        },
        "udp-serve" => udp_serve(arg(2)),
        "udp-ask" => udp_ask(arg(2), arg(3)),
        other => panic!("unknown task {other:?}"),
    }
}

/// Works for as long as this much work takes, whatever else the clock says.
fn burn(work: std::time::Duration) {
    let begun = std::time::Instant::now();
    let mut n = 0u64;
    while begun.elapsed() < work {
        for _ in 0..1000 {
            n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(7));
        }
    }
    println!("burnt");
}

/// Echoes each connection until its end, one after another.
fn serve(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    println!("listening {}", listener.local_addr().unwrap());
    loop {
        let (mut stream, peer) = listener.accept().unwrap();
        println!("accepted {peer}");
        let mut buffer = [0; 16 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(n) => stream.write_all(&buffer[..n]).unwrap(),
            }
        }
    }
}

fn ask(address: &str, question: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(question.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    println!("{answer} from {}", stream.peer_addr().unwrap());
}

fn send_bytes(address: &str, count: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    let chunk = vec![7u8; 50_000];
    let mut left = count;
    while left > 0 {
        let n = left.min(chunk.len());
        stream.write_all(&chunk[..n]).unwrap();
        left -= n;
    }
    println!("sent");
}

fn udp_serve(address: &str) {
    let socket = UdpSocket::bind(address).unwrap();
    println!("bound {}", socket.local_addr().unwrap());
    let mut buffer = [0; 2048];
    loop {
        let (n, from) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&buffer[..n], from).unwrap();
    }
}

fn udp_ask(address: &str, question: &str) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let to = address.to_socket_addrs().unwrap().next().unwrap();
    socket.send_to(question.as_bytes(), to).unwrap();
    let mut buffer = [0; 2048];
    let (n, from) = socket.recv_from(&mut buffer).unwrap();
    println!("{} from {from}", String::from_utf8_lossy(&buffer[..n]));
}
