//! FlowSchemas: which requests belong together, and to which priority level.
//!
//! Source: `pkg/registry/flowcontrol/flowschema/strategy.go`, `pkg/apis/flowcontrol/validation`.

mod validate;

use jiff::Timestamp;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, FlowSchemaCondition};
use serde_json::Value;

use super::{Column, FieldError, Generation, Kind, KindInfo, Subresource, USER_METADATA, meta};

/// Where none is given.
const PRECEDENCE: i32 = 1000;

pub struct FlowSchemas;

impl Kind for FlowSchemas {
    type Object = FlowSchema;

    const INFO: KindInfo = KindInfo {
        generation: Generation::Raised,
        subresources: &[Subresource::Status],
        fixed_by_status: USER_METADATA,
        row_order: Some(|schema| schema["spec"]["matchingPrecedence"].as_i64().unwrap_or(0)),
        ..KindInfo::cluster(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "FlowSchema",
            "flowschemas",
            "flowschema",
            "io.k8s.api.flowcontrol.v1.FlowSchema",
        )
    };

    fn default(schema: &mut FlowSchema) {
        let spec = schema.spec.get_or_insert_default();
        if spec.matching_precedence.unwrap_or(0) == 0 {
            spec.matching_precedence = Some(PRECEDENCE);
        }
    }

    fn validate(schema: &FlowSchema) -> Vec<FieldError> {
        let mut errors = validate::spec(schema);
        errors.extend(validate_status(schema));
        errors
    }

    fn validate_status(new: &FlowSchema, _old: &FlowSchema) -> Vec<FieldError> {
        validate_status(new)
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("PriorityLevel", "string", 0, "The priority level that it refers to."),
            Column::new("MatchingPrecedence", "string", 0, "The lowest that matches is chosen."),
            Column::new("DistinguisherMethod", "string", 0, "How its flows are told apart."),
            Column::AGE,
            Column::new(
                "MissingPL",
                "string",
                0,
                "references a broken or non-existent PriorityLevelConfiguration",
            ),
        ];
        COLUMNS
    }

    fn cells(schema: &FlowSchema, now: Timestamp) -> Vec<Value> {
        let spec = schema.spec.clone().unwrap_or_default();
        let method = spec.distinguisher_method.map(|method| method.type_);
        let missing = conditions(schema)
            .find(|condition| condition.type_.as_deref() == Some("Dangling"))
            .map(|condition| condition.status.clone().unwrap_or_default());
        vec![
            meta::object_name(&schema.metadata),
            spec.priority_level_configuration.name.into(),
            spec.matching_precedence.unwrap_or(0).into(),
            method.unwrap_or_else(|| "<none>".to_owned()).into(),
            meta::object_age(&schema.metadata, now),
            missing.unwrap_or_else(|| "?".to_owned()).into(),
        ]
    }
}

fn conditions(schema: &FlowSchema) -> impl Iterator<Item = &FlowSchemaCondition> {
    schema.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

fn validate_status(schema: &FlowSchema) -> Vec<FieldError> {
    condition_types(conditions(schema).map(|condition| condition.type_.as_deref()))
}

/// Every condition has a type, and no type comes twice.
pub(super) fn condition_types<'a>(
    types: impl Iterator<Item = Option<&'a str>>,
) -> Vec<FieldError> {
    let (mut seen, mut errors) = (Vec::new(), Vec::new());
    for (index, ty) in types.map(Option::unwrap_or_default).enumerate() {
        let path = format!("status.conditions[{index}].type");
        if seen.contains(&ty) {
            errors.push(FieldError::duplicate(&path, ty));
        }
        seen.push(ty);
        if ty.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
    }
    errors
}
