//! What the types look like: from the schema table.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Dialect;
use super::operation::Operation;
use super::prose::Prose;
use crate::schema::types::{Alternative, Field, FieldKind, ListKind, Type, TypeId};
use crate::schema::{Gvk, schema};

/// The types that some operations reach.
pub(super) struct Components {
    dialect: Dialect,
    /// The version whose kinds they are for; none: of all.
    version: Option<(&'static str, &'static str)>,
    types: BTreeSet<usize>,
    special: BTreeSet<&'static str>,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

impl Components {
    pub fn reached(
        operations: &[Operation],
        dialect: Dialect,
        version: Option<(&'static str, &'static str)>,
    ) -> Self {
        let mut components =
            Self { dialect, version, types: BTreeSet::new(), special: BTreeSet::new() };
        for name in operations.iter().flat_map(Operation::schemas) {
            if let Some(special) = [PATCH, VERSION_INFO].into_iter().find(|it| *it == name) {
                components.special.insert(special);
            } else if let Some(id) = schema().id_by_name(name) {
                components.reach(id);
            }
        }
        components
    }

    fn reach(&mut self, id: TypeId) {
        if !self.types.insert(id.0) {
            return;
        }
        for field in &id.get().fields {
            self.reach_kind(&field.kind);
        }
    }

    fn reach_kind(&mut self, kind: &FieldKind) {
        match kind {
            FieldKind::Object(id) => self.reach(*id),
            FieldKind::List(item) | FieldKind::Map(item) => self.reach_kind(item),
            kind => self.special.extend(special_name(kind)),
        }
    }

    pub fn write(&self, prose: &Prose) -> Map<String, Value> {
        let dialect = self.dialect;
        let types = self.types.iter().map(|&at| &schema().types()[at]);
        let mut written: Map<String, Value> =
            types.map(|ty| (ty.name.to_string(), self.object(ty, prose))).collect();
        for name in &self.special {
            let mut value = special(name, dialect);
            if let (Some(text), Some(map)) = (prose.of_type(name), value.as_object_mut()) {
                map.insert("description".to_owned(), text.into());
            }
            written.insert((*name).to_owned(), value);
        }
        written
    }

    fn object(&self, ty: &Type, prose: &Prose) -> Value {
        let dialect = self.dialect;
        let properties: Map<String, Value> = ty
            .fields
            .iter()
            .map(|field| (field.json.to_owned(), property(ty, field, dialect, prose)))
            .collect();
        let mut required: Vec<&str> =
            ty.fields.iter().filter(|field| field.required).map(|field| field.json).collect();
        if !ty.required.is_empty() {
            required.clone_from(&ty.required);
        }
        let mut out = json!({ "type": "object" });
        out["description"] = match prose.of_type(&ty.name) {
            Some(text) => text.into(),
            None => generic_description(ty).into(),
        };
        if !properties.is_empty() {
            out["properties"] = properties.into();
        }
        if !required.is_empty() {
            out["required"] = required.into();
        }
        if let Some(union) = &ty.union {
            let members: Map<String, Value> = union
                .members
                .iter()
                .map(|(field, word)| ((*field).to_owned(), (*word).into()))
                .collect();
            let mut written = json!({ "fields-to-discriminateBy": members });
            if let Some(discriminator) = union.discriminator {
                written["discriminator"] = discriminator.into();
            }
            out["x-kubernetes-unions"] = json!([written]);
        }
        if ty.atomic {
            out["x-kubernetes-map-type"] = "atomic".into();
        }
        let gvks = ty.gvks.iter().filter(|gvk| self.speaks_of(gvk));
        let gvks: Vec<Value> = gvks
            .map(|gvk| json!({ "group": gvk.group, "version": gvk.version, "kind": gvk.kind }))
            .collect();
        if !gvks.is_empty() {
            out["x-kubernetes-group-version-kind"] = gvks.into();
        }
        out
    }

    /// Whether a kind is named: what is of every version only as of the document's own and of the core.
    fn speaks_of(&self, gvk: &Gvk) -> bool {
        let Some(version) = self.version else { return true };
        [version, ("", "v1")].contains(&(gvk.group, gvk.version))
            || !matches!(gvk.kind, "DeleteOptions" | "WatchEvent")
    }
}

/// The component of a kind with a form of its own.
fn special_name(kind: &FieldKind) -> Option<&'static str> {
    Some(match kind {
        FieldKind::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        FieldKind::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        FieldKind::Fields => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        FieldKind::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        FieldKind::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        FieldKind::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        FieldKind::Json => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        FieldKind::SchemaOr(Alternative::Bool) => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        }
        FieldKind::SchemaOr(Alternative::Schemas) => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        }
        FieldKind::SchemaOr(Alternative::Strings) => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        FieldKind::String
        | FieldKind::Bool
        | FieldKind::Int32
        | FieldKind::Int64
        | FieldKind::Double
        | FieldKind::Bytes
        | FieldKind::Object(_)
        | FieldKind::List(_)
        | FieldKind::Map(_) => return None,
    })
}

fn special(name: &str, dialect: Dialect) -> Value {
    let last = name.rsplit('.').next().unwrap_or(name);
    match (last, dialect) {
        ("Time" | "MicroTime", _) => json!({ "type": "string", "format": "date-time" }),
        ("Quantity", Dialect::V2) => json!({ "type": "string" }),
        ("Quantity", Dialect::V3) => {
            json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] })
        }
        ("IntOrString", Dialect::V2) => json!({ "type": "string", "format": "int-or-string" }),
        ("IntOrString", Dialect::V3) => json!({
            "format": "int-or-string",
            "oneOf": [{ "type": "integer" }, { "type": "string" }],
        }),
        ("RawExtension" | "FieldsV1" | "Patch", _) => json!({ "type": "object" }),
        ("Info", _) => version_info(dialect),
        // Any JSON at all.
        _ => json!({}),
    }
}

/// What `/version` answers.
fn version_info(dialect: Dialect) -> Value {
    const OPTIONAL: [&str; 4] =
        ["emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"];
    const REQUIRED: [&str; 9] = [
        "major",
        "minor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ];
    let mut properties = Map::new();
    for name in OPTIONAL {
        properties.insert(name.to_owned(), json!({ "type": "string" }));
    }
    for name in REQUIRED {
        let mut property = json!({ "type": "string" });
        if dialect == Dialect::V3 {
            property["default"] = "".into();
        }
        properties.insert(name.to_owned(), property);
    }
    json!({ "type": "object", "required": REQUIRED, "properties": properties })
}

fn generic_description(ty: &Type) -> String {
    match ty.short_name().strip_suffix("List") {
        Some(kind) if ty.field("items").is_some() => format!("{kind}List is a list of {kind}."),
        _ => String::new(),
    }
}

/// What every object's and list's own fields mean, where no library says it.
fn generic_field(ty: &Type, field: &Field) -> Option<&'static str> {
    match field.json {
        "apiVersion" => Some(
            "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
        ),
        "kind" => Some(
            "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
        ),
        "items" if ty.short_name().ends_with("List") => Some("The objects of the list."),
        "metadata" => Some("Standard metadata."),
        "object" if ty.short_name() == "WatchEvent" => Some(
            "The object as it is now, or as it was when it was deleted; a Status where the event tells of an error.",
        ),
        _ => None,
    }
}

fn property(ty: &Type, field: &Field, dialect: Dialect, prose: &Prose) -> Value {
    let mut out = of_kind(&field.kind, dialect);
    let text = prose.of_field(&ty.name, field.json).or_else(|| generic_field(ty, field));
    let mut extras = Map::new();
    if let Some(text) = text {
        extras.insert("description".to_owned(), text.into());
    }
    if let (Dialect::V3, Some(default)) = (dialect, default(field)) {
        extras.insert("default".to_owned(), default);
    }
    extensions(field, &mut extras);
    add(&mut out, extras, dialect);
    out
}

/// A property's default: its own, or the zero that a field without a pointer always has.
fn default(field: &Field) -> Option<Value> {
    if field.default.is_some() || field.pointer {
        return field.default.clone();
    }
    match &field.kind {
        FieldKind::Object(_) => Some(json!({})),
        _ if field.omit_empty => None,
        kind => zero(kind),
    }
}

fn zero(kind: &FieldKind) -> Option<Value> {
    match kind {
        FieldKind::String => Some("".into()),
        FieldKind::Bool => Some(false.into()),
        FieldKind::Int32 | FieldKind::Int64 | FieldKind::Double => Some(0.into()),
        FieldKind::Object(_) => Some(json!({})),
        _ => None,
    }
}

fn extensions(field: &Field, out: &mut Map<String, Value>) {
    let mut put = |key: &str, value: Value| out.insert(format!("x-kubernetes-{key}"), value);
    match &field.list {
        None => {}
        Some(ListKind::Atomic) => {
            put("list-type", "atomic".into());
        }
        Some(ListKind::Set) => {
            put("list-type", "set".into());
        }
        Some(ListKind::Map { keys }) => {
            put("list-type", "map".into());
            put("list-map-keys", keys.clone().into());
        }
    }
    if field.atomic || field.granular {
        put("map-type", if field.atomic { "atomic" } else { "granular" }.into());
    }
    if let Some(strategy) = field.patch.text {
        put("patch-strategy", strategy.into());
    }
    if let Some(key) = field.patch.merge_key {
        put("patch-merge-key", key.into());
    }
}

/// Adds siblings: in version 3 a `$ref` may have none, so it moves into an `allOf`.
fn add(out: &mut Value, extras: Map<String, Value>, dialect: Dialect) {
    let Value::Object(map) = out else { return };
    if extras.is_empty() {
        return;
    }
    if dialect == Dialect::V3
        && let Some(reference) = map.remove("$ref")
    {
        map.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
    }
    map.extend(extras);
}

fn of_kind(kind: &FieldKind, dialect: Dialect) -> Value {
    match kind {
        FieldKind::String => json!({ "type": "string" }),
        FieldKind::Bool => json!({ "type": "boolean" }),
        FieldKind::Int32 => json!({ "type": "integer", "format": "int32" }),
        FieldKind::Int64 => json!({ "type": "integer", "format": "int64" }),
        FieldKind::Double => json!({ "type": "number", "format": "double" }),
        FieldKind::Bytes => json!({ "type": "string", "format": "byte" }),
        FieldKind::Object(id) => reference(&id.get().name, dialect),
        FieldKind::List(item) => json!({ "type": "array", "items": of_kind(item, dialect) }),
        FieldKind::Map(item) => {
            json!({ "type": "object", "additionalProperties": of_kind(item, dialect) })
        }
        FieldKind::Time
        | FieldKind::MicroTime
        | FieldKind::Quantity
        | FieldKind::IntOrString
        | FieldKind::RawExtension
        | FieldKind::Fields
        | FieldKind::Json
        | FieldKind::SchemaOr(_) => reference(special_name(kind).unwrap_or_default(), dialect),
    }
}

pub(super) fn reference(name: &str, dialect: Dialect) -> Value {
    json!({ "$ref": dialect.reference(name) })
}

/// A `meta.v1` type's name.
pub(super) fn meta(name: &str) -> String {
    format!("{META}.{name}")
}
