//! How large an object may be in the store. Pure.

use bytes::Bytes;
use serde_json::Value;

use crate::kinds::KindInfo;
use crate::schema::{protobuf, schema};
use crate::status::ApiError;

/// As etcd's `--max-request-bytes`.
const MAX: usize = 3 * 512 * 1024;

/// Refuses what is too large for etcd in the form that upstream stores it in: protobuf, which is the
/// shorter one, where the kind has it. The error is etcd's own, which upstream passes on as it is.
pub fn check(info: &KindInfo, stored: &Bytes) -> Result<(), ApiError> {
    if stored.len() <= MAX || size(info, stored) <= MAX {
        return Ok(());
    }
    Err(ApiError::new(500, "", "etcdserver: request is too large"))
}

fn size(info: &KindInfo, stored: &Bytes) -> usize {
    let Some(ty) = schema().by_name(info.schema) else { return stored.len() };
    let value: Value = serde_json::from_slice(stored).unwrap_or_default();
    protobuf::encode(ty, &info.api_version(), info.kind, &value).len()
}
