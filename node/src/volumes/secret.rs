//! `secret`: the keys of a Secret as files.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::SecretVolumeSource;

use super::projection::{self, Selection};
use crate::objects::{ObjectKind, ObjectRef, Objects};

pub async fn make(
    objects: &Objects,
    namespace: &str,
    source: &SecretVolumeSource,
    folder: PathBuf,
) -> Result<(), String> {
    let reference = ObjectRef {
        kind: ObjectKind::Secret,
        namespace: namespace.into(),
        name: source.secret_name.clone().unwrap_or_default(),
    };
    let selection = Selection {
        items: source.items.as_deref(),
        default_mode: source.default_mode,
        optional: source.optional == Some(true),
        missing_key: "references non-existent secret key",
    };
    projection::make(objects, &reference, &selection, folder).await
}
