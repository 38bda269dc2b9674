//! The formats of strings in schemas: whether a text has one.
//!
//! Source: `k8s.io/kube-openapi/pkg/validation/strfmt`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;

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
    MAC = "^([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){7}|[0-9a-fA-F]{4}([.][0-9a-fA-F]{4}){2,3})$";
    SSN = "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$";
    TIME = "^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    UUID = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID3 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID4 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    UUID5 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
}

/// Whether a text has a format. Formats that are not known, and those that nobody judges here
/// (`creditcard`, `duration`, `email`, `hostname`, `isbn`, `rgbcolor`, `uri`), any text has.
pub fn has(text: &str, format: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => OBJECT_ID.is_match(text),
        "byte" => STANDARD.decode(text).is_ok(),
        "cidr" => is_block(text),
        "date" => is_date(text),
        "datetime" => is_date_time(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "k8slongname" => names::subdomain(text).is_empty(),
        "k8sshortname" => names::label(text).is_empty(),
        "mac" => MAC.is_match(text),
        "ssn" => SSN.is_match(text),
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
    match (address.parse::<IpAddr>(), length) {
        (Ok(IpAddr::V4(_)), Some(length)) => length <= 32,
        (Ok(IpAddr::V6(_)), Some(length)) => length <= 128,
        _ => false,
    }
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
            ("date", "2026-02-28", "2026-02-30"),
            ("date-time", "2026-02-28T23:59:59.5Z", "2026-02-28T24:00:00Z"),
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
