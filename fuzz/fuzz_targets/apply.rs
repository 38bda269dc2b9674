//! An object, its managers and a configuration, parted by NULs, of the kind that the first byte says:
//! what an apply makes of them is the same when it is done again, and what an update makes of them can
//! be read.
#![no_main]

use copepod_control::patch::apply::{Keep, OneVersion, Setting, Shape, check};
use copepod_control::patch::managers::{self, Given, Write};
use copepod_control::schema::{self, Type, check_types, prune, schema, settle};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const KINDS: [(&str, &str); 5] = [
    ("v1", "Pod"),
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
];

fn object(ty: &Type, json: &[u8]) -> Option<Value> {
    let (mut value, _) = schema::decode_json(json).ok()?;
    if !value.is_object() || check_types(ty, &value).is_err() {
        return None;
    }
    store(ty, &mut value);
    Some(value)
}

/// Brings a value into the form that is stored.
fn store(ty: &Type, value: &mut Value) {
    prune(ty, value);
    settle(ty, value);
}

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let parts: Vec<&[u8]> = rest.splitn(3, |byte| *byte == 0).collect();
    let [live, known, config] = parts[..] else { return };
    let (api_version, kind) = KINDS[usize::from(first / 2) % KINDS.len()];
    let ty = schema().by_api_version(api_version, kind).expect("it is in the schema");
    let shape = Shape::of(ty);
    let (Some(live), Ok((config, _))) = (object(ty, live), schema::decode_json(config)) else {
        return;
    };
    // A null is applied again each time, as it is not kept. Elements that go by the default of their
    // key are one where nobody owns the key.
    let odd = has_null(&config) || has_nameless(&config);
    if !config.is_object() || odd || check(shape, &config).is_err() {
        return;
    }
    let known = std::str::from_utf8(known).ok();
    let resets = ["status".to_owned()];
    let versions = OneVersion(api_version, shape);
    let keep = Keep::AllBut(&resets);
    let setting = Setting { api_version, shape, versions: &versions, keep };
    let write = Write { setting, manager: "fuzz", subresource: "", now: Timestamp::UNIX_EPOCH };

    let Ok(done) = managers::applied(write, Some((&live, known)), &config, first % 2 == 0) else {
        return;
    };
    if done.managers.is_none() {
        // Where nobody is left, as entries of unknown versions go, the next apply counts as the first.
        return;
    }
    let mut after = done.object;
    if check_types(ty, &after).is_err() {
        return;
    }
    store(ty, &mut after);
    let live = Some((&after, done.managers.as_deref()));
    let again = managers::applied(write, live, &config, true).expect("it is forced");
    let mut object = again.object;
    store(ty, &mut object);
    assert_eq!(object, after);
    assert!(managers::same_but_for_times(done.managers.as_deref(), again.managers.as_deref()));

    let old = Value::Object(serde_json::Map::new());
    let text = managers::updated(write, known, &Given::Nothing, &old, &after);
    assert!(managers::same_but_for_times(text.as_deref(), text.as_deref()));
});

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

/// Whether a list has an element without any of the fields that are keys in these kinds.
fn has_nameless(value: &Value) -> bool {
    const KEYS: [&str; 4] = ["name", "port", "containerPort", "type"];
    let is_nameless = |item: &Value| {
        item.as_object().is_some_and(|fields| !KEYS.iter().any(|key| fields.contains_key(*key)))
    };
    match value {
        Value::Array(items) => items.iter().any(|item| is_nameless(item) || has_nameless(item)),
        Value::Object(fields) => fields.values().any(has_nameless),
        _ => false,
    }
}
