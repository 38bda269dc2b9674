//! Rules that several kinds share, one file each.

pub mod conditions;
pub mod cron;
pub mod domain_path;
pub mod duration;
pub mod int_or_percent;
pub mod internal_names;
pub mod time_zone;
