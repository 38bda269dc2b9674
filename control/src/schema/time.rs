//! RFC 3339 as Go reads and complains about it.

use jiff::Timestamp;

/// Go's layout of the time form, element by element.
const LAYOUT: [&str; 12] =
    ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", "Z07:00"];

/// Reads a time, or says what is wrong with it in Go's words. `layout` is the layout that Go names:
/// with six fractional digits for `MicroTime`.
pub(super) fn parse(text: &str, layout: &str) -> Result<Timestamp, String> {
    if let Some(extra) = extra(text) {
        return Err(format!("parsing time {text:?}: extra text: {extra:?}"));
    }
    let problem = match mismatch(text) {
        Some((rest, element)) => format!("cannot parse {rest:?} as {element:?}"),
        None => match text.parse::<Timestamp>() {
            Ok(timestamp) => return Ok(timestamp),
            Err(_) => return Err(format!("parsing time {text:?}: day out of range")),
        },
    };
    Err(format!("parsing time {text:?} as {layout:?}: {problem}"))
}

/// What stands behind a whole time.
fn extra(text: &str) -> Option<&str> {
    let (zone, "Z07:00") = mismatch(text)? else { return None };
    let ends = [1, "+07:00".len()].into_iter().filter_map(|at| zone.split_at_checked(at));
    ends.filter(|(zone, _)| is_zone(zone)).map(|(_, extra)| extra).next()
}

/// The first element of the layout that the text does not follow, and the text from there on.
fn mismatch(text: &str) -> Option<(&str, &'static str)> {
    let mut rest = text;
    for element in LAYOUT {
        if element == "Z07:00" {
            rest = skip_fraction(rest);
            return (!is_zone(rest)).then_some((rest, element));
        }
        let fits = match element {
            "-" | ":" | "T" => rest.starts_with(element),
            digits => {
                rest.len() >= digits.len()
                    && rest.as_bytes()[..digits.len()].iter().all(u8::is_ascii_digit)
            }
        };
        if !fits {
            return Some((rest, element));
        }
        rest = &rest[element.len()..];
    }
    None
}

fn skip_fraction(text: &str) -> &str {
    let Some(rest) = text.strip_prefix('.') else { return text };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 { text } else { &rest[digits..] }
}

fn is_zone(text: &str) -> bool {
    let bytes = text.as_bytes();
    match bytes {
        [b'Z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

pub(super) const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
pub(super) const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_in_go_words() {
        for (text, expected) in [
            (
                "foo",
                r#"parsing time "foo" as "2006-01-02T15:04:05Z07:00": cannot parse "foo" as "2006""#,
            ),
            (
                "2020-01-02T03:04:05Z ago",
                r#"parsing time "2020-01-02T03:04:05Z ago": extra text: " ago""#,
            ),
            (
                "2020-01-02T03:04:05+01:00x",
                r#"parsing time "2020-01-02T03:04:05+01:00x": extra text: "x""#,
            ),
            (
                "2020-01-02",
                r#"parsing time "2020-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
            ),
            (
                "2020-01-02T03:04:05",
                r#"parsing time "2020-01-02T03:04:05" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#,
            ),
            ("2020-02-31T03:04:05Z", r#"parsing time "2020-02-31T03:04:05Z": day out of range"#),
        ] {
            assert_eq!(parse(text, SECONDS), Err(expected.to_owned()));
        }
        assert!(parse("2020-01-02T03:04:05.123+02:00", SECONDS).is_ok());
    }
}
