//! Durations and points in time, as far as to say whether a text is one.

const SECONDS_MIN: i64 = -62_135_596_800;
const SECONDS_MAX: i64 = 253_402_300_799;

/// Whether the seconds since 1970 are in a year that can be written.
pub fn is_in_range(seconds: i64) -> bool {
    (SECONDS_MIN..=SECONDS_MAX).contains(&seconds)
}

/// Whether the text is a duration as Go reads it: `1h30m`, `-1.5s`.
pub fn is_duration(text: &str) -> bool {
    const UNITS: &[(&str, f64)] = &[
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("μs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
    ];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut total = 0.0;
    let is_part = |it: char| it.is_ascii_digit() || it == '.';
    while !rest.is_empty() {
        let end = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after.find(is_part).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else { return false };
        let Ok(number) = number.parse::<f64>() else { return false };
        total += number * factor;
        rest = after;
    }
    !text.is_empty() && !text.ends_with(['-', '+']) && total <= i64::MAX as f64
}

/// Whether the text is a point in time as RFC 3339 writes it.
pub fn is_timestamp(text: &str) -> bool {
    read(text).is_some_and(is_in_range)
}

fn read(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let [year, month, day] = numbers(date, '-', &[4, 2, 2])?;
    let is_leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    let days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) {
        return None;
    }
    let zone = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let (whole, fraction) = time.split_once(['.', ',']).unwrap_or((time, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let hour_length = if whole.len() == 7 { 1 } else { 2 };
    let [hour, minute, second] = numbers(whole, ':', &[hour_length, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let elapsed = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(elapsed - offset(zone)?)
}

fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = numbers(zone.get(1..)?, ':', &[2, 2])?;
    (hours <= 24 && minutes <= 60 && !zone.starts_with('Z'))
        .then_some(sign * (hours * 3600 + minutes * 60))
}

/// The numbers between separators, each with so many digits.
fn numbers<const N: usize>(text: &str, separator: char, lengths: &[usize; N]) -> Option<[i64; N]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let are_right = parts.len() == N
        && parts.iter().zip(lengths).all(|(part, length)| {
            part.len() == *length && part.bytes().all(|it| it.is_ascii_digit())
        });
    if !are_right {
        return None;
    }
    let numbers: Vec<i64> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    numbers.try_into().ok()
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, is) in [
            ("1h", true),
            ("1h30m", true),
            ("-1.5s", true),
            (".5s", true),
            ("0", true),
            ("1", false),
            ("", false),
            ("-", false),
            ("1d", false),
            ("s", false),
            ("1s ", false),
            ("1us2µs", true),
            ("300000h", true),
            ("3000000h", false),
        ] {
            assert_eq!(is_duration(text), is, "{text}");
        }
    }

    #[test]
    fn timestamps_are_days_and_times_with_zones() {
        for (text, is) in [
            ("2024-02-29T00:00:00Z", true),
            ("2023-02-29T00:00:00Z", false),
            ("2023-02-28T00:00:00.123+01:00", true),
            ("2023-02-28T00:00:00", false),
            ("2023-02-28", false),
            ("0001-01-01T00:00:00Z", true),
            ("0000-12-31T00:00:00Z", false),
            ("9999-12-31T23:59:59Z", true),
            ("2023-13-28T00:00:00Z", false),
            ("2023-02-28t00:00:00z", false),
        ] {
            assert_eq!(is_timestamp(text), is, "{text}");
        }
    }
}
