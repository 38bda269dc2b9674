//! Errors as the API shows them: upstream's `Status` with its reason, code, message and causes.
//!
//! Source of the wording: `k8s.io/apimachinery/pkg/api/errors`.

use serde_json::{Value, json};

use crate::kinds::FieldError;

/// An answer other than success. Converts into an HTTP response in `api`.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub code: u16,
    /// Upstream's `metav1.StatusReason`; empty where upstream leaves it out.
    pub reason: &'static str,
    pub message: String,
    /// `details`: name, group, kind, uid, causes, retryAfterSeconds.
    pub details: Option<Value>,
    /// `metadata.continue`: where a list whose revision is gone may go on, inconsistently.
    pub continued: Option<Box<str>>,
    /// What else the client is to be told.
    pub warnings: Vec<String>,
}

/// The object that an error speaks of: group and resource (or kind), and its name.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub group: &'a str,
    /// The plural resource, except for `invalid`, which shows the kind.
    pub resource: &'a str,
    pub name: &'a str,
}

impl About<'_> {
    fn qualified(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }

    fn details(&self) -> Value {
        let mut details = json!({});
        if !self.resource.is_empty() {
            details["kind"] = self.resource.into();
        }
        if !self.group.is_empty() {
            details["group"] = self.group.into();
        }
        if !self.name.is_empty() {
            details["name"] = self.name.into();
        }
        details
    }
}

impl ApiError {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            continued: None,
            warnings: Vec::new(),
        }
    }

    /// The same error, with what was to be told of the request before it failed.
    pub fn warned(self, warnings: &[String]) -> Self {
        Self { warnings: warnings.to_vec(), ..self }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn not_found(about: About<'_>) -> Self {
        let message = format!("{} {:?} not found", about.qualified(), about.name);
        Self { details: Some(about.details()), ..Self::new(404, "NotFound", message) }
    }

    pub fn page_not_found() -> Self {
        let mut error =
            Self::new(404, "NotFound", "the server could not find the requested resource");
        error.details = Some(json!({}));
        error
    }

    pub fn already_exists(about: About<'_>) -> Self {
        let message = format!("{} {:?} already exists", about.qualified(), about.name);
        Self { details: Some(about.details()), ..Self::new(409, "AlreadyExists", message) }
    }

    pub fn conflict(about: About<'_>, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {:?}: {why}",
            about.qualified(),
            about.name
        );
        Self { details: Some(about.details()), ..Self::new(409, "Conflict", message) }
    }

    /// The message of a lost optimistic update.
    pub fn modified(about: About<'_>) -> Self {
        Self::conflict(
            about,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub fn forbidden(about: About<'_>, why: &str) -> Self {
        let message = format!("{} {:?} is forbidden: {why}", about.qualified(), about.name);
        Self { details: Some(about.details()), ..Self::new(403, "Forbidden", message) }
    }

    /// All problems at once, each with its field path. `about.resource` is the kind here.
    pub fn invalid(about: About<'_>, errors: &[FieldError]) -> Self {
        // What is said twice is shown once; the causes keep both.
        let mut messages: Vec<String> = Vec::new();
        for message in errors.iter().map(ToString::to_string) {
            if !messages.contains(&message) {
                messages.push(message);
            }
        }
        let joined = match messages.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {:?} is invalid: {joined}", about.qualified(), about.name);
        let mut details = about.details();
        details["causes"] = errors
            .iter()
            .map(|error| {
                json!({
                    "reason": error.kind.reason(),
                    "message": error.body(),
                    "field": error.path,
                })
            })
            .collect();
        Self { details: Some(details), ..Self::new(422, "Invalid", message) }
    }

    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self { details: Some(json!({})), ..Self::new(405, "MethodNotAllowed", message) }
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    /// The revision asked for is gone, or a watcher fell behind: list again.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        let message = message.to_string();
        Self {
            details: Some(json!({ "causes": [{ "message": message }] })),
            ..Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
        }
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// The `Status` object of this error.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        if let Some(token) = &self.continued {
            status["metadata"]["continue"] = token.as_ref().into();
        }
        status
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}
