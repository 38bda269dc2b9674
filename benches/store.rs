//! Durable creates a second, by 1 writer and by 16, and the CPU that each costs, beside two baselines of the same run:
//! the disk's own appends with an fdatasync each (16 records to a sync where 16 write), and the store in memory.
//!
//! Then what the writes leave to do: closing the store, which makes a checkpoint, and opening it again.
//!
//! Rounds take turns among the subjects, each on a fresh store; the median round counts.

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/disk.rs"]
mod disk;
#[path = "support/figures.rs"]
mod figures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use copepod_control::ambient::Ambient;
use copepod_control::store::{History, Store, Write, memory, sled};
use figures::{Figure, Figures, median, time};

const ROUNDS: usize = 5;
const PERIOD: Duration = Duration::from_secs(2);
const VALUE_BYTES: usize = 1024;
const WRITERS: [usize; 2] = [1, 16];

/// Of one number of writers: a sample a round.
#[derive(Default)]
struct Samples {
    raw: Vec<f64>,
    durable: Vec<f64>,
    durable_cpu: Vec<f64>,
    close: Vec<f64>,
    open: Vec<f64>,
    memory: Vec<f64>,
    memory_cpu: Vec<f64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures under `cargo bench --bench store` only");
        return Ok(());
    }
    let mut samples = [Samples::default(), Samples::default()];
    for _ in 0..ROUNDS {
        for (writers, samples) in WRITERS.into_iter().zip(&mut samples) {
            round(writers, samples).await?;
        }
    }
    let mut figures = Figures::default();
    for (writers, samples) in WRITERS.into_iter().zip(&samples) {
        report(&mut figures, writers, samples);
    }
    figures.print_table();
    Ok(())
}

async fn round(writers: usize, samples: &mut Samples) -> anyhow::Result<()> {
    let folder = disk::folder()?;
    let syncs = disk::syncs_per_second(folder.path(), VALUE_BYTES * writers, PERIOD)?;
    samples.raw.push(syncs * writers as f64);

    let ambient = Ambient::real();
    let dir = folder.path().join("store");
    let store = sled::open(&dir, sled::Options::default(), &ambient).await?;
    let (rate, cpu) = creates(&store, writers).await?;
    samples.durable.push(rate);
    samples.durable_cpu.push(cpu);
    let start = Instant::now();
    store.close().await?;
    drop(store);
    samples.close.push(start.elapsed().as_secs_f64());
    let start = Instant::now();
    let store = sled::open(&dir, sled::Options::default(), &ambient).await?;
    samples.open.push(start.elapsed().as_secs_f64());
    store.close().await?;

    let store = memory::open(History::default(), &ambient);
    let (rate, cpu) = creates(&store, writers).await?;
    samples.memory.push(rate);
    samples.memory_cpu.push(cpu);
    store.close().await?;
    Ok(())
}

/// Creates a second, and seconds of CPU for each.
async fn creates(store: &Arc<dyn Store>, writers: usize) -> anyhow::Result<(f64, f64)> {
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let (start, cpu) = (Instant::now(), cpu::time(std::process::id())?);
    let running: Vec<_> = (0..writers)
        .map(|writer| tokio::spawn(write(store.clone(), writer, value.clone(), start + PERIOD)))
        .collect();
    let mut count = 0;
    for writer in running {
        count += writer.await??;
    }
    let (took, cpu) = (start.elapsed(), cpu::time(std::process::id())? - cpu);
    Ok((count as f64 / took.as_secs_f64(), cpu.as_secs_f64() / count as f64))
}

async fn write(
    store: Arc<dyn Store>,
    writer: usize,
    value: Bytes,
    until: Instant,
) -> anyhow::Result<u64> {
    let mut count = 0;
    while Instant::now() < until {
        let key = format!("configmaps/default/bench-{writer}-{count}");
        store.commit(Write::Create { key, value: value.clone(), ttl: None }).await?;
        count += 1;
        // The store in memory never waits: without this, a writer would keep its thread to itself.
        tokio::task::consume_budget().await;
    }
    Ok(count)
}

fn report(figures: &mut Figures, writers: usize, samples: &Samples) {
    let rate = |samples: &[f64]| format!("{:.0}/s", median(samples));
    let each = |samples: &[f64]| time(Duration::from_secs_f64(median(samples)));
    let beside = |ours: &[f64], theirs: &[f64]| {
        let ratios: Vec<f64> =
            ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        median(&ratios)
    };
    let plural = if writers == 1 { "1 writer".to_owned() } else { format!("{writers} writers") };
    let durable = Figure::new(format!("durable creates, {plural}"), rate(&samples.durable))
        .against(
            format!("append + fdatasync {}", rate(&samples.raw)),
            beside(&samples.durable, &samples.raw),
        );
    let cpu = Figure::new(format!("CPU of each, {plural}"), each(&samples.durable_cpu)).against(
        format!("in memory {}", each(&samples.memory_cpu)),
        beside(&samples.durable_cpu, &samples.memory_cpu),
    );
    let (durable, cpu) = match writers {
        1 => (durable, cpu),
        _ => (durable.target("10,000/s, then 20,000/s"), cpu.target("0.1 ms")),
    };
    figures.add(durable);
    figures.add(cpu);
    figures.add(Figure::new(format!("creates in memory, {plural}"), rate(&samples.memory)));
    figures.add(Figure::new(format!("closing after them, {plural}"), each(&samples.close)));
    figures.add(Figure::new(format!("opening again, {plural}"), each(&samples.open)));
}
