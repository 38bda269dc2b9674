//! What controllers read: shared views of the caches, found by key or through an index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::head::Head;
use super::informer::{Informer, Place};
use super::plan::Key;
use super::resources::Resources;
use crate::cache::Cached;

/// The informers of all resources.
#[derive(Clone)]
pub struct Reader {
    informers: Arc<BTreeMap<Arc<str>, Arc<Informer>>>,
    resources: Arc<Resources>,
}

impl Reader {
    pub(super) fn new(informers: BTreeMap<Arc<str>, Arc<Informer>>, resources: Resources) -> Self {
        Self { informers: Arc::new(informers), resources: Arc::new(resources) }
    }

    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    pub(super) fn informer(&self, resource: &str) -> Option<&Arc<Informer>> {
        self.informers.get(resource)
    }

    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Cached>> {
        self.informer(resource)?.cache.get(namespace, name)
    }

    pub fn object_at(&self, key: &Key) -> Option<Arc<Cached>> {
        self.object(&key.resource, &key.namespace, &key.name)
    }

    /// The head of an object, and whether it changed lately or not.
    pub fn head_at(&self, key: &Key) -> Option<Arc<Head>> {
        let informer = self.informer(&key.resource)?;
        let object = informer.cache.get(&key.namespace, &key.name)?;
        Some(informer.head(&object))
    }

    /// `None` too where the object cannot be decoded: whether it is there at all, `object` says.
    pub fn get<T>(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.object(resource, namespace, name)?.view()
    }

    pub fn at<T: DeserializeOwned + Send + Sync + 'static>(&self, key: &Key) -> Option<Arc<T>> {
        self.get(&key.resource, &key.namespace, &key.name)
    }

    /// All objects of a resource, or those of one namespace, by key.
    pub fn objects(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Cached>> {
        self.informer(resource)
            .map(|informer| informer.cache.list(namespace).items)
            .unwrap_or_default()
    }

    pub fn list<T>(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.objects(resource, namespace).iter().filter_map(|object| object.view()).collect()
    }

    /// The keys of all objects, of any resource, that name this UID as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<Key> {
        let mut keys = Vec::new();
        for (resource, informer) in self.informers.iter() {
            keys.extend(informer.index().owned(uid).into_iter().map(|(namespace, name)| Key {
                resource: resource.clone(),
                namespace,
                name,
            }));
        }
        keys
    }

    /// The objects of a resource that name this UID as an owner.
    pub fn owned<T>(&self, resource: &str, uid: &str) -> Vec<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.pick(resource, |informer| informer.index().owned(uid))
    }

    /// The objects of a namespace that no controller owns.
    pub fn uncontrolled<T>(&self, resource: &str, namespace: &str) -> Vec<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.pick(resource, |informer| informer.index().uncontrolled(namespace))
    }

    pub fn pods_on_node<T>(&self, node: &str) -> Vec<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.pick("pods", |informer| informer.index().on_node(node))
    }

    /// The objects of a namespace that bear all these labels.
    pub fn selected<T>(
        &self,
        resource: &str,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.pick(resource, |informer| {
            let index = informer.index();
            let rarest = labels
                .iter()
                .min_by_key(|(key, value)| index.labelled_count(namespace, key, value));
            let Some((rarest, value)) = rarest else { return Vec::new() };
            let mut places = index.labelled(namespace, rarest, value);
            for (key, value) in labels.iter().filter(|(key, _)| *key != rarest) {
                places.retain(|place| index.bears(namespace, key, value, place));
            }
            places
        })
    }

    /// The names of the services of a namespace that select a pod with these labels.
    pub fn services_selecting(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> BTreeSet<Arc<str>> {
        let Some(informer) = self.informer("services") else { return BTreeSet::new() };
        let mut names = BTreeSet::new();
        for (key, value) in labels {
            let places = informer.index().labelled(namespace, key, value);
            for (_, name) in places {
                let selects = self.object("services", namespace, &name).is_some_and(|service| {
                    let head = Head::of(&service);
                    head.selector().iter().all(|(key, value)| labels.get(key) == Some(value))
                });
                if selects {
                    names.insert(name);
                }
            }
        }
        names
    }

    fn pick<T>(&self, resource: &str, places: impl FnOnce(&Informer) -> Vec<Place>) -> Vec<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let Some(informer) = self.informer(resource) else { return Vec::new() };
        places(informer)
            .into_iter()
            .filter_map(|(namespace, name)| informer.cache.get(&namespace, &name))
            .filter_map(|object| object.view())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::ambient::Ambient;
    use crate::cache::Caches;
    use crate::encode;
    use crate::kinds::registry;
    use crate::store::{History, Write, memory};

    #[tokio::test]
    async fn an_object_that_cannot_be_decoded_is_passed_over() {
        let (ambient, kinds) = (Ambient::real(), registry());
        let store = memory::open(History::default(), &ambient);
        for (name, spec) in [("bad", json!("no object")), ("good", json!({"containers": []}))] {
            let metadata =
                json!({"name": name, "namespace": "a", "uid": name, "labels": {"l": "v"}});
            let value = encode::stored(&json!({"metadata": metadata, "spec": spec}));
            let write = Write::Create { key: format!("pods/a/{name}"), value, ttl: None };
            store.commit(write).await.unwrap();
        }
        let caches = Caches::start(store, &ambient, &kinds).await.unwrap();
        let informer = Arc::new(Informer::new("pods".into(), caches.kind("pods").unwrap()));
        informer.prime();
        let informers = BTreeMap::from([(informer.resource.clone(), informer)]);
        let reader = Reader::new(informers, Resources::new(&kinds));
        let names = |pods: Vec<Arc<Pod>>| {
            pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(reader.list("pods", Some("a"))), ["good"]);
        let label = BTreeMap::from([("l".to_owned(), "v".to_owned())]);
        assert_eq!(names(reader.selected("pods", "a", &label)), ["good"]);
        assert!(reader.get::<Pod>("pods", "a", "bad").is_none());
        assert!(reader.object("pods", "a", "bad").is_some(), "it is there all the same");
        assert_eq!(reader.head_at(&Key::new("pods", "a", "bad")).unwrap().metadata.uid, "bad");
    }
}
