//! Brings a value into the form in which Go's JSON has it: what is empty is left out or there, field by
//! field, as the struct tags say. Of several ways to say the same there is one left, so that equal
//! objects are equal values, however they came.
//!
//! Source of the rules: Go's `encoding/json`, and what a round trip through protobuf (upstream's store)
//! leaves of empty lists and maps.

use serde_json::{Map, Value};

use super::schema;
use super::types::{Alternative, Field, FieldKind, JSON_SCHEMA_PROPS, Type, TypeId};

/// Go's zero time. Upstream prints null.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
const ZERO_MICRO_TIME: &str = "0001-01-01T00:00:00.000000Z";

/// Settles a value of the type in place. Fields that the type does not have are left alone, and so are
/// values of a wrong type. Doing it twice changes nothing.
pub fn settle(ty: &Type, value: &mut Value) {
    let Value::Object(map) = value else { return };
    map.retain(|key, value| {
        let Some(field) = ty.field(key) else { return true };
        visit(&field.kind, value);
        keeps(ty, field, value)
    });
    fill_in(ty, map);
}

fn visit(kind: &FieldKind, value: &mut Value) {
    match (kind, value) {
        (FieldKind::Object(ty), value) => settle(ty.get(), value),
        (FieldKind::List(item), Value::Array(items)) => settle_all(item, items.iter_mut()),
        (FieldKind::Map(item), Value::Object(map)) => settle_all(item, map.values_mut()),
        (FieldKind::SchemaOr(alternative), value) => {
            let Some(ty) = schema().by_name(JSON_SCHEMA_PROPS) else { return };
            match (alternative, value) {
                (Alternative::Schemas, Value::Array(items)) => {
                    items.iter_mut().for_each(|value| settle(ty, value));
                }
                (_, value) => settle(ty, value),
            }
        }
        _ => {}
    }
}

fn settle_all<'a>(kind: &FieldKind, values: impl Iterator<Item = &'a mut Value>) {
    for value in values {
        zero_for_null(kind, value);
        visit(kind, value);
    }
}

/// A null in a list or a map is the zero value to Go.
pub(super) fn zero_for_null(kind: &FieldKind, value: &mut Value) {
    if !value.is_null() {
        return;
    }
    match kind {
        FieldKind::String | FieldKind::Bytes => *value = "".into(),
        FieldKind::Quantity => *value = "0".into(),
        FieldKind::Object(ty) => *value = zero_object(*ty),
        FieldKind::Int32 | FieldKind::Int64 | FieldKind::IntOrString => *value = 0.into(),
        FieldKind::Bool => *value = false.into(),
        // As in `needs_time`.
        FieldKind::Time => *value = ZERO_TIME.into(),
        FieldKind::MicroTime => *value = ZERO_MICRO_TIME.into(),
        FieldKind::Double
        | FieldKind::RawExtension
        | FieldKind::Fields
        | FieldKind::Json
        | FieldKind::SchemaOr(_)
        | FieldKind::List(_)
        | FieldKind::Map(_) => {}
    }
}

/// Whether a field stays in its object. A value that stands for nothing becomes null where Go has null.
pub(super) fn keeps(ty: &Type, field: &Field, value: &mut Value) -> bool {
    if value.is_null() {
        // `fill_in` puts back what is there always.
        return field.pointer && !field.omit_empty;
    }
    if field.pointer {
        return true;
    }
    if is_unset(&field.kind, value) {
        let stays = !field.omit_empty;
        if stays && matches!(field.kind, FieldKind::List(_) | FieldKind::Map(_) | FieldKind::Bytes)
        {
            *value = Value::Null;
        }
        return stays;
    }
    if is_zero_time(&field.kind, value) && !needs_time(ty, field) {
        *value = Value::Null;
        return !field.omit_zero;
    }
    true
}

/// Whether a value is what Go calls empty.
fn is_unset(kind: &FieldKind, value: &Value) -> bool {
    match (kind, value) {
        (FieldKind::String | FieldKind::Bytes, Value::String(text)) => text.is_empty(),
        (FieldKind::Bool, Value::Bool(set)) => !set,
        (FieldKind::Int32 | FieldKind::Int64, Value::Number(number)) => number.as_i64() == Some(0),
        (FieldKind::Double, Value::Number(number)) => number.as_f64() == Some(0.0),
        (FieldKind::List(_), Value::Array(items)) => items.is_empty(),
        (FieldKind::Map(_), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

fn is_zero_time(kind: &FieldKind, value: &Value) -> bool {
    matches!(kind, FieldKind::Time | FieldKind::MicroTime)
        && matches!(value.as_str(), Some(ZERO_TIME | ZERO_MICRO_TIME))
}

/// Whether the typed views of Rust's clients cannot be without the time (`Condition`): they get the zero
/// time, which every client reads as no time, where upstream prints null.
fn needs_time(ty: &Type, field: &Field) -> bool {
    field.required && ty.gvks.is_empty()
}

/// Fills in the fields that Go's JSON is never without.
pub(super) fn fill_in(ty: &Type, map: &mut Map<String, Value>) {
    for field in ty.always.iter().map(|at| &ty.fields[*at]) {
        if !map.contains_key(field.json) {
            map.insert(field.json.to_owned(), zero(ty, field));
        }
    }
}

/// What Go prints of a field that nobody has set.
fn zero(ty: &Type, field: &Field) -> Value {
    if field.pointer {
        return Value::Null;
    }
    match &field.kind {
        FieldKind::String => "".into(),
        FieldKind::Bool => false.into(),
        FieldKind::Int32 | FieldKind::Int64 | FieldKind::Double | FieldKind::IntOrString => {
            0.into()
        }
        FieldKind::Quantity => "0".into(),
        FieldKind::Time if needs_time(ty, field) => ZERO_TIME.into(),
        FieldKind::MicroTime if needs_time(ty, field) => ZERO_MICRO_TIME.into(),
        FieldKind::Object(ty) => zero_object(*ty),
        FieldKind::Time
        | FieldKind::MicroTime
        | FieldKind::Bytes
        | FieldKind::RawExtension
        | FieldKind::Fields
        | FieldKind::Json
        | FieldKind::SchemaOr(_)
        | FieldKind::List(_)
        | FieldKind::Map(_) => Value::Null,
    }
}

fn zero_object(ty: TypeId) -> Value {
    let mut map = Map::new();
    fill_in(ty.get(), &mut map);
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::schema::sample;

    fn settled(name: &str, mut value: Value) -> Value {
        settle(schema().by_name(name).expect("a type"), &mut value);
        value
    }

    #[test]
    fn every_field_has_the_form_that_go_gives_it() {
        let core = |name: &str| format!("io.k8s.api.core.v1.{name}");
        let cases = [
            // Plain values: left out when empty, but for those that the tags keep.
            (
                core("ContainerPort"),
                json!({"name": "", "hostPort": 0}),
                json!({"containerPort": 0}),
            ),
            (
                core("Toleration"),
                json!({"key": "", "tolerationSeconds": 0}),
                json!({"tolerationSeconds": 0}),
            ),
            (core("EnvVar"), json!({"value": ""}), json!({"name": ""})),
            (
                core("SecurityContext"),
                json!({"privileged": false, "runAsUser": 0}),
                json!({"privileged": false, "runAsUser": 0}),
            ),
            // Lists and maps: left out or null.
            (
                core("PodSpec"),
                json!({"containers": [], "volumes": []}),
                json!({"containers": null}),
            ),
            (core("ConfigMap"), json!({"data": {}}), json!({"metadata": {}})),
            (core("NodeSelector"), json!({}), json!({"nodeSelectorTerms": null})),
            // Structs are there, pointers only when set.
            (
                core("Pod"),
                json!({"kind": ""}),
                json!({"metadata": {}, "spec": {"containers": null}, "status": {}}),
            ),
            (core("Volume"), json!({"emptyDir": {}}), json!({"name": "", "emptyDir": {}})),
            (
                core("Container"),
                json!({"securityContext": null}),
                json!({"name": "", "resources": {}}),
            ),
            (
                "io.k8s.api.apps.v1.DeploymentSpec".to_owned(),
                json!({"template": null}),
                json!({"selector": null, "strategy": {},
                    "template": {"metadata": {}, "spec": {"containers": null}}}),
            ),
            // Special forms.
            (core("ResourceFieldSelector"), json!({}), json!({"divisor": "0", "resource": ""})),
            (core("TCPSocketAction"), json!({}), json!({"port": 0})),
            (
                core("PodCondition"),
                json!({"type": "a", "lastTransitionTime": "0001-01-01T00:00:00Z"}),
                json!({"type": "a", "status": "", "lastProbeTime": null,
                    "lastTransitionTime": null}),
            ),
            (
                "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta".to_owned(),
                json!({"creationTimestamp": "0001-01-01T00:00:00Z", "labels": {"a": null}}),
                json!({"labels": {"a": ""}}),
            ),
            (
                "io.k8s.apimachinery.pkg.apis.meta.v1.Condition".to_owned(),
                json!({"message": "m"}),
                json!({"type": "", "status": "", "reason": "", "message": "m",
                    "lastTransitionTime": "0001-01-01T00:00:00Z"}),
            ),
            (
                "io.k8s.api.apps.v1.ControllerRevision".to_owned(),
                json!({"revision": 0}),
                json!({"metadata": {}, "data": null, "revision": 0}),
            ),
        ];
        for (name, given, expected) in cases {
            assert_eq!(settled(&name, given), expected, "{name}");
        }
    }

    /// Sets a field to what stands for nothing in some way, or to null, or drops it.
    fn hollow(ty: &Type, value: &mut Value, choose: &mut sample::Chooser) {
        let Value::Object(map) = value else { return };
        for field in &ty.fields {
            let empty = match &field.kind {
                FieldKind::String | FieldKind::Bytes => json!(""),
                FieldKind::Bool => json!(false),
                FieldKind::List(_) => json!([]),
                FieldKind::Map(_) | FieldKind::Object(_) => json!({}),
                FieldKind::Time => json!(ZERO_TIME),
                FieldKind::MicroTime => json!(ZERO_MICRO_TIME),
                FieldKind::Quantity => json!("0"),
                FieldKind::Int32
                | FieldKind::Int64
                | FieldKind::Double
                | FieldKind::IntOrString => {
                    json!(0)
                }
                _ => Value::Null,
            };
            match choose.below(4) {
                0 => map.insert(field.json.to_owned(), empty),
                1 => map.insert(field.json.to_owned(), Value::Null),
                2 => map.remove(field.json),
                _ => None,
            };
            if let (FieldKind::Object(ty), Some(value)) = (&field.kind, map.get_mut(field.json)) {
                hollow(ty.get(), value, choose);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn what_is_settled_stays_as_it_is(seed in sample::seeds()) {
            let mut choose = sample::Chooser::new(seed);
            for ty in schema().types() {
                let mut once = sample::object(ty, &mut choose, 0);
                hollow(ty, &mut once, &mut choose);
                settle(ty, &mut once);
                let mut twice = once.clone();
                settle(ty, &mut twice);
                prop_assert_eq!(&once, &twice, "{}", ty.name);
                crate::schema::prune(ty, &mut twice);
                prop_assert_eq!(&once, &twice, "{}, pruned", ty.name);
            }
        }
    }
}
