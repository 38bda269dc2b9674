//! `pods/{name}/eviction`: a deletion that may be refused. Disruption budgets come later.
//!
//! Source: `pkg/registry/core/pod/storage/eviction.go`.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::status::ApiError;

use super::super::call::Call;
use super::super::decode::{self, Expected};
use super::super::delete;
use super::super::negotiate::Media;
use super::super::object;
use super::super::query::{DeleteOptions, WriteOptions};
use super::super::{answer, body, metadata};
use super::condition;

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
    let mut wanted = DeleteOptions::from_body(&eviction["deleteOptions"])?;
    wanted.dry_run |= options.dry_run;
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
    delete::remove_amended(call, &call.address.name, &wanted, &evicted).await?;
    let mut response = answer::success(&call.output, StatusCode::CREATED, None);
    answer::warn(&mut response, &decoded.warnings);
    Ok(response)
}
