//! What the tests of kinds share: a kind's methods over JSON.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AnyKind, BuiltIn, Kind, Part};

fn any<K: Kind>() -> std::sync::Arc<dyn AnyKind> {
    BuiltIn::<K>::entry()
}

/// Adds apiVersion and kind, which the decoder wants.
fn typed<K: Kind>(mut object: Value) -> Value {
    object["apiVersion"] = K::INFO.api_version().into();
    object["kind"] = K::INFO.kind.into();
    object
}

pub fn defaulted<K: Kind>(object: Value) -> Value {
    any::<K>().default(typed::<K>(object)).expect("decodes")
}

/// The problems of a new object, as printed. No defaults are filled in.
pub fn problems<K: Kind>(object: Value) -> Vec<String> {
    print(any::<K>().validate(&typed::<K>(object), None, Part::Main))
}

/// The problems of an update alone, as printed.
pub fn update_problems<K: Kind>(new: Value, old: Value) -> Vec<String> {
    let decode = |object| serde_json::from_value(typed::<K>(object)).expect("decodes");
    print(K::validate_update(&decode(new), &decode(old)))
}

pub fn status_problems<K: Kind>(new: Value, old: Value) -> Vec<String> {
    print(any::<K>().validate(&typed::<K>(new), Some(&typed::<K>(old)), Part::Status))
}

fn print(errors: Vec<super::FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// A row; without a creationTimestamp its age is `<unknown>`.
pub fn cells<K: Kind>(object: Value) -> Vec<Value> {
    let row = any::<K>().cells(&typed::<K>(object), Timestamp::UNIX_EPOCH);
    assert_eq!(row.len(), K::columns().len(), "a cell for each column");
    row
}

/// `prepare_update` over JSON.
pub fn prepared<K: Kind>(new: Value, old: Value) -> Value {
    let old = typed::<K>(old);
    any::<K>().prepare_update(typed::<K>(new), &old).expect("decodes")
}

/// A pod template with one container.
pub fn template(labels: Value) -> Value {
    json!({
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "web:1"}]},
    })
}
