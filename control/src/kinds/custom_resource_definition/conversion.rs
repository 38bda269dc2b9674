//! How objects get from one version to another.
//!
//! Source: `validateCustomResourceConversion` in `pkg/apis/apiextensions/validation/validation.go`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, WebhookClientConfig,
};

use crate::kinds::rules::webhook_client::{self, Service};
use crate::kinds::{FieldError, names};

/// The paths are those of upstream's internal form, which knows no `webhook`.
const CLIENT: &str = "spec.conversion.webhookClientConfig";
const VERSIONS: &str = "spec.conversion.conversionReviewVersions";

pub fn validate(conversion: &CustomResourceConversion) -> Vec<FieldError> {
    const STRATEGIES: &[&str] = &["None", "Webhook"];
    let strategy = conversion.strategy.as_str();
    let mut errors = Vec::new();
    if strategy.is_empty() {
        errors.push(FieldError::required("spec.conversion.strategy", ""));
    } else if !STRATEGIES.contains(&strategy) {
        let path = "spec.conversion.strategy";
        errors.push(FieldError::not_supported(path, strategy, STRATEGIES));
    }
    let webhook = conversion.webhook.as_ref();
    let client = webhook.and_then(|webhook| webhook.client_config.as_ref());
    let versions = webhook.map_or(&[][..], |webhook| &webhook.conversion_review_versions);
    if strategy == "Webhook" {
        match client {
            None => {
                let why = "required when strategy is set to Webhook";
                errors.push(FieldError::required(CLIENT, why));
            }
            Some(client) => errors.extend(validate_client(client)),
        }
        errors.extend(validate_versions(versions));
        return errors;
    }
    let why = "should not be set when strategy is not set to Webhook";
    if client.is_some() {
        errors.push(FieldError::forbidden(CLIENT, why));
    }
    if !versions.is_empty() {
        errors.push(FieldError::forbidden(VERSIONS, why));
    }
    errors
}

fn validate_client(client: &WebhookClientConfig) -> Vec<FieldError> {
    let service = client.service.as_ref().map(|service| Service {
        namespace: &service.namespace,
        name: &service.name,
        path: service.path.as_deref(),
        port: service.port,
    });
    webhook_client::validate(client.url.as_deref(), service.as_ref(), CLIENT)
}

fn validate_versions(versions: &[String]) -> Vec<FieldError> {
    const ACCEPTED: [&str; 2] = ["v1", "v1beta1"];
    if versions.is_empty() {
        return vec![FieldError::required(VERSIONS, "")];
    }
    let mut errors = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let path = format!("{VERSIONS}[{index}]");
        if versions[..index].contains(version) {
            errors.push(FieldError::invalid(path, version.as_str(), "duplicate version"));
            continue;
        }
        let problems = names::label_1035(version).into_iter();
        errors.extend(problems.map(|why| FieldError::invalid(&path, version.as_str(), why)));
    }
    if !versions.iter().any(|version| ACCEPTED.contains(&version.as_str())) {
        let why = format!("must include at least one of {}", ACCEPTED.join(", "));
        errors.push(FieldError::invalid(VERSIONS, versions.to_vec(), why));
    }
    errors
}
