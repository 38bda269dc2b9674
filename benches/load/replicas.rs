//! A Deployment of 1,000 to all Ready: durable store, one node, real guests. Then what is left when it is gone.

use std::time::{Duration, Instant};

use crate::figures::{Figure, Figures, median, time};
use crate::up::{Memory, Up};
use crate::{cpu, objects};

const REPLICAS: usize = 1_000;
const ROUNDS: usize = 3;

pub async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let up = Up::with_guest().await?;
    let (mut ready, mut gone, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    let mut at_ready = Memory::of(up.pid)?;
    for round in 0..ROUNDS {
        let name = format!("many-{round}");
        let deployment = objects::deployment(&name, REPLICAS)?;
        let (start, before) = (Instant::now(), cpu::time(up.pid)?);
        objects::create(&up.client, &deployment).await?;
        objects::ready(&up.client, &name, REPLICAS).await?;
        ready.push(start.elapsed().as_secs_f64());
        cpus.push((cpu::time(up.pid)? - before).as_secs_f64() / REPLICAS as f64);
        at_ready = up.memory_at_rest().await?;
        let start = Instant::now();
        objects::delete(&up.client, &name).await?;
        gone.push(start.elapsed().as_secs_f64());
    }
    let after = up.memory_at_rest().await?;
    up.stop().await?;
    let middle = |samples: &[f64]| time(Duration::from_secs_f64(median(samples)));
    figures.add(
        Figure::new("1,000-replica Deployment → all Ready", middle(&ready))
            .target("1 s, then 0.5 s"),
    );
    figures
        .add(Figure::new("CPU of the process, a pod", middle(&cpus)).target("1.5 ms, then 0.7 ms"));
    figures.add(Figure::new("1,000 replicas deleted → all gone", middle(&gone)));
    figures.add(Figure::new("memory with 1,000 idle HTTP pods", at_ready));
    figures.add(Figure::new("idle memory after load", after).target("200 MiB, then 120 MiB"));
    Ok(())
}
