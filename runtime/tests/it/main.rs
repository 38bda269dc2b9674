//! The runtime through its public API, with real guests (`tests/guests`, built by `support`).

mod command;
mod host;
mod http;
mod library;
mod load;
mod network;
mod support;
