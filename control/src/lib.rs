//! The Kubernetes control plane: API server, store, scheduler, controllers.
//!
//! *Architecture invariant:* this crate never names Wasm, and meets nodes only at the API.

pub mod admission;
pub mod ambient;
pub mod auth;
pub mod cache;
pub mod controllers;
pub mod encode;
pub mod engine;
pub mod kinds;
pub mod patch;
pub mod schema;
pub mod status;
pub mod store;
