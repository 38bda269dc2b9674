//! The formats of names: DNS labels and subdomains, label keys and values, ports, variables.
//!
//! Each function returns what is wrong with a value, in upstream's words; nothing where it is right.
//! Source: `k8s.io/apimachinery/pkg/util/validation` and `pkg/api/validate/content`. Written without
//! a regular expression engine: these run for every label of every write.

use super::NameRule;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_UNDERSCORE_FORMAT: &str =
    r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const KEY_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const VALUE_FORMAT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

const LABEL_LENGTH_MAX: usize = 63;
const SUBDOMAIN_LENGTH_MAX: usize = 253;
const PORT_NAME_LENGTH_MAX: usize = 15;

const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const LABEL_1035_MESSAGE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const WILDCARD_MESSAGE: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
const SUBDOMAIN_UNDERSCORE_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
const KEY_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// What is wrong with an object's name under its kind's rule. `prefix`: it is a `generateName`, to
/// which letters will be appended, so a dash may end it.
pub fn check(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    match rule {
        NameRule::PathSegment => path_segment(name, prefix),
        NameRule::Subdomain => subdomain(&masked(name, prefix)),
        NameRule::Label | NameRule::ServiceLabel => label(&masked(name, prefix)),
        NameRule::Custom(problems) => problems(&masked(name, prefix)),
    }
}

/// A prefix without its trailing dash. Upstream also swallows the character before it, so that
/// `a_-` passes as a prefix and fails as a name; kept.
fn masked(name: &str, prefix: bool) -> String {
    if prefix && name.len() > 1 && name.ends_with('-') && name.is_ascii() {
        return format!("{}a", &name[..name.len() - 2]);
    }
    name.to_owned()
}

/// An RFC 1123 label.
pub fn label(value: &str) -> Vec<String> {
    let mut problems = too_long(value, LABEL_LENGTH_MAX);
    if is_label(value) {
        return problems;
    }
    problems.push(if is_subdomain(value) {
        "must not contain dots".to_owned()
    } else {
        mismatch(LABEL_MESSAGE, LABEL_FORMAT, &["my-name", "123-abc"])
    });
    problems
}

/// An RFC 1035 label, which begins with a letter: versions and kinds.
pub fn label_1035(value: &str) -> Vec<String> {
    let mut problems = too_long(value, LABEL_LENGTH_MAX);
    if !is_label(value) || value.starts_with(|first: char| first.is_ascii_digit()) {
        let format = "[a-z]([-a-z0-9]*[a-z0-9])?";
        problems.push(mismatch(LABEL_1035_MESSAGE, format, &["my-name", "abc-123"]));
    }
    problems
}

/// An RFC 1123 subdomain.
pub fn subdomain(value: &str) -> Vec<String> {
    let mut problems = too_long(value, SUBDOMAIN_LENGTH_MAX);
    if !is_subdomain(value) {
        problems.push(mismatch(SUBDOMAIN_MESSAGE, SUBDOMAIN_FORMAT, &["example.com"]));
    }
    problems
}

/// A subdomain behind `*.`: the hosts of Ingresses.
pub fn wildcard(value: &str) -> Vec<String> {
    let mut problems = too_long(value, SUBDOMAIN_LENGTH_MAX);
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        let format = format!(r"\*\.{SUBDOMAIN_FORMAT}");
        problems.push(mismatch(WILDCARD_MESSAGE, &format, &["*.example.com"]));
    }
    problems
}

/// The name of a ConfigMap or a Secret that an environment is taken from. Upstream judges it as a
/// prefix, so a dash may end it.
pub fn check_reference(name: &str) -> Vec<String> {
    check(NameRule::Subdomain, name, true)
}

/// A subdomain whose labels may begin with or contain an underscore: DNS search paths.
pub fn subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut problems = too_long(value, SUBDOMAIN_LENGTH_MAX);
    let fits = value.split('.').all(|label| {
        let label = label.strip_prefix('_').unwrap_or(label);
        bounded(label, lower_or_digit, |byte| lower_or_digit(byte) || matches!(byte, b'-' | b'_'))
    });
    if !fits {
        problems.push(mismatch(
            SUBDOMAIN_UNDERSCORE_MESSAGE,
            SUBDOMAIN_UNDERSCORE_FORMAT,
            &["example.com"],
        ));
    }
    problems
}

/// A label's key, also called a qualified name: `name` or `example.com/name`.
pub fn label_key(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let name = match value.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(subdomain(prefix).iter().map(|text| format!("prefix part {text}")));
            }
            *name
        }
        _ => {
            let text = mismatch(KEY_MESSAGE, KEY_FORMAT, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    }
    problems.extend(too_many_bytes(name).iter().map(|text| format!("name part {text}")));
    if !is_key_name(name) {
        let text = mismatch(KEY_MESSAGE, KEY_FORMAT, &["MyName", "my.name", "123-abc"]);
        problems.push(format!("name part {text}"));
    }
    problems
}

/// A label's value.
pub fn label_value(value: &str) -> Vec<String> {
    let mut problems = too_many_bytes(value);
    if !value.is_empty() && !is_key_name(value) {
        problems.push(mismatch(VALUE_MESSAGE, VALUE_FORMAT, &["MyValue", "my_value", "12345"]));
    }
    problems
}

/// The name of a port of a container or a probe.
pub fn port_name(value: &str) -> Vec<String> {
    let mut problems = too_long(value, PORT_NAME_LENGTH_MAX);
    if value.is_empty() || !value.bytes().all(|byte| lower_or_digit(byte) || byte == b'-') {
        problems.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// A port's number.
pub fn port_number(value: i64) -> Vec<String> {
    in_range(value, 1, 65535)
}

/// A user's or group's id.
pub fn user_id(value: i64) -> Vec<String> {
    in_range(value, 0, i64::from(i32::MAX))
}

pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) {
        return Vec::new();
    }
    vec![format!("must be between {low} and {high}, inclusive")]
}

/// The name of an environment variable.
pub fn variable_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if value.chars().all(|c| (' '..='~').contains(&c) && c != '=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// A key of a ConfigMap or a Secret.
pub fn config_key(value: &str) -> Vec<String> {
    const MESSAGE: &str =
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
    let mut problems = too_long(value, SUBDOMAIN_LENGTH_MAX);
    if value.is_empty() || !value.bytes().all(key_byte) {
        problems.push(mismatch(MESSAGE, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match value {
        "." => problems.push("must not be '.'".to_owned()),
        ".." => problems.push("must not be '..'".to_owned()),
        _ if value.starts_with("..") => problems.push("must not start with '..'".to_owned()),
        _ => {}
    }
    problems
}

/// The name of an HTTP header.
pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![mismatch(message, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// One segment of a URL's path. Source: `k8s.io/apimachinery/pkg/api/validation/path`.
pub fn path_segment(value: &str, prefix: bool) -> Vec<String> {
    if !prefix && matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| value.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// Upstream's message for a value that does not fit a format.
pub fn mismatch(message: &str, format: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    match examples.as_slice() {
        [] => format!("{message} (regex used for validation is '{format}')"),
        _ => format!(
            "{message} (e.g. {}regex used for validation is '{format}')",
            examples.join(" or ")
        ),
    }
}

/// Upstream's message for a value of more than `max` bytes.
pub fn too_long(value: &str, max: usize) -> Vec<String> {
    if value.len() <= max {
        return Vec::new();
    }
    vec![format!("must be no more than {max} characters")]
}

/// The same as upstream says it of labels.
fn too_many_bytes(value: &str) -> Vec<String> {
    let is_fine = value.len() <= LABEL_LENGTH_MAX;
    let problem = || format!("must be no more than {LABEL_LENGTH_MAX} bytes");
    if is_fine { Vec::new() } else { vec![problem()] }
}

fn is_label(value: &str) -> bool {
    bounded(value, lower_or_digit, |byte| lower_or_digit(byte) || byte == b'-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_key_name(value: &str) -> bool {
    bounded(value, |byte| byte.is_ascii_alphanumeric(), key_byte)
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Whether the value is not empty, and its ends and its middle are of these bytes.
fn bounded(value: &str, end: impl Fn(u8) -> bool, middle: impl Fn(u8) -> bool) -> bool {
    match value.as_bytes() {
        [] => false,
        [one] => end(*one),
        [first, inner @ .., last] => {
            end(*first) && end(*last) && inner.iter().all(|byte| middle(*byte))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_their_rule() {
        let subdomain_problem = mismatch(SUBDOMAIN_MESSAGE, SUBDOMAIN_FORMAT, &["example.com"]);
        let label_problem = mismatch(LABEL_MESSAGE, LABEL_FORMAT, &["my-name", "123-abc"]);
        let cases = [
            (NameRule::Subdomain, "web-1.example", false, vec![]),
            (NameRule::Subdomain, "Web", false, vec![subdomain_problem.clone()]),
            (NameRule::Subdomain, "web-", true, vec![]),
            (NameRule::Subdomain, "web-", false, vec![subdomain_problem]),
            (NameRule::Label, "a.b", false, vec!["must not contain dots".to_owned()]),
            (NameRule::Label, "a_b", false, vec![label_problem]),
            (NameRule::ServiceLabel, "1st", false, vec![]),
            (NameRule::PathSegment, "system:node/x", false, vec!["may not contain '/'".to_owned()]),
            (NameRule::PathSegment, "..", false, vec!["may not be '..'".to_owned()]),
        ];
        for (rule, name, prefix, problems) in cases {
            assert_eq!(check(rule, name, prefix), problems, "{rule:?} {name}");
        }
    }

    #[test]
    fn messages_are_those_of_upstream() {
        assert_eq!(
            subdomain("A"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(
            label_value("-"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        assert_eq!(label(&"a".repeat(64)), ["must be no more than 63 characters"]);
    }

    #[test]
    fn a_1035_label_begins_with_a_letter() {
        assert!(label_1035("v1").is_empty());
        for bad in ["1v", "V1", "", "v1-"] {
            assert!(label_1035(bad)[0].starts_with("a DNS-1035 label must consist"), "{bad}");
        }
    }

    #[test]
    fn label_keys_have_one_optional_prefix() {
        assert!(label_key("app").is_empty());
        assert!(label_key("example.com/My_App.1").is_empty());
        assert_eq!(label_key("/app"), ["prefix part must be non-empty"]);
        assert_eq!(label_key("a/b/c").len(), 1);
        assert_eq!(label_key("").len(), 2);
        assert!(label_key("Example.com/app")[0].starts_with("prefix part a lowercase RFC 1123"));
    }

    #[test]
    fn port_names_are_short_and_have_a_letter() {
        assert!(port_name("http-2").is_empty());
        assert_eq!(port_name("8080"), ["must contain at least one letter (a-z)"]);
        assert_eq!(
            port_name("a--b-"),
            ["must not contain consecutive hyphens", "must not begin or end with a hyphen"]
        );
        assert_eq!(port_name("abcdefghijklmnop"), ["must be no more than 15 characters"]);
    }

    #[test]
    fn variables_may_bear_any_printable_name_but_an_equals_sign() {
        assert!(variable_name("1 odd-name").is_empty());
        assert_eq!(variable_name("A=B").len(), 1);
        assert_eq!(variable_name("é").len(), 1);
    }

    #[test]
    fn config_keys_do_not_climb() {
        assert!(config_key(".hidden").is_empty());
        assert_eq!(config_key(".."), ["must not be '..'"]);
        assert_eq!(config_key("..a"), ["must not start with '..'"]);
        assert_eq!(config_key("a/b").len(), 1);
    }
}
