//! The parts of objects that have paths of their own, one file each.

mod binding;
mod budget;
mod condition;
mod eviction;
mod finalize;
mod log;
mod proxy;
mod review;
mod scale;
mod stream;

pub use review::review;

use axum::body::Body;
use axum::response::Response;
use http::Request;

use crate::kinds::{AnyKind, Subresource};
use crate::status::ApiError;

use super::call::Call;
use super::request::{Address, Verb};
use super::write::Rules;
use super::{get, patch, tokens, update};

/// The kind's subresource of this name.
pub fn find(kind: &dyn AnyKind, address: &Address) -> Result<Subresource, ApiError> {
    let found = kind
        .info()
        .subresources
        .iter()
        .find(|subresource| subresource.name() == address.subresource)
        .copied()
        .ok_or_else(ApiError::page_not_found)?;
    if address.rest.is_empty() || found == Subresource::Proxy {
        Ok(found)
    } else {
        Err(ApiError::page_not_found())
    }
}

pub async fn serve(
    call: &Call,
    subresource: Subresource,
    verb: Verb,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    match (subresource, verb) {
        (Subresource::Status, Verb::Get) => get::get(call).await,
        (Subresource::Status, Verb::Update) => {
            update::update(call, request.into_body(), Rules::Status).await
        }
        (Subresource::Status, Verb::Patch) => {
            patch::patch(call, request.into_body(), Rules::Status).await
        }
        (
            Subresource::Approval | Subresource::EphemeralContainers | Subresource::Resize,
            Verb::Get,
        ) => get::get(call).await,
        (
            Subresource::Approval | Subresource::EphemeralContainers | Subresource::Resize,
            Verb::Update,
        ) => update::update(call, request.into_body(), Rules::Sub(subresource)).await,
        (
            Subresource::Approval | Subresource::EphemeralContainers | Subresource::Resize,
            Verb::Patch,
        ) => patch::patch(call, request.into_body(), Rules::Sub(subresource)).await,
        (Subresource::Scale, Verb::Get) => scale::get(call).await,
        (Subresource::Scale, Verb::Update) => scale::update(call, request.into_body()).await,
        (Subresource::Scale, Verb::Patch) => scale::patch(call, request.into_body()).await,
        (Subresource::Binding, Verb::Create) => binding::create(call, request.into_body()).await,
        (Subresource::Eviction, Verb::Create) => eviction::create(call, request.into_body()).await,
        (Subresource::Finalize, Verb::Update) => finalize::update(call, request.into_body()).await,
        (Subresource::Log, Verb::Get) => log::get(call).await,
        (
            Subresource::Attach | Subresource::Exec | Subresource::PortForward,
            Verb::Get | Verb::Create,
        ) => stream::connect(call, subresource, request).await,
        (Subresource::Token, Verb::Create) => tokens::create(call, request.into_body()).await,
        (Subresource::Proxy, _) => proxy::proxy(call, request).await,
        _ => Err(ApiError::method_not_allowed(
            "the server does not allow this method on the requested resource",
        )),
    }
}
