//! What guests may import beyond WASI's core, and that each of it is tried by a guest.

use std::collections::BTreeSet;
use std::sync::Arc;

use copepod_runtime::{Artifact, Unmet, World, offered_interfaces};
use wasmparser::{Parser, Payload};

use crate::support::{Net, guest, runtime, soon, spec};

/// Every guest of these tests: a new one belongs here.
const GUESTS: &[&str] = &[
    "command-guest.wasm",
    "desk_guest.wasm",
    "host-guest.wasm",
    "http_guest.wasm",
    "importer-guest.wasm",
    "library_guest.wasm",
    "p3_command_guest.wasm",
    "p3_http_guest.wasm",
    "p3-import-guest.wasm",
];

async fn host_guest() -> Arc<Artifact> {
    runtime().load("test:host", guest("host-guest.wasm")).await.unwrap()
}

async fn run(
    sandbox: &copepod_runtime::Sandbox,
    args: &[&str],
    config: &[(&str, &str)],
) -> (String, String) {
    let (mut spec, recorder) = spec(host_guest().await, args);
    spec.config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let container = sandbox.start(spec).unwrap();
    let exit = soon("the command's exit", container.exited()).await;
    assert_eq!(exit.code, 0, "{exit:?}: {}", recorder.stderr());
    (recorder.stdout(), recorder.stderr())
}

/// The names that a component imports.
fn imports(component: &[u8]) -> Vec<String> {
    let mut depth = 0usize;
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                names.extend(imports.into_iter().map(|i| i.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    names
}

#[tokio::test]
async fn every_offered_interface_and_every_world_has_a_guest() {
    let mut imported = BTreeSet::new();
    let mut worlds = Vec::new();
    for file in GUESTS {
        let wasm = guest(file);
        imported.extend(imports(&wasm));
        let artifact = runtime().load(&format!("test:all/{file}"), wasm).await.unwrap();
        worlds.push(artifact.world());
    }
    let untried: Vec<String> = offered_interfaces()
        .into_iter()
        .filter(|offered| {
            // Of a series, any patch version will do.
            let patch = format!("{offered}.");
            !imported.iter().any(|name| name == offered || name.starts_with(&patch))
        })
        .collect();
    assert!(untried.is_empty(), "no guest of the tests imports {untried:#?}");
    for world in [World::Command, World::Http, World::Library] {
        assert!(worlds.contains(&world), "no guest is a {world:?}");
    }
}

#[tokio::test]
async fn the_rest_of_wasis_core_answers() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    assert_eq!(run(&sandbox, &["core"], &[]).await.0, "well\n");
}

#[tokio::test]
async fn configuration_is_what_the_container_was_given() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let config = [("colour", "red"), ("size", "1"), ("colour", "blue")];
    let (said, _) = run(&sandbox, &["config", "colour"], &config).await;
    assert_eq!(said, "Some(\"blue\")\n[(\"colour\", \"blue\"), (\"size\", \"1\")]\n");
    let (said, _) = run(&sandbox, &["config", "colour"], &[]).await;
    assert_eq!(said, "None\n[]\n");
}

#[tokio::test]
async fn log_messages_are_lines_of_standard_error() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (_, said) = run(&sandbox, &["log"], &[]).await;
    assert_eq!(said, "INFO guest: one line\nCRITICAL two\\nlines\n");
}

#[tokio::test]
async fn buckets_hold_pairs_count_and_answer_in_batches_and_pages() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    assert_eq!(run(&sandbox, &["pairs"], &[]).await.0, "well\n");
}

#[tokio::test]
async fn buckets_outlive_containers_and_end_with_their_sandbox() {
    let net = Net::new();
    let (one, other) = (net.sandbox("10.0.0.1"), net.sandbox("10.0.0.2"));
    run(&one, &["set", "b", "key", "value"], &[]).await;
    assert_eq!(run(&one, &["get", "b", "key"], &[]).await.0, "Some(\"value\")\n");
    assert_eq!(run(&other, &["get", "b", "key"], &[]).await.0, "None\n");
}

#[tokio::test]
async fn a_guest_cannot_fill_the_host_with_pairs() {
    let sandbox = Net::new().sandbox("10.0.0.1");
    let (said, _) = run(&sandbox, &["fill"], &[]).await;
    let sets: u32 = said.split(' ').next().unwrap().parse().unwrap();
    assert!((8..=16).contains(&sets), "{said}");
    assert!(said.contains("no room"), "{said}");
}

/// A command with these imports.
fn importing(imports: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        {imports}
        (core module $m (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $r (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $r)))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn what_nobody_gives_is_named_with_what_comes_nearest() {
    let wasm = importing(
        r#"(import "wasi:cli/environment@0.9.0" (instance (export "all" (func))))
        (import "acme:door/bell@1.2.3" (instance (export "ring" (func))))
        (import "ring" (func))"#,
    );
    let artifact = runtime().load("test:unmet", wasm.into()).await.unwrap();
    let sandbox = Net::new().sandbox("10.0.0.1");
    let error = sandbox.start(spec(artifact, &[]).0).err().unwrap();
    let copepod_runtime::StartError::Imports { unmet } = &error else { panic!("{error}") };
    assert!(unmet.iter().all(|unmet| matches!(unmet.why, Unmet::Missing { .. })));
    assert_eq!(
        error.to_string(),
        "imports that nobody gives: \
         wasi:cli/environment@0.9.0 (the host offers wasi:cli/environment@0.2, the host offers wasi:cli/environment@0.3); \
         acme:door/bell@1.2.3 (nothing of acme:door is offered); \
         ring (only interfaces are offered, not bare functions)"
    );
}

#[tokio::test]
async fn an_interface_of_types_alone_needs_nobody_to_give_it() {
    let wasm = importing(
        r#"(import "acme:door/types@1.0.0" (instance
            (type (record (field "a" u32)))
            (export "key" (type (eq 0)))))"#,
    );
    let artifact = runtime().load("test:types", wasm.into()).await.unwrap();
    let sandbox = Net::new().sandbox("10.0.0.1");
    let container = sandbox.start(spec(artifact, &[]).0).unwrap();
    assert_eq!(soon("its exit", container.exited()).await.code, 0);
}
