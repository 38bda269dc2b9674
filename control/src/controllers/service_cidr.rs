//! ServiceCIDRs are ready once they are kept from vanishing: one that is deleted stays until no
//! Service's address would be outside all ranges.
//!
//! Source of the behaviour: upstream's `pkg/controller/servicecidrs`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::json;

use super::service_addresses::IP_ADDRESSES;
use crate::engine::{Action, Change, Context, Controller, Key, Plan, Reader, Update, merge_patch};
use crate::kinds::ip_address::{ALLOCATOR, MANAGED_BY};
use crate::kinds::rules::ip::Block;
use crate::kinds::service_cidr::{cidrs, is_ready};

const SERVICE_CIDRS: &str = "servicecidrs.networking.k8s.io";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Allocations that were under way when a range was deleted have come to an end after so long.
const GRACE: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub(super) struct ServiceCidrs;

impl Controller for ServiceCidrs {
    fn name(&self) -> &'static str {
        "service-cidr-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[IP_ADDRESSES, SERVICE_CIDRS]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let key = |name: &str| Key::new(SERVICE_CIDRS, "", name);
        // What comes or goes may hold up those that are being deleted, or no more.
        let all = reader.list::<ServiceCIDR>(SERVICE_CIDRS, None);
        let leaving = all.iter().filter(|range| range.metadata.deletion_timestamp.is_some());
        let leaving = leaving.filter_map(|range| range.metadata.name.as_deref()).map(key);
        let own = (&*change.resource == SERVICE_CIDRS).then(|| key(change.object.name()));
        let mut keys: Vec<Key> = leaving.chain(own).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let reader = context.reader;
        let Some(range) = reader.at::<ServiceCIDR>(key) else { return Plan::nothing("gone") };
        let addresses = match range.metadata.deletion_timestamp {
            Some(_) => allocated(reader),
            None => Vec::new(),
        };
        let all = reader.list(SERVICE_CIDRS, None);
        plan(context.now, &Observed { range, all, addresses })
    }
}

/// The addresses of Services.
fn allocated(reader: &Reader) -> Vec<IpAddr> {
    let all = reader.objects(IP_ADDRESSES, None);
    let ours =
        all.iter().filter(|it| it.labels().get(MANAGED_BY).is_some_and(|by| by == ALLOCATOR));
    ours.filter_map(|address| address.name().parse().ok()).collect()
}

struct Observed {
    range: Arc<ServiceCIDR>,
    all: Vec<Arc<ServiceCIDR>>,
    /// Looked at for a range that is being deleted alone.
    addresses: Vec<IpAddr>,
}

fn plan(now: Timestamp, observed: &Observed) -> Plan {
    let range = &*observed.range;
    let finalizers = range.metadata.finalizers.clone().unwrap_or_default();
    let is_kept = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    let Some(deleted) = &range.metadata.deletion_timestamp else {
        if !is_kept {
            let finalizers = [finalizers, vec![FINALIZER.to_owned()]].concat();
            return with_finalizers(range, &finalizers, "it is not kept from vanishing");
        }
        if is_ready(range) {
            return Plan::nothing("ready");
        }
        return with_condition(range, now, "True", "", "Kubernetes Service CIDR is ready");
    };
    if !is_kept {
        return Plan::nothing("others keep it from vanishing");
    }
    if let Some(address) = orphan(observed) {
        let conditions = range.status.as_ref().and_then(|status| status.conditions.as_ref());
        if conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "False") {
            return Plan::nothing(format!("{address} is in no other range"));
        }
        let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        return with_condition(range, now, "False", "Terminating", message);
    }
    let waited = Duration::try_from(now.duration_since(deleted.0)).unwrap_or_default();
    match GRACE.checked_sub(waited).filter(|left| !left.is_zero()) {
        Some(left) => Plan { again: Some(left), ..Plan::nothing("addresses may be under way") },
        None => {
            let others: Vec<String> =
                finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
            with_finalizers(range, &others, "no address needs it")
        }
    }
}

/// An address that is in this range and in no other.
fn orphan(observed: &Observed) -> Option<IpAddr> {
    let blocks = |range: &ServiceCIDR| -> Vec<Block> {
        cidrs(range).iter().filter_map(|cidr| cidr.parse().ok()).collect()
    };
    let own = blocks(&observed.range);
    let is_other = |range: &&Arc<ServiceCIDR>| range.metadata.name != observed.range.metadata.name;
    let others: Vec<Block> =
        observed.all.iter().filter(is_other).flat_map(|range| blocks(range)).collect();
    let holds = |blocks: &[Block], address| blocks.iter().any(|block| block.contains(address));
    let mut addresses = observed.addresses.iter().copied();
    addresses.find(|address| holds(&own, *address) && !holds(&others, *address))
}

fn with_finalizers(range: &ServiceCIDR, finalizers: &[String], why: &str) -> Plan {
    let patch = json!({ "metadata": { "finalizers": finalizers } });
    Plan {
        actions: vec![Action::Patch {
            key: Key::of(SERVICE_CIDRS, &range.metadata),
            subresource: None,
            patch: merge_patch(&range.metadata, patch),
            done: None,
        }],
        why: why.to_owned(),
        ..Plan::default()
    }
}

fn with_condition(
    range: &ServiceCIDR,
    now: Timestamp,
    status: &str,
    reason: &str,
    message: &str,
) -> Plan {
    let mut new = range.clone();
    let conditions = new.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "Ready");
    conditions.push(Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: None,
    });
    Plan {
        status: Some(Update::status(Key::of(SERVICE_CIDRS, &range.metadata), &new)),
        why: message.to_owned(),
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn range(text: &str) -> Arc<ServiceCIDR> {
        Arc::new(serde_yaml::from_str(text).unwrap())
    }

    fn check(text: &str, others: &[&str], addresses: &[&str], expected: Expect) {
        let range = range(text);
        let others = others.iter().map(|text| self::range(text));
        let observed = Observed {
            all: others.chain([range.clone()]).collect(),
            range,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let now = "2026-01-01T00:00:08Z".parse().unwrap();
        expected.assert_eq(&show_plan(&plan(now, &observed)));
    }

    #[test]
    fn a_new_range_is_kept_and_then_ready() {
        check(
            "{metadata: {name: more}, spec: {cidrs: [10.200.0.0/24]}}",
            &[],
            &[],
            expect![[r#"
                patch servicecidrs.networking.k8s.io/more {"metadata":{"finalizers":["networking.k8s.io/service-cidr-finalizer"],"resourceVersion":null}}
                why it is not kept from vanishing
            "#]],
        );
        check(
            "{metadata: {name: more, finalizers: [a/b, networking.k8s.io/service-cidr-finalizer]}, \
              spec: {cidrs: [10.200.0.0/24]}}",
            &[],
            &[],
            expect![[r#"
                status servicecidrs.networking.k8s.io/more {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:08Z","message":"Kubernetes Service CIDR is ready","reason":"","status":"True","type":"Ready"}]}}
                why Kubernetes Service CIDR is ready
            "#]],
        );
        check(
            "{metadata: {name: more, finalizers: [networking.k8s.io/service-cidr-finalizer]}, \
              status: {conditions: [{type: Ready, status: 'True', reason: '', message: '', \
              lastTransitionTime: '2026-01-01T00:00:00Z'}]}}",
            &[],
            &[],
            expect![[r#"
                why ready
            "#]],
        );
    }

    #[test]
    fn a_range_goes_when_no_address_needs_it() {
        let leaving = "{metadata: {name: more, deletionTimestamp: '2026-01-01T00:00:00Z', \
            finalizers: [a/b, networking.k8s.io/service-cidr-finalizer]}, \
            spec: {cidrs: [10.200.0.0/24]}}";
        let wider = "{metadata: {name: wider}, spec: {cidrs: [10.0.0.0/8]}}";
        check(
            leaving,
            &[],
            &["10.200.0.7"],
            expect![[r#"
            status servicecidrs.networking.k8s.io/more {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:08Z","message":"There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR","reason":"Terminating","status":"False","type":"Ready"}]}}
            why There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR
        "#]],
        );
        check(
            leaving,
            &[],
            &["10.96.0.7"],
            expect![[r#"
            again in 2s
            why addresses may be under way
        "#]],
        );
        let long_ago = leaving.replace("2026", "2025");
        check(
            &long_ago,
            &[wider],
            &["10.200.0.7"],
            expect![[r#"
            patch servicecidrs.networking.k8s.io/more {"metadata":{"finalizers":["a/b"],"resourceVersion":null}}
            why no address needs it
        "#]],
        );
    }
}
