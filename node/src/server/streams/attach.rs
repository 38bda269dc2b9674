//! `attach`: what a running container writes from now on, line by line.
//!
//! Source: the kubelet's `remotecommand` package.

use bytes::Bytes;
use http::StatusCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::spdy::Writer;
use super::{Asked, Wire, spdy_server, switching, websocket, writer};
use crate::pods::driver::{Question, WantedLog};
use crate::pods::logs::{self, LogQuery};
use crate::server::{Answer, Kubelet, Parameters, Refusal, stopping};

const WEB_SOCKETS: &[(&str, Wire)] =
    &[("v5.channel.k8s.io", Wire::Channels), ("v4.channel.k8s.io", Wire::Channels)];
const SPDY: &[&str] = &["v4.channel.k8s.io"];
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// What the last words of an attachment are.
const SUCCESS: &[u8] = br#"{"metadata":{},"status":"Success"}"#;

type Output = mpsc::Receiver<std::io::Result<Bytes>>;

pub(in crate::server) async fn attach(
    kubelet: &Kubelet,
    namespace: &str,
    pod: &str,
    container: &str,
    mut asked: Asked,
) -> Answer {
    let streams = Streams::parse(&asked.parameters, container)?;
    let named = |reply| Question::Container {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
        reply,
    };
    if kubelet.mailbox.ask(named).await.ok_or_else(stopping)?.is_none() {
        let why = format!("container {container:?} of pod {pod:?} is not running");
        return Err(Refusal(StatusCode::BAD_REQUEST, why));
    }
    let wanted = WantedLog {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
        previous: false,
    };
    let source = kubelet.mailbox.ask(|reply| Question::Log { wanted, reply }).await;
    let source = source.ok_or_else(stopping)??;
    let (wire, headers) = asked.agree(WEB_SOCKETS, SPDY)?;
    let upgrade = asked.upgrade()?;
    let query = LogQuery {
        follow: true,
        previous: false,
        timestamps: false,
        tail_lines: Some(0),
        limit_bytes: None,
        since: None,
    };
    let output = logs::read(source, query);
    let task = kubelet.clone();
    kubelet.means.ambient().spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        match wire {
            Wire::Channels => streams.channels(&task, upgraded, output).await,
            Wire::Spdy | Wire::SpdyInWebSocket => {
                streams.over_spdy(&task, upgraded, wire, output).await;
            }
        }
    });
    Ok(switching(headers))
}

/// Which streams the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Streams {
    stdout: bool,
    stderr: bool,
}

impl Streams {
    fn parse(parameters: &Parameters, container: &str) -> Result<Self, Refusal> {
        let flag = |name: &str| parameters.get(name).is_some_and(|value| value == "1");
        let (stdin, stdout, stderr) = (flag("input"), flag("output"), flag("error"));
        let refuse = |why: String| Err(Refusal(StatusCode::BAD_REQUEST, why));
        if !(stdin || stdout || stderr) {
            return refuse("you must specify at least 1 of stdin, stdout, stderr".to_owned());
        }
        if stdin {
            return refuse(format!(
                "attaching to the standard input of container {container:?} is not supported: it is closed from the start"
            ));
        }
        Ok(Self { stdout, stderr })
    }

    /// The channel that everything is written to: both of the container's streams are one log.
    const fn channel(self) -> u8 {
        if self.stdout { STDOUT } else { STDERR }
    }

    async fn channels(self, kubelet: &Kubelet, upgraded: Upgraded, mut output: Output) {
        let (sink, mut messages) = websocket::open(TokioIo::new(upgraded)).await;
        let out = writer(kubelet, sink);
        // An empty message says that the attachment stands.
        if out.send(websocket::on_channel(self.channel(), b"")).await.is_err() {
            return;
        }
        loop {
            let piece = tokio::select! {
                piece = output.recv() => piece,
                message = messages.next() => match message {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return,
                },
            };
            let Some(Ok(piece)) = piece else { break };
            if out.send(websocket::on_channel(self.channel(), &piece)).await.is_err() {
                return;
            }
        }
        // Where it cannot be sent, nobody listens.
        let _ = out.send(websocket::on_channel(ERROR, SUCCESS)).await;
    }

    async fn over_spdy(self, kubelet: &Kubelet, upgraded: Upgraded, wire: Wire, output: Output) {
        let mut server = spdy_server(kubelet, upgraded, wire).await;
        let (mut error, mut out, mut spare) = (None, None, None);
        let wanted = 1 + usize::from(self.stdout) + usize::from(self.stderr);
        for _ in 0..wanted {
            let Ok(Some(stream)) = server.accept().await else { return };
            match (stream.header("streamtype"), self.stdout) {
                ("error", _) => error = Some(stream.writer),
                ("stdout", _) | ("stderr", false) => out = Some(stream.writer),
                _ => spare = Some(stream.writer),
            }
        }
        let (Some(error), Some(out)) = (error, out) else { return };
        let gone = CancellationToken::new();
        let _with_the_client = gone.clone().drop_guard();
        kubelet.means.ambient().spawn(async move {
            // An error is the client's end.
            gone.run_until_cancelled(write_all(output, out, spare, error)).await;
        });
        // Answers pings until the client has gone.
        while let Ok(Some(_)) = server.accept().await {}
    }
}

async fn write_all(
    mut output: Output,
    out: Writer,
    spare: Option<Writer>,
    error: Writer,
) -> std::io::Result<()> {
    while let Some(Ok(piece)) = output.recv().await {
        out.write(&piece).await?;
    }
    error.write(SUCCESS).await?;
    for writer in [Some(out), spare, Some(error)].into_iter().flatten() {
        writer.finish().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_to_what_there_is() {
        let parse = |names: &[&str]| {
            let parameters = names.iter().map(|name| ((*name).to_owned(), "1".to_owned()));
            Streams::parse(&parameters.collect(), "main").map_err(|refusal| refusal.1)
        };
        assert_eq!(parse(&["output", "error"]), Ok(Streams { stdout: true, stderr: true }));
        assert_eq!(parse(&[]).unwrap_err(), "you must specify at least 1 of stdin, stdout, stderr");
        assert!(parse(&["input", "output"]).unwrap_err().contains("standard input"));
    }
}
