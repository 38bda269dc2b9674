//! CustomResourceDefinitions: kinds that users bring. The API alone: nothing serves them yet, so
//! nobody sets the conditions `NamesAccepted` and `Established`.
//!
//! `validate` judges all but the schemas; `schema` and `structural` judge those, `defaults` the
//! default values in them. Source: `k8s.io/apiextensions-apiserver/pkg/{registry/customresourcedefinition,
//! apis/apiextensions}`.

mod columns;
mod conversion;
mod defaults;
mod formats;
mod openapi;
mod paths;
mod rules;
mod structural;
mod validate;
mod versions;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition as Object, CustomResourceDefinitionSpec,
};

use super::meta::IMMUTABLE;
use super::{Context, FieldError, Generation, Kind, KindInfo, Subresource};

pub struct CustomResourceDefinitions;

impl Kind for CustomResourceDefinitions {
    type Object = Object;
    const INFO: KindInfo = KindInfo {
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        subresources: &[Subresource::Status],
        generation: Generation::Raised,
        unconditional_update: false,
        not_yet: Some("its resources are not served yet"),
        ..KindInfo::cluster(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            "customresourcedefinition",
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        )
    };

    fn default(object: &mut Object) {
        let spec = &mut object.spec;
        let kind = &spec.names.kind;
        if spec.names.singular.as_deref().unwrap_or_default().is_empty() {
            spec.names.singular = Some(kind.to_lowercase());
        }
        if spec.names.list_kind.as_deref().unwrap_or_default().is_empty() && !kind.is_empty() {
            spec.names.list_kind = Some(format!("{kind}List"));
        }
        let conversion = spec.conversion.get_or_insert_with(|| CustomResourceConversion {
            strategy: "None".to_owned(),
            webhook: None,
        });
        let client = conversion.webhook.as_mut().and_then(|hook| hook.client_config.as_mut());
        if let Some(service) = client.and_then(|client| client.service.as_mut()) {
            service.port.get_or_insert(443);
        }
        let status = object.status.get_or_insert_default();
        let stored = status.stored_versions.get_or_insert_default();
        if stored.is_empty() {
            stored.extend(storage_version(&object.spec));
        }
    }

    fn prepare_create(object: &mut Object, _context: &Context<'_>) {
        object.status = None;
    }

    /// What is stored in a version from here on is told.
    fn prepare_update(new: &mut Object, old: &Object, _context: &Context<'_>) {
        new.status = old.status.clone();
        let Some(version) = storage_version(&new.spec) else { return };
        let stored = new.status.get_or_insert_default().stored_versions.get_or_insert_default();
        if !stored.contains(&version) {
            stored.push(version);
        }
    }

    fn prepare_status(new: &mut Object, old: &Object, _context: &Context<'_>) {
        new.spec = old.spec.clone();
    }

    /// What is particular to a create or an update stands among what is common to both.
    fn validate(_object: &Object) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_create(object: &Object) -> Vec<FieldError> {
        let spec = &object.spec;
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let mut errors = Vec::new();
        if !name.is_empty() && name != format!("{}.{}", spec.names.plural, spec.group) {
            let why = "must be spec.names.plural+\".\"+spec.group";
            errors.push(FieldError::invalid("metadata.name", name, why));
        }
        errors.extend(validate::spec(spec));
        errors.extend(validate_rest(object, None));
        errors
    }

    fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
        let (names, old_names) = (&new.spec.names, &old.spec.names);
        let mut fields = Vec::new();
        // These are part of what is stored.
        if is_established(old) {
            fields.push(("spec.scope", &new.spec.scope, &old.spec.scope));
            fields.push(("spec.names.kind", &names.kind, &old_names.kind));
        }
        fields.push(("spec.group", &new.spec.group, &old.spec.group));
        fields.push(("spec.names.plural", &names.plural, &old_names.plural));
        let changed = fields.into_iter().filter(|(_, new, old)| new != old);
        let changed = changed.map(|(path, new, _)| FieldError::invalid(path, new.as_str(), IMMUTABLE));
        let mut errors = validate::spec(&new.spec);
        errors.extend(changed);
        errors.extend(validate_rest(new, Some(old)));
        errors
    }

    fn validate_status(new: &Object, _old: &Object) -> Vec<FieldError> {
        validate::status(new.status.as_ref())
    }

    /// Formats that nobody knows.
    fn warnings(new: &Object, old: Option<&Object>) -> Vec<String> {
        let known = old.map(|old| formats::unrecognized(&old.spec)).unwrap_or_default();
        let formats = formats::unrecognized(&new.spec);
        let new = formats.into_iter().filter(|format| !known.contains(format));
        new.map(|format| format!("unrecognized format {format:?}")).collect()
    }
}

/// What follows the spec.
fn validate_rest(new: &Object, old: Option<&Object>) -> Vec<FieldError> {
    let mut errors = validate::status(new.status.as_ref());
    errors.extend(validate::stored_versions(new));
    errors.extend(validate::approval(new, old));
    if new.spec.preserve_unknown_fields == Some(true) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, why));
    }
    errors
}

fn storage_version(spec: &CustomResourceDefinitionSpec) -> Option<String> {
    spec.versions.iter().find(|version| version.storage).map(|version| version.name.clone())
}

fn is_established(object: &Object) -> bool {
    let conditions = object.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}
