use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use copepod_runtime::{ExitCause, HttpError, LoadError, PoolConfig, Runtime, RuntimeConfig, World};
use http_body_util::{BodyExt, Empty};

use crate::support::{Net, guest, runtime, soon, spec};

fn cached(dir: &Path) -> std::sync::Arc<Runtime> {
    bounded(dir, None)
}

fn bounded(dir: &Path, bytes_max: Option<u64>) -> std::sync::Arc<Runtime> {
    Runtime::new(RuntimeConfig {
        cache_dir: Some(dir.to_owned()),
        cache_bytes_max: bytes_max,
        guest_threads: Some(1),
        pool: PoolConfig { instances: 10 },
    })
    .unwrap()
}

/// The files of the cache, by what they end in: a folder for each kind of engine.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let engines = std::fs::read_dir(dir).unwrap().map(|engine| engine.unwrap().path());
    let entries = engines.flat_map(|engine| std::fs::read_dir(engine).unwrap());
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

#[tokio::test]
async fn what_is_not_webassembly_is_refused_with_what_it_is() {
    for (bytes, expected) in [
        (&b"\x7fELF\x02\x01\x01"[..], "ELF"),
        (b"#!/usr/bin/env python\n", "a script (#!/usr/bin/env python)"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"just text", "text"),
        (b"", "empty"),
    ] {
        let error = runtime().load("test:wrong", Bytes::from_static(bytes)).await;
        let error = error.unwrap_err();
        assert!(matches!(error, LoadError::NotWasm { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
    let broken = Bytes::from_static(b"\0asm\x0d\0\x01\0broken");
    let error = runtime().load("test:wrong", broken).await.unwrap_err();
    assert!(matches!(error, LoadError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn a_component_without_a_world_is_refused() {
    let empty = Bytes::from_static(b"\0asm\x0d\0\x01\0");
    let error = runtime().load("test:empty", empty).await.unwrap_err();
    assert!(matches!(error, LoadError::NoWorld), "{error}");
    // A core module without an entry point.
    let empty = Bytes::from_static(b"\0asm\x01\0\0\0");
    let error = runtime().load("test:empty-core", empty).await.unwrap_err();
    assert!(error.to_string().contains("_start"), "{error}");
}

#[tokio::test]
async fn compiled_code_is_kept_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = guest("command-guest.wasm");
    let first = cached(dir.path());
    assert!(first.load_cached("sha256:ab").await.is_none());
    let loaded = first.load("sha256:ab", wasm).await.unwrap();
    assert_eq!((loaded.world(), loaded.digest()), (World::Command, "sha256:ab"));
    assert_eq!(files(dir.path(), "cwasm").len(), 1);

    let second = cached(dir.path());
    let found = second.load_cached("sha256:ab").await.unwrap();
    let sandbox = {
        let net = Net::new();
        let spec = copepod_runtime::SandboxSpec {
            name: "s".to_owned(),
            hostname: "s".to_owned(),
            ip: [10, 0, 0, 1].into(),
            outside: net.world.clone(),
        };
        second.sandbox(&net.switch, spec).unwrap()
    };
    let (spec, recorder) = spec(found, &["hello"]);
    let exit = soon("exit", sandbox.start(spec).unwrap().exited()).await;
    assert_eq!(exit.cause, ExitCause::Completed);
    assert_eq!(recorder.stdout(), "hello \n");
}

#[tokio::test]
async fn code_for_wasi_0_3_is_found_again_apart_from_that_for_0_2() {
    let dir = tempfile::tempdir().unwrap();
    let first = cached(dir.path());
    first.load("sha256:02", guest("http_guest.wasm")).await.unwrap();
    first.load("sha256:03", guest("p3_http_guest.wasm")).await.unwrap();
    let mut kept = files(dir.path(), "cwasm");
    kept.sort_by_key(|file| file.file_name().map(ToOwned::to_owned));
    let [for_2, for_3] = &kept[..] else { panic!("{kept:?}") };
    assert_ne!(for_2.parent(), for_3.parent());

    let second = cached(dir.path());
    for digest in ["sha256:02", "sha256:03"] {
        assert_eq!(second.load_cached(digest).await.unwrap().world(), World::Http);
    }
    // Sound code in the wrong folder is not code for its engines.
    let swap = |from: &Path, to: &Path| {
        for extension in ["cwasm", "sha256"] {
            let name = to.join("sha256-04").with_extension(extension);
            std::fs::copy(from.with_extension(extension), name).unwrap();
        }
    };
    for (from, to) in [(for_2, for_3), (for_3, for_2)] {
        swap(from, to.parent().unwrap());
        assert!(cached(dir.path()).load_cached("sha256:04").await.is_none());
        std::fs::remove_file(to.with_file_name("sha256-04.cwasm")).unwrap();
    }
}

#[tokio::test]
async fn damaged_compiled_code_is_compiled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = guest("http_guest.wasm");
    cached(dir.path()).load("sha256:cd", wasm.clone()).await.unwrap();
    let file = files(dir.path(), "cwasm").remove(0);
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &flipped] {
        // A new file, as damage on disk would be: the old one is still mapped.
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, damaged).unwrap();
        let runtime = cached(dir.path());
        assert!(runtime.load_cached("sha256:cd").await.is_none());
        let loaded = runtime.load("sha256:cd", wasm.clone()).await.unwrap();
        assert_eq!(loaded.world(), World::Http);
        assert!(std::fs::read(&file).unwrap() == whole);
    }
}

/// Makes a file look as if it was last used so long ago.
fn age(file: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    std::fs::File::open(file).unwrap().set_modified(then).unwrap();
}

/// The names of the files of code, in order.
fn code(dir: &Path) -> Vec<String> {
    let name = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = files(dir, "cwasm").iter().map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn compiled_code_beyond_the_bound_goes_by_its_last_use() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = guest("http_guest.wasm");
    for digest in ["sha256:0a", "sha256:0b"] {
        cached(dir.path()).load(digest, wasm.clone()).await.unwrap();
    }
    for file in files(dir.path(), "cwasm") {
        age(&file, 2);
    }
    // Found in the cache, it has been used.
    cached(dir.path()).load_cached("sha256:0a").await.unwrap();
    let one = std::fs::metadata(&files(dir.path(), "cwasm")[0]).unwrap().len();
    let runtime = bounded(dir.path(), Some(2 * one + one / 2));
    runtime.load("sha256:0c", wasm).await.unwrap();
    assert_eq!(code(dir.path()), ["sha256-0a", "sha256-0c"]);
    assert_eq!(files(dir.path(), "sha256").len(), 2);
}

#[tokio::test]
async fn code_that_is_forgotten_goes_while_its_container_runs_on() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = cached(dir.path());
    let artifact = runtime.load("sha256:0d", guest("http_guest.wasm")).await.unwrap();
    runtime.load("sha256:0e", guest("command-guest.wasm")).await.unwrap();
    let net = Net::new();
    let sandbox = runtime
        .sandbox(
            &net.switch,
            copepod_runtime::SandboxSpec {
                name: "s".to_owned(),
                hostname: "s".to_owned(),
                ip: [10, 0, 0, 1].into(),
                outside: net.world.clone(),
            },
        )
        .unwrap();
    let (spec, _) = spec(artifact, &[]);
    let _container = sandbox.start(spec).unwrap();
    runtime.forget("sha256:0d");
    assert_eq!(code(dir.path()), ["sha256-0e"]);
    assert_eq!(files(dir.path(), "sha256").len(), 1);
    // Its code is mapped, for instances that are made from now on, too.
    let handler = net.switch.http(([10, 0, 0, 1], 80).into()).expect("an HTTP component");
    let body = Empty::new().map_err(HttpError::from).boxed_unsync();
    let request = http::Request::get("http://service.example/hello").body(body).unwrap();
    let response = soon("an answer", handler.call(request)).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn what_nobody_asks_for_is_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = guest("http_guest.wasm");
    let runtime = cached(dir.path());
    for digest in ["sha256:1a", "sha256:1b", "sha256:1c"] {
        runtime.load(digest, wasm.clone()).await.unwrap();
    }
    runtime.load("sha256:13", guest("p3_http_guest.wasm")).await.unwrap();
    drop(runtime);
    for file in files(dir.path(), "cwasm") {
        let recent = file.file_stem().is_some_and(|name| name == "sha256-1c");
        age(&file, if recent { 1 } else { 30 });
    }
    let ours = files(dir.path(), "cwasm")[0].parent().unwrap().to_owned();
    let write = |path: PathBuf| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    };
    let foreign = dir.path().join("0123456789abcdef");
    write(foreign.join("sha256-1a.cwasm"));
    write(ours.join("sha256-1d.tmp-0-1"));
    write(ours.join("sha256-1d.sha256"));
    write(dir.path().join("notes").join("mine.txt"));

    cached(dir.path()).sweep(["sha256:1a", "sha256:13"]);
    assert!(!foreign.exists(), "code of another version");
    assert!(dir.path().join("notes/mine.txt").exists(), "no folder of compiled code");
    std::fs::remove_dir_all(dir.path().join("notes")).unwrap();
    // A store names the first two, and the third was used an hour ago.
    assert_eq!(code(dir.path()), ["sha256-13", "sha256-1a", "sha256-1c"]);
    assert_eq!(files(dir.path(), "sha256").len(), 3);
    assert!(files(dir.path(), "tmp-0-1").is_empty());
    cached(dir.path()).load_cached("sha256:13").await.expect("code for WASI 0.3 is ours, too");
}

#[tokio::test]
async fn concurrent_loads_share_one_artifact() {
    let wasm = guest("http_guest.wasm");
    let loads = (0..4).map(|_| runtime().load("test:shared", wasm.clone()));
    let loaded = futures::future::join_all(loads).await;
    let first = loaded[0].as_ref().unwrap();
    for other in &loaded {
        assert!(std::sync::Arc::ptr_eq(first, other.as_ref().unwrap()));
    }
}

#[tokio::test]
async fn a_core_module_of_preview_1_runs() {
    let artifact = runtime().load("test:core", preview1()).await.unwrap();
    assert_eq!(artifact.world(), World::Command);
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (spec, recorder) = spec(artifact, &[]);
    let exit = soon("exit", sandbox.start(spec).unwrap().exited()).await;
    assert_eq!(recorder.stdout(), "hello from preview 1\n");
    assert_eq!((exit.code, exit.cause), (7, ExitCause::Error));
}

/// A core module by hand: `fd_write(1, "hello…")`, then `proc_exit(7)`.
fn preview1() -> Bytes {
    const TEXT: &[u8] = b"hello from preview 1\n";
    const I32: u8 = 0x7f;
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    let mut section = |id: u8, body: &[u8]| {
        wasm.extend([id, u8::try_from(body.len()).unwrap()]);
        wasm.extend(body);
    };
    let name = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let import =
        |field: &str, ty: u8| [name("wasi_snapshot_preview1"), name(field), vec![0, ty]].concat();
    // Types: fd_write, proc_exit, _start.
    section(1, &[3, 0x60, 4, I32, I32, I32, I32, 1, I32, 0x60, 1, I32, 0, 0x60, 0, 0]);
    section(2, &[vec![2], import("fd_write", 0), import("proc_exit", 1)].concat());
    section(3, &[1, 2]);
    section(5, &[1, 0, 1]);
    let exports = [vec![2], name("memory"), vec![2, 0], name("_start"), vec![0, 2]];
    section(7, &exports.concat());
    #[rustfmt::skip]
    let code = [
        0, // no locals
        0x41, 1, 0x41, 0, 0x41, 1, 0x41, 40, 0x10, 0, 0x1a, // drop(fd_write(1, 0, 1, 40))
        0x41, 7, 0x10, 1, // proc_exit(7)
        0x0b,
    ];
    section(10, &[&[1, code.len() as u8], &code[..]].concat());
    // At 0 the vector (8, length), at 8 the text.
    let data = [&[8, 0, 0, 0, TEXT.len() as u8, 0, 0, 0], TEXT].concat();
    section(11, &[&[1, 0, 0x41, 0, 0x0b, data.len() as u8], &data[..]].concat());
    wasm.into()
}
