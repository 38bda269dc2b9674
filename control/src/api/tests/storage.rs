//! Storage, classes and limits: what the API and its admission make of them together.

use super::*;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const STORAGE: &str = "/apis/storage.k8s.io/v1";
const PRIORITIES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";

const DEADLINE: Duration = Duration::from_secs(60);

fn claim(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Gi" } },
        },
    })
}

fn volume(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": "1Gi" },
            "nfs": { "server": "s", "path": "/" },
        },
    })
}

#[tokio::test]
async fn a_claim_gets_the_default_class_and_stays_while_it_is_protected() {
    let server = Server::start().await;
    let class = json!({
        "metadata": {
            "name": "fast",
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
        },
        "provisioner": "x.io/disk",
    });
    server.post(&format!("{STORAGE}/storageclasses"), class).await.ok();
    let made = server.post(CLAIMS, claim("data")).await.ok();
    assert_eq!(made["spec"]["storageClassName"], "fast");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert_eq!(made["status"], json!({ "phase": "Pending" }));
    let mut larger = made.clone();
    larger["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
    let refused = server.put(&format!("{CLAIMS}/data"), larger).await.refused(422);
    assert!(refused.contains("spec is immutable after creation except"), "{refused}");
    let leaving = server.delete(&format!("{CLAIMS}/data"), Value::Null).await.ok();
    assert_eq!(leaving["kind"], "PersistentVolumeClaim");
    assert!(leaving["metadata"]["deletionTimestamp"].is_string());
    let free = json!({ "metadata": { "finalizers": [] } });
    server.patch(&format!("{CLAIMS}/data"), MERGE, free).await.ok();
    assert_eq!(server.get(&format!("{CLAIMS}/data")).await.status, 404);
}

#[tokio::test]
async fn a_volumes_phase_knows_its_time() {
    let server = Server::start().await;
    let made = server.post(VOLUMES, volume("disk")).await.ok();
    assert_eq!(made["status"]["phase"], "Pending");
    let since = made["status"]["lastPhaseTransitionTime"].as_str().expect("a time").to_owned();
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    let status = json!({ "status": { "phase": "Available" }, "spec": { "volumeMode": "Block" } });
    let path = format!("{VOLUMES}/disk/status");
    let moved = server.patch(&path, MERGE, status).await.ok();
    assert_eq!(moved["status"]["phase"], "Available");
    assert!(moved["status"]["lastPhaseTransitionTime"].as_str() >= Some(since.as_str()));
    assert_eq!(moved["spec"]["volumeMode"], "Filesystem");
}

#[tokio::test]
async fn what_a_deletion_answers_and_how_generations_move_differs_by_kind() {
    let server = Server::start().await;
    let drivers = format!("{STORAGE}/csidrivers");
    let made = server.post(&drivers, json!({ "metadata": { "name": "a" } })).await.ok();
    assert_eq!(made["metadata"]["generation"], Value::Null);
    let change = json!({ "spec": { "podInfoOnMount": true } });
    let changed = server.patch(&format!("{drivers}/a"), MERGE, change).await.ok();
    assert_eq!(changed["metadata"]["generation"], 1);
    let gone = server.delete(&format!("{drivers}/a"), Value::Null).await.ok();
    assert_eq!(gone["kind"], "CSIDriver");
    let capacities = format!("{STORAGE}/namespaces/default/csistoragecapacities");
    let capacity = json!({ "metadata": { "name": "a" }, "storageClassName": "fast" });
    server.post(&capacities, capacity).await.ok();
    let gone = server.delete(&format!("{capacities}/a"), Value::Null).await.ok();
    assert_eq!((gone["kind"].as_str(), gone["status"].as_str()), (Some("Status"), Some("Success")));
}

#[tokio::test]
async fn an_attachments_status_takes_nothing_else_along() {
    let server = Server::start().await;
    let attachments = format!("{STORAGE}/volumeattachments");
    let attachment = json!({
        "metadata": { "name": "a", "labels": { "a": "b" } },
        "spec": {
            "attacher": "x.io", "nodeName": "n", "source": { "persistentVolumeName": "disk" },
        },
    });
    let made = server.post(&attachments, attachment).await.ok();
    assert_eq!(made["status"], json!({ "attached": false }));
    let change = json!({
        "metadata": { "labels": { "a": "c" } }, "spec": { "nodeName": "m" },
        "status": { "attached": true },
    });
    let changed = server.patch(&format!("{attachments}/a/status"), MERGE, change).await.ok();
    assert_eq!(changed["status"], json!({ "attached": true }));
    assert_eq!(changed["metadata"]["labels"], json!({ "a": "b" }));
    assert_eq!(changed["spec"]["nodeName"], "n");
}

#[tokio::test]
async fn pods_get_what_their_class_and_their_range_say() {
    let server = Server::start().await;
    with_service_account(&server).await;
    let system = server.get(&format!("{PRIORITIES}/system-node-critical")).await.ok();
    assert_eq!(system["value"], 2_000_001_000);
    assert_eq!(system["metadata"]["generation"], 1);
    let class = json!({ "metadata": { "name": "high" }, "value": 7, "globalDefault": true });
    server.post(PRIORITIES, class).await.ok();
    let range = json!({ "spec": { "limits": [
        { "type": "Container", "max": { "cpu": "2" }, "default": { "cpu": "1" } },
    ] } });
    // Only a range is named by the server where it has no name.
    let range = server.post(RANGES, range).await.ok();
    assert_eq!(range["metadata"]["name"].as_str().map(str::len), Some(36));
    let made = server.post(PODS, pod("a")).await.ok();
    assert_eq!(made["spec"]["priority"], 7);
    assert_eq!(made["spec"]["priorityClassName"], "high");
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({ "limits": { "cpu": "1" }, "requests": { "cpu": "1" } })
    );
    let mut greedy = pod("b");
    greedy["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "3" } });
    assert_eq!(
        server.post(PODS, greedy).await.refused(403),
        r#"pods "b" is forbidden: maximum cpu usage per Container is 2, but limit is 3"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_uses_goes_when_it_is_deleted() {
    let config = ControlConfig::default();
    let started = ControlPlane::start(config, Arc::new(Nodes), Ambient::real()).await;
    let server = Server(started.expect("it starts"));
    server.post(CLAIMS, claim("data")).await.ok();
    server.post(VOLUMES, volume("disk")).await.ok();
    let class =
        json!({ "metadata": { "name": "gold" }, "driverName": "x.io", "parameters": { "a": "b" } });
    let classes = format!("{STORAGE}/volumeattributesclasses");
    server.post(&classes, class).await.ok();
    for path in [format!("{CLAIMS}/data"), format!("{VOLUMES}/disk"), format!("{classes}/gold")] {
        server.delete(&path, Value::Null).await.ok();
        let end = tokio::time::Instant::now() + DEADLINE;
        while server.get(&path).await.status != 404 {
            assert!(tokio::time::Instant::now() < end, "{path} stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    server.0.stop().await;
}
