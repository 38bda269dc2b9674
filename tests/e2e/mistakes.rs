//! Wrong input gets a clear answer that names the mend.

use super::support::{Fixture, agent, builder, guest};

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_are_explained() {
    let fixture = Fixture::start().await;
    for (yaml, wanted) in [
        ("a: [", "error parsing STDIN"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nspec: {}",
            "unknown field \"spec\"",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: A_B}\nspec: {containers: [{name: c, image: i}]}",
            "metadata.name: Invalid value: \"A_B\"",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}",
            "spec.containers: Required value",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}, {name: c, image: i}]}",
            "spec.containers[1].name: Duplicate value: \"c\"",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}",
            "`selector` does not match template `labels`",
        ),
        (
            "apiVersion: batch/v1\nkind: Nothing\nmetadata: {name: a}",
            "no matches for kind \"Nothing\"",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 70000}]}",
            "spec.ports[0].port: Invalid value: 70000",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: nowhere}",
            "namespaces \"nowhere\" not found",
        ),
    ] {
        let (success, _, stderr) = fixture.kubectl.run("apply -f -", yaml).await;
        assert!(!success && stderr.contains(wanted), "{yaml}\nwanted {wanted}, got {stderr}");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cannot_run_say_why() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    let wat = r#"(component
        (import "acme:door/bell@1.2.3" (instance (export "ring" (func))))
        (core module $m (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $r (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $r)))"#;
    let unknown = wat_to_component(wat);
    fixture.cluster.import_image("unknown:1", unknown).await.expect("it is a component");
    let refused = fixture.cluster.import_image("elf:1", b"\x7fELF".to_vec()).await;
    let refused = refused.expect_err("an ELF file is no Wasm").to_string();
    assert!(refused.contains("no WebAssembly"), "{refused}");
    for (pod, image, wanted) in [
        ("missing", "nothing:1", "copepod image import"),
        ("unknown", "unknown:1", "acme:door/bell@1.2.3 (nothing of acme:door is offered)"),
        ("outside", "file:///etc/hostname", "--allow-images-in"),
    ] {
        kubectl.apply(&agent(pod, "Never", &[]).replace("agent:1", image)).await;
        kubectl
            .until(
                &format!("get pod {pod} -o jsonpath={{.status.containerStatuses[0].state.waiting.message}}"),
                |said| said.contains(wanted),
            )
            .await;
    }
    let reason = kubectl.ok("get pod unknown").await;
    assert!(reason.contains("CreateContainerError"), "{reason}");
    let reason = kubectl.ok("get pod missing").await;
    assert!(reason.contains("ErrImagePull") || reason.contains("ImagePullBackOff"), "{reason}");
    fixture.stop().await;
}

fn wat_to_component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a component")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_image_runs_where_its_folder_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("agent.wasm");
    std::fs::write(&file, guest("agent").await).expect("a file");
    let fixture = Fixture::start_with(builder().allow_images_in(folder.path())).await;
    let pod = agent("local", "Never", &["print=hi"])
        .replace("agent:1", &format!("file://{}", file.display()));
    fixture.kubectl.apply(&pod).await;
    fixture.kubectl.until("logs local", |said| said == "hi\n").await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_node_port_is_reported_on_its_service() {
    let fixture = Fixture::start().await;
    let taken = std::net::TcpListener::bind((fixture.address, 30100)).expect("a listener");
    fixture.kubectl.apply(&super::support::web("web", 1, 30100)).await;
    fixture
        .kubectl
        .until("events --for service/web", |said| {
            said.contains("NodePort 30100 cannot be opened") && said.contains("free the port")
        })
        .await;
    drop(taken);
    super::support::get_ok(&format!("http://{}:30100/", fixture.address)).await;
    fixture.stop().await;
}
