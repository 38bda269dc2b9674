//! From a write to the last of 1,000 watchers, and what each watcher's event costs the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::figures::{Figure, Figures, quantile, time};
use crate::requests::{self, MAPS};
use crate::up::Up;
use crate::{cpu, objects};

const FEW: usize = 10;
const MANY: usize = 1_000;
const WRITES: usize = 50;

/// The watchers' share of a run.
struct Told {
    /// From a write's answer being awaited to the last watcher's event, p50 and p99.
    last: (f64, f64),
    first: f64,
    /// The server's CPU of one event of one watcher.
    cpu: Duration,
}

pub async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let up = Up::fresh().await?;
    for (form, accept) in
        [("JSON", "application/json"), ("protobuf", "application/vnd.kubernetes.protobuf")]
    {
        let few = told(&up, FEW, accept).await?;
        let many = told(&up, MANY, accept).await?;
        let shown = |seconds| time(Duration::from_secs_f64(seconds));
        figures.add(
            Figure::new(
                format!("write → last of {MANY} watchers, {form}, p50"),
                shown(many.last.0),
            )
            .against(format!("first of them {}", shown(many.first)), many.last.0 / many.first),
        );
        figures.add(Figure::new(
            format!("write → last of {MANY} watchers, {form}, p99"),
            shown(many.last.1),
        ));
        figures.add(
            Figure::new(
                format!("the server's CPU for an event of one of {MANY} watchers, {form}"),
                time(many.cpu),
            )
            .against(
                format!("of {FEW} {}", time(few.cpu)),
                many.cpu.as_secs_f64() / few.cpu.as_secs_f64(),
            ),
        );
    }
    up.stop().await
}

async fn told(up: &Up, watchers: usize, accept: &str) -> anyhow::Result<Told> {
    let list = hyper::Request::get(format!("{MAPS}?limit=1")).body(Vec::new())?;
    let list: serde_json::Value = serde_json::from_str(&up.client.request_text(list).await?)?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("a revision")?.to_owned();
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    // Ends the watches with the run.
    let mut watching = JoinSet::new();
    let opened = Arc::new(tokio::sync::Semaphore::new(0));
    for _ in 0..watchers {
        let request = hyper::Request::get(format!("{MAPS}?watch=1&resourceVersion={revision}"))
            .header("accept", accept)
            .body(kube::client::Body::empty())?;
        let (client, arrived, opened) = (up.client.clone(), arrived.clone(), opened.clone());
        watching.spawn(async move {
            let mut body = client.send(request).await?.into_body();
            opened.add_permits(1);
            while let Some(Ok(frame)) = body.frame().await {
                // A small event is one frame: it is not looked into, for the driver has no CPU to
                // spare.
                if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                    arrived.send(Instant::now())?;
                }
            }
            anyhow::Ok(())
        });
    }
    let all = opened.acquire_many(watchers as u32);
    tokio::time::timeout(objects::PATIENCE, all)
        .await
        .context("the watches do not open")??
        .forget();
    let (mut lasts, mut firsts) = (Vec::new(), Vec::new());
    let before = cpu::time(up.pid)?;
    for index in 0..WRITES {
        let body = json!({
            "metadata": {"name": format!("told-{watchers}-{}-{index}", accept.len())},
            "data": {"value": "v".repeat(256)},
        });
        let request = hyper::Request::post(MAPS)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())?;
        let start = Instant::now();
        requests::send(&up.client, request).await?;
        let mut times = Vec::with_capacity(watchers);
        for _ in 0..watchers {
            let arrival = tokio::time::timeout(objects::PATIENCE, arrivals.recv()).await;
            let arrival = arrival.context("an event does not arrive")?.context("a watch ended")?;
            times.push(arrival.duration_since(start).as_secs_f64());
        }
        firsts.push(times.iter().copied().fold(f64::INFINITY, f64::min));
        lasts.push(times.iter().copied().fold(0.0, f64::max));
    }
    let cpu = (cpu::time(up.pid)? - before).as_secs_f64() / (WRITES * watchers) as f64;
    Ok(Told {
        last: (quantile(&lasts, 0.5), quantile(&lasts, 0.99)),
        first: quantile(&firsts, 0.5),
        cpu: Duration::from_secs_f64(cpu),
    })
}
