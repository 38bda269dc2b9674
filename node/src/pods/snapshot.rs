//! `copepod.dev/snapshot`: whether a container starts from memory that was initialised before. Pure.

use k8s_openapi::api::core::v1::Pod;

use super::tuning::annotation;

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
        let Some(found) = annotation(pod, container, "snapshot") else {
            return Ok(StartFrom::Scratch);
        };
        let parse = |text: &str| match text {
            "true" => Some(StartFrom::Snapshot),
            "false" => Some(StartFrom::Scratch),
            _ => None,
        };
        found.parse(parse, "true or false")
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
            "annotation copepod.dev/snapshot.main is \"yes\": it must be true or false"
        );
    }
}
