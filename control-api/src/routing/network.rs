//! Networks: an address or `address/bits`, which of them contain what, and which no call may reach.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

/// A network of either family. IPv4 addresses inside IPv6 (`::ffff:a.b.c.d`) count as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    v6: bool,
    bits: u8,
    /// The address, low bits zero; IPv4 in the low 32 bits.
    base: u128,
}

/// The text is not an address, nor an address, `/` and a number of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address or network, as 192.0.2.10 or 192.0.2.0/24")]
pub struct NotANetwork;

impl Network {
    /// Whether an address lies inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (v6, number) = split(address);
        v6 == self.v6 && masked(number, v6, self.bits) == self.base
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        let bits = self.bits.min(other.bits);
        self.v6 == other.v6 && masked(self.base, self.v6, bits) == masked(other.base, self.v6, bits)
    }

    /// Its first address.
    pub fn base(&self) -> IpAddr {
        if self.v6 { IpAddr::V6(self.base.into()) } else { IpAddr::V4((self.base as u32).into()) }
    }

    /// How many bits are fixed.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether it is of IPv6.
    pub fn is_v6(&self) -> bool {
        self.v6
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let (v6, base) = split(address);
        Self { v6, bits: if v6 { 128 } else { 32 }, base }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let whole = Self::from(address.parse::<IpAddr>().map_err(|_| NotANetwork)?);
        let Some(bits) = bits else { return Ok(whole) };
        let digits = (1..=3).contains(&bits.len()) && bits.bytes().all(|digit| digit.is_ascii_digit());
        let bits: u8 = bits.parse().ok().filter(|bits| digits && *bits <= whole.bits).ok_or(NotANetwork)?;
        Ok(Self { bits, base: masked(whole.base, whole.v6, bits), ..whole })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.bits)
    }
}

fn split(address: IpAddr) -> (bool, u128) {
    match address.to_canonical() {
        IpAddr::V4(address) => (false, u32::from(address).into()),
        IpAddr::V6(address) => (true, address.into()),
    }
}

fn masked(number: u128, v6: bool, bits: u8) -> u128 {
    let below = u32::from(if v6 { 128 } else { 32 } - bits);
    number.checked_shr(below).and_then(|high| high.checked_shl(below)).unwrap_or(0)
}

/// Networks with something each; asked for an address it answers from the longest network first.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    /// By family and length, so that a question costs one look per length in use.
    lengths: BTreeMap<(bool, std::cmp::Reverse<u8>), BTreeMap<u128, Vec<T>>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { lengths: BTreeMap::new() }
    }
}

impl<T> Table<T> {
    pub(crate) fn insert(&mut self, network: Network, value: T) {
        let length = self.lengths.entry((network.v6, std::cmp::Reverse(network.bits))).or_default();
        length.entry(network.base).or_default().push(value);
    }

    /// Everything kept for networks that contain the address, longest network first.
    pub(crate) fn of(&self, address: IpAddr) -> impl Iterator<Item = &T> {
        let (v6, number) = split(address);
        self.lengths
            .iter()
            .filter(move |((family, _), _)| *family == v6)
            .filter_map(move |((_, bits), bases)| bases.get(&masked(number, v6, bits.0)))
            .flatten()
    }
}

/// Where no call may go unless the operator names it: this machine, private and shared networks, link-local (cloud metadata lives
/// there), documentation, benchmarking, multicast, reserved (RFC 6890 and the IANA special-purpose registries).
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/128",
    "::1/128",
    // NAT64 and 6to4 carry an IPv4 address that would have to be judged again.
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Whether an address is one of the public internet.
pub(crate) fn is_public(address: IpAddr) -> bool {
    !SPECIAL.iter().filter_map(|text| text.parse::<Network>().ok()).any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_contain_what_they_should() {
        let yes = |net: &str, address: &str| network(net).contains(address.parse().unwrap());
        assert!(yes("192.168.1.0/24", "192.168.1.77"));
        assert!(!yes("192.168.1.0/24", "192.168.2.77"));
        assert!(yes("10.0.0.7", "10.0.0.7"));
        assert!(!yes("10.0.0.7", "10.0.0.8"));
        assert!(yes("0.0.0.0/0", "8.8.8.8"));
        assert!(!yes("0.0.0.0/0", "::1"));
        assert!(yes("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(yes("fd00::/8", "fd12::1"));
        assert!(yes("::/0", "fd12::1"));
        for wrong in
            ["", "x", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/x", "10.0.0.0/", "::/129", "10.0.0.0/8/8"]
        {
            assert_eq!(wrong.parse::<Network>(), Err(NotANetwork), "{wrong}");
        }
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        assert!(network("10.0.0.0/8").overlaps(&network("10.1.2.3")));
        assert!(network("10.1.2.3").overlaps(&network("10.0.0.0/8")));
        assert!(!network("10.0.0.0/9").overlaps(&network("10.128.0.0/9")));
        assert!(!network("::/0").overlaps(&network("10.0.0.0/8")));
        assert_eq!(network("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(network("::ffff:10.1.2.3"), network("10.1.2.3"));
    }

    #[test]
    fn the_longest_network_answers_first() {
        let mut table = Table::default();
        for (net, name) in [("0.0.0.0/0", "any"), ("192.0.2.0/24", "office"), ("192.0.2.7", "desk"), ("::/0", "six")] {
            table.insert(network(net), name);
        }
        let of = |address: &str| table.of(address.parse().unwrap()).copied().collect::<Vec<_>>();
        assert_eq!(of("192.0.2.7"), ["desk", "office", "any"]);
        assert_eq!(of("192.0.2.8"), ["office", "any"]);
        assert_eq!(of("8.8.8.8"), ["any"]);
        assert_eq!(of("2a00::1"), ["six"]);
    }

    #[test]
    fn private_and_metadata_addresses_are_not_public() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.20.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fe80::1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "172.32.0.1", "100.128.0.1"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        assert!(SPECIAL.iter().all(|text| text.parse::<Network>().is_ok()));
    }
}
