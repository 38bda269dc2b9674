//! What is measured of each container, for Prometheus and for the summary. Pure: from statistics to text and JSON.
//!
//! A family bears upstream's name where upstream has one; ours begin with `copepod_`.

use std::fmt::Write;
use std::time::Duration;

use copepod_runtime::{LATENCY_BOUNDS, LatencyCounts};
use serde_json::{Value, json};

use super::family;
use crate::pods::driver::{PodStats, Used};

/// Which container a sample is of, inside of braces.
fn labels(pod: &PodStats, used: &Used) -> String {
    let meta = &pod.pod.metadata;
    format!(
        "container=\"{}\",namespace=\"{}\",pod=\"{}\"",
        used.name,
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    )
}

/// In seconds since 1970.
pub(super) fn started(used: &Used) -> f64 {
    Duration::try_from(used.since.as_duration()).unwrap_or_default().as_secs_f64()
}

/// The families of `/metrics`.
pub(super) fn families(out: &mut String, stats: &[PodStats]) {
    let containers: Vec<(String, &Used)> = stats
        .iter()
        .flat_map(|pod| pod.containers.iter().map(move |used| (labels(pod, used), used)))
        .collect();
    let each = |value: &dyn Fn(&Used) -> Option<f64>| -> Vec<(String, f64)> {
        let samples = containers.iter();
        samples.filter_map(|(labels, used)| Some((format!("{{{labels}}}"), value(used)?))).collect()
    };
    let mut add = |name, kind, help, value: &dyn Fn(&Used) -> Option<f64>| {
        family(out, name, kind, help, &each(value));
    };
    add("container_cpu_usage_seconds_total", "counter", "Processor time used.", &|used| {
        Some(used.stats.cpu_time.as_secs_f64())
    });
    add("container_memory_working_set_bytes", "gauge", "Memory used.", &|used| {
        Some(used.stats.memory_bytes as f64)
    });
    add("container_start_time_seconds", "gauge", "When it started, since 1970.", &|used| {
        Some(started(used))
    });
    let help = "How often it was started again.";
    add("copepod_container_restarts_total", "counter", help, &|used| Some(used.restarts.into()));
    let help = "From its specification to its first instruction, or to being served.";
    add("copepod_container_start_latency_seconds", "gauge", help, &|used| {
        used.stats.start_latency.map(|latency| latency.as_secs_f64())
    });
    let help = "HTTP requests that a container has begun to serve.";
    add("copepod_container_http_requests_total", "counter", help, &|used| {
        Some(used.stats.requests as f64)
    });
    let help = "HTTP requests that a container has failed.";
    add("copepod_container_http_errors_total", "counter", help, &|used| {
        Some(used.stats.errors as f64)
    });
    let name = "copepod_container_http_request_duration_seconds";
    let _ = writeln!(out, "# HELP {name} From a request's arrival to its response's head.");
    let _ = writeln!(out, "# TYPE {name} histogram");
    for (labels, used) in &containers {
        histogram(out, name, labels, &used.stats.request_latency);
    }
}

/// One container's histogram; writing into a String cannot fail. Of one that served nothing there is none.
fn histogram(out: &mut String, name: &str, labels: &str, counts: &LatencyCounts) {
    if counts.count() == 0 {
        return;
    }
    let mut sum = 0;
    for (count, bound) in counts.buckets.iter().zip(LATENCY_BOUNDS) {
        sum += count;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {sum}", bound.as_secs_f64());
    }
    let count = counts.count();
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", counts.sum.as_secs_f64());
    let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
}

/// What `/stats/summary` tells of a container beyond upstream's own fields, in the field that upstream has for it.
pub(super) fn user_defined(used: &Used, now: &Value) -> Value {
    let metric = |name: &str, kind: &str, units: &str, value: f64| json!({ "name": name, "type": kind, "units": units, "time": now, "value": value });
    let stats = &used.stats;
    let mut metrics = vec![
        metric("copepod_http_requests", "cumulative", "requests", stats.requests as f64),
        metric("copepod_http_errors", "cumulative", "requests", stats.errors as f64),
        metric("copepod_restarts", "cumulative", "restarts", used.restarts.into()),
    ];
    if let Some(latency) = stats.start_latency {
        metrics.push(metric("copepod_start_latency", "gauge", "seconds", latency.as_secs_f64()));
    }
    if stats.request_latency.count() > 0 {
        let mean = stats.request_latency.sum.as_secs_f64() / stats.request_latency.count() as f64;
        metrics.push(metric("copepod_http_request_duration_mean", "gauge", "seconds", mean));
    }
    json!(metrics)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use copepod_runtime::ContainerStats;
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn stats() -> PodStats {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".into());
        pod.metadata.namespace = Some("default".into());
        let mut request_latency = LatencyCounts::default();
        request_latency.buckets[0] = 2;
        request_latency.buckets[LATENCY_BOUNDS.len()] = 1;
        request_latency.sum = Duration::from_millis(15_000);
        let stats = ContainerStats {
            cpu_time: Duration::from_millis(1500),
            memory_bytes: 65536,
            requests: 3,
            errors: 1,
            start_latency: Some(Duration::from_micros(25)),
            request_latency,
        };
        let used = Used {
            name: "c".into(),
            since: Timestamp::from_second(7).unwrap(),
            restarts: 2,
            stats,
        };
        PodStats { pod: Arc::new(pod), start_time: Timestamp::UNIX_EPOCH, containers: vec![used] }
    }

    #[test]
    fn each_measure_is_a_sample_with_the_containers_labels() {
        let mut out = String::new();
        families(&mut out, &[stats()]);
        let labels = "container=\"c\",namespace=\"default\",pod=\"web\"";
        let long = "copepod_container_http_request_duration_seconds";
        for (sample, value) in [
            (format!("container_cpu_usage_seconds_total{{{labels}}}"), "1.5"),
            (format!("container_memory_working_set_bytes{{{labels}}}"), "65536"),
            (format!("container_start_time_seconds{{{labels}}}"), "7"),
            (format!("copepod_container_restarts_total{{{labels}}}"), "2"),
            (format!("copepod_container_start_latency_seconds{{{labels}}}"), "0.000025"),
            (format!("copepod_container_http_requests_total{{{labels}}}"), "3"),
            (format!("copepod_container_http_errors_total{{{labels}}}"), "1"),
            (format!("{long}_bucket{{{labels},le=\"0.000025\"}}"), "2"),
            (format!("{long}_bucket{{{labels},le=\"10\"}}"), "2"),
            (format!("{long}_bucket{{{labels},le=\"+Inf\"}}"), "3"),
            (format!("{long}_sum{{{labels}}}"), "15"),
            (format!("{long}_count{{{labels}}}"), "3"),
        ] {
            assert!(
                out.lines().any(|line| line == format!("{sample} {value}")),
                "{sample}:\n{out}"
            );
        }
    }

    #[test]
    fn the_summary_tells_what_upstream_has_no_field_for() {
        let stats = stats();
        let told = user_defined(&stats.containers[0], &json!("now"));
        let value = |name: &str| {
            let metrics = told.as_array().unwrap();
            metrics.iter().find(|metric| metric["name"] == name).map(|metric| &metric["value"])
        };
        assert_eq!(value("copepod_restarts"), Some(&json!(2.0)));
        assert_eq!(value("copepod_http_request_duration_mean"), Some(&json!(5.0)));
        assert_eq!(told[0]["time"], "now");
    }
}
