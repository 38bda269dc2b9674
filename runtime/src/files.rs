//! The bound on open files: `wasi:filesystem`'s `open-at` with a count before it. All else of the interface is
//! wasmtime-wasi's own.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::bindings::filesystem::types as types_3;

use crate::context::Ctx;
use crate::limits::{Account, Place};
/// An instance's open files.
pub(crate) struct Files<'a> {
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) account: &'a Arc<Account>,
    pub(crate) open: &'a mut Open,
}

#[derive(Debug, Default)]
pub(crate) struct Open {
    /// The descriptors that were there before the first file was opened: mounts.
    mounts: Option<usize>,
    /// As many as were open when it was last looked, at least.
    places: Vec<Place>,
}

impl Files<'_> {
    /// Takes a place for one more file; `None` where the bound is reached.
    fn reserve(&mut self) -> Option<Place> {
        // Files are closed where nobody tells us. A look at the table is short beside the system call that follows.
        let all = self.table.iter_mut().filter(|entry| entry.is::<Descriptor>()).count();
        let mounts = *self.open.mounts.get_or_insert(all);
        self.open.places.truncate(all.saturating_sub(mounts));
        self.account.file().ok()
    }
}

type Opened = Result<Resource<Descriptor>, ErrorCode>;
type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

/// Puts the count before `open-at`; the rest of the interface is in the linker already.
pub(crate) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:filesystem/types@0.2.12")?.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, Ctx>, (folder, path_flags, path, open, flags): OpenAt| {
            Box::new(async move {
                let Some(place) = store.data_mut().files().reserve() else {
                    return Ok((Opened::Err(ErrorCode::Quota),));
                };
                let mut view = store.data_mut().filesystem();
                match view.open_at(folder, path_flags, path, open, flags).await {
                    Ok(file) => {
                        store.data_mut().files().open.places.push(place);
                        Ok((Opened::Ok(file),))
                    }
                    Err(error) => Ok((Opened::Err(error.downcast()?),)),
                }
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

type Opened3 = Result<Resource<Descriptor>, types_3::ErrorCode>;
type OpenAt3 = (
    Resource<Descriptor>,
    types_3::PathFlags,
    String,
    types_3::OpenFlags,
    types_3::DescriptorFlags,
);

/// As [`add_to_linker`], for WASI 0.3, where several may be opened at a time.
pub(crate) fn add_to_linker_3(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:filesystem/types@0.3.0")?.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |store: &Accessor<Ctx>, (folder, path_flags, path, open, flags): OpenAt3| {
            Box::pin(async move {
                let Some(place) = store.with(|mut store| store.get().files().reserve()) else {
                    return Ok((Opened3::Err(types_3::ErrorCode::Quota),));
                };
                let view = store.with_getter::<WasiFilesystem>(Ctx::filesystem);
                let opened = <WasiFilesystem as types_3::HostDescriptorWithStore<Ctx>>::open_at(
                    &view, folder, path_flags, path, open, flags,
                );
                match opened.await {
                    Ok(file) => {
                        store.with(|mut store| store.get().files().open.places.push(place));
                        Ok((Opened3::Ok(file),))
                    }
                    Err(error) => Ok((Opened3::Err(error.downcast()?),)),
                }
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
