//! The entries of `managedFields` as text, and as what they say.
//!
//! Source: `managedfields.go` and `capmanagers.go`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::apply::{self, Actor, Owned, Owners, Set};
use super::{ANCIENT, UPDATERS_MAX};
use crate::kinds::{FieldError, meta};

/// Everybody who manages something.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a> {
    pub owners: Owners<'a>,
    pub times: BTreeMap<Actor<'a>, Timestamp>,
    /// The text of the sets, which holds as long as they do not change.
    texts: BTreeMap<Actor<'a>, &'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow, default)]
    manager: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    api_version: Option<Cow<'a, str>>,
    #[serde(default)]
    time: Option<Timestamp>,
    #[serde(borrow, default)]
    fields_type: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "fieldsV1")]
    fields: Option<&'a RawValue>,
    #[serde(borrow, default)]
    subresource: Option<Cow<'a, str>>,
}

impl<'a> Entries<'a> {
    /// Reads the JSON of a list.
    ///
    /// # Errors
    /// What is wrong with an entry, in upstream's words.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let parsed: Vec<Entry<'a>> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut entries = Self::default();
        for (at, entry) in parsed.into_iter().enumerate() {
            entries.add(at, entry)?;
        }
        Ok(entries)
    }

    fn add(&mut self, at: usize, entry: Entry<'a>) -> Result<(), String> {
        let applies = match entry.operation.as_deref() {
            Some("Apply") => true,
            Some("Update") => false,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = entry.api_version.unwrap_or_default();
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match entry.fields_type.as_deref().unwrap_or_default() {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
            other => {
                return Err(format!("invalid fieldsType {other:?} in managed fields entry {at}"));
            }
        }
        let actor = Actor {
            manager: entry.manager.unwrap_or_default(),
            applies,
            api_version: if applies { "".into() } else { api_version.clone() },
            subresource: entry.subresource.unwrap_or_default(),
        };
        let text = entry.fields.map_or("{}", RawValue::get);
        let set = apply::parse(text).map_err(|why| format!("error decoding set: {why}"))?;
        if let Some(time) = entry.time {
            self.times.insert(actor.clone(), time);
        }
        self.texts.insert(actor.clone(), text);
        self.owners.insert(actor, Owned { api_version, set, changed: false });
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Adds to what an actor owns, from now on.
    pub fn extend(&mut self, actor: Actor<'a>, api_version: &str, set: Set<'a>, now: Timestamp) {
        let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
        self.times.insert(actor.clone(), seconds);
        match self.owners.get_mut(&actor) {
            Some(owned) => {
                let union = owned.set.union(&set);
                owned.changed |= union != owned.set || owned.api_version != api_version;
                owned.set = union;
                owned.api_version = api_version.to_owned().into();
            }
            None => {
                let api_version = api_version.to_owned().into();
                self.owners.insert(actor, Owned { api_version, set, changed: true });
            }
        }
    }

    /// In the order in which they are written.
    fn sorted(&self) -> Vec<(&Actor<'a>, &Owned<'a>)> {
        let mut all: Vec<_> = self.owners.iter().collect();
        all.sort_by(|(left, left_owned), (right, right_owned)| {
            let key = |actor: &Actor<'a>| (!actor.applies, self.seconds(actor));
            key(left).cmp(&key(right)).then_with(|| {
                let left = (&left.manager, &left_owned.api_version, &left.subresource);
                left.cmp(&(&right.manager, &right_owned.api_version, &right.subresource))
            })
        });
        all
    }

    fn seconds(&self, actor: &Actor<'a>) -> i64 {
        self.times.get(actor).map_or(0, |time| time.as_second())
    }

    /// The JSON of the list; `None` where there is nothing to say.
    pub fn write(&self) -> Option<String> {
        if self.owners.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(512);
        for (actor, owned) in self.sorted() {
            out.push(if out.is_empty() { b'[' } else { b',' });
            self.write_entry(actor, owned, &mut out);
        }
        out.push(b']');
        Some(String::from_utf8(out).expect("JSON is text"))
    }

    fn write_entry(&self, actor: &Actor<'a>, owned: &Owned<'a>, out: &mut Vec<u8>) {
        out.push(b'{');
        if !actor.manager.is_empty() {
            write_text(out, "manager", &actor.manager);
            out.push(b',');
        }
        write_text(out, "operation", if actor.applies { "Apply" } else { "Update" });
        out.push(b',');
        write_text(out, "apiVersion", &owned.api_version);
        if let Some(time) = self.times.get(actor) {
            out.push(b',');
            write_text(out, "time", &time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
        out.extend_from_slice(b",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
        match self.texts.get(actor).filter(|_| !owned.changed) {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => apply::write(&owned.set, out),
        }
        if !actor.subresource.is_empty() {
            out.push(b',');
            write_text(out, "subresource", &actor.subresource);
        }
        out.push(b'}');
    }

    /// Merges the oldest updaters of a version where there are too many.
    pub fn cap(&mut self) {
        let mut updaters: Vec<Actor<'a>> =
            self.owners.keys().filter(|actor| !actor.applies).cloned().collect();
        if updaters.len() <= UPDATERS_MAX {
            return;
        }
        updaters.sort_by_cached_key(|actor| (self.seconds(actor), identity(actor)));
        let mut left = updaters.len();
        let mut firsts: BTreeMap<String, Actor<'a>> = BTreeMap::new();
        for actor in updaters {
            if left <= UPDATERS_MAX {
                return;
            }
            let Some(version) = self.owners.get(&actor).map(|owned| owned.api_version.to_string())
            else {
                continue;
            };
            let Some(first) = firsts.get(&version) else {
                firsts.insert(version, actor);
                continue;
            };
            let bucket = Actor {
                manager: ANCIENT.into(),
                applies: false,
                api_version: version.clone().into(),
                subresource: "".into(),
            };
            if !self.owners.contains_key(&bucket)
                && let Some(owned) = self.owners.remove(first)
            {
                self.owners.insert(bucket.clone(), owned);
            }
            let Some(merged) = self.owners.remove(&actor) else { continue };
            if let Some(owned) = self.owners.get_mut(&bucket) {
                owned.set = merged.set.union(&owned.set);
                owned.changed = true;
            } else {
                self.owners.insert(bucket.clone(), merged);
            }
            match self.times.get(&actor).copied() {
                Some(time) => self.times.insert(bucket, time),
                None => self.times.remove(&bucket),
            };
            left -= 1;
        }
    }
}

fn write_text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    serde_json::to_writer(out, text).expect("text goes to memory");
}

/// By which upstream tells actors apart, and sorts them.
pub(super) fn identity(actor: &Actor<'_>) -> String {
    let mut fields = Vec::new();
    let mut push = |name: &str, value: &str| {
        if !value.is_empty() {
            fields.push(format!("\"{name}\":{}", serde_json::json!(value)));
        }
    };
    push("manager", &actor.manager);
    push("operation", if actor.applies { "Apply" } else { "Update" });
    push("apiVersion", &actor.api_version);
    push("subresource", &actor.subresource);
    format!("{{{}}}", fields.join(","))
}

/// Whether two lists say the same of the same managers in the same order, at whatever times.
pub fn same_but_for_times(left: Option<&str>, right: Option<&str>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return left == right };
    if left == right {
        return true;
    }
    let (Ok(left), Ok(right)) = (Entries::parse(left), Entries::parse(right)) else { return false };
    let (left, right) = (left.sorted(), right.sorted());
    left.len() == right.len()
        && left.iter().zip(&right).all(|((actor, owned), (other, others))| {
            actor == other && owned.api_version == others.api_version && owned.set == others.set
        })
}

/// What the validation of metadata has against entries that a user gave.
pub fn problems(text: &str) -> Vec<FieldError> {
    let Ok(entries) = Entries::parse(text) else { return Vec::new() };
    let managers = entries.sorted();
    let entries = managers.iter().map(|(actor, _)| (&*actor.manager, &*actor.subresource));
    meta::validate_managers(entries)
}
