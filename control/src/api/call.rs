//! One request for a resource, as the verbs see it.

use std::sync::Arc;

use http::HeaderMap;

use crate::admission::{Operation, Reservation, Review};
use crate::auth::UserInfo;
use crate::cache::Cache;
use crate::kinds::{AnyKind, Context, Draft, KindInfo, Storage};
use crate::status::{About, ApiError};

use super::negotiate::Output;
use super::query::Query;
use super::readers::Hangup;
use super::request::Address;
use super::state::Api;

pub struct Call {
    pub api: Arc<Api>,
    pub kind: Arc<dyn AnyKind>,
    pub address: Address,
    pub user: UserInfo,
    pub query: Query,
    pub headers: HeaderMap,
    pub output: Output,
    /// How to close the connection, where it serves this request alone.
    pub hangup: Option<Hangup>,
}

/// The parts of an admission review that differ from plug-in chain to plug-in chain.
pub struct Admission<'a> {
    pub operation: Operation,
    pub name: &'a str,
    pub object: Option<&'a mut Draft>,
    pub old: Option<&'a serde_json::Value>,
    pub dry_run: bool,
}

impl Call {
    /// The same request for one object of the collection.
    pub fn at(&self, namespace: &str, name: &str) -> Self {
        let address = Address {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..self.address.clone()
        };
        Self {
            api: self.api.clone(),
            kind: self.kind.clone(),
            address,
            user: self.user.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            output: self.output,
            hangup: self.hangup.clone(),
        }
    }

    /// Who writes an object of this name, when and where.
    pub fn context<'a>(&'a self, name: &'a str) -> Context<'a> {
        let now = self.api.ambient().now();
        Context { user: &self.user, now, namespace: self.namespace(), name }
    }

    pub fn info(&self) -> &KindInfo {
        self.kind.info()
    }

    pub fn cache(&self) -> Arc<Cache> {
        self.api.cache(self.kind.as_ref())
    }

    /// The namespace that this request's objects are stored under: empty for cluster kinds.
    pub fn namespace(&self) -> &str {
        if self.info().is_namespaced() { &self.address.namespace } else { "" }
    }

    /// The resource and an object's name, for errors.
    pub fn about<'a>(&'a self, name: &'a str) -> About<'a> {
        About { group: self.info().group, resource: self.info().resource, name }
    }

    /// The kind and an object's name, for validation errors: the kind in whose form it is stored.
    pub fn about_kind<'a>(&'a self, name: &'a str) -> About<'a> {
        let group = match self.info().storage {
            Storage::As { resource } => resource.split_once('.').map_or("", |(_, group)| group),
            Storage::Own | Storage::Virtual => self.info().group,
        };
        About { group, resource: self.info().kind, name }
    }

    pub fn subresource(&self) -> Option<&str> {
        Some(self.address.subresource.as_str()).filter(|subresource| !subresource.is_empty())
    }

    /// Shows the admission plug-ins what is to be written and is valid.
    pub async fn validate(&self, admission: Admission<'_>) -> Result<(), ApiError> {
        let mut reservations = Vec::new();
        let mut review = self.review(admission, &mut reservations);
        for plugin in &self.api.plugins {
            plugin.validate(&self.api.surroundings, &mut review).await?;
        }
        Ok(())
    }

    /// Runs the admission plug-ins. What they reserve is held by the answer.
    pub async fn admit(&self, admission: Admission<'_>) -> Result<Vec<Reservation>, ApiError> {
        let mut reservations = Vec::new();
        let mut review = self.review(admission, &mut reservations);
        for plugin in &self.api.plugins {
            plugin.admit(&self.api.surroundings, &mut review).await?;
        }
        Ok(reservations)
    }

    fn review<'a>(
        &'a self,
        admission: Admission<'a>,
        reservations: &'a mut Vec<Reservation>,
    ) -> Review<'a> {
        Review {
            operation: admission.operation,
            info: self.kind.info(),
            subresource: self.subresource(),
            namespace: &self.address.namespace,
            name: admission.name,
            object: admission.object,
            old: admission.old,
            user: &self.user,
            dry_run: admission.dry_run,
            reservations,
        }
    }
}
