//! The query of a list: its selectors are refused, or they select.
#![no_main]

use std::sync::OnceLock;

use copepod_control::api::selects;
use copepod_control::kinds::{Registry, registry};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fn setting() -> &'static (Registry, Value) {
    static SETTING: OnceLock<(Registry, Value)> = OnceLock::new();
    SETTING.get_or_init(|| {
        let pod = json!({
            "metadata": { "name": "p", "namespace": "a", "labels": { "app": "web", "n": "5" } },
            "spec": { "nodeName": "n", "containers": null },
            "status": { "phase": "Running" },
        });
        (registry(), pod)
    })
}

fuzz_target!(|query: &[u8]| {
    let Ok(query) = std::str::from_utf8(query) else { return };
    let (kinds, pod) = setting();
    let kind = kinds.at("", "v1", "pods").expect("pods are served");
    // Labels, then fields, parted by a line.
    let (labels, fields) = query.split_once('\n').unwrap_or((query, ""));
    let first = selects(kind.as_ref(), labels, fields, pod);
    assert_eq!(first.is_ok(), selects(kind.as_ref(), labels, fields, pod).is_ok());
});
