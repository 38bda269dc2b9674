//! The examples that are not in Rust: each is built with its own toolchain, applied, and asked. Outside of CI, since
//! the toolchains come from npm and PyPI: they run where `COPEPOD_TEST_GUESTS=all` is set (`just guests-all`).

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use copepod_sdk::guests;
use hyper::Method;
use serde_json::{Value, json};

use super::support::{Fixture, builder, eventually, repository, send};

const COMPILES_WITHIN: Duration = Duration::from_secs(600);

/// A cluster with one example running in it; `None`, and said, where these tests are not wanted.
async fn cluster_with(example: &str) -> Option<Fixture> {
    if std::env::var("COPEPOD_TEST_GUESTS").as_deref() != Ok("all") {
        eprintln!("skipped: COPEPOD_TEST_GUESTS is not `all`");
        return None;
    }
    let dir: PathBuf = repository().join("examples").join(example);
    let built = guests::build(&dir).await.unwrap_or_else(|error| panic!("{error}"));
    let [guest] = built.as_slice() else { panic!("one guest: {built:?}") };
    assert_eq!(guest.name, example);
    let fixture = Fixture::start_with(builder()).await;
    let wasm = Bytes::from(std::fs::read(&guest.wasm).expect("a component"));
    let reference = format!("{example}:dev");
    fixture.cluster.import_image(&reference, wasm).await.expect("the image is imported");
    fixture.kubectl.ok(&format!("apply -f {}", dir.join("manifests").display())).await;
    Some(fixture)
}

/// Waits for a Deployment longer than others may take: a language's whole engine is compiled.
async fn available(fixture: &Fixture, deployment: &str) {
    let replicas = format!("get deployment {deployment} -o jsonpath={{.status.availableReplicas}}");
    let wait = async {
        while fixture.kubectl.ok(&replicas).await != "2" {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(COMPILES_WITHIN, wait).await.expect("the pods become available");
}

/// Asks until a pod answers.
async fn ask(fixture: &Fixture, port: u16, method: Method, body: &str) -> (u16, Value) {
    let url = format!("http://{}:{port}/", fixture.address);
    eventually("an answer", || async {
        let (status, body) = send(method.clone(), &url, body).await.ok()?;
        Some((status, serde_json::from_str(&body).ok()?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_c_program_counts_the_words_of_a_config_map() {
    let Some(fixture) = cluster_with("c-words").await else { return };
    let log = fixture.kubectl.until("logs words", |log| log.lines().count() == 4).await;
    assert_eq!(log, "42 words, 28 different, in 2 files\n   4 sea\n   3 a\n   3 shells\n");
    let status = "get pod words -o jsonpath={.status.phase}";
    fixture.kubectl.until(status, |phase| phase == "Succeeded").await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_javascript_function_prices_an_order() {
    let Some(fixture) = cluster_with("js-invoice").await else { return };
    available(&fixture, "invoice").await;
    let order = r#"{"items": [{"name": "net", "price": 12.5, "quantity": 4}, {"name": "buoy", "price": 3}]}"#;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (status, mut invoice) = ask(&fixture, 30082, Method::POST, order).await;
        assert_eq!(status, 200, "{invoice}");
        ids.push(invoice["id"].take());
        assert_eq!((&invoice["net"], &invoice["tax"]), (&json!(53), &json!(10.07)), "{invoice}");
        assert_eq!(invoice["total"], 63.07);
    }
    // Its random values are each request's own, though the engine was started at the build.
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
    let (status, refused) = ask(&fixture, 30082, Method::POST, "{\"items\": []}").await;
    assert_eq!((status, &refused["error"]), (400, &json!("an order has items")));
    fixture.kubectl.until("logs -l app=invoice --tail=-1", |log| log.contains("POST / 200")).await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_handler_describes_columns() {
    let Some(fixture) = cluster_with("python-stats").await else { return };
    available(&fixture, "stats").await;
    let csv = "place,depth,count\nfjord,10,4\nbay,20,9\n";
    let (status, described) = ask(&fixture, 30083, Method::POST, csv).await;
    assert_eq!(status, 200, "{described}");
    let depth = json!({ "count": 2, "mean": 15.0, "median": 15.0, "deviation": 5.0 });
    assert_eq!(described["depth"], depth);
    assert_eq!(described["count"]["mean"], 6.5);
    assert!(described.get("place").is_none(), "{described}");
    let (status, refused) = ask(&fixture, 30083, Method::POST, "").await;
    assert_eq!((status, &refused["error"]), (400, &json!("no rows")));
    fixture.kubectl.until("logs -l app=stats --tail=-1", |log| log.contains("POST / 200")).await;
    fixture.stop().await;
}
