//! JSON values as YAML text that every reader takes for the same values. Pure.
//!
//! Old readers (YAML 1.1) see more in a bare word than a string: `yes`, `1:30`, `0o7`, `2026-01-01`.
//! So a string stands bare only where it can be nothing else. Keys are sorted and lists are not
//! indented, as upstream's (`sigs.k8s.io/yaml`).

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// Words that are not strings when they stand bare, in lower case.
const WORDS: [&str; 10] = ["false", "n", "no", "null", "off", "on", "true", "y", "yes", "~"];

/// One document.
pub fn text(value: &Value) -> String {
    let mut out = String::with_capacity(1024);
    match value {
        Value::Object(map) if !map.is_empty() => entries(&mut out, map, 0, false),
        Value::Array(list) if !list.is_empty() => items(&mut out, list, 0, false),
        other => leaf(&mut out, other, 2),
    }
    out
}

/// One item of a list that is a field of a document's outermost object.
pub fn item(value: &Value) -> String {
    let mut out = String::with_capacity(1024);
    items(&mut out, std::slice::from_ref(value), 0, false);
    out
}

/// `inline`: the first line's indentation is already there.
fn entries(out: &mut String, map: &Map<String, Value>, indent: usize, inline: bool) {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort_unstable();
    for (index, key) in keys.into_iter().enumerate() {
        if index > 0 || !inline {
            spaces(out, indent);
        }
        string(out, key);
        out.push(':');
        match &map[key] {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                entries(out, map, indent + 2, false);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                items(out, list, indent, false);
            }
            other => {
                out.push(' ');
                leaf(out, other, indent + 2);
            }
        }
    }
}

fn items(out: &mut String, list: &[Value], indent: usize, inline: bool) {
    for (index, item) in list.iter().enumerate() {
        if index > 0 || !inline {
            spaces(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => entries(out, map, indent + 2, true),
            Value::Array(list) if !list.is_empty() => items(out, list, indent + 2, true),
            other => leaf(out, other, indent + 2),
        }
    }
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// A value without parts, and the end of its line.
fn leaf(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&digits(number)),
        Value::String(text) if is_block(text) => return block(out, text, indent),
        Value::String(text) => string(out, text),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
    out.push('\n');
}

/// A number with an exponent needs a point and a sign to be one in YAML 1.1.
fn digits(number: &Number) -> String {
    let text = number.to_string();
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// Whether lines can stand as they are.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|letter| letter == '\n' || letter == '\t' || is_printable(letter))
        && text.lines().all(|line| !line.ends_with([' ', '\t']))
}

fn block(out: &mut String, text: &str, indent: usize) {
    let lines = text.trim_end_matches('\n');
    out.push_str(match text.len() - lines.len() {
        0 => "|-\n",
        1 => "|\n",
        _ => "|+\n",
    });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            spaces(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn string(out: &mut String, text: &str) {
    if is_bare(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if is_printable(letter) => out.push(letter),
            letter => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
        }
    }
    out.push('"');
}

/// What is not printable lies below U+10000 throughout.
fn is_printable(letter: char) -> bool {
    !matches!(
        letter,
        '\0'..=' '
            | '\u{7f}'..='\u{a0}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}'
    ) || letter == ' '
}

/// Whether a string is a string without quotes, to every reader.
fn is_bare(text: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_./@+=(), :".contains(letter);
    text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/')
        && text.chars().all(fits)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && !is_numeric(text)
}

/// Whether it may be a number (in any base), a duration or a timestamp.
fn is_numeric(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .chars()
            .all(|letter| letter.is_ascii_hexdigit() || "xXoO_.:+- tTzZ,".contains(letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_old_readers_take_for_something_else_is_quoted() {
        for word in [
            "yes",
            "No",
            "ON",
            "off",
            "y",
            "N",
            "true",
            "null",
            "~",
            "",
            "012",
            "0o7",
            "0x1F",
            "1_000",
            "1e3",
            "1.5",
            ".5",
            "-1",
            "+1",
            "1:30",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            ".inf",
            ".NaN",
            "=",
            "<<",
            "- a",
            "a: b",
            "a #b",
            "a:",
            "# a",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "{a",
            "[a",
            "?",
            "|",
            ">",
            "'a'",
            "\"a\"",
            " a",
            "a ",
            "---",
            "...",
            "é",
        ] {
            let shown = text(&json!(word));
            assert!(shown.starts_with('"') && shown.ends_with("\"\n"), "{word}: {shown}");
        }
        for word in
            ["a", "web-1", "nginx:1.25", "kubernetes.io/os", "/var/log", "Pod is ready", "1Gi"]
        {
            assert_eq!(text(&json!(word)), format!("{word}\n"));
        }
    }

    #[test]
    fn documents_look_like_upstreams() {
        let value = json!({
            "kind": "Pod", "apiVersion": "v1", "empty": {}, "none": [], "zero": 0, "big": 1e100,
            "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z", "labels": { "on": "1" } },
            "list": [{ "b": [1, [2]], "a": "x" }, "y"],
            "script": "a\n  b\n", "cut": "a\nb", "kept": "a\n\n",
        });
        let expected = "apiVersion: v1\nbig: 1.0e+100\ncut: |-\n  a\n  b\nempty: {}\nkept: |+\n  a\n\nkind: Pod\nlist:\n- a: x\n  b:\n  - 1\n  - - 2\n- \"y\"\nmetadata:\n  creationTimestamp: \"2026-01-01T00:00:00Z\"\n  labels:\n    \"on\": \"1\"\nnone: []\nscript: |\n  a\n    b\nzero: 0\n";
        assert_eq!(text(&value), expected);
    }

    fn values() -> impl Strategy<Value = Value> {
        let word = prop_oneof![".*", "[a-z0-9:#\\- \n\t]{0,12}", "(?s).{0,12}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            word.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z: #\n\"]{0,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in values()) {
            let written = text(&value);
            let read: Value = serde_yaml::from_str(&written).expect("YAML");
            prop_assert_eq!(read, value, "{}", written);
        }
    }
}
