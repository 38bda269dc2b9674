//! The parser of `table.txt`, and look-ups in what it says.
//!
//! The table is compiled in and made by our own generator, so a line that does not parse is a bug
//! of the build: it panics, and a test parses every line.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

use super::types::{
    Alternative, Field, FieldKind, Gvk, ListKind, Part, PatchStrategy, Type, TypeId, Union,
};

pub(super) const TABLE: &str = include_str!("table.txt");

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const OF_EVERY_GROUP: [&str; 7] = [
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "UpdateOptions",
    "WatchEvent",
];

/// Every type that the API speaks.
pub struct Schema {
    types: Vec<Type>,
    by_name: HashMap<Box<str>, TypeId>,
    by_gvk: HashMap<(&'static str, &'static str, &'static str), TypeId>,
}

/// The schema, parsed when first asked for.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| parse(TABLE))
}

impl Schema {
    /// By the name in upstream's OpenAPI, such as `io.k8s.api.core.v1.Pod`.
    pub fn by_name(&self, name: &str) -> Option<&Type> {
        self.id_by_name(name).map(|id| self.at(id))
    }

    /// By group, version and kind. Options and watch events are of every group, custom ones too.
    pub fn by_gvk(&self, group: &str, version: &str, kind: &str) -> Option<&Type> {
        if let Some(id) = self.by_gvk.get(&(group, version, kind)) {
            return Some(self.at(*id));
        }
        let everywhere = OF_EVERY_GROUP.contains(&kind);
        everywhere.then(|| self.by_name(&format!("{META}.{kind}"))).flatten()
    }

    /// By what an object says of itself, such as `apps/v1` and `Deployment`.
    pub fn by_api_version(&self, api_version: &str, kind: &str) -> Option<&Type> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.by_gvk(group, version, kind)
    }

    /// By what an object says of itself.
    pub fn of_object(&self, object: &Value) -> Option<&Type> {
        self.by_api_version(object["apiVersion"].as_str()?, object["kind"].as_str()?)
    }

    pub fn types(&self) -> &[Type] {
        &self.types
    }

    pub(super) fn id_by_name(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    pub(super) fn at(&self, id: TypeId) -> &Type {
        &self.types[id.0]
    }
}

/// A field's line, before the types that it names are known.
struct Line {
    field: Field,
    inlines: Option<TypeId>,
}

struct Package {
    openapi: &'static str,
    go: &'static str,
}

fn parse(text: &'static str) -> Schema {
    let lines = || text.lines().filter(|line| !line.starts_with('#'));
    let mut packages = HashMap::new();
    let mut ids = HashMap::new();
    for line in lines() {
        let words: Vec<&'static str> = line.split(' ').collect();
        match words.as_slice() {
            ["package", short, openapi, go] => {
                packages.insert(*short, Package { openapi, go });
            }
            ["type", short, ..] => {
                ids.insert(*short, TypeId(ids.len()));
            }
            _ => {}
        }
    }

    let mut types: Vec<Type> = Vec::with_capacity(ids.len());
    let mut bodies: Vec<Vec<Line>> = Vec::with_capacity(ids.len());
    for line in lines() {
        if let Some(field) = line.strip_prefix("  ") {
            let body = bodies.last_mut().unwrap_or_else(|| panic!("a field before any type"));
            body.push(parse_field(field, &ids));
        } else if let Some(head) = line.strip_prefix("type ") {
            types.push(parse_head(head, &packages));
            bodies.push(Vec::new());
        }
    }
    for (at, ty) in types.iter_mut().enumerate() {
        ty.fields = flat(&bodies, at);
        ty.parts = parts(ty, &bodies[at]);
        let fields = ty.fields.iter().enumerate();
        ty.always = fields.filter(|(_, field)| field.is_always_there()).map(|(at, _)| at).collect();
    }
    index(types)
}

fn index(types: Vec<Type>) -> Schema {
    let mut by_name = HashMap::with_capacity(types.len());
    let mut by_gvk = HashMap::new();
    for (at, ty) in types.iter().enumerate() {
        by_name.insert(ty.name.clone(), TypeId(at));
        for gvk in &ty.gvks {
            by_gvk.insert((gvk.group, gvk.version, gvk.kind), TypeId(at));
        }
    }
    Schema { types, by_name, by_gvk }
}

/// All JSON fields of a type by name, inlined ones pulled up.
fn flat(bodies: &[Vec<Line>], at: usize) -> Vec<Field> {
    let mut fields = Vec::with_capacity(bodies[at].len());
    for line in &bodies[at] {
        let Some(inner) = line.inlines else {
            fields.push(line.field.clone());
            continue;
        };
        let outer = go_name(line.field.json);
        for mut field in flat(bodies, inner.0) {
            field.inline = Some(match field.inline {
                Some(path) => format!("{outer}.{path}").into(),
                None => outer.as_str().into(),
            });
            fields.push(field);
        }
    }
    fields.sort_by(|a, b| a.json.cmp(b.json));
    fields
}

/// `volumeSource` → `VolumeSource`.
fn go_name(json: &str) -> String {
    let (first, rest) = json.split_at(1);
    first.to_ascii_uppercase() + rest
}

/// `HostPID` → `hostPID`.
pub(super) fn json_name(go: &str) -> String {
    let (first, rest) = go.split_at(1);
    first.to_ascii_lowercase() + rest
}

fn parts(ty: &Type, body: &[Line]) -> Vec<Part> {
    let mut parts: Vec<Part> = body
        .iter()
        .filter(|line| line.field.tag != 0)
        .map(|line| match line.inlines {
            Some(inner) => Part::Inline { tag: line.field.tag, ty: inner },
            None => {
                let at = ty.fields.binary_search_by(|field| field.json.cmp(line.field.json));
                let at = at.unwrap_or_else(|_| panic!("{} lacks {}", ty.name, line.field.json));
                Part::Field { tag: line.field.tag, at }
            }
        })
        .collect();
    parts.sort_by_key(Part::tag);
    parts
}

fn parse_head(head: &'static str, packages: &HashMap<&str, Package>) -> Type {
    let mut words = head.split(' ');
    let short = words.next().unwrap_or_default();
    let (package, name) = short.rsplit_once('.').unwrap_or_else(|| panic!("type {short}"));
    let package = packages.get(package).unwrap_or_else(|| panic!("no package {package}"));
    let mut ty = Type {
        name: format!("{}.{name}", package.openapi).into(),
        go: format!("{}.{name}", package.go).into(),
        gvks: Vec::new(),
        required: Vec::new(),
        union: None,
        atomic: false,
        internal: None,
        fields: Vec::new(),
        parts: Vec::new(),
        always: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("gvk", gvk)) => ty.gvks.push(parse_gvk(gvk)),
            Some(("internal", words)) => ty.internal = Some(words),
            Some(("map", map)) => ty.atomic = map == "atomic",
            Some(("required", names)) => ty.required = names.split(',').collect(),
            Some(("union", union)) => ty.union = Some(parse_union(union)),
            _ => panic!("type {short}: {word}"),
        }
    }
    ty
}

/// `DISCRIMINATOR;FIELD:WORD,…`; the discriminator may be empty.
fn parse_union(text: &'static str) -> Union {
    let (discriminator, members) = text.split_once(';').unwrap_or_else(|| panic!("union {text}"));
    let member =
        |text: &'static str| text.split_once(':').unwrap_or_else(|| panic!("union {text}"));
    Union {
        discriminator: Some(discriminator).filter(|name| !name.is_empty()),
        members: members.split(',').map(member).collect(),
    }
}

fn parse_gvk(text: &'static str) -> Gvk {
    let mut words = text.split('/');
    match (words.next(), words.next(), words.next()) {
        (Some(group), Some(version), Some(kind)) => Gvk { group, version, kind },
        _ => panic!("gvk {text}"),
    }
}

fn parse_field(text: &'static str, ids: &HashMap<&str, TypeId>) -> Line {
    // A default is JSON and comes last: it may hold spaces.
    let (head, default) = match text.split_once(" default=") {
        Some((head, default)) => (head, Some(default)),
        None => (text, None),
    };
    let mut words = head.split(' ');
    let json = words.next().unwrap_or_default();
    let tag = words.next().and_then(|tag| tag.parse().ok());
    let kind = words.next().unwrap_or_default();
    let mut field = Field {
        json,
        tag: tag.unwrap_or_else(|| panic!("field {text}")),
        kind: parse_kind(kind, ids),
        list: None,
        atomic: false,
        granular: false,
        patch: PatchStrategy::default(),
        required: false,
        default: default.map(|default| {
            serde_json::from_str(default).unwrap_or_else(|error| panic!("{text}: {error}"))
        }),
        pointer: false,
        omit_empty: false,
        omit_zero: false,
        wrapped: false,
        go: None,
        inline: None,
    };
    let mut inlines = None;
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("ptr", _) => field.pointer = true,
            ("omit", _) => field.omit_empty = true,
            ("zero", _) => field.omit_zero = true,
            ("req", _) => field.required = true,
            ("wrapped", _) => field.wrapped = true,
            ("inline", _) => inlines = ids.get(kind).copied(),
            ("go", go) => field.go = Some(go),
            ("list", list) => field.list = Some(parse_list(list)),
            ("map", "atomic") => field.atomic = true,
            ("map", "granular") => field.granular = true,
            ("patch", strategy) => parse_strategy(strategy, &mut field.patch),
            ("key", key) => field.patch.merge_key = Some(key),
            _ => panic!("field {text}: {word}"),
        }
    }
    Line { field, inlines }
}

fn parse_strategy(text: &'static str, into: &mut PatchStrategy) {
    into.text = Some(text);
    for strategy in text.split(',') {
        match strategy {
            "merge" => into.merge = true,
            "replace" => into.replace = true,
            "retainKeys" => into.retain_keys = true,
            other => panic!("patch strategy {other}"),
        }
    }
}

fn parse_list(text: &'static str) -> ListKind {
    match text.split_once(':') {
        Some(("map", keys)) => ListKind::Map { keys: keys.split(',').collect() },
        None if text == "set" => ListKind::Set,
        None if text == "atomic" => ListKind::Atomic,
        _ => panic!("list {text}"),
    }
}

fn parse_kind(text: &str, ids: &HashMap<&str, TypeId>) -> FieldKind {
    if let Some(item) = text.strip_prefix("[]") {
        return FieldKind::List(Box::new(parse_kind(item, ids)));
    }
    if let Some(item) = text.strip_prefix("{}") {
        return FieldKind::Map(Box::new(parse_kind(item, ids)));
    }
    match text {
        "string" => FieldKind::String,
        "bool" => FieldKind::Bool,
        "int32" => FieldKind::Int32,
        "int64" => FieldKind::Int64,
        "double" => FieldKind::Double,
        "bytes" => FieldKind::Bytes,
        "time" => FieldKind::Time,
        "microtime" => FieldKind::MicroTime,
        "quantity" => FieldKind::Quantity,
        "intorstring" => FieldKind::IntOrString,
        "raw" => FieldKind::RawExtension,
        "fields" => FieldKind::Fields,
        "json" => FieldKind::Json,
        "schemaorbool" => FieldKind::SchemaOr(Alternative::Bool),
        "schemaorarray" => FieldKind::SchemaOr(Alternative::Schemas),
        "schemaorstrings" => FieldKind::SchemaOr(Alternative::Strings),
        name => match ids.get(name) {
            Some(id) => FieldKind::Object(*id),
            None => panic!("kind {name}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(name: &str) -> &'static Type {
        schema().by_name(name).unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn every_stable_kind_is_found_by_name_and_by_gvk() {
        assert_eq!(&*ty("io.k8s.api.core.v1.Pod").go, "v1.Pod");
        for (api_version, kind) in [
            ("v1", "Pod"),
            ("v1", "List"),
            ("apps/v1", "Deployment"),
            ("autoscaling/v2", "HorizontalPodAutoscaler"),
            ("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("batch/v1", "DeleteOptions"),
            ("meta.k8s.io/v1", "CreateOptions"),
            ("stable.example.com/v1", "DeleteOptions"),
        ] {
            let found = schema().by_api_version(api_version, kind);
            assert_eq!(found.map(Type::short_name), Some(kind), "{api_version}");
        }
        assert!(schema().by_gvk("", "v1", "Deployment").is_none());
    }

    #[test]
    fn inlined_fields_stand_in_the_outer_type() {
        let volume = ty("io.k8s.api.core.v1.Volume");
        let empty_dir = volume.field("emptyDir").expect("inlined");
        assert_eq!(empty_dir.inline.as_deref(), Some("VolumeSource"));
        assert!(volume.field("volumeSource").is_none());
        assert!(matches!(volume.parts[1], Part::Inline { tag: 2, .. }));

        let rule = ty("io.k8s.api.admissionregistration.v1.NamedRuleWithOperations");
        let groups = rule.field("apiGroups").expect("inlined twice");
        assert_eq!(groups.inline.as_deref(), Some("RuleWithOperations.Rule"));
    }

    #[test]
    fn fields_carry_lists_patches_and_defaults() {
        let container = ty("io.k8s.api.core.v1.Container");
        let ports = container.field("ports").expect("ports");
        assert_eq!(ports.list, Some(ListKind::Map { keys: vec!["containerPort", "protocol"] }));
        assert_eq!(ports.patch.merge_key, Some("containerPort"));
        assert!(ports.patch.merge && !ports.patch.retain_keys);
        let FieldKind::List(item) = &ports.kind else { panic!("ports is a list") };
        let FieldKind::Object(port) = **item else { panic!("of objects") };
        let protocol = port.get().field("protocol").expect("protocol");
        assert_eq!(protocol.default, Some("TCP".into()));
        let volumes = ty("io.k8s.api.core.v1.PodSpec").field("volumes").expect("volumes");
        assert!(volumes.patch.merge && volumes.patch.retain_keys);
    }

    #[test]
    fn no_type_names_a_field_or_a_tag_twice() {
        for ty in schema().types() {
            assert!(ty.fields.windows(2).all(|pair| pair[0].json < pair[1].json), "{}", ty.name);
            assert!(ty.parts.windows(2).all(|pair| pair[0].tag() < pair[1].tag()), "{}", ty.name);
        }
    }
}
