//! Rules that several kinds share, one file each.
