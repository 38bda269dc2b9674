//! Lengths of time as Go writes them: `300ms`, `-1.5h`, `2h45m`.
//!
//! Source: `time.ParseDuration` of Go's standard library.

const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The nanoseconds of a duration, or what is wrong with it, in Go's words.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let whole = digits(rest);
        let fraction = rest[whole..].strip_prefix('.').map(digits);
        // What does not fit into 64 bits is no duration.
        if whole + fraction.unwrap_or(0) == 0 || whole > 18 {
            return Err(invalid());
        }
        let (number, behind) = rest.split_at(whole + fraction.map_or(0, |fraction| fraction + 1));
        let end = behind.find(|letter: char| letter == '.' || letter.is_ascii_digit());
        let (unit, behind) = behind.split_at(end.unwrap_or(behind.len()));
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        nanos += scaled(number, *scale);
        rest = behind;
    }
    let nanos = if text.starts_with('-') { -nanos } else { nanos };
    i64::try_from(nanos).map_err(|_| invalid())
}

/// A decimal number times a scale, rounded down.
fn scaled(number: &str, scale: i128) -> i128 {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Past the eighteenth digit nothing reaches a nanosecond.
    let places = fraction.len().min(18);
    let parts = fraction[..places].parse::<i128>().unwrap_or(0) * scale;
    let divisor = 10_i128.pow(u32::try_from(places).unwrap_or(0));
    whole.parse::<i128>().unwrap_or(0) * scale + parts / divisor
}

/// How many digits a text begins with.
fn digits(text: &str) -> usize {
    text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("0", Ok(0)),
            ("1h30m", Ok(5_400_000_000_000)),
            ("-1.5s", Ok(-1_500_000_000)),
            (".5ms", Ok(500_000)),
            ("1\u{b5}s", Ok(1_000)),
            ("", Err("time: invalid duration \"\"")),
            ("s", Err("time: invalid duration \"s\"")),
            ("5", Err("time: missing unit in duration \"5\"")),
            ("5d", Err("time: unknown unit \"d\" in duration \"5d\"")),
            ("999999999999999999h", Err("time: invalid duration \"999999999999999999h\"")),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected.map_err(str::to_owned), "{text}");
        }
    }
}
