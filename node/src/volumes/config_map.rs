//! `configMap`: the keys of a ConfigMap as files.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMapVolumeSource;

use super::projection::{self, Selection};
use crate::objects::{ObjectKind, ObjectRef, Objects};

pub async fn make(
    objects: &Objects,
    namespace: &str,
    source: &ConfigMapVolumeSource,
    folder: PathBuf,
) -> Result<(), String> {
    let reference = ObjectRef {
        kind: ObjectKind::ConfigMap,
        namespace: namespace.into(),
        name: source.name.clone(),
    };
    let selection = Selection {
        items: source.items.as_deref(),
        default_mode: source.default_mode,
        optional: source.optional == Some(true),
        missing_key: "configmap references non-existent config key",
    };
    projection::make(objects, &reference, &selection, folder).await
}
