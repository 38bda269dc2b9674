//! Writes: what happens between a decoded object and its commit.
//!
//! The order of each write: default → prepare → who manages what → admission → default again where
//! admission changed something → validate → what admission refuses → commit. An update runs in a loop: it reads the newest
//! object, makes the new one of it, and begins again where somebody else was quicker.
//!
//! `metadata.managedFields` are no part of the values here: they are large, few look at them, and
//! they are JSON before and after. They stand beside the values, and are in the bytes.
//!
//! Source: `k8s.io/apiserver/pkg/registry/generic/registry/store.go`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::admission::{Operation, Reservation};
use crate::cache::Cached;
use crate::encode;
use crate::kinds::{Draft, FieldError, Generation, Old, Part, Storage, Subresource, meta};
use crate::patch::managers::{self, Given};
use crate::schema::{self, schema};
use crate::status::ApiError;
use crate::store::{Revision, StoreError, Write};

use super::call::{Admission, Call};
use super::object::{self, Object};
use super::{metadata, ownership, preconditions, size, special};

/// As upstream's maxNameGenerationCreateAttempts.
const GENERATE_ATTEMPTS: usize = 8;
/// Far more than a fair race needs; ends a race that is not fair.
const UPDATE_ATTEMPTS: usize = 100;

/// The store key of an object of the request's kind.
pub fn key(call: &Call, namespace: &str, name: &str) -> String {
    format!("{}/{namespace}/{name}", call.info().stored_resource())
}

/// Why the store did not do it, for reads and for failures that no rule foresees.
pub fn store_failed(error: StoreError) -> ApiError {
    match error {
        StoreError::OutcomeUnknown(why) => ApiError::new(
            504,
            "Timeout",
            format!("Timeout: the write may or may not have happened: {why}"),
        ),
        StoreError::Unavailable(why) => ApiError::unavailable(why),
        StoreError::Compacted { .. } => {
            ApiError::expired("The resourceVersion for the provided list is too old.")
        }
        other => ApiError::internal(other),
    }
}

/// What a write has made, and what its client is to be told of it.
pub struct Written {
    pub object: Object,
    pub warnings: Vec<String>,
}

/// The object that a request makes.
pub struct New {
    pub value: Value,
    pub managers: Managers,
}

/// Who manages a new object.
#[derive(Clone)]
pub enum Managers {
    /// Whoever sets a field, from now on.
    Tracked,
    /// They are worked out already: the JSON of `managedFields`, if there are any.
    Known(Option<String>),
}

impl New {
    /// Whoever writes it manages what it changes.
    pub fn tracked(value: Value) -> Self {
        Self { value, managers: Managers::Tracked }
    }
}

/// Creates an object whose metadata the caller has cleaned.
pub async fn insert(call: &Call, value: Value, dry_run: bool) -> Result<Written, ApiError> {
    insert_new(call, New::tracked(value), dry_run).await
}

/// The same for an object whose managers may be known.
pub async fn insert_new(call: &Call, new: New, dry_run: bool) -> Result<Written, ApiError> {
    let New { mut value, managers } = new;
    let given = Given::take(&mut value);
    let create = Create { managers, given, dry_run };
    let generates = object::name(&value).is_empty()
        && !object::text(&value, "/metadata/generateName").is_empty();
    if !generates {
        return insert_once(call, &mut value, &create, false).await;
    }
    let base = object::text(&value, "/metadata/generateName").to_owned();
    let mut taken = ApiError::internal("no name was tried");
    for _ in 0..GENERATE_ATTEMPTS {
        let suffix = call.api.ambient().suffix(metadata::SUFFIX_LENGTH);
        let name = metadata::generated_name(&base, &suffix);
        object::metadata_mut(&mut value).insert("name".into(), name.into());
        match insert_once(call, &mut value, &create, true).await {
            Err(error) if error.reason == "AlreadyExists" => taken = error,
            result => return result,
        }
    }
    Err(taken)
}

/// What each attempt at a create has in common.
struct Create {
    managers: Managers,
    given: Given,
    dry_run: bool,
}

async fn insert_once(
    call: &Call,
    value: &mut Value,
    create: &Create,
    generated: bool,
) -> Result<Written, ApiError> {
    let info = call.info();
    let dry_run = create.dry_run;
    begin(call, value);
    let name = object::name(value).to_owned();
    let sent = info.managed_as_sent.then(|| call.kind.default(value.clone())).transpose();
    let sent = sent.map_err(|why| undecodable(call, &why))?;
    let begun = call.kind.begin(value, None, Part::Main, &call.context(&name));
    let mut draft = begun.map_err(|why| undecodable(call, &why))?;
    let managers = match &create.managers {
        Managers::Known(managers) => managers.clone(),
        Managers::Tracked => {
            ownership::created(call, sent.as_ref().unwrap_or(&draft), &create.given)
        }
    };
    let managers = managers.as_deref();
    let admission = Admission {
        operation: Operation::Create,
        name: if generated { "" } else { &name },
        object: Some(&mut draft),
        old: None,
        dry_run,
    };
    let reservations = call.admit(admission).await?;
    let finished = call.kind.finish(draft, None, Part::Main);
    let (value, findings) = finished.map_err(|why| undecodable(call, &why))?;
    let mut errors = meta::validate(&value, info);
    errors.extend(manager_problems(&create.given, managers));
    errors.extend(findings.errors);
    // A kind may name the nameless: limit ranges.
    let name = object::name(&value).to_owned();
    invalid_unless_empty(call, &name, &errors)?;
    let mut draft = Draft::from(value);
    let admission = Admission {
        operation: Operation::Create,
        name: if generated { "" } else { &name },
        object: Some(&mut draft),
        old: None,
        dry_run,
    };
    call.validate(admission).await?;
    let mut value = draft.into_value();
    let mut warnings = findings.warnings;
    let missing = info.not_yet.map(|why| format!("the {} is stored, but {why}", info.kind));
    warnings.extend(missing);
    let done = |object: Object| Ok(Written { object, warnings });
    let namespace = object::namespace(&value).to_owned();
    let key = key(call, &namespace, &name);
    if dry_run {
        return match call.api.store.get(&key, None).await.map_err(store_failed)? {
            Some(_) => Err(exists_in_store(call, &key, &value).await),
            None => done(shown(&value, managers)),
        };
    }
    // A store that is only asked what it would do does not look at it, and the answer shows it.
    if object::revision_of(&value).is_some_and(|revision| revision != Revision(0)) {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::new(500, "", message));
    }
    object::metadata_mut(&mut value).remove("resourceVersion");
    let ttl = info.time_to_live;
    let tracked = matches!(create.managers, Managers::Tracked);
    let (stored, managers) = fitting(call, &value, managers, tracked)?;
    let write = Write::Create { key: key.clone(), value: stored.clone(), ttl };
    match call.api.store.commit(write).await {
        Ok(revision) => {
            release(call, reservations, revision).await?;
            done(written(call, value, &stored, managers, revision))
        }
        Err(StoreError::Exists { .. }) => Err(exists_in_store(call, &key, &value).await),
        Err(error) => Err(store_failed(error)),
    }
}

/// What is stored of an object, and the managers that are kept with it. Where it is too large with
/// those that were tracked, it does without, as upstream; an apply does not.
fn fitting<'m>(
    call: &Call,
    value: &Value,
    managers: Option<&'m str>,
    tracked: bool,
) -> Result<(Bytes, Option<&'m str>), ApiError> {
    let stored = stored_form(call, value, managers);
    match size::check(call.info(), &stored) {
        Err(_) if tracked && managers.is_some() => fitting(call, value, None, tracked),
        checked => checked.map(|()| (stored, managers)),
    }
}

/// What is stored of an object.
fn stored_form(call: &Call, value: &Value, managers: Option<&str>) -> Bytes {
    match call.info().storage {
        Storage::Own | Storage::Virtual => encode::stored_with(value, managers),
        Storage::As { .. } => encode::stored_with(&call.kind.to_stored(value.clone()), managers),
    }
}

/// The object that was stored at a revision, in the form of the request's kind.
fn written(
    call: &Call,
    mut value: Value,
    stored: &Bytes,
    managers: Option<&str>,
    revision: Revision,
) -> Object {
    match call.info().storage {
        Storage::Own | Storage::Virtual if managers.is_some() => {
            Object::of_text(encode::splice(stored, revision))
        }
        Storage::Own | Storage::Virtual => {
            object::set_revision(&mut value, revision);
            Object::of_parts(value, encode::splice(stored, revision))
        }
        Storage::As { .. } => {
            object::set_revision(&mut value, revision);
            shown(&value, managers)
        }
    }
}

/// An object that was not stored, with its managers.
fn shown(value: &Value, managers: Option<&str>) -> Object {
    let bytes = encode::stored_with(value, managers);
    match object::revision_of(value) {
        Some(revision) => Object::of_text(encode::splice(&bytes, revision)),
        None => Object::of_text(bytes),
    }
}

/// What is wrong with managers that the request gave.
fn manager_problems(given: &Given, managers: Option<&str>) -> Vec<FieldError> {
    match (given, managers) {
        (Given::Entries(_), Some(managers)) => managers::problems(managers),
        _ => Vec::new(),
    }
}

/// Sets what the server sets on a new object.
fn begin(call: &Call, value: &mut Value) {
    let info = call.info();
    let ambient = call.api.ambient();
    let metadata = object::metadata_mut(value);
    metadata.insert("uid".into(), ambient.uuid().to_string().into());
    metadata.insert("creationTimestamp".into(), metadata::timestamp(ambient.now()));
    if matches!(info.generation, Generation::Raised | Generation::Once) {
        metadata.insert("generation".into(), 1.into());
    }
    if info.has(Subresource::Status)
        && !info.keeps_status_on_create
        && let Some(object) = value.as_object_mut()
    {
        object.remove("status");
    }
}

fn undecodable(call: &Call, why: &str) -> ApiError {
    let info = call.info();
    ApiError::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: {why}",
        info.kind, info.version, info.kind
    ))
}

fn invalid_unless_empty(call: &Call, name: &str, errors: &[FieldError]) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(call.about_kind(name), errors))
}

/// What a write reserved is free again only when the cache knows that it is in use.
async fn release(
    call: &Call,
    reservations: Vec<Reservation>,
    revision: Revision,
) -> Result<(), ApiError> {
    if !reservations.is_empty() {
        call.cache().caught_up(revision).await.map_err(store_failed)?;
    }
    Ok(())
}

/// The name of `wanted` is taken. Where `wanted` has a generateName, upstream takes the name for a
/// generated one.
fn exists(call: &Call, existing: &Value, wanted: &Value) -> ApiError {
    let mut error = ApiError::already_exists(call.about(object::name(wanted)));
    if !object::text(wanted, "/metadata/generateName").is_empty() {
        error.message += ", the server was not able to generate a unique name for the object";
        if let Some(details) = &mut error.details {
            details["retryAfterSeconds"] = 1.into();
        }
    }
    if object::is_deleting(existing) {
        error.message = format!("object is being deleted: {}", error.message);
    }
    error
}

async fn exists_in_store(call: &Call, key: &str, wanted: &Value) -> ApiError {
    let existing = call.api.store.get(key, None).await.ok().flatten();
    let existing = existing.and_then(|stored| serde_json::from_slice(&stored.value).ok());
    exists(call, &existing.unwrap_or_default(), wanted)
}

/// Which rules an update obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// The object's main part: defaults, preparation, validation.
    Main,
    /// Its status.
    Status,
    /// What another subresource writes: approval, resize.
    Sub(Subresource),
    /// None but the caller's: a subresource that writes what an update may not.
    Raw,
}

/// Makes the new object of the newest one, both without `managedFields`. May run more than once.
pub type Transform<'a> = &'a (dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync);

pub struct Change<'a> {
    pub name: &'a str,
    pub rules: Rules,
    pub dry_run: bool,
    pub transform: Transform<'a>,
}

/// The same of the newest object with its managers.
pub type Make<'a> = &'a (dyn Fn(&Current) -> Result<New, ApiError> + Send + Sync);

/// A change that looks at the managers, or makes them.
pub struct Edit<'a> {
    pub name: &'a str,
    pub rules: Rules,
    pub dry_run: bool,
    /// Whether the new object's uid says which object is meant. Elsewhere it is a field like others.
    pub checks_uid: bool,
    pub make: Make<'a>,
}

/// The newest object, in the form of the request's kind.
pub struct Current {
    cached: Arc<Cached>,
    /// Without `managedFields`.
    pub value: Value,
    managers: Option<String>,
}

impl Current {
    fn new(call: &Call, cached: Arc<Cached>) -> Self {
        let bytes = cached.bytes();
        let managers = encode::managers(&bytes).map(str::to_owned);
        let bare = Object::of_bytes(call.kind.as_ref(), encode::without_managers(&bytes));
        Self { cached, value: bare.into_value(), managers }
    }

    /// The JSON of `managedFields`, where there are any.
    pub fn managers(&self) -> Option<&str> {
        self.managers.as_deref()
    }

    /// The whole object, as clients see it.
    pub fn whole(&self) -> Value {
        let mut value = self.value.clone();
        if let Some(managers) = self.managers().and_then(|text| serde_json::from_str(text).ok()) {
            object::metadata_mut(&mut value).insert("managedFields".into(), managers);
        }
        value
    }

    fn object(&self) -> Object {
        shown(&self.value, self.managers())
    }
}

enum Attempt<T> {
    Done(T),
    /// Somebody else wrote first.
    Lost(Option<Revision>),
}

/// The newest object of this name.
pub async fn newest(call: &Call, name: &str) -> Result<Arc<Cached>, ApiError> {
    let cache = call.cache();
    cache.latest().await.map_err(store_failed)?;
    cache.get(call.namespace(), name).ok_or_else(|| ApiError::not_found(call.about(name)))
}

/// Updates an object that exists.
pub async fn modify(call: &Call, change: &Change<'_>) -> Result<Written, ApiError> {
    let Change { name, rules, dry_run, transform } = *change;
    let make = |current: &Current| transform(&current.value).map(New::tracked);
    edit(call, &Edit { name, rules, dry_run, checks_uid: true, make: &make }).await
}

/// The same, with its managers.
pub async fn edit(call: &Call, edit: &Edit<'_>) -> Result<Written, ApiError> {
    for _ in 0..UPDATE_ATTEMPTS {
        let current = Current::new(call, newest(call, edit.name).await?);
        match attempt(call, edit, &current).await? {
            Attempt::Done(written) => return Ok(written),
            Attempt::Lost(winner) => catch_up(call, winner).await?,
        }
    }
    Err(ApiError::modified(call.about(edit.name)))
}

async fn catch_up(call: &Call, winner: Option<Revision>) -> Result<(), ApiError> {
    match winner {
        Some(revision) => call.cache().caught_up(revision).await,
        None => call.cache().latest().await,
    }
    .map_err(store_failed)
}

async fn attempt(
    call: &Call,
    edit: &Edit<'_>,
    current: &Current,
) -> Result<Attempt<Written>, ApiError> {
    let info = call.info();
    let old = &current.value;
    let before = Old::new(old);
    let New { value: mut new, managers } = (edit.make)(current)?;
    let given = Given::take(&mut new);
    preconditions::check(call, edit, &new, old)?;
    object::set_revision(&mut new, current.cached.revision);
    let mut new = prepare(call, edit, new, &before)?;
    let tracked = matches!(managers, Managers::Tracked);
    let managers = match managers {
        Managers::Known(managers) => managers,
        Managers::Tracked => ownership::updated(call, edit.rules, current, &given, &new),
    };
    let admission = Admission {
        operation: Operation::Update,
        name: edit.name,
        object: Some(&mut new),
        old: Some(old),
        dry_run: edit.dry_run,
    };
    let reservations = call.admit(admission).await?;
    // Behind admission, which may put back what a user left out.
    if matches!(edit.rules, Rules::Main | Rules::Sub(_))
        && matches!(info.generation, Generation::Raised | Generation::RaisedFromNothing)
        && metadata::spec_changed(&new, old)
    {
        metadata::raise_generation(&mut new);
    }
    if *new == *old
        && managers::same_but_for_times(current.managers(), managers.as_deref())
        && !vanishes(call, &new, old)
    {
        let warnings = if edit.rules == Rules::Main {
            call.kind.validate(&new, Some(old), Part::Main).warnings
        } else {
            Vec::new()
        };
        return Ok(Attempt::Done(Written { object: current.object(), warnings }));
    }
    let problems = manager_problems(&given, managers.as_deref());
    let (new, warnings) = validated(call, edit, new, &before, problems)?;
    let mut new = Draft::from(new);
    let admission = Admission {
        operation: Operation::Update,
        name: edit.name,
        object: Some(&mut new),
        old: Some(old),
        dry_run: edit.dry_run,
    };
    call.validate(admission).await?;
    let new = new.into_value();
    let (cached, managers) = (&current.cached, managers.as_deref());
    let attempt = if vanishes(call, &new, old) {
        remove(call, cached, &new, managers, edit.dry_run).await?
    } else {
        commit(call, cached, new, managers, tracked, edit.dry_run, reservations).await?
    };
    Ok(match attempt {
        Attempt::Done(object) => Attempt::Done(Written { object, warnings }),
        Attempt::Lost(winner) => Attempt::Lost(winner),
    })
}

/// Restores what this update may not touch.
fn prepare(call: &Call, edit: &Edit<'_>, new: Value, old: &Old<'_>) -> Result<Draft, ApiError> {
    let context = call.context(edit.name);
    let kind = call.kind.as_ref();
    let failed = |why: String| undecodable(call, &why);
    match edit.rules {
        Rules::Raw => Ok(settled(call, new).into()),
        Rules::Status => {
            let new = status_of(call, new, old.value);
            kind.begin(&new, Some(old), Part::Status, &context).map_err(failed)
        }
        Rules::Sub(subresource) => {
            let mut new = new;
            metadata::restore_system_fields(&mut new, old.value);
            let part = Part::Sub(subresource);
            kind.begin(&new, Some(old), part, &context).map_err(failed)
        }
        Rules::Main => {
            let mut new = new;
            metadata::restore_system_fields(&mut new, old.value);
            if call.info().has(Subresource::Status) {
                put(&mut new, "status", &old.value["status"]);
            }
            kind.begin(&new, Some(old), Part::Main, &context).map_err(failed)
        }
    }
}

/// The old object with the new one's status, and its metadata where a status update may write it.
fn status_of(call: &Call, new: Value, old: &Value) -> Value {
    let is_taken = |field: &str| matches!(field, "status" | "metadata");
    let mut merged = new;
    if let (Some(merged), Some(old)) = (merged.as_object_mut(), old.as_object()) {
        merged.retain(|field, value| is_taken(field) && !value.is_null());
        let kept = old.iter().filter(|(field, _)| !is_taken(field));
        merged.extend(kept.map(|(field, value)| (field.clone(), value.clone())));
    }
    metadata::restore_system_fields(&mut merged, old);
    let metadata = object::metadata_mut(&mut merged);
    for field in call.info().fixed_by_status {
        match &old["metadata"][*field] {
            Value::Null => metadata.remove(*field),
            value => metadata.insert((*field).to_owned(), value.clone()),
        };
    }
    merged
}

/// The object in the form that its type gives it, where no rules of the kind have brought it there.
fn settled(call: &Call, mut object: Value) -> Value {
    if let Some(ty) = schema().by_name(call.info().schema) {
        schema::settle(ty, &mut object);
    }
    object
}

fn put(object: &mut Value, field: &str, value: &Value) {
    let Some(object) = object.as_object_mut() else { return };
    match value {
        Value::Null => object.remove(field),
        value => object.insert(field.to_owned(), value.clone()),
    };
}

/// The object to store, and the warnings about it.
fn validated(
    call: &Call,
    edit: &Edit<'_>,
    new: Draft,
    old: &Old<'_>,
    problems: Vec<FieldError>,
) -> Result<(Value, Vec<String>), ApiError> {
    let part = match edit.rules {
        Rules::Raw => return Ok((new.into_value(), Vec::new())),
        Rules::Main => Part::Main,
        Rules::Status => Part::Status,
        Rules::Sub(subresource) => Part::Sub(subresource),
    };
    let finished = call.kind.finish(new, Some(old), part);
    let (new, findings) = finished.map_err(|why| undecodable(call, &why))?;
    let mut errors = meta::validate_update(&new, old.value, call.info());
    errors.extend(problems);
    errors.extend(findings.errors);
    invalid_unless_empty(call, edit.name, &errors)?;
    Ok((new, findings.warnings))
}

/// Whether this update takes the last finalizer of an object that is being deleted.
fn vanishes(call: &Call, new: &Value, old: &Value) -> bool {
    let grace = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
    object::finalizers(new).is_empty()
        && object::is_deleting(old)
        && grace == 0
        && special::may_vanish(call.info(), new)
}

async fn remove(
    call: &Call,
    current: &Cached,
    last: &Value,
    managers: Option<&str>,
    dry_run: bool,
) -> Result<Attempt<Object>, ApiError> {
    if dry_run {
        return Ok(Attempt::Done(shown(last, managers)));
    }
    Ok(match delete(call, current).await? {
        Attempt::Done(_) => Attempt::Done(shown(last, managers)),
        Attempt::Lost(winner) => Attempt::Lost(winner),
    })
}

/// Takes an object out of the store, unless it has changed meanwhile. Returns the revision at which
/// it went.
async fn delete(call: &Call, current: &Cached) -> Result<Attempt<Revision>, ApiError> {
    let key = key(call, current.namespace(), current.name());
    let write = Write::Delete { key, expected: current.revision };
    match call.api.store.commit(write).await {
        Ok(revision) => Ok(Attempt::Done(revision)),
        Err(StoreError::Conflict { current, .. }) => {
            Ok(Attempt::Lost(current.map(|stored| stored.modified)))
        }
        Err(error) => Err(store_failed(error)),
    }
}

async fn commit(
    call: &Call,
    current: &Cached,
    new: Value,
    managers: Option<&str>,
    tracked: bool,
    dry_run: bool,
    reservations: Vec<Reservation>,
) -> Result<Attempt<Object>, ApiError> {
    if dry_run {
        return Ok(Attempt::Done(shown(&new, managers)));
    }
    let key = key(call, object::namespace(&new), object::name(&new));
    let (stored, managers) = fitting(call, &new, managers, tracked)?;
    let ttl = call.info().time_to_live;
    let (value, expected) = (stored.clone(), current.revision);
    let write = Write::Update { key, value, expected, ttl };
    match call.api.store.commit(write).await {
        Ok(revision) => {
            release(call, reservations, revision).await?;
            Ok(Attempt::Done(written(call, new, &stored, managers, revision)))
        }
        Err(StoreError::Conflict { current, .. }) => {
            Ok(Attempt::Lost(current.map(|stored| stored.modified)))
        }
        Err(error) => Err(store_failed(error)),
    }
}

/// What a deletion does to the newest object.
pub enum Fate {
    /// Nothing: it is on its way already.
    Keep,
    /// It stays for now, changed.
    Mark(Value),
    /// It goes; the answer shows this.
    Remove(Value),
}

pub enum Removed {
    Gone(Object),
    Pending(Object),
}

/// Deletes an object in the way that `decide` says.
pub async fn end(
    call: &Call,
    name: &str,
    dry_run: bool,
    decide: &(dyn Fn(&Value) -> Result<Fate, ApiError> + Send + Sync),
) -> Result<Removed, ApiError> {
    for _ in 0..UPDATE_ATTEMPTS {
        let current = Current::new(call, newest(call, name).await?);
        let (old, managers) = (&current.value, current.managers());
        let fate = decide(old)?;
        let admission =
            Admission { operation: Operation::Delete, name, object: None, old: Some(old), dry_run };
        call.admit(admission).await?;
        let cached = &current.cached;
        let attempt = match fate {
            Fate::Keep => return Ok(Removed::Pending(current.object())),
            Fate::Mark(new) if new == *old => return Ok(Removed::Pending(current.object())),
            Fate::Mark(new) => {
                commit(call, cached, new, managers, true, dry_run, Vec::new()).await?
            }
            Fate::Remove(last) if dry_run => return Ok(Removed::Gone(shown(&last, managers))),
            Fate::Remove(mut last) => match delete(call, cached).await? {
                Attempt::Done(revision) => {
                    object::set_revision(&mut last, revision);
                    return Ok(Removed::Gone(shown(&last, managers)));
                }
                Attempt::Lost(winner) => Attempt::Lost(winner),
            },
        };
        match attempt {
            Attempt::Done(object) => return Ok(Removed::Pending(object)),
            Attempt::Lost(winner) => catch_up(call, winner).await?,
        }
    }
    Err(ApiError::modified(call.about(name)))
}
