//! The runtime through its public API, with real guests (`tests/guests`, built by `support`).

mod command;
mod http;
mod load;
mod network;
mod snapshot;
mod support;
mod trace;
