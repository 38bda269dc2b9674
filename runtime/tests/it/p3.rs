//! WASI 0.3: commands, sockets and HTTP handlers, alone and beside guests of 0.2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use copepod_runtime::{
    Body, Container, ExitCause, HttpError, HttpHandler, Mount, Reuse, Route, Sandbox, Stdin,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use wasmtime_wasi_http::io::TokioIo;

use crate::support::{self, Net, Recorder, p3_command, p3_http, soon, spec};

const FIRST: ([u8; 4], u16) = ([10, 0, 0, 1], 80);

async fn start(sandbox: &Sandbox, args: &[&str]) -> (Container, Arc<Recorder>) {
    let (spec, recorder) = spec(p3_command().await, args);
    (sandbox.start(spec).unwrap(), recorder)
}

async fn run(sandbox: &Sandbox, args: &[&str]) -> String {
    let (container, recorder) = start(sandbox, args).await;
    let exit = soon("the command's exit", container.exited()).await;
    assert_eq!(exit.code, 0, "{args:?} {exit:?}: {}", recorder.stderr());
    recorder.stdout()
}

#[tokio::test]
async fn a_command_mixes_the_standard_library_with_wasi_0_3() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, recorder) = spec(p3_command().await, &["hello"]);
    spec.env = vec![("NAME".to_owned(), "world".to_owned())];
    let container = sandbox.start(spec).unwrap();
    let exit = soon("exit", container.exited()).await;
    assert_eq!((exit.code, exit.cause), (0, ExitCause::Completed));
    assert_eq!(recorder.stdout(), "from the standard library\nhello world\n");
    assert_eq!(recorder.stderr(), "to stderr\n");
    assert_eq!(container.stats().memory_bytes, 0);
    assert!(container.stats().cpu_time > Duration::ZERO);
}

#[tokio::test]
async fn exit_codes_arrive() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    for (args, code) in [
        (&["fail"][..], 1),
        (&["exit", "0"], 0),
        (&["exit", "1"], 1),
        (&["exit-with-code", "42"], 42),
    ] {
        let (container, _) = start(&sandbox, args).await;
        assert_eq!(soon("exit", container.exited()).await.code, code, "{args:?}");
    }
}

#[tokio::test]
async fn a_trap_is_code_134_with_its_message_on_stderr() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["panic"]).await;
    let exit = soon("exit", container.exited()).await;
    assert_eq!(exit.code, 134);
    assert!(matches!(exit.cause, ExitCause::Trap(_)), "{:?}", exit.cause);
    assert!(recorder.stderr().contains("on purpose"));
    assert!(recorder.stderr().contains("wasm trap"), "{}", recorder.stderr());
}

#[tokio::test]
async fn standard_input_streams_to_standard_output() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (near, mut far) = tokio::io::duplex(64);
    let (mut spec, recorder) = spec(p3_command().await, &["cat"]);
    spec.stdin = Stdin::Reader(Box::new(near));
    let container = sandbox.start(spec).unwrap();
    // The first part is out before the second comes.
    far.write_all(b"first ").await.unwrap();
    recorder.says("first ").await;
    let long = "x".repeat(10_000);
    far.write_all(long.as_bytes()).await.unwrap();
    drop(far);
    assert_eq!(soon("exit", container.exited()).await.code, 0);
    assert_eq!(recorder.stdout(), format!("first {long}"));
    assert_eq!(run(&sandbox, &["cat"]).await, "");
}

#[tokio::test]
async fn clocks_and_random_numbers_are_there() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let said = run(&sandbox, &["clocks"]).await;
    let (waited, seconds) = said.trim().split_once('\n').unwrap();
    assert_eq!(waited, "waited long enough: true");
    assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000);
    assert_eq!(run(&sandbox, &["random"]).await, "32 and 32 random bytes\n");
}

#[tokio::test]
async fn standard_error_is_a_stream_too_and_nothing_is_a_terminal() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["warn", "by a stream"]).await;
    assert_eq!(soon("exit", container.exited()).await.code, 0);
    assert_eq!((recorder.stdout().as_str(), recorder.stderr().as_str()), ("", "by a stream"));
    assert_eq!(run(&sandbox, &["terminals"]).await, "false false false\n");
}

#[tokio::test]
async fn mounts_are_the_only_files_and_honour_read_only() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in"), "from the host").unwrap();
    let sandbox = Net::new().sandbox("10.0.0.1");
    for (read_only, args, expected) in [
        (false, &["read", "/data/in"][..], "from the host\n"),
        (false, &["write", "/data/out", "text"], "written\n"),
        (true, &["read", "/data/in"], "from the host\n"),
        (true, &["write", "/data/in", "text"], "error"),
        (false, &["read", "/data/../etc/passwd"], "error"),
        (false, &["read", "/etc/passwd"], "error"),
    ] {
        let (mut spec, recorder) = spec(p3_command().await, args);
        spec.mounts = vec![Mount {
            guest_path: "/data".to_owned(),
            host_dir: dir.path().to_owned(),
            read_only,
        }];
        let container = sandbox.start(spec).unwrap();
        soon("exit", container.exited()).await;
        let said = recorder.stdout();
        assert!(said.starts_with(expected), "{args:?}: {said} {}", recorder.stderr());
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("in")).unwrap(), "from the host");
    assert_eq!(std::fs::read_to_string(dir.path().join("out")).unwrap(), "text");
}

#[tokio::test]
async fn open_files_are_bounded_though_several_are_opened_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in"), "").unwrap();
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, recorder) = spec(p3_command().await, &["open", "/data/in"]);
    spec.limits.counts.files = 101;
    spec.mounts = vec![Mount {
        guest_path: "/data".to_owned(),
        host_dir: dir.path().to_owned(),
        read_only: true,
    }];
    let container = sandbox.start(spec).unwrap();
    let exit = soon("exit", container.exited()).await;
    assert_eq!(exit.code, 0, "{}", recorder.stderr());
    let expected = "101 files, then ErrorCode::Quota\nagain true\n";
    assert_eq!(recorder.stdout(), expected);
}

#[tokio::test]
async fn sockets_and_headers_are_bounded() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (mut spec, recorder) = spec(p3_command().await, &["sockets"]);
    spec.limits.counts.sockets = 20;
    let container = sandbox.start(spec).unwrap();
    assert_eq!(soon("exit", container.exited()).await.code, 0, "{}", recorder.stderr());
    assert_eq!(recorder.stdout(), "20 sockets, then ErrorCode::OutOfMemory\nagain true\n");
    let _serving = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    let (status, text) = ask(&handler, "/headers").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "HeaderError::SizeExceeded"));
}

#[tokio::test]
async fn an_endless_loop_is_killed_at_once_and_a_waiting_guest_too() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    for (task, says) in [("spin", "spinning"), ("sleep", "sleeping")] {
        let (container, recorder) = start(&sandbox, &[task]).await;
        recorder.says(says).await;
        let begun = Instant::now();
        container.kill();
        let exit = soon("exit", container.exited()).await;
        let took = begun.elapsed();
        assert_eq!((exit.code, exit.cause), (137, ExitCause::Killed), "{task}");
        assert!(took < Duration::from_millis(500), "{task}: {took:?}");
        assert_eq!(container.stats().memory_bytes, 0, "{task}");
    }
}

#[tokio::test]
async fn passing_the_memory_limit_is_out_of_memory() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, _) = spec(p3_command().await, &["bomb"]);
    spec.limits.memory.bytes = Some(32 << 20);
    let container = sandbox.start(spec).unwrap();
    let exit = soon("exit", container.exited()).await;
    assert_eq!((exit.code, exit.cause), (137, ExitCause::OutOfMemory));
}

#[tokio::test]
async fn a_guest_that_hoards_streams_traps_before_the_host_feels_it() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["hoard"]).await;
    let exit = soon("the exit", container.exited()).await;
    assert_eq!(exit.code, 134);
    assert!(recorder.stderr().contains("resource table"), "{}", recorder.stderr());
}

#[tokio::test]
async fn a_world_of_0_2_may_import_interfaces_of_0_3() {
    let wasm = support::guest("p3-import-guest.wasm");
    let artifact = support::runtime().load("test:p3-import", wasm).await.unwrap();
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (spec, recorder) = spec(artifact, &[]);
    let container = sandbox.start(spec).unwrap();
    assert_eq!(soon("the exit", container.exited()).await.code, 0);
    assert_eq!(recorder.stdout(), "8 random bytes\n");
}

#[tokio::test]
async fn connections_cross_between_guests_of_both_versions() {
    let net = Net::new();
    let (server, client) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let (_second, second) = support::start(&server, &["serve", "0.0.0.0:2"]).await;
    let (_third, third) = start(&server, &["serve", "0.0.0.0:3"]).await;
    let (_relay, relay) = start(&server, &["relay", "0.0.0.0:4"]).await;
    for recorder in [&second, &third, &relay] {
        recorder.says("listening").await;
    }
    let long = "x".repeat(200_000);
    for question in ["question", &long] {
        for port in [2, 3, 4] {
            let to = format!("10.0.0.1:{port}");
            let expected = format!("{question} from {to}\n");
            assert!(run(&client, &["ask", &to, question]).await == expected, "0.3 to {port}");
            // That of 0.2 writes all of it before it reads.
            if question != long {
                let answer = support::run(&client, &["ask", &to, question]).await;
                assert!(answer == expected, "0.2 to {port}");
            }
        }
    }
    third.says("accepted 10.0.0.2:").await;
    third.says("echoed Ok(()) Ok(())").await;
    relay.says("relayed Ok(()) Ok(())").await;
    // Within one sandbox, by its loopback.
    let answer = run(&server, &["ask", "127.0.0.1:3", "again"]).await;
    assert_eq!(answer, "again from 127.0.0.1:3\n");
}

#[tokio::test]
async fn a_server_takes_many_connections_at_a_time() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    let connect = |port| net.switch.connect(([10, 0, 0, 9], port).into(), FIRST.into());
    let mut first = connect(1).await.unwrap();
    let mut second = connect(2).await.unwrap();
    for stream in [&mut second, &mut first] {
        let mut answer = [0; 4];
        stream.write_all(b"ping").await.unwrap();
        soon("the answer", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"ping");
    }
    // A stop lets them finish, and takes no new one.
    let stopping = tokio::spawn({
        let container = container.clone();
        async move { container.stop(Duration::from_secs(3600)).await }
    });
    let closed = async {
        while net.switch.is_listening(FIRST.into()) {
            tokio::task::yield_now().await;
        }
    };
    soon("the port's end", closed).await;
    for mut stream in [first, second] {
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        soon("its end", stream.read_to_end(&mut rest)).await.unwrap();
    }
    let exit = soon("the exit", stopping).await.unwrap();
    assert_eq!((exit.code, exit.cause), (143, ExitCause::Stopped));
}

#[tokio::test]
async fn a_killed_guest_drops_its_connections_and_its_port() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    let mut stream = net.switch.connect(([10, 0, 0, 9], 1).into(), FIRST.into()).await.unwrap();
    recorder.says("accepted").await;
    container.kill();
    soon("the exit", container.exited()).await;
    assert_eq!(soon("its end", stream.read(&mut [0; 1])).await.unwrap(), 0);
    let (_again, recorder) = start(&sandbox, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
}

#[tokio::test]
async fn connects_and_binds_fail_with_the_right_error() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (_serving, recorder) = start(&sandbox, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    net.route("10.0.0.3:80", Route::Unreachable);
    for (args, expected) in [
        (["connect", "10.0.0.1:80"], "connected\n"),
        (["connect", "127.0.0.1:81"], "error ErrorCode::ConnectionRefused\n"),
        (["connect", "10.0.0.9:80"], "error ErrorCode::RemoteUnreachable\n"),
        (["connect", "10.0.0.3:80"], "error ErrorCode::RemoteUnreachable\n"),
        (["bind", "0.0.0.0:80"], "error ErrorCode::AddressInUse\n"),
        (["bind", "10.0.0.1:81"], "bound 10.0.0.1:81\n"),
        (["bind", "10.0.0.7:81"], "error ErrorCode::AddressNotBindable\n"),
        (["bind", "224.0.0.1:81"], "error ErrorCode::InvalidArgument\n"),
    ] {
        assert_eq!(run(&sandbox, &args).await, expected, "{args:?}");
    }
    let said = run(&sandbox, &["misuse", "127.0.0.1:80"]).await;
    assert!(said.starts_with("listens without a bind: 0.0.0.0:"), "{said}");
    assert!(said.ends_with("survived\n"), "{said}");
}

#[tokio::test]
async fn a_slow_reader_holds_the_sender_back_and_a_gone_one_ends_it() {
    let net = Net::new();
    let (server, client) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let (_serving, recorder) = support::start(&server, &["serve", "0.0.0.0:80"]).await;
    recorder.says("listening").await;
    // The echo is never read, so the guest cannot send all of it.
    let (container, recorder) = start(&client, &["send-bytes", "10.0.0.1:80", "10000000"]).await;
    let still = async {
        let mut last = container.stats().cpu_time;
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = container.stats().cpu_time;
            if now == last && now > Duration::ZERO {
                return;
            }
            last = now;
        }
    };
    soon("the sender to wait", still).await;
    assert!(!container_has_exited(&container).await);
    server.close();
    soon("the exit", container.exited()).await;
    recorder.says("sent false Err(ErrorCode::ConnectionBroken)").await;
}

async fn container_has_exited(container: &Container) -> bool {
    tokio::time::timeout(Duration::ZERO, container.exited()).await.is_ok()
}

#[tokio::test]
async fn a_route_to_the_host_opens_a_real_socket() {
    let real = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let net = Net::new();
    net.route("192.0.2.1:80", Route::Host(real.local_addr().unwrap()));
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["ask", "192.0.2.1:80", "question"]).await;
    let (mut stream, _) = soon("the connection", real.accept()).await.unwrap();
    let mut asked = String::new();
    soon("the question", stream.read_to_string(&mut asked)).await.unwrap();
    assert_eq!(asked, "question");
    stream.write_all(b"answer").await.unwrap();
    drop(stream);
    assert_eq!(soon("the exit", container.exited()).await.code, 0);
    assert_eq!(recorder.stdout(), "answer from 192.0.2.1:80\n");
}

#[tokio::test]
async fn names_are_resolved() {
    let net = Net::new();
    net.name("elsewhere.example", "10.9.9.9");
    let sandbox = net.sandbox("10.0.0.1");
    for (name, expected) in [
        ("localhost", "127.0.0.1\n"),
        ("myself", "10.0.0.1\n"),
        ("elsewhere.example", "10.9.9.9\n"),
        ("192.0.2.7", "192.0.2.7\n"),
        ("nowhere.example", "error ErrorCode::NameUnresolvable\n"),
        ("not a name", "error ErrorCode::InvalidArgument\n"),
    ] {
        assert_eq!(run(&sandbox, &["resolve", name]).await, expected, "{name}");
    }
}

#[tokio::test]
async fn datagrams_cross_between_guests_of_both_versions() {
    let net = Net::new();
    let (server, client) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let (_second, second) = support::start(&server, &["udp-serve", "0.0.0.0:2"]).await;
    let (_third, third) = start(&server, &["udp-serve", "0.0.0.0:3"]).await;
    second.says("bound").await;
    third.says("bound").await;
    for to in ["10.0.0.1:2", "10.0.0.1:3"] {
        let expected = format!("question from {to}\n");
        assert_eq!(run(&client, &["udp-ask", to, "question"]).await, expected);
        assert_eq!(run(&client, &["udp-connected", to, "question"]).await, expected);
        assert_eq!(support::run(&client, &["udp-ask", to, "question"]).await, expected);
    }
    assert_eq!(run(&client, &["udp-both"]).await, "[\"one\", \"two\"]\n");
}

async fn serve(sandbox: &Sandbox) -> (Container, Arc<Recorder>) {
    let (spec, recorder) = spec(p3_http().await, &[]);
    (sandbox.start(spec).unwrap(), recorder)
}

fn get(path: &str) -> Request<Body> {
    let empty = Empty::new().map_err(HttpError::from).boxed_unsync();
    Request::get(format!("http://service.example{path}")).body(empty).unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = soon("the body", response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

async fn ask(handler: &HttpHandler, path: &str) -> (StatusCode, String) {
    let response = soon("the response", handler.call(get(path))).await.unwrap();
    (response.status(), text(response).await)
}

/// Waits until no instance of the container lives.
async fn no_instance(container: &Container) {
    let gone = async {
        while container.stats().memory_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the instances' end", gone).await;
}

#[tokio::test]
async fn each_request_gets_an_instance_of_its_own() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    for _ in 0..3 {
        let (status, text) = ask(&handler, "/hello").await;
        assert_eq!(status, StatusCode::OK);
        let expected = "Method::Get Some(Scheme::Http) service.example, call 1";
        assert_eq!(text, expected);
    }
    // The host's name by its header, and without one the address.
    let origin = |host: Option<&str>| {
        let mut request = get("/hello");
        *request.uri_mut() = "/hello".parse().unwrap();
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        request
    };
    for (host, authority) in [(Some("a.example:81"), "a.example:81"), (None, "10.0.0.1:80")] {
        let response = handler.call(origin(host)).await.unwrap();
        let expected = format!("Method::Get Some(Scheme::Http) {authority}, call 1");
        assert_eq!(text(response).await, expected);
    }
    let stats = container.stats();
    assert_eq!((stats.requests, stats.errors), (5, 0));
    no_instance(&container).await;
}

async fn serve_again(sandbox: &Sandbox, requests: u32) -> (Container, Arc<Recorder>) {
    let (mut spec, recorder) = spec(p3_http().await, &[]);
    spec.reuse = Some(Reuse { requests, age: Duration::from_secs(600) });
    (sandbox.start(spec).unwrap(), recorder)
}

/// Asks until an instance has served so often; no call may be beyond `most`. An instance that is not back yet when the
/// next request comes leaves it to a fresh one.
async fn until_call(handler: &HttpHandler, wanted: u32, most: u32) {
    let asked = async {
        loop {
            let (status, text) = ask(handler, "/hello").await;
            assert_eq!(status, StatusCode::OK);
            let call: u32 = text.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(call <= most, "{call}");
            if call == wanted {
                return;
            }
        }
    };
    soon("an instance that serves again", asked).await;
}

#[tokio::test]
async fn where_it_may_an_instance_serves_again_up_to_its_number() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve_again(&sandbox, 3).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    until_call(&handler, 3, 3).await;
    until_call(&handler, 1, 3).await;
    assert_eq!(container.stats().errors, 0);
    container.kill();
    no_instance(&container).await;
}

#[tokio::test]
async fn an_instance_that_broke_off_does_not_serve_again() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve_again(&sandbox, 1_000).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    for path in ["/panic", "/late-panic", "/error"] {
        until_call(&handler, 2, 2).await;
        // It takes an instance that rests: with those that broke off, all are gone.
        let broken = async {
            while container.stats().memory_bytes > 0 {
                let response = handler.call(get(path)).await.unwrap();
                let _ = response.into_body().collect().await;
                tokio::task::yield_now().await;
            }
        };
        soon("the instances' end", broken).await;
        let (status, text) = ask(&handler, "/hello").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.ends_with("call 1"), "{path}: {text}");
    }
    // One that is cut off with its container does not rest either, nor do those that rested.
    until_call(&handler, 2, 2).await;
    let begun = soon("the head", handler.call(get("/late?3600000"))).await.unwrap();
    container.kill();
    assert!(soon("the end", begun.into_body().collect()).await.is_err());
    no_instance(&container).await;
}

#[tokio::test]
async fn an_instance_that_has_not_read_its_request_serves_the_next_one() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve_again(&sandbox, 1_000).await;
    let from = SocketAddr::from(([10, 0, 0, 200], 5000));
    let stream = net.switch.connect(from, FIRST.into()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // Larger than any buffer between: what is not read by somebody holds the connection up.
    for path in ["/keep", "/keep-rest", "/hello", "/pass", "/keep"] {
        let request = Request::post(path)
            .header("host", "elsewhere")
            .body(Full::new(Bytes::from(vec![b'x'; 200_000])))
            .unwrap();
        soon("the connection", sender.ready()).await.unwrap();
        let response = soon("the response", sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        soon("the body", response.into_body().collect()).await.unwrap();
    }
    // A body without an end holds nothing up but itself.
    let handler = net.switch.http(FIRST.into()).unwrap();
    for path in ["/keep", "/hello"] {
        let (sender, mut receiver) = mpsc::channel::<http_body::Frame<Bytes>>(1);
        let frames = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|f| f.map(Ok)));
        let body = StreamBody::new(frames).boxed_unsync();
        let request = Request::post(format!("http://a.example{path}")).body(body).unwrap();
        let response = soon("the response", handler.call(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let served: u32 = text(response).await.rsplit(' ').next().unwrap().parse().unwrap();
        until_call(&handler, served + 1, u32::MAX).await;
        drop(sender);
    }
    assert_eq!(container.stats().errors, 0);
}

#[tokio::test]
async fn a_body_is_echoed_as_it_comes_with_its_trailers() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    for path in ["/echo", "/pass"] {
        let (sender, mut receiver) = mpsc::channel::<http_body::Frame<Bytes>>(1);
        let frames = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|f| f.map(Ok)));
        let body = StreamBody::new(frames).boxed_unsync();
        let request = Request::post(format!("http://a.example{path}")).body(body).unwrap();
        let response = soon("the response", handler.call(request)).await.unwrap();
        let mut body = response.into_body();
        // Each part comes back before the next one goes.
        for part in ["first ", "second ", "third"] {
            sender.send(http_body::Frame::data(Bytes::from(part))).await.unwrap();
            let mut got = Vec::new();
            while got.len() < part.len() {
                let frame = soon("the echo", body.frame()).await.unwrap().unwrap();
                got.extend(frame.into_data().unwrap());
            }
            assert_eq!(got, part.as_bytes());
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "abc".parse().unwrap());
        sender.send(http_body::Frame::trailers(trailers)).await.unwrap();
        drop(sender);
        let rest = soon("the rest", body.collect()).await.unwrap();
        let trailers = rest.trailers().unwrap();
        assert_eq!(trailers["x-sum"], "abc", "{path}");
        if path == "/echo" {
            assert_eq!(trailers["x-total"], "18");
        }
    }
    assert_eq!(container.stats().errors, 0);
    no_instance(&container).await;
}

#[tokio::test]
async fn a_connection_through_the_switch_speaks_http() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let _serving = serve(&sandbox).await;
    let from = SocketAddr::from(([10, 0, 0, 200], 5000));
    let stream = net.switch.connect(from, FIRST.into()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // A body larger than any buffer between; one that the component does not read does not cost the connection.
    for path in ["/echo", "/pass", "/hello", "/echo"] {
        let body = vec![b'x'; 200_000];
        let request = Request::post(path)
            .header("host", "elsewhere")
            .body(Full::new(Bytes::from(body.clone())))
            .unwrap();
        soon("the connection", sender.ready()).await.unwrap();
        let response = soon("the response", sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let answer = soon("the body", response.into_body().collect()).await.unwrap().to_bytes();
        assert!(answer == body || path == "/hello", "{path}");
    }
}

/// The future beside the body's stream tells the guest. Of one that has answered before it reads, the answer breaks off.
#[tokio::test]
async fn a_request_body_that_is_malformed_or_cut_off_does_not_pass_for_whole() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let _serving = serve(&sandbox).await;
    for (path, reads_first) in [("/length", true), ("/echo", false), ("/pass", false)] {
        for (body, is_whole) in [
            ("transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n", true),
            ("transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\nZZ\r\n", false),
            ("transfer-encoding: chunked\r\n\r\nZZ\r\nfirst\r\n", false),
            ("transfer-encoding: chunked\r\n\r\n5\r\nfir", false),
            ("content-length: 10\r\n\r\nfirst", false),
        ] {
            let from = ([10, 0, 0, 9], 1000).into();
            let mut stream = net.switch.connect(from, FIRST.into()).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nhost: me\r\nconnection: close\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut said = Vec::new();
            // A reset is an end like another.
            let _ = soon("the end", stream.read_to_end(&mut said)).await;
            let said = String::from_utf8_lossy(&said);
            let case = format!("{path} {body:?}: {said:?}");
            match said.split(' ').nth(1) {
                Some("200") => assert_eq!(said.ends_with("\r\n0\r\n\r\n"), is_whole, "{case}"),
                Some("400") => assert!(reads_first && !is_whole, "{case}"),
                // It broke off before the head of the answer was on its way.
                _ => assert!(!reads_first && !is_whole, "{case}"),
            }
            assert!(!reads_first || is_whole || said.contains("HttpProtocolError"), "{case}");
        }
    }
}

#[tokio::test]
async fn components_of_both_versions_call_each_other() {
    let net = Net::new();
    net.name("second", "10.0.0.2");
    net.name("third", "10.0.0.1");
    net.name("nobody", "10.0.0.9");
    let (first, other) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    let (container, _) = serve(&first).await;
    let (spec, _) = spec(support::http().await, &[]);
    let _second = other.start(spec).unwrap();
    let third = net.switch.http(FIRST.into()).unwrap();
    let second = net.switch.http(([10, 0, 0, 2], 80).into()).unwrap();
    let from_3 = "Method::Get Some(Scheme::Http) third, call 1";
    for (handler, path, expected) in [
        (&third, "/fetch?second/hello", "hello second, call 1"),
        (&third, "/fetch?third/hello", from_3),
        (&second, "/fetch?third/hello", from_3),
        (&third, "/fetch?second/fetch?third/hello", from_3),
        (&third, "/fetch?third/late?1", "first second"),
    ] {
        let (status, text) = ask(handler, path).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, expected), "{path}");
    }
    for to in ["second/echo", "third/echo", "third/pass"] {
        let (status, text) = ask(&third, &format!("/post?{to}")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.len() == 300_000 && text.bytes().all(|byte| byte == b'x'), "{to}");
    }
    let (status, text) = ask(&third, "/fetch?nobody/hello").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(text.contains("DestinationIpUnroutable"), "{text}");
    let (_, text) = ask(&third, "/fetch?unknown/hello").await;
    assert!(text.contains("DnsError"), "{text}");
    assert_eq!(container.stats().errors, 0);
    no_instance(&container).await;
}

#[tokio::test]
async fn a_failing_request_is_answered_500_and_harms_no_other() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    for path in ["/panic", "/error"] {
        let (status, _) = ask(&handler, path).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
    for said in ["on purpose", "wasm trap", "the response was an error", "no luck"] {
        assert!(recorder.stderr().contains(said), "{said}: {}", recorder.stderr());
    }
    assert_eq!(ask(&handler, "/hello").await.0, StatusCode::OK);
    assert_eq!(container.stats().errors, 2);
    no_instance(&container).await;
}

#[tokio::test]
async fn a_failure_after_the_response_breaks_its_body() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    for path in ["/late-panic", "/broken-body"] {
        let response = soon("the head", handler.call(get(path))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        let first = soon("the first part", body.frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "first ", "{path}");
        assert!(soon("the end", body.collect()).await.is_err(), "{path}");
        no_instance(&container).await;
    }
    assert!(recorder.stderr().contains("after the response"));
    // Only the trap is the container's failure.
    assert_eq!(container.stats().errors, 1);
}

#[tokio::test]
async fn a_guest_goes_on_after_its_response() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    let (status, text) = ask(&handler, "/after").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "soon"));
    recorder.says("after the response").await;
    no_instance(&container).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_its_instance() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    for path in ["/wait?3600000", "/spin"] {
        let calling = tokio::spawn({
            let handler = handler.clone();
            async move { handler.call(get(path)).await }
        });
        let begun = async {
            while container.stats().memory_bytes == 0 {
                tokio::task::yield_now().await;
            }
        };
        soon("the instance", begun).await;
        calling.abort();
        no_instance(&container).await;
    }
    // One that goes away in the middle of the body: the guest's next write fails, and it ends.
    let response = soon("the head", handler.call(get("/late?50"))).await.unwrap();
    drop(response);
    no_instance(&container).await;
    assert_eq!(container.stats().errors, 0, "{}", recorder.stderr());
}

#[tokio::test]
async fn the_end_of_the_container_cuts_its_requests_off() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    let begun = soon("the head", handler.call(get("/late?3600000"))).await.unwrap();
    let mut body = begun.into_body();
    soon("the first part", body.frame()).await.unwrap().unwrap();
    let waiting = ["/wait?3600000", "/spin"].map(|path| {
        let handler = handler.clone();
        tokio::spawn(async move { handler.call(get(path)).await })
    });
    let all_begun = async {
        while container.stats().requests < 3 || container.stats().memory_bytes == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the requests", all_begun).await;
    container.kill();
    let exit = soon("the exit", container.exited()).await;
    assert_eq!((exit.code, exit.cause), (137, ExitCause::Killed));
    assert!(soon("the end", body.collect()).await.is_err());
    for waiting in waiting {
        let answer = soon("the answer", waiting).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    no_instance(&container).await;
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_takes_no_new_ones() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    let response = soon("the head", handler.call(get("/late?200"))).await.unwrap();
    let stopping = tokio::spawn({
        let container = container.clone();
        async move { container.stop(Duration::from_secs(3600)).await }
    });
    let closed = async {
        while net.switch.is_listening(FIRST.into()) {
            tokio::task::yield_now().await;
        }
    };
    soon("the port's end", closed).await;
    assert!(matches!(handler.call(get("/hello")).await, Err(HttpError::ConnectionRefused)));
    assert_eq!(text(response).await, "first second");
    let exit = soon("the exit", stopping).await.unwrap();
    assert_eq!((exit.code, exit.cause), (143, ExitCause::Stopped));
}

#[tokio::test]
async fn passing_the_memory_limit_in_a_request_ends_the_container() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (mut spec, _) = spec(p3_http().await, &[]);
    spec.limits.memory.bytes = Some(32 << 20);
    let container = sandbox.start(spec).unwrap();
    let handler = net.switch.http(FIRST.into()).unwrap();
    let (status, _) = ask(&handler, "/bomb").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let exit = soon("the exit", container.exited()).await;
    assert_eq!((exit.code, exit.cause), (137, ExitCause::OutOfMemory));
}

#[tokio::test]
async fn a_full_pool_overflows_instead_of_failing() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, _) = serve(&sandbox).await;
    let handler = net.switch.http(FIRST.into()).unwrap();
    // The tests' pool for WASI 0.3 holds 40.
    let waiting = (0..60).map(|_| handler.call(get("/wait?500")));
    let answers = soon("the answers", futures::future::join_all(waiting)).await;
    for answer in answers {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(container.stats().errors, 0);
}
