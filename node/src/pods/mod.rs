//! Pods of this node: a pure state machine, the driver that feeds it and does what it says.
//!
//! `machine` decides, `driver` owns the state, `effects` acts; `status` words the outcome. The
//! rest are the parts of a pod: containers, environment, logs, waits, and what is not supported.

pub(crate) mod admission;
pub mod backoff;
pub(crate) mod composition;
pub(crate) mod config;
pub(crate) mod container;
pub(crate) mod driver;
pub(crate) mod effects;
pub(crate) mod env;
mod held;
pub(crate) mod hosts;
pub(crate) mod logs;
pub(crate) mod machine;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod termination;
pub(crate) mod tuning;
pub(crate) mod unsupported;
