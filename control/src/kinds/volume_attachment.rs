//! That a volume is to be attached to a node, and whether it is.
//!
//! Source: `pkg/registry/storage/volumeattachment/strategy.go`, `pkg/apis/storage/validation`.

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{
    VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentStatus, VolumeError,
};
use serde_json::{Value, json};

use super::persistent_volume::spec::{self, Whose};
use super::rules::volume_sources;
use super::{
    Column, FieldError, Kind, KindInfo, Subresource, USER_METADATA, meta, names, semantic,
};

const METADATA_BYTES_MAX: usize = 256 * 1024;
const MESSAGE_BYTES_MAX: usize = 1024;

pub struct VolumeAttachments;

impl Kind for VolumeAttachments {
    type Object = VolumeAttachment;

    const INFO: KindInfo = KindInfo {
        subresources: &[Subresource::Status],
        unconditional_update: false,
        returns_deleted: true,
        fixed_by_status: USER_METADATA,
        not_yet: Some("nothing attaches it yet"),
        ..KindInfo::cluster(
            "storage.k8s.io",
            "v1",
            "VolumeAttachment",
            "volumeattachments",
            "volumeattachment",
            "io.k8s.api.storage.v1.VolumeAttachment",
        )
    };

    fn default(attachment: &mut VolumeAttachment) {
        attachment.spec.source.inline_volume_spec.iter_mut().for_each(spec::default);
        attachment.status.get_or_insert_default();
    }

    fn validate(attachment: &VolumeAttachment) -> Vec<FieldError> {
        let spec = &attachment.spec;
        let mut errors = volume_sources::csi_driver(&spec.attacher, "spec.attacher");
        errors.extend(validate_source(&spec.source, "spec.source"));
        let node = spec.node_name.as_str();
        errors.extend(meta::invalid_each("spec.nodeName", node, names::subdomain(node)));
        errors.extend(attachment.status.iter().flat_map(validate_status));
        if let Some(name) = &spec.source.persistent_volume_name {
            let path = "spec.source.persistentVolumeName";
            errors.extend(meta::invalid_each(path, name, names::subdomain(name)));
        }
        errors
    }

    fn validate_update(new: &VolumeAttachment, old: &VolumeAttachment) -> Vec<FieldError> {
        let spec = |attachment: &VolumeAttachment| json!(attachment.spec);
        if semantic::equal(&spec(new), &spec(old)) {
            return Vec::new();
        }
        vec![FieldError::invalid("spec", spec(new), meta::IMMUTABLE)]
    }

    /// Upstream's rules of an update hold here, too.
    fn validate_status(new: &VolumeAttachment, _old: &VolumeAttachment) -> Vec<FieldError> {
        Self::validate(new)
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            // The format is upstream's.
            Column {
                format: "name",
                ..Column::new("Attacher", "string", 0, "The CSI driver that attaches.")
            },
            Column::new("PV", "string", 0, "The volume."),
            Column::new("Node", "string", 0, "The node."),
            Column::new("Attached", "boolean", 0, "Whether the volume is attached."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(attachment: &VolumeAttachment, now: Timestamp) -> Vec<Value> {
        let spec = &attachment.spec;
        vec![
            meta::object_name(&attachment.metadata),
            spec.attacher.clone().into(),
            spec.source.persistent_volume_name.clone().unwrap_or_default().into(),
            spec.node_name.clone().into(),
            attachment.status.as_ref().is_some_and(|status| status.attached).into(),
            meta::object_age(&attachment.metadata, now),
        ]
    }
}

fn validate_source(source: &VolumeAttachmentSource, path: &str) -> Vec<FieldError> {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (&source.inline_volume_spec, source.persistent_volume_name.as_deref()) {
        (None, None) => vec![FieldError::required(path, ONE)],
        (Some(_), Some(_)) => vec![FieldError::forbidden(path, ONE)],
        (None, Some("")) => {
            let detail = "must specify non empty persistentVolumeName";
            vec![FieldError::required(format!("{path}.persistentVolumeName"), detail)]
        }
        (None, Some(_)) => Vec::new(),
        (Some(inline), None) => {
            spec::validate(inline, &Whose::Inline, &format!("{path}.inlineVolumeSpec"))
        }
    }
}

fn validate_status(status: &VolumeAttachmentStatus) -> Vec<FieldError> {
    let pairs = status.attachment_metadata.iter().flatten();
    let size: usize = pairs.map(|(key, value)| key.len() + value.len()).sum();
    let mut errors = Vec::new();
    if size > METADATA_BYTES_MAX {
        errors.push(FieldError::too_long("status.attachmentMetadata", METADATA_BYTES_MAX));
    }
    for (field, error) in
        [("attachError", &status.attach_error), ("detachError", &status.detach_error)]
    {
        let path = format!("status.{field}");
        errors.extend(error.iter().flat_map(|error| validate_error(error, &path)));
    }
    errors
}

fn validate_error(error: &VolumeError, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if error.message.as_ref().is_some_and(|message| message.len() > MESSAGE_BYTES_MAX) {
        // The number is upstream's, which is not that of the rule.
        errors.push(FieldError::too_long(format!("{path}.message"), METADATA_BYTES_MAX));
    }
    if let Some(code) = error.error_code.filter(|code| *code < 0) {
        let detail = "must be between 0 and 2147483647, inclusive";
        errors.push(FieldError::invalid(format!("{path}.errorCode"), code, detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{problems, status_problems};

    fn attachment(source: Value) -> Value {
        json!({
            "metadata": {"name": "a"},
            "spec": {"attacher": "csi.example.com", "nodeName": "n", "source": source},
        })
    }

    #[test]
    fn there_is_one_source() {
        let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        let inline = json!({"accessModes": ["ReadWriteOnce"],
            "csi": {"driver": "a", "volumeHandle": "b"}});
        let cases: [(Value, Vec<String>); 4] = [
            (json!({"inlineVolumeSpec": inline}), vec![]),
            (json!({}), vec![format!("spec.source: Required value: {one}")]),
            (
                json!({"inlineVolumeSpec": inline, "persistentVolumeName": "a"}),
                vec![format!("spec.source: Forbidden: {one}")],
            ),
            (
                json!({"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"]}}),
                vec![
                    "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes".into(),
                    "spec.source.inlineVolumeSpec: Required value: must specify a volume type".into(),
                ],
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(problems::<VolumeAttachments>(attachment(source.clone())), expected, "{source}");
        }
    }

    #[test]
    fn errors_of_attaching_are_short() {
        let mut new = attachment(json!({"persistentVolumeName": "a"}));
        new["status"] = json!({"attached": false,
            "attachError": {"message": "x".repeat(1025), "errorCode": -1},
            "attachmentMetadata": {"a": "x".repeat(METADATA_BYTES_MAX)}});
        assert_eq!(
            status_problems::<VolumeAttachments>(&new, &new),
            [
                "status.attachmentMetadata: Too long: may not be more than 262144 bytes",
                "status.attachError.message: Too long: may not be more than 262144 bytes",
                "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ]
        );
    }
}
