//! The managers of an object's `spec.replicas`, as its Scale shows them, and back.
//!
//! Source: `k8s.io/apimachinery/pkg/util/managedfields/scalehandler.go`.

use std::borrow::Cow;

use super::super::apply::{Actor, Element, Owned, Set};
use super::entries::Entries;

const SCALE: &str = "autoscaling/v1";

fn replicas() -> [Element<'static>; 2] {
    [Element::field("spec"), Element::field("replicas")]
}

fn replicas_set() -> Set<'static> {
    Set::of_fields(["spec.replicas"])
}

/// The managers of a scale: those who manage the replicas of its object in `api_version`.
pub fn of_parent(parent: Option<&str>, api_version: &str) -> Option<String> {
    let parent = Entries::parse(parent?).ok()?;
    let mut scale = Entries::default();
    for (actor, owned) in &parent.owners {
        if owned.api_version != api_version || !owned.set.has(&replicas()) {
            continue;
        }
        let actor = in_version(actor, SCALE);
        if let Some(time) = parent.times.get(&in_version(&actor, api_version)) {
            scale.times.insert(actor.clone(), *time);
        }
        let owned = Owned { api_version: SCALE.into(), set: replicas_set(), changed: true };
        scale.owners.insert(actor, owned);
    }
    scale.write()
}

/// The managers of an object whose scale has these now.
pub fn to_parent(parent: Option<&str>, scale: Option<&str>, api_version: &str) -> Option<String> {
    let parse = |text: Option<&str>| text.map(str::to_owned).unwrap_or_else(|| "[]".to_owned());
    let (parent, scale) = (parse(parent), parse(scale));
    let (Ok(mut entries), Ok(scale)) = (Entries::parse(&parent), Entries::parse(&scale)) else {
        return None;
    };
    entries.owners.retain(|_, owned| owned.api_version == api_version);
    let mut new: Vec<Actor<'_>> = scale
        .owners
        .iter()
        .filter(|(_, owned)| owned.set.has(&replicas()))
        .map(|(actor, _)| in_version(actor, api_version))
        .collect();
    for (actor, owned) in &mut entries.owners {
        if !owned.set.has(&replicas()) {
            continue;
        }
        if let Some(at) = new.iter().position(|other| other == actor) {
            new.remove(at);
            continue;
        }
        owned.set = owned.set.difference(&replicas_set());
        owned.changed = true;
    }
    entries.owners.retain(|_, owned| !owned.set.is_empty());
    for actor in new {
        let set = match entries.owners.get(&actor) {
            Some(owned) => owned.set.union(&replicas_set()),
            None => {
                // Upstream finds no time for it.
                entries.times.remove(&actor);
                replicas_set()
            }
        };
        let api_version: Cow<'_, str> = api_version.to_owned().into();
        entries.owners.insert(actor, Owned { api_version, set, changed: true });
    }
    entries.write()
}

/// The same actor, as it is known in another version.
fn in_version<'a>(actor: &Actor<'a>, api_version: &str) -> Actor<'a> {
    let api_version = if actor.applies { "".into() } else { api_version.to_owned().into() };
    Actor { api_version, ..actor.clone() }
}
