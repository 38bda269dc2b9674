//! What addresses, ports and percentages in fields must look like, with upstream's complaints.
//!
//! Names stand in `names`. Source: `k8s.io/apimachinery/pkg/util/validation`.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::meta::invalid_each;
use super::rules::ip::Block;
use super::{FieldError, names};

/// The number before the `%` sign; `Err` where the value is no percentage.
pub fn percent(value: &str) -> Result<i64, String> {
    value
        .strip_suffix('%')
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|digits| digits.parse().unwrap_or(i64::MAX))
        .ok_or_else(|| {
            names::mismatch(
                "a valid percent string must be a numeric string followed by an ending '%'",
                "[0-9]+%",
                &["1%", "93%"],
            )
        })
}

pub fn nonnegative(value: impl Into<i64>, path: &str) -> Vec<FieldError> {
    let value = value.into();
    if value >= 0 {
        return Vec::new();
    }
    vec![FieldError::invalid(path, value, "must be greater than or equal to 0")]
}

/// A port by its number or its name.
pub fn port_number_or_name(port: &IntOrString, path: &str) -> Vec<FieldError> {
    match port {
        IntOrString::Int(number) => names::port_number(i64::from(*number))
            .into_iter()
            .map(|why| FieldError::invalid(path, *number, why))
            .collect(),
        IntOrString::String(name) => invalid_each(path, name, names::port_name(name)),
    }
}

pub fn int_or_string(value: &IntOrString) -> Value {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) => text.as_str().into(),
    }
}

/// An IP address in strict notation; IPv6 need not be canonical.
pub fn ip(value: &str, path: &str) -> Vec<FieldError> {
    let why = match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            "must not be an IPv4-mapped IPv6 address"
        }
        Ok(_) => return Vec::new(),
        Err(_) if has_leading_zeros(value) => "must not have leading 0s",
        Err(_) => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
    };
    vec![FieldError::invalid(path, value, why)]
}

/// An IP address in strict and canonical notation.
pub fn canonical_ip(value: &str, path: &str) -> Vec<FieldError> {
    let errors = ip(value, path);
    match value.parse::<IpAddr>() {
        Ok(address) if errors.is_empty() && address.to_string() != value => {
            let why = format!("must be in canonical form (\"{address}\")");
            vec![FieldError::invalid(path, value, why)]
        }
        _ => errors,
    }
}

/// Whether the value is an IPv4 address but for zeros in front of its octets.
/// The address that is meant, where a zero too many leads a number.
fn without_leading_zeros(value: &str) -> Option<IpAddr> {
    let numbers = value.split('.').filter_map(|number| number.parse::<u8>().ok());
    let numbers = <[u8; 4]>::try_from(numbers.collect::<Vec<u8>>()).ok();
    numbers.filter(|_| has_leading_zeros(value)).map(IpAddr::from)
}

fn has_leading_zeros(value: &str) -> bool {
    let octets: Vec<&str> = value.split('.').collect();
    octets.len() == 4
        && octets.iter().all(|octet| {
            !octet.is_empty()
                && octet.bytes().all(|byte| byte.is_ascii_digit())
                && octet.trim_start_matches('0').len() <= 3
                && octet.parse::<u16>().is_ok_and(|octet| octet < 256)
        })
}

/// A CIDR value in strict notation.
pub fn cidr(value: &str, path: &str) -> Vec<FieldError> {
    match cidr_complaint(value) {
        Some(why) => vec![FieldError::invalid(path, value, why)],
        None => Vec::new(),
    }
}

fn cidr_complaint(value: &str) -> Option<&'static str> {
    const MALFORMED: Option<&str> =
        Some("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    const ZEROS: Option<&str> = Some("must not have leading 0s in IP or prefix length");
    let Some((address, length)) = value.split_once('/') else { return MALFORMED };
    let bits = match length.parse::<u8>() {
        Ok(bits) if length.bytes().all(|byte| byte.is_ascii_digit()) => bits,
        _ => return MALFORMED,
    };
    let address = match address.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) if has_leading_zeros(address) => return ZEROS,
        Err(_) => return MALFORMED,
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    if bits > width {
        return MALFORMED;
    }
    if length.len() > 1 && length.starts_with('0') {
        return ZEROS;
    }
    match address {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Some("must not have an IPv4-mapped IPv6 address")
        }
        address if value.parse().is_ok_and(|block: Block| block.first() != address) => {
            Some("must not have bits set beyond the prefix length")
        }
        _ => None,
    }
}

/// What an endpoint's address may not be. Used for Services' externalIPs too, as upstream does.
pub fn endpoint_ip(value: &str, path: &str) -> Vec<FieldError> {
    let Some(address) = value.parse::<IpAddr>().ok().or_else(|| without_leading_zeros(value))
    else {
        return vec![FieldError::invalid(path, value, "must be a valid IP address")];
    };
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    let mut errors = Vec::new();
    let mut refuse = |why: String| errors.push(FieldError::invalid(path, value, why));
    if address.is_unspecified() {
        refuse(format!("may not be unspecified ({value})"));
    }
    if address.is_loopback() {
        refuse("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    if link_local {
        refuse("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if link_local_multicast {
        refuse("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
    errors
}

/// A name with at least two segments, a final dot allowed.
pub fn fully_qualified_domain(value: &str, path: &str) -> Vec<FieldError> {
    if value.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let name = value.strip_suffix('.').unwrap_or(value);
    let complaints = names::subdomain(name);
    if !complaints.is_empty() {
        return vec![FieldError::invalid(path, name, complaints.join(","))];
    }
    if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        return vec![FieldError::invalid(path, name, why)];
    }
    name.split('.')
        .map(|label| (label, names::label(label)))
        .find(|(_, complaints)| !complaints.is_empty())
        .map(|(label, complaints)| FieldError::invalid(path, label, complaints.join(",")))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_strict() {
        let why =
            |errors: Vec<FieldError>| errors.into_iter().map(|e| e.detail).collect::<Vec<_>>();
        assert!(ip("10.0.0.1", "p").is_empty());
        assert!(ip("FE80::1", "p").is_empty());
        assert_eq!(why(ip("010.0.0.1", "p")), ["must not have leading 0s"]);
        assert_eq!(why(ip("::ffff:1.2.3.4", "p")), ["must not be an IPv4-mapped IPv6 address"]);
        assert_eq!(
            why(canonical_ip("2001:DB8::1", "p")),
            ["must be in canonical form (\"2001:db8::1\")"]
        );
        assert!(cidr("10.0.0.0/8", "p").is_empty());
        assert!(cidr("0.0.0.0/0", "p").is_empty());
        assert_eq!(
            why(cidr("10.0.0.1/8", "p")),
            ["must not have bits set beyond the prefix length"]
        );
        assert_eq!(
            why(endpoint_ip("127.0.0.1", "p")),
            ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]
        );
    }

    #[test]
    fn percentages_are_digits_and_a_sign() {
        assert_eq!(percent("25%"), Ok(25));
        assert!(percent("%").is_err());
        assert!(percent("2.5%").is_err());
    }
}
