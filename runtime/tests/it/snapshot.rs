use std::sync::Arc;

use bytes::Bytes;
use copepod_runtime::{
    Artifact, Container, LoadError, PoolConfig, Runtime, RuntimeConfig, SnapshotError,
};

use crate::support::{Net, Recorder, guest, runtime, soon, spec};

/// Runs a command to its exit, which must be good.
async fn run(artifact: &Arc<Artifact>) -> (Container, Arc<Recorder>) {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let (mut spec, recorder) = spec(artifact.clone(), &["one"]);
    spec.env.push(("NAME".to_owned(), "x".to_owned()));
    let container = sandbox.start(spec).unwrap();
    let exit = soon("the command's exit", container.exited()).await;
    assert_eq!(exit.code, 0, "{exit:?}: {}", recorder.stderr());
    (container, recorder)
}

/// The rest of the line that begins so.
fn line(text: &str, begins: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(begins));
    line.unwrap_or_else(|| panic!("no {begins:?} in {text:?}")).trim().to_owned()
}

#[tokio::test]
async fn a_snapshot_behaves_the_same_and_needs_no_initialisation() {
    let wasm = guest("snapshot-guest.wasm");
    let plain = runtime().load("test:snapshot", wasm.clone()).await.unwrap();
    let snapshot = runtime().load_snapshot("test:snapshot", wasm).await.unwrap();
    let (slow, said) = run(&plain).await;
    let said = said.stdout();
    assert_eq!(line(&said, "initialised"), "false");
    let mut before = Vec::new();
    for _ in 0..2 {
        let (fast, again) = run(&snapshot).await;
        let again = again.stdout();
        assert_eq!(line(&again, "initialised"), "true");
        for same in ["table", "args"] {
            assert_eq!(line(&again, same), line(&said, same));
        }
        // Neither the clock nor random values are those of the initialisation.
        before.push((line(&again, "random"), line(&again, "now").parse::<u64>().unwrap()));
        // A million chains against one look through a table.
        let (fast, slow) = (fast.stats().cpu_time, slow.stats().cpu_time);
        assert!(fast * 4 < slow, "{fast:?} against {slow:?}");
    }
    assert_ne!(before[0].0, before[1].0);
    assert!(before[0].1 < before[1].1, "{before:?}");
}

#[tokio::test]
async fn a_snapshot_is_kept_beside_the_compiled_code() {
    let dir = tempfile::tempdir().unwrap();
    let new = || {
        Runtime::new(RuntimeConfig {
            cache_dir: Some(dir.path().to_owned()),
            cache_bytes_max: None,
            guest_threads: Some(1),
            pool: PoolConfig { instances: 10 },
        })
        .unwrap()
    };
    let wasm = guest("snapshot-guest.wasm");
    let first = new();
    assert!(first.load_cached_snapshot("test:kept").await.is_none());
    first.load_snapshot("test:kept", wasm).await.unwrap();
    drop(first);
    let second = new();
    assert!(second.load_cached("test:kept").await.is_none(), "the original was never loaded");
    second.load_cached_snapshot("test:kept").await.expect("the snapshot is in the cache");
}

/// A preview 1 command that prints what its memory holds.
fn module(initialise: &str) -> Bytes {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (global $ready (mut i32) (i32.const 0))
            (data (i32.const 0) "\10\00\00\00\06\00\00\00")
            (data (i32.const 16) "empty\n")
            {initialise}
            (func (export "_start")
                (i32.store8 (i32.const 21) (i32.add (global.get $ready) (i32.const 10)))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    );
    wat::parse_str(text).unwrap().into()
}

#[tokio::test]
async fn a_core_module_is_initialised_before_it_is_adapted() {
    let fill = r#"(func (export "wizer-initialize")
        (i32.store (i32.const 16) (i32.const 0x6c6c7566))
        (i32.store8 (i32.const 20) (i32.const 33))
        (global.set $ready (i32.const 23)))"#;
    let plain = runtime().load("test:snapshot-core", module(fill)).await.unwrap();
    let snapshot = runtime().load_snapshot("test:snapshot-core", module(fill)).await.unwrap();
    assert_eq!(run(&plain).await.1.stdout(), "empty\n");
    // The memory's first word and the global are those of the initialisation.
    assert_eq!(run(&snapshot).await.1.stdout(), "full!!");
}

async fn refused(digest: &str, wasm: Bytes) -> SnapshotError {
    match runtime().load_snapshot(digest, wasm).await {
        Err(LoadError::Snapshot(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_would_be_frozen_into_a_snapshot_is_refused_by_name() {
    let random = r#"(func (export "wizer-initialize")
        (drop (call $random (i32.const 0) (i32.const 8))))"#;
    let refusal = refused("test:random-core", module(random)).await.to_string();
    assert!(refusal.contains("wasi_snapshot_preview1#random_get"), "{refusal}");
    let component = r#"(component
        (import "wasi:random/random@0.2.0"
            (instance $random (export "get-random-u64" (func (result u64)))))
        (core func $get (canon lower (func $random "get-random-u64")))
        (core module $m
            (import "" "get" (func $get (result i64)))
            (func (export "initialise") (drop (call $get))))
        (core instance $i (instantiate $m (with "" (instance (export "get" (func $get))))))
        (func (export "wizer-initialize") (canon lift (core func $i "initialise"))))"#;
    let refusal = refused("test:random", wat::parse_str(component).unwrap().into()).await;
    let refusal = refusal.to_string();
    assert!(refusal.contains("wasi:random/random@0.2.0#get-random-u64"), "{refusal}");
}

#[tokio::test]
async fn a_guest_that_cannot_be_initialised_says_why() {
    let none = refused("test:none", guest("command-guest.wasm")).await;
    assert!(matches!(none, SnapshotError::NoInitialiser), "{none}");
    let none = refused("test:none-core", module("")).await;
    assert!(matches!(none, SnapshotError::NoInitialiser), "{none}");
    let trap = r#"(func (export "wizer-initialize") unreachable)"#;
    let trapped = refused("test:trap", module(trap)).await;
    assert!(trapped.to_string().contains("unreachable"), "{trapped}");
    let large = r#"(func (export "wizer-initialize") (drop (memory.grow (i32.const 20000))))"#;
    let failed = refused("test:large", module(large)).await;
    assert!(matches!(failed, SnapshotError::Failed { .. }), "{failed}");
    let tables = r#"(table 1 funcref)
        (func (export "wizer-initialize") (table.set (i32.const 0) (ref.null func)))"#;
    let unsupported = refused("test:tables", module(tables)).await;
    assert!(unsupported.to_string().contains("table.set"), "{unsupported}");
}
