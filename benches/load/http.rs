//! HTTP requests a second through a NodePort, with a fresh instance for each and with instances that serve again, beside
//! a bare hyper server and `wasmtime serve` with the same guest: processes of their own, too, under the same load from
//! this one, in turns.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use crate::figures::{Figure, Figures, median, quantile, time};
use crate::generator::Generator;
use crate::raw::Raw;
use crate::serve::{self, Serve};
use crate::up::Up;
use crate::{cpu, guests, objects};

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 64;
const PERIOD: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(2);
/// The guest: so little that the server is measured.
const GUEST: &str = "plain";
const IMAGE: &str = "plain:1";
const FRESH_PORT: u16 = 31_500;
const REUSE_PORT: u16 = 31_501;
/// Lets instances of the second Deployment serve again, nearly without bound.
const REUSE: [(&str, &str); 2] =
    [("copepod.dev/reuse-requests", "1000000"), ("copepod.dev/reuse-age", "1h")];

/// One server's rounds.
#[derive(Default)]
struct Rounds {
    /// Requests a second.
    rates: Vec<f64>,
    /// Seconds of the server's CPU for each request.
    cpus: Vec<f64>,
    /// Seconds that one request in a hundred takes longer than; none where the generator does not say.
    p99s: Vec<f64>,
}

/// What is measured: where it listens, and the process that serves.
struct Server {
    name: &'static str,
    door: SocketAddr,
    pid: u32,
    rounds: Rounds,
}

impl Server {
    fn new(name: &'static str, door: SocketAddr, pid: u32) -> Server {
        Server { name, door, pid, rounds: Rounds::default() }
    }

    async fn take_round(&mut self, generator: Generator) -> anyhow::Result<()> {
        let before = cpu::time(self.pid)?;
        let load = generator.load(self.door, CONNECTIONS, PERIOD).await?;
        let cpu = cpu::time(self.pid)? - before;
        anyhow::ensure!(load.failures == 0, "{} requests to {} failed", load.failures, self.name);
        self.rounds.rates.push(load.requests as f64 / load.took.as_secs_f64());
        self.rounds.cpus.push(cpu.as_secs_f64() / load.requests as f64);
        if !load.seconds.is_empty() {
            self.rounds.p99s.push(quantile(&load.seconds, 0.99));
        }
        Ok(())
    }

    /// The median of the rounds' ratios to another's.
    fn beside(&self, base: &Server) -> f64 {
        let pairs = self.rounds.rates.iter().zip(&base.rounds.rates);
        median(&pairs.map(|(own, base)| own / base).collect::<Vec<_>>())
    }
}

pub async fn run(figures: &mut Figures, generator: Generator) -> anyhow::Result<()> {
    let up = Up::fresh().await?;
    let wasm = guests::built(GUEST).await?;
    let bytes = tokio::fs::read(&wasm).await?;
    copepod_sdk::images::import(&up.client, IMAGE, bytes.into()).await?;
    for (name, port, annotations) in
        [("fresh", FRESH_PORT, &[][..]), ("reuse", REUSE_PORT, &REUSE[..])]
    {
        objects::create_service(&up.client, &objects::node_port(name, port)?).await?;
        let deployment = objects::deployment_of(name, 1, IMAGE, annotations)?;
        objects::create(&up.client, &deployment).await?;
        objects::ready(&up.client, name, 1).await?;
    }
    let raw = Raw::start().await?;
    let mut servers = vec![
        Server::new("raw hyper", raw.address, raw.pid),
        Server::new("a fresh instance a request", up.door(FRESH_PORT)?, up.pid),
        Server::new("instances reused", up.door(REUSE_PORT)?, up.pid),
    ];
    let wasmtime = match serve::program().await {
        Ok(program) => Some(Serve::start(&program, &wasm).await?),
        Err(reason) => {
            println!("not beside wasmtime serve: {reason}");
            None
        }
    };
    if let Some(serve) = &wasmtime {
        servers.push(Server::new("wasmtime serve", serve.address, serve.pid));
    }
    for server in &servers {
        until_served(generator, server.door).await?;
    }
    for _ in 0..ROUNDS {
        for server in &mut servers {
            server.take_round(generator).await?;
        }
    }
    up.stop().await?;
    report(figures, generator, &servers);
    Ok(())
}

/// The door may lag the Deployment's status by a moment. Warms up besides.
async fn until_served(generator: Generator, door: SocketAddr) -> anyhow::Result<()> {
    let served = async {
        while Generator::Own.load(door, 1, Duration::from_millis(10)).await?.failures > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        generator.load(door, CONNECTIONS, WARM_UP).await
    };
    tokio::time::timeout(objects::PATIENCE, served)
        .await
        .context("the NodePort does not serve")??;
    Ok(())
}

fn report(figures: &mut Figures, generator: Generator, servers: &[Server]) {
    let rate = |server: &Server| format!("{} {:.0}/s", server.name, median(&server.rounds.rates));
    let each = |samples: &[f64]| time(Duration::from_secs_f64(median(samples)));
    let (raw, fresh, reuse) = (&servers[0], &servers[1], &servers[2]);
    for (ours, target) in
        [(fresh, "0.30×, then 0.40× raw hyper"), (reuse, "0.52×, then 0.65× raw hyper")]
    {
        let name = format!("HTTP through a NodePort, {} ({})", ours.name, generator.name());
        figures.add(
            Figure::new(&name, format!("{:.0}/s", median(&ours.rounds.rates)))
                .against(rate(raw), ours.beside(raw))
                .target(target),
        );
        if let Some(wasmtime) = servers.get(3) {
            let target = if std::ptr::eq(ours, fresh) { "3× wasmtime serve" } else { "–" };
            figures.add(
                Figure::new(
                    format!("the same, beside {}", wasmtime.name),
                    format!("{:.0}/s", median(&ours.rounds.rates)),
                )
                .against(rate(wasmtime), ours.beside(wasmtime))
                .target(target),
            );
            if !ours.rounds.p99s.is_empty() {
                figures.add(
                    Figure::new("the same, p99", each(&ours.rounds.p99s))
                        .against(
                            format!("{} {}", wasmtime.name, each(&wasmtime.rounds.p99s)),
                            median(&ours.rounds.p99s) / median(&wasmtime.rounds.p99s),
                        )
                        .target("not worse"),
                );
            }
        }
        figures.add(
            Figure::new("the server's CPU for each request", each(&ours.rounds.cpus)).against(
                format!("{} {}", raw.name, each(&raw.rounds.cpus)),
                median(&ours.rounds.cpus) / median(&raw.rounds.cpus),
            ),
        );
    }
}
