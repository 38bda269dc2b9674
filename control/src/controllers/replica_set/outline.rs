//! A pod as a ReplicaSet looks at it: a pod that has only the fields that plans ask for.
//!
//! A ReplicaSet looks at all its pods again and again while they start: to decode and to hold them whole
//! would be most of what that costs. A plan that asks for another field adds it here.

use std::ops::Deref;

use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, Pod, PodCondition, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// See the module's documentation.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Fields")]
pub(super) struct Outline(Pod);

impl Deref for Outline {
    type Target = Pod;

    fn deref(&self) -> &Pod {
        &self.0
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    init_containers: Option<Vec<InitContainer>>,
}

/// Sidecars are told by their restart policy.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct InitContainer {
    name: String,
    restart_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    conditions: Option<Vec<PodCondition>>,
    container_statuses: Option<Vec<Restarts>>,
    init_container_statuses: Option<Vec<Restarts>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Restarts {
    name: String,
    restart_count: i32,
}

impl From<Fields> for Outline {
    fn from(fields: Fields) -> Self {
        let Fields { metadata, spec, status } = fields;
        Self(Pod {
            metadata,
            spec: Some(PodSpec {
                node_name: spec.node_name,
                init_containers: all(spec.init_containers, |container| Container {
                    name: container.name,
                    restart_policy: container.restart_policy,
                    ..Container::default()
                }),
                ..PodSpec::default()
            }),
            status: Some(PodStatus {
                phase: status.phase,
                conditions: status.conditions,
                container_statuses: all(status.container_statuses, restarted),
                init_container_statuses: all(status.init_container_statuses, restarted),
                ..PodStatus::default()
            }),
        })
    }
}

fn restarted(container: Restarts) -> ContainerStatus {
    ContainerStatus {
        name: container.name,
        restart_count: container.restart_count,
        ..ContainerStatus::default()
    }
}

fn all<T, U>(list: Option<Vec<T>>, into: impl Fn(T) -> U) -> Option<Vec<U>> {
    Some(list?.into_iter().map(into).collect())
}
