//! Who asks. (Who may: `authorizer`.)
//!
//! A remote client is who its certificate says (`x509`); a client in this process carries an
//! [`Identity`] as a request extension, which nothing that comes over a socket can set. The
//! cluster's certificates are made in `pki`.

pub mod authorizer;
mod impersonation;
pub mod kubeconfig;
pub mod pki;
pub mod tokens;
mod x509;

pub use impersonation::impersonated;
pub use x509::user_of_certificate;

/// The group of every user who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";

/// The authenticated user of a request. Source: `k8s.io/apiserver/pkg/authentication/user`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: std::collections::BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user with these groups, and the group of all who are authenticated.
    pub fn authenticated(name: impl Into<String>, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { name: name.into(), groups, ..Self::default() }
    }
}

/// Who a client in this process is. Made only by code; a request from a socket never carries one
/// that the server did not derive from its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(UserInfo);

impl Identity {
    /// The cluster's administrator, as in the admin kubeconfig.
    pub fn admin() -> Self {
        Self(UserInfo::authenticated("kubernetes-admin", &[MASTERS]))
    }

    /// The kubelet of a node.
    pub fn node(name: &str) -> Self {
        Self(UserInfo::authenticated(format!("system:node:{name}"), &["system:nodes"]))
    }

    /// A part of the control plane, such as `kube-scheduler`.
    pub fn component(name: &str) -> Self {
        Self(UserInfo::authenticated(format!("system:{name}"), &[MASTERS]))
    }

    pub(crate) fn of(user: UserInfo) -> Self {
        Self(user)
    }

    pub fn user(&self) -> &UserInfo {
        &self.0
    }
}
