//! Leases: who leads, and that a node lives.
//!
//! Source: `pkg/registry/coordination/lease/strategy.go`, `pkg/apis/coordination/validation`.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use serde_json::Value;

use super::{Column, Context, FieldError, Kind, KindInfo, meta};

pub struct Leases;

impl Kind for Leases {
    type Object = Lease;

    const INFO: KindInfo = KindInfo {
        unconditional_update: false,
        managed_as_sent: true,
        create_on_update: true,
        ..KindInfo::namespaced(
            "coordination.k8s.io",
            "v1",
            "Lease",
            "leases",
            "lease",
            "io.k8s.api.coordination.v1.Lease",
        )
    };

    fn prepare_create(lease: &mut Lease, _context: &Context<'_>) {
        drop_coordination(lease.spec.as_mut(), None);
    }

    fn prepare_update(new: &mut Lease, old: &Lease, _context: &Context<'_>) {
        drop_coordination(new.spec.as_mut(), old.spec.as_ref());
    }

    fn validate(lease: &Lease) -> Vec<FieldError> {
        lease.spec.as_ref().map(validate_spec).unwrap_or_default()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Holder", "string", 0, "Who holds the lease."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(lease: &Lease, now: Timestamp) -> Vec<Value> {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        vec![
            meta::object_name(&lease.metadata),
            holder.unwrap_or_default().into(),
            meta::object_age(&lease.metadata, now),
        ]
    }
}

/// Coordinated leader election is off by default upstream and its fields are dropped then, unless
/// an older object has them.
fn drop_coordination(new: Option<&mut LeaseSpec>, old: Option<&LeaseSpec>) {
    let Some(new) = new else { return };
    if old.is_none_or(|old| old.strategy.is_none()) {
        new.strategy = None;
    }
    if old.is_none_or(|old| old.preferred_holder.is_none()) {
        new.preferred_holder = None;
    }
}

fn validate_spec(spec: &LeaseSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
        let path = "spec.leaseDurationSeconds";
        errors.push(FieldError::invalid(path, seconds, "must be greater than 0"));
    }
    if let Some(count) = spec.lease_transitions.filter(|count| *count < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.leaseTransitions", count, detail));
    }
    let strategy = spec.strategy.as_deref().unwrap_or_default();
    if !matches!(strategy, "" | "OldestEmulationVersion") {
        let supported = &["OldestEmulationVersion"];
        errors.push(FieldError::not_supported("spec.strategy", strategy, supported));
    }
    if strategy.is_empty() && spec.preferred_holder.as_deref().is_some_and(|text| !text.is_empty())
    {
        let detail = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden("spec.preferredHolder", detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{context, problems, row};
    use serde_json::json;

    #[test]
    fn durations_and_transitions_are_not_negative() {
        let lease =
            json!({"metadata": {}, "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}});
        assert_eq!(
            problems::<Leases>(&lease),
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }

    #[test]
    fn the_holder_is_shown() {
        let lease = json!({
            "metadata": {"name": "node-1", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"holderIdentity": "node-1"},
        });
        assert_eq!(row::<Leases>(&lease), ["node-1", "node-1", "24h"]);
        assert_eq!(row::<Leases>(&json!({"metadata": {"name": "a"}})), ["a", "", "<unknown>"]);
    }

    #[test]
    fn coordination_fields_are_dropped_unless_they_were_kept_before() {
        let with =
            LeaseSpec { strategy: Some("OldestEmulationVersion".into()), ..Default::default() };
        let mut lease = Lease { spec: Some(with.clone()), ..Default::default() };
        Leases::prepare_create(&mut lease, &context());
        assert_eq!(lease.spec.as_ref().unwrap().strategy, None);
        let old = Lease { spec: Some(with.clone()), ..Default::default() };
        lease.spec = Some(with);
        Leases::prepare_update(&mut lease, &old, &context());
        assert!(lease.spec.unwrap().strategy.is_some());
    }
}
