//! OpenAPI documents: version 3 by group version with an index, and version 2 in one piece.
//!
//! What a type is comes from the schema table, which kinds are served and how from the registry,
//! and the prose from `k8s-openapi`'s JSON schemas. Documents are made when first asked for and
//! kept while somebody asks now and then. Version 3 exists as JSON only, version 2 as gnostic's
//! protobuf message too.
//!
//! Start at [`OpenApi`]; `document` says which operations each document holds, `operations` (of the
//! kinds) and `roots` (of no kind) what they are, `components` what the types look like, `render`
//! writes both in either version, `shared` takes out of version 2 what recurs, `protobuf` turns a
//! finished version 2 into its message.

mod components;
mod document;
mod documents;
mod operation;
mod operations;
mod parameters;
mod prose;
mod protobuf;
mod render;
mod roots;
mod shared;

pub use documents::OpenApi;
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
