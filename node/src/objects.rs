//! ConfigMaps and Secrets that pods refer to, fetched through the API and held for a moment.
//!
//! A thousand pods of one Deployment start from one GET; a change is seen after at most
//! [`FRESH_FOR`]. Nothing is held for longer than somebody may still ask for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How long a fetched object is handed out without asking again.
const FRESH_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    ConfigMap,
    Secret,
}

impl ObjectKind {
    /// The kind as upstream writes it in messages about keys.
    pub fn title(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

/// The address of an object that pods refer to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    pub kind: ObjectKind,
    pub namespace: String,
    pub name: String,
}

impl ObjectRef {
    pub fn not_found(&self) -> String {
        format!("{} \"{}\" not found", self.kind.word(), self.name)
    }
}

/// What an object holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// The resourceVersion it was read at.
    pub version: String,
    /// `data`: text of ConfigMaps, decoded bytes of Secrets.
    pub text: BTreeMap<String, Vec<u8>>,
    /// `binaryData` of ConfigMaps.
    pub binary: BTreeMap<String, Vec<u8>>,
}

impl Payload {
    pub fn keys(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.text.iter().chain(&self.binary)
    }

    pub fn get(&self, key: &str) -> Option<&Vec<u8>> {
        self.text.get(key).or_else(|| self.binary.get(key))
    }
}

type Fetched = Result<Option<Arc<Payload>>, String>;

struct Slot {
    asked: Instant,
    cell: Arc<OnceCell<Fetched>>,
}

/// The objects that were asked for lately.
pub struct Objects {
    client: Client,
    slots: Mutex<HashMap<ObjectRef, Slot>>,
}

impl Objects {
    pub fn new(client: Client) -> Self {
        Self { client, slots: Mutex::new(HashMap::new()) }
    }

    /// The object, or `None` where there is none. Callers at one time share one request.
    pub async fn get(&self, reference: &ObjectRef) -> Fetched {
        let cell = self.slot(reference);
        cell.get_or_init(|| self.fetch(reference)).await.clone()
    }

    fn slot(&self, reference: &ObjectRef) -> Arc<OnceCell<Fetched>> {
        let now = Instant::now();
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(reference)
            && now.duration_since(slot.asked) < FRESH_FOR
        {
            return slot.cell.clone();
        }
        slots.retain(|_, slot| now.duration_since(slot.asked) < FRESH_FOR);
        let cell = Arc::new(OnceCell::new());
        slots.insert(reference.clone(), Slot { asked: now, cell: cell.clone() });
        cell
    }

    async fn fetch(&self, reference: &ObjectRef) -> Fetched {
        let namespace = &reference.namespace;
        let fetched = match reference.kind {
            ObjectKind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                api.get_opt(&reference.name).await.map(|found| found.map(config_map))
            }
            ObjectKind::Secret => {
                let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                api.get_opt(&reference.name).await.map(|found| found.map(secret))
            }
        };
        match fetched {
            Ok(found) => Ok(found.map(Arc::new)),
            Err(error) => Err(format!(
                "failed to get {} \"{}\": {error}",
                reference.kind.word(),
                reference.name
            )),
        }
    }
}

fn config_map(object: ConfigMap) -> Payload {
    let text = object.data.unwrap_or_default();
    let binary = object.binary_data.unwrap_or_default();
    Payload {
        version: object.metadata.resource_version.unwrap_or_default(),
        text: text.into_iter().map(|(key, value)| (key, value.into_bytes())).collect(),
        binary: binary.into_iter().map(|(key, value)| (key, value.0)).collect(),
    }
}

fn secret(object: Secret) -> Payload {
    let data = object.data.unwrap_or_default();
    Payload {
        version: object.metadata.resource_version.unwrap_or_default(),
        text: data.into_iter().map(|(key, value)| (key, value.0)).collect(),
        binary: BTreeMap::new(),
    }
}
