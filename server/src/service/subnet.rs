//! The network of a client: as many addresses as one customer is given, who has to be counted as one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bits of a subnet, the least that a customer of a provider is given (RFC 6177).
const SUBNET_BITS: u32 = 64;
/// Bits of a site, the most that one is given without asking.
const SITE_BITS: u32 = 48;

/// An address of IPv4, or the first bits of one of IPv6: whoever has one address of those has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Subnet {
    /// The lowest address.
    first: IpAddr,
    bits: u32,
}

impl Subnet {
    /// The /64 of an address of IPv6, or the address of IPv4 by itself.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self::first_bits(address, SUBNET_BITS)
    }

    /// The /48 of an address of IPv6, or the address of IPv4 by itself.
    pub(crate) fn site_of(address: IpAddr) -> Self {
        Self::first_bits(address, SITE_BITS)
    }

    fn first_bits(address: IpAddr, bits: u32) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { first: address.into(), bits: u32::BITS },
            IpAddr::V6(address) => {
                let mask = u128::MAX << (u128::BITS - bits);
                Self { first: Ipv6Addr::from_bits(address.to_bits() & mask).into(), bits }
            }
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/{}", self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_network_of_ipv6_is_counted_as_one_and_an_ipv4_address_by_itself() {
        let text = |address: &str| {
            let address = address.parse().unwrap();
            (Subnet::of(address).to_string(), Subnet::site_of(address).to_string())
        };
        let pair = |of: &str, site: &str| (of.to_owned(), site.to_owned());
        assert_eq!(text("2001:db8:1:2:3:4:5:6"), pair("2001:db8:1:2::/64", "2001:db8:1::/48"));
        assert_eq!(text("10.1.2.3"), pair("10.1.2.3", "10.1.2.3"));
        assert_eq!(text("::ffff:10.1.2.3"), pair("10.1.2.3", "10.1.2.3"));
        assert_ne!(text("2001:db8:1:2::1").0, text("2001:db8:1:3::1").0);
        assert_eq!(text("2001:db8:1:2::1").1, text("2001:db8:1:3::1").1);
    }
}
