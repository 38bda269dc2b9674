//! The formats of values that schemas may name.
//!
//! Source: `pkg/apiserver/validation/formats.go`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinitionSpec, JSONSchemaProps,
};

use super::openapi;

/// Formats of strings, without dashes.
const OF_STRINGS: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// The formats in a definition's schemas that are ignored, as nobody knows them.
pub fn unrecognized(spec: &CustomResourceDefinitionSpec) -> Vec<String> {
    let mut formats = Vec::new();
    for schema in openapi::schemas(spec) {
        openapi::visit(schema, &mut |schema: &JSONSchemaProps| {
            formats.extend(unrecognized_in(schema));
        });
    }
    formats
}

fn unrecognized_in(schema: &JSONSchemaProps) -> Option<String> {
    let format = schema.format.as_deref().filter(|format| !format.is_empty())?;
    let is_known = match schema.type_.as_deref().unwrap_or_default() {
        "" | "string" => OF_STRINGS.contains(&format.replace('-', "").as_str()),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    };
    (!is_known).then(|| format.to_owned())
}
