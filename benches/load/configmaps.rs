//! Durable creates a second through the API: 16 writers of ConfigMaps, over HTTPS to a process, and in one process without
//! a socket.

use std::time::{Duration, Instant};

use anyhow::Context;
use copepod_sdk::Cluster;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::figures::{Figure, Figures, time};
use crate::up::Up;
use crate::{cpu, disk};

const WRITERS: usize = 16;
const PERIOD: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);
const DATA_BYTES: usize = 256;

/// Creates a second, and the CPU of each.
struct Rate {
    a_second: f64,
    cpu: Duration,
}

pub async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let up = Up::fresh().await?;
    // What the disk would do with groups of 16, which are the most that 16 writers can fill.
    let syncs = disk::syncs_per_second(up.data_dir()?, 1024 * WRITERS, Duration::from_secs(2))?;
    let disk = syncs * WRITERS as f64;
    let https = creates(&up.client, up.pid).await?;
    up.stop().await?;

    let folder = disk::folder()?;
    let cluster = Cluster::builder().data_dir(folder.path()).start().await?;
    let within = creates(&cluster.client(), std::process::id()).await?;
    cluster.stop().await;

    for (way, whose, rate) in
        [("over HTTPS", "the server's", https), ("in process", "server and clients", within)]
    {
        figures.add(
            Figure::new(
                format!("ConfigMap creates, 16 writers, durable, {way}"),
                format!("{:.0}/s", rate.a_second),
            )
            .against(format!("append of 16 + fdatasync {disk:.0}/s"), rate.a_second / disk)
            .target("10,000/s, then 20,000/s"),
        );
        figures.add(
            Figure::new(format!("CPU of each, {way} ({whose})"), time(rate.cpu)).target("0.1 ms"),
        );
    }
    Ok(())
}

async fn creates(client: &kube::Client, pid: u32) -> anyhow::Result<Rate> {
    write(client, "warm", WARM_UP).await?;
    let (start, before) = (Instant::now(), cpu::time(pid)?);
    let count = write(client, "bench", PERIOD).await?;
    let (took, cpu) = (start.elapsed(), cpu::time(pid)? - before);
    let cpu = Duration::from_secs_f64(cpu.as_secs_f64() / count as f64);
    Ok(Rate { a_second: count as f64 / took.as_secs_f64(), cpu })
}

/// All writers together: how many they created.
async fn write(client: &kube::Client, name: &str, period: Duration) -> anyhow::Result<u64> {
    let until = Instant::now() + period;
    let running: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(writer_loop(client.clone(), format!("{name}-{writer}"), until)))
        .collect();
    let mut count = 0;
    for writer in running {
        count += writer.await??;
    }
    Ok(count)
}

async fn writer_loop(client: kube::Client, name: String, until: Instant) -> anyhow::Result<u64> {
    let configmaps = Api::<ConfigMap>::default_namespaced(client);
    let mut configmap: ConfigMap = serde_json::from_value(json!({
        "metadata": {},
        "data": {"value": "v".repeat(DATA_BYTES)},
    }))?;
    let mut count = 0;
    while Instant::now() < until {
        configmap.metadata.name = Some(format!("{name}-{count}"));
        configmaps
            .create(&PostParams::default(), &configmap)
            .await
            .context("create a ConfigMap")?;
        count += 1;
    }
    Ok(count)
}
