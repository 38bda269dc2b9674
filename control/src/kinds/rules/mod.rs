//! Rules that several kinds share, one file each.

pub mod internal_names;
pub mod local_path;
pub mod node_selector;
pub mod topology;
pub mod volume_claims;
pub mod volume_sources;
