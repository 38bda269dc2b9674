//! Rules that several kinds share, one file each.

pub mod access_review;
pub mod admission_match;
pub mod cel;
pub mod conditions;
pub mod int_or_percent;
pub mod local_path;
pub mod node_selector;
pub mod topology;
pub mod volume_claims;
pub mod volume_sources;
pub mod internal_names;
pub mod json_schema;
pub mod pem;
pub mod policy;
pub mod rbac;
pub mod signer_name;
pub mod url;
pub mod webhook;
pub mod webhook_client;
