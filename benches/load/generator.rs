//! HTTP load: kept-alive connections that each ask again as soon as they are answered.
//!
//! Our own generator reads no more of an answer than where it ends: it shares the cores with the server, and whatever it
//! spends would flatter the slower one in a ratio.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    Own,
    /// The program of this name, which must be installed.
    Wrk,
}

pub struct Load {
    pub requests: u64,
    /// Answers other than 200, and connections that broke.
    pub failures: u64,
    pub took: Duration,
    /// How long each took; empty where the generator does not say.
    pub seconds: Vec<f64>,
}

impl Generator {
    pub fn name(self) -> &'static str {
        match self {
            Generator::Own => "own generator",
            Generator::Wrk => "wrk",
        }
    }

    pub async fn load(
        self,
        to: SocketAddr,
        connections: usize,
        period: Duration,
    ) -> anyhow::Result<Load> {
        match self {
            Generator::Own => own(to, connections, period).await,
            Generator::Wrk => wrk(to, connections, period).await,
        }
    }
}

async fn own(to: SocketAddr, connections: usize, period: Duration) -> anyhow::Result<Load> {
    let start = Instant::now();
    let running: Vec<_> = (0..connections).map(|_| tokio::spawn(ask(to, start + period))).collect();
    let mut load = Load { requests: 0, failures: 0, took: Duration::ZERO, seconds: Vec::new() };
    for connection in running {
        let (seconds, failures) = connection.await?;
        load.requests += seconds.len() as u64;
        load.failures += failures;
        load.seconds.extend(seconds);
    }
    load.took = start.elapsed();
    Ok(load)
}

/// How long each request that was answered with 200 took on one connection, and the number of failures; ends with the
/// first connection that breaks.
async fn ask(to: SocketAddr, until: Instant) -> (Vec<f64>, u64) {
    let Ok(mut connection) = Connection::open(to).await else { return (Vec::new(), 1) };
    let (mut seconds, mut failures) = (Vec::new(), 0);
    loop {
        let start = Instant::now();
        if start >= until {
            return (seconds, failures);
        }
        match connection.ask().await {
            Ok(true) => seconds.push(start.elapsed().as_secs_f64()),
            Ok(false) => failures += 1,
            Err(_) => return (seconds, failures + 1),
        }
    }
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(to: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let request = format!("GET / HTTP/1.1\r\nhost: {to}\r\n\r\n").into_bytes();
        Ok(Connection { stream, request, buffer: Vec::with_capacity(4096) })
    }

    /// One request and its whole answer; whether that was 200.
    async fn ask(&mut self) -> io::Result<bool> {
        self.stream.write_all(&self.request).await?;
        self.buffer.clear();
        let mut ends = None;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if ends.is_none() {
                ends = end(&self.buffer)?;
            }
            match ends {
                Some(End::At(length)) if self.buffer.len() >= length => break,
                Some(End::Chunk) if self.buffer.ends_with(b"\r\n0\r\n\r\n") => break,
                Some(End::At(_) | End::Chunk) | None => {}
            }
        }
        Ok(self.buffer.starts_with(b"HTTP/1.1 200"))
    }
}

/// How the end of an answer is known.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// So many bytes, the head included.
    At(usize),
    /// An empty chunk. Content that looks like one would fool us; our servers' does not.
    Chunk,
}

/// `None` until the head is whole.
fn end(answer: &[u8]) -> io::Result<Option<End>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    for line in answer[..head].split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            let length: usize = length.ok_or(io::ErrorKind::InvalidData)?;
            return Ok(Some(End::At(head + 4 + length)));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Ok(Some(End::Chunk));
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "an answer that ends with its connection"))
}

async fn wrk(to: SocketAddr, connections: usize, period: Duration) -> anyhow::Result<Load> {
    let output = Command::new("wrk")
        .args(["-t2", &format!("-c{connections}"), &format!("-d{}s", period.as_secs().max(1))])
        .arg(format!("http://{to}/"))
        .output()
        .await
        .context("run wrk: install it, or leave --wrk out")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "wrk failed: {said}");
    read_wrk(&said).with_context(|| format!("not what wrk says:\n{said}"))
}

fn read_wrk(said: &str) -> Option<Load> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let line = |start: &str| said.lines().find_map(|line| line.trim().strip_prefix(start));
    let rate = number(line("Requests/sec:")?)?;
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in "))?.0;
    let requests: u64 = requests.parse().ok()?;
    let not_200 = line("Non-2xx or 3xx responses:").and_then(number).unwrap_or(0.0);
    let broken: f64 = line("Socket errors:")
        .map(|errors| errors.split([' ', ',']).filter_map(number).sum())
        .unwrap_or(0.0);
    let took = Duration::try_from_secs_f64(requests as f64 / rate).ok()?;
    Some(Load { requests, failures: (not_200 + broken) as u64, took, seconds: Vec::new() })
}
