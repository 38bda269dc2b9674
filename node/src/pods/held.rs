//! A pod's object as a node holds it: typed while somebody works with it, as text while it rests.
//!
//! Typed, an object is several times as large as its text, and most pods of a node rest most of the
//! time. Whoever looks at one that rests has it typed again, until it is laid to rest anew. It
//! performs no I/O.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::Pod;

/// See the module's documentation.
#[derive(Clone)]
pub struct HeldPod {
    open: OnceLock<Arc<Pod>>,
    /// Set where `open` is not.
    text: Box<[u8]>,
}

impl HeldPod {
    /// The object, for one look at it: what rests stays at rest.
    pub fn shared(&self) -> Arc<Pod> {
        self.open.get().cloned().unwrap_or_else(|| self.read())
    }

    /// Nobody works with it for now.
    pub fn rest(&mut self) {
        let Some(pod) = self.open.get() else { return };
        // What cannot be written stays as it is.
        if let Ok(text) = serde_json::to_vec(&**pod) {
            self.text = text.into_boxed_slice();
            self.open = OnceLock::new();
        }
    }

    fn read(&self) -> Arc<Pod> {
        let pod = serde_json::from_slice(&self.text);
        Arc::new(pod.expect("an object reads what it has written of itself"))
    }
}

impl From<Arc<Pod>> for HeldPod {
    fn from(pod: Arc<Pod>) -> Self {
        Self { open: pod.into(), text: Box::default() }
    }
}

impl Deref for HeldPod {
    type Target = Pod;

    fn deref(&self) -> &Pod {
        self.open.get_or_init(|| self.read())
    }
}

impl fmt::Debug for HeldPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_rested_is_the_same() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "a", "uid": "u", "labels": {"a": "b"},
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "spec": {"containers": [{
                "name": "c", "image": "web:1",
                "resources": {"limits": {"memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"port": "http"}},
            }]},
            "status": {"phase": "Running", "startTime": "2026-01-02T03:04:06Z"},
        }))
        .expect("a pod");
        let mut held = HeldPod::from(Arc::new(pod.clone()));
        held.rest();
        held.rest();
        assert_eq!(*held.shared(), pod);
        assert!(held.open.get().is_none(), "a look does not wake it");
        assert_eq!(*held, pod);
        assert!(held.open.get().is_some(), "who works with it has it typed");
    }
}
