//! How many watches a write is told to.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/watch_tracker.go`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::query::Query;
use crate::api::request::Address;

#[derive(Default)]
pub struct Watchers(Mutex<HashMap<String, OfResource>>);

/// The watches of one resource, of whatever group: to guess is enough.
#[derive(Default)]
struct OfResource {
    everywhere: usize,
    /// By namespace, and by namespace and name.
    narrower: HashMap<(String, String), usize>,
}

/// A watch that is going on.
pub struct Watcher {
    all: Arc<Watchers>,
    resource: String,
    at: (String, String),
}

impl Watchers {
    /// `None` for a watch that few writes are told to: of the pods of one node.
    pub fn register(self: &Arc<Self>, address: &Address, query: &Query) -> Option<Watcher> {
        let selects_node = query.text("fieldSelector").is_some_and(|selector| {
            selector.split(',').any(|term| {
                let node = term.strip_prefix("spec.nodeName=").unwrap_or_default();
                !node.trim_start_matches('=').is_empty()
            })
        });
        if address.resource == "pods" && selects_node {
            return None;
        }
        let watcher = Watcher {
            all: self.clone(),
            resource: address.resource.clone(),
            at: (address.namespace.clone(), address.name.clone()),
        };
        let mut all = self.0.lock();
        *all.entry(address.resource.clone()).or_default().at(&watcher.at) += 1;
        drop(all);
        Some(watcher)
    }

    /// How many watches may see a write to this address.
    pub fn interested(&self, address: &Address) -> usize {
        let all = self.0.lock();
        let Some(known) = all.get(&address.resource) else { return 0 };
        if known.narrower.is_empty() {
            return known.everywhere;
        }
        let at = |namespace: &str, name: &str| {
            known.narrower.get(&(namespace.to_owned(), name.to_owned())).copied().unwrap_or(0)
        };
        let mut count = known.everywhere;
        if !address.namespace.is_empty() {
            count += at(&address.namespace, "");
        }
        if !address.name.is_empty() {
            count += at(&address.namespace, &address.name);
        }
        count
    }
}

impl OfResource {
    fn at(&mut self, at: &(String, String)) -> &mut usize {
        if at.0.is_empty() && at.1.is_empty() {
            return &mut self.everywhere;
        }
        self.narrower.entry(at.clone()).or_default()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        let Some(known) = all.get_mut(&self.resource) else { return };
        *known.at(&self.at) -= 1;
        known.narrower.retain(|_, count| *count > 0);
        if known.everywhere == 0 && known.narrower.is_empty() {
            all.remove(&self.resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_told_to_those_who_watch_it() {
        let watchers = Arc::new(Watchers::default());
        let address = |resource: &str, namespace: &str, name: &str| Address {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Address::default()
        };
        let watch = |at: Address, query: &str| watchers.register(&at, &Query::parse(query));
        let all = watch(address("pods", "", ""), "");
        let of_namespace = watch(address("pods", "a", ""), "");
        let of_one = watch(address("pods", "a", "b"), "");
        let node = watch(address("pods", "", ""), "fieldSelector=spec.nodeName%3Dn");
        assert!(node.is_none());
        for (at, expected) in [
            (address("pods", "a", "b"), 3),
            (address("pods", "a", ""), 2),
            (address("pods", "b", "b"), 1),
            (address("nodes", "", "b"), 0),
        ] {
            assert_eq!(watchers.interested(&at), expected, "{at:?}");
        }
        drop((all, of_namespace, of_one));
        assert_eq!(watchers.interested(&address("pods", "a", "b")), 0);
        assert!(watchers.0.lock().is_empty());
    }
}
