//! How much a request is: seats, and seats held for a time.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/request/{width,seat_seconds}.go`.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// Hundred-millionths of a seat held for a second. Wide enough that it never runs over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeatSeconds(i128);

const SCALE: i128 = 100_000_000;

impl SeatSeconds {
    pub fn of(seats: f64, held: Duration) -> Self {
        // What is added at once is far below the 92 thousand million seat-seconds of 64 bits.
        let tens = held.as_secs_f64() * SCALE as f64;
        Self(i128::from((seats * tens).round() as i64))
    }

    /// How long so many seats have to be held for it.
    pub fn per_seat(self, seats: usize) -> Duration {
        Duration::from_nanos((self.0 as f64 / seats as f64 * 10.0) as u64)
    }
}

impl Add for SeatSeconds {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for SeatSeconds {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for SeatSeconds {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for SeatSeconds {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl fmt::Display for SeatSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08}ss", self.0 / SCALE, self.0.abs() % SCALE)
    }
}

/// What a request is guessed to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Seats while it is served.
    pub initial: usize,
    /// Seats for what it causes afterwards, such as events to watchers.
    pub last: usize,
    /// How long it keeps those when it has been answered.
    pub lingers: Duration,
}

impl Work {
    pub const fn seats(initial: usize) -> Self {
        Self { initial, last: 0, lingers: Duration::ZERO }
    }

    /// The most seats that it takes at any time: so many it holds from first to last.
    pub fn widest(&self) -> usize {
        self.initial.max(self.last)
    }

    pub(super) fn afterwards(&self) -> SeatSeconds {
        SeatSeconds::of(self.last as f64, self.lingers)
    }

    /// The whole, if it is served as fast as requests mostly are.
    pub(super) fn total(&self, served_in: Duration) -> SeatSeconds {
        SeatSeconds::of(self.initial as f64, served_in) + self.afterwards()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seat_seconds_are_written_with_eight_digits() {
        for (seats, millis, text) in
            [(1.0, 1000, "1.00000000ss"), (2.5, 3, "0.00750000ss"), (0.0, 1, "0.00000000ss")]
        {
            assert_eq!(SeatSeconds::of(seats, Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn work_may_be_narrower_and_longer() {
        let work = SeatSeconds::of(40.0, Duration::from_millis(5));
        assert_eq!(work.per_seat(10), Duration::from_millis(20));
    }
}
