//! APIServices: who serves a version of a group.
//!
//! Source: `k8s.io/kube-aggregator/pkg/{registry/apiservice,apis/apiregistration}`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService as Object, APIServiceCondition, APIServiceSpec, ServiceReference,
};
use serde_json::Value;

use super::meta::invalid_each;
use super::{
    Column, Context, FieldError, Kind, KindInfo, NameRule, Subresource, USER_METADATA, meta, names,
};

pub struct ApiServices;

impl Kind for ApiServices {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        categories: &["api-extensions"],
        // The name follows from group and version, which only `validate` sees.
        names: NameRule::PathSegment,
        subresources: &[Subresource::Status],
        unconditional_update: false,
        fixed_by_status: USER_METADATA,
        not_yet: Some("requests are not passed on to it yet"),
        ..KindInfo::cluster(
            "apiregistration.k8s.io",
            "v1",
            "APIService",
            "apiservices",
            "apiservice",
            "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
        )
    };

    fn default(object: &mut Object) {
        let service = object.spec.as_mut().and_then(|spec| spec.service.as_mut());
        if let Some(service) = service {
            service.port.get_or_insert(443);
        }
    }

    /// What this server serves itself is available at once.
    fn prepare_create(object: &mut Object, context: &Context<'_>) {
        let is_local = object.spec.as_ref().is_none_or(|spec| spec.service.is_none());
        if is_local {
            let condition = APIServiceCondition {
                type_: "Available".to_owned(),
                status: "True".to_owned(),
                last_transition_time: Some(Time(context.now)),
                reason: Some("Local".to_owned()),
                message: Some("Local APIServices are always available".to_owned()),
            };
            object.status.get_or_insert_default().conditions = Some(vec![condition]);
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        const NONE: &APIServiceSpec = &APIServiceSpec {
            ca_bundle: None,
            group: None,
            group_priority_minimum: 0,
            insecure_skip_tls_verify: None,
            service: None,
            version: None,
            version_priority: 0,
        };
        let spec = object.spec.as_ref().unwrap_or(NONE);
        let mut errors = validate_name(&object.metadata, spec);
        errors.extend(validate_spec(spec));
        errors
    }

    fn validate_status(new: &Object, _old: &Object) -> Vec<FieldError> {
        const STATUSES: &[&str] = &["True", "False", "Unknown"];
        let conditions = new.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let wrong = conditions
            .enumerate()
            .filter(|(_, condition)| !STATUSES.contains(&condition.status.as_str()));
        wrong
            .map(|(index, condition)| {
                let path = format!("status.conditions[{index}].status");
                FieldError::not_supported(path, condition.status.as_str(), STATUSES)
            })
            .collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new("Service", "string", 0, "The Service that serves this, or Local."),
            Column::new("Available", "string", 0, "Whether it can be asked."),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&object.metadata),
            service_cell(object).into(),
            available_cell(object).into(),
            meta::object_age(&object.metadata, now),
        ]
    }
}

fn service_cell(object: &Object) -> String {
    let service = object.spec.as_ref().and_then(|spec| spec.service.as_ref());
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    service.map_or("Local".to_owned(), |service| {
        format!("{}/{}", text(&service.namespace), text(&service.name))
    })
}

fn available_cell(object: &Object) -> String {
    let conditions = object.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let Some(condition) = conditions.into_iter().find(|condition| condition.type_ == "Available")
    else {
        return "Unknown".to_owned();
    };
    match condition.reason.as_deref().unwrap_or_default() {
        reason if condition.status != "True" && !reason.is_empty() => {
            format!("{} ({reason})", condition.status)
        }
        _ => condition.status.clone(),
    }
}

fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

fn validate_name(metadata: &ObjectMeta, spec: &APIServiceSpec) -> Vec<FieldError> {
    let wanted = format!("{}.{}", text(&spec.version), text(&spec.group));
    let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
    let fields = [
        ("metadata.generateName", text(&metadata.generate_name)),
        ("metadata.name", text(&metadata.name)),
    ];
    let wrong = fields.into_iter().filter(|(_, name)| {
        !name.is_empty() && *name != wanted && names::path_segment(name, false).is_empty()
    });
    wrong.map(|(path, name)| FieldError::invalid(path, name, why.clone())).collect()
}

fn validate_spec(spec: &APIServiceSpec) -> Vec<FieldError> {
    let (group, version) = (text(&spec.group), text(&spec.version));
    let mut errors = Vec::new();
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required("spec.group", why));
    }
    if !group.is_empty() {
        errors.extend(invalid_each("spec.group", group, names::subdomain(group)));
    }
    errors.extend(invalid_each("spec.version", version, names::label_1035(version)));
    for (path, priority, max) in [
        ("spec.groupPriorityMinimum", spec.group_priority_minimum, 20_000),
        ("spec.versionPriority", spec.version_priority, 1_000),
    ] {
        if priority <= 0 || priority > max {
            let why = format!("must be positive and less than {max}");
            errors.push(FieldError::invalid(path, priority, why));
        }
    }
    errors.extend(match &spec.service {
        None => validate_local(spec),
        Some(service) => validate_remote(spec, service),
    });
    errors
}

fn validate_local(spec: &APIServiceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let size = spec.ca_bundle.as_ref().map_or(0, |bundle| bundle.0.len());
    if size > 0 {
        let why = "local APIServices may not have a caBundle";
        errors.push(FieldError::invalid("spec.caBundle", format!("{size} bytes"), why));
    }
    if spec.insecure_skip_tls_verify == Some(true) {
        let why = "local APIServices may not have insecureSkipTLSVerify";
        errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, why));
    }
    errors
}

fn validate_remote(spec: &APIServiceSpec, service: &ServiceReference) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (path, value) in
        [("spec.service.namespace", &service.namespace), ("spec.service.name", &service.name)]
    {
        if text(value).is_empty() {
            errors.push(FieldError::required(path, ""));
        }
    }
    let port = service.port.unwrap_or_default();
    let problems = names::port_number(i64::from(port));
    if !problems.is_empty() {
        let why = format!("port is not valid: {}", problems.join(", "));
        errors.push(FieldError::invalid("spec.service.port", port, why));
    }
    let has_bundle = spec.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty());
    if spec.insecure_skip_tls_verify == Some(true) && has_bundle {
        let why = "may not be true if caBundle is present";
        errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, why));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::row;
    use serde_json::json;

    #[test]
    fn a_row_says_who_serves_and_whether() {
        let condition = |status: &str, reason: &str| json!({"conditions": [{"type": "Available", "status": status, "reason": reason}]});
        let cells = |status| {
            let object = json!({
                "metadata": {"name": "v1.a.b"},
                "spec": {"service": {"namespace": "x", "name": "y"}},
                "status": status,
            });
            row::<ApiServices>(object)[1..3].to_vec()
        };
        let table = [
            (json!({}), "Unknown"),
            (condition("True", "Passed"), "True"),
            (condition("False", "MissingEndpoint"), "False (MissingEndpoint)"),
            (condition("False", ""), "False"),
        ];
        for (status, shown) in table {
            assert_eq!(cells(status), ["x/y", shown]);
        }
    }
}
