//! How many seats a level wants over time: the input to lending.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/integrator.go`.

use std::time::Duration;

/// Of a span of time. Seats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    pub most: usize,
    /// Over time; `None` where no time has gone by.
    pub average: Option<f64>,
    pub deviation: f64,
}

/// Integrates a number of seats over time.
#[derive(Debug)]
pub struct Demand {
    since: Duration,
    value: usize,
    most: usize,
    seconds: f64,
    /// The integrals of the value and of its square.
    first: f64,
    second: f64,
}

impl Demand {
    pub fn new(now: Duration) -> Self {
        Self { since: now, value: 0, most: 0, seconds: 0.0, first: 0.0, second: 0.0 }
    }

    pub fn set(&mut self, value: usize, now: Duration) {
        self.integrate(now);
        self.value = value;
        self.most = self.most.max(value);
    }

    /// What was observed since the last time this was asked.
    pub fn take(&mut self, now: Duration) -> Observed {
        self.integrate(now);
        let mut observed = Observed { most: self.most, average: None, deviation: 0.0 };
        if self.seconds > 0.0 {
            let average = self.first / self.seconds;
            observed.average = Some(average);
            observed.deviation = (self.second / self.seconds - average * average).max(0.0).sqrt();
        }
        self.most = self.value;
        (self.seconds, self.first, self.second) = (0.0, 0.0, 0.0);
        observed
    }

    fn integrate(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.since).as_secs_f64();
        let value = self.value as f64;
        self.since = self.since.max(now);
        self.seconds += seconds;
        self.first += value * seconds;
        self.second += value * value * seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_and_deviation_are_weighted_by_time() {
        let at = Duration::from_secs;
        let mut demand = Demand::new(at(0));
        demand.set(10, at(3));
        demand.set(2, at(4));
        let observed = demand.take(at(4));
        assert_eq!((observed.most, observed.average), (10, Some(2.5)));
        assert!((observed.deviation - 18.75_f64.sqrt()).abs() < 1e-9, "{observed:?}");
        let observed = demand.take(at(6));
        assert_eq!(observed, Observed { most: 2, average: Some(2.0), deviation: 0.0 });
        assert_eq!(demand.take(at(6)), Observed { most: 2, ..Observed::default() });
    }
}
