//! Warnings that several kinds give. Pure.
//!
//! Source: `GetWarningsForIP` and `GetWarningsForCIDR` in
//! `k8s.io/apimachinery/pkg/util/validation/ip.go`.

use std::net::IpAddr;

use super::names;
use super::rules::ip::Block;

/// An address that is valid but not written as it is written everywhere else.
pub fn ip(value: &str, path: &str) -> Option<String> {
    let address: IpAddr = value.parse().ok()?;
    let shown = address.to_string();
    match address {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            let plain = address.to_ipv4_mapped()?;
            Some(format!("{path}: non-standard IP address {value:?} is invalid: use \"{plain}\""))
        }
        IpAddr::V6(_) if shown != value => Some(format!(
            "{path}: IPv6 address {value:?} should be in RFC 5952 canonical format ({shown:?})"
        )),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// The same for a block of addresses, which may also name one address in it.
pub fn cidr(value: &str, path: &str) -> Option<String> {
    let block: Block = value.parse().ok()?;
    let (address, length) = value.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let (first, bits) = (block.first(), if address.is_ipv4() { 32 } else { 128 });
    if first != address {
        return Some(format!(
            "{path}: CIDR value {value:?} is ambiguous in this context (should be \"{first}/{length}\" or \"{address}/{bits}\"?)"
        ));
    }
    let shown = format!("{address}/{length}");
    (address.is_ipv6() && shown != value).then(|| {
        format!(
            "{path}: IPv6 CIDR value {value:?} should be in RFC 5952 canonical format ({shown:?})"
        )
    })
}

/// A name that is no DNS label; `used` says what it is used in.
pub fn hostname(name: Option<&str>, used: &str) -> Option<String> {
    let problems = names::label(name.unwrap_or_default());
    (!problems.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_canonical_are_told_of() {
        let cases = [
            ("10.0.0.1", None),
            ("2001:db8::1", None),
            (
                "2001:DB8:0::1",
                Some(
                    r#"p: IPv6 address "2001:DB8:0::1" should be in RFC 5952 canonical format ("2001:db8::1")"#,
                ),
            ),
            (
                "::ffff:1.2.3.4",
                Some(r#"p: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4""#),
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(ip(value, "p").as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn blocks_that_name_one_address_are_told_of() {
        let cases = [
            ("10.0.0.0/24", None),
            ("0.0.0.0/0", None),
            (
                "10.0.0.1/24",
                Some(
                    r#"p: CIDR value "10.0.0.1/24" is ambiguous in this context (should be "10.0.0.0/24" or "10.0.0.1/32"?)"#,
                ),
            ),
            (
                "2001:DB8::/64",
                Some(
                    r#"p: IPv6 CIDR value "2001:DB8::/64" should be in RFC 5952 canonical format ("2001:db8::/64")"#,
                ),
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(cidr(value, "p").as_deref(), expected, "{value}");
        }
    }
}
