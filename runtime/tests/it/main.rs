//! The runtime through its public API, with real guests (`tests/guests`, built by `support`).

mod command;
mod host;
mod hostile;
mod http;
mod library;
mod load;
mod mutation;
mod network;
mod p3;
mod snapshot;
mod support;
mod trace;
