//! What a controller answers when it is asked about a key: the actions, the status, and why.
//!
//! This module performs no I/O and makes no choices.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource as KubeResource};
use serde::Serialize;
use serde_json::{Value, json};

/// An object by its place: `replicasets.apps`, its namespace (empty: cluster-wide) and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub resource: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }

    pub fn of(resource: &str, metadata: &ObjectMeta) -> Self {
        Self::new(
            resource,
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{}/{}", self.resource, self.name),
            namespace => write!(f, "{}/{namespace}/{}", self.resource, self.name),
        }
    }
}

/// What is to be done about a key. The default: nothing.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In this order; neighbouring creates, deletes and patches run side by side. The first failure ends it.
    pub actions: Vec<Action>,
    /// Written last. Its resourceVersion is that of the object observed.
    pub status: Option<Update>,
    /// Why this, or why nothing: for the log.
    pub why: String,
    /// Look again after so long, even if nothing changes.
    pub again: Option<Duration>,
    /// Let changes gather for so long before the next look: for plans whose cost grows with size.
    pub rest: Duration,
    /// Other keys of the same controller that are to be looked at now.
    pub wake: Vec<Key>,
}

impl Plan {
    /// Nothing to do, for this reason.
    pub fn nothing(why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::default() }
    }

    pub fn is_nothing(&self) -> bool {
        self.actions.is_empty() && self.status.is_none()
    }
}

/// One write, or one event.
#[derive(Clone, Debug)]
pub enum Action {
    Create(Create),
    /// Replaces the whole object; fails with a conflict where it was changed meanwhile.
    Update(Update),
    /// A JSON merge patch.
    Patch {
        key: Key,
        subresource: Option<&'static str>,
        patch: Value,
        done: Option<Note>,
    },
    Delete(Delete),
    /// Written in the background; never fails.
    Event(Note),
}

/// Creates an object, or `count` equal ones where the server generates the names.
#[derive(Clone, Debug)]
pub struct Create {
    pub resource: Arc<str>,
    pub namespace: Arc<str>,
    pub object: Value,
    pub count: usize,
    pub done: Option<Note>,
    pub failed: Option<Note>,
}

impl Create {
    pub fn one(resource: &str, namespace: &str, object: &impl Serialize) -> Self {
        Self {
            resource: resource.into(),
            namespace: namespace.into(),
            object: encode(object),
            count: 1,
            done: None,
            failed: None,
        }
    }
}

/// Replaces an object, or its part behind `subresource`.
#[derive(Clone, Debug)]
pub struct Update {
    pub key: Key,
    pub subresource: Option<&'static str>,
    pub object: Value,
    pub done: Option<Note>,
}

impl Update {
    pub fn whole(key: Key, object: &impl Serialize) -> Self {
        Self { key, subresource: None, object: encode(object), done: None }
    }

    pub fn status(key: Key, object: &impl Serialize) -> Self {
        Self { key, subresource: Some("status"), object: encode(object), done: None }
    }
}

/// Deletes an object; that it is gone already is success.
#[derive(Clone, Debug)]
pub struct Delete {
    pub key: Key,
    /// Nothing is deleted where the object has another UID.
    pub uid: String,
    /// Nothing is deleted where the object has another resourceVersion: try again.
    pub resource_version: Option<String>,
    pub propagation: Propagation,
    /// Overrides the grace that the object asks for; `Some(0)` deletes at once.
    pub grace_seconds: Option<i64>,
    pub done: Option<Note>,
    pub failed: Option<Note>,
}

impl Delete {
    pub fn of(resource: &str, metadata: &ObjectMeta) -> Self {
        Self {
            key: Key::of(resource, metadata),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: None,
            propagation: Propagation::Background,
            grace_seconds: None,
            done: None,
            failed: None,
        }
    }
}

/// What becomes of a deleted object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// An event to record about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub about: Arc<ObjectReference>,
    pub kind: NoteKind,
    pub reason: &'static str,
    pub message: Message,
}

impl Note {
    pub fn normal(about: &Arc<ObjectReference>, reason: &'static str, message: Message) -> Self {
        Self { about: about.clone(), kind: NoteKind::Normal, reason, message }
    }

    pub fn warning(about: &Arc<ObjectReference>, reason: &'static str, message: Message) -> Self {
        Self { about: about.clone(), kind: NoteKind::Warning, reason, message }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoteKind {
    Normal,
    Warning,
}

impl NoteKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// An event's message; some of it may be known only when the action is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Text(String),
    /// Followed by the name of the object written.
    Name(&'static str),
    /// Followed by the error.
    Error(String),
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Why the previous attempt at this key failed: the `Status` reason and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    pub message: String,
}

/// The reference to an object that events bear.
pub fn about<T: KubeResource + Metadata<Ty = ObjectMeta>>(object: &T) -> Arc<ObjectReference> {
    let metadata = object.metadata();
    Arc::new(ObjectReference {
        api_version: Some(T::API_VERSION.to_owned()),
        kind: Some(T::KIND.to_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        field_path: None,
    })
}

/// A merge patch of metadata that fails with a conflict unless the object is still the one observed.
pub fn merge_patch(observed: &ObjectMeta, mut patch: Value) -> Value {
    let metadata = &mut patch["metadata"];
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata["resourceVersion"] = observed.resource_version.clone().into();
    patch
}

/// Objects are plain data: encoding them cannot fail.
fn encode(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod show {
    //! Plans as text, for the tables of the controllers' tests.

    use super::*;

    fn note(note: &Note) -> String {
        let message = match &note.message {
            Message::Text(text) => text.clone(),
            Message::Name(prefix) => format!("{prefix}<name>"),
            Message::Error(prefix) => format!("{prefix}<error>"),
        };
        format!("{} {}: {message}", note.kind.name(), note.reason)
    }

    fn write(out: &mut String, what: String, done: Option<&Note>) {
        out.push_str(&what);
        out.push('\n');
        if let Some(done) = done {
            out.push_str(&format!("  event {}\n", note(done)));
        }
    }

    fn strip(object: &Value, fields: &[&str]) -> Value {
        let mut object = object.clone();
        if let Some(map) = object.as_object_mut() {
            for field in ["apiVersion", "kind"].iter().chain(fields) {
                map.remove(*field);
            }
        }
        object
    }

    /// The plan without what tables need not repeat.
    pub(crate) fn plan(plan: &Plan) -> String {
        let mut out = String::new();
        for action in &plan.actions {
            match action {
                Action::Create(create) => {
                    let name = create.object["metadata"]["name"]
                        .as_str()
                        .or(create.object["metadata"]["generateName"].as_str())
                        .unwrap_or_default();
                    let what = format!("create {} {name} x{}", create.resource, create.count);
                    write(&mut out, what, create.done.as_ref());
                }
                Action::Update(update) => {
                    let part = update.subresource.unwrap_or("whole");
                    write(&mut out, format!("update {} {part}", update.key), update.done.as_ref());
                }
                Action::Patch { key, subresource, patch, done } => {
                    let part = subresource.map(|part| format!("/{part}")).unwrap_or_default();
                    write(&mut out, format!("patch {key}{part} {patch}"), done.as_ref());
                }
                Action::Delete(delete) => {
                    let grace =
                        delete.grace_seconds.map(|s| format!(" grace={s}")).unwrap_or_default();
                    let what =
                        format!("delete {} {}{grace}", delete.key, delete.propagation.name());
                    write(&mut out, what, delete.done.as_ref());
                }
                Action::Event(event) => out.push_str(&format!("event {}\n", note(event))),
            }
        }
        if let Some(status) = &plan.status {
            let object = strip(&status.object, &["metadata", "spec"]);
            out.push_str(&format!("status {} {object}\n", status.key));
        }
        for key in &plan.wake {
            out.push_str(&format!("wake {key}\n"));
        }
        if let Some(again) = plan.again {
            out.push_str(&format!("again in {again:?}\n"));
        }
        out.push_str(&format!("why {}\n", plan.why));
        out
    }
}
