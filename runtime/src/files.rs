//! The bound on open files: `wasi:filesystem`'s `open-at` with a count before it. All else of the interface is
//! wasmtime-wasi's own.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};

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
    /// Takes a place for one more file; `Err` where the bound is reached.
    fn reserve(&mut self) -> Result<(), ErrorCode> {
        // Files are closed where nobody tells us. A look at the table is short beside the system call that follows.
        let all = self.table.iter_mut().filter(|entry| entry.is::<Descriptor>()).count();
        let mounts = *self.open.mounts.get_or_insert(all);
        self.open.places.truncate(all.saturating_sub(mounts));
        let place = self.account.file().map_err(|_| ErrorCode::Quota)?;
        self.open.places.push(place);
        Ok(())
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
                if let Err(code) = store.data_mut().files().reserve() {
                    return Ok((Opened::Err(code),));
                }
                let mut view = store.data_mut().filesystem();
                match view.open_at(folder, path_flags, path, open, flags).await {
                    Ok(file) => Ok((Opened::Ok(file),)),
                    Err(error) => Ok((Opened::Err(error.downcast()?),)),
                }
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
