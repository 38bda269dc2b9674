//! The rules of projected volumes: many sources in one tree of files.
//!
//! Source: `validateProjectionSources` in `pkg/apis/core/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, PodCertificateProjection, ProjectedVolumeSource,
    ServiceAccountTokenProjection, VolumeProjection,
};

use super::validation::{Errors, text};
use super::volumes::{validate_downward_file, validate_items, validate_mode};
use crate::kinds::rules::local_path::validate_local;
use crate::kinds::{FieldError, meta, names, selector};

const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// Adds all problems of a projected volume.
pub fn validate(projected: &ProjectedVolumeSource, path: &str, errors: &mut Errors) {
    validate_mode(projected.default_mode, &format!("{path}.defaultMode"), errors);
    let mut taken = BTreeSet::new();
    for (index, source) in projected.sources.iter().flatten().enumerate() {
        let own_path = format!("{path}.sources[{index}]");
        validate_projection(source, &own_path, path, errors);
        let files = projected_files(source);
        for (file, about) in files.into_iter().filter(|(file, _)| !file.is_empty()) {
            if !taken.insert(file) {
                errors.push(FieldError::invalid(path, about, "conflicting duplicate paths"));
            }
        }
        let count = [
            source.secret.is_some(),
            source.config_map.is_some(),
            source.downward_api.is_some(),
            source.service_account_token.is_some(),
            source.cluster_trust_bundle.is_some(),
            source.pod_certificate.is_some(),
        ];
        if count.into_iter().filter(|set| *set).count() > 1 {
            let detail = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(own_path, detail));
        }
    }
}

/// The files of a source, each with what an error about it shows.
fn projected_files(source: &VolumeProjection) -> Vec<(&str, &str)> {
    let mut files = Vec::new();
    if let Some(secret) = &source.secret {
        let items = secret.items.iter().flatten();
        files.extend(items.map(|item| (item.path.as_str(), secret.name.as_str())));
    }
    if let Some(map) = &source.config_map {
        let items = map.items.iter().flatten();
        files.extend(items.map(|item| (item.path.as_str(), map.name.as_str())));
    }
    if let Some(downward) = &source.downward_api {
        let items = downward.items.iter().flatten();
        files.extend(items.map(|item| (item.path.as_str(), item.path.as_str())));
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        files.push((bundle.path.as_str(), bundle.path.as_str()));
    }
    if let Some(certificate) = &source.pod_certificate {
        let paths = [
            &certificate.credential_bundle_path,
            &certificate.key_path,
            &certificate.certificate_chain_path,
        ];
        files.extend(paths.into_iter().flatten().map(|path| (path.as_str(), path.as_str())));
    }
    files
}

fn validate_projection(
    source: &VolumeProjection,
    path: &str,
    volume_path: &str,
    errors: &mut Errors,
) {
    if let Some(secret) = &source.secret {
        let path = format!("{path}.secret");
        if secret.name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        validate_items(secret.items.as_deref(), &path, errors);
    }
    if let Some(map) = &source.config_map {
        let path = format!("{path}.configMap");
        if map.name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        }
        validate_items(map.items.as_deref(), &path, errors);
    }
    for file in source.downward_api.iter().flat_map(|downward| downward.items.iter().flatten()) {
        validate_downward_file(file, &format!("{path}.downwardAPI"), errors);
    }
    if let Some(token) = &source.service_account_token {
        validate_token(token, &format!("{path}.serviceAccountToken"), volume_path, errors);
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        validate_trust_bundle(bundle, &format!("{path}.clusterTrustBundle"), errors);
    }
    if let Some(certificate) = &source.pod_certificate {
        validate_certificate(certificate, &format!("{path}.podCertificate"), errors);
    }
}

fn validate_token(
    token: &ServiceAccountTokenProjection,
    path: &str,
    volume_path: &str,
    errors: &mut Errors,
) {
    let seconds = token.expiration_seconds.unwrap_or_default();
    let path = format!("{path}.expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        let detail = "may not specify a duration less than 10 minutes";
        errors.push(FieldError::invalid(&path, seconds, detail));
    }
    if seconds > TOKEN_SECONDS_MAX {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.push(FieldError::invalid(&path, seconds, detail));
    }
    // The path of the volume, not of the source, is upstream's.
    let path = format!("{volume_path}.path");
    if token.path.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        validate_local(&token.path, &path, errors);
    }
}

fn validate_trust_bundle(bundle: &ClusterTrustBundleProjection, path: &str, errors: &mut Errors) {
    let name_path = format!("{path}.name");
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => {
            let value = serde_json::to_value(bundle).unwrap_or_default();
            let detail = "only one of name and signerName may be used";
            errors.push(FieldError::invalid(path, value, detail));
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.push(FieldError::required(name_path, "must be a valid object name"));
            }
            if bundle.label_selector.is_some() {
                let detail = "labelSelector must be unset if name is specified";
                let value = serde_json::to_value(&bundle.label_selector).unwrap_or_default();
                errors.push(FieldError::invalid(format!("{path}.labelSelector"), value, detail));
            }
        }
        (None, Some(signer)) => {
            let signer_path = format!("{path}.signerName");
            if signer.is_empty() {
                errors.push(FieldError::required(&signer_path, "must be a valid signer name"));
            }
            validate_signer(signer, &signer_path, errors);
            if let Some(selector) = &bundle.label_selector {
                errors.extend(selector::validate(selector, &format!("{path}.labelSelector")));
            }
        }
        (None, None) => {
            errors.push(FieldError::required(path, "either name or signerName must be specified"));
        }
    }
    if bundle.path.is_empty() {
        errors.push(FieldError::required(format!("{path}.path"), ""));
    }
    validate_local(&bundle.path, &format!("{path}.path"), errors);
}

fn validate_certificate(certificate: &PodCertificateProjection, path: &str, errors: &mut Errors) {
    const KEYS: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    validate_signer(&certificate.signer_name, &format!("{path}.signerName"), errors);
    if !KEYS.contains(&certificate.key_type.as_str()) {
        let path = format!("{path}.keyType");
        errors.push(FieldError::not_supported(path, certificate.key_type.as_str(), KEYS));
    }
    if let Some(seconds) = certificate.max_expiration_seconds.filter(|seconds| *seconds < 3600) {
        let detail = "if provided, maxExpirationSeconds must be >= 3600";
        errors.push(FieldError::invalid(format!("{path}.maxExpirationSeconds"), seconds, detail));
    }
    let files = [
        ("credentialBundlePath", text(&certificate.credential_bundle_path)),
        ("keyPath", text(&certificate.key_path)),
        ("certificateChainPath", text(&certificate.certificate_chain_path)),
    ];
    for (field, file) in files {
        validate_local(file, &format!("{path}.{field}"), errors);
    }
    if files.iter().all(|(_, file)| file.is_empty()) {
        let detail =
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(path, detail));
    }
}

/// A signer is a domain with at least two labels, a slash and a path.
fn validate_signer(signer: &str, path: &str, errors: &mut Errors) {
    if signer.is_empty() {
        return errors.push(FieldError::required(path, ""));
    }
    let Some((domain, rest)) = signer.split_once('/').filter(|(_, rest)| !rest.is_empty()) else {
        let detail =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.push(FieldError::invalid(path, signer, detail));
    };
    let messages = names::subdomain(domain);
    if messages.is_empty() && !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, detail));
    }
    errors.extend(meta::invalid_each(path, domain, messages));
    errors.extend(meta::invalid_each(path, rest, names::subdomain(rest)));
}
