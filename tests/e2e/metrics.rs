//! What is measured of each container, as Prometheus and `kubectl top`'s sources see it.

use super::support::{Fixture, get_ok, web};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_what_each_container_uses_and_serves() {
    let fixture = Fixture::start().await;
    let kubectl = &fixture.kubectl;
    kubectl.apply(&web("web", 1, 30091)).await;
    for _ in 0..3 {
        get_ok(&format!("http://{}:30091/", fixture.address)).await;
    }
    let metrics = "get --raw /api/v1/nodes/node-0/proxy/metrics";
    let sample = |text: &str, name: &str, pod: &str| -> Option<f64> {
        let of = format!("pod=\"{pod}");
        let mut lines = text.lines();
        let line =
            lines.find(|line| line.starts_with(&format!("{name}{{")) && line.contains(&of))?;
        line.rsplit_once(' ')?.1.parse().ok()
    };
    let text = kubectl
        .until(metrics, |text| {
            sample(text, "copepod_container_http_requests_total", "web-") >= Some(3.0)
        })
        .await;
    for name in [
        "container_cpu_usage_seconds_total",
        "container_start_time_seconds",
        "copepod_container_start_latency_seconds",
        "copepod_container_http_request_duration_seconds_count",
    ] {
        assert!(sample(&text, name, "web-") > Some(0.0), "{name}:\n{text}");
    }
    let errors = sample(&text, "copepod_container_http_errors_total", "web-");
    let restarts = sample(&text, "copepod_container_restarts_total", "web-");
    assert_eq!((errors, restarts), (Some(0.0), Some(0.0)), "{text}");
    assert!(sample(&text, "container_memory_working_set_bytes", "web-").is_some(), "{text}");
    let resource = kubectl.ok("get --raw /api/v1/nodes/node-0/proxy/metrics/resource").await;
    assert!(sample(&resource, "container_start_time_seconds", "web-").is_some(), "{resource}");
    let summary = kubectl.ok("get --raw /api/v1/nodes/node-0/proxy/stats/summary").await;
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    let pods = summary["pods"].as_array().expect("pods");
    let of_web = |pod: &&serde_json::Value| {
        pod["podRef"]["name"].as_str().is_some_and(|name| name.starts_with("web-"))
    };
    let told = &pods.iter().find(of_web).expect("the pod")["containers"][0]["userDefinedMetrics"];
    let told = told.as_array().expect("metrics");
    let requests = told.iter().find(|metric| metric["name"] == "copepod_http_requests");
    assert!(requests.and_then(|metric| metric["value"].as_f64()) >= Some(3.0), "{told:?}");
    fixture.stop().await;
}
