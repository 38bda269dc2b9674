//! A sandbox: one address in the switch, one loopback, and the containers that share them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::artifact::Artifact;
use crate::compose;
use crate::container::{Container, ContainerSpec, StartError};
use crate::engine::Shared;
use crate::fair::Group;
use crate::host::InMemory;
use crate::neighbours::Neighbourhood;
use crate::net::{Dialer, Interface, Outside, Switch};

pub struct SandboxSpec {
    pub name: String,
    /// Resolves to the sandbox's own address inside it.
    pub hostname: String,
    pub ip: IpAddr,
    pub outside: Arc<dyn Outside>,
}

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("address {ip} is in use by another sandbox")]
    AddressInUse { ip: IpAddr },
}

/// Dropped, it closes: its address is free again and its containers are killed.
pub struct Sandbox {
    name: String,
    shared: Arc<Shared>,
    dialer: Dialer,
    neighbourhood: Arc<Neighbourhood>,
    closed: AtomicBool,
}

impl Sandbox {
    pub(crate) fn attach(
        shared: Arc<Shared>,
        switch: Arc<Switch>,
        spec: SandboxSpec,
    ) -> Result<Sandbox, SandboxError> {
        let interface = Interface::new(spec.ip);
        if !switch.attach(&interface) {
            return Err(SandboxError::AddressInUse { ip: spec.ip });
        }
        Ok(Sandbox {
            name: spec.name,
            dialer: Dialer {
                interface,
                switch,
                outside: spec.outside,
                hostname: spec.hostname.into(),
            },
            neighbourhood: Arc::new(Neighbourhood {
                containers: Mutex::default(),
                buckets: Arc::new(InMemory::default()),
                group: Group::new(&shared.turns),
            }),
            shared,
            closed: AtomicBool::new(false),
        })
    }

    /// Starts a container and returns at once; what the guest does is told by the container.
    ///
    /// What its artifact wants beyond what the host offers is linked with the other containers that run here.
    pub fn start(&self, mut spec: ContainerSpec) -> Result<Container, StartError> {
        let mut containers = self.neighbourhood.containers.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(StartError::SandboxClosed { sandbox: self.name.clone() });
        }
        spec.artifact = compose(&spec, &containers)?;
        let container = Container::start(&self.shared, &self.dialer, &self.neighbourhood, spec)?;
        containers.retain(|container| !container.has_exited());
        containers.push(container.clone());
        Ok(container)
    }

    pub fn ip(&self) -> IpAddr {
        self.dialer.interface.ip()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Detaches the address and kills the containers.
    pub fn close(&self) {
        let containers = {
            let mut containers = self.neighbourhood.containers.lock();
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut *containers)
        };
        self.dialer.switch.detach(&self.dialer.interface);
        for container in &containers {
            container.kill();
        }
        self.dialer.interface.clear();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.close();
    }
}

/// The artifact, linked with the containers that give what it wants.
fn compose(spec: &ContainerSpec, containers: &[Container]) -> Result<Arc<Artifact>, StartError> {
    if spec.artifact.wants().is_empty() {
        return Ok(spec.artifact.clone());
    }
    let others: Vec<&Container> = containers
        .iter()
        .filter(|other| other.name() != spec.name && !other.has_exited())
        .collect();
    let artifacts: Vec<_> = others.iter().map(|other| other.inner().artifact.clone()).collect();
    let named: Vec<(&str, &Artifact)> =
        others.iter().map(|other| other.name()).zip(artifacts.iter().map(|a| &**a)).collect();
    let links =
        compose::plan(&spec.artifact, &named).map_err(|unmet| StartError::Imports { unmet })?;
    let providers = |name: &str| -> Vec<String> {
        let artifact = named.iter().find(|(other, _)| *other == name).map(|(_, artifact)| artifact);
        let providers = artifact.iter().flat_map(|artifact| &artifact.links().providers);
        providers.map(|provider| provider.container.clone()).collect()
    };
    // No container waits for another here, but one that was linked before may lead back to this one.
    let mut ahead: Vec<String> =
        links.providers.iter().map(|provider| provider.container.clone()).collect();
    let mut seen = ahead.clone();
    while let Some(name) = ahead.pop() {
        for next in providers(&name) {
            if next == spec.name {
                return Err(StartError::Cycle { with: name });
            }
            if !seen.contains(&next) {
                seen.push(next.clone());
                ahead.push(next);
            }
        }
    }
    spec.artifact.composed(links, &named)
}
