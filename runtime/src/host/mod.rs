//! What guests may import beyond WASI's core: one file for each package, one line in [`LIST`] for each interface.
//!
//! An instance carries one [`Host`]; what its container's instances share stands in [`Setup`], made once.

mod config;
mod keyvalue;
mod logging;

use std::sync::{Arc, Weak};

use wasmtime::component::Linker;
use wasmtime_wasi_config::WasiConfigVariables;

use crate::context::{Ctx, OFFERED, OFFERED_3, OFFERED_3_VERSION, OFFERED_VERSION};
use crate::neighbours::{Neighbour, Neighbourhood};
use crate::output::Faucet;

pub(crate) use keyvalue::{Buckets, InMemory};

/// An interface that guests may import.
pub(crate) struct Interface {
    pub(crate) name: &'static str,
    /// `0.2` stands for each of its patch versions, a longer one for itself alone.
    pub(crate) version: &'static str,
    add: fn(&mut Linker<Ctx>) -> wasmtime::Result<()>,
}

const LIST: &[Interface] =
    &[config::STORE, keyvalue::ATOMICS, keyvalue::BATCH, keyvalue::STORE, logging::LOGGING];

pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    LIST.iter().try_for_each(|interface| (interface.add)(linker))
}

/// Name and version of every interface that a guest may import, WASI's core included.
pub(crate) fn offered() -> impl Iterator<Item = (&'static str, &'static str)> {
    let second = OFFERED.iter().map(|name| (*name, OFFERED_VERSION));
    let third = OFFERED_3.iter().map(|name| (*name, OFFERED_3_VERSION));
    second.chain(third).chain(LIST.iter().map(|interface| (interface.name, interface.version)))
}

/// Every interface that guests may import, as `name@version`; a version of two numbers stands for its patch versions.
pub fn offered_interfaces() -> Vec<String> {
    offered().map(|(name, version)| format!("{name}@{version}")).collect()
}

/// What the instances of a container share.
pub(crate) struct Setup {
    pub(crate) config: WasiConfigVariables,
    pub(crate) buckets: Arc<dyn Buckets>,
    pub(crate) output: Arc<Faucet>,
    /// The containers of its sandbox. Weak, since these are among them.
    pub(crate) neighbourhood: Weak<Neighbourhood>,
}

/// An instance's part of a store.
pub(crate) struct Host {
    pub(crate) setup: Arc<Setup>,
    /// Instances of other containers that this one has called, by their place among its artifact's links.
    pub(crate) neighbours: Vec<Option<Box<Neighbour>>>,
}

impl Host {
    pub(crate) fn new(setup: Arc<Setup>) -> Host {
        Host { setup, neighbours: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_in_order_and_without_doubles() {
        let names: Vec<_> = super::LIST.iter().map(|interface| interface.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
}
