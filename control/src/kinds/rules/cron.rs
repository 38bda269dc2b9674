//! Schedules of CronJobs: five fields, or a descriptor such as `@daily` or `@every 5m`.
//!
//! The dialect and the complaints are those of `github.com/robfig/cron/v3` (`ParseStandard`), which
//! upstream links; the panic that it recovers from is one of the complaints. Pure: the caller says
//! from when on to look.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

use super::{duration, time_zone};

/// How far ahead a next time is looked for: `0 0 30 2 *` never comes.
const YEARS_MAX: i16 = 5;

/// When something is to happen.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    times: Times,
    /// The zone that the schedule itself names.
    zone: Option<TimeZone>,
}

#[derive(Clone, Debug, PartialEq)]
enum Times {
    /// Each so many seconds after the last.
    Every {
        seconds: i64,
    },
    Fields(Fields),
}

#[derive(Clone, Debug, PartialEq)]
struct Fields {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// The numbers that a field picks, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Field {
    bits: u64,
    /// Whether it is a star: for days, a star defers to the other field of days.
    star: bool,
}

struct Bounds {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds =
    Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// The schedule of a text, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let (zone, rest) = split_zone(text)?;
        let times = match rest.strip_prefix('@') {
            Some(_) => descriptor(rest)?,
            None => Times::Fields(fields(rest)?),
        };
        Ok(Self { times, zone })
    }

    /// The first time after `after` in this zone, unless the schedule names another. None: there is
    /// none in the next years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.times {
            Times::Every { seconds } => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                whole.checked_add(SignedDuration::from_secs(*seconds)).ok()
            }
            Times::Fields(fields) => fields
                .next(after, self.zone.as_ref().unwrap_or(zone))
                .map(|found| found.timestamp()),
        }
    }
}

impl Fields {
    /// Walks forward in ever smaller steps, in absolute time: an hour that the clocks skip is
    /// skipped, one that they repeat comes twice.
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Zoned> {
        let second = Timestamp::from_second(after.as_second()).ok()?;
        let mut at = second.checked_add(SignedDuration::from_secs(1)).ok()?.to_zoned(zone.clone());
        let last_year = at.year().checked_add(YEARS_MAX)?;
        if at.second() != 0 {
            at = later(&at, 60 - i64::from(at.second()))?;
        }
        while at.year() <= last_year {
            at = if !self.months.has(at.month()) {
                first_of_next_month(&at)?
            } else if !self.picks_day(&at) {
                at.tomorrow().ok()?.start_of_day().ok()?
            } else if !self.hours.has(at.hour()) {
                later(&at, 3600 - i64::from(at.minute()) * 60)?
            } else if !self.minutes.has(at.minute()) {
                later(&at, 60)?
            } else {
                return Some(at);
            };
        }
        None
    }

    /// Where both fields of days say something, either is enough.
    fn picks_day(&self, at: &Zoned) -> bool {
        let day = self.days.has(at.day());
        let weekday = self.weekdays.has(at.weekday().to_sunday_zero_offset());
        if self.days.star || self.weekdays.star { day && weekday } else { day || weekday }
    }
}

impl Field {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.bits >> number & 1 == 1)
    }
}

fn later(at: &Zoned, seconds: i64) -> Option<Zoned> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn first_of_next_month(at: &Zoned) -> Option<Zoned> {
    at.first_of_month().ok()?.checked_add(1.month()).ok()?.start_of_day().ok()
}

/// Takes `TZ=` and `CRON_TZ=` off.
fn split_zone(text: &str) -> Result<(Option<TimeZone>, &str), String> {
    let named = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ="));
    let Some(named) = named else { return Ok((None, text)) };
    let Some((zone, rest)) = named.split_once(' ') else {
        return Err(
            "invalid schedule format: runtime error: slice bounds out of range [:-1]".to_owned()
        );
    };
    match time_zone::load(zone) {
        Ok(loaded) => Ok((Some(loaded), rest.trim())),
        Err(why) => Err(format!("provided bad location {zone}: {why}")),
    }
}

fn descriptor(text: &str) -> Result<Times, String> {
    let fields = |text| fields(text).map(Times::Fields);
    match text {
        "@yearly" | "@annually" => fields("0 0 1 1 *"),
        "@monthly" => fields("0 0 1 * *"),
        "@weekly" => fields("0 0 * * 0"),
        "@daily" | "@midnight" => fields("0 0 * * *"),
        "@hourly" => fields("0 * * * *"),
        _ => {
            let Some(length) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let nanos = duration::parse(length)
                .map_err(|why| format!("failed to parse duration {text}: {why}"))?;
            Ok(Times::Every { seconds: (nanos / 1_000_000_000).max(1) })
        }
    }
}

fn fields(text: &str) -> Result<Fields, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = parts.as_slice() else {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            parts.len(),
            parts.join(" ")
        ));
    };
    Ok(Fields {
        minutes: field(minutes, &MINUTES)?,
        hours: field(hours, &HOURS)?,
        days: field(days, &DAYS)?,
        months: field(months, &MONTHS)?,
        weekdays: field(weekdays, &WEEKDAYS)?,
    })
}

/// Ranges, with commas between them.
fn field(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let mut field = Field::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (bits, star) = range(part, bounds)?;
        field.bits |= bits;
        field.star |= star;
    }
    Ok(field)
}

/// `number`, `number-number`, `*` or `?`, each with `/step` or without.
fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (span, steps) =
        text.split_once('/').map_or((text, None), |(span, steps)| (span, Some(steps)));
    let ends: Vec<&str> = span.split('-').collect();
    let mut star = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends.as_slice() {
        _ if star => (bounds.min, bounds.max),
        [one] => {
            let one = number_or_name(one, bounds.names)?;
            (one, one)
        }
        [low, high] => (number_or_name(low, bounds.names)?, number_or_name(high, bounds.names)?),
        _ => {
            number_or_name(ends[0], bounds.names)?;
            return Err(format!("too many hyphens: {text}"));
        }
    };
    let mut step = 1;
    match steps {
        Some(steps) if steps.contains('/') => return Err(format!("too many slashes: {text}")),
        Some(steps) => {
            step = number(steps)?;
            // `5/15` goes on from 5 to the end.
            if ends.len() == 1 {
                end = bounds.max;
            }
            star &= step <= 1;
        }
        None => {}
    }
    let (min, max) = (bounds.min, bounds.max);
    if start < min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > max {
        return Err(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    let Some(step) = usize::try_from(step).ok().filter(|step| *step > 0) else {
        return Err(format!("step of range should be a positive number: {text}"));
    };
    let bits = (start..=end).step_by(step).fold(0, |bits, number| bits | 1 << number);
    Ok((bits, star))
}

fn number_or_name(text: &str, names: &[&str]) -> Result<u64, String> {
    let lower = text.to_lowercase();
    // Months are counted from one.
    let first = u64::from(names.len() == 12);
    match (first..).zip(names).find(|(_, name)| **name == lower) {
        Some((number, _)) => Ok(number),
        None => number(text),
    }
}

/// A number as Go's `strconv.Atoi` reads it, and no negative one.
fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let failed =
        |why| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}");
    if !is_number {
        return Err(failed("invalid syntax"));
    }
    let number: i64 = text.parse().map_err(|_| failed("value out of range"))?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next three times, as UTC.
    fn times(schedule: &str, zone: &str, after: &str) -> Vec<String> {
        let schedule = Schedule::parse(schedule).unwrap();
        let zone = time_zone::load(zone).unwrap();
        let mut after: Timestamp = after.parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..3 {
            let Some(next) = schedule.next(after, &zone) else { break };
            found.push(next.to_string());
            after = next;
        }
        found
    }

    #[test]
    fn the_next_times_are_those_of_the_fields() {
        let after = "2026-01-30T10:07:30Z";
        let cases: [(&str, [&str; 3]); 12] = [
            (
                "*/15 * * * *",
                ["2026-01-30T10:15:00Z", "2026-01-30T10:30:00Z", "2026-01-30T10:45:00Z"],
            ),
            (
                "5/20 * * * *",
                ["2026-01-30T10:25:00Z", "2026-01-30T10:45:00Z", "2026-01-30T11:05:00Z"],
            ),
            (
                "0 0 29 2 *",
                ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z", "2036-02-29T00:00:00Z"],
            ),
            (
                "0 9-10 * * mon-FRI",
                ["2026-02-02T09:00:00Z", "2026-02-02T10:00:00Z", "2026-02-03T09:00:00Z"],
            ),
            // Both fields of days: either is enough.
            (
                "0 0 1 * sun",
                ["2026-02-01T00:00:00Z", "2026-02-08T00:00:00Z", "2026-02-15T00:00:00Z"],
            ),
            (
                "0 0 ? 3,dec *",
                ["2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"],
            ),
            ("@hourly", ["2026-01-30T11:00:00Z", "2026-01-30T12:00:00Z", "2026-01-30T13:00:00Z"]),
            ("@daily", ["2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z"]),
            ("@weekly", ["2026-02-01T00:00:00Z", "2026-02-08T00:00:00Z", "2026-02-15T00:00:00Z"]),
            ("@monthly", ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"]),
            ("@annually", ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"]),
            (
                "@every 1m30s",
                ["2026-01-30T10:09:00Z", "2026-01-30T10:10:30Z", "2026-01-30T10:12:00Z"],
            ),
        ];
        for (schedule, expected) in cases {
            assert_eq!(times(schedule, "UTC", after), expected, "{schedule}");
        }
        assert_eq!(times("0 0 30 2 *", "UTC", after), [""; 0]);
    }

    #[test]
    fn zones_and_their_clock_changes_count() {
        // Rome sets its clocks forward on 29 March 2026 at 2:00, and back on 25 October at 3:00.
        assert_eq!(
            times("30 2 * * *", "Europe/Rome", "2026-03-28T00:00:00Z"),
            ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]
        );
        assert_eq!(
            times("30 2 * * *", "Europe/Rome", "2026-10-24T22:00:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(
            times("0 0 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z")[0],
            "2026-01-01T18:30:00Z"
        );
        // A zone in the schedule beats the one of the object.
        assert_eq!(
            times("TZ=America/New_York 0 6 * * *", "UTC", "2026-01-01T00:00:00Z")[0],
            "2026-01-01T11:00:00Z"
        );
        assert!(Schedule::parse("CRON_TZ=UTC @hourly").is_ok());
    }

    #[test]
    fn complaints_are_those_of_upstreams_parser() {
        let cases = [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("9-5 * * * *", "beginning of range (9) beyond end of range (5): 9-5"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            (
                "a * * * *",
                "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
            ),
            ("-1 * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax"),
            (
                "99999999999999999999 * * * *",
                "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
            ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
            ("@never", "unrecognized descriptor: @never"),
            (
                "@every soon",
                "failed to parse duration @every soon: time: invalid duration \"soon\"",
            ),
            ("TZ=Mars 0 0 * * *", "provided bad location Mars: unknown time zone Mars"),
            ("TZ=0", "invalid schedule format: runtime error: slice bounds out of range [:-1]"),
        ];
        for (schedule, expected) in cases {
            assert_eq!(Schedule::parse(schedule).unwrap_err(), expected, "{schedule}");
        }
    }
}
