//! ServiceCIDRs: the ranges that cluster IPs come from.
//!
//! Source: `pkg/registry/networking/servicecidr/strategy.go`, `pkg/apis/networking/validation`.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use serde_json::{Value, json};

use super::meta::IMMUTABLE;
use super::rules::ip::{Block, canonical_cidr};
use super::{Column, FieldError, Kind, KindInfo, Shown, Subresource, USER_METADATA, meta};

const PATH: &str = "spec.cidrs";

pub struct ServiceCidrs;

impl Kind for ServiceCidrs {
    type Object = ServiceCIDR;

    const INFO: KindInfo = KindInfo {
        subresources: &[Subresource::Status],
        fixed_by_status: USER_METADATA,
        ..KindInfo::cluster(
            "networking.k8s.io",
            "v1",
            "ServiceCIDR",
            "servicecidrs",
            "servicecidr",
            "io.k8s.api.networking.v1.ServiceCIDR",
        )
    };

    fn validate(_object: &ServiceCIDR) -> Vec<FieldError> {
        // What is stored is sound, and an update may only add to it.
        Vec::new()
    }

    fn validate_create(object: &ServiceCIDR) -> Vec<FieldError> {
        validate_cidrs(cidrs(object))
    }

    fn validate_update(new: &ServiceCIDR, old: &ServiceCIDR) -> Vec<FieldError> {
        let (now, before) = (cidrs(new), cidrs(old));
        let changed = now.iter().zip(before).enumerate().filter(|(_, (now, before))| now != before);
        let changed = changed.map(|(index, (now, _))| {
            FieldError::invalid(format!("{PATH}[{index}]"), now.as_str(), IMMUTABLE)
        });
        match (before.len(), now.len()) {
            (before, now) if before == now => changed.collect(),
            // One family more.
            (1, 2) => changed.chain(validate_cidrs(now)).collect(),
            _ => {
                let shown = new.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
                vec![FieldError::invalid(PATH, json!(shown), IMMUTABLE)]
            }
        }
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("CIDRs", "string", 0, "The ranges, at most one for each family."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &ServiceCIDR, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&object.metadata),
            cidrs(object).join(",").into(),
            meta::object_age(&object.metadata, now),
        ]
    }
}

pub(crate) fn cidrs(object: &ServiceCIDR) -> &[String] {
    let cidrs = object.spec.as_ref().and_then(|spec| spec.cidrs.as_deref());
    cidrs.unwrap_or_default()
}

/// Whether addresses may be taken from it.
pub(crate) fn is_ready(object: &ServiceCIDR) -> bool {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    object.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}

fn validate_cidrs(cidrs: &[String]) -> Vec<FieldError> {
    match cidrs.len() {
        0 => return vec![FieldError::required(PATH, "at least one CIDR required")],
        1 | 2 => {}
        _ => {
            // Upstream prints the spec.
            let spec = json!({ "cidrs": cidrs });
            let spec = Shown::internal("io.k8s.api.networking.v1.ServiceCIDRSpec", &spec);
            return vec![FieldError::invalid(PATH, spec, "may only hold up to 2 values")];
        }
    }
    let each = cidrs.iter().enumerate();
    let mut errors: Vec<FieldError> = each
        .flat_map(|(index, cidr)| canonical_cidr(cidr, &format!("{PATH}[{index}]")))
        .collect();
    let families: Vec<bool> = cidrs
        .iter()
        .filter_map(|cidr| cidr.parse::<Block>().ok())
        .map(|block| block.is_ipv6())
        .collect();
    if let [first, second] = families[..]
        && first == second
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid(PATH, cidrs, why));
    }
    errors
}
