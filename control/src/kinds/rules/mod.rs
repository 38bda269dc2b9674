//! Rules that several kinds share, one file each.

pub mod local_path;
pub mod node_selector;
pub mod topology;
pub mod volume_claims;
pub mod volume_sources;
pub mod internal_names;
pub mod ip;
pub mod object_reference;
pub mod conditions;
pub mod cron;
pub mod domain_path;
pub mod duration;
pub mod int_or_percent;
pub mod time_zone;
