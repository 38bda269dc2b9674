//! Composition, done: calls from one container's instance into an instance of another container of the sandbox.
//!
//! The callee's instance is made at the caller's first call, in a store of its own with its own container's
//! environment, mounts, limits and output, and goes with the caller's instance. Its failures are its container's, and
//! trap the caller. Its memory and its time on the processor are its container's; a request of the caller's has as long as
//! ever, the calls that it waits for included.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::{
    Func, Instance, Linker, Resource, ResourceAny, ResourceDynamic, ResourceType, Val,
};
use wasmtime::{AsContextMut, Store, StoreContextMut};

use crate::compose::Links;
use crate::container::{self, Container};
use crate::context::Ctx;
use crate::fair::Group;
use crate::host::Buckets;

/// What the containers of a sandbox have in common.
pub(crate) struct Neighbourhood {
    pub(crate) containers: Mutex<Vec<Container>>,
    pub(crate) buckets: Arc<dyn Buckets>,
    /// For their turns on the guests' threads.
    pub(crate) group: Arc<Group>,
}

impl Neighbourhood {
    fn find(&self, name: &str) -> Option<Arc<container::Inner>> {
        let containers = self.containers.lock();
        containers.iter().rev().find(|container| container.name() == name).map(Container::inner)
    }
}

/// An instance that another one calls.
pub(crate) struct Neighbour {
    container: Arc<container::Inner>,
    store: Store<Ctx>,
    instance: Instance,
    /// By the place of the call among the links.
    functions: Vec<Option<Func>>,
    /// The instance's resources, by their place among the links.
    resources: Vec<Option<ResourceType>>,
}

/// A resource of a neighbour, as its caller holds it.
struct Proxy(ResourceAny);

/// Defines every link in the caller's linker.
pub(crate) fn define(links: &Arc<Links>, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    for (place, resource) in links.resources.iter().enumerate() {
        let ty = resource_type(resource.same_as.unwrap_or(place))?;
        let provider = links.interfaces[resource.link].provider;
        let links = links.clone();
        linker.instance(&links.interfaces[resource.link].import.clone())?.resource_async(
            &resource.name,
            ty,
            move |caller, rep| {
                let links = links.clone();
                Box::new(async move { drop_handle(caller, &links, provider, rep).await })
            },
        )?;
    }
    for (place, call) in links.calls.iter().enumerate() {
        let links = links.clone();
        linker.instance(&links.interfaces[call.link].import.clone())?.func_new_async(
            &call.function,
            move |caller, _, params, results| {
                let links = links.clone();
                Box::new(async move { forward(caller, &links, place, params, results).await })
            },
        )?;
    }
    Ok(())
}

fn resource_type(place: usize) -> wasmtime::Result<ResourceType> {
    Ok(ResourceType::host_dynamic(u32::try_from(place)?))
}

async fn forward(
    mut caller: StoreContextMut<'_, Ctx>,
    links: &Arc<Links>,
    place: usize,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let call = &links.calls[place];
    let provider = links.interfaces[call.link].provider;
    let mut neighbour = take(&mut caller, links, provider).await?;
    if call.handles {
        let mut params = params.to_vec();
        for param in &mut params {
            on_handles(param, &mut |handle| unwrap(&mut caller, handle))?;
        }
        neighbour.call(links, place, &params, results).await?;
        for result in results {
            on_handles(result, &mut |handle| wrap(&mut caller, &neighbour, handle))?;
        }
    } else {
        neighbour.call(links, place, params, results).await?;
    }
    put_back(&mut caller, provider, neighbour);
    Ok(())
}

async fn drop_handle(
    mut caller: StoreContextMut<'_, Ctx>,
    links: &Arc<Links>,
    provider: usize,
    rep: u32,
) -> wasmtime::Result<()> {
    let Proxy(handle) = caller.data_mut().table.delete(Resource::<Proxy>::new_own(rep))?;
    let mut neighbour = take(&mut caller, links, provider).await?;
    let Neighbour { container, store, .. } = &mut *neighbour;
    container.lend("the end of a resource", handle.resource_drop_async(store)).await?;
    put_back(&mut caller, provider, neighbour);
    Ok(())
}

/// Takes the neighbour out of the caller's store, made if this is the first call. One that fails is not put back.
async fn take(
    caller: &mut StoreContextMut<'_, Ctx>,
    links: &Arc<Links>,
    provider: usize,
) -> wasmtime::Result<Box<Neighbour>> {
    let host = &mut caller.data_mut().host;
    if host.neighbours.is_empty() {
        host.neighbours.resize_with(links.providers.len(), || None);
    }
    if let Some(neighbour) = host.neighbours[provider].take() {
        return Ok(neighbour);
    }
    let wanted = &links.providers[provider];
    let found = host.setup.neighbourhood.upgrade().and_then(|all| all.find(&wanted.container));
    let name = &wanted.container;
    let Some(container) = found.filter(|container| !container.is_cut_off()) else {
        wasmtime::bail!("container {name}, which this one calls, does not run");
    };
    if container.artifact.digest() != wanted.digest {
        wasmtime::bail!("container {name} is another program than this one was linked with");
    }
    Neighbour::start(container, links).await.map(Box::new)
}

fn put_back(caller: &mut StoreContextMut<'_, Ctx>, provider: usize, neighbour: Box<Neighbour>) {
    caller.data_mut().host.neighbours[provider] = Some(neighbour);
}

impl Neighbour {
    async fn start(container: Arc<container::Inner>, links: &Links) -> wasmtime::Result<Neighbour> {
        let made = container.artifact.bare_instance(|| container.ctx(None));
        let (store, instance) = container.lend("its start", made).await?;
        Ok(Neighbour {
            container,
            store,
            instance,
            functions: vec![None; links.calls.len()],
            resources: vec![None; links.resources.len()],
        })
    }

    async fn call(
        &mut self,
        links: &Links,
        place: usize,
        params: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let call = &links.calls[place];
        let export = &links.interfaces[call.link].export;
        let function = match self.functions[place] {
            Some(function) => function,
            None => self.prepare(links, place)?,
        };
        let what = format!("{export} {}", call.function);
        let called = function.call_async(&mut self.store, params, results);
        self.container.lend(&what, called).await
    }

    /// Looks up a function and, at the first of its provider's, the resources.
    fn prepare(&mut self, links: &Links, place: usize) -> wasmtime::Result<Func> {
        let call = &links.calls[place];
        let provider = links.interfaces[call.link].provider;
        for (place, resource) in links.resources.iter().enumerate() {
            let link = &links.interfaces[resource.link];
            if link.provider == provider && self.resources[place].is_none() {
                self.resources[place] = self
                    .export(&link.export, &resource.name)
                    .and_then(|at| self.instance.get_resource(&mut self.store, at));
            }
        }
        let export = &links.interfaces[call.link].export;
        let function = self
            .export(export, &call.function)
            .and_then(|at| self.instance.get_func(&mut self.store, at))
            .ok_or_else(|| wasmtime::format_err!("{export} has no {}", call.function))?;
        self.functions[place] = Some(function);
        Ok(function)
    }

    fn export(
        &mut self,
        interface: &str,
        name: &str,
    ) -> Option<wasmtime::component::ComponentExportIndex> {
        let interface = self.instance.get_export_index(&mut self.store, None, interface)?;
        self.instance.get_export_index(&mut self.store, Some(&interface), name)
    }
}

/// The neighbour's handle for the caller's.
fn unwrap(
    caller: &mut StoreContextMut<'_, Ctx>,
    handle: ResourceAny,
) -> wasmtime::Result<ResourceAny> {
    let proxy = ResourceDynamic::try_from_resource_any(handle, caller.as_context_mut())?;
    let table = &mut caller.data_mut().table;
    let Proxy(handle) = match proxy.owned() {
        true => table.delete(Resource::<Proxy>::new_own(proxy.rep()))?,
        false => Proxy(table.get(&Resource::<Proxy>::new_borrow(proxy.rep()))?.0),
    };
    Ok(handle)
}

/// The caller's handle for the neighbour's.
fn wrap(
    caller: &mut StoreContextMut<'_, Ctx>,
    neighbour: &Neighbour,
    handle: ResourceAny,
) -> wasmtime::Result<ResourceAny> {
    let place = neighbour.resources.iter().position(|ty| *ty == Some(handle.ty()));
    let place = place.ok_or_else(|| wasmtime::format_err!("a resource of an unknown type"))?;
    let rep = caller.data_mut().table.push(Proxy(handle))?.rep();
    let proxy = ResourceDynamic::new_own(rep, u32::try_from(place)?);
    proxy.try_into_resource_any(caller.as_context_mut())
}

/// Replaces every handle within a value.
fn on_handles(
    value: &mut Val,
    replace: &mut dyn FnMut(ResourceAny) -> wasmtime::Result<ResourceAny>,
) -> wasmtime::Result<()> {
    match value {
        Val::Resource(handle) => *handle = replace(*handle)?,
        Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => {
            values.iter_mut().try_for_each(|value| on_handles(value, replace))?;
        }
        Val::Record(fields) => {
            fields.iter_mut().try_for_each(|(_, value)| on_handles(value, replace))?;
        }
        Val::Map(pairs) => {
            for (key, value) in pairs {
                on_handles(key, replace)?;
                on_handles(value, replace)?;
            }
        }
        Val::Variant(_, Some(value))
        | Val::Option(Some(value))
        | Val::Result(Ok(Some(value)) | Err(Some(value))) => on_handles(value, replace)?,
        Val::Variant(_, None)
        | Val::Option(None)
        | Val::Result(Ok(None) | Err(None))
        | Val::Bool(_)
        | Val::S8(_)
        | Val::U8(_)
        | Val::S16(_)
        | Val::U16(_)
        | Val::S32(_)
        | Val::U32(_)
        | Val::S64(_)
        | Val::U64(_)
        | Val::Float32(_)
        | Val::Float64(_)
        | Val::Char(_)
        | Val::String(_)
        | Val::Enum(_)
        | Val::Flags(_)
        | Val::Future(_)
        | Val::Stream(_)
        | Val::ErrorContext(_) => {}
    }
    Ok(())
}
