//! The rules of schemas: whether their expressions compile.
//!
//! Source: `ValidateCustomResourceDefinitionOpenAPISchema` in
//! `pkg/apis/apiextensions/validation/validation.go`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrBool, ValidationRule,
};
use serde_json::json;

use crate::cel;
use crate::kinds::rules::json_schema::items;
use crate::kinds::{ErrorKind, FieldError, Shown};

const RULE: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ValidationRule";

/// All problems of the rules in a schema, each after those of the schemas within its own. `known`: the
/// problems of the schemas themselves; where there is one, or below, rules are not compiled.
pub fn validate(schema: &JSONSchemaProps, path: &str, known: &[FieldError]) -> Vec<FieldError> {
    let mut visitor = Visitor { known, errors: Vec::new() };
    visitor.visit(schema, path, true, None);
    visitor.errors
}

struct Visitor<'a> {
    known: &'a [FieldError],
    errors: Vec<FieldError>,
}

impl Visitor<'_> {
    /// `list`: the first list around the schema whose items before and after a change nobody can tell
    /// to be the same.
    fn visit(&mut self, schema: &JSONSchemaProps, path: &str, is_root: bool, list: Option<&str>) {
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
            self.visit(values, &format!("{path}.additionalProperties"), false, list);
        }
        for (name, property) in schema.properties.iter().flatten() {
            self.visit(property, &format!("{path}.properties[{name}]"), false, list);
        }
        if let Some(items) = items(schema) {
            let is_map = schema.x_kubernetes_list_type.as_deref() == Some("map");
            let list = list.or((!is_map).then_some(path));
            self.visit(items, &format!("{path}.items"), false, list);
        }
        self.compile_all(schema, path, is_root, list);
    }

    fn compile_all(
        &mut self,
        schema: &JSONSchemaProps,
        path: &str,
        is_root: bool,
        list: Option<&str>,
    ) {
        let rules = schema.x_kubernetes_validations.as_deref().unwrap_or_default();
        let is_known = |error: &FieldError| {
            let below = error.path.strip_prefix(path);
            below.is_some_and(|below| below.is_empty() || below.starts_with(['.', '[']))
        };
        if rules.is_empty() || self.known.iter().any(is_known) {
            return;
        }
        let path = format!("{path}.x-kubernetes-validations");
        let Some(described) = cel::Schema::new(schema, is_root) else {
            return self.errors.push(FieldError::new(ErrorKind::Internal, path, cel::NO_TYPE));
        };
        for (index, rule) in rules.iter().enumerate() {
            self.compile(&described, rule, &format!("{path}[{index}]"), list);
        }
    }

    fn compile(
        &mut self,
        described: &cel::Schema,
        rule: &ValidationRule,
        path: &str,
        list: Option<&str>,
    ) {
        let message = rule.message_expression.as_deref().unwrap_or_default();
        let optional = rule.optional_old_self;
        let outcome = described.compile(&rule.rule, message, optional == Some(true));
        let shown = || Shown::internal(RULE, &json!(rule));
        let mut refuse = |field: &str, value: Shown, why: String| {
            self.errors.push(FieldError::invalid(format!("{path}.{field}"), value, why));
        };
        if let Some(why) = outcome.error {
            refuse("rule", shown(), why);
        }
        if let Some(why) = outcome.message_error {
            refuse("messageExpression", shown(), why);
        }
        match (outcome.uses_old_self, optional, list) {
            (true, _, Some(list)) => {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
                );
                refuse("rule", rule.rule.as_str().into(), why);
            }
            (false, Some(optional), _) => {
                let why = "may not be set if oldSelf is not used in rule";
                refuse("optionalOldSelf", optional.into(), why.to_owned());
            }
            _ => {}
        }
    }
}
