//! What a container may use at most, as plain values; each default stands beside its field. `docs/limits.md` has the table
//! for operators. What enforces a bound is named in its field's documentation.

use std::time::Duration;

/// The bounds of one container, all of its instances together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    pub memory: MemoryLimits,
    pub cpu: CpuLimits,
    pub time: TimeLimits,
    pub counts: CountLimits,
    pub output: OutputLimits,
}

/// Passing the first ends the container (137, out of memory); the others are answered to the guest (`limits.rs`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Bytes of linear memories, tables, and of what the host holds for the guest. Default: no bound.
    pub bytes: Option<u64>,
    /// Bytes of tables. A `table.grow` beyond answers −1. Default: 64 MiB, eight million function references.
    pub table_bytes: u64,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        MemoryLimits { bytes: None, table_bytes: 64 << 20 }
    }
}

/// The quota holds always (`limits.rs`), the weight where guests want more than there is (`fair.rs`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuLimits {
    /// Thousandths of a core; a guest that has used them up waits. Default: no quota.
    pub quota_millis: Option<u64>,
    /// Thousandths of a core asked for: the container's share under contention is in proportion. A sandbox's share is its
    /// containers' sum. Default: 0, which counts as the least share there is, 10.
    pub weight_millis: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeLimits {
    /// From the start; then the container is ended (137, deadline exceeded). Default: no deadline.
    pub run: Option<Duration>,
    /// From a request's arrival to the end of its instance, its wait for a place included, and so for an embedder's call.
    /// Then the instance is dropped: the caller gets 504, or a body that breaks off where it had the response's head; the
    /// embedder [`CallError::Late`](crate::CallError::Late). Default: no deadline.
    pub request: Option<Duration>,
}

/// Passed, a count is refused to whoever asks for one more; nobody is ended for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountLimits {
    /// Sockets and outgoing HTTP connections: `new-socket-limit`, `connection-limit-reached`. Default: 10,000.
    pub sockets: u64,
    /// Files and folders open at a time, mounts not counted: the error `quota`. Default: 1,024.
    pub files: u64,
    /// HTTP requests and embedder's calls that run at a time; further ones wait (`gate.rs`). Default: 1,000.
    pub requests: usize,
    /// HTTP requests and embedder's calls that wait; further ones are answered 503, or
    /// [`CallError::Busy`](crate::CallError::Busy). Default: 10,000.
    pub requests_waiting: usize,
}

impl Default for CountLimits {
    fn default() -> Self {
        CountLimits { sockets: 10_000, files: 1_024, requests: 1_000, requests_waiting: 10_000 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLimits {
    /// Bytes of standard output and error, one second's worth at once; the guest's write waits for what is beyond, and
    /// nothing is lost. Default: 10 MiB.
    pub bytes_per_second: Option<u64>,
}

impl Default for OutputLimits {
    fn default() -> Self {
        OutputLimits { bytes_per_second: Some(10 << 20) }
    }
}
