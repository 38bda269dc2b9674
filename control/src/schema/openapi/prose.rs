//! Descriptions, from `k8s-openapi`'s JSON schemas.

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    APIGroupList, APIResourceList, APIVersions, DeleteOptions, ListMeta, Patch, Status, WatchEvent,
};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::kinds::AnyKind;

/// What `k8s-openapi` says of the types that some kinds reach.
pub(super) struct Prose {
    definitions: Map<String, Value>,
}

impl Prose {
    pub fn of(kinds: &[&dyn AnyKind]) -> Self {
        let mut generator: SchemaGenerator = SchemaSettings::draft2020_12().into_generator();
        for kind in kinds {
            kind.json_schema(&mut generator);
        }
        generator.subschema_for::<APIGroupList>();
        generator.subschema_for::<APIResourceList>();
        generator.subschema_for::<APIVersions>();
        generator.subschema_for::<Binding>();
        generator.subschema_for::<DeleteOptions>();
        generator.subschema_for::<Eviction>();
        generator.subschema_for::<ListMeta>();
        generator.subschema_for::<Patch>();
        generator.subschema_for::<Scale>();
        generator.subschema_for::<Status>();
        generator.subschema_for::<TokenRequest>();
        generator.subschema_for::<WatchEvent<RawExtension>>();
        Self { definitions: generator.take_definitions(false) }
    }

    /// Of a type by its name in OpenAPI.
    pub fn of_type(&self, name: &str) -> Option<&str> {
        self.definitions.get(name)?.get("description")?.as_str()
    }

    pub fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.definitions.get(name)?.get("properties")?.get(field)?.get("description")?.as_str()
    }
}
