//! Libraries: called by the embedder, and by the containers beside them.

use std::sync::Arc;
use std::time::Duration;

use copepod_runtime::{
    Artifact, CallError, Container, ContainerSpec, ExitCause, Mount, Sandbox, StartError, Stdin,
    Unmet, Val, World, cycle,
};
use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::support::{Net, Recorder, guest, runtime, soon, spec};

const GOODS: Option<&str> = Some("acme:shop/goods@0.2.0");

async fn load(name: &str) -> Arc<Artifact> {
    runtime().load(&format!("test:{name}"), guest(name)).await.unwrap()
}

fn named(name: &str, artifact: Arc<Artifact>, args: &[&str]) -> (ContainerSpec, Arc<Recorder>) {
    let (mut spec, recorder) = spec(artifact, args);
    spec.name = name.to_owned();
    (spec, recorder)
}

async fn shop(sandbox: &Sandbox) -> (Container, Arc<Recorder>) {
    let (spec, recorder) = named("shop", load("library_guest.wasm").await, &[]);
    (sandbox.start(spec).unwrap(), recorder)
}

async fn customer(sandbox: &Sandbox, args: &[&str]) -> (Container, Arc<Recorder>) {
    let (spec, recorder) = named("customer", load("importer-guest.wasm").await, args);
    (sandbox.start(spec).unwrap(), recorder)
}

/// A customer that says "ready", and calls when a line is sent to it.
async fn late_customer(sandbox: &Sandbox) -> (Container, Arc<Recorder>, DuplexStream) {
    let (mut spec, recorder) = named("customer", load("importer-guest.wasm").await, &["late"]);
    let (near, far) = tokio::io::duplex(64);
    spec.stdin = Stdin::Reader(Box::new(near));
    let container = sandbox.start(spec).unwrap();
    recorder.says("ready").await;
    (container, recorder, far)
}

/// A component of one interface with one function.
fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn exporting(interface: &str, result: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
        (core module $m (func (export "f") (result i32) i32.const 7))
        (core instance $i (instantiate $m))
        (func $f (result {result}) (canon lift (core func $i "f")))
        (instance $e (export "f" (func $f)))
        (export "{interface}" (instance $e)))"#
    ))
}

fn importing(interface: &str, exports: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
        (import "{interface}" (instance $in (export "f" (func (result u32)))))
        (core func $f (canon lower (func $in "f")))
        (core module $m
            (import "" "f" (func $f (result i32)))
            (func (export "f") (result i32) call $f))
        (core instance $i (instantiate $m (with "" (instance (export "f" (func $f))))))
        (func $g (result u32) (canon lift (core func $i "f")))
        (instance $e (export "f" (func $g)))
        (export "{exports}" (instance $e)))"#
    ))
}

async fn load_bytes(digest: &str, wasm: Vec<u8>) -> Arc<Artifact> {
    runtime().load(digest, wasm.into()).await.unwrap()
}

#[tokio::test]
async fn an_embedder_calls_functions_with_values_of_all_kinds() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (shop, _) = shop(&sandbox).await;
    let item = |name: &str, price: u32| {
        Val::Record(vec![
            ("name".to_owned(), Val::String(name.to_owned())),
            ("price".to_owned(), Val::U32(price)),
            ("tags".to_owned(), Val::List(vec![Val::String("new".to_owned())])),
        ])
    };
    let add = shop.call(GOODS, "add", &[Val::U32(40), Val::U32(2)]);
    assert_eq!(soon("a sum", add).await, Ok(vec![Val::U32(42)]));
    let arguments = [Val::List(vec![item("tea", 3)]), Val::String("tea".to_owned())];
    let sold = soon("a sale", shop.call(GOODS, "sell", &arguments)).await.unwrap();
    assert_eq!(sold, [Val::Variant("sold".to_owned(), Some(Box::new(item("tea", 4))))]);
    // By name alone, and outside of any interface.
    let count = soon("a count", shop.call(Some("acme:shop/goods"), "count", &[])).await;
    assert_eq!(count, Ok(vec![Val::U32(1)]));
    let doubled = soon("a double", shop.call(None, "double", &[Val::U32(4)])).await;
    assert_eq!(doubled, Ok(vec![Val::U32(8)]));
    // Each call has an instance of its own.
    let count = soon("a count", shop.call(GOODS, "count", &[])).await;
    assert_eq!(count, Ok(vec![Val::U32(1)]));
    let stats = shop.stats();
    assert_eq!((stats.requests, stats.errors), (5, 0));
    let idle = async {
        while shop.stats().memory_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("nothing of it is left", idle).await;
}

#[tokio::test]
async fn a_call_that_cannot_be_made_says_why() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (shop, recorder) = shop(&sandbox).await;
    let error = shop.call(GOODS, "nothing", &[]).await.unwrap_err();
    assert!(error.to_string().contains("acme:shop/goods@0.2.3"), "{error}");
    let error = shop.call(Some("acme:shop/goods@0.3.0"), "add", &[]).await.unwrap_err();
    assert!(matches!(error, CallError::NoFunction { .. }), "{error}");
    let error = shop.call(GOODS, "add", &[Val::U32(1)]).await.unwrap_err();
    assert!(matches!(error, CallError::Arguments { wanted: 2, given: 1, .. }), "{error}");
    let error = shop.call(Some("acme:shop/carts"), "filled", &[Val::List(vec![])]).await;
    assert!(matches!(error, Err(CallError::Bound { .. })), "{error:?}");
    let error = soon("a trap", shop.call(GOODS, "fail", &[])).await.unwrap_err();
    assert!(matches!(&error, CallError::Failed(why) if why.contains("container shop")), "{error}");
    assert!(recorder.stderr().contains("on purpose"));
    assert_eq!(shop.stats().errors, 1);
    // A failure ends its instance alone.
    assert!(soon("a count", shop.call(GOODS, "count", &[])).await.is_ok());
}

#[tokio::test]
async fn a_library_runs_until_it_is_ended_and_its_limits_hold() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, _) = named("shop", load("library_guest.wasm").await, &[]);
    spec.limits.memory.bytes = Some(64 << 20);
    let artifact = spec.artifact.clone();
    assert_eq!(artifact.world(), World::Library);
    let shop = sandbox.start(spec).unwrap();
    let error = soon("its end", shop.call(GOODS, "hoard", &[])).await.unwrap_err();
    assert!(matches!(error, CallError::Failed(_)), "{error}");
    assert_eq!(soon("its exit", shop.exited()).await.cause, ExitCause::OutOfMemory);
    let error = shop.call(GOODS, "count", &[]).await.unwrap_err();
    assert!(matches!(error, CallError::Ended { .. }), "{error}");

    let (spec, recorder) = named("shop", artifact, &[]);
    let shop = sandbox.start(spec).unwrap();
    let spinning = tokio::spawn({
        let shop = shop.clone();
        async move { shop.call(GOODS, "spin", &[]).await }
    });
    recorder.says("spinning").await;
    shop.kill();
    let called = soon("the call's end", spinning).await.unwrap();
    assert!(called.is_err(), "{called:?}");
    assert_eq!(soon("its exit", shop.exited()).await.code, 137);
}

#[tokio::test]
async fn a_call_of_an_embedder_has_the_time_of_a_request() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, _) = named("shop", load("library_guest.wasm").await, &[]);
    spec.limits.time.request = Some(Duration::from_secs(2));
    spec.limits.counts.requests = 1;
    let shop = sandbox.start(spec).unwrap();
    // The second one's wait for a place counts.
    let calls = [(); 2].map(|()| shop.call(GOODS, "spin", &[]));
    for called in soon("the calls' end", futures::future::join_all(calls)).await {
        let error = called.unwrap_err();
        assert!(matches!(error, CallError::Late { .. }), "{error}");
        let wanted = "acme:shop/goods@0.2.0 spin took longer than the 2s that container shop has for a request";
        assert_eq!(error.to_string(), wanted);
    }
    assert_eq!((shop.stats().requests, shop.stats().errors), (2, 2));
    let idle = async {
        while shop.stats().memory_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the instances' end", idle).await;
    assert!(soon("a count", shop.call(GOODS, "count", &[])).await.is_ok());
}

#[tokio::test]
async fn calls_of_an_embedder_wait_for_a_place_and_too_many_are_turned_away() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (mut spec, recorder) = named("shop", load("library_guest.wasm").await, &[]);
    spec.limits.counts.requests = 1;
    spec.limits.counts.requests_waiting = 1;
    let shop = sandbox.start(spec).unwrap();
    let call = |function: &'static str| {
        let shop = shop.clone();
        tokio::spawn(async move { shop.call(GOODS, function, &[]).await })
    };
    let running = call("spin");
    recorder.says("spinning").await;
    let waiting = call("count");
    let waits = async {
        while shop.stats().requests < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon("the second call", waits).await;
    let error = soon("the third call", shop.call(GOODS, "count", &[])).await.unwrap_err();
    assert_eq!(error.to_string(), "container shop is busy: 1 calls wait already");
    assert!(!waiting.is_finished());
    // A caller that goes away leaves its place to the next.
    running.abort();
    let counted = soon("the second call's turn", waiting).await.unwrap();
    assert_eq!(counted, Ok(vec![Val::U32(1)]));
}

#[tokio::test]
async fn the_time_of_a_call_is_the_callees() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (shop, _) = shop(&sandbox).await;
    let (caller, _) = customer(&sandbox, &["spin"]).await;
    let busy = async {
        while shop.stats().cpu_time < Duration::from_millis(600) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the callee's time", busy).await;
    let (called, calling) = (shop.stats().cpu_time, caller.stats().cpu_time);
    assert!(calling < called / 2, "{calling:?} {called:?}");
    caller.kill();
}

#[tokio::test]
async fn values_and_resources_cross_between_containers() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (shop, said) = shop(&sandbox).await;
    for step in ["values", "carts"] {
        let (customer, recorder) = customer(&sandbox, &[step]).await;
        let exit = soon("the customer's exit", customer.exited()).await;
        assert_eq!(exit.code, 0, "{step}: {} {}", recorder.stderr(), said.stderr());
        assert_eq!(recorder.stdout(), "well\n", "{step}");
    }
    // What the provider prints is its own; each handle was dropped there.
    assert!(said.stdout().contains("a cart for one"), "{}", said.stdout());
    assert_eq!(said.stdout().matches("is gone").count(), 5, "{}", said.stdout());
    assert_eq!(shop.stats().errors, 0);
    let idle = async {
        while shop.stats().memory_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the provider's instances go with their callers", idle).await;
}

#[tokio::test]
async fn a_provider_has_its_own_environment_mounts_and_limits() {
    let net = Net::new();
    let sandbox = net.sandbox("10.0.0.1");
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("file"), "from a file").unwrap();
    let (mut spec, said) = named("shop", load("library_guest.wasm").await, &[]);
    spec.env = vec![("NAME".to_owned(), "the shop".to_owned())];
    spec.limits.memory.bytes = Some(64 << 20);
    spec.mounts = vec![Mount {
        guest_path: "/data".to_owned(),
        host_dir: data.path().to_owned(),
        read_only: true,
    }];
    let shop = sandbox.start(spec).unwrap();
    let (container, recorder) = customer(&sandbox, &["place"]).await;
    assert_eq!(soon("its exit", container.exited()).await.code, 0, "{}", recorder.stderr());
    assert_eq!(recorder.stdout(), "the shop from a file\n");
    assert_eq!(said.stdout(), "asked for its place\n");

    // The provider's limit is passed, not the caller's.
    let (container, recorder) = customer(&sandbox, &["hoard"]).await;
    let exit = soon("its exit", container.exited()).await;
    assert!(matches!(exit.cause, ExitCause::Trap(_)), "{exit:?}");
    assert!(recorder.stderr().contains("container shop failed"), "{}", recorder.stderr());
    assert_eq!(soon("the shop's exit", shop.exited()).await.cause, ExitCause::OutOfMemory);
}

#[tokio::test]
async fn a_trap_in_the_provider_traps_the_caller_and_counts_there() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (shop, said) = shop(&sandbox).await;
    let (container, recorder) = customer(&sandbox, &["fail"]).await;
    let exit = soon("its exit", container.exited()).await;
    let ExitCause::Trap(cause) = &exit.cause else { panic!("{exit:?}") };
    assert!(cause.contains("container shop failed in acme:shop/goods@0.2.3 fail"), "{cause}");
    assert!(recorder.stderr().contains("container shop failed"));
    assert!(said.stderr().contains("on purpose") && said.stderr().contains("wasm trap"));
    assert_eq!(shop.stats().errors, 1);
    assert_eq!(container.stats().errors, 0);
}

#[tokio::test]
async fn a_callers_end_ends_what_it_called_and_the_other_way_round() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (shop, said) = shop(&sandbox).await;
    let (caller, _) = customer(&sandbox, &["spin"]).await;
    said.says("spinning").await;
    caller.kill();
    assert_eq!(soon("its exit", caller.exited()).await.code, 137);
    let idle = async {
        while shop.stats().memory_bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the provider's instance goes", idle).await;

    let (caller, recorder) = customer(&sandbox, &["spin"]).await;
    let again = async {
        while said.stdout().matches("spinning").count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the second call", again).await;
    shop.kill();
    assert_eq!(soon("its exit", caller.exited()).await.code, 134);
    assert!(recorder.stderr().contains("container shop ended"), "{}", recorder.stderr());
}

#[tokio::test]
async fn a_provider_costs_nothing_until_it_is_called() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (shop, _) = shop(&sandbox).await;
    let (container, _) = customer(&sandbox, &["nothing"]).await;
    assert_eq!(soon("its exit", container.exited()).await.code, 0);
    assert_eq!((shop.stats().memory_bytes, shop.stats().cpu_time), (0, Duration::ZERO));
}

#[tokio::test]
async fn a_library_that_was_stopped_still_answers_who_finishes_beside_it() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (stopped, _) = shop(&sandbox).await;
    let (container, recorder, mut line) = late_customer(&sandbox).await;
    assert_eq!(soon("a stop", stopped.stop(Duration::from_secs(5))).await.code, 143);
    line.write_all(b"now\n").await.unwrap();
    assert_eq!(soon("its exit", container.exited()).await.code, 0, "{}", recorder.stderr());
    assert_eq!(recorder.stdout(), "ready\n3\n");

    // Killed, it answers nobody.
    let (killed, _) = shop(&sandbox).await;
    let (container, recorder, mut line) = late_customer(&sandbox).await;
    killed.kill();
    line.write_all(b"now\n").await.unwrap();
    assert_eq!(soon("its exit", container.exited()).await.code, 134);
    assert!(recorder.stderr().contains("does not run"), "{}", recorder.stderr());
}

#[tokio::test]
async fn a_resource_of_another_interface_is_refused_by_name() {
    const POLL: &str = r#"
        (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
        (alias export $poll "pollable" (type $pollable))"#;
    let importer = component(&format!(
        r#"(component {POLL}
        (import "acme:a/p@1.0.0" (instance
            (alias outer 1 $pollable (type $p))
            (type $b (borrow $p))
            (export "f" (func (param "p" $b)))))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $g (canon lift (core func $i "f")))
        (export "g" (func $g)))"#
    ));
    let provider = component(&format!(
        r#"(component {POLL}
        (core module $m (func (export "f") (param i32)))
        (core instance $i (instantiate $m))
        (type $b (borrow $pollable))
        (func $f (param "p" $b) (canon lift (core func $i "f")))
        (instance $e (export "f" (func $f)))
        (export "acme:a/p@1.0.0" (instance $e)))"#
    ));
    let sandbox = Net::new().sandbox("10.0.0.1");
    let provider = load_bytes("test:foreign-provider", provider).await;
    let _provider = sandbox.start(named("other", provider, &[]).0).unwrap();
    let importer = load_bytes("test:foreign-importer", importer).await;
    let error = sandbox.start(named("importer", importer, &[]).0).err().unwrap();
    let wanted =
        "f passes pollable of wasi:io/poll@0.2.0, a resource that this container does not give";
    assert!(error.to_string().contains(wanted), "{error}");
}

#[tokio::test]
async fn a_provider_may_import_from_a_third() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (shop, _) = shop(&sandbox).await;
    let (spec, recorder) = named("desk", load("desk_guest.wasm").await, &[]);
    let desk = sandbox.start(spec).unwrap();
    let name = [Val::String("Ada".to_owned())];
    let said = soon("a greeting", desk.call(Some("acme:front/desk"), "greet", &name)).await;
    assert_eq!(said, Ok(vec![Val::String("Ada, that is 5 at  ".to_owned())]));
    let error = soon("a trap", desk.call(Some("acme:front/desk"), "fail", &[])).await.unwrap_err();
    assert!(error.to_string().contains("container shop failed"), "{error}");
    assert_eq!((shop.stats().errors, desk.stats().errors), (1, 1));
    assert!(recorder.stderr().contains("container shop failed"));
}

#[tokio::test]
async fn without_a_match_both_sides_are_named() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let unmet = |error: StartError| match error {
        StartError::Imports { unmet } => unmet,
        other => panic!("{other}"),
    };
    let importer =
        load_bytes("test:imports-f", importing("acme:a/f@1.0.0", "acme:b/f@1.0.0")).await;
    let refused =
        || unmet(sandbox.start(named("importer", importer.clone(), &[]).0).err().unwrap());
    let missing = refused();
    assert_eq!(missing[0].name, "acme:a/f@1.0.0");

    let older = load_bytes("test:exports-2", exporting("acme:a/f@2.0.0", "u32")).await;
    let _older = sandbox.start(named("older", older, &[]).0).unwrap();
    let nearest = refused()[0].to_string();
    assert_eq!(nearest, "acme:a/f@1.0.0 (container older exports acme:a/f@2.0.0)");

    let other = load_bytes("test:exports-s32", exporting("acme:a/f@1.3.0", "s32")).await;
    let other = sandbox.start(named("other", other, &[]).0).unwrap();
    let different = refused()[0].to_string();
    assert_eq!(
        different,
        "acme:a/f@1.0.0 (container other exports it otherwise: \
         wanted is f: func() -> u32, there is f: func() -> s32)"
    );
    other.kill();

    let same = load_bytes("test:exports-u32", exporting("acme:a/f@1.3.0", "u32")).await;
    let _one = sandbox.start(named("one", same.clone(), &[]).0).unwrap();
    let started = sandbox.start(named("importer", importer.clone(), &[]).0).unwrap();
    let seven = soon("a call", started.call(Some("acme:b/f"), "f", &[])).await;
    assert_eq!(seven, Ok(vec![Val::U32(7)]));
    started.kill();
    let _two = sandbox.start(named("two", same, &[]).0).unwrap();
    let ambiguous = refused();
    assert!(matches!(&ambiguous[0].why, Unmet::Ambiguous { containers } if containers.len() == 2));
}

#[tokio::test]
async fn containers_that_would_wait_for_each_other_are_found() {
    let one = load_bytes("test:cycle-1", importing("acme:a/f@1.0.0", "acme:b/f@1.0.0")).await;
    let two = load_bytes("test:cycle-2", importing("acme:b/f@1.0.0", "acme:c/f@1.0.0")).await;
    let three = load_bytes("test:cycle-3", importing("acme:c/f@1.0.0", "acme:a/f@1.0.0")).await;
    let all = [Some(one.clone()), Some(two.clone()), None, Some(three.clone())];
    assert_eq!(cycle(0, &all), Some(vec![0, 3, 1]));
    assert_eq!(cycle(0, &all[..3]), None);

    // Where the circle closes only when a container is started anew, with another program.
    let sandbox = Net::new().sandbox("10.0.0.1");
    let start =
        |name: &str, artifact: &Arc<Artifact>| sandbox.start(named(name, artifact.clone(), &[]).0);
    let plain = load_bytes("test:cycle-0", exporting("acme:a/f@1.0.0", "u32")).await;
    let first = start("three", &plain).unwrap();
    let _one = start("one", &one).unwrap();
    let _two = start("two", &two).unwrap();
    first.kill();
    let error = start("three", &three).err().unwrap();
    assert!(matches!(&error, StartError::Cycle { .. }), "{error}");
}

#[tokio::test]
async fn a_container_that_alone_exports_what_it_imports_is_told_so() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let same = importing("acme:own/x@1.0.0", "acme:own/x@1.2.0");
    let same = load_bytes("test:imports-from-itself", same).await;
    let error = sandbox.start(named("same", same, &[]).0).err().unwrap();
    assert_eq!(
        error.to_string(),
        "imports that nobody gives: acme:own/x@1.0.0 (only this container itself exports it, and none imports from \
         itself)"
    );
}
