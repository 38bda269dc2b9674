//! The environments of a custom resource's rules: what a schema describes is `self`.
//!
//! Source: `staging/src/k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/compilation.go`,
//! `staging/src/k8s.io/apiserver/pkg/cel/{common/schemas,escaping,types}.go`.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::environment::{Declared, Environment, KEYWORDS};
use super::types::Type;

/// The type of what is described. Servers number it anew each time, so that nobody names it.
const SELF_TYPE: &str = "selfType0";

/// What is said where there is no type for what a schema describes.
pub const NO_TYPE: &str = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";

/// What a schema describes, for the rules that stand in it.
#[derive(Clone, Debug)]
pub struct Schema {
    described: Type,
    types: Arc<HashMap<String, Declared>>,
}

/// What became of a rule.
#[derive(Debug)]
pub struct Rule {
    /// What is wrong with the rule, or with its message's expression.
    pub error: Option<String>,
    pub message_error: Option<String>,
    /// Whether the rule looks at what was there before.
    pub uses_old_self: bool,
}

impl Schema {
    /// Nothing: the schema has no type. `is_root`: it describes a whole resource.
    pub fn new(schema: &JSONSchemaProps, is_root: bool) -> Option<Self> {
        let mut types = HashMap::new();
        let is_resource = is_root || schema.x_kubernetes_embedded_resource == Some(true);
        let described = describe(schema, is_resource, SELF_TYPE, &mut types)?;
        Some(Self { described, types: Arc::new(types) })
    }

    fn environment(&self, has_optional_old_self: bool) -> Environment {
        let described = self.described.clone();
        let old = if has_optional_old_self {
            Type::optional(described.clone())
        } else {
            described.clone()
        };
        let variables =
            HashMap::from([("self".to_owned(), described), ("oldSelf".to_owned(), old)]);
        Environment { variables, types: self.types.clone(), ..Environment::default() }
    }

    /// Compiles a rule, and, if that is right, its message's expression. Empty ones are not there.
    pub fn compile(&self, rule: &str, message: &str, has_optional_old_self: bool) -> Rule {
        let mut outcome = Rule { error: None, message_error: None, uses_old_self: false };
        if rule.trim().is_empty() {
            return outcome;
        }
        let environment = self.environment(has_optional_old_self);
        let compiled = environment.compile_as(rule, |found| {
            let is_right = matches!(found, Type::Bool);
            (!is_right).then(|| "cel expression must evaluate to a bool".to_owned())
        });
        match compiled {
            Err(why) => outcome.error = Some(why),
            Ok(compiled) => {
                outcome.uses_old_self = compiled.uses("oldSelf");
                if !message.is_empty() {
                    outcome.message_error = compile_message(&environment, message);
                }
            }
        }
        outcome
    }
}

fn compile_message(environment: &Environment, message: &str) -> Option<String> {
    let compiled = environment.compile_as(message, |found| {
        let is_right = matches!(found, Type::String);
        (!is_right).then(|| "must evaluate to a string".to_owned())
    });
    let why = compiled.err()?;
    let why = why.strip_prefix("program ").unwrap_or(&why);
    Some(format!("messageExpression {why}"))
}

/// The type of what the schema describes, whose objects are called by their paths.
fn describe(
    schema: &JSONSchemaProps,
    is_resource: bool,
    name: &str,
    types: &mut HashMap<String, Declared>,
) -> Option<Type> {
    if schema.x_kubernetes_int_or_string == Some(true) {
        return Some(Type::Dyn);
    }
    let is_embedded =
        |schema: &JSONSchemaProps| schema.x_kubernetes_embedded_resource == Some(true);
    match schema.type_.as_deref().unwrap_or_default() {
        "array" => {
            let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items else { return None };
            let name = format!("{name}.@idx");
            Some(Type::list(describe(items, is_embedded(items), &name, types)?))
        }
        "object" => {
            if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
                let name = format!("{name}.@elem");
                let values = describe(values, is_embedded(values), &name, types)?;
                return Some(Type::map(Type::String, values));
            }
            Some(describe_object(schema, is_resource, name, types))
        }
        "string" => Some(match schema.format.as_deref() {
            Some("byte") => Type::Bytes,
            Some("duration") => Type::Duration,
            Some("date" | "date-time") => Type::Timestamp,
            _ => Type::String,
        }),
        "boolean" => Some(Type::Bool),
        "number" => Some(Type::Double),
        "integer" => Some(Type::Int),
        _ => None,
    }
}

/// An object. A resource has a kind and a name whatever its schema says.
fn describe_object(
    schema: &JSONSchemaProps,
    is_resource: bool,
    name: &str,
    types: &mut HashMap<String, Declared>,
) -> Type {
    let mut fields = HashMap::new();
    for (property, schema) in schema.properties.iter().flatten() {
        let Some(field) = escape(property) else { continue };
        let is_resource = schema.x_kubernetes_embedded_resource == Some(true);
        let found = describe(schema, is_resource, &format!("{name}.{field}"), types);
        fields.extend(found.map(|found| (field, found)));
    }
    if is_resource && !has_metadata(schema) {
        let metadata = format!("{name}.metadata");
        let names = ["name", "generateName"].map(|field| (field.to_owned(), Type::String));
        let constructed = Type::object(&metadata);
        let declared = Declared { constructed: constructed.clone(), fields: Some(names.into()) };
        types.insert(metadata, declared);
        fields.insert("kind".to_owned(), Type::String);
        fields.insert("apiVersion".to_owned(), Type::String);
        fields.insert("metadata".to_owned(), constructed);
    }
    let constructed = Type::object(name);
    let declared = Declared { constructed: constructed.clone(), fields: Some(fields) };
    types.insert(name.to_owned(), declared);
    constructed
}

/// Whether the schema itself has what every resource has.
fn has_metadata(schema: &JSONSchemaProps) -> bool {
    fn find<'a>(
        within: &'a JSONSchemaProps,
        name: &str,
        kind: &str,
    ) -> Option<&'a JSONSchemaProps> {
        let found = within.properties.as_ref()?.get(name)?;
        (found.type_.as_deref() == Some(kind)).then_some(found)
    }
    let has = |name| find(schema, name, "string").is_some();
    let metadata = find(schema, "metadata", "object");
    has("kind")
        && has("apiVersion")
        && metadata.is_some_and(|metadata| {
            ["name", "generateName"].iter().all(|it| find(metadata, it, "string").is_some())
        })
}

/// The field that a property is: nothing if there is none.
fn escape(property: &str) -> Option<String> {
    if property.is_empty() || property.starts_with(|it: char| it.is_ascii_digit()) {
        return None;
    }
    if KEYWORDS.contains(&property) {
        return Some(format!("__{property}__"));
    }
    let mut field = String::new();
    let mut rest = property;
    while let Some(letter) = rest.chars().next() {
        let (read, written) = match letter {
            '_' if rest.starts_with("__") => (2, "__underscores__"),
            '.' => (1, "__dot__"),
            '-' => (1, "__dash__"),
            '/' => (1, "__slash__"),
            '_' => (1, "_"),
            other if other.is_ascii_alphanumeric() => (1, &rest[..1]),
            _ => return None,
        };
        field.push_str(written);
        rest = &rest[read..];
    }
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_fields_by_escaped_names() {
        for (property, field) in [
            ("a", Some("a")),
            ("a-b.c/d", Some("a__dash__b__dot__c__slash__d")),
            ("a__b", Some("a__underscores__b")),
            ("___", Some("__underscores___")),
            ("namespace", Some("__namespace__")),
            ("int", Some("int")),
            ("1a", None),
            ("", None),
            ("a b", None),
            ("é", None),
        ] {
            assert_eq!(escape(property).as_deref(), field, "{property}");
        }
    }
}
