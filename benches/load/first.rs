//! From the POST of a Deployment to the first 200 through its NodePort: image imported and compiled, Service in place.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::figures::{Figure, Figures, median, time};
use crate::up::Up;
use crate::{disk, objects};

const ROUNDS: usize = 10;
/// Between two attempts: the error of the figure, and small beside what the attempts cost the server.
const PAUSE: Duration = Duration::from_micros(300);
const FIRST_PORT: u16 = 31_000;

pub async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let up = Up::with_guest().await?;
    let sync = 1.0 / disk::syncs_per_second(up.data_dir()?, 1024, Duration::from_secs(1))?;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        took.push(first_answer(&up, round).await?.as_secs_f64());
    }
    up.stop().await?;
    let (median, worst) = (median(&took), took.iter().copied().fold(0.0, f64::max));
    let seconds = Duration::from_secs_f64;
    let goal = 0.008 + 6.0 * sync;
    figures.add(
        Figure::new("POST of a Deployment → first 200 through its NodePort, median of 10", {
            format!("{} (worst {})", time(seconds(median)), time(seconds(worst)))
        })
        .against(
            format!("8 ms + 6 fdatasyncs of {} = {}", time(seconds(sync)), time(seconds(goal))),
            median / goal,
        )
        .target("8 ms + 6 fdatasyncs, then 5 ms"),
    );
    Ok(())
}

async fn first_answer(up: &Up, round: usize) -> anyhow::Result<Duration> {
    let (name, port) = (format!("first-{round}"), FIRST_PORT + u16::try_from(round)?);
    let door = up.door(port)?;
    objects::create_service(&up.client, &objects::node_port(&name, port)?).await?;
    tokio::task::spawn_blocking(move || open(door)).await??;
    // The Service's own writes come to rest.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let deployment = objects::deployment(&name, 1)?;
    let start = Instant::now();
    let answered = tokio::task::spawn_blocking(move || answered(door, start));
    objects::create(&up.client, &deployment).await?;
    let took = answered.await??;
    objects::delete(&up.client, &name).await?;
    Ok(took)
}

/// Waits until the door is taken: without an endpoint behind it, it refuses connections.
fn open(door: SocketAddr) -> anyhow::Result<()> {
    let start = Instant::now();
    while TcpListener::bind(door).is_ok() {
        anyhow::ensure!(start.elapsed() < objects::PATIENCE, "NodePort {door} does not open");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Asks, on a new connection each time, until the answer is 200.
fn answered(door: SocketAddr, start: Instant) -> anyhow::Result<Duration> {
    while start.elapsed() < objects::PATIENCE {
        // Refused, reset and 503 are what a Service without endpoints may say.
        if ask(door).is_ok_and(|is_ok| is_ok) {
            return Ok(start.elapsed());
        }
        std::thread::sleep(PAUSE);
    }
    None.with_context(|| format!("no answer through NodePort {door}"))
}

fn ask(door: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(door)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: first\r\nconnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}
