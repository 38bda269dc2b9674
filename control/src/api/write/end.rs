//! Deletions: an object goes, or is marked for whoever holds it back.

use serde_json::Value;

use crate::admission::Operation;
use crate::status::ApiError;

use super::super::call::{Admission, Call};
use super::super::object::{self, Object};
use super::ATTEMPTS;
use super::commit::{Attempt, catch_up, commit, delete, newest, shown};
use super::update::Current;

/// What a deletion does to the newest object.
pub enum Fate {
    /// Nothing: it is on its way already.
    Keep,
    /// It stays for now, changed.
    Mark(Value),
    /// It goes; the answer shows this.
    Remove(Value),
}

pub enum Removed {
    Gone(Object),
    Pending(Object),
}

/// Deletes an object in the way that `decide` says.
pub async fn end(
    call: &Call,
    name: &str,
    dry_run: bool,
    decide: &(dyn Fn(&Value) -> Result<Fate, ApiError> + Send + Sync),
) -> Result<Removed, ApiError> {
    for _ in 0..ATTEMPTS {
        let current = Current::new(call, newest(call, name).await?);
        let (old, managers) = (&current.value, current.managers());
        let fate = decide(old)?;
        let admission =
            Admission { operation: Operation::Delete, name, object: None, old: Some(old), dry_run };
        call.admit(admission).await?;
        let cached = &current.cached;
        let attempt = match fate {
            Fate::Keep => return Ok(Removed::Pending(current.object())),
            Fate::Mark(new) if new == *old => return Ok(Removed::Pending(current.object())),
            Fate::Mark(new) => {
                commit(call, cached, new, managers, true, dry_run, Vec::new()).await?
            }
            Fate::Remove(last) if dry_run => return Ok(Removed::Gone(shown(&last, managers))),
            Fate::Remove(mut last) => match delete(call, cached).await? {
                Attempt::Done(revision) => {
                    object::set_revision(&mut last, revision);
                    return Ok(Removed::Gone(shown(&last, managers)));
                }
                Attempt::Lost(winner) => Attempt::Lost(winner),
            },
        };
        match attempt {
            Attempt::Done(object) => return Ok(Removed::Pending(object)),
            Attempt::Lost(winner) => catch_up(call, winner).await?,
        }
    }
    Err(ApiError::modified(call.about(name)))
}
