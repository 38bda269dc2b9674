//! A TCP server on plain `std::net`: what a line says is said back.
//!
//! WASI has no threads here, so connections are served one after another; the Service in front
//! spreads clients over the replicas.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "7".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("listening on port {port}");
    for connection in listener.incoming() {
        if let Err(error) = connection.and_then(echo) {
            eprintln!("connection lost: {error}");
        }
    }
    Ok(())
}

fn echo(connection: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(&connection);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        (&connection).write_all(&line)?;
        line.clear();
    }
    Ok(())
}
