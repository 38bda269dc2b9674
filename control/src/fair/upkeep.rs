//! What becomes of the objects that every cluster has, and of the conditions of FlowSchemas.
//!
//! Mandatory objects are put back whatever happened to them. Of the suggested ones those that are
//! gone come back; what a user changed stays, unless the annotation says that it may go.
//! Source: `pkg/registry/flowcontrol/ensurer/strategy.go`.

use jiff::Timestamp;
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::objects::{AUTO_UPDATE, EXEMPT, Objects};

/// A kind of object that configures fairness.
pub trait Configures: Clone {
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// Takes on another's specification.
    fn follow(&mut self, other: &Self);
    /// Whether the specification says what this one, which should be, says.
    fn is_as(&self, wanted: &Self) -> bool;
}

impl Configures for FlowSchema {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn follow(&mut self, other: &Self) {
        self.spec.clone_from(&other.spec);
    }

    fn is_as(&self, wanted: &Self) -> bool {
        self.spec == wanted.spec
    }
}

impl Configures for PriorityLevelConfiguration {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn follow(&mut self, other: &Self) {
        self.spec.clone_from(&other.spec);
    }

    /// The seats of the exempt level are the user's.
    fn is_as(&self, wanted: &Self) -> bool {
        if wanted.metadata.name.as_deref() != Some(EXEMPT) {
            return self.spec == wanted.spec;
        }
        let (Some(mut spec), Some(wanted)) = (self.spec.clone(), &wanted.spec) else {
            return false;
        };
        spec.exempt.is_some() && {
            spec.exempt.clone_from(&wanted.exempt);
            spec == *wanted
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step<T> {
    Create(T),
    Update(T),
    Delete(String),
}

pub fn plan<'a, T: Configures + 'a>(
    current: impl Iterator<Item = &'a T> + Clone,
    wanted: &Objects<T>,
) -> Vec<Step<T>> {
    let known = |name: &Option<String>| current.clone().find(|it| it.metadata().name == *name);
    let suggested = wanted.suggested.iter().map(|object| (object, false));
    let mandatory = wanted.mandatory.iter().map(|object| (object, true));
    let kept = suggested.chain(mandatory).filter_map(|(object, mandatory)| {
        match known(&object.metadata().name) {
            None => Some(Step::Create(object.clone())),
            Some(known) => revise(known, object, mandatory).map(Step::Update),
        }
    });
    let is_wanted = |known: &T| wanted.iter().any(|it| it.metadata().name == known.metadata().name);
    let removed = current.clone().filter(|known| !is_wanted(known));
    let removed = removed.filter(|known| annotated(known.metadata()) == Some(true));
    let removed = removed.filter_map(|known| known.metadata().name.clone()).map(Step::Delete);
    kept.chain(removed).collect()
}

/// The object as it should be; `None` where it is.
fn revise<T: Configures>(known: &T, wanted: &T, mandatory: bool) -> Option<T> {
    let annotation = annotated(known.metadata());
    // Where nothing is said, an object that nobody has changed may be.
    let untouched = known.metadata().generation == Some(1);
    let follows = mandatory || annotation.unwrap_or(untouched);
    let differs = follows && !known.is_as(wanted);
    let says_so = annotation == Some(follows);
    if says_so && !differs {
        return None;
    }
    let mut revised = known.clone();
    if differs {
        revised.follow(wanted);
    }
    if !says_so {
        let annotations = revised.metadata_mut().annotations.get_or_insert_default();
        annotations.insert(AUTO_UPDATE.to_owned(), follows.to_string());
    }
    Some(revised)
}

/// Go's `strconv.ParseBool` of the annotation.
fn annotated(metadata: &ObjectMeta) -> Option<bool> {
    match metadata.annotations.as_ref()?.get(AUTO_UPDATE)?.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The condition that a FlowSchema should have and has not.
pub fn dangling(
    schema: &FlowSchema,
    level_exists: bool,
    now: Timestamp,
) -> Option<FlowSchemaCondition> {
    let level = schema.spec.as_ref().map(|spec| spec.priority_level_configuration.name.as_str());
    let level = level.unwrap_or_default();
    let (status, reason, end) = if level_exists {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}"
    );
    let conditions = schema.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_it = |condition: &FlowSchemaCondition| {
        condition.type_.as_deref() == Some("Dangling")
            && condition.status.as_deref() == Some(status)
            && condition.reason.as_deref() == Some(reason)
            && condition.message.as_deref() == Some(&message)
    };
    if conditions.into_iter().flatten().any(is_it) {
        return None;
    }
    Some(FlowSchemaCondition {
        type_: Some("Dangling".to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fair::objects::{FLOW_SCHEMAS, PRIORITY_LEVELS};

    fn named<T: Configures>(objects: &Objects<T>, name: &str) -> T {
        let mut objects = objects.iter();
        let found = objects.find(|it| it.metadata().name.as_deref() == Some(name));
        found.expect("it is among them").clone()
    }

    fn level(name: &str, annotation: Option<&str>, generation: i64) -> PriorityLevelConfiguration {
        let mut level = named(&PRIORITY_LEVELS, name);
        let annotation = annotation.map(|value| (AUTO_UPDATE.to_owned(), value.to_owned()));
        level.metadata.annotations = Some(annotation.into_iter().collect());
        level.metadata.generation = Some(generation);
        level
    }

    fn more_shares(mut level: PriorityLevelConfiguration) -> PriorityLevelConfiguration {
        let spec = level.spec.as_mut().expect("a specification");
        if let Some(limited) = &mut spec.limited {
            limited.nominal_concurrency_shares = Some(999);
        }
        if let Some(exempt) = &mut spec.exempt {
            exempt.nominal_concurrency_shares = Some(999);
        }
        level
    }

    #[test]
    fn what_is_missing_is_created_and_what_is_there_stays() {
        let none: [FlowSchema; 0] = [];
        let steps = plan(none.iter(), &FLOW_SCHEMAS);
        assert_eq!(steps.len(), 11);
        assert!(steps.iter().all(|step| matches!(step, Step::Create(_))));
        let all: Vec<FlowSchema> = FLOW_SCHEMAS.iter().cloned().collect();
        assert_eq!(plan(all.iter(), &FLOW_SCHEMAS), []);
        let all: Vec<PriorityLevelConfiguration> = PRIORITY_LEVELS.iter().cloned().collect();
        assert_eq!((all.len(), plan(all.iter(), &PRIORITY_LEVELS).len()), (8, 0));
    }

    #[test]
    fn a_change_stays_or_goes_by_the_annotation() {
        // What is there; whether its shares are put back, and what the annotation becomes.
        for (known, restored, annotation) in [
            (more_shares(level("system", Some("true"), 2)), true, None),
            (more_shares(level("system", Some("1"), 2)), true, None),
            (more_shares(level("system", Some("false"), 1)), false, None),
            (more_shares(level("system", None, 2)), false, Some("false")),
            (more_shares(level("system", None, 1)), true, Some("true")),
            (more_shares(level("system", Some("perhaps"), 3)), false, Some("false")),
            (level("system", None, 1), false, Some("true")),
            (more_shares(level("catch-all", Some("false"), 7)), true, Some("true")),
            (more_shares(level("exempt", Some("true"), 7)), false, None),
            (more_shares(level("exempt", None, 7)), false, Some("true")),
        ] {
            let name = known.metadata.name.clone().expect("a name");
            let mandatory = matches!(name.as_str(), EXEMPT | "catch-all");
            let revised = revise(&known, &named(&PRIORITY_LEVELS, &name), mandatory);
            let case = format!("{name} {:?} {revised:?}", known.metadata);
            assert_eq!(revised.is_some(), restored || annotation.is_some(), "{case}");
            let Some(revised) = revised else { continue };
            assert_eq!(revised.spec != known.spec, restored, "{case}");
            let says =
                revised.metadata.annotations.as_ref().expect("annotations")[AUTO_UPDATE].as_str();
            assert_eq!(Some(says), annotation.or(annotation_of(&known)), "{case}");
        }
    }

    fn annotation_of(level: &PriorityLevelConfiguration) -> Option<&str> {
        level.metadata.annotations.as_ref()?.get(AUTO_UPDATE).map(String::as_str)
    }

    #[test]
    fn what_no_version_suggests_any_more_is_removed() {
        let mut all: Vec<PriorityLevelConfiguration> = PRIORITY_LEVELS.iter().cloned().collect();
        for (name, annotation) in
            [("old", Some("true")), ("mine", None), ("kept", Some("false")), ("odd", Some("x"))]
        {
            let mut level = level("system", annotation, 1);
            level.metadata.name = Some(name.to_owned());
            all.push(level);
        }
        assert_eq!(plan(all.iter(), &PRIORITY_LEVELS), [Step::Delete("old".to_owned())]);
    }

    #[test]
    fn a_schema_says_whether_its_level_is_there() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let mut schema = named(&FLOW_SCHEMAS, "system-nodes");
        let missing = dangling(&schema, false, now).expect("it has none");
        assert_eq!(missing.status.as_deref(), Some("True"));
        assert_eq!(
            missing.message.as_deref(),
            Some(
                "This FlowSchema references the PriorityLevelConfiguration object named \"system\" but there is no such object"
            )
        );
        schema.status.get_or_insert_default().conditions = Some(vec![missing]);
        assert_eq!(dangling(&schema, false, now), None);
        let found = dangling(&schema, true, now).expect("another");
        assert_eq!(
            (found.status.as_deref(), found.reason.as_deref()),
            (Some("False"), Some("Found"))
        );
    }
}
