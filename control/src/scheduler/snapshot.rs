//! The cluster as the scheduler sees it: nodes with what their pods take of them.
//!
//! Kept true change by change, never rebuilt; pods that were decided on count at once ("assumed"),
//! before the watch shows them bound.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Toleration};

use super::resources::Resources;

/// A pod, reduced once to what filters and scores ask.
#[derive(Clone, Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub requests: Resources,
    /// The uid of its controller: replicas of one controller are spread over nodes.
    pub owner: Option<String>,
    pub priority: i32,
}

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> Self {
        let spec = pod.spec.as_ref();
        let owner = pod
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| owner.uid.clone());
        Self {
            requests: spec.map(Resources::of_pod).unwrap_or_default(),
            priority: spec.and_then(|spec| spec.priority).unwrap_or(0),
            owner,
            pod,
        }
    }

    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn tolerations(&self) -> &[Toleration] {
        self.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
    }
}

/// A node with the sum of what its pods request.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    pub allocatable: Resources,
    pub allowed_pods: i64,
    pub requested: Resources,
    pub pods: i64,
    /// Pods by the uid of their controller.
    pub by_owner: HashMap<String, i64>,
}

impl NodeInfo {
    fn new(node: Arc<Node>) -> Self {
        let mut info = Self {
            node: node.clone(),
            allocatable: Resources::default(),
            allowed_pods: 0,
            requested: Resources::default(),
            pods: 0,
            by_owner: HashMap::new(),
        };
        info.set_node(node);
        info
    }

    fn set_node(&mut self, node: Arc<Node>) {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        self.allocatable = Resources::of_list(allocatable);
        self.allowed_pods = allocatable
            .and_then(|list| list.get("pods"))
            .and_then(|pods| crate::kinds::quantity::Quantity::parse(&pods.0).ok())
            .map_or(0, crate::kinds::quantity::Quantity::value);
        self.node = node;
    }

    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.node.metadata.labels.as_ref()
    }

    fn add(&mut self, pod: &Placed) {
        self.requested.add(&pod.requests);
        self.pods += 1;
        if let Some(owner) = pod.owner.as_deref() {
            *self.by_owner.entry(owner.to_owned()).or_default() += 1;
        }
    }

    fn remove(&mut self, pod: &Placed) {
        self.requested.subtract(&pod.requests);
        self.pods -= 1;
        let Some(owner) = pod.owner.as_deref() else { return };
        if let Some(count) = self.by_owner.get_mut(owner) {
            *count -= 1;
            if *count <= 0 {
                self.by_owner.remove(owner);
            }
        }
    }
}

/// What a pod takes of its node. All that is kept of a pod that has one.
struct Placed {
    node: Box<str>,
    requests: Resources,
    owner: Option<Box<str>>,
}

/// See the module's documentation.
#[derive(Default)]
pub struct Snapshot {
    /// In the order they came, for fair sampling; `places` finds them.
    nodes: Vec<NodeInfo>,
    places: HashMap<String, usize>,
    /// Where each pod counts, by uid.
    placed: HashMap<Box<str>, Placed>,
}

impl Snapshot {
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    pub fn apply_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(place) = self.places.get(&name) {
            self.nodes[*place].set_node(node);
            return;
        }
        let mut info = NodeInfo::new(node);
        for pod in self.placed.values().filter(|pod| *pod.node == *name) {
            info.add(pod);
        }
        self.places.insert(name, self.nodes.len());
        self.nodes.push(info);
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(place) = self.places.remove(name) else { return };
        self.nodes.swap_remove(place);
        if let Some(moved) = self.nodes.get(place) {
            self.places.insert(moved.name().to_owned(), place);
        }
    }

    /// Counts a pod on a node: assumed, or seen there. Counting it again moves it.
    pub fn place(&mut self, pod: &PodInfo, node: &str) {
        if self.is_on(pod.uid(), node) {
            return;
        }
        self.forget(pod.uid());
        let placed = Placed {
            node: node.into(),
            requests: pod.requests.clone(),
            owner: pod.owner.as_deref().map(Box::from),
        };
        if let Some(place) = self.places.get(node) {
            self.nodes[*place].add(&placed);
        }
        self.placed.insert(pod.uid().into(), placed);
    }

    /// Whether the pod counts on this node already.
    pub fn is_on(&self, uid: &str, node: &str) -> bool {
        self.placed.get(uid).is_some_and(|pod| *pod.node == *node)
    }

    /// The pod has ended, is gone, or could not be bound.
    pub fn forget(&mut self, uid: &str) {
        let Some(pod) = self.placed.remove(uid) else { return };
        if let Some(place) = self.places.get(&*pod.node) {
            self.nodes[*place].remove(&pod);
        }
    }
}
