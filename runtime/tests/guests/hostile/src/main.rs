//! A command that does its host harm where it can: the first argument says how.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp_create_socket::create_udp_socket;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let arg = |index: usize| args.get(index).map(String::as_str).unwrap_or_default();
    let number = |index: usize| arg(index).parse::<usize>().unwrap();
    match arg(1) {
        "spin" => {
            println!("attacking");
            loop {
                black_box(0);
            }
        }
        "recurse" => {
            println!("attacking");
            println!("{}", recurse(args.len() as u64));
        }
        "grow" => {
            println!("attacking");
            let mut all = Vec::new();
            loop {
                all.push(vec![1u8; 1 << 20]);
                black_box(&all);
            }
        }
        "fill" => {
            let mut memory = vec![0u8; number(2) << 20];
            memory.fill(1);
            println!("attacking");
            let mut byte = 0u8;
            loop {
                byte = byte.wrapping_add(1);
                memory.fill(byte);
                black_box(&memory);
            }
        }
        "copy" => {
            let mut memory = vec![1u8; number(2) << 20];
            println!("attacking");
            let half = memory.len() / 2;
            loop {
                memory.copy_within(..half, half);
                black_box(&memory);
            }
        }
        "random" => {
            println!("attacking");
            loop {
                black_box(wasip2::random::random::get_random_bytes(1 << 20));
            }
        }
        "sockets" => sockets(number(2)),
        "handles" => {
            println!("attacking");
            loop {
                let pollable = wasip2::clocks::monotonic_clock::subscribe_duration(u64::MAX);
                std::mem::forget(pollable);
            }
        }
        "flood" => flood(),
        "write" => {
            let line = [b'x'; 999];
            for _ in 0..number(2) {
                std::io::stdout().write_all(&line).unwrap();
                println!();
            }
        }
        "buffers" => buffers(number(2)),
        "datagrams" => datagrams(number(2)),
        "files" => files(number(2)),
        "escape" => escape(),
        "symlink" => match mount().symlink_at(arg(2), arg(3)) {
            Ok(()) => println!("linked"),
            Err(error) => println!("error {error:?}"),
        },
        "clocks" => clocks(),
        "sleep" => {
            println!("attacking");
            std::thread::sleep(Duration::from_secs(3600));
        }
        other => panic!("unknown attack {other:?}"),
    }
}

/// Without the stack that Rust keeps in memory: that of calls is to end first.
fn recurse(depth: u64) -> u64 {
    match depth {
        u64::MAX => 0,
        depth => recurse(depth + 1).wrapping_mul(3) ^ depth,
    }
}

fn sockets(count: usize) {
    println!("attacking");
    let mut held = Vec::new();
    for _ in 0..count {
        match create_tcp_socket(IpAddressFamily::Ipv4) {
            Ok(socket) => held.push(socket),
            Err(error) => {
                println!("{} sockets, then {error:?}", held.len());
                break;
            }
        }
    }
    println!("done");
    std::thread::sleep(Duration::from_secs(3600));
}

fn flood() {
    println!("attacking");
    let mut line = vec![b'x'; 4095];
    line.push(b'\n');
    let mut out = std::io::stdout();
    loop {
        out.write_all(&line).unwrap();
    }
}

/// Connects to itself and writes into each connection as much as it takes, reading nothing.
fn buffers(count: usize) {
    use std::net::{TcpListener, TcpStream};
    println!("attacking");
    let listener = TcpListener::bind("127.0.0.1:7000").unwrap();
    let mut held = Vec::new();
    let chunk = vec![7u8; 64 * 1024];
    let mut written = 0;
    for _ in 0..count {
        let Ok(mut near) = TcpStream::connect("127.0.0.1:7000") else { break };
        let Ok((far, _)) = listener.accept() else { break };
        near.set_nonblocking(true).unwrap();
        while let Ok(n) = near.write(&chunk) {
            written += n;
        }
        held.push((near, far));
    }
    println!("{} connections, {written} bytes", held.len());
    println!("done");
    std::thread::sleep(Duration::from_secs(3600));
}

/// Fills the inboxes of many ports, and reads none.
fn datagrams(ports: usize) {
    println!("attacking");
    let network = instance_network();
    let any = |port| IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    let mut held = Vec::new();
    let payload = vec![7u8; 60_000];
    for _ in 0..ports {
        let Ok(socket) = create_udp_socket(IpAddressFamily::Ipv4) else { break };
        socket.start_bind(&network, any(0)).unwrap();
        socket.finish_bind().unwrap();
        let address = socket.local_address().unwrap();
        let (incoming, outgoing) = socket.stream(Some(address)).unwrap();
        for _ in 0..20 {
            outgoing.check_send().unwrap();
            let datagram = wasip2::sockets::udp::OutgoingDatagram {
                data: payload.clone(),
                remote_address: None,
            };
            outgoing.send(&[datagram]).unwrap();
        }
        held.push((socket, incoming, outgoing));
    }
    println!("{} ports", held.len());
    println!("done");
    std::thread::sleep(Duration::from_secs(3600));
}

fn mount() -> Descriptor {
    get_directories().into_iter().find(|(_, path)| path == "/data").expect("the mount").0
}

fn open(folder: &Descriptor, path: &str) -> Result<Descriptor, String> {
    folder
        .open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)
        .map_err(|error| format!("{error:?}"))
}

fn files(count: usize) {
    println!("attacking");
    let folder = mount();
    let mut held = Vec::new();
    for _ in 0..count {
        match open(&folder, "in") {
            Ok(file) => held.push(file),
            Err(error) => {
                println!("{} files, then {error}", held.len());
                break;
            }
        }
    }
    // What is closed may be opened again.
    held.truncate(held.len() / 2);
    println!("again {}", open(&folder, "in").is_ok());
    println!("done");
}

/// Every way out of a mount that is known, and what came of it.
fn escape() {
    let folder = mount();
    for path in [
        "../secret",
        "..",
        "./../secret",
        "sub/../../secret",
        "/etc/passwd",
        "//etc/passwd",
        "/proc/self/environ",
        "proc/self/root/etc/passwd",
        "in/../../secret",
        "..\\secret",
        "\0/etc/passwd",
        "link",
        "up",
        "up/secret",
        "absolute",
        "chain",
        "loop",
        "..data/../../secret",
    ] {
        match open(&folder, path) {
            Ok(found) => match found.read(100, 0) {
                Ok((bytes, _)) => println!("ESCAPED {path:?}: {bytes:?}"),
                Err(error) => println!("opened {path:?}: {error:?}"),
            },
            Err(error) => println!("refused {path:?}: {error}"),
        }
    }
    for (old, new) in [("../secret", "in2"), ("in", "../planted"), ("/etc/passwd", "in3")] {
        let linked = folder.link_at(PathFlags::empty(), old, &folder, new);
        println!("{} link {old:?} {new:?}", if linked.is_ok() { "ESCAPED" } else { "refused" });
        let renamed = folder.rename_at(old, &folder, new);
        let inside = old == "in" && renamed.is_ok() || renamed.is_ok();
        println!("{} rename {old:?} {new:?}", if inside { "ESCAPED" } else { "refused" });
    }
    let made = folder.create_directory_at("../made");
    println!("{} mkdir", if made.is_ok() { "ESCAPED" } else { "refused" });
    let removed = folder.unlink_file_at("../secret");
    println!("{} unlink", if removed.is_ok() { "ESCAPED" } else { "refused" });
    println!("done");
}

fn clocks() {
    use wasip2::clocks::{monotonic_clock, wall_clock};
    let wall = wall_clock::now();
    let (first, second) = (monotonic_clock::now(), monotonic_clock::now());
    println!("wall {}.{:09}", wall.seconds, wall.nanoseconds);
    println!("monotonic {first} {second}");
    println!(
        "resolution {} {}",
        monotonic_clock::resolution(),
        wall_clock::resolution().nanoseconds
    );
    println!("random {:?}", wasip2::random::random::get_random_bytes(8));
    println!("insecure {:?}", wasip2::random::insecure::get_insecure_random_bytes(8));
    println!("seed {:?}", wasip2::random::insecure_seed::insecure_seed());
    let begun = Instant::now();
    let mut finest = u128::MAX;
    for _ in 0..1000 {
        let passed = begun.elapsed().as_nanos();
        if !passed.is_multiple_of(1000) {
            finest = passed % 1000;
        }
    }
    println!("finer than 1 µs: {}", finest != u128::MAX);
}
