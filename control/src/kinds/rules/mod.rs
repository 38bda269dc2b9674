//! Rules that several kinds share, one file each.

pub mod internal_names;
pub mod ip;
pub mod object_reference;
