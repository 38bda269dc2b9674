//! Requests by many at once, and what they cost.

use std::time::{Duration, Instant};

use anyhow::Context;
use http_body_util::BodyExt as _;
use serde_json::json;

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const FILLERS: usize = 16;

/// Requests a second, and the server's CPU for each.
#[derive(Clone, Copy)]
pub struct Rate {
    pub a_second: f64,
    pub cpu: Duration,
}

impl Rate {
    pub fn of(count: u64, took: Duration, cpu: Duration) -> anyhow::Result<Rate> {
        anyhow::ensure!(count > 0, "nothing was done");
        let cpu = Duration::from_secs_f64(cpu.as_secs_f64() / count as f64);
        Ok(Rate { a_second: count as f64 / took.as_secs_f64(), cpu })
    }
}

/// Sends one request after another from each of so many tasks: how many were answered well.
/// `request` is given the task's number and the request's within it.
pub async fn in_parallel(
    client: &kube::Client,
    tasks: usize,
    period: Duration,
    request: impl Fn(usize, u64) -> anyhow::Result<hyper::Request<Vec<u8>>> + Copy + Send + 'static,
) -> anyhow::Result<u64> {
    let until = Instant::now() + period;
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut count = 0;
                while Instant::now() < until {
                    send(&client, request(task, count)?).await?;
                    count += 1;
                }
                anyhow::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in running {
        count += task.await??;
    }
    Ok(count)
}

/// Sends a request: how many bytes the answer's body has.
pub async fn send(client: &kube::Client, request: hyper::Request<Vec<u8>>) -> anyhow::Result<u64> {
    let what = format!("{} {}", request.method(), request.uri());
    let answer = client.send(request.map(kube::client::Body::from)).await?;
    let status = answer.status();
    let size = drain(answer.into_body()).await?;
    anyhow::ensure!(status.is_success(), "{what}: {status}");
    Ok(size)
}

/// Creates so many ConfigMaps of 256 B.
pub async fn fill(client: &kube::Client, count: usize) -> anyhow::Result<()> {
    let fillers: Vec<_> = (0..FILLERS)
        .map(|filler| {
            let client = client.clone();
            tokio::spawn(async move {
                for index in (filler..count).step_by(FILLERS) {
                    let object = json!({
                        "metadata": {"name": format!("filled-{index:06}"), "labels": {"app": "bench"}},
                        "data": {"value": "v".repeat(256)},
                    });
                    let request = hyper::Request::post(MAPS)
                        .header("content-type", "application/json")
                        .body(object.to_string().into_bytes())?;
                    send(&client, request).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for filler in fillers {
        filler.await?.context("fill")?;
    }
    Ok(())
}

/// Reads a body to its end and keeps nothing of it.
async fn drain(mut body: kube::client::Body) -> anyhow::Result<u64> {
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow::anyhow!("{error}"))?;
        size += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(size)
}
