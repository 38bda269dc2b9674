//! Values against the schemas of custom resources: pruning and validation.
//!
//! The rules in CEL are not judged. Source:
//! `k8s.io/apiextensions-apiserver/pkg/apiserver/{schema/pruning,validation}`, and the words of
//! `k8s.io/kube-openapi/pkg/validation`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use super::{go_regexp, text_format};
use crate::kinds::{ErrorKind, FieldError};

/// The schema of an array's items.
pub fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        _ => None,
    }
}

/// Takes out the fields that the schema does not know. `is_resource`: the value has metadata, a kind
/// and a version, whatever the schema says.
pub fn prune(value: &mut Value, schema: &JSONSchemaProps, is_resource: bool) {
    match value {
        Value::Object(map) => prune_object(map, schema, is_resource),
        Value::Array(list) => {
            for item in list {
                match items(schema) {
                    Some(schema) => prune(item, schema, is_embedded(schema)),
                    None => prune(item, &JSONSchemaProps::default(), false),
                }
            }
        }
        _ => {}
    }
}

fn is_embedded(schema: &JSONSchemaProps) -> bool {
    schema.x_kubernetes_embedded_resource == Some(true)
}

fn prune_object(map: &mut Map<String, Value>, schema: &JSONSchemaProps, is_resource: bool) {
    let preserves = schema.x_kubernetes_preserve_unknown_fields == Some(true);
    let is_of_metadata = |name: &str| matches!(name, "apiVersion" | "kind" | "metadata");
    let property = |name: &str| schema.properties.as_ref().and_then(|all| all.get(name));
    map.retain(|name, value| {
        if is_resource && is_of_metadata(name) {
            return true;
        }
        if let Some(schema) = property(name) {
            prune(value, schema, is_embedded(schema));
            return true;
        }
        match &schema.additional_properties {
            Some(JSONSchemaPropsOrBool::Schema(schema)) => {
                prune(value, schema, is_embedded(schema));
                true
            }
            // Nobody says what is in there: of objects nothing is left.
            Some(JSONSchemaPropsOrBool::Bool(_)) => {
                prune(value, &JSONSchemaProps::default(), false);
                true
            }
            None => preserves,
        }
    });
}

/// All problems of a value at `path`.
pub fn validate(value: &Value, schema: &JSONSchemaProps, path: &str) -> Vec<FieldError> {
    let mut checker = Checker { path, errors: Vec::new() };
    checker.check(value, schema, "");
    checker.errors
}

/// Collects the problems. Names are those inside of the value: `spec.ports[0]`.
struct Checker<'a> {
    path: &'a str,
    errors: Vec<FieldError>,
}

impl Checker<'_> {
    fn at(&self, name: &str) -> String {
        match name.strip_prefix('.').unwrap_or(name) {
            "" => self.path.to_owned(),
            name => format!("{}.{name}", self.path),
        }
    }

    fn refuse(&mut self, name: &str, value: impl Into<Value>, why: &str) {
        let detail = format!("{name} in body {why}");
        self.errors.push(FieldError::invalid(self.at(name), value, detail));
    }

    fn check(&mut self, value: &Value, schema: &JSONSchemaProps, name: &str) {
        if value.is_null() && schema.nullable == Some(true) {
            return;
        }
        if let Some(wanted) = mismatch(value, schema) {
            let actual = kind(value);
            let detail = format!("{name} in body must be of type {wanted}: {actual:?}");
            let kind = ErrorKind::TypeInvalid(actual.into());
            self.errors.push(FieldError::new(kind, self.at(name), detail));
            return;
        }
        match value {
            Value::String(text) => self.check_text(text, schema, name),
            Value::Number(_) => self.check_number(value, schema, name),
            Value::Array(list) => self.check_list(list, schema, name),
            Value::Object(map) => self.check_object(map, schema, name),
            Value::Null | Value::Bool(_) => {}
        }
        let choices = schema.enum_.as_deref().unwrap_or_default();
        if !choices.is_empty() && !choices.iter().any(|choice| choice.0 == *value) {
            let supported = choices.iter().map(|choice| match &choice.0 {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            let kind = ErrorKind::NotSupported {
                value: value.clone().into(),
                supported: supported.collect(),
            };
            self.errors.push(FieldError::new(kind, self.at(name), ""));
        }
        self.check_junctors(value, schema, name);
    }

    fn check_text(&mut self, text: &str, schema: &JSONSchemaProps, name: &str) {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        // The first problem is told alone.
        if let Some(max) = schema.max_length.filter(|max| length > *max) {
            let max = usize::try_from(max).unwrap_or_default();
            return self.errors.push(FieldError::too_long(self.at(name), max));
        }
        if let Some(min) = schema.min_length.filter(|min| length < *min) {
            return self.refuse(name, text, &format!("should be at least {min} chars long"));
        }
        let pattern = schema.pattern.as_deref().filter(|pattern| !pattern.is_empty());
        // What is no regular expression is refused with the schema.
        if let Some((pattern, regex)) =
            pattern.and_then(|it| Some((it, go_regexp::compile(it).ok()?)))
            && !regex.is_match(text.as_bytes())
        {
            return self.refuse(name, text, &format!("should match '{pattern}'"));
        }
        let format = schema.format.as_deref().filter(|format| !format.is_empty());
        if let Some(format) = format.filter(|format| !text_format::has(text, format)) {
            let detail = format!("{name} in body must be of type {format}: {text:?}");
            let kind = ErrorKind::TypeInvalid(text.into());
            self.errors.push(FieldError::new(kind, self.at(name), detail));
        }
    }

    fn check_number(&mut self, value: &Value, schema: &JSONSchemaProps, name: &str) {
        let number = value.as_f64().unwrap_or_default();
        self.check_range(Some(number), "Checked", schema, name);
        self.check_range(schema.multiple_of, "MultipleOf", schema, name);
        if let Some(step) = schema.multiple_of {
            if step <= 0.0 {
                let why = format!(
                    "factor MultipleOf declared for {name} must be positive: {}",
                    go_float(step)
                );
                self.errors.push(FieldError::invalid(self.at(name), step, why));
            } else if (number / step).fract() != 0.0 {
                self.refuse(
                    name,
                    value.clone(),
                    &format!("should be a multiple of {}", go_float(step)),
                );
            }
        }
        let is = |flag: Option<bool>| flag == Some(true);
        self.check_range(schema.minimum, "Minimum boundary", schema, name);
        if let Some(min) = schema.minimum {
            if is(schema.exclusive_minimum) && number <= min {
                self.refuse(
                    name,
                    value.clone(),
                    &format!("should be greater than {}", go_float(min)),
                );
            } else if number < min {
                let why = format!("should be greater than or equal to {}", go_float(min));
                self.refuse(name, value.clone(), &why);
            }
        }
        self.check_range(schema.maximum, "Maximum boundary", schema, name);
        if let Some(max) = schema.maximum {
            if is(schema.exclusive_maximum) && number >= max {
                self.refuse(name, value.clone(), &format!("should be less than {}", go_float(max)));
            } else if number > max {
                let why = format!("should be less than or equal to {}", go_float(max));
                self.refuse(name, value.clone(), &why);
            }
        }
    }

    /// A number of 32 bits, and what it is compared with, are such numbers.
    fn check_range(
        &mut self,
        number: Option<f64>,
        what: &str,
        schema: &JSONSchemaProps,
        name: &str,
    ) {
        let is_int32 =
            schema.type_.as_deref() == Some("integer") && schema.format.as_deref() == Some("int32");
        let Some(number) = number.filter(|_| is_int32) else { return };
        let range = f64::from(i32::MIN)..=f64::from(i32::MAX);
        if number.fract() != 0.0 || !range.contains(&number) {
            let why = format!("{what} value must be of type integer with format int32 in {name}");
            self.errors.push(FieldError::invalid(self.at(name), "", why));
        }
    }

    fn check_list(&mut self, list: &[Value], schema: &JSONSchemaProps, name: &str) {
        let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
        if let Some(min) = schema.min_items.filter(|min| length < *min) {
            self.refuse(name, length, &format!("should have at least {min} items"));
        }
        if let Some(max) = schema.max_items.filter(|max| length > *max) {
            let max = usize::try_from(max).unwrap_or_default();
            self.errors.push(FieldError::too_many(self.at(name), list.len(), max));
        }
        if let Some(schema) = items(schema) {
            for (index, item) in list.iter().enumerate() {
                self.check(item, schema, &format!("{name}[{index}]"));
            }
        }
    }

    fn check_object(&mut self, map: &Map<String, Value>, schema: &JSONSchemaProps, name: &str) {
        let length = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(min) = schema.min_properties.filter(|min| length < *min) {
            self.refuse(name, length, &format!("should have at least {min} properties"));
        }
        if let Some(max) = schema.max_properties.filter(|max| length > *max) {
            let max = usize::try_from(max).unwrap_or_default();
            self.errors.push(FieldError::too_many(self.at(name), map.len(), max));
        }
        let property =
            |key: &str| schema.properties.as_ref().and_then(|properties| properties.get(key));
        for (key, value) in map.iter().filter(|(key, _)| property(key).is_none()) {
            match &schema.additional_properties {
                Some(JSONSchemaPropsOrBool::Schema(schema)) => {
                    self.check(value, schema, &format!("{name}.{key}"));
                }
                Some(JSONSchemaPropsOrBool::Bool(false)) => {
                    let name = format!("{name}.{key}");
                    let detail = format!("{name} in body is a forbidden property");
                    self.errors.push(FieldError::invalid(self.at(&name), "", detail));
                }
                Some(JSONSchemaPropsOrBool::Bool(true)) | None => {}
            }
        }
        for (key, value) in map {
            let Some(schema) = property(key) else { continue };
            let child = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            self.check(value, schema, &child);
        }
        for key in schema.required.iter().flatten().filter(|key| !map.contains_key(*key)) {
            self.errors.push(FieldError::required(self.at(&format!("{name}.{key}")), ""));
        }
    }

    fn check_junctors(&mut self, value: &Value, schema: &JSONSchemaProps, name: &str) {
        let fits = |schema: &JSONSchemaProps| validate(value, schema, "").is_empty();
        let mut told = Vec::new();
        if let Some(list) = schema.any_of.as_ref().filter(|list| !list.is_empty())
            && !list.iter().any(fits)
        {
            told.push("must validate at least one schema (anyOf)");
        }
        if let Some(list) = schema.one_of.as_ref().filter(|list| !list.is_empty())
            && list.iter().filter(|schema| fits(schema)).count() != 1
        {
            told.push("must validate one and only one schema (oneOf)");
        }
        for schema in schema.all_of.iter().flatten() {
            self.check(value, schema, name);
        }
        if schema.not.as_deref().is_some_and(fits) {
            told.push("must not validate the schema (not)");
        }
        for why in told {
            let detail = format!("{name:?} {why}");
            self.errors.push(FieldError::invalid(self.path, "", detail));
        }
    }
}

/// What a value's type is called.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The type that the schema wants, where the value is of another.
fn mismatch(value: &Value, schema: &JSONSchemaProps) -> Option<String> {
    let actual = kind(value);
    let wanted = schema.type_.as_deref().filter(|wanted| !wanted.is_empty())?;
    let is_whole = || value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let fits = match wanted {
        "number" => matches!(actual, "number" | "integer"),
        "integer" => actual == "integer" || (actual == "number" && is_whole()),
        wanted => wanted == actual,
    };
    (!fits).then(|| wanted.to_owned())
}

/// A number as Go's `%v` prints it: `2`, `0.5`, `2.147483648e+09`.
fn go_float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..=5 => number.to_string(),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(value: Value) -> JSONSchemaProps {
        serde_json::from_value(value).expect("a schema")
    }

    #[test]
    fn values_are_held_to_types_and_limits() {
        let schema = schema(json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "maxLength": 3, "pattern": "^[a-z]+$"},
                "count": {"type": "integer", "minimum": 1, "exclusiveMaximum": true, "maximum": 5},
                "list": {"type": "array", "maxItems": 1, "items": {"type": "string", "enum": ["a"]}},
                "port": {"x-kubernetes-int-or-string": true},
                "none": {"type": "string", "nullable": true},
                "some": {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            },
        }));
        let texts = |value: Value| {
            let errors = validate(&value, &schema, "d");
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let good = json!({"name": "abc", "count": 4, "list": ["a"], "port": "x", "none": null, "some": {"a": 1}});
        assert_eq!(texts(good), [""; 0]);
        assert_eq!(
            texts(json!({"count": 0, "list": ["b", 1], "port": true, "some": {}})),
            [
                "d.count: Invalid value: 0: count in body should be greater than or equal to 1",
                "d.list: Too many: 2: must have at most 1 items",
                "d.list[0]: Unsupported value: \"b\": supported values: \"a\"",
                "d.list[1]: Invalid value: \"integer\": list[1] in body must be of type string: \"integer\"",
                "d: Invalid value: \"\": \"some\" must validate at least one schema (anyOf)",
                "d.name: Required value",
            ]
        );
        assert_eq!(
            texts(json!({"name": "ABCD", "count": 5})),
            [
                "d.count: Invalid value: 5: count in body should be less than 5",
                "d.name: Too long: may not be more than 3 bytes",
            ]
        );
        assert_eq!(
            texts(json!([])),
            ["d: Invalid value: \"array\":  in body must be of type object: \"array\""]
        );
    }

    #[test]
    fn unknown_fields_are_pruned_unless_they_are_kept() {
        let schema = schema(json!({
            "type": "object",
            "properties": {
                "a": {"type": "object", "properties": {"b": {"type": "string"}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "map": {"type": "object", "additionalProperties": {"type": "object"}},
            },
        }));
        let mut value = json!({"a": {"b": "1", "c": 2}, "free": {"x": 1}, "map": {"k": {"y": 1}}, "metadata": {"name": "n"}, "z": 1});
        prune(&mut value, &schema, true);
        assert_eq!(
            value,
            json!({"a": {"b": "1"}, "free": {"x": 1}, "map": {"k": {}}, "metadata": {"name": "n"}})
        );
    }

    #[test]
    fn numbers_are_gos() {
        for (number, printed) in [
            (2.0, "2"),
            (0.5, "0.5"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.234567e+06"),
            (2_147_483_648.0, "2.147483648e+09"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (-1e-7, "-1e-07"),
        ] {
            assert_eq!(go_float(number), printed);
        }
    }
}
