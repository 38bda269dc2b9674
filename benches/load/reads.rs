//! Gets a second, and lists of 5,000 objects in each form that clients ask for.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cpu;
use crate::figures::{Figure, Figures, median, time};
use crate::requests::{self, MAPS, Rate};
use crate::up::{Memory, Up};

const READERS: usize = 16;
const PERIOD: Duration = Duration::from_secs(5);
const OBJECTS: usize = 5_000;
const PAGE: usize = 500;
const ROUNDS: usize = 15;

/// The forms, the plain one first; each with its `Accept` and `Accept-Encoding`.
const FORMS: [(&str, &str, &str); 5] = [
    ("JSON", "application/json", "identity"),
    ("JSON, compressed", "application/json", "gzip"),
    ("protobuf", "application/vnd.kubernetes.protobuf", "identity"),
    ("Table", "application/json;as=Table;v=v1;g=meta.k8s.io", "identity"),
    (
        "metadata alone",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        "identity",
    ),
];

pub async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let up = Up::fresh().await?;
    requests::fill(&up.client, OBJECTS).await?;
    gets(&up, figures).await.context("get")?;
    let before = up.memory_at_rest().await?;
    lists(&up, figures).await.context("list")?;
    let after = Memory::of(up.pid)?;
    figures.add(
        Figure::new("memory right after the lists", &after)
            .against(&before, after.resident / before.resident),
    );
    pages(&up, figures).await.context("list by pages")?;
    up.stop().await
}

async fn gets(up: &Up, figures: &mut Figures) -> anyhow::Result<()> {
    let bare = rate(up, |_, _| Ok(hyper::Request::get("/readyz").body(Vec::new())?)).await?;
    let gets = rate(up, |reader, count| {
        let index = (reader * 311 + count as usize) % OBJECTS;
        Ok(hyper::Request::get(format!("{MAPS}/filled-{index:06}")).body(Vec::new())?)
    });
    let gets = gets.await?;
    figures.add(
        Figure::new(
            "gets of ConfigMaps, 16 readers, over HTTPS",
            format!("{:.0}/s", gets.a_second),
        )
        .against(format!("/readyz {:.0}/s", bare.a_second), gets.a_second / bare.a_second),
    );
    figures.add(Figure::new("the server's CPU for each", time(gets.cpu)).against(
        format!("/readyz {}", time(bare.cpu)),
        gets.cpu.as_secs_f64() / bare.cpu.as_secs_f64(),
    ));
    Ok(())
}

async fn rate(
    up: &Up,
    request: impl Fn(usize, u64) -> anyhow::Result<hyper::Request<Vec<u8>>> + Copy + Send + 'static,
) -> anyhow::Result<Rate> {
    let (start, before) = (Instant::now(), cpu::time(up.pid)?);
    let count = requests::in_parallel(&up.client, READERS, PERIOD, request).await?;
    Rate::of(count, start.elapsed(), cpu::time(up.pid)? - before)
}

/// A list's time, the server's CPU for it, and its size.
#[derive(Clone, Copy)]
struct Listed {
    took: Duration,
    cpu: Duration,
    size: u64,
}

async fn lists(up: &Up, figures: &mut Figures) -> anyhow::Result<()> {
    let mut plain: Option<Listed> = None;
    for (name, accept, encoding) in FORMS {
        let mut times = Vec::new();
        let (mut size, before) = (0, cpu::time(up.pid)?);
        for _ in 0..ROUNDS {
            let request = hyper::Request::get(MAPS)
                .header("accept", accept)
                .header("accept-encoding", encoding)
                .body(Vec::new())?;
            let start = Instant::now();
            size = requests::send(&up.client, request).await?;
            times.push(start.elapsed().as_secs_f64());
        }
        let cpu = (cpu::time(up.pid)? - before) / ROUNDS as u32;
        let listed = Listed { took: Duration::from_secs_f64(median(&times)), cpu, size };
        let plain = *plain.get_or_insert(listed);
        figures.add(
            Figure::new(format!("list of {OBJECTS} ConfigMaps, {name}"), time(listed.took))
                .against(
                    format!("JSON {}", time(plain.took)),
                    listed.took.as_secs_f64() / plain.took.as_secs_f64(),
                ),
        );
        figures.add(Figure::new(format!("the server's CPU for it, {name}"), time(listed.cpu)));
        figures.add(
            Figure::new(format!("its size, {name}"), format!("{} KiB", listed.size / 1024))
                .against(
                    format!("JSON {} KiB", plain.size / 1024),
                    listed.size as f64 / plain.size as f64,
                ),
        );
    }
    Ok(())
}

/// The same in pages, of which the last must not cost more than the first.
async fn pages(up: &Up, figures: &mut Figures) -> anyhow::Result<()> {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut times, mut token) = (Vec::new(), String::new());
        loop {
            let path = format!("{MAPS}?limit={PAGE}&continue={token}");
            let start = Instant::now();
            let text = up.client.request_text(hyper::Request::get(path).body(Vec::new())?).await?;
            times.push(start.elapsed().as_secs_f64());
            let page: serde_json::Value = serde_json::from_str(&text)?;
            match page["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut token),
                _ => break,
            }
        }
        // The very last page may be short.
        let full = times.len().checked_sub(2).context("more than one page")?;
        first.push(times[1]);
        last.push(times[full]);
    }
    let (first, last) = (median(&first), median(&last));
    let shown = |seconds| time(Duration::from_secs_f64(seconds));
    figures.add(
        Figure::new(format!("one of the last pages of {PAGE} of {OBJECTS}"), shown(last))
            .against(format!("the second page {}", shown(first)), last / first),
    );
    Ok(())
}
