//! Every node gets a range of pod addresses of its own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use super::node_lifecycle::NODES;
use crate::engine::{
    Action, Change, Context, Controller, EngineConfig, Key, Note, Plan, Reader, about, merge_patch,
};

/// A node that found no range asks again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// See the module's documentation.
pub(super) struct NodeIpam {
    pool: Option<Pool>,
}

impl NodeIpam {
    pub(super) fn new(config: &EngineConfig) -> Self {
        Self { pool: Pool::parse(&config.cluster_cidr, config.node_cidr_mask) }
    }
}

impl Controller for NodeIpam {
    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[NODES]
    }

    fn keys(&self, _reader: &Reader, change: &Change) -> Vec<Key> {
        if change.deleted || change.head.has_pod_cidr() {
            return Vec::new();
        }
        vec![Key::new(NODES, "", change.object.name())]
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let Some(node) = context.reader.at::<Node>(key) else { return Plan::nothing("gone") };
        let nodes = context.reader.list(NODES, None);
        plan(self.pool.as_ref(), &Observed { node, nodes })
    }

    /// One, or two nodes could be given the same range.
    fn workers(&self) -> usize {
        1
    }
}

struct Observed {
    node: Arc<Node>,
    nodes: Vec<Arc<Node>>,
}

/// The cluster's range, cut into the nodes'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pool {
    first: u32,
    count: u64,
    node_mask: u8,
}

impl Pool {
    /// `None` where this is no IPv4 range, or nodes' ranges do not fit into it.
    fn parse(cidr: &str, node_mask: u8) -> Option<Self> {
        let (address, mask) = parse(cidr)?;
        if !(mask..=32).contains(&node_mask) {
            return None;
        }
        Some(Self { first: address, count: 1 << (node_mask - mask), node_mask })
    }

    fn range(&self, at: u64) -> String {
        let size = 1_u64 << (32 - u32::from(self.node_mask));
        // Within IPv4 by construction.
        let address = u64::from(self.first) + at * size;
        let address = Ipv4Addr::from(u32::try_from(address).unwrap_or(u32::MAX));
        format!("{address}/{}", self.node_mask)
    }

    /// The places that a range takes up.
    fn places(&self, cidr: &str) -> Option<(u64, u64)> {
        let (address, mask) = parse(cidr)?;
        let size = 1_u64 << (32 - u32::from(self.node_mask));
        let offset = u64::from(address).checked_sub(u64::from(self.first))?;
        let last = offset + (1_u64 << (32 - u32::from(mask))) - 1;
        Some((offset / size, last / size))
    }
}

/// The network's first address and its prefix length.
fn parse(cidr: &str) -> Option<(u32, u8)> {
    let (address, mask) = cidr.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let mask: u8 = mask.parse().ok().filter(|mask| *mask <= 32)?;
    let bits = u32::MAX.checked_shl(32 - u32::from(mask)).unwrap_or(0);
    Some((u32::from(address) & bits, mask))
}

fn plan(pool: Option<&Pool>, observed: &Observed) -> Plan {
    let node = &*observed.node;
    let Some(pool) = pool else { return Plan::nothing("no range for pods is configured") };
    if node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some()) {
        return Plan::nothing("has a range");
    }
    if node.metadata.deletion_timestamp.is_some() {
        return Plan::nothing("being deleted");
    }
    let taken: BTreeSet<u64> = observed
        .nodes
        .iter()
        .filter_map(|other| pool.places(other.spec.as_ref()?.pod_cidr.as_deref()?))
        .flat_map(|(first, last)| first..=last.min(pool.count))
        .collect();
    let Some(free) = (0..pool.count).find(|place| !taken.contains(place)) else {
        return no_range(node);
    };
    let range = pool.range(free);
    let patch = json!({ "spec": { "podCIDR": range, "podCIDRs": [range] } });
    Plan {
        actions: vec![Action::Patch {
            key: Key::of(NODES, &node.metadata),
            subresource: None,
            patch: merge_patch(&node.metadata, patch),
            done: None,
        }],
        why: format!("gets {range}"),
        ..Plan::default()
    }
}

fn no_range(node: &Node) -> Plan {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let message = format!("Node {name} status is now: CIDRNotAvailable");
    Plan {
        actions: vec![Action::Event(Note::normal(&about(node), "CIDRNotAvailable", message.into()))],
        why: "all ranges are taken".to_owned(),
        again: Some(AGAIN),
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn check(cluster: &str, mask: u8, taken: &[&str], expected: Expect) {
        let node = "{metadata: {name: n, resourceVersion: '1'}, spec: {}}";
        let nodes = taken
            .iter()
            .map(|cidr| {
                let text = format!("{{metadata: {{}}, spec: {{podCIDR: {cidr}}}}}");
                Arc::new(serde_yaml::from_str(&text).unwrap())
            })
            .collect();
        let observed = Observed { node: Arc::new(serde_yaml::from_str(node).unwrap()), nodes };
        let pool = Pool::parse(cluster, mask);
        expected.assert_eq(&show_plan(&plan(pool.as_ref(), &observed)));
    }

    #[test]
    fn a_node_gets_the_first_free_range() {
        check("10.128.0.0/9", 17, &[], expect![[r#""#]]);
        check("10.128.0.0/9", 17, &["10.128.0.0/17", "10.129.0.0/17"], expect![[r#""#]]);
        // A larger range, given by hand, takes several places.
        check("10.128.0.0/9", 17, &["10.128.0.0/16"], expect![[r#""#]]);
    }

    #[test]
    fn a_full_pool_is_told() {
        check("10.0.0.0/24", 25, &["10.0.0.0/25", "10.0.0.128/25"], expect![[r#""#]]);
        check("fd00::/64", 80, &[], expect![[r#""#]]);
    }
}
