//! How much work a request is guessed to be.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/request/{list,mutating}_work_estimator.go`.

use std::time::Duration;

use super::work::{SeatSeconds, Work};

const BYTES_A_SEAT: u64 = 100_000;
/// What a list from the cache holds in memory at once, at most.
const CACHED_BYTES_MAX: u64 = 1_000_000;
/// The largest object that etcd takes: where no size is known.
const OBJECT_BYTES_MAX: u64 = 1_500_000;
const LIST_SEATS_MAX: usize = 100;
const WRITE_SEATS_MAX: usize = 10;
const WATCHERS_A_SEAT: usize = 10;
/// How long an event occupies the seats of its watchers.
const EVENT: Duration = Duration::from_millis(5);

/// The objects of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub count: u64,
    /// On average; 0 where it is not known.
    pub bytes: u64,
}

/// A list, or a watch that begins with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// By its name alone.
    pub single: bool,
    pub limit: u64,
    pub selects: bool,
    pub from_cache: bool,
}

/// A list of a resource; `None` where the resource is not known, which costs nothing.
pub fn list(list: List, stored: Option<Stored>, widest: Option<usize>) -> Work {
    let Some(mut stored) = stored else { return Work::seats(1) };
    if stored.bytes == 0 && stored.count > 0 {
        stored.bytes = OBJECT_BYTES_MAX;
    }
    let limited = if list.limit > 0 { list.limit.min(stored.count) } else { stored.count };
    let objects = match list {
        List { single: true, .. } => 1,
        List { from_cache: false, selects: true, .. } => limited.max(stored.count / 2),
        List { .. } => limited,
    };
    let mut bytes = objects.saturating_mul(stored.bytes);
    if list.from_cache {
        bytes = bytes.min(CACHED_BYTES_MAX);
    }
    let most = widest.unwrap_or(LIST_SEATS_MAX).min(LIST_SEATS_MAX);
    let seats = usize::try_from(bytes.div_ceil(BYTES_A_SEAT)).unwrap_or(LIST_SEATS_MAX);
    Work::seats(seats.clamp(1, most.max(1)))
}

/// A write that so many watchers may be told of.
pub fn write(watchers: usize, widest: Option<usize>) -> Work {
    if watchers < WATCHERS_A_SEAT {
        return Work::seats(1);
    }
    let seats = watchers.div_ceil(WATCHERS_A_SEAT);
    let last = seats.min(widest.unwrap_or(WRITE_SEATS_MAX).min(WRITE_SEATS_MAX));
    // Narrower, and longer for that: a wide request keeps seats empty until it has enough of them.
    let lingers = SeatSeconds::of(seats as f64, EVENT).per_seat(last);
    Work { initial: 1, last, lingers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_seats_by_their_size() {
        let cached = List { from_cache: true, ..List::default() };
        let stored = List::default();
        for (asked, count, bytes, widest, seats) in [
            (cached, 0, 0, None, 1),
            (cached, 10, 1000, None, 1),
            (cached, 500, 1000, None, 5),
            (cached, 50_000, 1000, None, 10),
            (cached, 3, 0, None, 10),
            (List { single: true, ..cached }, 50_000, 1000, None, 1),
            (List { limit: 100, ..cached }, 50_000, 1000, None, 1),
            (cached, 50_000, 1000, Some(4), 4),
            (stored, 50_000, 1000, None, 100),
            (List { limit: 500, ..stored }, 50_000, 1000, None, 5),
            (List { limit: 500, selects: true, ..stored }, 4000, 1000, None, 20),
            (List { limit: 500, selects: true, ..stored }, 600, 1000, None, 5),
            (stored, 50_000, 1000, Some(37), 37),
        ] {
            let work = list(asked, Some(Stored { count, bytes }), widest);
            assert_eq!(work, Work::seats(seats), "{asked:?} {count} {bytes} {widest:?}");
        }
        assert_eq!(list(stored, None, None), Work::seats(1));
    }

    #[test]
    fn writes_hold_seats_for_their_watchers() {
        for (watchers, widest, last, millis) in [
            (0, None, 0, 0),
            (9, None, 0, 0),
            (10, None, 1, 5),
            (95, None, 10, 5),
            (1000, None, 10, 50),
            (1000, Some(5), 5, 100),
        ] {
            let expected = Work { initial: 1, last, lingers: Duration::from_millis(millis) };
            assert_eq!(write(watchers, widest), expected, "{watchers}");
        }
    }
}
