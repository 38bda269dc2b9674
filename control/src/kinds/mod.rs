//! The kinds that the API serves: one file each, and the list of them.
//!
//! A kind says what is particular to it: defaults, validation, what an update may change, the
//! columns of `kubectl get`. All else (verbs, patches, watches, encodings) is one generic handler
//! in `api`. To add a kind, copy the smallest file here, fill it in, and add a line to `list`.
//! This module performs no I/O.

pub mod binding;
mod config_map;
mod controller_revision;
mod deployment;
mod endpoint_slice;
mod endpoints;
pub mod event;
pub mod event_v1;
mod field_error;
mod flow_schema;
pub mod formats;
pub mod lease;
mod list;
pub mod meta;
pub mod names;
pub mod namespace;
pub mod node;
pub mod pod;
mod priority_level_configuration;
pub mod quantity;
mod replica_set;
pub mod resources;
mod rules;
mod secret;
pub mod selector;
mod self_subject_access_review;
mod self_subject_review;
pub mod semantic;
pub(crate) mod service;
mod service_account;
#[cfg(test)]
mod testing;
mod warn;
mod workload;

pub use field_error::{ErrorKind, FieldError};
pub use list::registry;

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::auth::UserInfo;
use crate::status::ApiError;

/// Whether objects live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// What names a kind may bear. Source: `k8s.io/apimachinery/pkg/api/validation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 characters: most kinds.
    Subdomain,
    /// RFC 1123 label, at most 63 characters: namespaces.
    Label,
    /// A service's name: a DNS label (1.36 admits a leading digit).
    ServiceLabel,
    /// Anything that is one path segment: RBAC.
    PathSegment,
}

/// A part of an object with a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    Status,
    /// `autoscaling/v1` Scale over `.spec.replicas`, `.status.replicas` and `.spec.selector`.
    Scale,
    Log,
    Binding,
    Eviction,
    Proxy,
    Finalize,
}

impl Subresource {
    /// The last segment of its path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Log => "log",
            Self::Binding => "binding",
            Self::Eviction => "eviction",
            Self::Proxy => "proxy",
            Self::Finalize => "finalize",
        }
    }
}

/// How a kind is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the store, under its own resource.
    Own,
    /// In the store, under another resource's keys and in that kind's form (`to_stored`):
    /// `events.k8s.io` events are stored as core events.
    As { resource: &'static str },
    /// Not kept: a create computes an answer (`review`).
    Virtual,
}

/// The names and the constant properties of a kind.
#[derive(Clone, Copy, Debug)]
pub struct KindInfo {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    /// The plural, as in the path.
    pub resource: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    pub names: NameRule,
    pub storage: Storage,
    pub subresources: &'static [Subresource],
    /// The name in upstream's OpenAPI, such as `io.k8s.api.core.v1.Pod`: the key to its schema.
    pub schema: &'static str,
    /// Whether a change of anything but metadata and status raises `metadata.generation`.
    pub has_generation: bool,
    /// Whether updates without a resourceVersion are allowed (upstream's AllowUnconditionalUpdate).
    pub unconditional_update: bool,
    /// Whether a PUT to a name that does not exist creates it (leases, events, endpoints: upstream's AllowCreateOnUpdate).
    pub create_on_update: bool,
    /// Grace in seconds that a graceful deletion gets without an option; only pods have one.
    pub graceful_deletion: bool,
}

impl KindInfo {
    /// A namespaced, stored kind with nothing special: name what differs with `..`.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        resource: &'static str,
        singular: &'static str,
        schema: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            resource,
            singular,
            short_names: &[],
            categories: &[],
            scope: Scope::Namespaced,
            names: NameRule::Subdomain,
            storage: Storage::Own,
            subresources: &[],
            schema,
            has_generation: false,
            unconditional_update: true,
            create_on_update: false,
            graceful_deletion: false,
        }
    }

    /// `v1`, or `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `pods`, or `deployments.apps`: the first part of its store keys.
    pub fn group_resource(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }

    /// Where its objects are stored: its own resource unless it shares another's.
    pub fn stored_resource(&self) -> String {
        match self.storage {
            Storage::As { resource } => resource.to_owned(),
            Storage::Own | Storage::Virtual => self.group_resource(),
        }
    }

    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

/// A column of the Table form. `priority` 0 is shown always, 1 with `-o wide`.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`, `boolean` or `number`.
    pub kind: &'static str,
    /// `name` for the name column, else empty.
    pub format: &'static str,
    pub priority: u8,
    pub description: &'static str,
}

impl Column {
    pub const NAME: Self = Self {
        name: "Name",
        kind: "string",
        format: "name",
        priority: 0,
        description: "The object's name, unique among its kind within the namespace.",
    };
    pub const AGE: Self = Self::new("Age", "string", 0, "Time since the object was created.");

    pub const fn new(
        name: &'static str,
        kind: &'static str,
        priority: u8,
        description: &'static str,
    ) -> Self {
        Self { name, kind, format: "", priority, description }
    }
}

/// Which part of an object a request writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Main,
    Status,
}

/// A built-in kind, over its `k8s-openapi` type. Every method has upstream's strategy as its source.
pub trait Kind: Send + Sync + 'static {
    type Object: Serialize + DeserializeOwned + schemars::JsonSchema + Send + Sync + 'static;
    const INFO: KindInfo;

    /// Fills in what the user left out. Idempotent; runs on create, update and patch.
    fn default(_object: &mut Self::Object) {}

    /// Before a create: sets what the server alone decides. (A `status` that the user sent is
    /// already dropped where the kind has a status subresource.)
    fn prepare_create(_object: &mut Self::Object) {}

    /// Before an update of the main part: restores what an update may not touch. (`status` is
    /// already restored where the kind has a status subresource.)
    fn prepare_update(_new: &mut Self::Object, _old: &Self::Object) {}

    /// Before an update of the status: restores what such an update may not touch. (Everything but
    /// `status` and `metadata` is already restored.)
    fn prepare_status(_new: &mut Self::Object, _old: &Self::Object) {}

    /// All problems of an object, new or updated, but those of its metadata.
    fn validate(object: &Self::Object) -> Vec<FieldError>;

    /// Problems that only a create can have. `validate` runs beside it.
    fn validate_create(_object: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// All problems of an update: immutable fields, forbidden moves. `validate(new)` runs beside it.
    fn validate_update(_new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// All problems of a status update.
    fn validate_status(_new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// What is let through but told of, in `Warning` headers: `path.of.field: message`. `old`: `None`
    /// for a create. Only of objects without problems, and not of updates of the status.
    fn warnings(_new: &Self::Object, _old: Option<&Self::Object>) -> Vec<String> {
        Vec::new()
    }

    /// The columns of the Table form, the name first.
    fn columns() -> &'static [Column] {
        &[Column::NAME, Column::AGE]
    }

    /// One row: a cell for each column. `meta::age` prints ages.
    fn cells(object: &Self::Object, now: Timestamp) -> Vec<Value>;

    /// The field selectors beyond `metadata.name` and `metadata.namespace`, with their values.
    fn selectable(_object: &Self::Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// For `Storage::As`: this version's form → the stored form, and back.
    fn to_stored(value: Value) -> Value {
        value
    }
    fn restore(value: Value) -> Value {
        value
    }

    /// For `Storage::Virtual`: fills in the answer.
    fn review(_object: &mut Self::Object, _user: &UserInfo) -> Result<(), ApiError> {
        Ok(())
    }
}

/// What validation finds.
#[derive(Debug, Default)]
pub struct Findings {
    pub errors: Vec<FieldError>,
    /// Empty where there are errors.
    pub warnings: Vec<String>,
}

impl Findings {
    fn new(errors: Vec<FieldError>, warnings: impl FnOnce() -> Vec<String>) -> Self {
        let warnings = if errors.is_empty() { warnings() } else { Vec::new() };
        Self { errors, warnings }
    }
}

/// An object on its way from `begin` to `finish`. Whoever changes it makes `finish` decode it anew.
pub struct Draft {
    value: Value,
    /// The same as its type, while nobody has changed the value.
    typed: Option<Box<dyn Any + Send + Sync>>,
}

impl Draft {
    pub fn into_value(self) -> Value {
        self.value
    }
}

impl From<Value> for Draft {
    fn from(value: Value) -> Self {
        Self { value, typed: None }
    }
}

impl Deref for Draft {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl DerefMut for Draft {
    fn deref_mut(&mut self) -> &mut Value {
        self.typed = None;
        &mut self.value
    }
}

/// The object before an update, decoded once for all who look at it as its type.
pub struct Old<'a> {
    pub value: &'a Value,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl<'a> Old<'a> {
    pub fn new(value: &'a Value) -> Self {
        Self { value, typed: OnceLock::new() }
    }

    fn typed<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>, String> {
        if let Some(Ok(known)) = self.typed.get().map(|known| known.clone().downcast()) {
            return Ok(known);
        }
        let decoded: Arc<T> = Arc::new(decode(self.value)?);
        // Where two race, either is as good.
        let _ = self.typed.set(decoded.clone());
        Ok(decoded)
    }
}

/// A kind as the handlers see it: over JSON values, object-safe, so that a handler is compiled once
/// and custom resources can join at run time.
pub trait AnyKind: Send + Sync {
    fn info(&self) -> &KindInfo;
    /// Decodes into the kind's type and back, with defaults filled in. The error is the decoder's.
    fn default(&self, value: Value) -> Result<Value, String>;
    fn prepare_create(&self, value: Value) -> Result<Value, String>;
    fn prepare_update(&self, new: Value, old: &Value) -> Result<Value, String>;
    fn prepare_status(&self, new: Value, old: &Value) -> Result<Value, String>;
    /// `default`, then `prepare_create` (`old`: `None`), `prepare_update` or `prepare_status`; the
    /// object is decoded once for both.
    fn begin(&self, new: &Value, old: Option<&Old<'_>>, part: Part) -> Result<Draft, String>;
    /// `default`, then `validate`, likewise; of a draft that nobody has changed since `begin`, only
    /// `validate`.
    fn finish(
        &self,
        new: Draft,
        old: Option<&Old<'_>>,
        part: Part,
    ) -> Result<(Value, Findings), String>;
    /// `old`: `None` for a create.
    fn validate(&self, new: &Value, old: Option<&Value>, part: Part) -> Findings;
    fn columns(&self) -> &'static [Column];
    fn cells(&self, value: &Value, now: Timestamp) -> Vec<Value>;
    fn selectable(&self, value: &Value) -> Vec<(&'static str, String)>;
    fn to_stored(&self, value: Value) -> Value;
    fn restore(&self, value: Value) -> Value;
    fn review(&self, value: Value, user: &UserInfo) -> Result<Value, ApiError>;
    /// Registers the type's JSON schema, whose descriptions OpenAPI shows.
    fn json_schema(&self, generator: &mut schemars::SchemaGenerator);
}

/// Makes an [`AnyKind`] of a [`Kind`].
pub struct BuiltIn<K>(std::marker::PhantomData<K>);

impl<K: Kind> BuiltIn<K> {
    pub const fn new() -> Self {
        Self(std::marker::PhantomData)
    }

    pub fn entry() -> Arc<dyn AnyKind> {
        Arc::new(Self::new())
    }
}

impl<K: Kind> Default for BuiltIn<K> {
    fn default() -> Self {
        Self::new()
    }
}

fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}

fn encode<T: Serialize>(object: &T) -> Result<Value, String> {
    serde_json::to_value(object).map_err(|error| error.to_string())
}

/// A problem of the whole object: it does not decode.
fn undecodable(error: String) -> Findings {
    Findings { errors: vec![FieldError::invalid("", "", error)], warnings: Vec::new() }
}

fn findings<K: Kind>(new: &K::Object, old: Option<&Old<'_>>, part: Part) -> Findings {
    let Some(old) = old else {
        let mut errors = K::validate(new);
        errors.extend(K::validate_create(new));
        return Findings::new(errors, || K::warnings(new, None));
    };
    let old = match old.typed::<K::Object>() {
        Ok(old) => old,
        Err(error) => return undecodable(error),
    };
    match part {
        Part::Main => {
            let mut errors = K::validate(new);
            errors.extend(K::validate_update(new, &old));
            Findings::new(errors, || K::warnings(new, Some(&old)))
        }
        Part::Status => Findings::new(K::validate_status(new, &old), Vec::new),
    }
}

impl<K: Kind> AnyKind for BuiltIn<K> {
    fn info(&self) -> &KindInfo {
        &K::INFO
    }

    fn default(&self, value: Value) -> Result<Value, String> {
        let mut object = decode::<K::Object>(&value)?;
        K::default(&mut object);
        encode(&object)
    }

    fn prepare_create(&self, value: Value) -> Result<Value, String> {
        let mut object = decode::<K::Object>(&value)?;
        K::prepare_create(&mut object);
        encode(&object)
    }

    fn prepare_update(&self, new: Value, old: &Value) -> Result<Value, String> {
        let mut object = decode::<K::Object>(&new)?;
        K::prepare_update(&mut object, &decode(old)?);
        encode(&object)
    }

    fn prepare_status(&self, new: Value, old: &Value) -> Result<Value, String> {
        let mut object = decode::<K::Object>(&new)?;
        K::prepare_status(&mut object, &decode(old)?);
        encode(&object)
    }

    fn begin(&self, new: &Value, old: Option<&Old<'_>>, part: Part) -> Result<Draft, String> {
        let mut object = decode::<K::Object>(new)?;
        K::default(&mut object);
        match (old, part) {
            (None, _) => K::prepare_create(&mut object),
            (Some(old), Part::Main) => {
                let old: Arc<K::Object> = old.typed()?;
                K::prepare_update(&mut object, &old);
            }
            (Some(old), Part::Status) => {
                let old: Arc<K::Object> = old.typed()?;
                K::prepare_status(&mut object, &old);
            }
        }
        // What was put back from the old object may lack what is filled in by now.
        K::default(&mut object);
        Ok(Draft { value: encode(&object)?, typed: Some(Box::new(object)) })
    }

    fn finish(
        &self,
        new: Draft,
        old: Option<&Old<'_>>,
        part: Part,
    ) -> Result<(Value, Findings), String> {
        if let Some(object) = new.typed.as_ref().and_then(|typed| typed.downcast_ref()) {
            let findings = findings::<K>(object, old, part);
            return Ok((new.value, findings));
        }
        let mut object = decode::<K::Object>(&new.value)?;
        K::default(&mut object);
        Ok((encode(&object)?, findings::<K>(&object, old, part)))
    }

    fn validate(&self, new: &Value, old: Option<&Value>, part: Part) -> Findings {
        match decode::<K::Object>(new) {
            Ok(new) => findings::<K>(&new, old.map(Old::new).as_ref(), part),
            Err(error) => undecodable(error),
        }
    }

    fn columns(&self) -> &'static [Column] {
        K::columns()
    }

    fn cells(&self, value: &Value, now: Timestamp) -> Vec<Value> {
        decode::<K::Object>(value).map_or_else(|_| Vec::new(), |object| K::cells(&object, now))
    }

    fn selectable(&self, value: &Value) -> Vec<(&'static str, String)> {
        decode::<K::Object>(value).map_or_else(|_| Vec::new(), |object| K::selectable(&object))
    }

    fn to_stored(&self, value: Value) -> Value {
        K::to_stored(value)
    }

    fn restore(&self, value: Value) -> Value {
        K::restore(value)
    }

    fn review(&self, value: Value, user: &UserInfo) -> Result<Value, ApiError> {
        let mut object = decode::<K::Object>(&value).map_err(ApiError::bad_request)?;
        K::review(&mut object, user)?;
        encode(&object).map_err(ApiError::internal)
    }

    fn json_schema(&self, generator: &mut schemars::SchemaGenerator) {
        generator.subschema_for::<K::Object>();
    }
}

/// The kinds served: a run-time list, which custom resources will join.
#[derive(Clone)]
pub struct Registry {
    kinds: BTreeMap<(String, String, String), Arc<dyn AnyKind>>,
}

impl Registry {
    pub fn new(kinds: Vec<Arc<dyn AnyKind>>) -> Self {
        let key = |info: &KindInfo| {
            (info.group.to_owned(), info.version.to_owned(), info.resource.to_owned())
        };
        Self { kinds: kinds.into_iter().map(|kind| (key(kind.info()), kind)).collect() }
    }

    /// The kind at `/apis/{group}/{version}/…/{resource}`.
    pub fn at(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<dyn AnyKind>> {
        self.kinds.get(&(group.to_owned(), version.to_owned(), resource.to_owned()))
    }

    /// The kind of an object by what it says of itself.
    pub fn of(&self, api_version: &str, kind: &str) -> Option<&Arc<dyn AnyKind>> {
        self.iter().find(|any| any.info().kind == kind && any.info().api_version() == api_version)
    }

    /// By group, version and resource, in that order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn AnyKind>> {
        self.kinds.values()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_draft_is_decoded_anew_only_where_somebody_changed_it() {
        let registry = registry();
        let kind = registry.at("", "v1", "configmaps").expect("it is served");
        let draft = || {
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "namespace": "b"}, "data": {"a": "b"}});
            kind.begin(&value, None, Part::Main).expect("it decodes")
        };
        let (value, findings) = kind.finish(draft(), None, Part::Main).expect("as before");
        assert_eq!((value["data"]["a"].as_str(), findings.errors.len()), (Some("b"), 0));
        let mut changed = draft();
        changed["data"] = json!({"not a key": "c"});
        let (value, findings) = kind.finish(changed, None, Part::Main).expect("it decodes");
        assert_eq!((value["data"]["not a key"].as_str(), findings.errors.len()), (Some("c"), 1));
        let mut changed = draft();
        changed["data"] = json!(7);
        assert!(kind.finish(changed, None, Part::Main).is_err());
    }
}
