//! Rules that several kinds share, one file each.

pub mod access_review;
pub mod admission_match;
pub mod cel;
pub mod conditions;
pub mod cron;
pub mod domain_path;
pub mod duration;
pub mod go_regexp;
pub mod int_or_percent;
pub mod ip;
pub mod json_schema;
pub mod local_path;
pub mod node_selector;
pub mod object_reference;
pub mod pem;
pub mod policy;
pub mod rbac;
pub mod signer_name;
pub mod text_format;
pub mod time_zone;
pub mod topology;
pub mod url;
pub mod volume_claims;
pub mod volume_sources;
pub mod webhook;
pub mod webhook_client;
