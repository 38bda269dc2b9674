//! The flags: parsed here, once, and nowhere deeper.

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

/// Kubernetes with WebAssembly pods, in one binary.
#[derive(Debug, Parser)]
#[command(name = "copepod", version)]
pub struct Cli {
    /// What is logged to stderr, such as `info` or `copepod_node=debug`.
    #[arg(long, env = "COPEPOD_LOG", default_value = "warn,kube_client=off", global = true, value_parser = log)]
    pub log: String,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster: a control plane and its nodes in this process.
    Up(Up),
    /// Start a control plane alone.
    Control(Control),
    /// Start a node of a cluster whose control plane is another process.
    Node(Node),
    /// Build the guest in a folder, run its manifests, rebuild on change.
    Dev(Dev),
    /// Run manifests in an ephemeral cluster; exit as the pod does.
    Run(Run),
    /// Local Wasm files as images on a cluster's nodes.
    Image {
        #[command(flatten)]
        cluster: ClusterArg,
        #[command(subcommand)]
        command: Image,
    },
}

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Where the HTTPS API listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,
    /// Where to write the administrator's kubeconfig. [default: DIR/kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Nodes in this process.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub nodes: u16,
    /// Where NodePorts are opened.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// A folder that `file://` images may come from; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub allow_images_in: Vec<PathBuf>,
    #[arg(long, hide = true, value_name = "PORT", value_parser = Later("Ingress"))]
    pub ingress_http: Option<String>,
    #[arg(long, hide = true, value_name = "PORT", value_parser = Later("Ingress"))]
    pub ingress_https: Option<String>,
}

#[derive(Debug, Args)]
pub struct StorageArgs {
    /// Where objects, images, volumes and logs are kept. [default: the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// `sled` (on disk, in the data folder) or `memory` (gone at the end).
    #[arg(long, default_value = "sled", value_parser = store)]
    pub store: Store,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Sled,
    Memory,
}

#[derive(Debug, Args)]
pub struct Control {
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Where the HTTPS API listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,
    /// Where to write the administrator's kubeconfig. [default: DIR/kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Write a kubeconfig for a node: its name, and the file; may be given several times.
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    pub node_kubeconfig: Vec<(String, PathBuf)>,
}

#[derive(Debug, Args)]
pub struct Node {
    /// The node's kubeconfig, as `copepod control --node-kubeconfig` writes it.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    #[arg(long, hide = true, value_name = "URL", value_parser = Later(JOINING))]
    pub server: Option<String>,
    #[arg(long, hide = true, value_name = "TOKEN", value_parser = Later(JOINING))]
    pub token: Option<String>,
    /// The node's name.
    #[arg(long)]
    pub name: String,
    /// Where images, volumes and logs are kept. [default: the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the kubelet API listens; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10250")]
    pub kubelet_listen: SocketAddr,
    /// Where NodePorts are opened.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// A folder that `file://` images may come from; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub allow_images_in: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Dev {
    /// The folder: a guest (or folders with one each), and manifests.
    pub dir: PathBuf,
    /// A running cluster to use instead of an in-memory one.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the in-memory cluster's API listens; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where its NodePorts are opened.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
}

#[derive(Debug, Args)]
pub struct Run {
    /// The manifests.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// An image to import first: reference and Wasm file; may be given several times.
    #[arg(long, value_name = "REF=FILE", value_parser = pair)]
    pub image: Vec<(String, PathBuf)>,
    /// Where NodePorts are opened.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
}

#[derive(Debug, Args)]
pub struct ClusterArg {
    /// The cluster's kubeconfig.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Put a Wasm file onto every node under a reference.
    Import { file: PathBuf, reference: String },
    /// List the images of every node.
    Ls,
    /// Take a reference off every node.
    Rm { reference: String },
}

const JOINING: &str = "joining by token (use --kubeconfig)";

/// The parser of a flag that is planned: it refuses every value and says so.
#[derive(Clone, Copy)]
struct Later(&'static str);

impl TypedValueParser for Later {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        flag: Option<&clap::Arg>,
        _: &OsStr,
    ) -> Result<String, clap::Error> {
        let name = flag.and_then(clap::Arg::get_long).unwrap_or_default();
        let message = format!("--{name} comes later: {} is not supported yet", self.0);
        Err(command.clone().error(ErrorKind::InvalidValue, message))
    }
}

fn store(text: &str) -> Result<Store, String> {
    match text {
        "sled" => Ok(Store::Sled),
        "memory" => Ok(Store::Memory),
        text if text.split('=').next() == Some("etcd") => {
            Err("etcd comes later; use `sled` or `memory`".to_owned())
        }
        _ => Err("expected `sled` or `memory`".to_owned()),
    }
}

fn log(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; expected such as `info` or `copepod_node=debug`")),
    }
}

fn pair(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Cli;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_planned_or_wrong_is_refused_by_name() {
        for (line, wanted) in [
            ("up --ingress-http 80", "--ingress-http comes later: Ingress is not supported yet"),
            ("up --ingress-https=443", "--ingress-https comes later"),
            ("up --store etcd=http://127.0.0.1:2379", "etcd comes later"),
            ("control --store etcd", "etcd comes later"),
            ("control --store paper", "expected `sled` or `memory`"),
            ("node --name n --server https://c:6443 --token t", "--server comes later"),
            ("node --name n --token t", "--token comes later: joining by token (use --kubeconfig)"),
            ("--log a=b=c up", "--log"),
        ] {
            let words = ["copepod"].into_iter().chain(line.split(' '));
            let error = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(wanted), "{line}: {error}");
        }
    }
}
