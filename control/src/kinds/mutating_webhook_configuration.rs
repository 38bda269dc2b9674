//! MutatingWebhookConfigurations: which requests others change before they are stored. The API alone:
//! nothing calls the webhooks yet.
//!
//! Source: `pkg/registry/admissionregistration/mutatingwebhookconfiguration/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration as Object,
};
use serde_json::Value;

use super::rules::admission_match as matching;
use super::rules::webhook::{self, Defaulted, Webhook};
use super::{Column, FieldError, Generation, Kind, KindInfo, meta};

pub struct MutatingWebhookConfigurations;

impl Kind for MutatingWebhookConfigurations {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        categories: &["api-extensions"],
        generation: Generation::Raised,
        unconditional_update: false,
        not_yet: Some("its webhooks are not called yet"),
        ..KindInfo::cluster(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            "mutatingwebhookconfiguration",
            "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
        )
    };

    fn default(object: &mut Object) {
        for hook in object.webhooks.iter_mut().flatten() {
            webhook::default(Defaulted {
                client: &mut hook.client_config,
                rules: &mut hook.rules,
                failure_policy: &mut hook.failure_policy,
                match_policy: &mut hook.match_policy,
                timeout_seconds: &mut hook.timeout_seconds,
                namespaces: &mut hook.namespace_selector,
                objects: &mut hook.object_selector,
            });
            hook.reinvocation_policy.get_or_insert_with(|| "Never".to_owned());
        }
    }

    fn validate(object: &Object) -> Vec<FieldError> {
        let hooks: Vec<Webhook<'_>> = object.webhooks.iter().flatten().map(view).collect();
        webhook::validate_all(&hooks)
    }

    fn warnings(new: &Object, _old: Option<&Object>) -> Vec<String> {
        matching::name_warning(new.metadata.name.as_deref()).into_iter().collect()
    }

    fn columns() -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::NAME, webhook::WEBHOOKS, Column::AGE];
        COLUMNS
    }

    fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
        vec![
            meta::object_name(&object.metadata),
            object.webhooks.as_ref().map_or(0, Vec::len).into(),
            meta::object_age(&object.metadata, now),
        ]
    }
}

fn view(hook: &MutatingWebhook) -> Webhook<'_> {
    Webhook {
        name: &hook.name,
        client: &hook.client_config,
        rules: hook.rules.as_deref(),
        conditions: hook.match_conditions.as_deref(),
        failure_policy: hook.failure_policy.as_deref(),
        match_policy: hook.match_policy.as_deref(),
        reinvocation_policy: hook.reinvocation_policy.as_deref(),
        side_effects: &hook.side_effects,
        timeout_seconds: hook.timeout_seconds,
        namespaces: hook.namespace_selector.as_ref(),
        objects: hook.object_selector.as_ref(),
        versions: &hook.admission_review_versions,
    }
}
