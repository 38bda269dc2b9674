//! What the tests of the kinds share: JSON in, JSON or texts out.

use std::borrow::Borrow;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AnyKind, BuiltIn, Context, FieldError, Kind, Part};
use crate::auth::UserInfo;

/// The time of all tables in tests.
pub fn now() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().unwrap()
}

/// Somebody writes an object now.
pub fn context() -> Context<'static> {
    static USER: LazyLock<UserInfo> = LazyLock::new(|| UserInfo::authenticated("alice", &["dev"]));
    Context { user: &USER, now: now(), namespace: "default", name: "" }
}

/// The object with its defaults.
pub fn defaulted<K: Kind>(value: Value) -> Value {
    AnyKind::default(&BuiltIn::<K>::new(), value).unwrap()
}

/// The problems of a new object as it is, without defaults.
pub fn problems<K: Kind>(value: impl Borrow<Value>) -> Vec<String> {
    texts(&BuiltIn::<K>::new().validate(value.borrow(), None, Part::Main).errors)
}

/// The problems of an update of the main part.
pub fn update_problems<K: Kind>(new: impl Borrow<Value>, old: impl Borrow<Value>) -> Vec<String> {
    texts(&BuiltIn::<K>::new().validate(new.borrow(), Some(old.borrow()), Part::Main).errors)
}

/// The problems of an update of the status.
pub fn status_problems<K: Kind>(new: impl Borrow<Value>, old: impl Borrow<Value>) -> Vec<String> {
    texts(&BuiltIn::<K>::new().validate(new.borrow(), Some(old.borrow()), Part::Status).errors)
}

/// The warnings about an object, whatever its problems.
pub fn warnings<K: Kind>(new: Value, old: Option<Value>) -> Vec<String> {
    let decode = |object| serde_json::from_value(object).expect("decodes");
    K::warnings(&decode(new), old.map(decode).as_ref())
}

/// The cells of the object's row. There is one for each column.
pub fn row<K: Kind>(value: impl Borrow<Value>) -> Vec<Value> {
    let cells = BuiltIn::<K>::new().cells(value.borrow(), now());
    assert_eq!(cells.len(), K::columns().len());
    cells
}

pub fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// The problems of the move from old to new alone, without those of the new object.
pub fn move_problems<K: Kind>(new: Value, old: Value) -> Vec<String> {
    let decode = |object| serde_json::from_value(object).expect("decodes");
    texts(&K::validate_update(&decode(new), &decode(old)))
}

/// The new object as an update of the main part prepares it, without defaults.
pub fn prepared<K: Kind>(new: Value, old: &Value) -> Value {
    let decode = |object: &Value| serde_json::from_value(object.clone()).expect("decodes");
    let mut new = decode(&new);
    K::prepare_update(&mut new, &decode(old), &context());
    serde_json::to_value(new).expect("encodes")
}

/// A pod template with one container that always restarts.
pub fn template(labels: Value) -> Value {
    json!({
        "metadata": {"labels": labels},
        "spec": {
            "containers": [{"name": "main", "image": "web:1"}],
            "restartPolicy": "Always",
        },
    })
}
