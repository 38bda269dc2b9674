//! What an instance carries: its WASI state, its sockets, its HTTP client and its limits.

use std::sync::Arc;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::host::{self, Host};
use crate::http::Client;
use crate::limits::{Account, HANDLES_MAX, Limiter};
use crate::net::guest::{self, NetCtx, NetView};

/// The data of a store.
pub(crate) struct Ctx {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    client: Client,
    net: NetCtx,
    pub(crate) host: Host,
    pub(crate) table: ResourceTable,
    limiter: Limiter,
}

impl Ctx {
    pub(crate) fn new(wasi: WasiCtx, net: NetCtx, host: Host, account: Arc<Account>) -> Ctx {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Ctx {
            wasi,
            http: WasiHttpCtx::new(),
            client: Client::new(net.dialer.clone()),
            net,
            host,
            table,
            limiter: Limiter::new(account),
        }
    }

    fn net(&mut self) -> NetView<'_> {
        NetView { table: &mut self.table, net: &mut self.net }
    }

    /// A store that is limited, and that yields at each epoch so that it can be killed and others run.
    pub(crate) fn into_store(self, engine: &wasmtime::Engine) -> Store<Ctx> {
        let mut store = Store::new(engine, self);
        store.limiter(|ctx| &mut ctx.limiter);
        store.set_epoch_deadline(1);
        // Wasmtime's own yield lets timers slip by hundreds of milliseconds under load: its wake-up overtakes them.
        store.epoch_deadline_callback(|_| {
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.client, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Everything a guest may import. Sockets are ours, the rest is wasmtime-wasi's.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Ctx>> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};
    use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
    use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

    let mut linker = Linker::new(engine);
    let l = &mut linker;
    // Adds `wasi:io` and, with what follows, all of `wasi:cli/imports` but the sockets.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async::<Ctx>(l)?;
    cli::environment::add_to_linker::<Ctx, WasiCli>(l, Ctx::cli)?;
    cli::exit::add_to_linker::<Ctx, WasiCli>(l, Ctx::cli)?;
    cli::terminal_input::add_to_linker::<Ctx, WasiCli>(l, Ctx::cli)?;
    cli::terminal_output::add_to_linker::<Ctx, WasiCli>(l, Ctx::cli)?;
    cli::terminal_stdin::add_to_linker::<Ctx, WasiCli>(l, Ctx::cli)?;
    cli::terminal_stdout::add_to_linker::<Ctx, WasiCli>(l, Ctx::cli)?;
    cli::terminal_stderr::add_to_linker::<Ctx, WasiCli>(l, Ctx::cli)?;
    filesystem::preopens::add_to_linker::<Ctx, WasiFilesystem>(l, Ctx::filesystem)?;
    filesystem::types::add_to_linker::<Ctx, WasiFilesystem>(l, Ctx::filesystem)?;
    random::insecure::add_to_linker::<Ctx, WasiRandom>(l, Ctx::random)?;
    random::insecure_seed::add_to_linker::<Ctx, WasiRandom>(l, Ctx::random)?;
    guest::add_to_linker(l, Ctx::net)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
    host::add_to_linker(l)?;
    Ok(linker)
}

/// WASI's core in [`linker`]; the rest is listed in `host`. What is wanted beyond them another container has to give.
pub(crate) const OFFERED: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The version of WASI that [`OFFERED`] stands for; any 0.2 is compatible.
pub(crate) const OFFERED_VERSION: &str = "0.2";
