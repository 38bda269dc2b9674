//! Creates, updates and patches: whoever changes a field manages it from then on.
//!
//! Source: `fieldmanager.go` (Update), `skipnonapplied.go`, `managedfieldsupdater.go`.

use std::borrow::Cow;

use serde_json::Value;

use super::super::apply::{self, Actor, Comparison, Misfits};
use super::entries::Entries;
use super::{Given, UNKNOWN, Write, unmanaged};

/// The managers of an object that is created.
pub fn created(write: Write<'_>, new: &Value, given: &Given) -> Option<String> {
    let zero = write.setting.shape.zero();
    let entries = match given {
        Given::Entries(text) => Entries::parse(text).unwrap_or_default(),
        Given::Nothing | Given::Reset => Entries::default(),
    };
    let comparison = apply::compare(write.setting.shape, &zero, new).ok()?.kept(write.setting.keep);
    settle(write, entries, &zero, new, comparison).ok().flatten()
}

/// The managers of an object after an update. `live`: those before it. `None`: there are none.
pub fn updated(
    write: Write<'_>,
    live: Option<&str>,
    given: &Given,
    old: &Value,
    new: &Value,
) -> Option<String> {
    let setting = write.setting;
    let comparison = apply::compare(setting.shape, old, new).ok()?.kept(setting.keep);
    let of_live = || live.and_then(|text| Entries::parse(text).ok());
    let entries = match given {
        Given::Reset => None,
        Given::Nothing if comparison.is_same() => return live.map(str::to_owned),
        Given::Nothing => of_live(),
        Given::Entries(text) => match Entries::parse(text) {
            Ok(entries) if !entries.is_empty() => Some(entries),
            _ => of_live(),
        },
    };
    // Nobody was tracked, so nobody is.
    let entries = entries.filter(|entries| !entries.is_empty())?;
    settle(write, entries, old, new, comparison).ok().flatten()
}

/// The entries after a change.
fn settle<'a>(
    write: Write<'_>,
    mut entries: Entries<'a>,
    old: &'a Value,
    new: &'a Value,
    comparison: Comparison<'a>,
) -> Result<Option<String>, Misfits> {
    let setting = write.setting;
    if !entries.is_empty() {
        apply::update(setting, old, new, &comparison, &mut entries.owners)?;
    }
    let mine = comparison.into_set().without(unmanaged());
    if !mine.is_empty() {
        let actor = updater(write);
        entries.extend(actor, setting.api_version, mine, write.now);
    }
    entries.cap();
    Ok(entries.write())
}

pub(super) fn updater<'a>(write: Write<'_>) -> Actor<'a> {
    Actor {
        manager: named(write.manager),
        applies: false,
        api_version: write.setting.api_version.to_owned().into(),
        subresource: write.subresource.to_owned().into(),
    }
}

pub(super) fn named<'a>(manager: &str) -> Cow<'a, str> {
    match manager {
        "" => UNKNOWN.into(),
        name => name.to_owned().into(),
    }
}
