//! A Copepod cluster as a library.
//!
//! [`Cluster::builder`] starts a control plane and its nodes in this process; [`Cluster::client`] is
//! a `kube::Client` to it without a socket in between. The `copepod` command and the tests are
//! built on this crate and use nothing beneath it.
//!
//! ```no_run
//! # async fn example() -> Result<(), copepod_sdk::ClusterError> {
//! use copepod_sdk::Cluster;
//!
//! let cluster = Cluster::builder().memory().start().await?;
//! let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::default_namespaced(cluster.client());
//! // … use it as any Kubernetes cluster …
//! cluster.stop().await;
//! # Ok(())
//! # }
//! ```

mod cluster;
pub mod dev;
mod dialer;
pub mod guests;
pub mod images;
pub mod kubeconfig;
pub mod logs;
pub mod manifests;
pub mod remote;
pub mod run;
pub mod wait;

pub use copepod_runtime::{CallError, PoolConfig, Runtime, RuntimeConfig, RuntimeError, Val};

pub use cluster::{Cluster, ClusterBuilder, ClusterError, ContainerName, Storage};
