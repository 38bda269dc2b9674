//! Files of a volume that would be written over one another.

use std::fmt;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Volume, VolumeProjection,
};

use super::Warnings;

/// A file, and which source of a projected volume it comes from.
#[derive(Clone, Debug, PartialEq)]
struct File {
    path: String,
    source: String,
}

impl File {
    fn new(path: &str, source: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned(), source: source.to_owned() }
    }

    /// Whether one is the other, or lies in it.
    fn overlaps(&self, other: &Self) -> bool {
        let (mine, theirs) = (format!("{}/", self.path), format!("{}/", other.path));
        !self.path.is_empty()
            && !other.path.is_empty()
            && (mine.starts_with(&theirs) || theirs.starts_with(&mine))
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.path)?;
        if self.source.is_empty() { Ok(()) } else { write!(f, " ({})", self.source) }
    }
}

/// Adds a warning for each pair of a volume's files that overlap.
pub fn warn(volumes: &[Volume], warnings: &mut Warnings) {
    for volume in volumes {
        let mut tell = |what: &str, files: Vec<File>| {
            for (index, file) in files.iter().enumerate() {
                for other in files[..index].iter().filter(|other| file.overlaps(other)) {
                    warnings.push(format!(
                        "volume {:?} ({what}): overlapping paths: {file} with {other}",
                        volume.name
                    ));
                }
            }
        };
        if let Some(source) = &volume.config_map {
            tell(&format!("ConfigMap {:?}", source.name), keys(&source.items, ""));
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            tell(&format!("Secret {name:?}"), keys(&source.items, ""));
        }
        if let Some(source) = &volume.downward_api {
            tell("DownwardAPI", fields(&source.items, ""));
        }
        if let Some(projected) = &volume.projected {
            tell("Projected", sources(projected).flat_map(projection).collect());
            for _ in sources(projected).filter(|source| **source == VolumeProjection::default()) {
                let name = &volume.name;
                warnings.push(format!("volume {name:?} (Projected) has no sources provided"));
            }
        }
    }
}

fn sources(projected: &ProjectedVolumeSource) -> impl Iterator<Item = &VolumeProjection> {
    projected.sources.iter().flatten()
}

fn keys(items: &Option<Vec<KeyToPath>>, source: &str) -> Vec<File> {
    items.iter().flatten().map(|item| File::new(&item.path, source)).collect()
}

fn fields(items: &Option<Vec<DownwardAPIVolumeFile>>, source: &str) -> Vec<File> {
    items.iter().flatten().map(|item| File::new(&item.path, source)).collect()
}

/// The files whose paths the source names.
fn projection(source: &VolumeProjection) -> Vec<File> {
    if let Some(map) = &source.config_map {
        return keys(&map.items, &format!("ConfigMap {:?}", map.name));
    }
    if let Some(secret) = &source.secret {
        return keys(&secret.items, &format!("Secret {:?}", secret.name));
    }
    if let Some(fields_of) = &source.downward_api {
        return fields(&fields_of.items, "DownwardAPI");
    }
    if let Some(token) = &source.service_account_token {
        return vec![File::new(&token.path, "ServiceAccountToken")];
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        let name = bundle.name.as_ref().or(bundle.signer_name.as_ref());
        let name = name.map(String::as_str).unwrap_or_default();
        return vec![File::new(&bundle.path, &format!("ClusterTrustBundle {name:?}"))];
    }
    let Some(certificate) = &source.pod_certificate else { return Vec::new() };
    [
        (&certificate.certificate_chain_path, "PodCertificate chain"),
        (&certificate.key_path, "PodCertificate key"),
        (&certificate.credential_bundle_path, "PodCertificate credential bundle"),
    ]
    .into_iter()
    .filter_map(|(path, source)| path.as_ref().map(|path| File::new(path, source)))
    .filter(|file| !file.path.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn warnings(volume: Value) -> Warnings {
        let mut warnings = Warnings::new();
        warn(&[serde_json::from_value(volume).expect("a volume")], &mut warnings);
        warnings
    }

    #[test]
    fn files_in_one_another_are_told_of() {
        let items = json!([
            { "key": "a", "path": "x" }, { "key": "b", "path": "x/y" }, { "key": "c", "path": "xy" },
        ]);
        assert_eq!(
            warnings(json!({ "name": "v", "configMap": { "name": "m", "items": items } })),
            [r#"volume "v" (ConfigMap "m"): overlapping paths: "x/y" with "x""#]
        );
        let projected = json!({ "sources": [
            { "secret": { "name": "s", "items": [{ "key": "a", "path": "token/" }] } },
            { "serviceAccountToken": { "path": "token" } },
            {},
        ]});
        assert_eq!(
            warnings(json!({ "name": "v", "projected": projected })),
            [
                r#"volume "v" (Projected): overlapping paths: "token" (ServiceAccountToken) with "token" (Secret "s")"#,
                r#"volume "v" (Projected) has no sources provided"#,
            ]
        );
    }
}
