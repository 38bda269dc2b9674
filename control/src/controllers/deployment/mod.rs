//! Deployments: ReplicaSets that roll from one template to the next.
//!
//! `observe` gathers a Deployment's ReplicaSets; `plan` is the walk; `rollout` holds the ReplicaSets
//! while they are being decided on and turns what changed into writes; `rolling`, `recreate` and
//! `scaling` are the three ways to move replicas; `revisions` keeps the history that `kubectl
//! rollout` reads; `status` counts and judges progress; `template` compares and hashes templates.
//!
//! Source of the behaviour: upstream's `pkg/controller/deployment`.

mod bounds;
mod observe;
mod plan;
mod recreate;
mod revisions;
mod rolling;
mod rollout;
mod scaling;
mod status;
mod template;
#[cfg(test)]
mod tests;

pub(super) use observe::Deployments;

pub(super) const DEPLOYMENTS: &str = "deployments.apps";
