//! `portForward`: ports of a pod, over SPDY streams (kubectl) or channels of a WebSocket.
//!
//! Source: `k8s.io/apimachinery/pkg/util/portforward`, the kubelet's `portforward` package.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::StatusCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::spdy::{Reader, Stream};
use super::{Asked, Wire, dial, spdy_server, switching, websocket, writer};
use crate::pods::driver::Question;
use crate::server::{Answer, Kubelet, Refusal, stopping};

const WEB_SOCKETS: &[(&str, Wire)] = &[
    ("SPDY/3.1+portforward.k8s.io", Wire::SpdyInWebSocket),
    ("v5.channel.k8s.io", Wire::Channels),
    ("v4.channel.k8s.io", Wire::Channels),
];
const SPDY: &[&str] = &["portforward.k8s.io"];
/// As many bytes are read from a pod at once.
const PIECE: usize = 32 * 1024;
/// Messages that wait for a pod to read them.
const WAITING_MAX: usize = 16;
/// Ports of one WebSocket: each has two channels, and their numbers are bytes.
const PORTS_MAX: usize = 100;

pub(in crate::server) async fn port_forward(
    kubelet: &Kubelet,
    namespace: &str,
    pod: &str,
    mut asked: Asked,
) -> Answer {
    let target = Target {
        kubelet: kubelet.clone(),
        pod: format!("{pod}_{namespace}"),
        ip: address_of(kubelet, namespace, pod).await?,
    };
    let (wire, headers) = asked.agree(WEB_SOCKETS, SPDY)?;
    let ports = match wire {
        Wire::Channels => ports(asked.parameters.get("port").map_or("", String::as_str))?,
        Wire::Spdy | Wire::SpdyInWebSocket => Vec::new(),
    };
    let upgrade = asked.upgrade()?;
    kubelet.means.ambient().spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        match wire {
            Wire::Channels => target.channels(upgraded, ports).await,
            Wire::Spdy | Wire::SpdyInWebSocket => target.streams(upgraded, wire).await,
        }
    });
    Ok(switching(headers))
}

async fn address_of(kubelet: &Kubelet, namespace: &str, name: &str) -> Result<IpAddr, Refusal> {
    let pods = kubelet.mailbox.ask(Question::Pods).await.ok_or_else(stopping)?;
    let mut pods = pods.iter();
    let pod = pods.find(|pod| {
        pod.metadata.namespace.as_deref() == Some(namespace)
            && pod.metadata.name.as_deref() == Some(name)
    });
    let pod = pod.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, "pod does not exist".to_owned()))?;
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    ip.and_then(|ip| ip.parse().ok())
        .ok_or_else(|| Refusal(StatusCode::BAD_REQUEST, format!("pod {name:?} has no address yet")))
}

/// The ports of a query, as in `8080,9090`.
fn ports(text: &str) -> Result<Vec<u16>, Refusal> {
    let refuse = |why: String| Refusal(StatusCode::BAD_REQUEST, why);
    if text.is_empty() {
        return Err(refuse("query parameter \"port\" is required".to_owned()));
    }
    let ports: Vec<u16> = text
        .split(',')
        .map(|port| port.parse().ok().filter(|port| *port > 0))
        .collect::<Option<_>>()
        .ok_or_else(|| refuse(format!("invalid ports {text:?}")))?;
    if ports.len() > PORTS_MAX {
        return Err(refuse(format!("more than {PORTS_MAX} ports")));
    }
    Ok(ports)
}

/// The pod whose ports are forwarded.
#[derive(Clone)]
struct Target {
    kubelet: Kubelet,
    /// For messages.
    pod: String,
    ip: IpAddr,
}

impl Target {
    async fn dial(&self, port: u16) -> Result<copepod_runtime::Stream, String> {
        let dialled = dial(&self.kubelet, SocketAddr::new(self.ip, port)).await;
        dialled
            .map_err(|why| format!("error forwarding port {port} to pod {}, uid : {why}", self.pod))
    }

    /// Each connection is two streams of one request: its data, and what went wrong.
    async fn streams(self, upgraded: Upgraded, wire: Wire) {
        let mut server = spdy_server(&self.kubelet, upgraded, wire).await;
        let mut halves: HashMap<String, Stream> = HashMap::new();
        // A pod may keep its side of a connection open for as long as it likes.
        let gone = CancellationToken::new();
        let _with_the_client = gone.clone().drop_guard();
        loop {
            let stream = match server.accept().await {
                Ok(Some(stream)) => stream,
                Ok(None) => return,
                Err(error) => return tracing::debug!(%error, "port-forwarding broke"),
            };
            let request = stream.header("requestid").to_owned();
            let Some(other) = halves.remove(&request) else {
                halves.insert(request, stream);
                continue;
            };
            let (data, error) = match stream.header("streamtype") {
                "data" => (stream, other),
                _ => (other, stream),
            };
            let (target, gone) = (self.clone(), gone.clone());
            self.kubelet.means.ambient().spawn(async move {
                let forwarded = gone.run_until_cancelled(target.stream(data, error)).await;
                if let Some(Err(error)) = forwarded {
                    tracing::debug!(%error, "a forwarded connection broke");
                }
            });
        }
    }

    async fn stream(self, data: Stream, error: Stream) -> std::io::Result<()> {
        let dialled = match data.header("port").parse() {
            Ok(port) => self.dial(port).await,
            Err(_) => Err(format!("invalid port {:?}", data.header("port"))),
        };
        let pod = match dialled {
            Ok(pod) => pod,
            Err(why) => {
                error.writer.write(why.as_bytes()).await?;
                error.writer.finish().await?;
                return data.writer.finish().await;
            }
        };
        let (mut output, mut input) = tokio::io::split(pod);
        let Stream { mut reader, writer, .. } = data;
        let down = async {
            let mut piece = vec![0; PIECE];
            loop {
                match output.read(&mut piece).await? {
                    0 => return Ok::<_, std::io::Error>(()),
                    read => writer.write(&piece[..read]).await?,
                }
            }
        };
        // What the client sends may end before what it gets, but not the other way round.
        let up = async {
            copy_to(&mut reader, &mut input).await.ok();
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = down => ended,
            () = up => unreachable!("it is pending"),
        };
        if let Err(why) = &ended {
            error.writer.write(why.to_string().as_bytes()).await?;
        }
        error.writer.finish().await?;
        writer.finish().await
    }

    /// Port number n has the channels 2n, its data, and 2n + 1, what went wrong.
    async fn channels(self, upgraded: Upgraded, ports: Vec<u16>) {
        let (sink, mut messages) = websocket::open(TokioIo::new(upgraded)).await;
        let out = writer(&self.kubelet, sink);
        let gone = CancellationToken::new();
        let _with_the_client = gone.clone().drop_guard();
        let mut inputs = Vec::new();
        for (number, port) in ports.into_iter().enumerate() {
            let (input, receiver) = mpsc::channel(WAITING_MAX);
            inputs.push(input);
            let channel = u8::try_from(2 * number).unwrap_or(u8::MAX - 1);
            let (target, out, gone) = (self.clone(), out.clone(), gone.clone());
            self.kubelet.means.ambient().spawn(async move {
                // An error is the client's end, which the reading below sees.
                gone.run_until_cancelled(target.channel(channel, port, receiver, &out)).await;
            });
        }
        drop(out);
        while let Some(Ok(message)) = messages.next().await {
            let Some((channel, data)) = message.split_first() else { continue };
            let Some(input) = inputs.get(usize::from(channel / 2)) else { continue };
            // Nothing is said on the channels of errors.
            if channel % 2 == 0 && !data.is_empty() {
                let _ = input.send(message.slice(1..)).await;
            }
        }
    }

    async fn channel(
        self,
        channel: u8,
        port: u16,
        mut client: mpsc::Receiver<Bytes>,
        out: &mpsc::Sender<Bytes>,
    ) -> Result<(), mpsc::error::SendError<Bytes>> {
        for channel in [channel, channel + 1] {
            out.send(websocket::on_channel(channel, &port.to_le_bytes())).await?;
        }
        let pod = match self.dial(port).await {
            Ok(pod) => pod,
            Err(why) => {
                return out.send(websocket::on_channel(channel + 1, why.as_bytes())).await;
            }
        };
        let (mut output, mut input) = tokio::io::split(pod);
        let down = async {
            let mut piece = vec![0; PIECE];
            loop {
                match output.read(&mut piece).await {
                    Ok(0) => return Ok(()),
                    Ok(read) => out.send(websocket::on_channel(channel, &piece[..read])).await?,
                    Err(why) => {
                        let why = why.to_string();
                        return out.send(websocket::on_channel(channel + 1, why.as_bytes())).await;
                    }
                }
            }
        };
        let up = async {
            while let Some(bytes) = client.recv().await {
                if input.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            // The client has gone, or the pod reads no more and will say the rest.
            let _ = input.shutdown().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = down => ended,
            () = up => unreachable!("it is pending"),
        }
    }
}

async fn copy_to(
    reader: &mut Reader,
    output: &mut (impl AsyncWriteExt + Unpin),
) -> std::io::Result<()> {
    while let Some(bytes) = reader.next().await {
        output.write_all(&bytes).await?;
    }
    output.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers() {
        assert_eq!(ports("80,8080").unwrap(), [80, 8080]);
        for (text, why) in [
            ("", "query parameter \"port\" is required"),
            ("0", "invalid ports \"0\""),
            ("80,http", "invalid ports \"80,http\""),
        ] {
            assert_eq!(ports(text).unwrap_err().1, why);
        }
    }
}
