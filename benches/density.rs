//! How many sandboxes one process holds, and what each costs: commands that wait in `accept` with an instance each, and
//! HTTP components that hold none between requests. Then how fast another one starts, and answers, beside so many.

#[path = "support/figures.rs"]
mod figures;
#[path = "support/guests.rs"]
mod guests;
#[path = "support/nowhere.rs"]
mod nowhere;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use copepod_runtime::{
    Artifact, Body, ContainerSpec, Runtime, RuntimeConfig, Sandbox, SandboxSpec, Switch,
};
use figures::{Figure, Figures, median, time};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use nowhere::Nowhere;

/// Commands alive at a time: what one process has memory mappings for.
const COMMANDS: usize = 10_000;
/// HTTP components at a time.
const HANDLERS: usize = 100_000;
/// Started, and asked, once the others are there.
const SAMPLES: usize = 200;
const PORT: u16 = 80;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> anyhow::Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures under `cargo bench --bench density` only");
        return Ok(());
    }
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = Figures::default();
    here.block_on(async {
        commands(&mut figures).await?;
        handlers(&mut figures).await
    })?;
    figures.print_table();
    Ok(())
}

async fn commands(figures: &mut Figures) -> anyhow::Result<()> {
    let house = House::new("agent", &["agent", "serve=80"]).await?;
    let alone = house.starts(0).await?;
    let before = resident()?;
    let start = Instant::now();
    let mut live = Vec::with_capacity(COMMANDS);
    for nth in 0..COMMANDS {
        live.push(house.start(nth)?);
    }
    for nth in 0..COMMANDS {
        house.listens(nth).await?;
    }
    let took = start.elapsed();
    let each = resident()?.saturating_sub(before) / COMMANDS as u64;
    figures.add(
        Figure::new(format!("{COMMANDS} live idle commands, resident memory of each"), kib(each))
            .target("100 KiB"),
    );
    figures.add(Figure::new(
        "their start, until each listens",
        format!("{:.0}/s", COMMANDS as f64 / took.as_secs_f64()),
    ));
    let beside = house.starts(COMMANDS).await?;
    figures.add(
        Figure::new("another one's start beside them, until it listens, p50", p50(&beside))
            .against(format!("alone {}", p50(&alone)), median(&beside) / median(&alone)),
    );
    Ok(())
}

async fn handlers(figures: &mut Figures) -> anyhow::Result<()> {
    let house = House::new("plain", &["plain"]).await?;
    let first = house.start(0)?;
    let alone = house.answers(0).await?;
    drop(first);
    let before = resident()?;
    let start = Instant::now();
    let mut live = Vec::with_capacity(HANDLERS);
    for nth in 0..HANDLERS {
        live.push(house.start(nth)?);
    }
    let took = start.elapsed();
    let each = resident()?.saturating_sub(before) / HANDLERS as u64;
    figures.add(
        Figure::new(
            format!("{HANDLERS} idle HTTP components, resident memory of each"),
            format!("{:.1} KiB", each as f64 / 1024.0),
        )
        .target("8 KiB, then 4 KiB"),
    );
    figures
        .add(Figure::new("their start", format!("{:.0}/s", HANDLERS as f64 / took.as_secs_f64())));
    // A different one each time: none is warmer than the others.
    let beside = house.answers(HANDLERS / SAMPLES).await?;
    figures.add(
        Figure::new("an idle one's first answer beside them, p50", p50(&beside))
            .against(format!("alone {}", p50(&alone)), median(&beside) / median(&alone)),
    );
    Ok(())
}

/// One component, and the sandboxes that run it.
struct House {
    runtime: Arc<Runtime>,
    switch: Arc<Switch>,
    artifact: Arc<Artifact>,
    args: Vec<String>,
    nowhere: Arc<Nowhere>,
}

impl House {
    async fn new(guest: &str, args: &[&str]) -> anyhow::Result<House> {
        let runtime = Runtime::new(RuntimeConfig::default())?;
        let artifact = runtime.load(guest, guests::guest(guest).await?).await?;
        Ok(House {
            runtime,
            switch: Switch::new(),
            artifact,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            nowhere: Arc::new(Nowhere),
        })
    }

    fn start(&self, nth: usize) -> anyhow::Result<Sandbox> {
        let spec = SandboxSpec {
            name: format!("bench-{nth}"),
            hostname: format!("bench-{nth}"),
            ip: ip(nth),
            outside: self.nowhere.clone(),
        };
        let sandbox = self.runtime.sandbox(&self.switch, spec)?;
        sandbox.start(ContainerSpec {
            args: self.args.clone(),
            http_port: PORT,
            ..ContainerSpec::new("main", self.artifact.clone(), self.nowhere.clone())
        })?;
        Ok(sandbox)
    }

    /// How long further ones take to start, one after another, each gone before the next.
    async fn starts(&self, others: usize) -> anyhow::Result<Vec<f64>> {
        let mut taken = Vec::new();
        for nth in others..others + SAMPLES {
            let start = Instant::now();
            let sandbox = self.start(nth)?;
            self.listens(nth).await?;
            taken.push(start.elapsed().as_secs_f64());
            drop(sandbox);
        }
        Ok(taken)
    }

    /// How long answers take, each from the one so many addresses on.
    async fn answers(&self, step: usize) -> anyhow::Result<Vec<f64>> {
        let mut taken = Vec::new();
        for sample in 0..SAMPLES {
            let start = Instant::now();
            self.ask(sample * step).await?;
            taken.push(start.elapsed().as_secs_f64());
        }
        Ok(taken)
    }

    async fn listens(&self, nth: usize) -> anyhow::Result<()> {
        let (to, deadline) = (SocketAddr::new(ip(nth), PORT), Instant::now() + PATIENCE);
        while !self.switch.is_listening(to) {
            anyhow::ensure!(Instant::now() < deadline, "{to} does not listen");
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn ask(&self, nth: usize) -> anyhow::Result<()> {
        let to = SocketAddr::new(ip(nth), PORT);
        let handler = self.switch.http(to).with_context(|| format!("nobody serves at {to}"))?;
        let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let response = handler.call(Request::get(format!("http://{to}/")).body(body)?).await?;
        anyhow::ensure!(response.status().is_success(), "{}", response.status());
        response.into_body().collect().await?;
        Ok(())
    }
}

fn ip(nth: usize) -> IpAddr {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    Ipv4Addr::from(first + u32::try_from(nth).unwrap_or(0)).into()
}

/// This process's resident memory.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.context("VmRSS")? * 1024)
}

fn p50(seconds: &[f64]) -> String {
    time(Duration::from_secs_f64(median(seconds)))
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}
