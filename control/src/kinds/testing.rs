//! What the tests of the kinds share: JSON in, JSON or texts out.

use jiff::Timestamp;
use serde_json::Value;

use super::{AnyKind, BuiltIn, FieldError, Kind, Part};

/// The time of all tables in tests.
pub fn now() -> Timestamp {
    "2026-01-02T00:00:00Z".parse().unwrap()
}

/// The object with its defaults.
pub fn defaulted<K: Kind>(value: Value) -> Value {
    AnyKind::default(&BuiltIn::<K>::new(), value).unwrap()
}

/// The problems of a new object as it is, without defaults.
pub fn problems<K: Kind>(value: &Value) -> Vec<String> {
    texts(&BuiltIn::<K>::new().validate(value, None, Part::Main))
}

/// The problems of an update of the main part.
pub fn update_problems<K: Kind>(new: &Value, old: &Value) -> Vec<String> {
    texts(&BuiltIn::<K>::new().validate(new, Some(old), Part::Main))
}

/// The problems of an update of the status.
pub fn status_problems<K: Kind>(new: &Value, old: &Value) -> Vec<String> {
    texts(&BuiltIn::<K>::new().validate(new, Some(old), Part::Status))
}

/// The cells of the object's row. There is one for each column.
pub fn row<K: Kind>(value: &Value) -> Vec<Value> {
    let cells = BuiltIn::<K>::new().cells(value, now());
    assert_eq!(cells.len(), K::columns().len());
    cells
}

pub fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
