//! The formats of strings in schemas: whether a text has one.
//!
//! Source: `k8s.io/kube-openapi/pkg/validation/strfmt`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::{duration, mail, url};
use crate::kinds::names;

macro_rules! regexes {
    ($($name:ident = $pattern:literal;)*) => {
        $(static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a regular expression"));)*
    };
}

regexes! {
    OBJECT_ID = "^[0-9a-fA-F]{24}$";
    HEX_COLOR = "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$";
    MAC = "^([0-9a-fA-F]{2}((:[0-9a-fA-F]{2}){5}|(-[0-9a-fA-F]{2}){5}|(:[0-9a-fA-F]{2}){7}|(-[0-9a-fA-F]{2}){7})|[0-9a-fA-F]{4}([.][0-9a-fA-F]{4}){2,3})$";
    SSN = "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$";
    CARD = "^(4[0-9]{12}([0-9]{3})?|5[1-5][0-9]{14}|6(011|5[0-9]{2})[0-9]{12}|3[47][0-9]{13}|3(0[0-5]|[68][0-9])[0-9]{11}|(2131|1800|35[0-9]{3})[0-9]{11})$";
    COLOR = r"^rgb\([\t\n\f\r ]*(0|[1-9][0-9]?|1[0-9]{0,2}|2[0-4][0-9]|25[0-5])[\t\n\f\r ]*,[\t\n\f\r ]*(0|[1-9][0-9]?|1[0-9]{0,2}|2[0-4][0-9]|25[0-5])[\t\n\f\r ]*,[\t\n\f\r ]*(0|[1-9][0-9]?|1[0-9]{0,2}|2[0-4][0-9]|25[0-5])[\t\n\f\r ]*\)$";
    HOST = r"^([a-zA-Z0-9\p{S}\p{L}](-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?|([a-zA-Z0-9\p{S}\p{L}]([-a-zA-Z0-9\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?\.)+[a-zA-Z\p{L}]{2,63})$";
    AMOUNT = r"[0-9]+[\t\n\f\r ]*[A-Za-z\u{b5}]+";
    TIME = "^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    UUID = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID3 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID4 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    UUID5 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
}

/// Whether a text has a format. Formats that are not known any text has.
pub fn has(text: &str, format: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => OBJECT_ID.is_match(text),
        "byte" => BASE64.is_match(text),
        "cidr" => is_block(text),
        "creditcard" => is_card(text),
        "date" => is_date(text),
        "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "email" => mail::is_address(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "hostname" => is_host(text),
        "ipv4" => text.contains('.') && address(text).is_some(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "k8slongname" => names::subdomain(text).is_empty(),
        "k8sshortname" => names::label(text).is_empty(),
        "mac" => MAC.is_match(text),
        "rgbcolor" => COLOR.is_match(text),
        "ssn" => text.len() == 11 && SSN.is_match(text),
        "uri" => url::is_request(text),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID3.is_match(text),
        "uuid4" => UUID4.is_match(text),
        "uuid5" => UUID5.is_match(text),
        _ => true,
    }
}

fn is_block(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    let length = length.parse::<u8>().ok().filter(|_| is_number);
    match (self::address(address), length) {
        (Some(IpAddr::V4(_)), Some(length)) => length <= 32,
        (Some(IpAddr::V6(_)), Some(length)) => length <= 128,
        _ => false,
    }
}

/// An address, with zeros before its decimal numbers too.
fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse().ok();
    }
    let shortened = |part: &'_ str| -> String {
        let rest = part.trim_start_matches('0');
        if rest.is_empty() && !part.is_empty() { "0".to_owned() } else { rest.to_owned() }
    };
    let parts: Vec<String> = text.split('.').map(shortened).collect();
    parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::from)
}

/// Digits whose check digit fits: each second one, from the end, counts twice.
fn is_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum: u32 = digits
        .bytes()
        .rev()
        .map(|digit| u32::from(digit - b'0'))
        .enumerate()
        .map(|(at, digit)| if at % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    CARD.is_match(&digits) && sum.is_multiple_of(10)
}

/// `1h30m` as Go reads it, or amounts of units by their names or beginnings: `2 weeks`, `5 minutes`.
fn is_duration(text: &str) -> bool {
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "\u{b5}s", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    if duration::parse(text).is_ok() {
        return true;
    }
    let amounts = AMOUNT.find_iter(text).map(|amount| amount.as_str());
    let parts = amounts.map(|amount| {
        let unit = amount.trim_start_matches(|letter: char| letter.is_ascii_digit());
        (&amount[..amount.len() - unit.len()], unit.trim().to_lowercase())
    });
    let parts: Vec<(&str, String)> = parts.collect();
    let is_unit = |unit: &str| {
        UNITS.iter().any(|names| {
            names.contains(&unit) || names.last().is_some_and(|name| unit.starts_with(name))
        })
    };
    parts.iter().all(|(number, _)| number.parse::<i64>().is_ok())
        && parts.iter().any(|(_, unit)| is_unit(unit))
}

fn is_host(text: &str) -> bool {
    HOST.is_match(text) && text.len() <= 255 && text.split('.').all(|label| label.len() <= 63)
}

/// Without the spaces and hyphens that may stand within.
fn plain_isbn(text: &str) -> String {
    let is_kept = |letter: &char| !matches!(letter, '\t' | '\n' | '\u{c}' | '\r' | ' ' | '-');
    text.chars().filter(is_kept).collect()
}

fn is_isbn10(text: &str) -> bool {
    let text = plain_isbn(text);
    let (Some(digits), Some(last)) = (text.get(..9), text.get(9..)) else { return false };
    let last = match last {
        "X" => Some(10),
        last if last.len() == 1 => last.parse().ok(),
        _ => None,
    };
    let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(10)).collect();
    let (Some(digits), Some(last)) = (digits, last) else { return false };
    let sum: u32 = (1..).zip(digits.into_iter().chain([last])).map(|(at, digit)| at * digit).sum();
    sum.is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let text = plain_isbn(text);
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(10)).collect();
    let Some(digits) = digits.filter(|digits| digits.len() == 13) else { return false };
    let factors = [1, 3].into_iter().cycle();
    let sum: u32 = digits.iter().zip(factors).map(|(digit, factor)| digit * factor).sum();
    sum.is_multiple_of(10)
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let Some((date, time)) = text.split_once('t') else { return false };
    let Some(parts) = TIME.captures(time) else { return false };
    let fits = |at: usize, max: &str| parts.get(at).is_some_and(|part| part.as_str() <= max);
    is_date(date) && fits(1, "23") && fits(2, "59") && fits(3, "59")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_formats_that_are_judged() {
        for (format, good, bad) in [
            ("bsonobjectid", "0123456789abcdef01234567", "0123"),
            ("byte", "aGk=", "a!"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("creditcard", "4242-4242-4242-4242", "4242-4242-4242-4241"),
            ("date", "2026-02-28", "2026-02-30"),
            ("date-time", "2026-02-28T23:59:59.5Z", "2026-02-28T24:00:00Z"),
            ("duration", "1h30m", "soon"),
            ("duration", "2 weeks", "2 fortnights"),
            ("email", "jane@example.com", "jane"),
            ("hostname", "web.example.com", "-web"),
            ("isbn", "978-3-16-148410-0", "978-3-16-148410-1"),
            ("isbn10", "0-306-40615-2", "0-306-40615-3"),
            ("isbn10", "080442957X", "978-3-16-148410-0"),
            ("rgbcolor", "rgb(0, 128,255)", "rgb(0,256,0)"),
            ("uri", "https://example.com/a?b", "example.com"),
            ("uri", "/a#b", ""),
            ("hexcolor", "#fFf", "ffff"),
            ("ipv4", "10.0.0.1", "::1"),
            ("ipv6", "::1", "10.0.0.1"),
            ("k8s-long-name", "a.b", "A"),
            ("k8s-short-name", "a", "a.b"),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("ssn", "123-45-6789", "12"),
            ("uuid", "01234567-89ab-cdef-0123-456789abcdef", "0"),
            (
                "uuid4",
                "01234567-89ab-4def-8123-456789abcdef",
                "01234567-89ab-cdef-0123-456789abcdef",
            ),
        ] {
            assert!(has(good, format), "{format}");
            assert!(!has(bad, format), "{format}");
        }
        assert!(has("anything", "odd"));
    }
}
