//! End-to-end tests: a user's view of a cluster, with real guests. One binary, since linking costs
//! more than running.

mod architecture;
mod clients;
mod composition;
mod every_kind;
mod examples;
mod healing;
mod kubectl;
mod kubectl_api;
mod languages;
mod limits;
mod metrics;
mod mistakes;
mod pods;
mod processes;
mod services;
mod snapshots;
mod support;
mod wasi3;
