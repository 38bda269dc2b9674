//! `wasi:config/store`: what the container was configured with, fixed at its start. The keys and values are the
//! embedder's choice ([`ContainerSpec::config`](crate::ContainerSpec)).

use wasmtime_wasi_config::WasiConfig;

use super::Interface;
use crate::context::Ctx;

pub(super) const STORE: Interface = Interface {
    name: "wasi:config/store",
    version: "0.2.0-rc.1",
    add: |linker| {
        wasmtime_wasi_config::add_to_linker(linker, |ctx: &mut Ctx| {
            WasiConfig::from(&ctx.host.setup.config)
        })
    },
};
