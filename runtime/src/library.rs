//! Calls of an embedder into a container: any function that its component exports, in an instance of its own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, ComponentItem};

use crate::compose;
use crate::container::Container;
use crate::http::until;
use crate::imports;

/// Why a call gave no results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("container {container} exports no {wanted} (exports: {})", exports.join(", "))]
    NoFunction { container: String, wanted: String, exports: Vec<String> },
    #[error("{function} takes {wanted} arguments, not {given}")]
    Arguments { function: String, wanted: usize, given: usize },
    #[error("{function} cannot be called from outside: {why}")]
    Bound { function: String, why: String },
    #[error("container {container} has ended")]
    Ended { container: String },
    /// As many wait already as [`requests_waiting`](crate::CountLimits::requests_waiting) allows.
    #[error("container {container} is busy: {waiting} calls wait already")]
    Busy { container: String, waiting: usize },
    /// [`TimeLimits::request`](crate::TimeLimits::request) has passed, the wait for a place included.
    #[error(
        "{function} took longer than the {limit:?} that container {container} has for a request"
    )]
    Late { container: String, function: String, limit: Duration },
    /// The guest trapped, passed a limit, or was given arguments of other types.
    #[error("{0}")]
    Failed(String),
}

/// A function of a component, found.
struct Found {
    interface: Option<String>,
    ty: ComponentFunc,
}

impl Container {
    /// Calls an exported function in a fresh instance, under the container's limits, those of requests included;
    /// `interface` is `None` for a function that stands outside of any. A name without a version stands for any version.
    /// Dropping the future ends the instance.
    pub async fn call(
        &self,
        interface: Option<&str>,
        function: &str,
        arguments: &[Val],
    ) -> Result<Vec<Val>, CallError> {
        let container = self.inner();
        let wanted = match interface {
            Some(interface) => format!("{interface} {function}"),
            None => function.to_owned(),
        };
        let found = self.find(interface, function).ok_or_else(|| CallError::NoFunction {
            container: self.name().to_owned(),
            wanted: wanted.clone(),
            exports: container.artifact.exports().to_vec(),
        })?;
        let (wanted_number, given) = (found.ty.params().len(), arguments.len());
        if wanted_number != given {
            return Err(CallError::Arguments { function: wanted, wanted: wanted_number, given });
        }
        if let Some(why) = compose::bound_to_its_instance(&found.ty) {
            return Err(CallError::Bound { function: wanted, why });
        }
        if container.is_cut_off() || container.draining.is_cancelled() {
            return Err(CallError::Ended { container: self.name().to_owned() });
        }
        container.activity.requests.fetch_add(1, Ordering::Relaxed);
        let limits = &container.account.limits;
        let limit = limits.time.request;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let late = |function: String| {
            container.activity.errors.fetch_add(1, Ordering::Relaxed);
            // Without a limit nothing is late.
            let limit = limit.unwrap_or_default();
            CallError::Late { container: self.name().to_owned(), function, limit }
        };
        let running = match until(deadline, container.gate.enter()).await {
            Some(Some(running)) => running,
            Some(None) => {
                let waiting = limits.counts.requests_waiting;
                return Err(CallError::Busy { container: self.name().to_owned(), waiting });
            }
            None => return Err(late(wanted)),
        };
        let arguments = arguments.to_vec();
        let function = function.to_owned();
        let task = container.artifact.guests().spawn({
            let (container, wanted) = (container.clone(), wanted.clone());
            async move {
                // Until the instance is gone.
                let _running = running;
                let work = async {
                    let (mut store, instance) =
                        container.artifact.bare_instance(|| container.ctx(None)).await?;
                    let mut results = vec![Val::Bool(false); found.ty.results().len()];
                    let interface = match &found.interface {
                        Some(name) => Some(
                            instance
                                .get_export_index(&mut store, None, name)
                                .ok_or_else(|| wasmtime::format_err!("{name} is gone"))?,
                        ),
                        None => None,
                    };
                    let function = instance
                        .get_export_index(&mut store, interface.as_ref(), &function)
                        .and_then(|at| instance.get_func(&mut store, at))
                        .ok_or_else(|| wasmtime::format_err!("{function} is gone"))?;
                    function.call_async(&mut store, &arguments, &mut results).await?;
                    Ok(results)
                };
                until(deadline, container.lend(&wanted, work)).await
            }
        });
        let mut guard = crate::http::AbortOnDrop(Some(task.abort_handle()));
        let called = task.await;
        guard.0 = None;
        match called {
            Ok(Some(Ok(results))) => Ok(results),
            Ok(None) => Err(late(wanted)),
            Ok(Some(Err(error))) => Err(CallError::Failed(error.to_string())),
            Err(_) => Err(CallError::Ended { container: self.name().to_owned() }),
        }
    }

    fn find(&self, interface: Option<&str>, function: &str) -> Option<Found> {
        let component = self.inner().artifact.component();
        let engine = component.engine();
        let ty = component.component_type();
        let Some(wanted) = interface else {
            return match ty.get_export(engine, function)?.ty {
                ComponentItem::ComponentFunc(ty) => Some(Found { interface: None, ty }),
                _ => None,
            };
        };
        let is_wanted = |name: &str| {
            imports::is_same(wanted, name)
                || (!wanted.contains('@') && imports::Name::parse(name).interface == wanted)
        };
        ty.exports(engine).filter(|(name, _)| is_wanted(name)).find_map(|(name, export)| {
            let ComponentItem::ComponentInstance(instance) = export.ty else { return None };
            match instance.get_export(engine, function)?.ty {
                ComponentItem::ComponentFunc(ty) => {
                    Some(Found { interface: Some(name.to_owned()), ty })
                }
                _ => None,
            }
        })
    }
}
