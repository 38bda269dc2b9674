//! The guests' clocks and random numbers: coarse by default, or determined by a manifest for tests.
//!
//! A fine clock is what a guest would measure its neighbours' caches with, so none is finer than
//! [`RESOLUTION_DEFAULT`] unless its container's specification says so.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// What a guest's clocks are rounded down to.
pub const RESOLUTION_DEFAULT: Duration = Duration::from_micros(1);

/// Clocks and random numbers that are the same in every run. Each instance begins anew; waiting takes real time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Determinism {
    /// The first reading of the wall clock, as time since 1970. The monotonic clock's is 0.
    pub now: Duration,
    /// How far each reading of either clock moves both on. Zero: they stand still.
    pub step: Duration,
    /// Of random, insecure random and the insecure seed. The numbers stay the same from release to release.
    pub seed: u64,
}

/// Gives an instance its clocks and random numbers.
pub(crate) fn set(wasi: &mut WasiCtxBuilder, resolution: Duration, fixed: Option<&Determinism>) {
    match fixed {
        Some(fixed) => {
            let stepped = Stepped {
                start: fixed.now,
                step_ns: nanoseconds(fixed.step),
                passed_ns: Arc::default(),
            };
            wasi.wall_clock(stepped.clone())
                .monotonic_clock(stepped)
                .secure_random(SplitMix(fixed.seed))
                .insecure_random(SplitMix(!fixed.seed))
                .insecure_random_seed(u128::from(fixed.seed));
        }
        None => {
            let resolution = resolution.max(Duration::from_nanos(1));
            let wall = Coarse { clock: wasmtime_wasi::clocks::WallClock::new(), resolution };
            let monotonic =
                Coarse { clock: wasmtime_wasi::clocks::MonotonicClock::new(), resolution };
            wasi.wall_clock(wall).monotonic_clock(monotonic);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Another clock, rounded down.
struct Coarse<C> {
    clock: C,
    resolution: Duration,
}

impl<C: HostWallClock> HostWallClock for Coarse<C> {
    fn resolution(&self) -> Duration {
        self.resolution.max(self.clock.resolution())
    }

    fn now(&self) -> Duration {
        let now = self.clock.now();
        let (step, nanos) = (self.resolution.as_nanos(), now.as_nanos());
        let beyond = u64::try_from(nanos % step).unwrap_or_default();
        now.saturating_sub(Duration::from_nanos(beyond))
    }
}

impl<C: HostMonotonicClock> HostMonotonicClock for Coarse<C> {
    fn resolution(&self) -> u64 {
        nanoseconds(self.resolution).max(self.clock.resolution())
    }

    fn now(&self) -> u64 {
        let now = self.clock.now();
        now - now % nanoseconds(self.resolution)
    }
}

/// Both clocks of an instance: they move when they are read.
#[derive(Clone)]
struct Stepped {
    start: Duration,
    step_ns: u64,
    passed_ns: Arc<AtomicU64>,
}

impl Stepped {
    fn read(&self) -> u64 {
        self.passed_ns.fetch_add(self.step_ns, Ordering::Relaxed)
    }
}

impl HostWallClock for Stepped {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(self.step_ns.max(1))
    }

    fn now(&self) -> Duration {
        self.start.saturating_add(Duration::from_nanos(self.read()))
    }
}

impl HostMonotonicClock for Stepped {
    fn resolution(&self) -> u64 {
        self.step_ns.max(1)
    }

    fn now(&self) -> u64 {
        self.read()
    }
}

/// SplitMix64: small, and unlike the generators of libraries fixed for good.
struct SplitMix(u64);

impl rand_core::TryRng for SplitMix {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.try_next_u64()? >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::TryRng as _;

    struct At(u64);

    impl HostMonotonicClock for At {
        fn resolution(&self) -> u64 {
            1
        }

        fn now(&self) -> u64 {
            self.0
        }
    }

    impl HostWallClock for At {
        fn resolution(&self) -> Duration {
            Duration::from_nanos(1)
        }

        fn now(&self) -> Duration {
            Duration::from_nanos(self.0)
        }
    }

    #[test]
    fn clocks_are_rounded_down_to_their_resolution() {
        let clock = Coarse { clock: At(1_234_567), resolution: Duration::from_micros(1) };
        assert_eq!(HostMonotonicClock::now(&clock), 1_234_000);
        assert_eq!(HostWallClock::now(&clock), Duration::from_nanos(1_234_000));
        assert_eq!(HostMonotonicClock::resolution(&clock), 1000);
    }

    #[test]
    fn the_seeded_numbers_are_those_of_every_release() {
        // The generator's published first values for the seed 1234567.
        let mut numbers = SplitMix(1_234_567);
        assert_eq!(numbers.try_next_u64(), Ok(6_457_827_717_110_365_317));
        assert_eq!(numbers.try_next_u64(), Ok(3_203_168_211_198_807_973));
    }

    #[test]
    fn a_stepped_clock_moves_when_either_is_read() {
        let clock =
            Stepped { start: Duration::from_secs(100), step_ns: 5, passed_ns: Arc::default() };
        assert_eq!(HostWallClock::now(&clock), Duration::from_secs(100));
        assert_eq!(HostMonotonicClock::now(&clock), 5);
        assert_eq!(HostWallClock::now(&clock), Duration::new(100, 10));
    }
}
