//! What `wasi:config/store` answers a container: its environment variables, and the keys of the ConfigMaps that it
//! mounts as volumes.
//!
//! Where both have a key, the environment's value counts. A volume with `items` gives those keys, by their own names.
//! Secrets are answered only where the environment names them: a mounted one is read as files, not listed. A value that
//! is no text is left out. Fixed at the container's start, as the environment is. It performs no I/O.

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, Container, Pod};

use super::effects::Found;
use crate::objects::{ObjectKind, ObjectRef};

/// The interface that all of this is for: without it nothing is looked up.
pub const INTERFACE: &str = "wasi:config/store";

/// The ConfigMaps that the container mounts.
pub fn references(pod: &Pod, container: &Container) -> Vec<ObjectRef> {
    mounted(pod, container).map(|source| reference(pod, source)).collect()
}

pub fn build(
    pod: &Pod,
    container: &Container,
    env: &[(String, String)],
    found: &Found,
) -> Vec<(String, String)> {
    let mut config = Vec::new();
    for source in mounted(pod, container) {
        let Some(Some(payload)) = found.get(&reference(pod, source)) else { continue };
        let chosen = source.items.as_deref().filter(|items| !items.is_empty());
        for (key, value) in payload.keys() {
            let is_chosen = chosen.is_none_or(|items| items.iter().any(|item| item.key == *key));
            if let Some(value) = std::str::from_utf8(value).ok().filter(|_| is_chosen) {
                config.push((key.clone(), value.to_owned()));
            }
        }
    }
    config.extend_from_slice(env);
    config
}

fn mounted<'a>(
    pod: &'a Pod,
    container: &'a Container,
) -> impl Iterator<Item = &'a ConfigMapVolumeSource> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let is_mounted =
        |name: &str| container.volume_mounts.iter().flatten().any(|mount| mount.name == name);
    volumes.filter(move |volume| is_mounted(&volume.name)).filter_map(|v| v.config_map.as_ref())
}

fn reference(pod: &Pod, source: &ConfigMapVolumeSource) -> ObjectRef {
    ObjectRef {
        kind: ObjectKind::ConfigMap,
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: source.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::objects::Payload;

    #[test]
    fn mounted_keys_are_there_and_the_environment_wins() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": "n"},
            "spec": {
                "volumes": [
                    {"name": "all", "configMap": {"name": "a"}},
                    {"name": "some", "configMap": {"name": "b", "items": [{"key": "x", "path": "y"}]}},
                    {"name": "other", "configMap": {"name": "c"}},
                    {"name": "secret", "secret": {"secretName": "s"}},
                ],
                "containers": [{"name": "c", "volumeMounts": [
                    {"name": "all", "mountPath": "/a"},
                    {"name": "some", "mountPath": "/b"},
                    {"name": "secret", "mountPath": "/s"},
                ]}],
            },
        }))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let payload = |pairs: &[(&str, &[u8])]| {
            let text = pairs.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect();
            Some(Arc::new(Payload { version: "1".into(), text, binary: BTreeMap::new() }))
        };
        let names = references(&pod, container);
        assert_eq!(names.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let found = Found::from([
            (names[0].clone(), payload(&[("one", b"1"), ("HOME", b"mine"), ("raw", b"\xff")])),
            (names[1].clone(), payload(&[("x", b"2"), ("z", b"3")])),
        ]);
        let env = [("HOME".to_owned(), "env".to_owned())];
        let config: BTreeMap<_, _> = build(&pod, container, &env, &found).into_iter().collect();
        let expected = [("HOME", "env"), ("one", "1"), ("x", "2")];
        assert_eq!(config, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }
}
