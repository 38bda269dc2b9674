//! The statuses of PodDisruptionBudgets: how many pods may be disrupted now.
//!
//! `observe` says which budgets a change concerns, and finds what scales their pods; `plan` counts.
//! Evictions spend what is allowed here, and note the pods down until they are seen to go.
//!
//! Source of the behaviour: upstream's `pkg/controller/disruption`. Conditions of pods whose
//! eviction came to nothing are not reset as upstream's are: an eviction is one write here, so there
//! are none.

mod observe;
mod plan;

pub(super) use observe::Disruption;

const BUDGETS: &str = "poddisruptionbudgets.policy";
