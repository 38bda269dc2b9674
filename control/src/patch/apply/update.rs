//! Who owns what after a write.
//!
//! Source: `merge/update.go`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::check::Misfits;
use super::collect::collect;
use super::compare::{Comparison, compare, equal};
use super::element::Path;
use super::merge::merge;
use super::remove::remove;
use super::set::{Keep, Set};
use super::shape::Shape;

/// Who writes. Upstream's manager identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Actor<'a> {
    pub manager: Cow<'a, str>,
    pub applies: bool,
    /// Empty for those who apply: they are one, whatever the version.
    pub api_version: Cow<'a, str>,
    /// Empty for the main resource.
    pub subresource: Cow<'a, str>,
}

/// What an actor owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned<'a> {
    pub api_version: Cow<'a, str>,
    pub set: Set<'a>,
    /// Whether this differs from what the object said of it.
    pub changed: bool,
}

pub type Owners<'a> = BTreeMap<Actor<'a>, Owned<'a>>;

/// Another's field that an apply would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict<'a> {
    pub actor: Actor<'a>,
    pub path: Path<'a>,
}

/// Why an apply does not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused<'a> {
    Conflicts(Vec<Conflict<'a>>),
    Misfits(Misfits),
}

impl From<Misfits> for Refused<'_> {
    fn from(misfits: Misfits) -> Self {
        Self::Misfits(misfits)
    }
}

/// The versions of a kind.
pub trait Versions {
    /// `None`: there is no such version.
    fn shape(&self, api_version: &str) -> Option<Shape>;
    /// The object in another version.
    fn convert<'v>(&self, value: &'v Value, from: &str, to: &str) -> Option<Cow<'v, Value>>;
}

/// A kind of one version.
pub struct OneVersion<'a>(pub &'a str, pub Shape);

impl Versions for OneVersion<'_> {
    fn shape(&self, api_version: &str) -> Option<Shape> {
        (api_version == self.0).then_some(self.1)
    }

    fn convert<'v>(&self, value: &'v Value, from: &str, to: &str) -> Option<Cow<'v, Value>> {
        (from == to).then_some(Cow::Borrowed(value))
    }
}

/// What does not change from step to step of one write.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub api_version: &'a str,
    pub shape: Shape,
    pub versions: &'a dyn Versions,
    /// What this write can set at all.
    pub keep: Keep<'a>,
}

impl Owned<'_> {
    fn lose(&mut self, paths: &Set<'_>) {
        if self.set.intersection(paths).is_empty() {
            return;
        }
        self.set = std::mem::take(&mut self.set).without(paths);
        self.changed = true;
    }
}

/// Takes from everyone what an update has changed or removed: `comparison`, of what the update can
/// set at all. The updater owns `comparison.set()` by it.
///
/// # Errors
/// Where the objects cannot be compared in another version.
pub fn update(
    setting: Setting<'_>,
    old: &Value,
    new: &Value,
    comparison: &Comparison<'_>,
    owners: &mut Owners<'_>,
) -> Result<(), Misfits> {
    reconcile(setting, owners);
    match take(setting, old, new, comparison, owners, None, true) {
        Err(Refused::Misfits(misfits)) => Err(misfits),
        Ok(()) | Err(Refused::Conflicts(_)) => Ok(()),
    }
}

/// Merges a configuration into the live object. `None`: the object is that already.
///
/// # Errors
/// Where others own what it would change, unless it is forced.
pub fn apply<'a>(
    setting: Setting<'_>,
    live: &Value,
    config: &'a Value,
    owners: &mut Owners<'a>,
    me: &Actor<'a>,
    force: bool,
) -> Result<Option<Value>, Refused<'a>> {
    reconcile(setting, owners);
    let merged = merge(setting.shape, live, config);
    let set = collect(setting.shape, config).kept(setting.keep);
    let version: Cow<'a, str> = setting.api_version.to_owned().into();
    let last = owners.remove(me);
    let same = last.as_ref().is_some_and(|last| last.set == set && last.api_version == version);
    let mine = Owned { api_version: version, set, changed: !same };
    owners.insert(me.clone(), mine);
    let new = match last {
        Some(last) if !last.set.is_empty() => prune(setting, merged, owners, &last),
        _ => merged,
    };
    let comparison = compare(setting.shape, live, &new)?.kept(setting.keep);
    take(setting, live, &new, &comparison, owners, Some(me), force)?;
    Ok((!equal(live, &new)).then_some(new))
}

fn reconcile(setting: Setting<'_>, owners: &mut Owners<'_>) {
    owners.retain(|_, owned| {
        let Some(shape) = shape_of(setting, &owned.api_version) else { return false };
        if let Some(set) = owned.set.reconciled(shape) {
            owned.set = set;
            owned.changed = true;
        }
        true
    });
}

fn shape_of(setting: Setting<'_>, api_version: &str) -> Option<Shape> {
    if api_version == setting.api_version {
        return Some(setting.shape);
    }
    setting.versions.shape(api_version)
}

/// Takes from all but `me` what has changed. `force`: what has changed may be theirs.
fn take<'a>(
    setting: Setting<'_>,
    old: &Value,
    new: &Value,
    comparison: &Comparison<'_>,
    owners: &mut Owners<'a>,
    me: Option<&Actor<'a>>,
    force: bool,
) -> Result<(), Refused<'a>> {
    let convert = |version: &str| -> Option<(Cow<'_, Value>, Cow<'_, Value>)> {
        let convert = |value| setting.versions.convert(value, setting.api_version, version);
        convert(old).zip(convert(new))
    };
    let mut others: Vec<&str> = owners
        .values()
        .map(|owned| &*owned.api_version)
        .filter(|version| *version != setting.api_version)
        .collect();
    others.sort_unstable();
    others.dedup();
    let others: Vec<String> = others.into_iter().map(str::to_owned).collect();
    let converted: Vec<_> =
        others.iter().filter_map(|version| Some((version.as_str(), convert(version)?))).collect();
    let mut comparisons: BTreeMap<&str, Comparison<'_>> = BTreeMap::new();
    for (version, (old, new)) in &converted {
        let Some(shape) = setting.versions.shape(version) else { continue };
        comparisons.insert(version, compare(shape, old, new)?.kept(setting.keep));
    }
    let changes = |version: &str| match version {
        version if version == setting.api_version => Some(comparison),
        version => comparisons.get(version),
    };
    owners.retain(|actor, owned| me == Some(actor) || changes(&owned.api_version).is_some());
    let of_others = |actor: &Actor<'a>| me != Some(actor);
    if !force {
        let mut conflicts = Vec::new();
        for (actor, owned) in owners.iter().filter(|(actor, _)| of_others(actor)) {
            let Some(changes) = changes(&owned.api_version) else { continue };
            let set = owned.set.intersection(&changes.set());
            let paths = set.paths().into_iter();
            conflicts.extend(paths.map(|path| Conflict { actor: actor.clone(), path }));
        }
        if !conflicts.is_empty() {
            return Err(Refused::Conflicts(conflicts));
        }
    }
    for (_, owned) in owners.iter_mut().filter(|(actor, _)| of_others(actor)) {
        if let Some(changes) = changes(&owned.api_version) {
            owned.lose(&changes.modified);
            owned.lose(&changes.added);
            owned.lose(&changes.removed);
        }
    }
    owners.retain(|_, owned| !owned.set.is_empty());
    Ok(())
}

/// Takes away what an applier applied last time, but not now, and nobody else owns.
fn prune(setting: Setting<'_>, merged: Value, owners: &Owners<'_>, last: &Owned<'_>) -> Value {
    let last_version: &str = &last.api_version;
    let Some(shape) = shape_of(setting, last_version) else { return merged };
    let there = |value: &Value, from: &str, to: &str| -> Option<Value> {
        setting.versions.convert(value, from, to).map(Cow::into_owned)
    };
    let Some(then) = there(&merged, setting.api_version, last_version) else { return merged };
    let lasting = last.set.with_named_fields(shape);
    let pruned = remove(shape, &then, &lasting);

    let mut by_version: BTreeMap<&str, Set<'_>> = BTreeMap::new();
    for owned in owners.values() {
        let set = by_version.entry(&owned.api_version).or_default();
        *set = set.union(&owned.set);
    }
    // That of the last version first: another may need what is put back.
    let mut sets: Vec<(&str, Set<'_>)> = by_version.into_iter().collect();
    sets.sort_by_key(|(version, _)| *version != last_version);
    let (mut pruned, mut at) = (pruned, last_version.to_owned());
    for (version, owned) in sets {
        let Some(shape) = shape_of(setting, version) else { continue };
        let whole = there(&merged, setting.api_version, version);
        let (Some(whole), Some(part)) = (whole, there(&pruned, &at, version)) else { continue };
        let of_whole = collect(shape, &whole).with_named_fields(shape);
        let of_part = collect(shape, &part).with_named_fields(shape);
        let gone = of_whole.difference(&of_part).difference(&owned.with_named_fields(shape));
        pruned = remove(shape, &whole, &gone);
        at = version.to_owned();
    }

    // What nobody owns, or an updater does, went with what is around it: it stays.
    let Some(part) = there(&pruned, &at, last_version) else { return merged };
    let of_whole = collect(shape, &then).with_named_fields(shape);
    let of_part = collect(shape, &part).with_named_fields(shape);
    let gone = of_whole.difference(&of_part).intersection(&lasting);
    let left = remove(shape, &then, &gone);
    there(&left, last_version, setting.api_version).unwrap_or(merged)
}
