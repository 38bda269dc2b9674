use std::time::{Duration, Instant};

use copepod_runtime::{ExitCause, Mount, StartError, Stdin};

use crate::support::{Net, command, p3_command, run, soon, spec, start};

#[tokio::test]
async fn a_command_gets_its_arguments_and_environment_and_completes() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, recorder) = spec(command().await, &["hello"]);
    spec.env = vec![("NAME".to_owned(), "world".to_owned())];
    let container = sandbox.start(spec).unwrap();
    let exit = soon("exit", container.exited()).await;
    assert_eq!((exit.code, exit.cause), (0, ExitCause::Completed));
    assert_eq!(recorder.stdout(), "hello world\n");
    assert_eq!(recorder.stderr(), "to stderr\n");
    assert_eq!(container.stats().memory_bytes, 0);
    assert!(container.stats().cpu_time > Duration::ZERO);
}

#[tokio::test]
async fn exit_codes_arrive() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    for (args, code) in [
        (["exit", "0"], 0),
        (["exit-with-code", "42"], 42),
        // WASI 0.2's plain exit knows success and failure only.
        (["exit", "3"], 1),
    ] {
        let (container, _) = start(&sandbox, &args).await;
        let exit = soon("exit", container.exited()).await;
        let cause = match code {
            0 => ExitCause::Completed,
            _ => ExitCause::Error,
        };
        assert_eq!((exit.code, exit.cause), (code, cause), "{args:?}");
    }
}

#[tokio::test]
async fn a_trap_is_code_134_with_its_message_on_stderr() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["panic"]).await;
    let exit = soon("exit", container.exited()).await;
    assert_eq!(exit.code, 134);
    let ExitCause::Trap(message) = exit.cause else {
        panic!("{:?}", exit.cause);
    };
    assert!(message.contains("unreachable"), "{message}");
    assert!(recorder.stderr().contains("on purpose"));
    assert!(recorder.stderr().contains("wasm trap"));
}

#[tokio::test]
async fn standard_input_is_read_to_its_end() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, recorder) = spec(command().await, &["cat"]);
    spec.stdin = Stdin::Reader(Box::new(&b"some\ninput"[..]));
    let container = sandbox.start(spec).unwrap();
    assert_eq!(soon("exit", container.exited()).await.code, 0);
    assert_eq!(recorder.stdout(), "some\ninput");
    // Closed by default.
    assert_eq!(run(&sandbox, &["cat"]).await, "");
}

#[tokio::test]
async fn an_endless_loop_is_killed_at_once() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["spin"]).await;
    recorder.says("spinning").await;
    let begun = Instant::now();
    container.kill();
    let exit = soon("exit", container.exited()).await;
    let took = begun.elapsed();
    assert_eq!((exit.code, exit.cause), (137, ExitCause::Killed));
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn a_command_without_listeners_stops_at_once() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["sleep"]).await;
    recorder.says("sleeping").await;
    let exit = soon("stop", container.stop(Duration::from_secs(3600))).await;
    assert_eq!((exit.code, exit.cause), (143, ExitCause::Stopped));
}

#[tokio::test]
async fn passing_the_memory_limit_is_out_of_memory() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, _) = spec(command().await, &["bomb"]);
    spec.limits.memory.bytes = Some(32 << 20);
    let container = sandbox.start(spec).unwrap();
    let exit = soon("exit", container.exited()).await;
    assert_eq!((exit.code, exit.cause), (137, ExitCause::OutOfMemory));
}

#[tokio::test]
async fn a_cpu_limit_holds_a_busy_guest_back() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, recorder) = spec(command().await, &["spin"]);
    spec.limits.cpu.quota_millis = Some(100);
    let container = sandbox.start(spec).unwrap();
    recorder.says("spinning").await;
    let begun = Instant::now();
    let used = || container.stats().cpu_time;
    let (before, wanted) = (used(), Duration::from_millis(100));
    soon("100 ms of CPU", async {
        while used() - before < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    container.kill();
    // A tenth of a core takes a second for it; a busy machine only makes it longer.
    let share = (used() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    assert!(share < 0.3, "{share}");
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
        (true, &["write", "/data/in", "text"], "error PermissionDenied\n"),
        (false, &["read", "/data/../etc/passwd"], "error"),
        (false, &["read", "/etc/passwd"], "error"),
    ] {
        let (mut spec, recorder) = spec(command().await, args);
        spec.mounts = vec![Mount {
            guest_path: "/data".to_owned(),
            host_dir: dir.path().to_owned(),
            read_only,
        }];
        let container = sandbox.start(spec).unwrap();
        soon("exit", container.exited()).await;
        let said = recorder.stdout();
        assert!(said.starts_with(expected), "{args:?}: {said}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("out")).unwrap(), "text");
}

#[tokio::test]
async fn a_missing_mount_refuses_the_start() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, _) = spec(command().await, &["hello"]);
    spec.mounts = vec![Mount {
        guest_path: "/data".to_owned(),
        host_dir: "/no/such/folder".into(),
        read_only: true,
    }];
    let error = sandbox.start(spec).err().unwrap();
    assert!(matches!(error, StartError::Mount { .. }), "{error}");
}

#[tokio::test]
async fn a_closed_sandbox_kills_its_containers_and_frees_its_address() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (container, recorder) = start(&sandbox, &["sleep"]).await;
    recorder.says("sleeping").await;
    sandbox.close();
    assert_eq!(soon("exit", container.exited()).await.code, 137);
    assert!(!net.switch.attached("10.0.0.1".parse().unwrap()));
    let (spec, _) = spec(command().await, &["hello"]);
    assert!(matches!(sandbox.start(spec), Err(StartError::SandboxClosed { .. })));
    net.sandbox("10.0.0.1");
}

/// Names are the test process's own as cargo sets them, its host's name, a listener and an address of its host's.
#[tokio::test]
async fn nothing_of_the_hosts_reaches_a_guest_but_what_its_specification_gives() {
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok() && std::env::var("PATH").is_ok());
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Net::new().sandbox("10.0.0.1");
    for artifact in [command().await, p3_command().await] {
        let (bare, recorder) = spec(artifact.clone(), &["place"]);
        let container = sandbox.start(bare).unwrap();
        assert_eq!(soon("exit", container.exited()).await.code, 0, "{}", recorder.stderr());
        assert_eq!(recorder.stdout(), "[\"guest\", \"place\"]\n[]\nNone\n[]\n");
        let (mut given, recorder) = spec(artifact, &["place"]);
        given.env = vec![("NAME".to_owned(), "world".to_owned())];
        given.working_dir = Some("/data".to_owned());
        given.mounts = vec![Mount {
            guest_path: "/data".to_owned(),
            host_dir: dir.path().to_owned(),
            read_only: true,
        }];
        let container = sandbox.start(given).unwrap();
        assert_eq!(soon("exit", container.exited()).await.code, 0, "{}", recorder.stderr());
        let expected =
            "[\"guest\", \"place\"]\n[(\"NAME\", \"world\")]\nSome(\"/data\")\n[\"/data\"]\n";
        assert_eq!(recorder.stdout(), expected);
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if !["", "localhost", "myself"].contains(&name.trim()) {
        let said = run(&sandbox, &["resolve", name.trim()]).await;
        assert!(said.starts_with("error"), "{said}");
    }
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = run(&sandbox, &["connect", &format!("127.0.0.1:{port}")]).await;
    assert_eq!(said, "error ConnectionRefused\n");
    // The address that the host would speak from; nothing is sent.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    if probe.connect("192.0.2.1:9").is_ok() {
        let own = probe.local_addr().unwrap().ip();
        let said = run(&sandbox, &["connect", &format!("{own}:{port}")]).await;
        assert_eq!(said, "error HostUnreachable\n");
        let said = run(&sandbox, &["bind", &format!("{own}:0")]).await;
        assert_eq!(said, "error AddrNotAvailable\n");
    }
    assert_eq!(run(&sandbox, &["bind", "10.0.0.1:81"]).await, "bound 10.0.0.1:81\n");
}
