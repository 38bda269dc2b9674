use std::net::SocketAddr;
use std::time::Duration;

use copepod_runtime::{ExitCause, Route, SandboxError, SandboxSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Net, run, runtime, soon, start};

const SOMEONE: ([u8; 4], u16) = ([10, 0, 0, 200], 5000);

#[tokio::test]
async fn a_server_is_reached_from_another_sandbox_by_name() {
    let net = Net::new();
    net.name("server", "10.0.0.1");
    let (server, client) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let (_serving, recorder) = start(&server, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    let answer = run(&client, &["ask", "server:80", "question"]).await;
    assert_eq!(answer, "question from 10.0.0.1:80\n");
    recorder.says("accepted 10.0.0.2:").await;
    // Two containers of one sandbox share its loopback.
    let answer = run(&server, &["ask", "127.0.0.1:80", "again"]).await;
    assert_eq!(answer, "again from 127.0.0.1:80\n");
}

#[tokio::test]
async fn a_loopback_server_is_reached_from_its_own_sandbox_alone() {
    let net = Net::new();
    let (server, client) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let (_serving, recorder) = start(&server, &["serve", "127.0.0.1:80"]).await;
    recorder.says("listening").await;
    let answer = run(&server, &["ask", "localhost:80", "question"]).await;
    assert_eq!(answer, "question from 127.0.0.1:80\n");
    let refused = run(&client, &["connect", "10.0.0.1:80"]).await;
    assert_eq!(refused, "error ConnectionRefused\n");
}

#[tokio::test]
async fn connects_fail_with_the_right_error() {
    let net = Net::new();
    let (_server, client) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    net.route("10.0.0.3:80", Route::Unreachable);
    net.route("10.0.0.4:80", Route::Refused);
    for (to, expected) in [
        ("10.0.0.1:80", "error ConnectionRefused\n"),
        ("127.0.0.1:80", "error ConnectionRefused\n"),
        ("10.0.0.9:80", "error HostUnreachable\n"),
        ("10.0.0.3:80", "error HostUnreachable\n"),
        ("10.0.0.4:80", "error ConnectionRefused\n"),
    ] {
        assert_eq!(run(&client, &["connect", to]).await, expected, "{to}");
    }
}

#[tokio::test]
async fn a_port_is_bound_once_and_only_to_own_addresses() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (_serving, recorder) = start(&sandbox, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    for (address, expected) in [
        ("0.0.0.0:80", "error AddrInUse\n"),
        ("127.0.0.1:80", "error AddrInUse\n"),
        ("10.0.0.1:81", "bound 10.0.0.1:81\n"),
        ("10.0.0.7:81", "error AddrNotAvailable\n"),
        ("[::1]:81", "bound [::1]:81\n"),
    ] {
        assert_eq!(run(&sandbox, &["bind", address]).await, expected, "{address}");
    }
    assert_ne!(run(&sandbox, &["bind", "0.0.0.0:0"]).await, "bound 0.0.0.0:0\n");
}

#[tokio::test]
async fn names_are_resolved_own_ones_first() {
    let net = Net::new();
    net.name("elsewhere.example", "10.9.9.9");
    let sandbox = net.sandbox("10.0.0.1");
    for (name, expected) in [
        ("localhost", "127.0.0.1\n"),
        ("myself", "10.0.0.1\n"),
        ("elsewhere.example", "10.9.9.9\n"),
        ("10.1.2.3", "10.1.2.3\n"),
    ] {
        assert_eq!(run(&sandbox, &["resolve", name]).await, expected);
    }
    assert!(run(&sandbox, &["resolve", "nowhere"]).await.starts_with("error"));
}

#[tokio::test]
async fn the_switch_connects_to_a_guest_and_pushes_back() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (_serving, recorder) = start(&sandbox, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    let to = SocketAddr::from(([10, 0, 0, 1], 80));
    assert!(net.switch.is_listening(to));
    let stream = net.switch.connect(SOMEONE.into(), to).await.unwrap();
    recorder.says("accepted 10.0.0.200:5000").await;
    let (mut read, mut write) = tokio::io::split(stream);
    let sent = vec![3u8; 1_000_000];
    let mut echoed = Vec::new();
    let echo = async {
        tokio::join!(
            async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            },
            async { read.read_to_end(&mut echoed).await.unwrap() }
        );
    };
    soon("the echo", echo).await;
    assert_eq!(echoed, sent);
}

#[tokio::test]
async fn a_route_to_the_host_opens_a_real_socket() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    net.route("192.0.2.1:80", Route::Host(listener.local_addr().unwrap()));
    let serve = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = String::new();
        stream.read_to_string(&mut question).await.unwrap();
        stream.write_all(question.to_uppercase().as_bytes()).await.unwrap();
    });
    let answer = run(&sandbox, &["ask", "192.0.2.1:80", "question"]).await;
    // The guest never sees where the address was routed.
    assert_eq!(answer, "QUESTION from 192.0.2.1:80\n");
    soon("the server", serve).await.unwrap();
}

#[tokio::test]
async fn all_bytes_reach_a_real_socket_though_the_guest_is_gone() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    net.route("192.0.2.1:80", Route::Host(listener.local_addr().unwrap()));
    let count = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.len()
    });
    run(&sandbox, &["send-bytes", "192.0.2.1:80", "1000000"]).await;
    assert_eq!(soon("the end", count).await.unwrap(), 1_000_000);
}

#[tokio::test]
async fn datagrams_cross_the_switch_and_come_back() {
    let net = Net::new();
    let (server, client) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let (_serving, recorder) = start(&server, &["udp-serve", "0.0.0.0:53"]).await;
    recorder.says("bound").await;
    let answer = run(&client, &["udp-ask", "10.0.0.1:53", "question"]).await;
    assert_eq!(answer, "question from 10.0.0.1:53\n");
    let answer = run(&server, &["udp-ask", "127.0.0.1:53", "question"]).await;
    assert_eq!(answer, "question from 127.0.0.1:53\n");
    // A routed address answers under its own name.
    net.route("10.96.0.10:53", Route::Switch(([10, 0, 0, 1], 53).into()));
    let answer = run(&client, &["udp-ask", "10.96.0.10:53", "question"]).await;
    assert_eq!(answer, "question from 10.96.0.10:53\n");
}

#[tokio::test]
async fn datagrams_leave_through_a_real_socket() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    net.route("192.0.2.1:53", Route::Host(socket.local_addr().unwrap()));
    let serve = tokio::spawn(async move {
        let mut buffer = [0; 100];
        let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&buffer[..n], from).await.unwrap();
    });
    let answer = run(&sandbox, &["udp-ask", "192.0.2.1:53", "question"]).await;
    assert_eq!(answer, "question from 192.0.2.1:53\n");
    soon("the server", serve).await.unwrap();
}

#[tokio::test]
async fn a_stopping_server_finishes_its_connection_and_takes_no_new_one() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    let to = SocketAddr::from(([10, 0, 0, 1], 80));
    let mut open = net.switch.connect(SOMEONE.into(), to).await.unwrap();
    recorder.says("accepted").await;
    let stopping = tokio::spawn({
        let container = container.clone();
        async move { container.stop(Duration::from_secs(3600)).await }
    });
    let closed = async {
        while net.switch.is_listening(to) {
            tokio::task::yield_now().await;
        }
    };
    soon("the listener's end", closed).await;
    let refused = net.switch.connect(SOMEONE.into(), to).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    open.write_all(b"still here").await.unwrap();
    let mut echoed = [0; 10];
    soon("the echo", open.read_exact(&mut echoed)).await.unwrap();
    assert!(!stopping.is_finished());
    drop(open);
    let exit = soon("the exit", stopping).await.unwrap();
    assert_eq!((exit.code, exit.cause), (143, ExitCause::Stopped));
}

#[tokio::test]
async fn a_connection_on_which_nothing_was_said_does_not_hold_up_a_stop() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    let to = SocketAddr::from(([10, 0, 0, 1], 80));
    let mut silent = net.switch.connect(SOMEONE.into(), to).await.unwrap();
    recorder.says("accepted").await;
    let exit = soon("the exit", container.stop(Duration::from_secs(3600))).await;
    assert_eq!((exit.code, exit.cause), (143, ExitCause::Stopped));
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_that_outlives_the_grace_is_cut() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    let to = SocketAddr::from(([10, 0, 0, 1], 80));
    let mut open = net.switch.connect(SOMEONE.into(), to).await.unwrap();
    recorder.says("accepted").await;
    let exit = soon("the exit", container.stop(Duration::from_millis(50))).await;
    assert_eq!((exit.code, exit.cause), (137, ExitCause::Killed));
    assert_eq!(open.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_address_is_attached_once() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let spec = SandboxSpec {
        name: "second".to_owned(),
        hostname: String::new(),
        ip: sandbox.ip(),
        outside: net.world.clone(),
    };
    let error = runtime().sandbox(&net.switch, spec).err().unwrap();
    assert!(matches!(error, SandboxError::AddressInUse { .. }));
}
