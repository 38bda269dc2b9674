//! Rules that several kinds share, one file each.

pub mod ip;
pub mod object_reference;
pub mod internal_names;
