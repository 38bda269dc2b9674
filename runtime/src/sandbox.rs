//! A sandbox: one address in the switch, one loopback, and the containers that share them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::container::{Container, ContainerSpec, StartError};
use crate::engine::Shared;
use crate::fair::Group;
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
    group: Arc<Group>,
    containers: Mutex<Vec<Container>>,
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
            group: Group::new(&shared.turns),
            shared,
            dialer: Dialer {
                interface,
                switch,
                outside: spec.outside,
                hostname: spec.hostname.into(),
            },
            containers: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// Starts a container and returns at once; what the guest does is told by the container.
    pub fn start(&self, spec: ContainerSpec) -> Result<Container, StartError> {
        let mut containers = self.containers.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(StartError::SandboxClosed { sandbox: self.name.clone() });
        }
        let container = Container::start(&self.shared, &self.dialer, &self.group, spec)?;
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
            let mut containers = self.containers.lock();
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
