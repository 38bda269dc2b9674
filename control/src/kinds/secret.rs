//! Secrets. Source: `pkg/registry/core/secret/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as Object;
use serde_json::Value;

use super::config_map::{SIZE_BYTES_MAX, differ, forbid_changed};
use super::meta::{IMMUTABLE, invalid_each};
use super::rules::json_text::{self, Shape};
use super::rules::key_pair;
use super::{Column, FieldError, Kind, KindInfo, meta, names};

pub struct Secrets;

impl Kind for Secrets {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        change_first: true,
        ..KindInfo::namespaced("", "v1", "Secret", "secrets", "secret", "io.k8s.api.core.v1.Secret")
    };

    /// Also moves `stringData`, which only writers use, into `data`.
    fn default(object: &mut Object) {
        if let Some(texts) = object.string_data.take().filter(|texts| !texts.is_empty()) {
            let bytes = texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes())));
            object.data.get_or_insert_default().extend(bytes);
        }
        if object.type_.as_deref().unwrap_or_default().is_empty() {
            object.type_ = Some("Opaque".to_owned());
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut size_bytes = 0;
        for (key, value) in object.data.iter().flatten() {
            errors.extend(invalid_each(&format!("data[{key}]"), key, names::config_key(key)));
            size_bytes += value.0.len();
        }
        if size_bytes > SIZE_BYTES_MAX {
            errors.push(FieldError::too_long("data", SIZE_BYTES_MAX));
        }
        errors.extend(validate_type(object));
        errors
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if new.type_ != old.type_ {
            let value = new.type_.as_deref().unwrap_or_default();
            errors.push(FieldError::invalid("type", value, IMMUTABLE));
        }
        if old.immutable == Some(true) {
            errors.extend(forbid_changed(&[
                ("immutable", new.immutable != Some(true)),
                ("data", differ(&new.data, &old.data)),
            ]));
        }
        errors
    }

    fn warnings(new: &Object, _old: Option<&Object>) -> Vec<String> {
        if new.type_.as_deref() != Some("kubernetes.io/tls") {
            return Vec::new();
        }
        let part = |key| value(new, key).map(|bytes| bytes.0.as_slice()).unwrap_or_default();
        key_pair::problem(part("tls.crt"), part("tls.key")).into_iter().collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Type", "string", 0, "What the Secret is for, which says what it holds."),
            Column::new("Data", "string", 0, "How many keys the Secret holds."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&object.metadata),
            object.type_.clone().unwrap_or_default().into(),
            object.data.as_ref().map_or(0, |data| data.len()).into(),
            meta::object_age(&object.metadata, now),
        ]
    }

    fn selectable(object: &Object) -> Vec<(&'static str, String)> {
        vec![("type", object.type_.clone().unwrap_or_default())]
    }
}

/// What the well-known types require.
fn validate_type(object: &Object) -> Vec<FieldError> {
    match object.type_.as_deref().unwrap_or_default() {
        "kubernetes.io/service-account-token" => {
            const NAME: &str = "kubernetes.io/service-account.name";
            let annotations = object.metadata.annotations.as_ref();
            let named = annotations
                .and_then(|annotations| annotations.get(NAME))
                .is_some_and(|name| !name.is_empty());
            if named {
                return Vec::new();
            }
            vec![FieldError::required(format!("metadata.annotations[{NAME}]"), "")]
        }
        "kubernetes.io/dockercfg" => require_json(object, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => require_json(object, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" => {
            if value(object, "username").or(value(object, "password")).is_some() {
                return Vec::new();
            }
            ["username", "password"].map(missing).into()
        }
        "kubernetes.io/ssh-auth" => {
            const KEY: &str = "ssh-privatekey";
            let present = value(object, KEY).is_some_and(|key| !key.0.is_empty());
            if present { Vec::new() } else { vec![missing(KEY)] }
        }
        "kubernetes.io/tls" => ["tls.crt", "tls.key"]
            .into_iter()
            .filter(|key| value(object, key).is_none())
            .map(missing)
            .collect(),
        _ => Vec::new(),
    }
}

fn value<'a>(object: &'a Object, key: &str) -> Option<&'a ByteString> {
    object.data.as_ref()?.get(key)
}

fn missing(key: &str) -> FieldError {
    FieldError::required(format!("data[{key}]"), "")
}

fn require_json(object: &Object, key: &str) -> Vec<FieldError> {
    let Some(bytes) = value(object, key) else { return vec![missing(key)] };
    match json_text::parse(&bytes.0, Shape::Object, "map[string]interface {}") {
        Ok(_) => Vec::new(),
        Err(why) => {
            let path = format!("data[{key}]");
            vec![FieldError::invalid(path, "<secret contents redacted>", why)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{defaulted, move_problems, problems, row};
    use serde_json::json;

    #[test]
    fn string_data_becomes_data() {
        let secret = json!({"data": {"a": "eA==", "b": "eA=="}, "stringData": {"b": "y"}});
        assert_eq!(
            defaulted::<Secrets>(secret),
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {},
                "data": {"a": "eA==", "b": "eQ=="},
                "type": "Opaque",
            })
        );
    }

    #[test]
    fn well_known_types_require_their_keys() {
        let cases = [
            (
                json!({"type": "kubernetes.io/tls"}),
                vec!["data[tls.crt]: Required value", "data[tls.key]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/basic-auth"}),
                vec!["data[username]: Required value", "data[password]: Required value"],
            ),
            (json!({"type": "kubernetes.io/basic-auth", "data": {"password": ""}}), vec![]),
            (
                json!({"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}}),
                vec!["data[ssh-privatekey]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson"}),
                vec!["data[.dockerconfigjson]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/service-account-token"}),
                vec!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
            ),
        ];
        for (secret, expected) in cases {
            assert_eq!(problems::<Secrets>(secret), expected);
        }
    }

    #[test]
    fn the_type_never_changes() {
        assert_eq!(
            move_problems::<Secrets>(json!({"type": "b"}), json!({"type": "a"})),
            ["type: Invalid value: \"b\": field is immutable"]
        );
    }

    #[test]
    fn the_row_shows_type_and_count() {
        let secret = json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {"a": ""}});
        assert_eq!(
            row::<Secrets>(secret),
            [json!("s"), json!("Opaque"), json!(1), json!("<unknown>")]
        );
    }
}
