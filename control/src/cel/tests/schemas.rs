//! What the rules of custom resources may name, and what they must be.

use serde_json::{Value, json};

use super::super::Schema;
use super::super::schema::Rule;
use super::shorten;

fn schema(value: Value, is_root: bool) -> Option<Schema> {
    Schema::new(&serde_json::from_value(value).expect("a schema"), is_root)
}

fn resource() -> Schema {
    let value = json!({
     "type": "object",
     "properties": {
      "spec": {
       "type": "object",
       "properties": {
        "i": {
         "type": "integer"
        },
        "n": {
         "type": "number"
        },
        "s": {
         "type": "string"
        },
        "b": {
         "type": "boolean"
        },
        "by": {
         "type": "string",
         "format": "byte"
        },
        "d": {
         "type": "string",
         "format": "duration"
        },
        "t": {
         "type": "string",
         "format": "date-time"
        },
        "ios": {
         "x-kubernetes-int-or-string": true
        },
        "l": {
         "type": "array",
         "items": {
          "type": "string"
         }
        },
        "lo": {
         "type": "array",
         "items": {
          "type": "object",
          "properties": {
           "k": {
            "type": "string"
           },
           "v": {
            "type": "integer"
           }
          }
         }
        },
        "m": {
         "type": "object",
         "additionalProperties": {
          "type": "integer"
         }
        },
        "mo": {
         "type": "object",
         "additionalProperties": {
          "type": "object",
          "properties": {
           "a": {
            "type": "string"
           }
          }
         }
        },
        "namespace": {
         "type": "string"
        },
        "a-b": {
         "type": "string"
        },
        "int": {
         "type": "integer"
        },
        "u": {
         "type": "object",
         "x-kubernetes-preserve-unknown-fields": true
        },
        "uu": {
         "x-kubernetes-preserve-unknown-fields": true
        },
        "e": {
         "type": "object",
         "x-kubernetes-embedded-resource": true
        }
       }
      }
     }
    });
    schema(value, true).expect("it has a type")
}

fn told(rule: Rule) -> String {
    let error = rule.error.as_deref().map(shorten);
    error.unwrap_or(if rule.uses_old_self { "uses oldSelf" } else { "" }.to_owned())
}

#[test]
fn rules_are_about_what_the_schema_describes() {
    let schema = resource();
    for (text, expected) in [
        ("self.spec.i > 0", ""),
        ("self.spec.i > 0.5", ""),
        (
            "self.spec.i == 'a'",
            "1:13: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            "self.spec.n + self.spec.i > 1.0",
            "1:13: found no matching overload for '_+_' applied to '(double, int)'",
        ),
        ("self.spec.b", ""),
        (
            "self.spec.by == 'a'",
            "1:14: found no matching overload for '_==_' applied to '(bytes, string)'",
        ),
        (
            "self.spec.d > '1h'",
            "1:13: found no matching overload for '_>_' applied to '(duration, string)'",
        ),
        ("self.spec.t > timestamp('2024-01-01T00:00:00Z')", ""),
        ("self.spec.ios + 'a' == 'b'", ""),
        (
            "self.spec.l.all(x, x > 1)",
            "1:22: found no matching overload for '_>_' applied to '(string, int)'",
        ),
        ("self.spec.lo.all(x, x.v > 1 && x.k != '')", ""),
        ("self.spec.lo.all(x, x.z)", "1:22: undefined field 'z'"),
        (
            "self.spec.m.a == 'x'",
            "1:15: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        ("self.spec.mo.x.a == 'b'", ""),
        ("self.spec.mo.x.b == 'b'", "1:15: undefined field 'b'"),
        ("self.spec.namespace == 'a'", ""),
        ("self.spec.__namespace__ == 'a'", ""),
        ("self.spec.a__dash__b == 'a'", ""),
        ("self.spec.int == 1", ""),
        ("self.spec.u.x == 1", "1:12: undefined field 'x'"),
        ("self.spec.uu.x == 1", "1:10: undefined field 'uu'"),
        ("self.spec.e.metadata.name == 'a'", ""),
        ("self.spec.e.metadata.labels == {}", "1:21: undefined field 'labels'"),
        ("self.zz", "1:5: undefined field 'zz'"),
        ("self.kind == self.metadata.name", ""),
        ("self.spec == oldSelf.spec", "uses oldSelf"),
        ("oldSelf.spec.i < self.spec.i", "uses oldSelf"),
        (
            "oldSelf.spec.i == 'a'",
            "1:16: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            "oldSelf.hasValue()",
            "1:17: found no matching overload for 'hasValue' applied to 'selfType0.()'",
        ),
        ("has(self.spec.zz)", "1:4: undefined field 'zz'"),
        ("self.spec.i", "cel expression must evaluate to a bool"),
        ("dyn(true)", "cel expression must evaluate to a bool"),
        ("object", "1:1: undeclared reference to 'object' (in container '')"),
        ("self.", "1:6: Syntax error: no viable alternative at input '.'"),
    ] {
        assert_eq!(told(schema.compile(text, "", false)), expected, "{text}");
    }
}

#[test]
fn what_was_there_before_may_be_optional() {
    let schema = resource();
    for (text, expected) in [
        ("oldSelf.hasValue()", "uses oldSelf"),
        ("oldSelf.value().spec.i == 1", "uses oldSelf"),
        (
            "oldSelf.spec.i == 1",
            "1:16: found no matching overload for '_==_' applied to '(optional_type(int), int)'",
        ),
        (
            "oldSelf.?spec.?i.orValue('a') == 'a'",
            "1:25: found no matching overload for 'orValue' applied to 'optional_type(int).(string)'",
        ),
        ("oldSelf.orValue(self).spec.i == 1", "uses oldSelf"),
    ] {
        assert_eq!(told(schema.compile(text, "", true)), expected, "{text}");
    }
}

#[test]
fn messages_are_strings() {
    let schema = resource();
    for (text, expected) in [
        ("'a'", ""),
        ("self.spec.s", ""),
        ("1", "messageExpression must evaluate to a string"),
        ("self.spec", "messageExpression must evaluate to a string"),
        (
            "'a' +",
            "messageExpression 1:6: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        ),
        ("self.zz", "messageExpression 1:5: undefined field 'zz'"),
        (
            "'x'.find('(')",
            "messageExpression instantiation failed: error parsing regexp: missing closing ): `(`",
        ),
    ] {
        let why = schema.compile("true", text, false).message_error;
        let why = why.as_deref().map(shorten).unwrap_or_default();
        let why = why.replace("compilation failed: ERROR: <input>:", "");
        assert_eq!(why, expected, "{text}");
    }
    assert!(schema.compile("1", "1", false).message_error.is_none());
    assert!(schema.compile(" ", "1", false).error.is_none());
}

#[test]
fn schemas_without_a_type_have_no_rules() {
    assert!(schema(json!({"type": "array"}), false).is_none());
    assert!(schema(json!({"x-kubernetes-preserve-unknown-fields": true}), false).is_none());
    let scalar = schema(json!({"type": "string"}), false).expect("it has a type");
    assert!(scalar.compile("self.size() < 3", "", false).error.is_none());
}
