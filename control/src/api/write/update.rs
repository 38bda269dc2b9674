//! Updates of an object that exists, in whole, of its status or by another subresource.

use std::sync::Arc;

use serde_json::Value;

use crate::admission::Operation;
use crate::cache::Cached;
use crate::encode;
use crate::kinds::{Draft, FieldError, Generation, Old, Part, Subresource, meta};
use crate::patch::managers::{self, Given};
use crate::schema::{self, schema};
use crate::status::ApiError;

use super::super::call::{Admission, Call};
use super::super::object::{self, Object};
use super::super::{metadata, ownership, preconditions, special};
use super::commit::{Attempt, catch_up, commit, newest, remove, shown};
use super::{
    ATTEMPTS, Managers, New, Written, invalid_unless_empty, manager_problems, undecodable,
};

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

impl<'a> Edit<'a> {
    fn admission(&self, new: &'a mut Draft, old: &'a Value) -> Admission<'a> {
        Admission {
            operation: Operation::Update,
            name: self.name,
            object: Some(new),
            old: Some(old),
            dry_run: self.dry_run,
        }
    }
}

/// The newest object, in the form of the request's kind.
pub struct Current {
    pub(super) cached: Arc<Cached>,
    /// Without `managedFields`.
    pub value: Value,
    managers: Option<String>,
}

impl Current {
    pub(super) fn new(call: &Call, cached: Arc<Cached>) -> Self {
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

    pub(super) fn object(&self) -> Object {
        shown(&self.value, self.managers())
    }
}

/// Updates an object that exists.
pub async fn modify(call: &Call, change: &Change<'_>) -> Result<Written, ApiError> {
    let Change { name, rules, dry_run, transform } = *change;
    let make = |current: &Current| transform(&current.value).map(New::tracked);
    edit(call, &Edit { name, rules, dry_run, checks_uid: true, make: &make }).await
}

/// The same, with its managers.
pub async fn edit(call: &Call, edit: &Edit<'_>) -> Result<Written, ApiError> {
    for _ in 0..ATTEMPTS {
        let current = Current::new(call, newest(call, edit.name).await?);
        match attempt(call, edit, &current).await? {
            Attempt::Done(written) => return Ok(written),
            Attempt::Lost(winner) => catch_up(call, winner).await?,
        }
    }
    Err(ApiError::modified(call.about(edit.name)))
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
    let sent = (info.managed_as_sent && edit.rules == Rules::Main)
        .then(|| call.kind.default(new.clone()).map_err(|why| undecodable(call, &why)))
        .transpose()?;
    let mut new = prepare(call, edit, new, &before)?;
    let tracked = matches!(managers, Managers::Tracked);
    let managers = match managers {
        Managers::Known(managers) => managers,
        Managers::Tracked => {
            let sent = sent.as_ref().unwrap_or(&new);
            ownership::updated(call, edit.rules, current, &given, sent)
        }
    };
    let reservations = call.admit(edit.admission(&mut new, old)).await?;
    // Behind admission, which may put back what a user left out.
    if matches!(edit.rules, Rules::Main | Rules::Sub(_))
        && matches!(info.generation, Generation::Raised | Generation::RaisedFromNothing)
        && metadata::spec_changed(&new, old)
    {
        new.change_generation(metadata::raise_generation);
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
    call.validate(edit.admission(&mut new, old)).await?;
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
