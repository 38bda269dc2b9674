//! Finding free numbers in a range. It performs no I/O.
//!
//! The lower part of a range is left to those who ask for a number: it is given out only when the
//! upper part is full. Source: `pkg/registry/core/service/{ipallocator,portallocator}`.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// The numbers that may be given out: from `first` to `last`; from `dynamic` first of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    first: u32,
    dynamic: u32,
    last: u32,
    /// What the whole range encloses: addresses at its ends belong to it but are not given out.
    enclosing: (u32, u32),
}

impl Span {
    /// The addresses of an IPv4 range, without those of the network and of broadcasts.
    pub fn of_cidr(cidr: &str) -> Option<Self> {
        let (address, length) = cidr.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let length: u32 = length.parse().ok().filter(|length| *length <= 32)?;
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        let network = address.to_bits() & !host;
        let broadcast = network | host;
        let first = network.saturating_add(1);
        let size = u64::from(host) + 1;
        Some(Self {
            first,
            dynamic: first.saturating_add(lower_part(size, 16, 256)),
            last: broadcast.saturating_sub(1),
            enclosing: (network, broadcast),
        })
    }

    pub fn of_ports(ports: &RangeInclusive<u16>) -> Self {
        let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
        let size = u64::from(last.saturating_sub(first)) + 1;
        Self { first, dynamic: first + lower_part(size, 32, 128), last, enclosing: (first, last) }
    }

    pub fn encloses(&self, number: u32) -> bool {
        (self.enclosing.0..=self.enclosing.1).contains(&number)
    }

    fn contains(&self, number: u32) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

/// `30000-32767`; for ports.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// How many numbers are left to those who ask: `size / step`, between 16 and `max`.
fn lower_part(size: u64, step: u64, max: u64) -> u32 {
    if size <= 16 {
        return 0;
    }
    u32::try_from((size / step).clamp(16, max)).unwrap_or(0)
}

/// Why a number that was asked for is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not among the numbers that are given out.
    OutOfRange,
    Taken,
}

/// The numbers of some spans, for one request.
pub struct Pool<F> {
    /// What comes first is given out first.
    spans: Vec<Span>,
    load: F,
    /// What was in use before; loaded when first needed.
    used: OnceCell<HashSet<u32>>,
    /// What this request took.
    taken: HashSet<u32>,
}

impl<F: Fn() -> HashSet<u32>> Pool<F> {
    pub fn new(spans: Vec<Span>, load: F) -> Self {
        Self { spans, load, used: OnceCell::new(), taken: HashSet::new() }
    }

    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Takes this number.
    pub fn claim(&mut self, number: u32) -> Result<(), Refusal> {
        if !self.spans.iter().any(|span| span.contains(number)) {
            return Err(Refusal::OutOfRange);
        }
        if !self.is_free(number) {
            return Err(Refusal::Taken);
        }
        self.taken.insert(number);
        Ok(())
    }

    /// Takes any number, near a random one; `None` when all are in use.
    pub fn pick(&mut self, random: u64) -> Option<u32> {
        let number = self.spans.iter().find_map(|span| {
            let Span { first, dynamic, last, .. } = *span;
            let upper = self.pick_in(dynamic, last, random);
            upper.or_else(|| self.pick_in(first, dynamic.checked_sub(1)?.min(last), random))
        })?;
        self.taken.insert(number);
        Some(number)
    }

    pub fn into_taken(self) -> HashSet<u32> {
        self.taken
    }

    fn pick_in(&self, first: u32, last: u32, random: u64) -> Option<u32> {
        let size = u64::from(last.checked_sub(first)?) + 1;
        let start = first + u32::try_from(random % size).ok()?;
        (start..=last).chain(first..start).find(|number| self.is_free(*number))
    }

    fn is_free(&self, number: u32) -> bool {
        let used = self.used.get_or_init(&self.load);
        !used.contains(&number) && !self.taken.contains(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().to_bits()
    }

    #[test]
    fn spans_leave_out_the_ends_and_set_the_lower_part_apart() {
        let cases = [
            ("10.96.0.0/12", "10.96.0.1", "10.96.1.1", "10.111.255.254"),
            ("10.96.0.0/24", "10.96.0.1", "10.96.0.17", "10.96.0.254"),
            ("10.96.0.0/28", "10.96.0.1", "10.96.0.1", "10.96.0.14"),
        ];
        for (cidr, first, dynamic, last) in cases {
            let span = Span::of_cidr(cidr).unwrap();
            assert_eq!((span.first, span.dynamic, span.last), (ip(first), ip(dynamic), ip(last)));
        }
        let ports = Span::of_ports(&(30000..=32767));
        assert_eq!((ports.first, ports.dynamic, ports.last), (30000, 30086, 32767));
        assert_eq!(Span::of_cidr("fd00::/108"), None);
    }

    #[test]
    fn the_upper_part_is_given_out_first_and_then_the_lower() {
        let mut pool = Pool::new(vec![Span::of_ports(&(100..=119))], HashSet::new);
        let picked: Vec<u32> = (0..20).map(|random| pool.pick(random).unwrap()).collect();
        assert!(picked[..4].iter().all(|port| (116..=119).contains(port)), "{picked:?}");
        assert_eq!(pool.pick(7), None);
        assert_eq!(pool.into_taken().len(), 20);
    }

    #[test]
    fn a_number_is_claimed_once() {
        let mut pool = Pool::new(vec![Span::of_ports(&(100..=119))], || HashSet::from([105]));
        assert_eq!(pool.claim(104), Ok(()));
        assert_eq!(pool.claim(104), Err(Refusal::Taken));
        assert_eq!(pool.claim(105), Err(Refusal::Taken));
        assert_eq!(pool.claim(99), Err(Refusal::OutOfRange));
    }

    #[test]
    fn the_next_span_is_used_when_the_first_is_full() {
        let spans = ["10.0.0.0/30", "10.1.0.0/30"].map(|cidr| Span::of_cidr(cidr).unwrap());
        let mut pool = Pool::new(spans.into(), HashSet::new);
        let picked: Vec<Option<u32>> = (0..5).map(|_| pool.pick(0)).collect();
        let expected = ["10.0.0.1", "10.0.0.2", "10.1.0.1", "10.1.0.2"].map(|text| Some(ip(text)));
        assert_eq!((&picked[..4], picked[4]), (&expected[..], None));
        assert_eq!(pool.claim(ip("10.1.0.3")), Err(Refusal::OutOfRange));
    }

    #[test]
    fn tiny_ranges_are_full_or_hold_what_they_can() {
        let mut pool = Pool::new(vec![Span::of_cidr("10.0.0.0/32").unwrap()], HashSet::new);
        assert_eq!(pool.pick(3), None);
        let mut pool = Pool::new(vec![Span::of_cidr("10.0.0.0/30").unwrap()], HashSet::new);
        assert_eq!(pool.pick(0), Some(ip("10.0.0.1")));
        assert_eq!(pool.pick(0), Some(ip("10.0.0.2")));
        assert_eq!(pool.pick(0), None);
    }
}
