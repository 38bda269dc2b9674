//! Server-side applies a second, beside creates in the same run: of objects that are new, and of
//! objects that are as they are applied.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use crate::cpu;
use crate::figures::{Figure, Figures, time};
use crate::requests::{self, MAPS, Rate};
use crate::up::Up;

const WRITERS: usize = 16;
const PERIOD: Duration = Duration::from_secs(5);
const APPLY: &str = "application/apply-patch+yaml";

pub async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let up = Up::fresh().await?;
    let created = rate(&up, |writer, count| {
        let body = object(&format!("created-{writer}-{count}"));
        let request = hyper::Request::post(MAPS).header("content-type", "application/json");
        Ok(request.body(body)?)
    });
    let created = created.await.context("create")?;
    let fresh = rate(&up, |writer, count| apply(&format!("applied-{writer}-{count}")));
    let fresh = fresh.await.context("apply a new object")?;
    let same = rate(&up, |writer, _| apply(&format!("applied-{writer}-0")));
    let same = same.await.context("apply what is there")?;
    up.stop().await?;
    for (what, rate) in [("new ConfigMaps", fresh), ("ConfigMaps that stay as they are", same)] {
        figures.add(
            Figure::new(
                format!("applies of {what}, 16 writers, over HTTPS"),
                format!("{:.0}/s", rate.a_second),
            )
            .against(
                format!("creates {:.0}/s", created.a_second),
                rate.a_second / created.a_second,
            ),
        );
        figures.add(
            Figure::new(format!("the server's CPU for each, {what}"), time(rate.cpu)).against(
                format!("create {}", time(created.cpu)),
                rate.cpu.as_secs_f64() / created.cpu.as_secs_f64(),
            ),
        );
    }
    Ok(())
}

fn object(name: &str) -> Vec<u8> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "data": {"value": "v".repeat(256)},
    });
    // JSON is YAML.
    object.to_string().into_bytes()
}

fn apply(name: &str) -> anyhow::Result<hyper::Request<Vec<u8>>> {
    let path = format!("{MAPS}/{name}?fieldManager=bench");
    Ok(hyper::Request::patch(path).header("content-type", APPLY).body(object(name))?)
}

async fn rate(
    up: &Up,
    request: impl Fn(usize, u64) -> anyhow::Result<hyper::Request<Vec<u8>>> + Copy + Send + 'static,
) -> anyhow::Result<Rate> {
    let (start, before) = (Instant::now(), cpu::time(up.pid)?);
    let count = requests::in_parallel(&up.client, WRITERS, PERIOD, request).await?;
    Rate::of(count, start.elapsed(), cpu::time(up.pid)? - before)
}
