//! Rules that several kinds share, a file each.

pub mod internal_names;
