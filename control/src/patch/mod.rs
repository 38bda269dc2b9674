//! Patches: JSON (RFC 6902), merge (RFC 7386) and strategic merge, from an object and a patch to
//! the patched object.
//!
//! Pure: nothing here knows of requests, stores or versions. What comes out has not been pruned,
//! defaulted or validated. Server-side apply is a patch too: `apply` is its algorithm, `managers` what
//! becomes of `metadata.managedFields` in every write.

pub mod apply;
mod error;
mod go_text;
mod json;
pub mod managers;
mod merge;
mod strategic;

pub use error::PatchError;
pub use go_text::value as go_text;
pub use json::json;
pub use merge::merge;
pub use strategic::strategic;
