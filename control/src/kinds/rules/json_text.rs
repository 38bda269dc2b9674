//! JSON inside of texts: what some annotations and secrets hold.
//!
//! Source of the wording: `encoding/json` of Go.

use serde_json::Value;

use crate::schema::json_complaint;

/// What the whole text is to be; null is fine everywhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    List,
    Object,
}

/// The value of a text that `go_type` is read from, or upstream's complaint.
pub fn parse(text: &[u8], shape: Shape, go_type: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| json_complaint(text).unwrap_or_else(|| error.to_string()))?;
    let (found, found_shape) = match &value {
        Value::Null => return Ok(value),
        Value::Bool(_) => ("bool", None),
        Value::Number(_) => ("number", None),
        Value::String(_) => ("string", None),
        Value::Array(_) => ("array", Some(Shape::List)),
        Value::Object(_) => ("object", Some(Shape::Object)),
    };
    if found_shape == Some(shape) {
        return Ok(value);
    }
    Err(format!("json: cannot unmarshal {found} into Go value of type {go_type}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_gos() {
        let problem = |text: &str, shape| parse(text.as_bytes(), shape, "T").unwrap_err();
        assert_eq!(problem("", Shape::List), "unexpected end of JSON input");
        assert_eq!(
            problem(" a", Shape::List),
            "invalid character 'a' looking for beginning of value"
        );
        assert_eq!(
            problem("[]", Shape::Object),
            "json: cannot unmarshal array into Go value of type T"
        );
        assert_eq!(
            problem("1", Shape::List),
            "json: cannot unmarshal number into Go value of type T"
        );
        assert!(parse(b"null", Shape::List, "T").unwrap().is_null());
        assert!(parse(b"{}", Shape::Object, "T").unwrap().is_object());
    }
}
