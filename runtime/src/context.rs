//! What an instance carries: its WASI state, its sockets, its HTTP client and its limits.

use std::sync::Arc;

use tokio::runtime::Handle;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::engine::Wasi;
use crate::fair;
use crate::files::{self, Files, Open};
use crate::host::{self, Host};
use crate::http::Client;
use crate::limits::{Account, HANDLES_MAX, Limiter};
use crate::net::guest::{self, NetCtx, NetView};
use crate::trace::Trace;

/// Calls after which a small table is counted again.
const COUNT_AFTER: usize = 256;

/// Memory that takes the system a few milliseconds to take back.
const LARGE: u64 = 32 << 20;

/// The data of a store.
pub(crate) struct Ctx {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    client: Client,
    net: NetCtx,
    pub(crate) host: Host,
    pub(crate) table: ResourceTable,
    limiter: Limiter,
    open_files: Open,
    /// Calls until the table's entries are counted again.
    count_in: usize,
}

impl Ctx {
    /// An error where the account has no room for an instance.
    pub(crate) fn new(
        wasi: WasiCtx,
        net: NetCtx,
        host: Host,
        account: Arc<Account>,
    ) -> wasmtime::Result<Ctx> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let mut limiter = Limiter::new(account.clone());
        limiter.enter()?;
        Ok(Ctx {
            wasi,
            http: WasiHttpCtx::new(),
            client: Client::new(net.dialer.clone(), account),
            net,
            host,
            table,
            limiter,
            open_files: Open::default(),
            count_in: COUNT_AFTER,
        })
    }

    /// Called by each call of the guest that may add to the table, which tells nobody its size. Counting after as many
    /// calls as there were entries keeps its cost to a few instructions a call, and what is not charged yet small.
    fn count_handles(&mut self) {
        self.count_in -= 1;
        if self.count_in == 0 {
            let count = self.table.iter_mut().count();
            self.limiter.set_handles(count);
            self.count_in = count.max(COUNT_AFTER);
        }
    }

    /// The open files' counting: see `files.rs`.
    pub(crate) fn files(&mut self) -> Files<'_> {
        Files { table: &mut self.table, account: &self.limiter.account, open: &mut self.open_files }
    }

    /// What the guest sends from now on belongs to this trace.
    pub(crate) fn carry(&mut self, trace: Option<Trace>) {
        self.client.carry(trace);
    }

    fn net(&mut self) -> NetView<'_> {
        self.count_handles();
        NetView { table: &mut self.table, net: &mut self.net }
    }

    /// A store that is limited, and that yields at each epoch so that it can be killed and others run.
    pub(crate) fn into_store(self, engine: &wasmtime::Engine) -> Store<Ctx> {
        let mut store = Store::new(engine, self);
        store.limiter(|ctx| &mut ctx.limiter);
        // WASI 0.3's streams, futures and tasks; on the engines of 0.2 there are none.
        if let Some(handles) = store.concurrent_resource_table() {
            handles.set_max_capacity(HANDLES_MAX);
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|ctx| {
            ctx.data().limiter.check()?;
            Ok(UpdateDeadline::YieldCustom(1, fair::interrupt()))
        });
        store
    }
}

/// Drops the store of a container that ends with it. Where its memory is large, the system takes long to take it back, some
/// 80 ms a GiB: that is left to a thread that may block, so that neither the end waits for it nor a neighbour.
pub(crate) fn give_back(store: Store<Ctx>) {
    if store.data().limiter.memory() >= LARGE
        && let Ok(here) = Handle::try_current()
    {
        here.spawn_blocking(move || drop(store));
    }
}

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.count_handles();
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Ctx {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.count_handles();
        WasiHttpCtxView { hooks: &mut self.client, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Everything a guest may import. Sockets are ours, the rest is wasmtime-wasi's.
pub(crate) fn linker(engine: &wasmtime::Engine, wasi: Wasi) -> wasmtime::Result<Linker<Ctx>> {
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
    files::add_to_linker(l)?;
    guest::add_to_linker(l, Ctx::net)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
    if wasi == Wasi::V3 {
        wasmtime_wasi::p3::cli::add_to_linker(l)?;
        wasmtime_wasi::p3::clocks::add_to_linker(l)?;
        wasmtime_wasi::p3::filesystem::add_to_linker(l)?;
        files::add_to_linker_3(l)?;
        wasmtime_wasi::p3::random::add_to_linker(l)?;
        guest::p3::add_to_linker(l, Ctx::net)?;
        wasmtime_wasi_http::p3::add_to_linker(l)?;
    }
    host::add_to_linker(l)?;
    Ok(linker)
}

/// WASI 0.2 in [`linker`]; what is beyond WASI's core is listed in `host`. What is wanted beyond them another container
/// has to give.
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

/// The interfaces of WASI 0.3, which components get beside those of 0.2.
pub(crate) const OFFERED_3: &[&str] = &[
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
    "wasi:cli/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:clocks/types",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/client",
    "wasi:http/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];

/// The version of WASI that [`OFFERED_3`] stands for; any 0.3 is compatible.
pub(crate) const OFFERED_3_VERSION: &str = "0.3";
