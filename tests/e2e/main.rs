//! End-to-end tests: a user's view of a cluster, with real guests. One binary, since linking costs
//! more than running.

mod apply;
mod architecture;
mod clients;
mod composition;
mod every_kind;
mod examples;
mod fairness;
mod healing;
mod kubectl;
mod kubectl_api;
mod languages;
mod limits;
mod lists;
mod metrics;
mod mistakes;
mod networking;
mod pods;
mod processes;
mod services;
mod snapshots;
mod streams;
mod support;
mod wasi3;
