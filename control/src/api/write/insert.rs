//! New objects, with names that are made for them where they ask for it.

use serde_json::Value;

use crate::admission::Operation;
use crate::kinds::{Draft, Generation, Part, Subresource, meta};
use crate::patch::managers::Given;
use crate::status::ApiError;
use crate::store::{Revision, StoreError, Write};

use super::super::call::{Admission, Call};
use super::super::object::{self, Object};
use super::super::{metadata, ownership};
use super::commit::{fitting, release, shown, written};
use super::{
    Managers, New, Written, invalid_unless_empty, key, manager_problems, store_failed, undecodable,
};

/// As upstream's maxNameGenerationCreateAttempts.
const GENERATE_ATTEMPTS: usize = 8;

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

impl Create {
    fn admission<'a>(&self, name: &'a str, draft: &'a mut Draft) -> Admission<'a> {
        Admission {
            operation: Operation::Create,
            name,
            object: Some(draft),
            old: None,
            dry_run: self.dry_run,
        }
    }
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
    let told = |name| if generated { "" } else { name };
    let reservations = call.admit(create.admission(told(&name), &mut draft)).await?;
    let finished = call.kind.finish(draft, None, Part::Main);
    let (value, findings) = finished.map_err(|why| undecodable(call, &why))?;
    let mut errors = meta::validate(&value, info);
    errors.extend(manager_problems(&create.given, managers));
    errors.extend(findings.errors);
    // A kind may name the nameless: limit ranges.
    let name = object::name(&value).to_owned();
    invalid_unless_empty(call, &name, &errors)?;
    let mut draft = Draft::from(value);
    call.validate(create.admission(told(&name), &mut draft)).await?;
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
