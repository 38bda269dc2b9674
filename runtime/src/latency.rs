//! How long requests take: a histogram with fixed bounds, two atomic additions a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// The upper bounds of a [`LatencyCounts`]'s buckets but the last, which has none.
pub const LATENCY_BOUNDS: [Duration; BOUNDS] = {
    let mut bounds = [Duration::ZERO; BOUNDS];
    let mut nth = 0;
    while nth < BOUNDS {
        bounds[nth] = Duration::from_nanos(BOUNDS_NS[nth]);
        nth += 1;
    }
    bounds
};

const BOUNDS: usize = 16;
const BOUNDS_NS: [u64; BOUNDS] = [
    25 * US,
    50 * US,
    100 * US,
    250 * US,
    500 * US,
    MS,
    2 * MS + 500 * US,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    1_000 * MS,
    10_000 * MS,
];

/// How many requests took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LatencyCounts {
    /// Requests of each bucket alone: above the bound before, up to its own of [`LATENCY_BOUNDS`].
    pub buckets: [u64; BOUNDS + 1],
    /// The time of all together.
    pub sum: Duration,
}

impl LatencyCounts {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [AtomicU64; BOUNDS + 1],
    sum_ns: AtomicU64,
}

impl Latency {
    pub(crate) fn add(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Counts and sum are read one after the other: a request in between may be in one of them only.
    pub(crate) fn counts(&self) -> LatencyCounts {
        let buckets = std::array::from_fn(|nth| self.buckets[nth].load(Ordering::Relaxed));
        let sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed));
        LatencyCounts { buckets, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_in_the_bucket_whose_bound_it_does_not_pass() {
        let latency = Latency::default();
        for took in [Duration::ZERO, LATENCY_BOUNDS[0], LATENCY_BOUNDS[0] + Duration::from_nanos(1)]
        {
            latency.add(took);
        }
        latency.add(Duration::from_secs(60));
        let counts = latency.counts();
        assert_eq!((counts.buckets[0], counts.buckets[1]), (2, 1));
        assert_eq!((counts.buckets[BOUNDS], counts.count()), (1, 4));
        assert_eq!(counts.sum, Duration::from_nanos(60_000_050_001));
        assert!(BOUNDS_NS.is_sorted());
    }
}
