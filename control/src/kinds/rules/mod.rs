//! Rules that several kinds share, one file each.

pub mod access_review;
pub mod pem;
pub mod rbac;
pub mod signer_name;
pub mod internal_names;
pub mod conditions;
pub mod int_or_percent;
