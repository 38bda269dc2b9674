//! The API server: one generic handler for each verb, over [`AnyKind`](crate::kinds::AnyKind).
//!
//! The walk of a request: `service` finds out who asks and what (`request`) → the verb's file
//! (`create`, `get`, `list`, `watch`, `update`, `patch`, `delete`) or a subresource's → reads come
//! out of the caches, writes go through `write` (default, prepare, admission, validate, commit) →
//! `answer` gives the result the form that `negotiate` found, lists piece by piece (`pieces`), watches
//! in `frames`; `compress` packs what is large, `readers` cuts those who do not read. `selectors`, `request`, `query`,
//! `negotiate` and `metadata` are pure.
//!
//! This module never names a kind but where upstream has a rule for that kind alone: such rules
//! stand in `subresources` and `special`.

mod answer;
mod apply;
mod body;
mod call;
mod client;
mod compress;
mod continued;
mod create;
mod decode;
mod delete;
mod discovery;
pub(crate) mod fair;
mod frames;
mod get;
mod health;
pub mod kubelet;
mod list;
mod metadata;
mod metrics;
mod negotiate;
mod object;
mod openapi;
pub(crate) mod ownership;
mod patch;
mod pieces;
mod precondition;
mod query;
mod readers;
mod request;
mod selectors;
mod service;
mod size;
mod special;
mod state;
mod subresources;
mod table;
#[cfg(test)]
mod tests;
mod tokens;
mod update;
mod upgrade;
mod warnings;
mod watch;
mod write;
mod yaml;

pub use client::client;
pub use health::Readiness;
pub use kubelet::{Io, NodeDialer};
pub use readers::Hangup;
pub use selectors::selects;
pub use service::router;
pub use state::{Api, Parts};
