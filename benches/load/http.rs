//! HTTP requests a second through a NodePort, a fresh instance for each, beside a bare hyper server: another process, too,
//! under the same load from this one, in turns.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use crate::figures::{Figure, Figures, median, time};
use crate::generator::Generator;
use crate::raw::Raw;
use crate::up::Up;
use crate::{cpu, objects};

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 64;
const PERIOD: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(2);
const PORT: u16 = 31_500;

/// One server's rounds.
#[derive(Default)]
struct Rounds {
    /// Requests a second.
    rates: Vec<f64>,
    /// Seconds of the server's CPU for each request.
    cpus: Vec<f64>,
}

impl Rounds {
    async fn take(
        &mut self,
        generator: Generator,
        door: SocketAddr,
        pid: u32,
    ) -> anyhow::Result<()> {
        let before = cpu::time(pid)?;
        let load = generator.load(door, CONNECTIONS, PERIOD).await?;
        let cpu = cpu::time(pid)? - before;
        anyhow::ensure!(load.failures == 0, "{} requests to {door} failed", load.failures);
        self.rates.push(load.requests as f64 / load.took.as_secs_f64());
        self.cpus.push(cpu.as_secs_f64() / load.requests as f64);
        Ok(())
    }
}

pub async fn run(figures: &mut Figures, generator: Generator) -> anyhow::Result<()> {
    let up = Up::with_guest().await?;
    objects::create_service(&up.client, &objects::node_port("web", PORT)?).await?;
    objects::create(&up.client, &objects::deployment("web", 1)?).await?;
    objects::ready(&up.client, "web", 1).await?;
    let door = up.door(PORT)?;
    until_served(generator, door).await?;
    let raw = Raw::start().await?;
    generator.load(raw.address, CONNECTIONS, WARM_UP).await?;

    let (mut ours, mut bare) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        ours.take(generator, door, up.pid).await?;
        bare.take(generator, raw.address, raw.pid).await?;
    }
    up.stop().await?;
    report(figures, generator, &ours, &bare);
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

fn report(figures: &mut Figures, generator: Generator, ours: &Rounds, bare: &Rounds) {
    let pairs = ours.rates.iter().zip(&bare.rates);
    let ratios: Vec<f64> = pairs.map(|(ours, bare)| ours / bare).collect();
    let each = |samples: &[f64]| time(Duration::from_secs_f64(median(samples)));
    figures.add(
        Figure::new(
            format!("HTTP through a NodePort, fresh instance a request ({})", generator.name()),
            format!("{:.0}/s", median(&ours.rates)),
        )
        .against(format!("raw hyper {:.0}/s", median(&bare.rates)), median(&ratios))
        .target("0.30×, then 0.40× raw hyper"),
    );
    figures.add(Figure::new("the server's CPU for each request", each(&ours.cpus)).against(
        format!("raw hyper {}", each(&bare.cpus)),
        median(&ours.cpus) / median(&bare.cpus),
    ));
}
