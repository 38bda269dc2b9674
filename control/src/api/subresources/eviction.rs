//! `pods/{name}/eviction`: a deletion that a disruption budget may refuse.
//!
//! What a budget says is judged by `budget`. Source: `pkg/registry/core/pod/storage/eviction.go`.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::kinds::{FieldError, Subresource};
use crate::status::{About, ApiError};

use super::super::call::Call;
use super::super::decode::{self, Expected};
use super::super::delete;
use super::super::negotiate::Media;
use super::super::object;
use super::super::query::{DeleteOptions, WriteOptions};
use super::super::request::Address;
use super::super::write::{self, Change, Rules};
use super::super::{answer, body, metadata};
use super::{budget, condition};

/// Each time somebody else has written the pod meanwhile; far more than a fair race needs.
const ATTEMPTS: usize = 20;
const BUDGETS: (&str, &str, &str) = ("policy", "v1", "poddisruptionbudgets");

pub async fn create(call: &Call, body: Body) -> Result<Response, ApiError> {
    let media = Media::of_body(&call.headers)?;
    let body = body::read(body).await?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let expected = Expected {
        also: &["policy/v1beta1"],
        ..Expected::new("policy/v1", "Eviction", "io.k8s.api.policy.v1.Eviction")
    };
    let decoded = decode::object(&expected, media, &body, options.validation)?;
    let mut eviction = decoded.value;
    metadata::settle_namespace(&mut eviction, &call.address.namespace)?;
    if object::name(&eviction) != call.address.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    refuse_breaking(&eviction)?;
    let mut wanted = DeleteOptions::from_body(&eviction["deleteOptions"])?;
    wanted.dry_run |= options.dry_run;
    evict(call, &wanted).await?;
    let mut response = answer::success(&call.output, StatusCode::CREATED, None);
    answer::warn(&mut response, &decoded.warnings);
    Ok(response)
}

fn refuse_breaking(eviction: &Value) -> Result<(), ApiError> {
    const FIELD: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";
    if eviction["deleteOptions"][FIELD] != true {
        return Ok(());
    }
    let why = "can not be set for pod eviction, try after removing the option";
    let error = FieldError::invalid(format!("deleteOptions.{FIELD}"), true, why);
    let about = About { group: "policy", resource: "Eviction", name: object::name(eviction) };
    Err(ApiError::invalid(about, &[error]))
}

/// Deletes the pod if its budgets allow it. A pod that runs nothing disrupts nothing.
async fn evict(call: &Call, wanted: &DeleteOptions) -> Result<(), ApiError> {
    let mut pod = newest(call).await?;
    for _ in 0..ATTEMPTS {
        if !budget::ignores(&pod) {
            return evict_guarded(call, &pod, wanted).await;
        }
        let pinned = pinned(&pod, wanted, !budget::is_over(&pod));
        match remove(call, &pinned).await {
            Err(lost) if lost.code == 409 && is_meant(&pod, wanted) => {}
            done => return done,
        }
        pod = newest(call).await?;
    }
    Err(ApiError::modified(call.about(&call.address.name)))
}

/// Whether the options are content with any state of this pod.
fn is_meant(pod: &Value, wanted: &DeleteOptions) -> bool {
    wanted.resource_version.is_none()
        && wanted.uid.as_deref().is_none_or(|uid| uid == object::uid(pod))
}

async fn newest(call: &Call) -> Result<Value, ApiError> {
    let newest = write::newest(call, &call.address.name).await?;
    Ok(object::Object::of_cached(call.kind.as_ref(), &newest).into_value())
}

/// The options, for this state of the pod alone where `pin` says so and the user has not.
fn pinned(pod: &Value, wanted: &DeleteOptions, pin: bool) -> DeleteOptions {
    let mut options = wanted.clone();
    if pin && options.resource_version.is_none() {
        options.resource_version = Some(object::resource_version(pod).to_owned());
    }
    options
}

async fn evict_guarded(call: &Call, pod: &Value, wanted: &DeleteOptions) -> Result<(), ApiError> {
    let guards = guards(call, pod).await?;
    let guard = match guards.as_slice() {
        [] => return remove(call, wanted).await,
        [one] => one,
        _ => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::new(500, "", message));
        }
    };
    let name = object::name(guard);
    let harmless = !budget::is_ready(pod) && budget::lets_unready_go(guard);
    if !harmless {
        spend(call, name, wanted.dry_run).await?;
    }
    // What was found of an unready pod holds for that state of it alone.
    match remove(call, &pinned(pod, wanted, harmless)).await {
        Err(lost) if lost.code == 409 && harmless && wanted.resource_version.is_none() => {
            Err(budget::busy(name))
        }
        done => done,
    }
}

/// The budgets that the pod counts in.
async fn guards(call: &Call, pod: &Value) -> Result<Vec<Value>, ApiError> {
    let Some(budgets) = of_budgets(call, "") else { return Ok(Vec::new()) };
    let cache = budgets.cache();
    cache.latest().await.map_err(write::store_failed)?;
    let listed = cache.list(Some(budgets.namespace()));
    let listed =
        listed.items.iter().map(|item| object::Object::of_cached(budgets.kind.as_ref(), item));
    let guards = listed.filter(|guard| budget::guards(guard.value(), pod));
    Ok(guards.map(object::Object::into_value).collect())
}

/// The request as one for a budget of the namespace.
fn of_budgets(call: &Call, name: &str) -> Option<Call> {
    let (group, version, resource) = BUDGETS;
    let kind = Arc::clone(call.api.kinds.at(group, version, resource)?);
    let address = Address {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        subresource: Subresource::Status.name().to_owned(),
        ..call.address.clone()
    };
    Some(Call { kind, address, ..call.at(&call.address.namespace, name) })
}

/// Takes one disruption off a budget, or refuses where there is none left.
async fn spend(call: &Call, name: &str, dry_run: bool) -> Result<(), ApiError> {
    let Some(budgets) = of_budgets(call, name) else { return Ok(()) };
    let now = call.api.ambient().now();
    let spent = |budget: &Value| budget::spent(budget, &call.address.name, now);
    let change = Change { name, rules: Rules::Raw, dry_run, transform: &spent };
    write::modify(&budgets, &change).await.map(|_| ())
}

async fn remove(call: &Call, options: &DeleteOptions) -> Result<(), ApiError> {
    let now = call.api.ambient().now();
    let evicted = |pod: &mut Value| {
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        });
        condition::set(pod, condition, now);
    };
    delete::remove_amended(call, &call.address.name, options, &evicted).await.map(|_| ())
}
