//! `copepod.dev/snapshot`: containers that start from memory which was initialised before.

use super::support::{Fixture, agent};

/// Prints what its memory holds, which its initialisation changes.
const PRINTER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\06\00\00\00")
    (data (i32.const 16) "fresh\n")
    (func (export "wizer-initialize")
        (i32.store (i32.const 16) (i32.const 0x6d726177)) (i32.store8 (i32.const 20) (i32.const 33)))
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_annotated_container_starts_from_its_initialised_memory() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let printer = wat::parse_str(PRINTER).expect("a module");
    fixture.cluster.import_image("printer:1", printer).await.expect("it is a module");
    for (pod, key, value, said) in [
        ("plain", "copepod.dev/snapshot", "false", "fresh\n"),
        ("both", "copepod.dev/snapshot", "true", "warm!\n"),
        ("own", "copepod.dev/snapshot.agent", "true", "warm!\n"),
    ] {
        let labels = format!("labels: {{app: {pod}}}");
        let annotated = format!("{labels}, annotations: {{{key}: '{value}'}}");
        let pod_yaml = agent(pod, "Never", &[]).replace("agent:1", "printer:1");
        kubectl.apply(&pod_yaml.replace(&labels, &annotated)).await;
        kubectl.until(&format!("logs {pod}"), |log| log == said).await;
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_snapshot_says_why() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    for (pod, value, reason, wanted) in [
        ("none", "true", "CreateContainerError", "exports no function wizer-initialize"),
        ("odd", "yes", "CreateContainerConfigError", "annotation copepod.dev/snapshot is \"yes\""),
    ] {
        let labels = format!("labels: {{app: {pod}}}");
        let annotated = format!("{labels}, annotations: {{copepod.dev/snapshot: '{value}'}}");
        kubectl.apply(&agent(pod, "Never", &[]).replace(&labels, &annotated)).await;
        let waiting =
            format!("get pod {pod} -o jsonpath={{.status.containerStatuses[0].state.waiting}}");
        kubectl
            .until(&waiting, |said| {
                said.contains(&format!("\"{reason}\""))
                    && said.replace("\\\"", "\"").contains(wanted)
            })
            .await;
    }
    fixture.stop().await;
}
