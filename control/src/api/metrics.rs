//! What the API server counts, in Prometheus' text form.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::status::ApiError;

use super::answer::respond;
use super::fair::{self, Fairness};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Seconds; upstream's spread, thinned.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    pub verb: &'static str,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DurationLabels {
    verb: &'static str,
    group: String,
    resource: String,
    subresource: String,
}

pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    pub inflight: Gauge,
}

impl Metrics {
    pub fn new(fairness: &Arc<Fairness>) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        let durations =
            Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let inflight = Gauge::default();
        registry.register("apiserver_request", "Requests answered", requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Time until the answer's head was ready",
            durations.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests whose answer's head is not ready",
            inflight.clone(),
        );
        fair::register(&mut registry, fairness);
        Self { registry, requests, durations, inflight }
    }

    pub fn record(&self, labels: RequestLabels, took: Duration) {
        let durations = DurationLabels {
            verb: labels.verb,
            group: labels.group.clone(),
            resource: labels.resource.clone(),
            subresource: labels.subresource.clone(),
        };
        self.durations.get_or_create(&durations).observe(took.as_secs_f64());
        self.requests.get_or_create(&labels).inc();
    }

    /// OpenMetrics for clients that ask for it, else the older form, as upstream.
    pub fn answer(&self, headers: &HeaderMap) -> Result<Response, ApiError> {
        let mut body = String::new();
        text::encode(&mut body, &self.registry).map_err(ApiError::internal)?;
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accept.contains("application/openmetrics-text") {
            return Ok(respond(StatusCode::OK, OPEN_METRICS, body));
        }
        Ok(respond(StatusCode::OK, TEXT, older(&body)))
    }
}

/// OpenMetrics in the older form, in which a counter is named in full and nothing marks the end.
fn older(text: &str) -> String {
    let mut counters = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        counters.extend(line.strip_suffix(" counter"));
    }
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let described = ["# TYPE ", "# HELP "].iter().find_map(|mark| {
            let (name, rest) = line.strip_prefix(mark)?.split_once(' ')?;
            counters.contains(&name).then(|| format!("{mark}{name}_total {rest}"))
        });
        out.push_str(described.as_deref().unwrap_or(line));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_in_full_in_the_older_form() {
        let text =
            "# HELP a Words.\n# TYPE a counter\na_total{b=\"c\"} 1\n# TYPE d gauge\nd 2\n# EOF\n";
        let expected = "# HELP a_total Words.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n# TYPE d gauge\nd 2\n";
        assert_eq!(older(text), expected);
    }
}
