//! OpenAPI documents: version 3 by group version with an index, and version 2 in one piece.
//!
//! What a type is comes from the schema table, which kinds are served and how from the registry,
//! and the prose from `k8s-openapi`'s JSON schemas. Documents are made when first asked for and
//! then kept. Version 2 exists as JSON only: clients that ask for its protobuf form
//! (`application/com.github.proto-openapi.spec.v2@v1.0+protobuf`) are to be answered in JSON.
//!
//! Start at [`OpenApi`]; `operations` says what there is, `components` what the types look like,
//! `render` writes both in either version.

mod components;
mod document;
mod operations;
mod prose;
mod render;

pub use document::OpenApi;

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
