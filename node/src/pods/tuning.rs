//! What a container may use and how its clocks go: from `resources` where Kubernetes has a field for it, else from
//! annotations of the pod. Pure.
//!
//! `copepod.dev/KEY` speaks of all containers of the pod, `copepod.dev/KEY.CONTAINER` of one, and wins. A value that is
//! not understood keeps the container from starting (`CreateContainerConfigError`), with the annotation's name and what is
//! allowed; so does a key that there is not, or a container: who misspells a limit is not left without one.
//! `docs/limits.md` lists the keys.

use std::time::Duration;

use copepod_runtime::{Determinism, Limits, RESOLUTION_DEFAULT, Reuse};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

const PREFIX: &str = "copepod.dev/";

/// Every key that a pod's annotations may have, in alphabetical order.
const KEYS: [&str; 14] = [
    "clock-resolution",
    "determinism",
    "files-max",
    // Of no effect here: `copepod dev` sets it, so that a new image makes new pods.
    "image-digest",
    "output-bytes-per-second",
    "request-deadline",
    "requests-max",
    "requests-waiting-max",
    "reuse-age",
    "reuse-requests",
    "run-deadline",
    "snapshot",
    "sockets-max",
    "table-bytes-max",
];

/// A container's tuning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    pub limits: Limits,
    pub clock_resolution: Duration,
    pub determinism: Option<Determinism>,
    /// Whether an HTTP component's instances serve again.
    pub reuse: Option<Reuse>,
}

/// An annotation that speaks of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation<'a> {
    pub name: String,
    pub value: &'a str,
}

/// The annotation of a key for a container: its own, else the pod's.
pub fn annotation<'a>(pod: &'a Pod, container: &str, key: &str) -> Option<Annotation<'a>> {
    debug_assert!(KEYS.contains(&key), "{key} is not among the keys");
    let annotations = pod.metadata.annotations.as_ref()?;
    [format!("{PREFIX}{key}.{container}"), format!("{PREFIX}{key}")].into_iter().find_map(|name| {
        let value = annotations.get(&name)?;
        Some(Annotation { name, value })
    })
}

impl Annotation<'_> {
    /// The value, or a message that names the annotation and what it may be.
    pub fn parse<T>(
        &self,
        parse: impl FnOnce(&str) -> Option<T>,
        allowed: &str,
    ) -> Result<T, String> {
        parse(self.value.trim()).ok_or_else(|| {
            format!("annotation {} is {:?}: it must be {allowed}", self.name, self.value)
        })
    }
}

/// An annotation of ours that speaks of nothing there is.
fn check_names(pod: &Pod) -> Result<(), String> {
    let spec = pod.spec.as_ref();
    let names = || {
        let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        let containers = spec.map(|spec| &*spec.containers).unwrap_or_default();
        init.iter().chain(containers).map(|container| &*container.name)
    };
    for name in pod.metadata.annotations.iter().flatten().map(|(name, _)| name) {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let (key, container) = match rest.split_once('.') {
            Some((key, container)) => (key, Some(container)),
            None => (rest, None),
        };
        if !KEYS.contains(&key) {
            let keys = KEYS.join(", ");
            return Err(format!("annotation {name} is not known: after {PREFIX} may stand {keys}"));
        }
        if let Some(container) = container.filter(|wanted| names().all(|name| name != *wanted)) {
            let names: Vec<&str> = names().collect();
            let names = names.join(", ");
            return Err(format!(
                "annotation {name} is for a container {container:?}, which the pod does not have: it has {names}"
            ));
        }
    }
    Ok(())
}

/// All of a container's limits, or what is wrong with the first that is.
pub fn tuning(pod: &Pod, container: &Container) -> Result<Tuning, String> {
    check_names(pod)?;
    let find = |key| annotation(pod, &container.name, key);
    let mut limits = Limits::default();
    limits.memory.bytes = resource(container, Side::Limit, "memory", quantity::units);
    limits.cpu.quota_millis = resource(container, Side::Limit, "cpu", quantity::millis);
    limits.cpu.weight_millis =
        resource(container, Side::Request, "cpu", quantity::millis).unwrap_or_default();
    if let Some(found) = find("table-bytes-max") {
        limits.memory.table_bytes = found.parse(bytes, BYTES)?;
    }
    if let Some(found) = find("run-deadline") {
        limits.time.run = Some(found.parse(duration, DURATION)?);
    }
    if let Some(found) = find("request-deadline") {
        limits.time.request = Some(found.parse(duration, DURATION)?);
    }
    if let Some(found) = find("sockets-max") {
        limits.counts.sockets = found.parse(count, COUNT)?;
    }
    if let Some(found) = find("files-max") {
        limits.counts.files = found.parse(count, COUNT)?;
    }
    if let Some(found) = find("requests-max") {
        limits.counts.requests = found.parse(running, RUNNING)?;
    }
    if let Some(found) = find("requests-waiting-max") {
        limits.counts.requests_waiting = found.parse(|text| text.parse().ok(), COUNT)?;
    }
    if let Some(found) = find("output-bytes-per-second") {
        limits.output.bytes_per_second = found.parse(
            |text| match text {
                "unlimited" => Some(None),
                text => bytes(text).filter(|bytes| *bytes > 0).map(Some),
            },
            "a quantity of bytes above 0, like 10Mi, or unlimited",
        )?;
    }
    let clock_resolution = match find("clock-resolution") {
        Some(found) => found.parse(duration, DURATION)?,
        None => RESOLUTION_DEFAULT,
    };
    let determinism = match find("determinism") {
        Some(found) => Some(found.parse(determinism, DETERMINISM)?),
        None => None,
    };
    Ok(Tuning { limits, clock_resolution, determinism, reuse: reuse(pod, container)? })
}

/// Either annotation allows it; the other is then the default.
fn reuse(pod: &Pod, container: &Container) -> Result<Option<Reuse>, String> {
    let find = |key| annotation(pod, &container.name, key);
    let requests = match find("reuse-requests") {
        Some(found) => Some(found.parse(
            |text| text.parse().ok().filter(|requests| *requests > 0),
            "the number of requests that an instance serves, at least 1",
        )?),
        None => None,
    };
    let age = match find("reuse-age") {
        Some(found) => Some(found.parse(duration, DURATION)?),
        None => None,
    };
    let default = Reuse::default();
    Ok((requests.is_some() || age.is_some()).then(|| Reuse {
        requests: requests.unwrap_or(default.requests),
        age: age.unwrap_or(default.age),
    }))
}

enum Side {
    Limit,
    Request,
}

fn resource(
    container: &Container,
    side: Side,
    name: &str,
    read: fn(&Quantity) -> Option<i128>,
) -> Option<u64> {
    let resources = container.resources.as_ref()?;
    let quantities = match side {
        Side::Limit => resources.limits.as_ref(),
        Side::Request => resources.requests.as_ref(),
    };
    read(quantities?.get(name)?).and_then(|value| u64::try_from(value).ok())
}

const BYTES: &str = "a quantity of bytes, like 64Mi";
const COUNT: &str = "a whole number";
const RUNNING: &str = "a whole number from 1 to 1000000";
const DURATION: &str = "a time above 0, like 250ms, 30s, 5m or 1h";
const DETERMINISM: &str =
    "seed=NUMBER, with now=TIME (RFC 3339) and step=DURATION where wanted, parted by commas";

fn bytes(text: &str) -> Option<u64> {
    quantity::units(&Quantity(text.to_owned())).and_then(|bytes| u64::try_from(bytes).ok())
}

fn count(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn running(text: &str) -> Option<usize> {
    text.parse().ok().filter(|count| (1..=1_000_000).contains(count))
}

/// A number and its unit.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().ok()?;
    let duration = match unit {
        "ns" => Duration::from_nanos(number),
        "us" | "µs" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    };
    // Beyond a century, timers would pass the end of the clock.
    let sensible = Duration::from_nanos(1)..=Duration::from_secs(100 * 366 * 24 * 3600);
    sensible.contains(&duration).then_some(duration)
}

fn determinism(text: &str) -> Option<Determinism> {
    let (mut seed, mut now, mut step) = (None, Duration::ZERO, Duration::ZERO);
    for part in text.split(',') {
        let (key, value) = part.split_once('=')?;
        match key.trim() {
            "seed" => seed = Some(value.trim().parse().ok()?),
            "now" => {
                let time: Timestamp = value.trim().parse().ok()?;
                now = Duration::try_from(time.as_duration()).ok()?;
            }
            "step" => step = duration(value.trim())?,
            _ => return None,
        }
    }
    Some(Determinism { now, step, seed: seed? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use copepod_runtime::CpuLimits;
    use serde_json::{Value, json};

    fn tuned(annotations: Value, resources: Value) -> Result<Tuning, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "annotations": annotations },
            "spec": { "containers": [{ "name": "web", "resources": resources }, { "name": "other" }] }
        }))
        .unwrap();
        tuning(&pod, &pod.spec.as_ref().unwrap().containers[0])
    }

    #[test]
    fn instances_serve_again_where_an_annotation_says_so() {
        let reuse = |annotations| tuned(annotations, json!({})).map(|tuning| tuning.reuse);
        assert_eq!(reuse(json!({})), Ok(None));
        let default = Reuse::default();
        let some = Reuse { requests: 5, ..default };
        assert_eq!(reuse(json!({"copepod.dev/reuse-requests": "5"})), Ok(Some(some)));
        let some = Reuse { age: Duration::from_secs(90), ..default };
        assert_eq!(reuse(json!({"copepod.dev/reuse-age.web": "90s"})), Ok(Some(some)));
        for (key, value) in [("reuse-requests", "0"), ("reuse-age", "old")] {
            let key = format!("copepod.dev/{key}");
            let error = reuse(json!({ &key: value })).unwrap_err();
            assert!(error.contains(&key) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn without_a_word_everything_is_the_default() {
        let tuning = tuned(json!({}), json!({})).unwrap();
        assert_eq!(tuning.limits, Limits::default());
        assert_eq!(tuning.clock_resolution, RESOLUTION_DEFAULT);
        assert_eq!(tuning.determinism, None);
    }

    #[test]
    fn resources_are_memory_quota_and_weight() {
        let resources = json!({
            "limits": { "memory": "64Mi", "cpu": "1500m" }, "requests": { "cpu": "0.25" }
        });
        let limits = tuned(json!({}), resources).unwrap().limits;
        assert_eq!(limits.memory.bytes, Some(64 << 20));
        assert_eq!(limits.cpu, CpuLimits { quota_millis: Some(1500), weight_millis: 250 });
    }

    #[test]
    fn a_containers_own_annotation_wins() {
        let annotations = json!({
            "copepod.dev/sockets-max": "10",
            "copepod.dev/sockets-max.web": "20",
            "copepod.dev/sockets-max.other": "30",
            "copepod.dev/files-max": "5",
            "copepod.dev/files-max.other": "6",
        });
        let counts = tuned(annotations, json!({})).unwrap().limits.counts;
        assert_eq!((counts.sockets, counts.files), (20, 5));
    }

    #[test]
    fn an_annotation_of_nothing_there_is_is_refused() {
        assert!(KEYS.is_sorted());
        for (name, told) in [
            ("reqest-deadline", "may stand clock-resolution, "),
            ("", "may stand clock-resolution, "),
            (
                "run-deadline.wep",
                "a container \"wep\", which the pod does not have: it has web, other",
            ),
            ("run-deadline.", "a container \"\""),
        ] {
            let name = format!("copepod.dev/{name}");
            let error = tuned(json!({ &name: "5s" }), json!({})).unwrap_err();
            assert!(
                error.contains(&format!("annotation {name} is")) && error.contains(told),
                "{error}"
            );
        }
        let others = json!({ "copepod.dev/image-digest": "x", "copepod.de/run-deadlin": "y" });
        assert!(tuned(others, json!({})).is_ok());
    }

    #[test]
    fn every_key_is_documented() {
        let docs = include_str!("../../../docs/limits.md");
        for key in KEYS.iter().filter(|key| !["image-digest"].contains(key)) {
            assert!(
                docs.contains(&format!("`copepod.dev/{key}")),
                "{key} is not in docs/limits.md"
            );
        }
    }

    #[test]
    fn every_key_is_read() {
        let tuning = tuned(
            json!({
                "copepod.dev/table-bytes-max": "1Mi",
                "copepod.dev/run-deadline": "5m",
                "copepod.dev/request-deadline": "250ms",
                "copepod.dev/requests-max": "7",
                "copepod.dev/requests-waiting-max": "0",
                "copepod.dev/output-bytes-per-second": "1Ki",
                "copepod.dev/clock-resolution": "1ms",
                "copepod.dev/determinism": "seed=7, now=1970-01-01T00:01:00Z, step=1us",
            }),
            json!({}),
        )
        .unwrap();
        assert_eq!(tuning.limits.memory.table_bytes, 1 << 20);
        assert_eq!(tuning.limits.time.run, Some(Duration::from_secs(300)));
        assert_eq!(tuning.limits.time.request, Some(Duration::from_millis(250)));
        assert_eq!((tuning.limits.counts.requests, tuning.limits.counts.requests_waiting), (7, 0));
        assert_eq!(tuning.limits.output.bytes_per_second, Some(1024));
        assert_eq!(tuning.clock_resolution, Duration::from_millis(1));
        let determinism = tuning.determinism.unwrap();
        assert_eq!(determinism.now, Duration::from_secs(60));
        assert_eq!((determinism.step, determinism.seed), (Duration::from_micros(1), 7));
        let unlimited = json!({ "copepod.dev/output-bytes-per-second": "unlimited" });
        let limits = tuned(unlimited, json!({})).unwrap().limits;
        assert_eq!(limits.output.bytes_per_second, None);
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        for (key, value, allowed) in [
            ("table-bytes-max", "much", BYTES),
            ("run-deadline", "0s", DURATION),
            ("request-deadline.web", "5 parsecs", DURATION),
            ("request-deadline", "-1s", DURATION),
            ("sockets-max", "-1", COUNT),
            ("files-max", "", COUNT),
            ("requests-max", "0", RUNNING),
            ("requests-waiting-max", "1.5", COUNT),
            ("output-bytes-per-second", "0", "or unlimited"),
            ("clock-resolution", "99999999999h", DURATION),
            ("determinism", "now=2026-01-01T00:00:00Z", DETERMINISM),
            ("determinism", "seed=1,now=1869-01-01T00:00:00Z", DETERMINISM),
            ("determinism", "seed=1,pace=2", DETERMINISM),
        ] {
            let name = format!("{PREFIX}{key}");
            let problem = tuned(json!({ name.clone(): value }), json!({})).unwrap_err();
            for part in [&name, &format!("{value:?}"), allowed] {
                assert!(problem.contains(part), "{problem}");
            }
        }
    }
}
