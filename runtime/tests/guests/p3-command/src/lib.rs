//! A command of WASI 0.3 for all tests: the first argument says what to do. What it says itself goes through WASI 0.3;
//! `println!` is the standard library's and goes through 0.2, in the same component.

use std::net::SocketAddr;

use futures::join;
use wasip3::cli::{
    environment, exit, stderr, stdin, stdout, terminal_stderr, terminal_stdin, terminal_stdout,
};
use wasip3::clocks::{monotonic_clock, system_clock};
use wasip3::filesystem::preopens;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip3::random::{insecure, insecure_seed, random};
use wasip3::sockets::ip_name_lookup;
use wasip3::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket, UdpSocket,
};
use wasip3::wit_bindgen::StreamResult;
use wasip3::wit_stream;

struct Component;

wasip3::cli::command::export!(Component);

impl wasip3::exports::cli::run::Guest for Component {
    async fn run() -> Result<(), ()> {
        let args = environment::get_arguments();
        let arg = |index: usize| args.get(index).map(String::as_str).unwrap_or_default();
        match arg(1) {
            "hello" => {
                let env = environment::get_environment();
                let name = env.iter().find(|(key, _)| key == "NAME").map(|(_, value)| value);
                println!("from the standard library");
                say(&format!("hello {}\n", name.map(String::as_str).unwrap_or_default())).await;
                eprintln!("to stderr");
            }
            "place" => place(),
            "warn" => warn(arg(2)).await,
            "terminals" => println!(
                "{} {} {}",
                terminal_stdin::get_terminal_stdin().is_some(),
                terminal_stdout::get_terminal_stdout().is_some(),
                terminal_stderr::get_terminal_stderr().is_some(),
            ),
            "cat" => cat().await,
            "fail" => return Err(()),
            "exit" => exit::exit(if arg(2) == "0" { Ok(()) } else { Err(()) }),
            "exit-with-code" => exit::exit_with_code(arg(2).parse().unwrap()),
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
                monotonic_clock::wait_for(3600 * 1_000_000_000).await;
            }
            "bomb" => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1u8; 1 << 20]);
                    std::hint::black_box(&all);
                }
            }
            "hoard" => {
                let mut all = Vec::new();
                loop {
                    all.push(wit_stream::new::<u8>());
                }
            }
            "write" => write(arg(2), arg(3)).await,
            "read" => read(arg(2)).await,
            "open" => {
                let mut files = Vec::new();
                let error = loop {
                    // Two at a time.
                    let one = || open(arg(2), OpenFlags::empty(), DescriptorFlags::READ);
                    match join!(one(), one()) {
                        (Ok(one), Ok(other)) => files.extend([one, other]),
                        (Err(error), other) | (other, Err(error)) => {
                            files.extend(other);
                            break error;
                        }
                    }
                };
                println!("{} files, then {error}", files.len());
                files.clear();
                let again = open(arg(2), OpenFlags::empty(), DescriptorFlags::READ).await;
                println!("again {}", again.is_ok());
            }
            "sockets" => {
                let mut sockets = Vec::new();
                let error = loop {
                    match TcpSocket::create(IpAddressFamily::Ipv4) {
                        Ok(socket) => sockets.push(socket),
                        Err(error) => break error,
                    }
                };
                println!("{} sockets, then {error:?}", sockets.len());
                sockets.clear();
                println!("again {}", TcpSocket::create(IpAddressFamily::Ipv4).is_ok());
            }
            "clocks" => clocks().await,
            "random" => {
                let bytes = random::get_random_bytes(32);
                assert_ne!(bytes, random::get_random_bytes(32));
                insecure_seed::get_insecure_seed();
                let weak = insecure::get_insecure_random_bytes(32);
                assert_ne!(weak, insecure::get_insecure_random_bytes(32));
                let numbers = [(); 4].map(|()| insecure::get_insecure_random_u64());
                assert!(numbers.iter().any(|number| *number != numbers[0]));
                println!("{} and {} random bytes", bytes.len(), weak.len());
            }
            "serve" => serve(arg(2), echo).await,
            "relay" => serve(arg(2), relay).await,
            "ask" => ask(arg(2), arg(3)).await,
            "connect" => {
                let socket = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
                match socket.connect(address(arg(2))).await {
                    Ok(()) => println!("connected"),
                    Err(error) => println!("error {error:?}"),
                }
            }
            "send-bytes" => send_bytes(arg(2), arg(3).parse().unwrap()).await,
            "bind" => {
                let socket = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
                match socket.bind(address(arg(2))) {
                    Ok(()) => println!("bound {}", text(socket.get_local_address().unwrap())),
                    Err(error) => println!("error {error:?}"),
                }
            }
            "misuse" => misuse(arg(2)).await,
            "resolve" => match ip_name_lookup::resolve_addresses(arg(2).to_owned()).await {
                Ok(found) => found.into_iter().for_each(|ip| match ip {
                    IpAddress::Ipv4((a, b, c, d)) => println!("{a}.{b}.{c}.{d}"),
                    IpAddress::Ipv6(segments) => println!("{segments:?}"),
                }),
                Err(error) => println!("error {error:?}"),
            },
            "udp-serve" => udp_serve(arg(2)).await,
            "udp-ask" => udp_ask(arg(2), arg(3)).await,
            "udp-connected" => udp_connected(arg(2), arg(3)).await,
            "udp-both" => udp_both().await,
            other => panic!("unknown task {other:?}"),
        }
        Ok(())
    }
}

/// To standard output, by WASI 0.3.
async fn say(text: &str) {
    let (mut sender, receiver) = wit_stream::new();
    let (written, ()) = join!(stdout::write_via_stream(receiver).into_future(), async {
        assert!(sender.write_all(text.as_bytes().to_vec()).await.is_empty());
        drop(sender);
    });
    written.unwrap();
}

/// To standard error, by WASI 0.3.
async fn warn(text: &str) {
    let (mut sender, receiver) = wit_stream::new();
    let (written, ()) = join!(stderr::write_via_stream(receiver).into_future(), async {
        assert!(sender.write_all(text.as_bytes().to_vec()).await.is_empty());
        drop(sender);
    });
    written.unwrap();
}

/// All that a guest is told of where it is.
fn place() {
    let mut env = environment::get_environment();
    env.sort();
    let mounts: Vec<String> =
        preopens::get_directories().into_iter().map(|(_, path)| path).collect();
    println!("{:?}", environment::get_arguments());
    println!("{env:?}");
    println!("{:?}", environment::get_initial_cwd());
    println!("{mounts:?}");
}

/// Hands each chunk on as it comes.
async fn cat() {
    let (mut input, ended) = stdin::read_via_stream();
    let (mut sender, receiver) = wit_stream::new();
    let (written, ()) = join!(stdout::write_via_stream(receiver).into_future(), async {
        loop {
            let (result, chunk) = input.read(Vec::with_capacity(1024)).await;
            if !chunk.is_empty() {
                assert!(sender.write_all(chunk).await.is_empty());
            }
            if result == StreamResult::Dropped {
                break;
            }
        }
        drop(sender);
    });
    written.unwrap();
    ended.await.unwrap();
}

async fn open(path: &str, open: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor, String> {
    for (dir, root) in preopens::get_directories() {
        if let Some(rest) = path.strip_prefix(&root) {
            let rest = rest.trim_start_matches('/').to_owned();
            let opened = dir.open_at(PathFlags::empty(), rest, open, flags).await;
            return opened.map_err(|error| format!("{error:?}"));
        }
    }
    Err("no such mount".to_owned())
}

async fn write(path: &str, text: &str) {
    let create = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = match open(path, create, DescriptorFlags::WRITE).await {
        Ok(file) => file,
        Err(error) => return println!("error {error}"),
    };
    let (mut sender, receiver) = wit_stream::new();
    let (written, ()) = join!(file.write_via_stream(receiver, 0).into_future(), async {
        sender.write_all(text.as_bytes().to_vec()).await;
        drop(sender);
    });
    written.unwrap();
    file.sync().await.unwrap();
    println!("written");
}

async fn read(path: &str) {
    let file = match open(path, OpenFlags::empty(), DescriptorFlags::READ).await {
        Ok(file) => file,
        Err(error) => return println!("error {error}"),
    };
    let (stream, ended) = file.read_via_stream(0);
    let bytes = stream.collect().await;
    ended.await.unwrap();
    println!("{}", String::from_utf8_lossy(&bytes));
}

async fn clocks() {
    let begun = monotonic_clock::now();
    monotonic_clock::wait_for(20_000_000).await;
    let waited = monotonic_clock::now() - begun;
    monotonic_clock::wait_until(begun).await;
    println!("waited long enough: {}", waited >= 20_000_000);
    println!("{}", system_clock::now().seconds);
}

fn address(text: &str) -> IpSocketAddress {
    match text.parse().unwrap() {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: v4.port(), address: (a, b, c, d) })
        }
        SocketAddr::V6(_) => panic!("no IPv6 here"),
    }
}

fn text(address: IpSocketAddress) -> String {
    match address {
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) }) => {
            format!("{a}.{b}.{c}.{d}:{port}")
        }
        IpSocketAddress::Ipv6(_) => panic!("no IPv6 here"),
    }
}

/// Serves all connections at once, each until its end.
async fn serve<F: Future<Output = ()> + 'static>(at: &str, each: fn(TcpSocket) -> F) {
    let listener = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
    listener.bind(address(at)).unwrap();
    let mut accepted = listener.listen().unwrap();
    assert!(listener.get_is_listening());
    println!("listening {}", text(listener.get_local_address().unwrap()));
    // The stream keeps the port.
    drop(listener);
    while let Some(socket) = accepted.next().await {
        println!("accepted {}", text(socket.get_remote_address().unwrap()));
        wasip3::spawn_local(each(socket));
    }
}

async fn echo(socket: TcpSocket) {
    let (mut input, ended) = socket.receive();
    let (mut sender, receiver) = wit_stream::new();
    let sent = socket.send(receiver);
    // The streams keep the connection.
    drop(socket);
    let (sent, ()) = join!(sent.into_future(), async {
        loop {
            let (result, chunk) = input.read(Vec::with_capacity(16 * 1024)).await;
            if !chunk.is_empty() && !sender.write_all(chunk).await.is_empty() {
                break;
            }
            if result == StreamResult::Dropped {
                break;
            }
        }
        drop(sender);
    });
    println!("echoed {sent:?} {:?}", ended.await);
}

/// As [`echo`], without a copy through the guest.
async fn relay(socket: TcpSocket) {
    let (input, ended) = socket.receive();
    let sent = socket.send(input).await;
    println!("relayed {sent:?} {:?}", ended.await);
}

async fn ask(to: &str, question: &str) {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
    socket.connect(address(to)).await.unwrap();
    let (mut sender, receiver) = wit_stream::new();
    let (answer, ended) = socket.receive();
    let (sent, (), answer) = join!(
        socket.send(receiver).into_future(),
        async {
            sender.write_all(question.as_bytes().to_vec()).await;
            drop(sender);
        },
        answer.collect(),
    );
    sent.unwrap();
    ended.await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    println!("{answer} from {}", text(socket.get_remote_address().unwrap()));
}

async fn send_bytes(to: &str, count: usize) {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
    socket.connect(address(to)).await.unwrap();
    let (mut sender, receiver) = wit_stream::new();
    let (sent, all) = join!(socket.send(receiver).into_future(), async {
        let mut left = count;
        while left > 0 {
            let chunk = vec![7u8; left.min(50_000)];
            left -= chunk.len();
            if !sender.write_all(chunk).await.is_empty() {
                return false;
            }
        }
        drop(sender);
        true
    });
    println!("sent {all} {sent:?}");
}

/// What WASI forbids is answered with a code, never with a trap.
async fn misuse(to: &str) {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
    assert!(matches!(socket.get_local_address(), Err(ErrorCode::InvalidState)));
    let (bytes, ended) = socket.receive();
    assert!(bytes.collect().await.is_empty());
    assert!(matches!(ended.await, Err(ErrorCode::InvalidState)));
    let (_, receiver) = wit_stream::new();
    assert!(matches!(socket.send(receiver).await, Err(ErrorCode::InvalidState)));
    let nowhere = socket.connect(address("0.0.0.0:80")).await;
    assert!(matches!(nowhere, Err(ErrorCode::InvalidArgument)));
    assert!(socket.set_keep_alive_count(0).is_err());
    socket.set_receive_buffer_size(4096).unwrap();
    assert_eq!(socket.get_receive_buffer_size().unwrap(), 4096);
    socket.connect(address(to)).await.unwrap();
    assert!(matches!(socket.bind(address("0.0.0.0:0")), Err(ErrorCode::InvalidState)));
    assert!(matches!(socket.listen(), Err(ErrorCode::InvalidState)));
    let again = socket.connect(address(to)).await;
    assert!(matches!(again, Err(ErrorCode::InvalidState)));
    let (first, _) = socket.receive();
    let (second, ended) = socket.receive();
    assert!(second.collect().await.is_empty());
    assert!(matches!(ended.await, Err(ErrorCode::InvalidState)));
    drop(first);
    let listener = TcpSocket::create(IpAddressFamily::Ipv4).unwrap();
    let accepted = listener.listen().unwrap();
    assert!(matches!(listener.listen(), Err(ErrorCode::InvalidState)));
    println!("listens without a bind: {}", text(listener.get_local_address().unwrap()));
    drop(accepted);
    println!("survived");
}

async fn udp_serve(at: &str) {
    let socket = UdpSocket::create(IpAddressFamily::Ipv4).unwrap();
    socket.bind(address(at)).unwrap();
    println!("bound {}", text(socket.get_local_address().unwrap()));
    loop {
        let (data, from) = socket.receive().await.unwrap();
        socket.send(data, Some(from)).await.unwrap();
    }
}

async fn udp_ask(to: &str, question: &str) {
    let socket = UdpSocket::create(IpAddressFamily::Ipv4).unwrap();
    assert!(matches!(socket.receive().await, Err(ErrorCode::InvalidState)));
    socket.send(question.as_bytes().to_vec(), Some(address(to))).await.unwrap();
    let (data, from) = socket.receive().await.unwrap();
    println!("{} from {}", String::from_utf8(data).unwrap(), text(from));
}

async fn udp_connected(to: &str, question: &str) {
    let socket = UdpSocket::create(IpAddressFamily::Ipv4).unwrap();
    assert!(matches!(socket.disconnect(), Err(ErrorCode::InvalidState)));
    let nobody = socket.send(Vec::new(), None).await;
    assert!(matches!(nobody, Err(ErrorCode::InvalidArgument)));
    socket.connect(address(to)).unwrap();
    let other = socket.send(Vec::new(), Some(address("10.9.9.9:9"))).await;
    assert!(matches!(other, Err(ErrorCode::InvalidArgument)));
    let large = socket.send(vec![0; 65_508], None).await;
    assert!(matches!(large, Err(ErrorCode::DatagramTooLarge)));
    socket.send(question.as_bytes().to_vec(), None).await.unwrap();
    let (data, from) = socket.receive().await.unwrap();
    assert_eq!(text(from), text(socket.get_remote_address().unwrap()));
    socket.disconnect().unwrap();
    assert!(socket.get_remote_address().is_err());
    println!("{} from {}", String::from_utf8(data).unwrap(), text(from));
}

/// Two receives wait at a time; each datagram ends one.
async fn udp_both() {
    let socket = UdpSocket::create(IpAddressFamily::Ipv4).unwrap();
    socket.bind(address("127.0.0.1:7000")).unwrap();
    let (one, two, ()) = join!(socket.receive(), socket.receive(), async {
        monotonic_clock::wait_for(1_000_000).await;
        for text in ["one", "two"] {
            let sent = socket.send(text.as_bytes().to_vec(), Some(address("127.0.0.1:7000")));
            sent.await.unwrap();
        }
    });
    let mut got = [one.unwrap().0, two.unwrap().0].map(|data| String::from_utf8(data).unwrap());
    got.sort();
    println!("{got:?}");
}
