//! Rules that several kinds share, one file each.

pub mod conditions;
pub mod int_or_percent;
