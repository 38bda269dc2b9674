//! The parts of objects that have paths of their own, and what stands at those paths.
//!
//! Source: `pkg/registry/*/storage` and `api/discovery` upstream.

use super::KindInfo;

/// A part of an object with a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// The conditions that approve or deny a CertificateSigningRequest.
    Approval,
    Attach,
    Binding,
    /// The containers that a running pod was given for debugging.
    EphemeralContainers,
    Eviction,
    Exec,
    Finalize,
    Log,
    PortForward,
    Proxy,
    /// The resources of a running pod's containers.
    Resize,
    /// `autoscaling/v1` Scale over `.spec.replicas`, `.status.replicas` and the selector.
    Scale,
    Status,
    /// `authentication.k8s.io/v1` TokenRequest for a service account.
    Token,
}

/// What a subresource takes and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    /// The name of its type in upstream's OpenAPI; of what is connected to, the kind's own.
    pub schema: &'static str,
    /// As discovery lists them.
    pub verbs: &'static [&'static str],
}

impl Subresource {
    /// The last segment of its path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Attach => "attach",
            Self::Binding => "binding",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Eviction => "eviction",
            Self::Exec => "exec",
            Self::Finalize => "finalize",
            Self::Log => "log",
            Self::PortForward => "portforward",
            Self::Proxy => "proxy",
            Self::Resize => "resize",
            Self::Scale => "scale",
            Self::Status => "status",
            Self::Token => "token",
        }
    }

    /// Whether what it answers is not the API's to shape, and lasts as long as both sides like: a
    /// log, a proxied answer, a stream.
    pub const fn passes_through(self) -> bool {
        matches!(self, Self::Attach | Self::Exec | Self::Log | Self::PortForward | Self::Proxy)
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        const ALL: [Subresource; 14] = [
            Subresource::Approval,
            Subresource::Attach,
            Subresource::Binding,
            Subresource::EphemeralContainers,
            Subresource::Eviction,
            Subresource::Exec,
            Subresource::Finalize,
            Subresource::Log,
            Subresource::PortForward,
            Subresource::Proxy,
            Subresource::Resize,
            Subresource::Scale,
            Subresource::Status,
            Subresource::Token,
        ];
        ALL.into_iter().find(|subresource| subresource.name() == name)
    }

    /// What stands at this path of a kind.
    pub fn form(self, info: &KindInfo) -> Form {
        const READ_WRITE: &[&str] = &["get", "patch", "update"];
        const CONNECT: &[&str] = &["create", "get"];
        let (group, version, schema) = (info.group, info.version, info.schema);
        let own = |verbs| Form { group, version, kind: info.kind, schema, verbs };
        let options = |kind, verbs| Form { kind, ..own(verbs) };
        match self {
            Self::Approval | Self::EphemeralContainers | Self::Resize | Self::Status => {
                own(READ_WRITE)
            }
            Self::Finalize => own(&["update"]),
            Self::Log => own(&["get"]),
            Self::Attach => options("PodAttachOptions", CONNECT),
            Self::Exec => options("PodExecOptions", CONNECT),
            Self::PortForward => options("PodPortForwardOptions", CONNECT),
            Self::Proxy => {
                let kind = match info.kind {
                    "Node" => "NodeProxyOptions",
                    "Service" => "ServiceProxyOptions",
                    _ => "PodProxyOptions",
                };
                options(kind, &["create", "delete", "get", "patch", "update"])
            }
            Self::Binding => {
                Form { kind: "Binding", schema: "io.k8s.api.core.v1.Binding", ..own(&["create"]) }
            }
            Self::Eviction => Form {
                group: "policy",
                version: "v1",
                kind: "Eviction",
                schema: "io.k8s.api.policy.v1.Eviction",
                verbs: &["create"],
            },
            Self::Scale => Form {
                group: "autoscaling",
                version: "v1",
                kind: "Scale",
                schema: "io.k8s.api.autoscaling.v1.Scale",
                verbs: READ_WRITE,
            },
            Self::Token => Form {
                group: "authentication.k8s.io",
                version: "v1",
                kind: "TokenRequest",
                schema: "io.k8s.api.authentication.v1.TokenRequest",
                verbs: &["create"],
            },
        }
    }
}
