//! Rules that several kinds share, one file each.

pub mod internal_names;
