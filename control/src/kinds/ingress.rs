//! Ingresses: which HTTP requests from outside go to which Services.
//!
//! Source: `pkg/registry/networking/ingress/strategy.go`, `pkg/apis/networking/validation`.

mod validate;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{Ingress, IngressRule, IngressStatus};
use serde_json::Value;

use super::{Column, FieldError, Generation, Kind, KindInfo, Subresource, meta};

/// The annotation that the class stood in before it had a field.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const HOSTS_SHOWN_MAX: usize = 3;

pub struct Ingresses;

impl Kind for Ingresses {
    type Object = Ingress;

    const INFO: KindInfo = KindInfo {
        short_names: &["ing"],
        subresources: &[Subresource::Status],
        generation: Generation::Raised,
        not_yet: Some("nothing serves it yet"),
        ..KindInfo::namespaced(
            "networking.k8s.io",
            "v1",
            "Ingress",
            "ingresses",
            "ingress",
            "io.k8s.api.networking.v1.Ingress",
        )
    };

    fn validate(ingress: &Ingress) -> Vec<FieldError> {
        validate::spec(&ingress.spec.clone().unwrap_or_default())
    }

    fn validate_create(ingress: &Ingress) -> Vec<FieldError> {
        match (class_annotation(ingress), class_name(ingress)) {
            (Some(annotated), Some(class)) if annotated != class => vec![FieldError::invalid(
                format!("annotations.{CLASS_ANNOTATION}"),
                annotated,
                "must match `ingressClassName` when both are specified",
            )],
            _ => Vec::new(),
        }
    }

    fn validate_status(new: &Ingress, _old: &Ingress) -> Vec<FieldError> {
        new.status.as_ref().map(validate::status).unwrap_or_default()
    }

    fn warnings(new: &Ingress, old: Option<&Ingress>) -> Vec<String> {
        if old.is_some() || class_annotation(new).is_none() || class_name(new).is_some() {
            return Vec::new();
        }
        vec![format!(
            "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
        )]
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::NAME,
            Column::new(
                "Class",
                "string",
                0,
                "The name of the IngressClass resource that should be used for additional configuration",
            ),
            Column::new(
                "Hosts",
                "string",
                0,
                "Hosts that incoming requests are matched against before the ingress rule",
            ),
            Column::new(
                "Address",
                "string",
                0,
                "Address is a list containing ingress points for the load-balancer",
            ),
            Column::new("Ports", "string", 0, "Ports of TLS configurations that open"),
            Column::AGE,
        ];
        COLUMNS
    }

    fn cells(ingress: &Ingress, now: Timestamp) -> Vec<Value> {
        let spec = ingress.spec.clone().unwrap_or_default();
        let is_secure = spec.tls.as_ref().is_some_and(|tls| !tls.is_empty());
        vec![
            meta::object_name(&ingress.metadata),
            class_name(ingress).unwrap_or("<none>").into(),
            hosts_text(spec.rules.as_deref().unwrap_or_default()).into(),
            addresses(ingress.status.as_ref()).into(),
            if is_secure { "80, 443".into() } else { "80".into() },
            meta::object_age(&ingress.metadata, now),
        ]
    }
}

pub(crate) fn class_name(ingress: &Ingress) -> Option<&str> {
    ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref())
}

pub(crate) fn class_annotation(ingress: &Ingress) -> Option<&str> {
    let annotations = ingress.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(CLASS_ANNOTATION)).map(String::as_str)
}

fn hosts_text(rules: &[IngressRule]) -> String {
    let mut shown = Vec::new();
    for rule in rules {
        if shown.len() == HOSTS_SHOWN_MAX {
            // Upstream counts the rules without a host too.
            return format!("{} + {} more...", shown.join(","), rules.len() - HOSTS_SHOWN_MAX);
        }
        shown.extend(rule.host.as_deref().filter(|host| !host.is_empty()));
    }
    if shown.is_empty() { "*".to_owned() } else { shown.join(",") }
}

/// Addresses or names, sorted, each once.
fn addresses(status: Option<&IngressStatus>) -> String {
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let points = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let filled = |field: &'_ Option<String>| field.as_ref().is_some_and(|text| !text.is_empty());
    let all: std::collections::BTreeSet<&str> = points
        .iter()
        .filter_map(|point| {
            let picked = if filled(&point.ip) { &point.ip } else { &point.hostname };
            picked.as_deref().filter(|text| !text.is_empty())
        })
        .collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::{row, warnings};

    #[test]
    fn hosts_and_addresses_are_cut_as_kubectl_shows_them() {
        let with = |hosts: &[&str], status: Value| {
            let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
            let cells = row::<Ingresses>(json!({
                "metadata": {"name": "i"}, "spec": {"rules": rules, "tls": [{}]},
                "status": {"loadBalancer": {"ingress": status}},
            }));
            [cells[2].clone(), cells[3].clone(), cells[4].clone()]
        };
        let points = json!([{"ip": "2.2.2.2"}, {"hostname": "1.example"}, {"ip": "2.2.2.2"}]);
        assert_eq!(with(&["a", "b"], points), ["a,b", "1.example,2.2.2.2", "80, 443"]);
        assert_eq!(with(&["a", "", "b", "c"], json!([])), ["a,b,c", "", "80, 443"]);
        assert_eq!(with(&["a", "b", "c", "d", ""], json!([]))[0], "a,b,c + 2 more...");
        assert_eq!(with(&[""], json!([]))[0], "*");
    }

    #[test]
    fn the_class_belongs_into_its_field() {
        let with = |class: Option<&str>| {
            json!({"metadata": {"annotations": {CLASS_ANNOTATION: "a"}},
                "spec": {"ingressClassName": class}})
        };
        let told = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        assert_eq!(warnings::<Ingresses>(with(None), None), [told]);
        assert_eq!(warnings::<Ingresses>(with(Some("a")), None), [""; 0]);
        assert_eq!(warnings::<Ingresses>(with(None), Some(with(None))), [""; 0]);
    }
}
