//! An operation as both versions of OpenAPI know it.

use super::components::PATCH;
use super::parameters::Parameter;

/// One method of one path.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub path: String,
    pub method: &'static str,
    pub id: String,
    /// Empty where there is none.
    pub description: String,
    pub tag: String,
    /// What it does to which kind; what is of no kind has neither.
    pub on: Option<On>,
    /// In the path and in the query.
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    /// The codes of its answers.
    pub codes: &'static [u16],
    pub answer: Answer,
    pub media: Media,
}

#[derive(Clone, Debug)]
pub(super) struct On {
    /// `x-kubernetes-action`.
    pub action: &'static str,
    /// `x-kubernetes-group-version-kind`: group, version, kind.
    pub gvk: [&'static str; 3],
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A type, by its name in the schema.
    Object(String),
    Text,
    /// None that OpenAPI tells of.
    Nothing,
}

/// What an operation takes and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// Objects in every encoding.
    Objects,
    /// The same, or a stream of events.
    Events,
    /// Objects or plain text.
    Log,
    /// Whatever is behind it.
    Anything,
    /// Discovery documents.
    Discovery,
    /// JSON both ways.
    Json,
    /// A document of this media type; nothing is sent.
    Document(&'static str),
    /// Nothing that OpenAPI tells of.
    Unknown,
}

const ENCODINGS: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

impl Media {
    pub fn consumed(self) -> &'static [&'static str] {
        match self {
            Self::Objects | Self::Events | Self::Log | Self::Anything => &["*/*"],
            Self::Discovery => ENCODINGS,
            Self::Json => &["application/json"],
            Self::Document(_) | Self::Unknown => &[],
        }
    }

    pub fn produced(self) -> Vec<&'static str> {
        match self {
            Self::Objects | Self::Discovery => ENCODINGS.to_vec(),
            Self::Events => [
                ENCODINGS,
                &[
                    "application/json;stream=watch",
                    "application/vnd.kubernetes.protobuf;stream=watch",
                ],
            ]
            .concat(),
            Self::Log => [&["text/plain"], ENCODINGS].concat(),
            Self::Anything => vec!["*/*"],
            Self::Json => vec!["application/json"],
            Self::Document(media) => vec![media],
            Self::Unknown => Vec::new(),
        }
    }
}

impl Operation {
    /// The names of the types that it reads and writes.
    pub fn schemas(&self) -> impl Iterator<Item = &str> {
        let body = self.body.as_ref().map(Body::schema);
        let answer = match &self.answer {
            Answer::Object(name) => Some(name.as_str()),
            Answer::Text | Answer::Nothing => None,
        };
        body.into_iter().chain(answer)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Object(String),
    /// `DeleteOptions`, which may be left out.
    Options(String),
    Patch,
}

impl Body {
    pub fn schema(&self) -> &str {
        match self {
            Self::Object(name) | Self::Options(name) => name,
            Self::Patch => PATCH,
        }
    }
}

/// `core`, `apps`, `rbacAuthorization`: the group as upstream names it in tags and ids.
pub(super) fn group_name(group: &str) -> String {
    let group = match group {
        "" => "core",
        group => group.strip_suffix(".k8s.io").unwrap_or(group),
    };
    let mut words = group.split('.');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |group, word| group + &capital(word))
}

/// The group and the version in an operation's id: `CoreV1`.
pub(super) fn group_version_word(group: &str, version: &str) -> String {
    capital(&group_name(group)) + &capital(version)
}

pub(super) fn tag(group: &str, version: &str) -> String {
    format!("{}_{version}", group_name(group))
}

/// `/api/v1`, or `/apis/apps/v1`.
pub(super) fn base(group: &str, version: &str) -> String {
    match group {
        "" => format!("/api/{version}"),
        group => format!("/apis/{group}/{version}"),
    }
}

pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}
