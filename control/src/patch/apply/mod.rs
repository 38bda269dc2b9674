//! Server-side apply: which fields an object has, who set them, and how an applied configuration
//! is merged into an object without taking what is others'.
//!
//! `set` holds paths and `fields` their text form, `shape` says what the schema makes of a value,
//! `check`, `collect`, `compare`, `merge` and `remove` are one walk each over a value and its type,
//! and `update` is the algorithm over them. Who manages what, times and limits stand in
//! [`super::managers`]. Pure; values are borrowed throughout.
//!
//! Source: `sigs.k8s.io/structured-merge-diff/v6`.

mod check;
mod collect;
mod compare;
mod element;
mod fields;
mod merge;
mod remove;
mod set;
mod shape;
#[cfg(test)]
mod tests;
mod update;

pub use check::{Misfit, Misfits, check};
pub use collect::collect;
pub use compare::{Comparison, compare, equal};
pub use element::{Element, Path, Scalar};
pub use fields::{parse, write};
pub use merge::merge;
pub use remove::remove;
pub use set::{Keep, Node, Set};
pub use shape::Shape;
pub use update::{
    Actor, Conflict, OneVersion, Owned, Owners, Refused, Setting, Versions, apply, update,
};
