//! The schema: the only authority on the types of built-in objects.
//!
//! Decoding, pruning, strictness, protobuf, patches and OpenAPI all walk a JSON value by the one
//! table here, which `control/schema/generate.py` makes from upstream's facts. `k8s-openapi` types
//! are read views and never decide what a field is. This module performs no I/O, and knows nothing
//! of which kinds are served: that is the registry in `kinds`.
//!
//! Read `types` first, then `table` (the parser) and any of the walks: `prune`, `settle`, `check`,
//! `internal`, `protobuf`, `openapi`.

pub mod check;
mod convert;
mod go_json;
mod internal;
pub mod key;
pub mod openapi;
mod path;
pub mod protobuf;
mod prune;
pub mod quantity;
#[cfg(test)]
pub(crate) mod sample;
mod settle;
mod table;
mod text;
mod time;
mod types;

pub use check::check_types;
pub use convert::convert_to;
pub use go_json::complaint as json_complaint;
pub use internal::{go_json, internal, internal_at};
pub use prune::{Pruned, prune};
pub use settle::settle;
pub use table::{Schema, schema};
pub use text::{decode_json, decode_yaml, in_order};
pub use types::{Alternative, Field, FieldKind, Gvk, ListKind, Part, PatchStrategy, Type, TypeId};
