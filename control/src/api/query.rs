//! The options in a request's query, and those of a `DeleteOptions` body. Pure.
//!
//! Source: `k8s.io/apimachinery/pkg/apis/meta/{v1,internalversion}/validation`.

use std::num::{IntErrorKind, ParseIntError};
use std::time::Duration;

use serde_json::Value;

use crate::kinds::rules::duration;
use crate::kinds::{FieldError, meta};
use crate::status::{About, ApiError};

use super::request::decode;

/// A query string, taken apart.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        });
        Self(pairs.collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, unless it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean: present and neither `false` nor `0`.
    pub fn flag(&self, name: &str) -> bool {
        self.option(name).unwrap_or(false)
    }

    /// A boolean that may be absent.
    pub fn option(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error: ParseIntError| {
            let why = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            ApiError::bad_request(format!("strconv.ParseInt: parsing {value:?}: {why}"))
        })
    }
}

/// The longest that a request may take, whatever it says itself. As upstream's `--request-timeout`.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How long a request may take by its `timeout`; refused where that is no duration.
///
/// Source: `k8s.io/apiserver/pkg/endpoints/filters/request_deadline.go`.
pub fn timeout(query: &Query) -> Result<Duration, ApiError> {
    let Some(given) = query.text("timeout") else { return Ok(TIMEOUT_MAX) };
    let nanoseconds = duration::parse(given).map_err(|why| {
        ApiError::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    // None at all, and none that is to come, leave it at the longest.
    let asked = u64::try_from(nanoseconds).ok().filter(|asked| *asked > 0);
    let asked = asked.map(Duration::from_nanos);
    Ok(asked.map_or(TIMEOUT_MAX, |asked| asked.min(TIMEOUT_MAX)))
}

/// What `fieldValidation` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// The options of a create, an update or a patch.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub validation: FieldValidation,
    /// Who manages what is set; empty where the request does not say.
    pub manager: String,
    /// Whether an apply takes what others manage.
    pub force: bool,
}

impl WriteOptions {
    /// `kind`: `CreateOptions` or `UpdateOptions`, for the error.
    pub fn parse(query: &Query, kind: &str) -> Result<Self, ApiError> {
        Self::checked(query, kind, Vec::new())
    }

    /// The options of a patch, which may be an apply.
    pub fn of_patch(query: &Query, applies: bool) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        if applies && query.text("fieldManager").is_none() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if !applies && query.get("force").is_some() {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        Self::checked(query, "PatchOptions", errors)
    }

    fn checked(query: &Query, kind: &str, mut errors: Vec<FieldError>) -> Result<Self, ApiError> {
        let manager = query.get("fieldManager").unwrap_or_default();
        errors.extend(meta::validate_manager(manager, "fieldManager"));
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        errors.extend(check_dry_run(&dry_run));
        let validation = match query.get("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                errors.push(FieldError::not_supported("fieldValidation", other, &supported));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(invalid_options(kind, &errors));
        }
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            validation,
            manager: manager.to_owned(),
            force: query.flag("force"),
        })
    }
}

fn check_dry_run(values: &[&str]) -> Option<FieldError> {
    values.iter().find(|value| **value != "All")?;
    Some(FieldError::not_supported("dryRun", Value::from(values.to_vec()), &["All"]))
}

fn invalid_options(kind: &str, errors: &[FieldError]) -> ApiError {
    ApiError::invalid(About { group: "meta.k8s.io", resource: kind, name: "" }, errors)
}

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// The options of a delete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteOptions {
    pub dry_run: bool,
    pub grace_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    /// The older form of `propagation`.
    pub orphan_dependents: Option<bool>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the query, where the request has no body.
    pub fn from_query(query: &Query) -> Result<Self, ApiError> {
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        Self {
            grace_seconds: query.integer("gracePeriodSeconds")?,
            orphan_dependents: query.option("orphanDependents"),
            uid: query.text("uid").map(str::to_owned),
            resource_version: query.text("resourceVersion").map(str::to_owned),
            ..Self::default()
        }
        .checked(&dry_run, query.text("propagationPolicy"))
    }

    /// From a decoded `DeleteOptions`.
    pub fn from_body(body: &Value) -> Result<Self, ApiError> {
        let text = |path: &str| body.pointer(path).and_then(Value::as_str);
        let dry_run: Vec<&str> = body["dryRun"]
            .as_array()
            .map(|values| values.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        Self {
            grace_seconds: body["gracePeriodSeconds"].as_i64(),
            orphan_dependents: body["orphanDependents"].as_bool(),
            uid: text("/preconditions/uid").map(str::to_owned),
            resource_version: text("/preconditions/resourceVersion").map(str::to_owned),
            ..Self::default()
        }
        .checked(&dry_run, text("/propagationPolicy"))
    }

    fn checked(mut self, dry_run: &[&str], policy: Option<&str>) -> Result<Self, ApiError> {
        let mut errors: Vec<FieldError> = Vec::new();
        if let (Some(policy), Some(_)) = (policy, self.orphan_dependents) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", policy, why));
        }
        self.propagation = match policy {
            None => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported("propagationPolicy", other, &supported));
                None
            }
        };
        errors.extend(check_dry_run(dry_run));
        self.dry_run = !dry_run.is_empty();
        if errors.is_empty() { Ok(self) } else { Err(invalid_options("DeleteOptions", &errors)) }
    }
}

/// How a list's resourceVersion is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    NotOlderThan,
    Exact,
}

/// The options of a list or a watch, but for the selectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListOptions {
    /// `None`: the newest. `Some(0)`: any.
    pub resource_version: Option<u64>,
    pub version_match: Option<VersionMatch>,
    pub limit: usize,
    pub continued: Option<String>,
    pub timeout_seconds: Option<i64>,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// `watch`: whether they are a watch's. By the old `/watch/` prefix it can be one whose options say
    /// nothing of that, and are checked as a list's.
    pub fn parse(query: &Query, watch: bool) -> Result<Self, ApiError> {
        let says_watch = query.flag("watch");
        let continued = query.text("continue").map(str::to_owned);
        let mut given_match = query.text("resourceVersionMatch");
        let mut initial = query.option("sendInitialEvents");
        let version = query.text("resourceVersion");
        // A watch that begins with the state, as they all did once, says where the state ends too.
        let begins_with_state = matches!(version, None | Some("0"));
        if says_watch && begins_with_state && given_match.is_none() && initial.is_none() {
            initial = Some(true);
            given_match = Some("NotOlderThan");
        }
        let errors = if says_watch {
            check_watch(given_match, initial, continued.is_some())
        } else {
            check_list(given_match, version, initial, continued.is_some())
        };
        if !errors.is_empty() {
            return Err(invalid_options("ListOptions", &errors));
        }
        let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        Ok(Self {
            resource_version: version.map(parse_version).transpose().map_err(|error| {
                // Of a watch upstream passes the error on as it is, without a reason.
                if watch { no_version(&error) } else { bad_version(&error) }
            })?,
            version_match: match given_match {
                Some("Exact") => Some(VersionMatch::Exact),
                Some(_) => Some(VersionMatch::NotOlderThan),
                None => None,
            },
            limit: positive(query.integer("limit")?).unwrap_or(0) as usize,
            continued,
            timeout_seconds: query.integer("timeoutSeconds")?,
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: initial,
        })
    }
}

/// The resourceVersion that a get must be as new as.
pub fn version_of_get(query: &Query) -> Result<Option<u64>, ApiError> {
    let given = query.text("resourceVersion").map(parse_version).transpose();
    given.map_err(|error| no_version(&error))
}

/// A resourceVersion as clients send it.
fn parse_version(text: &str) -> Result<u64, FieldError> {
    text.parse().map_err(|_| FieldError::invalid("resourceVersion", text, no_number(text)))
}

/// What Go says of a resourceVersion that is no number.
pub fn no_number(text: &str) -> String {
    let digits = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    let why = if digits { "value out of range" } else { "invalid syntax" };
    format!("strconv.ParseUint: parsing {text:?}: {why}")
}

fn bad_version(error: &FieldError) -> ApiError {
    ApiError::bad_request(format!("invalid resource version: {error}"))
}

fn no_version(error: &FieldError) -> ApiError {
    ApiError::new(500, "", error.to_string())
}

fn check_list(
    given: Option<&str>,
    version: Option<&str>,
    initial: Option<bool>,
    continued: bool,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut forbid = |path: &str, why: &str| errors.push(FieldError::forbidden(path, why));
    if given.is_some() && version.is_none() {
        forbid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        );
    }
    if given.is_some() && continued {
        forbid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden when continue is provided",
        );
    }
    if given == Some("Exact") && version == Some("0") {
        forbid(
            "resourceVersionMatch",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        );
    }
    if initial.is_some() {
        forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    if let Some(other) = given
        && !matches!(other, "Exact" | "NotOlderThan")
    {
        let supported = ["Exact", "NotOlderThan", ""];
        errors.push(FieldError::not_supported("resourceVersionMatch", other, &supported));
    }
    errors
}

fn check_watch(given: Option<&str>, initial: Option<bool>, continued: bool) -> Vec<FieldError> {
    let path = "resourceVersionMatch";
    let mut errors = Vec::new();
    if initial.is_some() && given != Some("NotOlderThan") {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(path, why));
    }
    let Some(given) = given else { return errors };
    if initial.is_none() {
        let why =
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        errors.push(FieldError::forbidden(path, why));
    }
    if given != "NotOlderThan" {
        errors.push(FieldError::not_supported(path, given, &["NotOlderThan"]));
    }
    if continued {
        let why = "resourceVersionMatch is forbidden when continue is provided";
        errors.push(FieldError::forbidden(path, why));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28d%29&watch&limit=5");
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert!(query.flag("watch"));
        assert_eq!(query.integer("limit"), Ok(Some(5)));
        assert_eq!(query.integer("nothing"), Ok(None));
        let query = Query::parse("limit=9999999999999999999");
        let why = query.integer("limit").expect_err("it is too much").message;
        assert!(why.ends_with("value out of range"), "{why}");
    }

    #[test]
    fn bad_options_are_worded_as_upstream_words_them() {
        let message = |query: &str| {
            WriteOptions::parse(&Query::parse(query), "CreateOptions").expect_err("refused").message
        };
        assert_eq!(
            message("dryRun=Some"),
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All""#
        );
        assert_eq!(
            message("fieldValidation=x"),
            r#"CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "x": supported values: "", "Ignore", "Strict", "Warn""#
        );
    }

    #[test]
    fn an_apply_names_its_manager_and_only_an_apply_is_forced() {
        let parse = |query: &str, applies| WriteOptions::of_patch(&Query::parse(query), applies);
        let message = |query: &str, applies| parse(query, applies).expect_err("refused").message;
        assert_eq!(
            message("force=true", true),
            r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#
        );
        assert_eq!(
            message("fieldManager=m&force=true", false),
            r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#
        );
        let options = parse("fieldManager=m&force=true", true).expect("fine");
        assert_eq!((options.manager.as_str(), options.force), ("m", true));
    }

    #[test]
    fn a_timeout_must_be_a_duration() {
        let message = |timeout: &str| {
            let query = Query::parse(&format!("timeout={timeout}"));
            super::timeout(&query).err().map(|error| error.message)
        };
        for timeout in ["", "0", "0s", "34s", "1.5h", "-2m", "1h2m3s4ms5us6ns", ".5s"] {
            assert_eq!(message(timeout), None, "{timeout}");
        }
        let refused = "invalid timeout specified in the request URL - time:";
        for (timeout, why) in [
            ("invalid", r#"invalid duration "invalid""#),
            ("5", r#"missing unit in duration "5""#),
            ("5d", r#"unknown unit "d" in duration "5d""#),
            ("-", r#"invalid duration "-""#),
            ("1.2.3s", r#"missing unit in duration "1.2.3s""#),
        ] {
            assert_eq!(message(timeout), Some(format!("{refused} {why}")));
        }
    }

    #[test]
    fn a_deletion_s_preconditions_may_stand_in_the_query() {
        let options = DeleteOptions::from_query(&Query::parse("uid=u&resourceVersion=5"));
        let options = options.expect("fine");
        assert_eq!(options.uid.as_deref(), Some("u"));
        assert_eq!(options.resource_version.as_deref(), Some("5"));
    }

    #[test]
    fn a_watch_that_begins_with_the_state_says_so() {
        let initial = |query: &str| {
            let options = ListOptions::parse(&Query::parse(query), true).expect("fine");
            options.send_initial_events
        };
        assert_eq!(initial("watch=1"), Some(true));
        assert_eq!(initial("watch=1&resourceVersion=0"), Some(true));
        assert_eq!(initial("watch=1&resourceVersion=5"), None);
        // By the prefix alone.
        assert_eq!(initial(""), None);
        let not = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
        assert_eq!(initial(not), Some(false));
    }

    #[test]
    fn delete_options_come_from_query_or_body() {
        let query = Query::parse("propagationPolicy=Orphan&gracePeriodSeconds=0&dryRun=All");
        let expected = DeleteOptions {
            dry_run: true,
            grace_seconds: Some(0),
            propagation: Some(Propagation::Orphan),
            ..DeleteOptions::default()
        };
        assert_eq!(DeleteOptions::from_query(&query), Ok(expected.clone()));
        let body =
            json!({ "propagationPolicy": "Orphan", "gracePeriodSeconds": 0, "dryRun": ["All"] });
        assert_eq!(DeleteOptions::from_body(&body), Ok(expected));
        let both = json!({ "propagationPolicy": "Orphan", "orphanDependents": true });
        assert_eq!(DeleteOptions::from_body(&both).expect_err("refused").code, 422);
    }

    #[test]
    fn list_options_that_contradict_each_other_are_refused() {
        for (query, watch) in [
            ("resourceVersionMatch=Exact", false),
            ("resourceVersionMatch=Exact&resourceVersion=0", false),
            ("sendInitialEvents=true", false),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", true),
            ("watch=1&sendInitialEvents=true", true),
            ("watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=5", true),
        ] {
            let parsed = ListOptions::parse(&Query::parse(query), watch);
            assert_eq!(parsed.expect_err(query).code, 422);
        }
        let error = ListOptions::parse(&Query::parse("resourceVersion=x"), false);
        assert_eq!(error.expect_err("refused").code, 400);
    }
}
