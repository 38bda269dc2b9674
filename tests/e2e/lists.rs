//! Large lists and their watches, as upstream's own client reads them.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;

use super::support::{Fixture, PATIENCE};

const COUNT: usize = 620;

async fn fill(fixture: &Fixture) {
    let maps = Api::<ConfigMap>::default_namespaced(fixture.cluster.client());
    for index in 0..COUNT {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(format!("m{index:04}"));
        let text = format!("{index}: \"x\"\n").repeat(100);
        map.data = Some([("k".to_owned(), text)].into());
        maps.create(&PostParams::default(), &map).await.expect("created");
    }
}

/// kubectl asks for 500 at a time, and takes what is compressed without being told to.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_large_lists_by_pages_whole_and_compressed() {
    let fixture = Fixture::start().await;
    fill(&fixture).await;
    let kubectl = &fixture.kubectl;
    for arguments in [
        "get configmaps -o name",
        "get configmaps -o name --chunk-size=7",
        "get configmaps -o name --chunk-size=0",
        "get configmaps --no-headers",
        "get configmaps --no-headers --chunk-size=100",
    ] {
        let said = kubectl.ok(arguments).await;
        // One is the cluster's own.
        assert_eq!(said.lines().count(), COUNT + 1, "kubectl {arguments}");
        assert!(said.contains("m0619"), "kubectl {arguments}");
    }
    let all = kubectl.ok("get configmaps -o json --chunk-size=0").await;
    let all: serde_json::Value = serde_json::from_str(&all).expect("JSON");
    let items = all["items"].as_array().expect("items");
    assert!(items.iter().all(|item| item["kind"] == "ConfigMap" && item["apiVersion"] == "v1"));
    let said = kubectl.ok("get configmaps -o yaml --chunk-size=0").await;
    assert_eq!(said.matches("\n  kind: ConfigMap\n").count(), COUNT + 1);
    let verbose = kubectl.run("get configmaps -o name --chunk-size=0 -v=8", "").await.2;
    assert!(verbose.contains("Audit-Id"), "no audit id");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_s_watch_begins_with_the_state_and_follows() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let fixture = Fixture::start().await;
    fill(&fixture).await;
    let mut child = fixture.kubectl.command("get configmaps -w").spawn().expect("kubectl");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let read = async {
        let mut count = 0;
        while let Some(line) = lines.next_line().await.expect("a line") {
            count += 1;
            if count == COUNT + 2 {
                fixture.kubectl.ok("create configmap zz-last --from-literal=a=1").await;
            }
            if line.starts_with("zz-last") {
                return count;
            }
        }
        count
    };
    let count = tokio::time::timeout(PATIENCE, read).await.expect("all lines in time");
    // The header, the state, the new one.
    assert_eq!(count, COUNT + 3);
    child.kill().await.ok();
    fixture.stop().await;
}
