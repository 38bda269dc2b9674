//! WebAssembly sandboxes: a group of containers that share an address, loopback and limits, each container a component.
//!
//! The walk: [`Runtime::load`] makes an [`Artifact`] of bytes (`artifact.rs`); [`Runtime::sandbox`] attaches an address to a
//! [`Switch`] (`sandbox.rs`, `net/`); [`Sandbox::start`] runs a [`Container`] (`container.rs`): a command that runs to
//! its exit, an HTTP component that is instantiated anew for each request (`http.rs`), or a library that others call
//! (`library.rs`; from another container `compose.rs`, `neighbours.rs`). `host/` is what guests may import beyond WASI.
//!
//! This crate knows nothing of who asks: no orchestration words, no policy, no names of services.
//! A sandbox's default is "no": no files but its mounts, no address but what [`Outside`] answers.

mod activity;
mod aot;
mod artifact;
mod awake;
mod bounds;
mod bulk;
mod clocks;
mod compile;
mod compose;
mod container;
mod context;
mod engine;
mod exit_code;
mod fair;
mod files;
pub mod folder;
mod gate;
mod host;
mod http;
mod imports;
mod kept;
mod latency;
mod library;
mod limits;
mod neighbours;
mod net;
mod output;
mod reuse;
mod sandbox;
mod size;
mod snapshot;
mod tls;
mod trace;

pub use artifact::{Artifact, LoadError, World, judge};
pub use bounds::{CountLimits, CpuLimits, Limits, MemoryLimits, OutputLimits, TimeLimits};
pub use clocks::{Determinism, RESOLUTION_DEFAULT};
pub use compose::{Unmet, UnmetImport, cycle};
pub use container::{
    Container, ContainerSpec, ContainerStats, Exit, ExitCause, Mount, StartError, Stdin,
};
pub use engine::{PoolConfig, Runtime, RuntimeConfig, RuntimeError};
pub use host::offered_interfaces;
pub use http::{Body, HEAD_WITHIN, HttpError, HttpHandler, Reserved};
pub use latency::{LATENCY_BOUNDS, LatencyCounts};
pub use library::CallError;
pub use net::{Outside, Protocol, Route, Stream, Switch};
pub use output::{Output, OutputStream};
pub use reuse::Reuse;
pub use sandbox::{Sandbox, SandboxError, SandboxSpec};
pub use size::{FILE_BYTES_MAX, TooLarge};
pub use snapshot::SnapshotError;
/// A value of a component's function, for [`Container::call`].
pub use wasmtime::component::Val;

/// The version of the engine that runs the guests.
pub const WASMTIME_VERSION: &str = "48.0.8";

#[cfg(test)]
mod tests {
    #[test]
    fn the_engines_version_is_the_locked_one() {
        let lock = include_str!("../../Cargo.lock");
        let wasmtime = format!("name = \"wasmtime\"\nversion = \"{}\"\n", super::WASMTIME_VERSION);
        assert!(lock.contains(&wasmtime), "Cargo.lock has another wasmtime");
    }
}
