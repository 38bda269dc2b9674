//! IP addresses that are taken: one for each ClusterIP of a Service, named by the address.
//!
//! Source: `pkg/registry/networking/ipaddress/strategy.go`, `pkg/apis/networking/validation`.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ParentReference};
use serde_json::{Value, json};

use super::rules::ip::address_name;
use super::rules::object_reference::{group, segment};
use super::{Column, FieldError, Kind, KindInfo, NameRule, meta, names};

const PARENT: &str = "spec.parentRef";

/// The label that says who keeps an address.
pub const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// Who keeps the addresses of Services.
pub const ALLOCATOR: &str = "ipallocator.k8s.io";

pub struct IpAddresses;

impl Kind for IpAddresses {
    type Object = IPAddress;

    const INFO: KindInfo = KindInfo {
        short_names: &["ip"],
        names: NameRule::Custom(address_name),
        ..KindInfo::cluster(
            "networking.k8s.io",
            "v1",
            "IPAddress",
            "ipaddresses",
            "ipaddress",
            "io.k8s.api.networking.v1.IPAddress",
        )
    };

    fn validate(address: &IPAddress) -> Vec<FieldError> {
        validate_parent(&address.spec.parent_ref)
    }

    fn validate_update(new: &IPAddress, old: &IPAddress) -> Vec<FieldError> {
        // Nothing said of a parent is none to upstream.
        let parent = |address: &IPAddress| {
            let parent = &address.spec.parent_ref;
            json!((*parent != ParentReference::default()).then_some(parent))
        };
        meta::immutable(&parent(new), &parent(old), PARENT).into_iter().collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("ParentRef", "string", 0, "The object that the address is taken for."),
        ];
        COLUMNS
    }

    /// One cell more than there are columns: upstream sends the age too, and clients leave it out.
    fn cells(address: &IPAddress, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&address.metadata),
            parent_text(&address.spec.parent_ref).into(),
            meta::object_age(&address.metadata, now),
        ]
    }
}

/// `services/default/web`, or `widgets.example.com/small`.
fn parent_text(parent: &ParentReference) -> String {
    let mut text = parent.resource.to_lowercase();
    for (separator, part) in [
        ('.', parent.group.as_deref().map(str::to_lowercase).as_deref().unwrap_or_default()),
        ('/', parent.namespace.as_deref().unwrap_or_default()),
    ] {
        if !part.is_empty() {
            text.push(separator);
            text.push_str(part);
        }
    }
    format!("{text}/{}", parent.name)
}

fn validate_parent(parent: &ParentReference) -> Vec<FieldError> {
    if *parent == ParentReference::default() {
        return vec![FieldError::required(PARENT, "")];
    }
    let filled = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let mut errors = group(filled(&parent.group).as_deref(), &format!("{PARENT}.group"));
    errors.extend(segment(&parent.resource, &format!("{PARENT}.resource")));
    errors.extend(segment(&parent.name, &format!("{PARENT}.name")));
    if let Some(namespace) = filled(&parent.namespace) {
        let path = format!("{PARENT}.namespace");
        errors.extend(meta::invalid_each(&path, &namespace, names::path_segment(&namespace, false)));
    }
    errors
}
