//! Addresses of this node's pods, out of the node's own part of the pod network. Pure.
//!
//! An address that came back is given out again as late as possible: connections and caches that
//! still mean its last pod then find nobody rather than somebody else.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

/// Why there is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IpamError {
    #[error("\"{0}\" is no IPv4 CIDR")]
    Cidr(String),
    #[error("all {0} addresses of the node's podCIDR are in use")]
    Full(u32),
}

/// The addresses of one podCIDR.
#[derive(Debug)]
pub struct Ipam {
    /// The first address that a pod may get; the network's and the gateway's stay free.
    first: u32,
    count: u32,
    /// Where the search goes on: it walks the whole range before it comes back.
    next: u32,
    used: HashSet<u32>,
}

impl Ipam {
    pub fn new(cidr: &str) -> Result<Self, IpamError> {
        let bad = || IpamError::Cidr(cidr.to_owned());
        let (address, prefix) = cidr.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let prefix: u32 = prefix.parse().map_err(|_| bad())?;
        if !(1..=30).contains(&prefix) {
            return Err(bad());
        }
        let size = 1u32 << (32 - prefix);
        let network = u32::from(address) & !(size - 1);
        // Without the network's own address, the gateway's and the broadcast address.
        Ok(Self { first: network + 2, count: size - 3, next: 0, used: HashSet::new() })
    }

    /// An address that nobody has.
    pub fn allocate(&mut self) -> Result<IpAddr, IpamError> {
        for _ in 0..self.count {
            let offset = self.next;
            self.next = (self.next + 1) % self.count;
            if self.used.insert(offset) {
                return Ok(IpAddr::V4(Ipv4Addr::from(self.first + offset)));
            }
        }
        Err(IpamError::Full(self.count))
    }

    /// Takes this very address, if it is one of ours and free.
    pub fn claim(&mut self, ip: IpAddr) -> bool {
        let claimed = self.offset(ip).is_some_and(|offset| self.used.insert(offset));
        if claimed && let Some(offset) = self.offset(ip) {
            // Go on behind it: what was given out before a restart rests as well.
            self.next = self.next.max((offset + 1) % self.count);
        }
        claimed
    }

    pub fn release(&mut self, ip: IpAddr) {
        if let Some(offset) = self.offset(ip) {
            self.used.remove(&offset);
        }
    }

    fn offset(&self, ip: IpAddr) -> Option<u32> {
        let IpAddr::V4(ip) = ip else { return None };
        let offset = u32::from(ip).checked_sub(self.first)?;
        (offset < self.count).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_rests_after_its_pod_is_gone() {
        let mut ipam = Ipam::new("10.244.1.0/29").unwrap();
        let first = ipam.allocate().unwrap();
        assert_eq!(first.to_string(), "10.244.1.2");
        ipam.release(first);
        let others: Vec<String> = (0..4).map(|_| ipam.allocate().unwrap().to_string()).collect();
        assert_eq!(others, ["10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.1.6"]);
        assert_eq!(ipam.allocate().unwrap(), first);
        assert_eq!(ipam.allocate(), Err(IpamError::Full(5)));
    }

    #[test]
    fn addresses_can_be_claimed_once() {
        let mut ipam = Ipam::new("10.244.1.0/24").unwrap();
        assert!(ipam.claim("10.244.1.9".parse().unwrap()));
        assert!(!ipam.claim("10.244.1.9".parse().unwrap()));
        assert!(!ipam.claim("10.245.1.9".parse().unwrap()));
        assert_eq!(ipam.allocate().unwrap().to_string(), "10.244.1.10");
    }

    #[test]
    fn what_is_no_cidr_is_refused() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/64", "10.0.0.0/31"] {
            assert!(Ipam::new(text).is_err(), "{text}");
        }
    }
}
