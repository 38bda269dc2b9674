//! `metadata.managedFields`: who manages which fields, since when, and what a write makes of it.
//!
//! `created`, `updated` and `applied` are upstream's chain of field managers for a create, an
//! update of any kind and an apply. They take and give the entries as JSON text, which is how
//! objects keep them: an entry that did not change keeps its bytes. Pure.
//!
//! Source: `k8s.io/apimachinery/pkg/util/managedfields/internal`.

mod applied;
mod entries;
mod last_applied;
mod scale;
#[cfg(test)]
mod tests;
mod updated;

pub use applied::{Applied, Rejected, applied, conflict};
pub use entries::{problems, same_but_for_times};
pub use scale::{of_parent, to_parent};
pub use updated::{created, updated};

use std::sync::OnceLock;

use jiff::Timestamp;
use serde_json::Value;

use super::apply::{Set, Setting};

/// What stands for a manager without a name.
const UNKNOWN: &str = "unknown";
/// Upstream's names for what nobody in particular has set.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
const ANCIENT: &str = "ancient-changes";
/// As upstream's DefaultMaxUpdateManagers.
const UPDATERS_MAX: usize = 10;
const NAME_BYTES_MAX: usize = 128;

/// Who writes what, and when.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub setting: Setting<'a>,
    pub manager: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    pub now: Timestamp,
}

/// The `managedFields` that a request's object has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Given {
    /// None: those of the live object count.
    #[default]
    Nothing,
    /// An empty list, or one with an empty entry: nobody manages anything from now on.
    Reset,
    /// These, as JSON.
    Entries(String),
}

impl Given {
    /// Takes them out of an object.
    pub fn take(object: &mut Value) -> Self {
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        match metadata.and_then(|metadata| metadata.remove("managedFields")) {
            None | Some(Value::Null) => Self::Nothing,
            Some(Value::Array(entries)) => match entries.as_slice() {
                [] => Self::Reset,
                [Value::Object(entry)] if entry.is_empty() => Self::Reset,
                _ => Self::Entries(Value::Array(entries).to_string()),
            },
            Some(other) => Self::Entries(other.to_string()),
        }
    }
}

/// The name of a manager that does not give one: the client's, as its User-Agent has it.
pub fn of_user_agent(agent: &str) -> String {
    let name = agent.split('/').next().unwrap_or_default();
    let mut cut = String::new();
    for letter in name.chars().filter(|letter| !letter.is_control()) {
        if cut.len() + letter.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        cut.push(letter);
    }
    cut
}

/// What nobody manages: the server sets it, or it says which object this is.
fn unmanaged() -> &'static Set<'static> {
    static UNMANAGED: OnceLock<Set<'static>> = OnceLock::new();
    UNMANAGED.get_or_init(|| {
        Set::of_fields([
            "apiVersion",
            "kind",
            "metadata",
            "metadata.name",
            "metadata.namespace",
            "metadata.creationTimestamp",
            "metadata.selfLink",
            "metadata.uid",
            "metadata.clusterName",
            "metadata.generation",
            "metadata.managedFields",
            "metadata.resourceVersion",
        ])
    })
}
