//! Blocks of addresses. The notation of single addresses is judged in `formats`.
//!
//! Source: `k8s.io/apimachinery/pkg/util/validation/ip.go`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::kinds::{FieldError, formats};

/// A block of addresses: the first of them, and how many bits they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    first: IpAddr,
    bits: u8,
}

/// The text is no block of addresses.
#[derive(Debug, PartialEq, Eq)]
pub struct NoBlock;

impl FromStr for Block {
    type Err = NoBlock;

    /// Bits beyond the prefix are dropped.
    fn from_str(text: &str) -> Result<Self, NoBlock> {
        let (address, bits) = text.split_once('/').ok_or(NoBlock)?;
        let address: IpAddr = address.parse().map_err(|_| NoBlock)?;
        let bits: u8 = bits.parse().map_err(|_| NoBlock)?;
        if bits > width(address) {
            return Err(NoBlock);
        }
        Ok(Self { first: masked(address, bits), bits })
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl Block {
    pub fn first(&self) -> IpAddr {
        self.first
    }

    pub fn is_ipv6(&self) -> bool {
        self.first.is_ipv6()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6() && masked(address, self.bits) == self.first
    }

    /// Whether the other is a part of this block, and not all of it.
    pub fn strictly_contains(&self, other: &Self) -> bool {
        self.bits < other.bits && self.contains(other.first)
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let beyond = u32::from(width(address) - bits);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(beyond).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(beyond).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// A CIDR value in strict and canonical notation.
pub fn canonical_cidr(value: &str, path: &str) -> Vec<FieldError> {
    let errors = formats::cidr(value, path);
    match value.parse::<Block>() {
        Ok(block) if errors.is_empty() && block.to_string() != value => {
            let why = format!("must be in canonical form (\"{block}\")");
            vec![FieldError::invalid(path, value, why)]
        }
        _ => errors,
    }
}

/// The problems of a name that is an address: `IPAddress` objects.
pub fn address_name(name: &str) -> Vec<String> {
    formats::canonical_ip(name, "").into_iter().map(|error| error.detail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_addresses_and_smaller_blocks() {
        let block = |text: &str| text.parse::<Block>().expect("a block");
        let cases = [
            ("10.0.0.0/8", "10.255.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.0/16", false),
            ("10.0.0.0/16", "10.0.0.0/8", false),
            ("::/0", "10.0.0.0/8", false),
            ("2001:db8::/32", "2001:db8:1::/48", true),
        ];
        for (outer, inner, holds) in cases {
            assert_eq!(block(outer).strictly_contains(&block(inner)), holds, "{outer} {inner}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/-1"] {
            assert_eq!(text.parse::<Block>(), Err(NoBlock), "{text}");
        }
        assert_eq!(block("10.9.8.7/24").to_string(), "10.9.8.0/24");
    }

    #[test]
    fn names_and_blocks_are_canonical() {
        let why = |value| canonical_cidr(value, "p").pop().map(|error| error.detail);
        assert_eq!(why("2001:db8::/64"), None);
        assert_eq!(
            why("2001:DB8::/64").as_deref(),
            Some("must be in canonical form (\"2001:db8::/64\")")
        );
        assert_eq!(address_name("10.0.0.1"), [""; 0]);
        assert_eq!(address_name("fd00::0"), ["must be in canonical form (\"fd00::\")"]);
        assert_eq!(
            address_name("web"),
            ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
        );
    }
}
