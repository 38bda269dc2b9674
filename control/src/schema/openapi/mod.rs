//! OpenAPI documents: version 3 by group version with an index, and version 2 in one piece.
//!
//! What a type is comes from the schema table, which kinds are served and how from the registry,
//! and the prose from `k8s-openapi`'s JSON schemas. Documents are made when first asked for and
//! then kept. Version 3 exists as JSON only, version 2 as gnostic's protobuf message too.
//!
//! Start at [`OpenApi`]; `operations` says what there is, `components` what the types look like,
//! `render` writes both in either version, `protobuf` turns a finished version 2 into its message.

mod components;
mod document;
mod operations;
mod prose;
mod protobuf;
mod render;

pub use document::OpenApi;
pub use protobuf::NoPlace;

/// The version of OpenAPI that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

#[cfg(test)]
mod tests;
