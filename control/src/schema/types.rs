//! What the table says of a type and of its fields.

use serde_json::Value;

use super::schema;

/// A type of the table: an object kind, or a part of one.
#[derive(Debug)]
pub struct Type {
    /// As in upstream's OpenAPI: `io.k8s.api.core.v1.Pod`.
    pub name: Box<str>,
    /// As Go prints it in decode errors: `v1.Pod`.
    pub go: Box<str>,
    /// The kinds that are of this type; only `meta.v1` options and `WatchEvent` have several.
    pub gvks: Vec<Gvk>,
    /// The names of the required fields as Go's struct has them in order, where that is not by name.
    pub required: Vec<&'static str>,
    /// Fields of which one is set, where upstream says so.
    pub union: Option<Union>,
    /// Whether a whole value is one leaf to server-side apply (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// The fields of the internal type as errors print it (`internal` reads them); `None` where the
    /// type is its own.
    pub(super) internal: Option<&'static str>,
    /// All JSON fields by name, those of inlined types included.
    pub fields: Vec<Field>,
    /// The wire form by tag: which differs from `fields` where a type is inlined in JSON but is a
    /// message of its own in protobuf (`Volume` and its `VolumeSource`).
    pub parts: Vec<Part>,
    /// The places in `fields` of what Go's JSON never leaves out.
    pub(super) always: Vec<usize>,
}

impl Type {
    pub fn field(&self, json: &str) -> Option<&Field> {
        self.place(json).map(|at| &self.fields[at])
    }

    /// Where a field stands in `fields`.
    pub(super) fn place(&self, json: &str) -> Option<usize> {
        self.fields.binary_search_by(|field| field.json.cmp(json)).ok()
    }

    /// `Pod`: the last part of the name.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Whether its `RawExtension` holds whole objects, which travel in protobuf when it does.
    pub(super) fn holds_objects(&self) -> bool {
        matches!(
            &*self.name,
            "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent" | "io.k8s.api.core.v1.List"
        )
    }
}

/// `x-kubernetes-unions`: of these fields one is set, which a further one may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Union {
    pub discriminator: Option<&'static str>,
    /// The fields, each with what the discriminator says for it.
    pub members: Vec<(&'static str, &'static str)>,
}

/// Group, version and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
}

/// One entry of a type's protobuf message.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The field at this place in `Type::fields`.
    Field { tag: u32, at: usize },
    /// A message whose fields stand in the outer JSON object.
    Inline { tag: u32, ty: TypeId },
}

impl Part {
    pub fn tag(&self) -> u32 {
        match self {
            Self::Field { tag, .. } | Self::Inline { tag, .. } => *tag,
        }
    }
}

/// A type by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(pub(super) usize);

impl TypeId {
    pub fn get(self) -> &'static Type {
        schema().at(self)
    }
}

#[derive(Clone, Debug)]
pub struct Field {
    pub json: &'static str,
    /// The protobuf tag; 0 for what never travels there (`apiVersion`, `kind`).
    pub tag: u32,
    pub kind: FieldKind,
    /// What a list is to server-side apply, where upstream says so.
    pub list: Option<ListKind>,
    /// Whether a map or an object is one leaf to server-side apply.
    pub atomic: bool,
    /// Whether it is not, though its type is (`x-kubernetes-map-type: granular`).
    pub granular: bool,
    pub patch: PatchStrategy,
    pub required: bool,
    pub default: Option<Value>,
    /// A pointer in Go: unset and zero differ.
    pub pointer: bool,
    /// Left out of JSON when empty (`omitempty`): never a struct, which Go does not call empty.
    pub omit_empty: bool,
    /// Left out of JSON when zero, structs and times too (`omitzero`).
    pub omit_zero: bool,
    /// A list that is a message of its own on the wire (`Verbs`).
    pub wrapped: bool,
    /// Go's spelling of the type where it is not the kind's own (`v1.PullPolicy`).
    pub go: Option<&'static str>,
    /// The Go path of the inlined types that the field comes from (`VolumeSource`).
    pub inline: Option<Box<str>>,
}

impl Field {
    /// Whether Go's JSON has the field whatever its value.
    pub(super) fn is_always_there(&self) -> bool {
        let is_struct = match &self.kind {
            FieldKind::Object(_)
            | FieldKind::Time
            | FieldKind::MicroTime
            | FieldKind::Quantity
            | FieldKind::IntOrString
            | FieldKind::RawExtension
            | FieldKind::Fields
            | FieldKind::Json
            | FieldKind::SchemaOr(_) => true,
            FieldKind::String
            | FieldKind::Bool
            | FieldKind::Int32
            | FieldKind::Int64
            | FieldKind::Double
            | FieldKind::Bytes
            | FieldKind::List(_)
            | FieldKind::Map(_) => false,
        };
        !self.omit_empty || is_struct && !self.pointer && !self.omit_zero
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum FieldKind {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    /// Base64 in JSON.
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// Any JSON object, most often one with a kind.
    RawExtension,
    /// `FieldsV1`: any JSON object.
    Fields,
    /// Any JSON value (`apiextensions.v1.JSON`).
    Json,
    /// A `JSONSchemaProps` or something else.
    SchemaOr(Alternative),
    Object(TypeId),
    List(Box<FieldKind>),
    Map(Box<FieldKind>),
}

/// What may stand in place of a `JSONSchemaProps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternative {
    Bool,
    Schemas,
    Strings,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    Map { keys: Vec<&'static str> },
}

/// `x-kubernetes-patch-strategy` and `-merge-key`: how a strategic merge patch treats a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// The text in OpenAPI, such as `merge,retainKeys`.
    pub text: Option<&'static str>,
    pub merge_key: Option<&'static str>,
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
}

/// The type of a custom resource's schema, which refers to itself.
pub(super) const JSON_SCHEMA_PROPS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
