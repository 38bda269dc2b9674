//! API priority and fairness, decided: which flow a request belongs to, how many seats each priority
//! level has, whose request is next.
//!
//! A request is matched to a FlowSchema (`matching`), which names a priority level; `width` guesses
//! how many seats it takes. Each level has a `QueueSet`: requests of a flow are dealt onto queues
//! (`shuffle`), and the queue that would be done first in a fair world goes first (`queue_set`).
//! Levels lend each other the seats that they do not use (`limits`, by their `demand`). `objects`
//! are those that every cluster has; `upkeep` says what becomes of them.
//!
//! This module performs no I/O and never asks for the time: `api/fair` does. Source:
//! `k8s.io/apiserver/pkg/util/flowcontrol`.

pub mod demand;
pub mod dropped;
pub mod limits;
pub mod matching;
pub mod objects;
pub mod queue_set;
pub mod shuffle;
pub mod upkeep;
pub mod width;
pub mod work;

/// The seats of all levels together: upstream's `--max-requests-inflight` (400) and
/// `--max-mutating-requests-inflight` (200).
pub const SEATS: usize = 400 + 200;
