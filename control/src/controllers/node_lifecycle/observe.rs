//! Which changes concern a node, and what a plan for it looks at.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;

use super::NODES;
use super::plan::{Observed, plan, ready_status, removed};
use crate::cache::Cached;
use crate::engine::{Change, Context, Controller, EngineConfig, Key, Plan, Reader};

const LEASES: &str = "leases.coordination.k8s.io";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// See the module's documentation.
pub(in crate::controllers) struct NodeLifecycle {
    grace: Duration,
    heard: Mutex<HashMap<String, Heard>>,
}

/// When a node was last heard of.
struct Heard {
    uid: String,
    /// The times that the node itself gave: of its lease, of its Ready condition.
    beat: (Option<Timestamp>, Option<Timestamp>),
    at: Timestamp,
}

impl NodeLifecycle {
    pub(in crate::controllers) fn new(config: &EngineConfig) -> Self {
        Self { grace: config.node_monitor_grace, heard: Mutex::default() }
    }

    /// Notes a sign of life; says when the last was, and whether the node is new to us.
    fn hear(&self, now: Timestamp, node: &Node, lease: Option<&Lease>) -> (Timestamp, bool) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let uid = node.metadata.uid.clone().unwrap_or_default();
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
        let posted = super::plan::ready(node).and_then(|ready| ready.last_heartbeat_time.as_ref());
        let beat = (renewed.map(|time| time.0), posted.map(|time| time.0));
        let mut heard = self.heard.lock();
        let known = heard.get_mut(&name).filter(|known| known.uid == uid);
        let Some(known) = known else {
            // A node that never reported has had since its creation to do so.
            let silent = beat == (None, None);
            let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
            let at = created.filter(|_| silent).unwrap_or(now);
            heard.insert(name, Heard { uid, beat, at });
            return (at, true);
        };
        if known.beat != beat {
            known.beat = beat;
            known.at = now;
        }
        (known.at, false)
    }
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[LEASES, NODES]
    }

    fn keys(&self, reader: &Reader, change: &Change) -> Vec<Key> {
        let object = &change.object;
        if &*change.resource == LEASES {
            let beats = object.namespace() == LEASE_NAMESPACE;
            return if beats { vec![Key::new(NODES, "", object.name())] } else { Vec::new() };
        }
        let mut keys = vec![Key::new(NODES, "", object.name())];
        if readiness(object) != change.previous.as_deref().and_then(readiness) {
            // Whether lost nodes are evicted depends on whether any node is left.
            let others = reader.objects(NODES, None);
            let lost = others.iter().filter(|other| readiness(other).as_deref() != Some("True"));
            keys.extend(lost.map(|other| Key::new(NODES, "", other.name())));
        }
        keys
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let reader = context.reader;
        let Some(node) = reader.at::<Node>(key) else {
            if reader.object_at(key).is_some() {
                return Plan::nothing("cannot be decoded");
            }
            let known = self.heard.lock().remove(&*key.name);
            return removed(&key.name, known.map(|known| known.uid));
        };
        let lease: Option<Arc<Lease>> = reader.get(LEASES, LEASE_NAMESPACE, &key.name);
        let (heard, new) = self.hear(context.now, &node, lease.as_deref());
        let status = ready_status(&node).map(str::to_owned);
        let lost = status.as_deref() == Some("Unknown");
        let observed = Observed {
            any_ready: status.as_deref() == Some("True") || any_ready(reader),
            pods: if lost { reader.pods_on_node(&key.name) } else { Vec::new() },
            node,
            heard,
            new,
            grace: self.grace,
        };
        plan(context.now, &observed)
    }
}

fn readiness(node: &Cached) -> Option<String> {
    let node: Arc<Node> = node.view()?;
    ready_status(&node).map(str::to_owned)
}

fn any_ready(reader: &Reader) -> bool {
    reader.objects(NODES, None).iter().any(|node| readiness(node).as_deref() == Some("True"))
}
