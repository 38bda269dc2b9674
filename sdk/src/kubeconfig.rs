//! Where a cluster's files are, and clients from kubeconfig files.

use std::path::{Path, PathBuf};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("kubeconfig {path}: {source}")]
    Unusable { path: String, source: kube::config::KubeconfigError },
    #[error("no cluster is named: pass --kubeconfig, or set KUBECONFIG")]
    None,
    #[error("{0}")]
    Client(#[from] kube::Error),
}

/// The user's data folder: `$XDG_DATA_HOME/copepod`, or `~/.local/share/copepod`.
pub fn default_data_dir(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("copepod"))
}

/// A client for the cluster that a kubeconfig file names.
pub async fn client(file: &Path) -> Result<kube::Client, KubeconfigError> {
    client_as(file, "copepod").await
}

/// The same under the name of what it works for, which manages the fields that it sets.
pub async fn client_as(file: &Path, agent: &'static str) -> Result<kube::Client, KubeconfigError> {
    let mut config = config(file).await?;
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(agent)));
    Ok(kube::Client::try_from(config)?)
}

/// How the cluster that a kubeconfig file names is to be reached.
pub async fn config(file: &Path) -> Result<kube::Config, KubeconfigError> {
    let unusable = |source| KubeconfigError::Unusable { path: file.display().to_string(), source };
    let kubeconfig = kube::config::Kubeconfig::read_from(file).map_err(unusable)?;
    let options = kube::config::KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_follows_the_environment() {
        let of = |pairs: &'static [(&str, &str)]| {
            default_data_dir(move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]), Some("/x/copepod".into()));
        assert_eq!(of(&[("HOME", "/h")]), Some("/h/.local/share/copepod".into()));
        assert_eq!(of(&[]), None);
    }
}
