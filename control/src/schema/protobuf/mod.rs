//! Kubernetes' protobuf form ⇄ JSON values, by the schema table: no generated code.
//!
//! An object travels as the magic `k8s\0` and a `runtime.Unknown` message, which names the
//! apiVersion and kind and holds the object's own message. Input comes from anyone: every length is
//! checked, nesting is bounded, nothing panics.
//!
//! What JSON can say and protobuf cannot is lost as upstream loses it: an empty list is no list,
//! and an object inside an object (`volumeClaimTemplates`) has no apiVersion and kind.

mod decode;
mod encode;
mod list;
mod transcode;
pub(in crate::schema) mod wire;

pub use decode::{decode, decode_as};
pub use encode::{encode, encode_message};
pub use list::{LIST_TAIL, list_head, list_item, put_list_item};
pub use transcode::{encode_text, put_text};

/// What stands before every object.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Why bytes are no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    NoMagic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal tag or wire type in {ty}")]
    BadTag { ty: String },
    #[error("proto: wrong wire type = {wire_type} for field {field} of {ty}")]
    WrongWireType { ty: String, field: &'static str, wire_type: u8 },
    #[error("proto: field {field} of {ty} is not valid")]
    BadValue { ty: String, field: &'static str },
    #[error("proto: message nested too deeply")]
    TooDeep,
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind { api_version: String, kind: String },
    #[error("unsupported content type {content_type:?} of a nested object")]
    UnsupportedContent { content_type: String },
    #[error("a nested object is not valid JSON: {0}")]
    BadJson(String),
}

/// How deep messages may nest: upstream's own types stay far below it, but for custom resources'
/// schemas, which refer to themselves.
const DEPTH_MAX: usize = 100;

#[cfg(test)]
mod tests;
