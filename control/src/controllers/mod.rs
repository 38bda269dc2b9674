//! The controllers: one file (or folder) each.
//!
//! Each says which changes concern it, gathers what it needs from shared views, and decides in a
//! pure function `plan(now, observed)`. No controller performs I/O, spawns a task or asks for the
//! time; `engine` does what the plans say. To add one, copy the smallest neighbour and add a line to
//! `list`.

mod deployment;
mod disruption;
mod endpoint_slice;
mod endpoint_slice_mirroring;
mod endpoints;
mod garbage_collector;
mod list;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod owners;
mod pod_gc;
mod pods;
mod protection;
mod pv_protection;
mod pvc_protection;
mod replica_set;
mod root_ca;
mod selectors;
mod service_account;
mod service_addresses;
mod service_cidr;
mod service_endpoints;
mod taint_eviction;
mod vac_protection;

pub use list::all;
