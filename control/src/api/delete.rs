//! DELETE of an object or of a collection.
//!
//! What a deletion does is decided by the pure `fate`; `write::end` carries it out.
//! Source: `k8s.io/apiserver/pkg/registry/rest/delete.go`, `generic/registry/store.go`.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::kinds::{Dependents, KindInfo};
use crate::status::{About, ApiError};

use super::call::Call;
use super::decode::{self, Expected};
use super::negotiate::Media;
use super::object::{self, Object};
use super::query::{DeleteOptions, FieldValidation, ListOptions, Propagation, VersionMatch};
use super::selectors::Selectors;
use super::write::{self, Fate, Removed};
use super::{answer, body, list, metadata, special};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

pub async fn delete(call: &Call, body: Body) -> Result<Response, ApiError> {
    let options = read_options(call, body).await?;
    let name = &call.address.name;
    let mut response = match remove(call, name, &options).await? {
        Removed::Pending(object) => {
            let accepted = options.orphan_dependents == Some(false);
            let status = if accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
            answer::object(call, status, &object)?
        }
        Removed::Gone(object) if call.info().returns_deleted => {
            answer::object(call, StatusCode::OK, &object)?
        }
        Removed::Gone(object) => {
            answer::success(&call.output, StatusCode::OK, Some(details(call.info(), &object)))
        }
    };
    warn(call, &options, &mut response);
    Ok(response)
}

/// Tells who did not say what becomes of the dependents, where that has surprised many.
fn warn(call: &Call, options: &DeleteOptions, response: &mut Response) {
    let is_said = options.propagation.is_some() || options.orphan_dependents.is_some();
    if let Some(warning) = call.info().deletion_warning.filter(|_| !is_said) {
        answer::warn(response, &[warning.to_owned()]);
    }
}

/// Says what was deleted, so that a client can tell it from a later object of the same name.
fn details(info: &KindInfo, object: &Object) -> Value {
    let mut details = json!({
        "name": object::name(object.value()),
        "kind": info.resource,
        "uid": object::uid(object.value()),
    });
    if !info.group.is_empty() {
        details["group"] = info.group.into();
    }
    details
}

pub async fn delete_collection(call: &Call, body: Body) -> Result<Response, ApiError> {
    let options = read_options(call, body).await?;
    let mut listing = ListOptions::parse(&call.query, false)?;
    // It goes through the collection page by page, and a page at a revision is one of exactly that.
    if listing.resource_version.is_some_and(|version| version > 0) {
        listing.version_match.get_or_insert(VersionMatch::Exact);
    }
    let selectors = Selectors::parse(&call.query, call.kind.as_ref())?;
    let page = list::collect(call, &listing, &selectors).await?;
    for item in &page.items {
        let one = call.at(item.namespace(), item.name());
        match remove(&one, item.name(), &options).await {
            Ok(_) => {}
            Err(gone) if gone.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let mut response = list::answer(call, page)?;
    warn(call, &options, &mut response);
    Ok(response)
}

/// Deletes by these options.
pub async fn remove(call: &Call, name: &str, options: &DeleteOptions) -> Result<Removed, ApiError> {
    remove_amended(call, name, options, &|_: &mut Value| {}).await
}

/// Deletes by these options, and writes down why in the same write.
pub async fn remove_amended(
    call: &Call,
    name: &str,
    options: &DeleteOptions,
    amend: &(dyn Fn(&mut Value) + Send + Sync),
) -> Result<Removed, ApiError> {
    let info = *call.info();
    let now = call.api.ambient().now();
    let decide = |old: &Value| {
        check_preconditions(&info, old, options)?;
        let mut amended = old.clone();
        amend(&mut amended);
        Ok(match fate(&info, &amended, options, now) {
            Fate::Keep if amended != *old => Fate::Mark(amended),
            fate => fate,
        })
    };
    write::end(call, name, options.dry_run, &decide).await
}

async fn read_options(call: &Call, body: Body) -> Result<DeleteOptions, ApiError> {
    let body = body::read(body).await?;
    if body.is_empty() {
        return DeleteOptions::from_query(&call.query);
    }
    let media = Media::of_body(&call.headers)?;
    let ty = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
    let expected = Expected { bare: true, ..Expected::new("v1", "DeleteOptions", ty) };
    let decoded = decode::object(&expected, media, &body, FieldValidation::Ignore)?;
    DeleteOptions::from_body(&decoded.value)
}

fn check_preconditions(
    info: &KindInfo,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let (uid, version) = (object::uid(old), object::resource_version(old));
    if special::is_namespaces(info) {
        return check_namespace(old, options);
    }
    let about = About { group: info.group, resource: info.kind, name: object::name(old) };
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        return Err(ApiError::conflict(
            about,
            &format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            ),
        ));
    }
    if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != version) {
        return Err(ApiError::conflict(
            about,
            &format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
            ),
        ));
    }
    Ok(())
}

/// Namespaces have a deletion of their own upstream, with words of its own.
fn check_namespace(old: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let about = About { group: "", resource: "namespaces", name: object::name(old) };
    for (field, wanted, actual) in [
        ("UID", &options.uid, object::uid(old)),
        ("ResourceVersion", &options.resource_version, object::resource_version(old)),
    ] {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != actual) {
            return Err(ApiError::conflict(
                about,
                &format!(
                    "Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {actual}"
                ),
            ));
        }
    }
    Ok(())
}

/// What becomes of an object that is to be deleted.
fn fate(info: &KindInfo, old: &Value, options: &DeleteOptions, now: Timestamp) -> Fate {
    if special::is_namespaces(info) {
        if !object::is_deleting(old) {
            return Fate::Mark(terminating(old, options, now));
        }
        if !special::spec_finalizers(old).is_empty() {
            return Fate::Keep;
        }
    }
    let mut new = old.clone();
    let grace = match begin_grace(info, &mut new, options, now) {
        Grace::Pending => return Fate::Keep,
        Grace::Seconds(seconds) => Some(seconds),
        Grace::None => None,
    };
    set_finalizers(info, &mut new, options);
    let pending = !object::finalizers(&new).is_empty();
    match grace {
        None if pending => {
            mark(&mut new, now);
            Fate::Mark(new)
        }
        None => Fate::Remove(old.clone()),
        Some(seconds) if pending || seconds > 0 => Fate::Mark(new),
        Some(_) => Fate::Remove(new),
    }
}

enum Grace {
    /// The kind knows no grace, or it has run out.
    None,
    /// The object has already been given no more than this.
    Pending,
    Seconds(i64),
}

/// Starts or shortens the time that an object gets to end; sets the two fields of metadata.
fn begin_grace(info: &KindInfo, new: &mut Value, options: &DeleteOptions, now: Timestamp) -> Grace {
    let asked = options.grace_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    if !info.graceful_deletion {
        return Grace::None;
    }
    if object::is_deleting(new) {
        return shorten_grace(new, asked, now);
    }
    let seconds = grace_of(new, asked);
    let when = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    set_deletion(new, when, seconds);
    if new["metadata"]["generation"].as_i64().unwrap_or_default() > 0 {
        metadata::raise_generation(new);
    }
    Grace::Seconds(seconds)
}

fn shorten_grace(new: &mut Value, asked: Option<i64>, now: Timestamp) -> Grace {
    let given = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
    if given == 0 {
        return Grace::None;
    }
    let Some(mut seconds) = asked.filter(|asked| *asked < given) else { return Grace::Pending };
    let ends = metadata::parse_timestamp(&new["metadata"]["deletionTimestamp"]).unwrap_or(now);
    let mut ends = ends.saturating_add(SignedDuration::from_secs(seconds - given)).unwrap_or(now);
    if ends < now {
        ends = now;
        seconds = seconds.min(1);
    }
    set_deletion(new, ends, seconds);
    Grace::Seconds(seconds)
}

/// The grace of a pod; none where nothing runs.
fn grace_of(pod: &Value, asked: Option<i64>) -> i64 {
    let idle = object::text(pod, "/spec/nodeName").is_empty();
    let ended = matches!(object::text(pod, "/status/phase"), "Failed" | "Succeeded");
    if idle || ended {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64();
    match asked.or(own).unwrap_or_default() {
        seconds if seconds < 0 => 1,
        seconds => seconds,
    }
}

fn set_deletion(value: &mut Value, when: Timestamp, seconds: i64) {
    let metadata = object::metadata_mut(value);
    metadata.insert("deletionTimestamp".into(), metadata::timestamp(when));
    metadata.insert("deletionGracePeriodSeconds".into(), seconds.into());
}

/// Marks an object that only waits for its finalizers.
fn mark(value: &mut Value, now: Timestamp) {
    let since = metadata::parse_timestamp(&value["metadata"]["deletionTimestamp"]);
    if since.is_none() && value["metadata"]["generation"].as_i64().unwrap_or_default() > 0 {
        metadata::raise_generation(value);
    }
    let when = since.filter(|since| *since <= now).unwrap_or(now);
    set_deletion(value, when, 0);
}

/// Says by finalizers what garbage collection shall do with the dependents.
fn set_finalizers(info: &KindInfo, value: &mut Value, options: &DeleteOptions) {
    let (orphan, foreground) = dependents(info, value, options);
    let mut wanted: Vec<&str> = object::finalizers(value)
        .into_iter()
        .filter(|finalizer| !matches!(*finalizer, ORPHAN | FOREGROUND))
        .collect();
    wanted.extend(orphan.then_some(ORPHAN));
    wanted.extend(foreground.then_some(FOREGROUND));
    let mut sorted = [object::finalizers(value), wanted.clone()];
    sorted.iter_mut().for_each(|list| list.sort_unstable());
    if sorted[0] == sorted[1] {
        return;
    }
    let wanted: Vec<Value> = wanted.into_iter().map(Value::from).collect();
    let metadata = object::metadata_mut(value);
    if wanted.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), wanted.into());
    }
}

/// Whether the dependents are orphaned; whether they go first.
fn dependents(info: &KindInfo, value: &Value, options: &DeleteOptions) -> (bool, bool) {
    if info.dependents == Dependents::Ignored {
        return (false, false);
    }
    let present = |finalizer: &str| object::finalizers(value).contains(&finalizer);
    match (options.orphan_dependents, options.propagation) {
        (Some(orphan), _) => (orphan, special::is_namespaces(info) && !orphan),
        (None, Some(policy)) => (policy == Propagation::Orphan, policy == Propagation::Foreground),
        (None, None) if present(ORPHAN) => (true, false),
        (None, None) if present(FOREGROUND) => (false, true),
        (None, None) => (info.dependents == Dependents::Orphaned, false),
    }
}

/// A namespace that has begun to end.
fn terminating(old: &Value, options: &DeleteOptions, now: Timestamp) -> Value {
    let mut new = old.clone();
    object::metadata_mut(&mut new).insert("deletionTimestamp".into(), metadata::timestamp(now));
    if !new["status"].is_object() {
        new["status"] = json!({});
    }
    new["status"]["phase"] = "Terminating".into();
    set_finalizers(&NAMESPACES, &mut new, options);
    new
}

/// Enough of the kind for `set_finalizers`.
const NAMESPACES: KindInfo =
    KindInfo::namespaced("", "v1", "Namespace", "namespaces", "namespace", "");

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: KindInfo = KindInfo {
        graceful_deletion: true,
        ..KindInfo::namespaced("", "v1", "Pod", "pods", "pod", "")
    };
    const MAPS: KindInfo =
        KindInfo::namespaced("", "v1", "ConfigMap", "configmaps", "configmap", "");

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a time")
    }

    fn show(fate: &Fate) -> (&'static str, Value) {
        match fate {
            Fate::Keep => ("keep", Value::Null),
            Fate::Mark(value) => ("mark", value["metadata"].clone()),
            Fate::Remove(value) => ("remove", value["metadata"].clone()),
        }
    }

    fn pod(metadata: Value) -> Value {
        json!({
            "metadata": metadata,
            "spec": { "nodeName": "n", "terminationGracePeriodSeconds": 30 },
            "status": { "phase": "Running" },
        })
    }

    fn grace(seconds: i64) -> DeleteOptions {
        DeleteOptions { grace_seconds: Some(seconds), ..DeleteOptions::default() }
    }

    #[test]
    fn a_running_pod_gets_its_grace_and_an_idle_one_goes_at_once() {
        let decided = fate(&PODS, &pod(json!({})), &DeleteOptions::default(), now());
        let expected = json!({
            "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30,
        });
        assert_eq!(show(&decided), ("mark", expected));
        let mut idle = pod(json!({}));
        idle["spec"]["nodeName"] = Value::Null;
        assert_eq!(show(&fate(&PODS, &idle, &DeleteOptions::default(), now())).0, "remove");
        assert_eq!(show(&fate(&PODS, &pod(json!({})), &grace(0), now())).0, "remove");
    }

    #[test]
    fn a_second_delete_may_only_shorten_the_grace() {
        let dying = pod(json!({
            "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30,
        }));
        assert_eq!(show(&fate(&PODS, &dying, &grace(60), now())).0, "keep");
        assert_eq!(show(&fate(&PODS, &dying, &DeleteOptions::default(), now())).0, "keep");
        let expected = json!({
            "deletionTimestamp": "2026-01-01T00:00:05Z", "deletionGracePeriodSeconds": 5,
        });
        assert_eq!(show(&fate(&PODS, &dying, &grace(5), now())), ("mark", expected));
        assert_eq!(show(&fate(&PODS, &dying, &grace(0), now())).0, "remove");
    }

    #[test]
    fn finalizers_hold_an_object_back() {
        let held = json!({ "metadata": { "finalizers": ["a/b"], "generation": 2 } });
        let expected = json!({
            "finalizers": ["a/b"],
            "generation": 3,
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 0,
        });
        let decided = fate(&MAPS, &held, &DeleteOptions::default(), now());
        assert_eq!(show(&decided), ("mark", expected));
    }

    #[test]
    fn the_propagation_policy_becomes_a_finalizer() {
        let policy = |propagation| DeleteOptions {
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        let object = json!({ "metadata": {} });
        for (propagation, finalizer) in
            [(Propagation::Foreground, FOREGROUND), (Propagation::Orphan, ORPHAN)]
        {
            let (what, metadata) = show(&fate(&MAPS, &object, &policy(propagation), now()));
            assert_eq!((what, &metadata["finalizers"]), ("mark", &json!([finalizer])));
        }
        let held = json!({ "metadata": { "finalizers": [ORPHAN] } });
        let decided = fate(&MAPS, &held, &policy(Propagation::Background), now());
        assert_eq!(show(&decided).0, "remove");
    }

    #[test]
    fn a_namespace_ends_in_two_steps() {
        let info = NAMESPACES;
        let active = json!({
            "metadata": {}, "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
        });
        let Fate::Mark(ending) = fate(&info, &active, &DeleteOptions::default(), now()) else {
            panic!("it is marked first");
        };
        assert_eq!(ending["status"]["phase"], "Terminating");
        assert_eq!(show(&fate(&info, &ending, &DeleteOptions::default(), now())).0, "keep");
        let mut empty = ending;
        empty["spec"]["finalizers"] = json!([]);
        assert_eq!(show(&fate(&info, &empty, &DeleteOptions::default(), now())).0, "remove");
    }
}
