//! IngressClasses: which controller serves which Ingresses.
//!
//! Source: `pkg/registry/networking/ingressclass/strategy.go`, `pkg/apis/networking/validation`.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{
    IngressClass, IngressClassParametersReference, IngressClassSpec,
};
use serde_json::Value;

use super::meta::invalid_each;
use super::rules::{domain_path, object_reference};
use super::{Column, FieldError, Generation, Kind, KindInfo, meta, names};

/// Marks the class of Ingresses that name none.
pub const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

const CONTROLLER: &str = "spec.controller";
const CONTROLLER_LENGTH_MAX: usize = 250;
const SCOPES: &[&str] = &["Cluster", "Namespace"];

pub struct IngressClasses;

impl Kind for IngressClasses {
    type Object = IngressClass;

    const INFO: KindInfo = KindInfo {
        generation: Generation::Raised,
        change_first: true,
        ..KindInfo::cluster(
            "networking.k8s.io",
            "v1",
            "IngressClass",
            "ingressclasses",
            "ingressclass",
            "io.k8s.api.networking.v1.IngressClass",
        )
    };

    fn default(class: &mut IngressClass) {
        if let Some(parameters) =
            class.spec.as_mut().and_then(|spec| spec.parameters.as_mut())
        {
            parameters.scope.get_or_insert_with(|| "Cluster".to_owned());
        }
    }

    fn validate(class: &IngressClass) -> Vec<FieldError> {
        validate_spec(&class.spec.clone().unwrap_or_default())
    }

    fn validate_update(new: &IngressClass, old: &IngressClass) -> Vec<FieldError> {
        let controller = |class: &IngressClass| Value::from(controller(class));
        meta::immutable(&controller(new), &controller(old), CONTROLLER).into_iter().collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Controller", "string", 0, "Controller that is responsible for handling this class"),
            Column::new("Parameters", "string", 0, "A reference to a resource with additional parameters"),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(class: &IngressClass, now: Timestamp) -> Vec<Value> {
        let mut name = class.metadata.name.clone().unwrap_or_default();
        if is_default(class) {
            name.push_str(" (default)");
        }
        let parameters = class.spec.as_ref().and_then(|spec| spec.parameters.as_ref());
        vec![
            name.into(),
            controller(class).into(),
            parameters.map_or_else(|| "<none>".to_owned(), parameters_text).into(),
            meta::object_age(&class.metadata, now),
        ]
    }
}

/// Whether Ingresses that name no class are of this one.
pub(crate) fn is_default(class: &IngressClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(DEFAULT_CLASS)).is_some_and(|value| value == "true")
}

fn controller(class: &IngressClass) -> &str {
    let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
    controller.unwrap_or_default()
}

fn parameters_text(parameters: &IngressClassParametersReference) -> String {
    match &parameters.api_group {
        Some(group) => format!("{}.{group}/{}", parameters.kind, parameters.name),
        None => format!("{}/{}", parameters.kind, parameters.name),
    }
}

fn validate_spec(spec: &IngressClassSpec) -> Vec<FieldError> {
    let controller = spec.controller.as_deref().unwrap_or_default();
    let mut errors = Vec::new();
    if controller.len() > CONTROLLER_LENGTH_MAX {
        errors.push(FieldError::too_long(CONTROLLER, CONTROLLER_LENGTH_MAX));
    }
    errors.extend(domain_path::validate(controller, CONTROLLER));
    errors.extend(spec.parameters.iter().flat_map(validate_parameters));
    errors
}

fn validate_parameters(parameters: &IngressClassParametersReference) -> Vec<FieldError> {
    const PATH: &str = "spec.parameters";
    let group = parameters.api_group.as_deref();
    let mut errors = object_reference::typed(group, &parameters.kind, &parameters.name, PATH);
    let path = format!("{PATH}.namespace");
    match (parameters.scope.as_deref(), parameters.namespace.as_deref()) {
        (None, _) => errors.push(FieldError::required(format!("{PATH}.scope"), "")),
        (Some("Namespace"), None) => {
            errors.push(FieldError::required(path, "`parameters.scope` is set to 'Namespace'"));
        }
        (Some("Namespace"), Some(namespace)) => {
            errors.extend(invalid_each(&path, namespace, names::label(namespace)));
        }
        (Some("Cluster"), Some(_)) => {
            errors.push(FieldError::forbidden(path, "`parameters.scope` is set to 'Cluster'"));
        }
        (Some("Cluster"), None) => {}
        (Some(other), _) => {
            errors.push(FieldError::not_supported(format!("{PATH}.scope"), other, SCOPES));
        }
    }
    errors
}
