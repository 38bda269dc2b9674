//! What the tests of plug-ins share: surroundings over the memory store, and requests.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Operation, Plugin, Reservation, Review, Surroundings};
use crate::ambient::Ambient;
use crate::auth::UserInfo;
use crate::cache::{Caches, Key};
use crate::encode;
use crate::kinds::{AnyKind, Draft, Registry, registry};
use crate::status::ApiError;
use crate::store::{History, Store, Write, memory};

/// Surroundings in whose caches these objects (with their resources) are.
pub async fn surroundings(objects: &[(&str, Value)]) -> Surroundings {
    surroundings_and_store(objects).await.0
}

/// The same, with the store that feeds the caches.
pub async fn surroundings_and_store(objects: &[(&str, Value)]) -> (Surroundings, Arc<dyn Store>) {
    let ambient = Ambient::real();
    let store = memory::open(History::default(), &ambient);
    for (resource, object) in objects {
        create(&*store, resource, object).await;
    }
    let caches = Caches::start(store.clone(), &ambient, &registry()).await;
    let surroundings = Surroundings {
        caches: caches.expect("the store is in memory"),
        ambient,
        service_cidr: "10.96.0.0/16".to_owned(),
        node_ports: 30000..=32767,
    };
    (surroundings, store)
}

/// Writes a new object.
pub async fn create(store: &dyn Store, resource: &str, object: &Value) {
    let metadata = &object["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    let key = Key::new(resource, text("namespace"), text("name")).to_string();
    let value = encode::stored(object);
    store.commit(Write::Create { key, value, ttl: None }).await.expect("the object is new");
}

/// An object of the namespace `default`.
pub fn named(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}})
}

/// A namespace in a phase.
pub fn with_phase(name: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"phase": phase}})
}

/// A request as the handlers would review it.
pub struct Request {
    operation: Operation,
    kind: Arc<dyn AnyKind>,
    subresource: Option<&'static str>,
    namespace: String,
    name: String,
    object: Value,
    /// What an update begins with, where it differs from what it ends with.
    before: Option<Value>,
}

impl Request {
    pub fn create(resource: &str, namespace: &str, name: &str) -> Self {
        Self::new(Operation::Create, resource, namespace, name)
    }

    pub fn update(resource: &str, namespace: &str, name: &str) -> Self {
        Self::new(Operation::Update, resource, namespace, name)
    }

    pub fn delete(resource: &str, namespace: &str, name: &str) -> Self {
        Self::new(Operation::Delete, resource, namespace, name)
    }

    /// The create of a cluster's object in another group.
    pub fn of(group: &str, resource: &str, name: &str) -> Self {
        let kind = registry().at(group, "v1", resource).expect("a kind").clone();
        Self { kind, ..Self::new(Operation::Create, "namespaces", "", name) }
    }

    fn new(operation: Operation, resource: &str, namespace: &str, name: &str) -> Self {
        let registry: Registry = registry();
        let kind = registry.iter().find(|kind| kind.info().resource == resource);
        Self {
            operation,
            kind: kind.expect("a kind of this resource").clone(),
            subresource: None,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            object: json!({"metadata": {"name": name, "namespace": namespace}}),
            before: None,
        }
    }

    pub fn with(mut self, object: Value) -> Self {
        self.object = object;
        self
    }

    pub fn before(mut self, object: Value) -> Self {
        self.before = Some(object);
        self
    }

    pub fn at(mut self, subresource: &'static str) -> Self {
        self.subresource = Some(subresource);
        self
    }

    /// The object as the plug-in leaves it.
    pub async fn admit(
        self,
        plugin: &dyn Plugin,
        surroundings: &Surroundings,
    ) -> Result<Value, ApiError> {
        self.admit_holding(plugin, surroundings, &mut Vec::new()).await
    }

    /// The same, keeping what was reserved.
    pub async fn admit_holding(
        self,
        plugin: &dyn Plugin,
        surroundings: &Surroundings,
        reservations: &mut Vec<Reservation>,
    ) -> Result<Value, ApiError> {
        let before = self.before.unwrap_or_else(|| self.object.clone());
        let mut draft = Draft::from(self.object);
        let is_delete = self.operation == Operation::Delete;
        let mut review = Review {
            operation: self.operation,
            info: self.kind.info(),
            subresource: self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            object: (!is_delete).then_some(&mut draft),
            old: (self.operation != Operation::Create).then_some(&before),
            user: &UserInfo::default(),
            dry_run: false,
            reservations,
        };
        plugin.admit(surroundings, &mut review).await?;
        plugin.validate(surroundings, &mut review).await?;
        Ok(draft.into_value())
    }
}
