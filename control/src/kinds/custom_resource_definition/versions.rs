//! What all versions have in common stands above them: where upstream's internal form keeps it, and
//! where its errors point to.
//!
//! Source: `Convert_v1_CustomResourceDefinitionSpec_To_apiextensions_CustomResourceDefinitionSpec` in
//! `pkg/apis/apiextensions/v1/conversion.go`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
    CustomResourceSubresources, CustomResourceValidation, SelectableField,
};
use serde_json::{Value, json};

/// What a version says of its objects.
#[derive(Clone, Copy, Default)]
pub struct Parts<'a> {
    pub subresources: Option<&'a CustomResourceSubresources>,
    pub schema: Option<&'a CustomResourceValidation>,
    pub columns: &'a [CustomResourceColumnDefinition],
    pub selectable: &'a [SelectableField],
}

/// A definition as upstream's internal form.
pub struct Internal<'a> {
    pub common: Parts<'a>,
    /// What is left of each version, in their order.
    pub versions: Vec<Parts<'a>>,
}

impl<'a> Internal<'a> {
    pub fn of(spec: &'a CustomResourceDefinitionSpec) -> Self {
        let all: Vec<Parts<'_>> = spec
            .versions
            .iter()
            .map(|version| Parts {
                subresources: version.subresources.as_ref(),
                schema: version.schema.as_ref(),
                columns: version.additional_printer_columns.as_deref().unwrap_or_default(),
                selectable: version.selectable_fields.as_deref().unwrap_or_default(),
            })
            .collect();
        let Some(first) = all.first().copied() else {
            return Self { common: Parts::default(), versions: all };
        };
        let (mut common, mut rest) = (Parts::default(), all.clone());
        if all.iter().all(|parts| parts.subresources == first.subresources) {
            common.subresources = first.subresources;
            rest.iter_mut().for_each(|parts| parts.subresources = None);
        }
        if all.iter().all(|parts| parts.schema == first.schema) {
            common.schema = first.schema;
            rest.iter_mut().for_each(|parts| parts.schema = None);
        }
        if all.iter().all(|parts| parts.columns == first.columns) {
            common.columns = first.columns;
            rest.iter_mut().for_each(|parts| parts.columns = &[]);
        }
        if all.iter().all(|parts| parts.selectable == first.selectable) {
            common.selectable = first.selectable;
            rest.iter_mut().for_each(|parts| parts.selectable = &[]);
        }
        Self { common, versions: rest }
    }

    /// The versions with what is left of each.
    pub fn shown(&self, versions: &[CustomResourceDefinitionVersion]) -> Value {
        let left = versions.iter().zip(&self.versions).map(|(version, parts)| {
            let some = |is_left: bool| is_left.then_some(());
            let version = version.clone();
            json!(CustomResourceDefinitionVersion {
                subresources: parts.subresources.and(version.subresources),
                schema: parts.schema.and(version.schema),
                additional_printer_columns: some(!parts.columns.is_empty())
                    .and(version.additional_printer_columns),
                selectable_fields: some(!parts.selectable.is_empty())
                    .and(version.selectable_fields),
                ..version
            })
        });
        left.collect()
    }

    /// Whether a version's objects have a status of their own.
    pub fn has_status(&self, version: usize) -> bool {
        let own = self.versions.iter().any(|parts| parts.subresources.is_some());
        let subresources = if own {
            self.versions.get(version).and_then(|parts| parts.subresources)
        } else {
            self.common.subresources
        };
        subresources.is_some_and(|subresources| subresources.status.is_some())
    }

    /// Whether the objects of any version do.
    pub fn has_any_status(&self) -> bool {
        let mut all = self.versions.iter().chain([&self.common]);
        all.any(|parts| {
            parts.subresources.is_some_and(|subresources| subresources.status.is_some())
        })
    }
}
