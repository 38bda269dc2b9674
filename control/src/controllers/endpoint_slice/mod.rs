//! EndpointSlices: the pods behind each service, in slices of at most a hundred.
//!
//! `observe` gathers a service's pods and slices; `desired` says what should stand in them; `packing`
//! rewrites as few slices as it can; `plan` turns that into writes.
//!
//! Source of the behaviour: upstream's `k8s.io/endpointslice` (`reconciler.go`).

mod desired;
mod observe;
mod packing;
mod plan;

pub(super) use observe::EndpointSlices;

pub(super) const ENDPOINT_SLICES: &str = "endpointslices.discovery.k8s.io";
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
