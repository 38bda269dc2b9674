//! Kinds as the handlers see them: over JSON values, object-safe, in a list made at run time.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use k8s_openapi::Metadata as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Column, Context, FieldError, Kind, KindInfo, Part, meta};
use crate::schema;
use crate::status::ApiError;

/// What validation finds.
#[derive(Debug, Default)]
pub struct Findings {
    pub errors: Vec<FieldError>,
    /// Where there are errors, only those that came before them (`Kind::early_warnings`).
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
    /// The part of what was given that the kind notes.
    noted: Value,
    /// What is told of the object as it was given.
    warnings: Vec<String>,
}

impl Draft {
    pub fn into_value(self) -> Value {
        self.value
    }

    /// Changes the generation and nothing else: without a new decoding.
    pub fn change_generation(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.value);
    }
}

impl From<Value> for Draft {
    fn from(value: Value) -> Self {
        Self { value, typed: None, noted: Value::Null, warnings: Vec::new() }
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
    /// `default`, then `prepare_create` (`old`: `None`), `prepare_update`, `prepare_status` or
    /// `prepare_subresource`; the object is decoded once for both.
    fn begin(
        &self,
        new: &Value,
        old: Option<&Old<'_>>,
        part: Part,
        context: &Context<'_>,
    ) -> Result<Draft, String>;
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
    /// For `Verbs::ReadOnly`: all objects, with their apiVersion and kind.
    fn computed(&self) -> Vec<Value>;
    fn review(&self, value: Value, context: &Context<'_>) -> Result<Value, ApiError>;
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

fn noted<K: Kind>(given: &Value) -> Value {
    K::NOTED.and_then(|pointer| given.pointer(pointer)).cloned().unwrap_or_default()
}

/// The object in Go's form: the typed views know more than one form of the same.
fn encode<K: Kind>(object: &K::Object) -> Result<Value, String> {
    let mut value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    settle(K::INFO.schema, &mut value);
    Ok(value)
}

fn settle(ty: &str, value: &mut Value) {
    if let Some(ty) = schema::schema().by_name(ty) {
        schema::settle(ty, value);
    }
}

/// A problem of the whole object: it does not decode.
fn undecodable(error: String) -> Findings {
    Findings { errors: vec![FieldError::invalid("", "", error)], warnings: Vec::new() }
}

fn findings<K: Kind>(new: &K::Object, old: Option<&Old<'_>>, part: Part) -> Findings {
    let mut findings = raw_findings::<K>(new, old, part);
    if let Some(ty) = schema::schema().by_name(K::INFO.schema) {
        findings.errors = findings.errors.into_iter().map(|error| error.settled(ty)).collect();
    }
    findings
}

fn raw_findings<K: Kind>(new: &K::Object, old: Option<&Old<'_>>, part: Part) -> Findings {
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
            let mut parts = [K::validate(new), K::validate_update(new, &old)];
            if K::INFO.change_first {
                parts.reverse();
            }
            Findings::new(parts.concat(), || K::warnings(new, Some(&old)))
        }
        Part::Status => Findings::new(K::validate_status(new, &old), Vec::new),
        Part::Sub(subresource) => {
            Findings::new(K::validate_subresource(new, &old, subresource), Vec::new)
        }
    }
}

impl<K: Kind> AnyKind for BuiltIn<K> {
    fn info(&self) -> &KindInfo {
        &K::INFO
    }

    fn default(&self, value: Value) -> Result<Value, String> {
        let mut object = decode::<K::Object>(&value)?;
        K::default(&mut object);
        encode::<K>(&object)
    }

    fn begin(
        &self,
        new: &Value,
        old: Option<&Old<'_>>,
        part: Part,
        context: &Context<'_>,
    ) -> Result<Draft, String> {
        let mut object = decode::<K::Object>(new)?;
        let noted = noted::<K>(new);
        K::note(&mut object, &noted)?;
        let warnings = if old.is_none() { K::early_warnings(&object) } else { Vec::new() };
        K::default(&mut object);
        match old {
            None => K::prepare_create(&mut object, context),
            Some(old) => {
                let old: Arc<K::Object> = old.typed()?;
                match part {
                    Part::Main => K::prepare_update(&mut object, &old, context),
                    Part::Status => K::prepare_status(&mut object, &old, context),
                    Part::Sub(subresource) => {
                        K::prepare_subresource(&mut object, &old, subresource, context);
                    }
                }
            }
        }
        // What was put back from the old object may lack what is filled in by now.
        K::default(&mut object);
        Ok(Draft { value: encode::<K>(&object)?, typed: Some(Box::new(object)), noted, warnings })
    }

    fn finish(
        &self,
        new: Draft,
        old: Option<&Old<'_>>,
        part: Part,
    ) -> Result<(Value, Findings), String> {
        let (value, mut findings) =
            match new.typed.and_then(|typed| typed.downcast::<K::Object>().ok()) {
                Some(mut object) => {
                    object.metadata_mut().generation = new.value["metadata"]["generation"].as_i64();
                    let findings = findings::<K>(&object, old, part);
                    (new.value, findings)
                }
                None => {
                    let mut object = decode::<K::Object>(&new.value)?;
                    K::note(&mut object, &new.noted)?;
                    K::default(&mut object);
                    (encode::<K>(&object)?, findings::<K>(&object, old, part))
                }
            };
        findings.warnings.splice(0..0, new.warnings);
        Ok((value, findings))
    }

    fn validate(&self, new: &Value, old: Option<&Value>, part: Part) -> Findings {
        let decoded = decode::<K::Object>(new).and_then(|mut object| {
            K::note(&mut object, &noted::<K>(new))?;
            Ok(object)
        });
        match decoded {
            Ok(new) => findings::<K>(&new, old.map(Old::new).as_ref(), part),
            Err(error) => undecodable(error),
        }
    }

    fn columns(&self) -> &'static [Column] {
        K::columns()
    }

    fn cells(&self, value: &Value, now: Timestamp) -> Vec<Value> {
        let cells = decode::<K::Object>(value).map(|object| K::cells(&object, now));
        let cells = cells.unwrap_or_default();
        if cells.is_empty() { meta::plain_row(value) } else { cells }
    }

    fn selectable(&self, value: &Value) -> Vec<(&'static str, String)> {
        decode::<K::Object>(value).map_or_else(|_| Vec::new(), |object| K::selectable(&object))
    }

    fn to_stored(&self, value: Value) -> Value {
        let mut stored = K::to_stored(value);
        if let Some(ty) = schema::schema().of_object(&stored) {
            schema::settle(ty, &mut stored);
        }
        stored
    }

    fn restore(&self, value: Value) -> Value {
        let mut restored = K::restore(value);
        settle(K::INFO.schema, &mut restored);
        restored
    }

    fn computed(&self) -> Vec<Value> {
        let objects = K::computed();
        objects
            .iter()
            .map(|object| encode::<K>(object).expect("the kind's own type encodes"))
            .collect()
    }

    fn review(&self, value: Value, context: &Context<'_>) -> Result<Value, ApiError> {
        let mut object = decode::<K::Object>(&value).map_err(ApiError::bad_request)?;
        K::review(&mut object, context)?;
        encode::<K>(&object).map_err(ApiError::internal)
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
        let mut known = BTreeMap::new();
        for kind in kinds {
            let doubled = known.insert(key(kind.info()), kind);
            assert!(doubled.is_none(), "a kind is registered twice");
        }
        Self { kinds: known }
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
        let registry = crate::kinds::registry();
        let kind = registry.at("", "v1", "configmaps").expect("it is served");
        let draft = || {
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "namespace": "b"}, "data": {"a": "b"}});
            kind.begin(&value, None, Part::Main, &crate::kinds::testing::context())
                .expect("it decodes")
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

    use proptest::prelude::*;

    use crate::schema::sample::{self, Chooser};
    use crate::schema::{check_types, protobuf, prune, schema};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Through the kind's own type, its defaults and its protobuf message nothing is lost.
        #[test]
        fn every_kind_survives_every_encoding(seed in sample::seeds()) {
            let registry = crate::kinds::registry();
            for kind in registry.iter() {
                let info = kind.info();
                let ty = schema().by_name(info.schema).expect("a type");
                let mut given = sample::object(ty, &mut Chooser::new(seed), 0);
                given["apiVersion"] = info.api_version().into();
                given["kind"] = info.kind.into();
                prune(ty, &mut given);
                let object = kind.default(given).expect("it decodes");
                prop_assert_eq!(check_types(ty, &object), Ok(()), "{}", info.kind);
                let message = protobuf::encode(ty, &info.api_version(), info.kind, &object);
                let (_, _, mut read) = protobuf::decode(&message).expect("it decodes");
                prune(ty, &mut read);
                // What no message holds (the kind of a claim's template) the type fills in again.
                let again = kind.default(read).expect("it decodes");
                prop_assert_eq!(&again, &object, "{}", info.kind);
                let text = serde_json::to_vec(&object).expect("JSON");
                let (text, doubled) = crate::schema::decode_json(&text).expect("JSON");
                prop_assert!(doubled.is_empty());
                prop_assert_eq!(&text, &object);
            }
        }
    }
}
