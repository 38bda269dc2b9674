//! The environments of what judges and changes requests.
//!
//! Source: `staging/src/k8s.io/apiserver/pkg/admission/plugin/cel/{compile,composition}.go`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::environment::{Compiled, Declared, Environment};
use super::types::Type;

const VARIABLES: &str = "kubernetes.variables";

/// Which names there are beside those that every request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Has {
    pub params: bool,
    pub authorizer: bool,
    /// Objects and JSON patches to construct.
    pub patches: bool,
}

/// An object type: its name and its fields, each with the name of its type.
type Object = (&'static str, &'static [(&'static str, &'static str)]);

const OBJECTS: &[Object] = &[
    ("GroupVersionKind", &[("group", "string"), ("kind", "string"), ("version", "string")]),
    ("GroupVersionResource", &[("group", "string"), ("resource", "string"), ("version", "string")]),
    (
        "UserInfo",
        &[("extra", "extra"), ("groups", "strings"), ("uid", "string"), ("username", "string")],
    ),
    (
        "AdmissionRequest",
        &[
            ("dryRun", "bool"),
            ("kind", "GroupVersionKind"),
            ("name", "string"),
            ("namespace", "string"),
            ("operation", "string"),
            ("options", "dyn"),
            ("requestKind", "GroupVersionKind"),
            ("requestResource", "GroupVersionResource"),
            ("requestSubResource", "string"),
            ("resource", "GroupVersionResource"),
            ("subResource", "string"),
            ("userInfo", "UserInfo"),
        ],
    ),
    ("NamespaceSpec", &[("finalizers", "strings")]),
    (
        "NamespaceCondition",
        &[
            ("lastTransitionTime", "timestamp"),
            ("message", "string"),
            ("reason", "string"),
            ("status", "string"),
            ("type", "string"),
        ],
    ),
    ("NamespaceStatus", &[("conditions", "conditions"), ("phase", "string")]),
    (
        "NamespaceMetadata",
        &[
            ("UID", "string"),
            ("annotations", "map"),
            ("creationTimestamp", "timestamp"),
            ("deletionGracePeriodSeconds", "int"),
            ("deletionTimestamp", "timestamp"),
            ("finalizers", "strings"),
            ("generateName", "string"),
            ("generation", "int"),
            ("labels", "map"),
            ("name", "string"),
            ("namespace", "string"),
            ("resourceVersion", "string"),
        ],
    ),
    (
        "Namespace",
        &[
            ("metadata", "NamespaceMetadata"),
            ("spec", "NamespaceSpec"),
            ("status", "NamespaceStatus"),
        ],
    ),
];
/// Lists and maps that paths from a root name.
const PATHS: &[(&str, &str)] = &[
    ("AdmissionRequest.userInfo.extra", "extra"),
    ("AdmissionRequest.userInfo.groups", "strings"),
    ("Namespace.metadata.annotations", "map"),
    ("Namespace.metadata.finalizers", "strings"),
    ("Namespace.metadata.labels", "map"),
    ("Namespace.spec.finalizers", "strings"),
    ("Namespace.status.conditions", "conditions"),
];

static TYPES: LazyLock<Arc<HashMap<String, Declared>>> = LazyLock::new(|| {
    let objects = OBJECTS.iter().map(|(name, fields)| {
        let fields = fields.iter().map(|(name, of)| ((*name).to_owned(), named(of)));
        (kubernetes(name), Declared { constructed: named(name), fields: Some(fields.collect()) })
    });
    let paths = PATHS
        .iter()
        .map(|(path, of)| (kubernetes(path), Declared { constructed: named(of), fields: None }));
    Arc::new(objects.chain(paths).collect())
});

fn kubernetes(name: &str) -> String {
    format!("kubernetes.{name}")
}

fn named(name: &str) -> Type {
    match name {
        "bool" => Type::Bool,
        "conditions" => Type::list(named("NamespaceCondition")),
        "dyn" => Type::Dyn,
        "extra" => Type::map(Type::String, named("strings")),
        "int" => Type::Int,
        "map" => Type::map(Type::String, Type::String),
        "string" => Type::String,
        "strings" => Type::list(Type::String),
        "timestamp" => Type::Timestamp,
        object => Type::object(&kubernetes(object)),
    }
}

impl Environment {
    /// What expressions about a request may name.
    pub fn admission(has: Has) -> Self {
        let mut variables = HashMap::from([
            ("object".to_owned(), Type::Dyn),
            ("oldObject".to_owned(), Type::Dyn),
            ("namespaceObject".to_owned(), named("Namespace")),
            ("request".to_owned(), named("AdmissionRequest")),
        ]);
        if has.params {
            variables.insert("params".to_owned(), Type::Dyn);
        }
        if has.authorizer {
            let of = |name: &str| named(&format!("authorization.{name}"));
            variables.insert("authorizer".to_owned(), of("Authorizer"));
            variables.insert("authorizer.requestResource".to_owned(), of("ResourceCheck"));
        }
        Self { variables, types: TYPES.clone(), grown: None, has_patches: has.patches }
    }

    /// Lets expressions name what a policy's variables are computed to.
    fn with_variables(mut self, fields: HashMap<String, Type>) -> Self {
        self.variables.insert("variables".to_owned(), Type::object(VARIABLES));
        self.grown = Some((VARIABLES, fields));
        self
    }
}

/// Whether a webhook's or a policy's condition is right, which is compiled without the blanks
/// around it. It never names a policy's variables.
pub fn match_condition(expression: &str, has_params: bool) -> Result<Compiled, String> {
    let has = Has { params: has_params, authorizer: true, patches: false };
    Environment::admission(has).compile(expression.trim(), &[Type::Bool])
}

/// The expressions of one policy. Variables are declared in their order, before all others.
#[derive(Debug)]
pub struct Policy {
    has_params: bool,
    variables: Option<HashMap<String, Type>>,
}

impl Policy {
    pub fn new(has_params: bool, has_variables: bool) -> Self {
        Self { has_params, variables: has_variables.then(HashMap::new) }
    }

    /// What an expression of the policy may name. Whether there are parameters is the policy's.
    pub fn environment(&self, has: Has) -> Environment {
        let environment = Environment::admission(Has { params: self.has_params, ..has });
        match &self.variables {
            Some(variables) => environment.with_variables(variables.clone()),
            None => environment,
        }
    }

    fn compile(&self, expression: &str, has: Has, wanted: &[Type]) -> Result<Compiled, String> {
        self.environment(has).compile(expression, wanted)
    }

    /// A variable, which what comes after may name. One that is wrong may be anything.
    pub fn variable(&mut self, name: &str, expression: &str) -> Result<(), String> {
        let has = Has { authorizer: true, ..Has::default() };
        let compiled = self.compile(expression, has, &[]);
        let found = compiled.as_ref().map_or(Type::Dyn, |compiled| field_type(&compiled.result));
        self.variables.get_or_insert_default().insert(name.to_owned(), found);
        compiled.map(|_| ())
    }

    pub fn validation(&self, expression: &str) -> Result<(), String> {
        let has = Has { authorizer: true, ..Has::default() };
        self.compile(expression, has, &[Type::Bool]).map(|_| ())
    }

    pub fn message_expression(&self, expression: &str) -> Result<(), String> {
        self.compile(expression, Has::default(), &[Type::String]).map(|_| ())
    }

    /// An audit annotation's value, which is compiled without the blanks around it.
    pub fn audit_annotation(&self, expression: &str) -> Result<(), String> {
        let has = Has { authorizer: true, ..Has::default() };
        let wanted = [Type::String, Type::Null];
        self.compile(expression.trim(), has, &wanted).map(|_| ())
    }

    /// An apply configuration, which is compiled without the blanks around it.
    pub fn apply_configuration(&self, expression: &str) -> Result<(), String> {
        self.mutation(expression, Type::object("Object"))
    }

    /// A JSON patch, which is compiled without the blanks around it.
    pub fn json_patch(&self, expression: &str) -> Result<(), String> {
        self.mutation(expression, Type::list(Type::object("JSONPatch")))
    }

    fn mutation(&self, expression: &str, wanted: Type) -> Result<(), String> {
        let has = Has { authorizer: true, patches: true, ..Has::default() };
        self.compile(expression.trim(), has, &[wanted]).map(|_| ())
    }
}

/// The type of a variable's field. Objects and what only functions look into may be anything.
fn field_type(found: &Type) -> Type {
    match found {
        Type::List(item) => Type::list(field_type(item)),
        Type::Map(pair) => Type::map(field_type(&pair.0), field_type(&pair.1)),
        Type::Any
        | Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => found.clone(),
        _ => Type::Dyn,
    }
}
