//! How a webhook is reached: by URL or by Service.
//!
//! Source: `k8s.io/apiserver/pkg/util/webhook/validation.go`.

use super::url;
use crate::kinds::{FieldError, names};

/// The Service of a webhook, whichever group's type it comes from.
pub struct Service<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: Option<&'a str>,
    pub port: Option<i32>,
}

/// All problems of a client's configuration at `path`: exactly one of both is given.
pub fn validate(link: Option<&str>, service: Option<&Service<'_>>, path: &str) -> Vec<FieldError> {
    match (link, service) {
        (Some(link), None) => validate_url(link, &format!("{path}.url")),
        (None, Some(service)) => validate_service(service, &format!("{path}.service")),
        (Some(_), Some(_)) | (None, None) => {
            vec![FieldError::required(path, "exactly one of url or service is required")]
        }
    }
}

fn validate_url(link: &str, path: &str) -> Vec<FieldError> {
    const FORM: &str = "; desired format: https://host[/path]";
    let parsed = match url::parse(link) {
        Ok(parsed) => parsed,
        Err(why) => {
            let why = format!("url must be a valid URL: {why}{FORM}");
            return vec![FieldError::required(path, why)];
        }
    };
    let mut errors = Vec::new();
    if parsed.scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, parsed.scheme.as_str(), why));
    }
    if parsed.host.is_empty() {
        errors.push(FieldError::invalid(path, "", format!("host must be specified{FORM}")));
    }
    if let Some(user) = parsed.user {
        let why = "user information is not permitted in the URL";
        errors.push(FieldError::invalid(path, user, why));
    }
    for (part, what) in [(parsed.fragment, "fragments"), (parsed.query, "query parameters")] {
        if !part.is_empty() {
            let why = format!("{what} are not permitted in the URL");
            errors.push(FieldError::invalid(path, part, why));
        }
    }
    errors
}

/// Upstream's caller hands the namespace in as the name and the other way round: where one of them
/// is missing, the other one's path is told. Kept.
fn validate_service(service: &Service<'_>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (value, field) in [(service.namespace, "name"), (service.name, "namespace")] {
        if value.is_empty() {
            errors.push(FieldError::required(format!("{path}.{field}"), ""));
        }
    }
    let port = service.port.unwrap_or_default();
    let problems = names::port_number(i64::from(port));
    if !problems.is_empty() {
        let why = format!("port is not valid: {}", problems.join(", "));
        errors.push(FieldError::invalid(format!("{path}.port"), port, why));
    }
    errors.extend(service.path.into_iter().flat_map(|it| validate_path(it, path)));
    errors
}

fn validate_path(value: &str, path: &str) -> Vec<FieldError> {
    if matches!(value, "" | "/") {
        return Vec::new();
    }
    let refuse = |why: String| FieldError::invalid(format!("{path}.path"), value, why);
    if value == "//" {
        return vec![refuse("segment[0] may not be empty".to_owned())];
    }
    let mut errors = Vec::new();
    if !value.starts_with('/') {
        errors.push(refuse("must start with a '/'".to_owned()));
    }
    // Whatever the first letter is, it is taken for the slash.
    let rest = value.char_indices().nth(1).map_or("", |(index, _)| &value[index..]);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (index, step) in rest.split('/').enumerate() {
        if step.is_empty() {
            errors.push(refuse(format!("segment[{index}] may not be empty")));
            continue;
        }
        let problems = names::subdomain(step);
        errors.extend(problems.iter().map(|why| refuse(format!("segment[{index}]: {why}"))));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(link: Option<&str>, service: Option<&Service<'_>>) -> Vec<String> {
        validate(link, service, "c").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn urls_are_https_without_ornaments() {
        assert!(texts(Some("https://example.com/path"), None).is_empty());
        assert_eq!(
            texts(Some("http://u@a?b=c#d"), None),
            [
                "c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "c.url: Invalid value: \"u\": user information is not permitted in the URL",
                "c.url: Invalid value: \"d\": fragments are not permitted in the URL",
                "c.url: Invalid value: \"b=c\": query parameters are not permitted in the URL",
            ]
        );
        assert_eq!(
            texts(None, None),
            ["c: Required value: exactly one of url or service is required"]
        );
    }

    #[test]
    fn services_have_a_name_a_namespace_a_port_and_a_clean_path() {
        let service =
            |path| Service { namespace: "a", name: "b", path: Some(path), port: Some(443) };
        for good in ["", "/", "/a/b", "/a/"] {
            assert!(texts(None, Some(&service(good))).is_empty(), "{good}");
        }
        assert_eq!(
            texts(None, Some(&service("//"))),
            ["c.service.path: Invalid value: \"//\": segment[0] may not be empty"]
        );
        assert_eq!(texts(None, Some(&service("a/B"))).len(), 3);
        let nothing = Service { namespace: "", name: "", path: None, port: Some(0) };
        assert_eq!(
            texts(None, Some(&nothing)),
            [
                "c.service.name: Required value",
                "c.service.namespace: Required value",
                "c.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            ]
        );
    }
}
