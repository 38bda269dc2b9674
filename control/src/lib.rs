//! The Kubernetes control plane: API server, store, scheduler, controllers.
//!
//! *Architecture invariant:* this crate never names Wasm, and meets nodes only at the API.

pub mod admission;
pub mod ambient;
pub mod api;
pub mod auth;
pub mod cache;
mod cel;
pub mod config;
pub mod controllers;
pub mod encode;
pub mod engine;
mod fair;
pub mod kinds;
pub mod patch;
pub mod scheduler;
pub mod schema;
mod server;
pub mod status;
pub mod store;

pub use ambient::Ambient;
pub use api::{Io, NodeDialer};
pub use auth::Identity;
pub use config::{ControlConfig, StoreConfig};
pub use server::{ControlPlane, StartError};
