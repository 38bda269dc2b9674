//! API priority and fairness, done: every request is matched to a FlowSchema, and waits for a seat
//! of its priority level where that has none free.
//!
//! What is decided stands in `crate::fair`; here are the locks, the waiting and the objects.
//! `turn` is what `service` calls; `level` holds seats; `config` makes levels and schemas of the
//! API's objects, `follow` does so whenever those change and divides the seats anew; `keeper`
//! maintains the objects that every cluster has; `dump` and `metrics` tell.
//!
//! *Invariants:* no lock is held while anything is awaited. What comes from this process's own
//! controllers, scheduler and nodes is classified, and never waits: a server that made its own
//! parts wait for its clients would not get on.

mod config;
mod dump;
mod follow;
mod keeper;
mod level;
mod metrics;
mod sizes;
#[cfg(test)]
mod tests;
mod turn;
mod watchers;

pub use dump::answer as dump;
pub use follow::follow;
pub use keeper::keep;
pub use metrics::register;
pub use turn::{InProcess, Turn};

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::ambient::Ambient;

use config::{LevelState, Schema};
use metrics::Counts;
use sizes::Sizes;
use watchers::Watchers;

/// The state of fairness. One for each API server.
pub struct Fairness {
    ambient: Ambient,
    /// By precedence and name: the order in which they are tried.
    schemas: RwLock<Arc<[Arc<Schema>]>>,
    levels: Mutex<BTreeMap<String, LevelState>>,
    watchers: Arc<Watchers>,
    sizes: Sizes,
    counts: Counts,
}

impl Fairness {
    /// With the mandatory objects, until those of the API are known.
    pub fn new(ambient: Ambient) -> Arc<Self> {
        let fairness = Self {
            ambient,
            schemas: RwLock::new([].into()),
            levels: Mutex::default(),
            watchers: Arc::default(),
            sizes: Sizes::default(),
            counts: Counts::default(),
        };
        fairness.configure(&[], &[]);
        Arc::new(fairness)
    }
}
