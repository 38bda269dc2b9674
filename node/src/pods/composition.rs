//! A container that imports from another one of its pod: whether it waits for that one, or cannot start at all.
//! Pure: no I/O. The linking itself is the runtime's.

use std::sync::Arc;

use copepod_runtime::{Artifact, StartError, Unmet, UnmetImport, cycle};

use super::container::{ContainerMachine, ContainerState};
use super::effects::chain;
use super::machine::StartProblem;

/// What a start that the runtime refused means for the container at `index`. `artifacts` has those that are known.
pub fn problem(
    error: &StartError,
    index: usize,
    containers: &[ContainerMachine],
    artifacts: &[Option<Arc<Artifact>>],
) -> StartProblem {
    let image = &containers[index].image;
    let refused =
        || StartProblem::Create(format!("image \"{image}\" cannot be started: {}", chain(error)));
    let StartError::Imports { unmet } = error else {
        return match error {
            StartError::Cycle { .. } | StartError::Link { .. } => refused(),
            _ => StartProblem::Run(chain(error)),
        };
    };
    if let Some(way) = cycle(index, artifacts) {
        let mut names: Vec<_> = way.iter().map(|at| containers[*at].name.as_str()).collect();
        names.push(&containers[index].name);
        let way = names.join(" → ");
        return StartProblem::Create(format!(
            "containers import from each other, so that none can start first: {way}"
        ));
    }
    let waits: Option<Vec<String>> =
        unmet.iter().map(|unmet| wait(unmet, index, containers, artifacts)).collect();
    match waits {
        Some(mut waits) => {
            waits.dedup();
            StartProblem::Waits(waits.join("; "))
        }
        None => refused(),
    }
}

/// What the container waits for to be given this import; `None` where nobody is to come who would.
fn wait(
    unmet: &UnmetImport,
    index: usize,
    containers: &[ContainerMachine],
    artifacts: &[Option<Arc<Artifact>>],
) -> Option<String> {
    if !matches!(unmet.why, Unmet::Missing { .. }) {
        return None;
    }
    let name = &unmet.name;
    let to_come = || {
        containers.iter().zip(artifacts).enumerate().filter(|(at, (container, _))| {
            *at != index && !container.is_live() && !container.is_over()
        })
    };
    let gives = |artifact: &Option<Arc<Artifact>>| {
        artifact.as_ref().is_some_and(|artifact| artifact.gives(name))
    };
    if let Some((_, (giver, _))) = to_come().find(|(_, (_, artifact))| gives(artifact)) {
        return Some(format!("waiting for container {}, which exports {name}, to run", giver.name));
    }
    let unknown: Vec<_> = to_come()
        .filter(|(_, (_, artifact))| artifact.is_none())
        .map(|(_, (container, _))| match &container.state {
            ContainerState::Blocked { reason, .. } => format!("{} ({reason})", container.name),
            _ => container.name.clone(),
        })
        .collect();
    if unknown.is_empty() {
        return None;
    }
    Some(format!("waiting for the image of {}: {name} may be exported there", unknown.join(", ")))
}
