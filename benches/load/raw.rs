//! The baseline of the HTTP part: hyper and nothing else, as a process of its own, so that both servers are as far away
//! from the load.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Tells this program to be the server.
pub const ARGUMENT: &str = "--raw-server";

/// A running server; killed when dropped.
pub struct Raw {
    pub address: SocketAddr,
    pub pid: u32,
    _child: Child,
}

impl Raw {
    pub async fn start() -> anyhow::Result<Raw> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the raw server")?;
        let stdout = child.stdout.take().context("its output")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let address = line.context("its address")?.parse()?;
        let pid = child.id().context("it runs")?;
        Ok(Raw { address, pid, _child: child })
    }
}

/// Serves until killed.
pub async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(connection(socket));
    }
}

async fn connection(socket: TcpStream) {
    // A connection that breaks is the client's to count.
    let _ = socket.set_nodelay(true);
    let hello = service_fn(|_: Request<hyper::body::Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello from nobody"))))
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), hello)
        .await;
}
