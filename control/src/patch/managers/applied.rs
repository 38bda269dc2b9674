//! Applies: the manager's configuration is merged into the object, and what it says is its own.
//!
//! Source: `fieldmanager.go` (Apply), `skipnonapplied.go`, `lastappliedmanager.go`, `conflict.go`.

use serde_json::{Value, json};

use super::super::apply::{self, Actor, Conflict, Owned, Refused};
use super::entries::{Entries, identity};
use super::updated::{named, updater};
use super::{BEFORE_FIRST_APPLY, Write, last_applied, unmanaged};
use crate::status::ApiError;

/// Whose fields follow what `kubectl apply` without `--server-side` has left.
const KUBECTL: &str = "kubectl";

/// The object after an apply, without its managers, and they.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub object: Value,
    pub managers: Option<String>,
}

/// Why an apply does not happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Rejected {
    /// Others manage what it would change.
    Conflict(ApiError),
    /// The live object is not of its type.
    Misfit(String),
}

/// `live`: the object and its managers; `None` where there is none yet. `config` has been checked.
///
/// # Errors
/// Conflicts, unless it is forced.
pub fn applied(
    write: Write<'_>,
    live: Option<(&Value, Option<&str>)>,
    config: &Value,
    force: bool,
) -> Result<Applied, Rejected> {
    let setting = write.setting;
    let zero = setting.shape.zero();
    let (object, text) = live.unwrap_or((&zero, None));
    let mut entries = text.and_then(|text| Entries::parse(text).ok()).unwrap_or_default();
    if entries.is_empty() && live.is_some() {
        let comparison = apply::compare(setting.shape, &zero, object).map_err(misfit)?;
        let set = comparison.kept(setting.keep).into_set().without(unmanaged());
        if !set.is_empty() {
            let actor = updater(Write { manager: BEFORE_FIRST_APPLY, ..write });
            entries.extend(actor, setting.api_version, set, write.now);
        }
    }
    let me = Actor {
        manager: named(write.manager),
        applies: true,
        api_version: "".into(),
        subresource: write.subresource.to_owned().into(),
    };
    let before = (write.manager == KUBECTL).then(|| entries.owners.clone());
    let mut done = apply::apply(setting, object, config, &mut entries.owners, &me, force);
    if let (Err(Refused::Conflicts(conflicts)), Some(before)) = (&mut done, before)
        && let Some(last) = last_applied::parse(object)
        && let Some(allowed) = last_applied::allowed(setting, &last, object)
    {
        conflicts.retain(|conflict| !allowed.has(&conflict.path.0));
        if conflicts.is_empty() {
            entries.owners = before;
            done = apply::apply(setting, object, config, &mut entries.owners, &me, true);
        }
    }
    let new = done.map_err(|refused| match refused {
        Refused::Conflicts(conflicts) => Rejected::Conflict(conflict(conflicts)),
        Refused::Misfits(misfits) => misfit(misfits),
    })?;
    strip(&mut entries, &me);
    let changed = new.is_some();
    let mut new = new.unwrap_or_else(|| object.clone());
    if changed {
        let now = write.now.as_second();
        entries.times.extend(jiff::Timestamp::from_second(now).ok().map(|now| (me, now)));
    }
    if write.manager == KUBECTL {
        last_applied::renew(&mut new, config);
    }
    Ok(Applied { object: new, managers: entries.write() })
}

fn misfit(misfits: apply::Misfits) -> Rejected {
    Rejected::Misfit(misfits.to_string())
}

/// Takes what nobody manages from the applier, and the applier where that was all.
fn strip<'a>(entries: &mut Entries<'a>, me: &Actor<'a>) {
    let Some(Owned { set, changed, .. }) = entries.owners.get_mut(me) else { return };
    let stripped = set.difference(unmanaged());
    if stripped.is_empty() {
        entries.owners.remove(me);
        return;
    }
    *changed |= stripped != *set;
    *set = stripped;
}

/// The answer where others manage what an apply would change.
pub fn conflict(mut conflicts: Vec<Conflict<'_>>) -> ApiError {
    conflicts.sort_by_cached_key(|conflict| identity(&conflict.actor));
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|conflict| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {}", shown(&conflict.actor)),
                "field": conflict.path.to_string(),
            })
        })
        .collect();
    let message = match conflicts.as_slice() {
        [one] => format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            shown(&one.actor),
            one.path
        ),
        many => {
            let mut lines = Vec::new();
            let mut last = None;
            for conflict in many {
                if last != Some(&conflict.actor) {
                    lines.push(format!("conflicts with {}:", shown(&conflict.actor)));
                    last = Some(&conflict.actor);
                }
                lines.push(format!("- {}", conflict.path));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let mut error = ApiError::new(409, "Conflict", message);
    error.details = Some(json!({ "causes": causes }));
    error
}

fn shown(actor: &Actor<'_>) -> String {
    let mut shown = format!("{:?}", actor.manager);
    if !actor.subresource.is_empty() {
        shown += &format!(" with subresource {:?}", actor.subresource);
    }
    if !actor.applies {
        shown += &format!(" using {}", actor.api_version);
    }
    shown
}
