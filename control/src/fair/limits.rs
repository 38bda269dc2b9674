//! How many seats each level has: by its shares, and by what the levels lend each other.
//!
//! Source: `k8s.io/apiserver/pkg/util/flowcontrol/{apf_controller,conc_alloc}.go`.

use super::demand::Observed;

/// How much of the old demand stays when a lower one is observed; every ten seconds: it halves in
/// five minutes.
const SMOOTHING: f64 = 0.977;

/// A demand of less counts as this one: a level must have a share in what is left.
const TARGET_MIN: f64 = 0.001;

/// The seats of a level, as its specification wants them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub nominal: usize,
    /// What is left when all is lent that may be.
    pub lowest: usize,
    /// With all that may be borrowed.
    pub highest: usize,
}

/// A level's part in the seats of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub shares: u32,
    pub lendable_percent: u32,
    /// `None`: without a limit.
    pub borrowing_percent: Option<u32>,
}

impl Limits {
    pub fn of(share: Share, shares_of_all: u64, seats: usize) -> Self {
        let part = f64::from(share.shares) / (shares_of_all.max(1)) as f64;
        let nominal = (seats as f64 * part).ceil() as usize;
        let percent = |percent: u32| (nominal as f64 * f64::from(percent) / 100.0).round() as usize;
        Self {
            nominal,
            lowest: nominal.saturating_sub(percent(share.lendable_percent)),
            highest: nominal + share.borrowing_percent.map_or(seats, percent),
        }
    }

    /// The widest that a guess may make a request, so that the few requests of one hand cannot hold
    /// the level.
    pub fn widest_guess(self, hand: usize) -> usize {
        let part = (self.nominal as f64 * 0.15).ceil() as usize;
        part.min(self.nominal / hand.max(1)).max(1)
    }
}

/// What is known of a level's demand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wish {
    pub observed: Observed,
    pub smoothed: f64,
}

impl Wish {
    /// A rising demand counts at once, a falling one little by little.
    pub fn observe(&mut self, observed: Observed) {
        self.observed = observed;
        let Some(average) = observed.average else { return };
        let envelope = average + observed.deviation;
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
    }
}

/// A level as the division sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Borrower {
    pub exempt: bool,
    pub limits: Limits,
    pub wish: Wish,
}

impl Borrower {
    /// What it is given before the rest is divided.
    fn assured(&self) -> usize {
        let most = self.wish.observed.most;
        let wanted = if self.exempt { most } else { most.min(self.limits.nominal) };
        self.limits.lowest.max(wanted)
    }

    pub fn target(&self) -> f64 {
        (self.assured() as f64).max(self.wish.smoothed)
    }
}

/// The seats of each level for the next while, and the part of their targets that all get.
pub fn divide(levels: &[Borrower]) -> (Vec<usize>, f64) {
    let all: usize = levels.iter().map(|level| level.limits.nominal).sum();
    let sum = |exempt: bool, seats: fn(&Borrower) -> usize| -> usize {
        levels.iter().filter(|level| level.exempt == exempt).map(seats).sum()
    };
    let left = all.saturating_sub(sum(true, Borrower::assured));
    let lowest = sum(false, |level| level.limits.lowest);
    let assured = sum(false, Borrower::assured);
    let given = |seats: &dyn Fn(&Borrower) -> usize| -> Vec<usize> {
        let each = |level: &Borrower| if level.exempt { level.assured() } else { seats(level) };
        levels.iter().map(each).collect()
    };
    if left <= lowest {
        return (given(&|level| level.limits.lowest), 0.0);
    }
    if left <= assured {
        let part = (left - lowest) as f64 / (assured - lowest) as f64;
        let seats = |level: &Borrower| {
            let lowest = level.limits.lowest;
            lowest + ((level.assured() - lowest) as f64 * part).round() as usize
        };
        return (given(&seats), 0.0);
    }
    let bounded: Vec<Bounded> =
        levels.iter().filter(|level| !level.exempt).map(Bounded::of).collect();
    let part = fair_part(&bounded, all as f64);
    (given(&|level| Bounded::of(level).at(part).round() as usize), part)
}

/// A level that gets the fair part of its target, but for its bounds.
#[derive(Clone, Copy)]
struct Bounded {
    target: f64,
    low: f64,
    high: f64,
}

impl Bounded {
    fn of(level: &Borrower) -> Self {
        Self {
            target: level.target().max(TARGET_MIN),
            low: level.assured() as f64,
            high: level.limits.highest as f64,
        }
    }

    fn at(self, part: f64) -> f64 {
        (self.target * part).clamp(self.low, self.high.max(self.low))
    }
}

/// The part of their targets at which all get as much as there is, bounds kept.
fn fair_part(levels: &[Bounded], seats: f64) -> f64 {
    let sum = |part: f64| levels.iter().map(|level| level.at(part)).sum::<f64>();
    // Between two of these the sum is a straight line.
    let mut bends: Vec<f64> = levels
        .iter()
        .flat_map(|level| [level.low / level.target, level.high / level.target])
        .collect();
    bends.sort_by(f64::total_cmp);
    let mut below = bends.first().copied().unwrap_or_default();
    for bend in bends {
        let (from, to) = (sum(below), sum(bend));
        if to >= seats {
            let rise = to - from;
            let way = if rise > 0.0 { ((seats - from) / rise).clamp(0.0, 1.0) } else { 0.0 };
            return below + way * (bend - below);
        }
        below = bend;
    }
    below
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULTS: [(&str, u32, u32); 7] = [
        ("catch-all", 5, 0),
        ("global-default", 20, 50),
        ("leader-election", 10, 0),
        ("node-high", 40, 25),
        ("system", 30, 33),
        ("workload-high", 40, 50),
        ("workload-low", 100, 90),
    ];

    fn limits(shares: u32, lendable_percent: u32) -> Limits {
        let share = Share { shares, lendable_percent, borrowing_percent: None };
        Limits::of(share, 245, crate::fair::SEATS)
    }

    #[test]
    fn seats_go_by_shares() {
        let nominal = DEFAULTS.map(|(_, shares, lendable)| limits(shares, lendable).nominal);
        assert_eq!(nominal, [13, 49, 25, 98, 74, 98, 245]);
        assert_eq!(limits(30, 33), Limits { nominal: 74, lowest: 50, highest: 674 });
        let share = Share { shares: 30, lendable_percent: 0, borrowing_percent: Some(10) };
        assert_eq!(Limits::of(share, 245, 600), Limits { nominal: 74, lowest: 74, highest: 81 });
    }

    #[test]
    fn a_guess_is_a_part_of_the_level() {
        for (nominal, hand, widest) in
            [(245, 6, 37), (98, 6, 15), (25, 4, 4), (13, 1, 2), (1, 8, 1)]
        {
            let limits = Limits { nominal, lowest: 0, highest: 0 };
            assert_eq!(limits.widest_guess(hand), widest, "{nominal} by {hand}");
        }
    }

    fn idle() -> Vec<Borrower> {
        let level = |(_, shares, lendable): (_, u32, u32)| Borrower {
            exempt: false,
            limits: limits(shares, lendable),
            wish: Wish::default(),
        };
        DEFAULTS.into_iter().map(level).collect()
    }

    #[test]
    fn a_busy_level_borrows_what_idle_ones_may_lend() {
        let mut levels = idle();
        let (before, _) = divide(&levels);
        let busy = Observed { most: 500, average: Some(500.0), deviation: 0.0 };
        levels[4].wish.observe(busy);
        let (after, _) = divide(&levels);
        assert!(after[4] > before[4] && after[4] > 74, "{before:?} {after:?}");
        for (level, seats) in levels.iter().zip(&after) {
            assert!(*seats >= level.limits.lowest, "{level:?} {seats}");
        }
        // A level that wants its seats back has them up to its nominal ones.
        levels[6].wish.observe(Observed { most: 400, average: Some(400.0), deviation: 0.0 });
        let (both, _) = divide(&levels);
        assert!(both[6] >= 245, "{both:?}");
    }

    #[test]
    fn exempt_requests_take_from_the_others_down_to_their_lowest() {
        let mut levels = idle();
        let limits = Limits { nominal: 0, lowest: 0, highest: 600 };
        let mut wish = Wish::default();
        wish.observe(Observed { most: 1000, average: Some(1000.0), deviation: 0.0 });
        levels.push(Borrower { exempt: true, limits, wish });
        let (seats, _) = divide(&levels);
        let lowest: Vec<usize> = levels[..7].iter().map(|level| level.limits.lowest).collect();
        assert_eq!(&seats[..7], lowest);
        assert_eq!(seats[7], 1000);
    }

    #[test]
    fn demand_rises_at_once_and_falls_slowly() {
        let mut wish = Wish::default();
        let of = |average| Observed { most: 9, average: Some(average), deviation: 1.0 };
        wish.observe(of(9.0));
        assert!((wish.smoothed - 10.0).abs() < 1e-9);
        wish.observe(of(0.0));
        assert!((wish.smoothed - 9.793).abs() < 1e-9, "{wish:?}");
    }

    proptest! {
        #[test]
        fn all_seats_are_given_and_bounds_are_kept(
            wishes in prop::collection::vec((0usize..900, 1u32..100, 0u32..=100), 1..8),
        ) {
            let all: u64 = wishes.iter().map(|(_, shares, _)| u64::from(*shares)).sum();
            let levels: Vec<Borrower> = wishes
                .iter()
                .map(|(most, shares, lendable)| {
                    let share = Share {
                        shares: *shares,
                        lendable_percent: *lendable,
                        borrowing_percent: None,
                    };
                    let mut wish = Wish::default();
                    let average = Some(*most as f64);
                    wish.observe(Observed { most: *most, average, deviation: 0.0 });
                    Borrower { exempt: false, limits: Limits::of(share, all, 600), wish }
                })
                .collect();
            let (seats, _) = divide(&levels);
            let nominal: usize = levels.iter().map(|level| level.limits.nominal).sum();
            let given: usize = seats.iter().sum();
            prop_assert!(given.abs_diff(nominal) <= levels.len(), "{} of {}", given, nominal);
            for (level, seats) in levels.iter().zip(&seats) {
                prop_assert!(*seats >= level.assured() && *seats <= level.limits.highest);
            }
        }
    }
}
