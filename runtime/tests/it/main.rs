//! The runtime through its public API, with real guests (`tests/guests`, built by `support`).

mod command;
mod hostile;
mod http;
mod load;
mod mutation;
mod network;
mod p3;
mod support;
