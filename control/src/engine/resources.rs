//! The resources that controllers know: their paths, and which kind stands for which resource.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plan::Key;
use crate::kinds::{Registry, Storage};

/// A stored resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// `pods`, `deployments.apps`.
    pub name: Arc<str>,
    pub group: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    /// `/api/v1`, `/apis/apps/v1`.
    root: String,
}

impl Resource {
    /// The path of its collection, and below it of an object and a subresource.
    pub fn path(&self, namespace: &str, name: Option<&str>, subresource: Option<&str>) -> String {
        let mut path = self.root.clone();
        if self.namespaced {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(self.plural);
        for part in [name, subresource].into_iter().flatten() {
            path.push('/');
            path.push_str(part);
        }
        path
    }
}

/// All stored resources, by name.
#[derive(Clone, Debug)]
pub struct Resources {
    by_name: BTreeMap<Arc<str>, Resource>,
}

impl Resources {
    pub fn new(kinds: &Registry) -> Self {
        let mut by_name = BTreeMap::new();
        for kind in kinds.iter() {
            let info = kind.info();
            if info.storage != Storage::Own {
                continue;
            }
            let name: Arc<str> = info.group_resource().into();
            let root = match info.group {
                "" => format!("/api/{}", info.version),
                group => format!("/apis/{group}/{}", info.version),
            };
            by_name.entry(name.clone()).or_insert(Resource {
                name,
                group: info.group,
                kind: info.kind,
                plural: info.resource,
                namespaced: info.is_namespaced(),
                root,
            });
        }
        Self { by_name }
    }

    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.by_name.get(name)
    }

    /// In alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.by_name.values()
    }

    /// The resource of the objects that say `apiVersion` and `kind` of themselves, in any version.
    pub fn of(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.iter().find(|resource| resource.group == group && resource.kind == kind)
    }

    pub fn path(&self, key: &Key, subresource: Option<&str>) -> Option<String> {
        let resource = self.get(&key.resource)?;
        Some(resource.path(&key.namespace, Some(&key.name), subresource))
    }
}
