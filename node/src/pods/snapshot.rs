//! `copepod.dev/snapshot`: whether a container starts from memory that was initialised before. Pure.

use k8s_openapi::api::core::v1::Pod;

const ANNOTATION: &str = "copepod.dev/snapshot";

/// What the instances of a container start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// The image as it is.
    Scratch,
    /// The image after its own `wizer-initialize` has run, once for all.
    Snapshot,
}

impl StartFrom {
    /// As annotated for this container, else for the pod; the message names annotation, value and what is allowed.
    pub fn annotated(pod: &Pod, container: &str) -> Result<StartFrom, String> {
        let annotations = pod.metadata.annotations.as_ref();
        let own = format!("{ANNOTATION}.{container}");
        let found = [own.as_str(), ANNOTATION].into_iter().find_map(|name| {
            annotations.and_then(|annotations| annotations.get(name)).map(|value| (name, value))
        });
        match found.map(|(name, value)| (name, value.as_str())) {
            None | Some((_, "false")) => Ok(StartFrom::Scratch),
            Some((_, "true")) => Ok(StartFrom::Snapshot),
            Some((name, value)) => {
                Err(format!("annotation {name}: {value:?} is neither \"true\" nor \"false\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(annotations: &[(&str, &str)]) -> Result<StartFrom, String> {
        let mut pod = Pod::default();
        let owned = annotations.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        pod.metadata.annotations = Some(owned.collect());
        StartFrom::annotated(&pod, "main")
    }

    #[test]
    fn a_containers_own_annotation_wins() {
        let (pod, own) = ("copepod.dev/snapshot", "copepod.dev/snapshot.main");
        assert_eq!(annotated(&[]), Ok(StartFrom::Scratch));
        assert_eq!(annotated(&[(pod, "true")]), Ok(StartFrom::Snapshot));
        assert_eq!(annotated(&[(pod, "true"), (own, "false")]), Ok(StartFrom::Scratch));
        let other = "copepod.dev/snapshot.other";
        assert_eq!(annotated(&[(other, "true")]), Ok(StartFrom::Scratch));
        let refused = annotated(&[(pod, "true"), (own, "yes")]).unwrap_err();
        assert_eq!(
            refused,
            "annotation copepod.dev/snapshot.main: \"yes\" is neither \"true\" nor \"false\""
        );
    }
}
