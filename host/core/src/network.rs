//! Which addresses a rule may reach: classes of IP addresses, judged without asking anybody.
//!
//! A [`Network`] is a class that a rule names; [`Network::admits`] says whether an address is in it.
//! The judgement follows IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890, RFC 8190):
//! one table below holds every range and where it comes from. It is made on the address that packets
//! would go to, so an IPv6 address that carries an IPv4 one is judged as both. This module must never
//! look at names: a name says nothing about where packets go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Unexpected, Visitor};

#[cfg(test)]
mod tests;

/// The most ranges in a [`Network::Only`]: enough for any site, few enough for a person to read.
pub const MAX_RANGES: usize = 32;

/// The one address of [`Network::Imds`].
pub const IMDS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A class of addresses that a rule may reach.
///
/// Written as `"public"`, `"private"`, `"loopback"`, `"imds"`, or as a list of ranges. Its `Display`
/// is canonical and is read back by [`Network::parse`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Network {
    /// Addresses that are globally reachable, less those at which clouds answer their own machines.
    #[default]
    Public,
    /// RFC 1918, unique local (RFC 4193) and shared (RFC 6598) addresses, less the same.
    Private,
    /// `127.0.0.0/8` and `::1`.
    Loopback,
    /// `169.254.169.254`, the clouds' metadata service, and nothing else.
    Imds,
    /// Loopback and link-local addresses, less the clouds' metadata services: where the environment
    /// names an endpoint for identities. Only for rules with `endpoint`; no config can say it.
    Identity,
    /// These ranges: 1 to [`MAX_RANGES`], sorted, each once. Whatever they cover, they never admit
    /// loopback, link-local, unspecified and multicast addresses, a local NAT64's, or a cloud's metadata service.
    Only(Vec<Cidr>),
}

/// A range of addresses, such as `10.0.0.0/8`. The bits behind the prefix are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no [`Cidr`] or no [`Network`]. The messages never repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// No class and no range.
    #[error("a network is public, private, loopback, imds, or a list of ranges such as 10.0.0.0/8")]
    Form,
    /// `10.1.0.0/8`.
    #[error("a range has no bits set behind its prefix: 10.0.0.0/8, not 10.1.0.0/8")]
    HostBits,
    /// `::ffff:10.0.0.0/104`.
    #[error("a range of IPv4 addresses is written as such: 10.0.0.0/8, not ::ffff:10.0.0.0/104")]
    Mapped,
    /// A range that no address could ever be admitted from.
    #[error("a range holds no address that may be listed: loopback and imds are written as these words")]
    Never,
    /// No range, or too many.
    #[error("a list of ranges has 1 to 32 of them")]
    Count,
    /// The same range twice.
    #[error("a list of ranges names each once")]
    Twice,
}

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Public,
    Private,
    Shared,
    UniqueLocal,
    Loopback,
    LinkLocal,
    ThisNetwork,
    Multicast,
    Metadata,
    LocalNat64,
    /// Tunnels, protocol assignments, documentation, benchmarks, and what nobody was given.
    Special,
}

/// An address is not in the class that was asked for. `Display` says what kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {}", .class.in_words())]
pub struct Outside {
    address: IpAddr,
    class: Class,
}

impl Network {
    /// Reads what `Display` writes: a word, or ranges separated by `, `.
    ///
    /// # Errors
    /// [`InvalidNetwork`].
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        match Self::word(text) {
            Some(network) => Ok(network),
            None => Self::only(text.split(", ")),
        }
    }

    /// All addresses that a list of ranges can admit.
    pub fn listable() -> Self {
        Self::Only(vec![Cidr::v4([0; 4], 0), Cidr::v6([0; 8], 0)])
    }

    /// The network of these ranges.
    ///
    /// # Errors
    /// [`InvalidNetwork`].
    pub fn only<'a>(ranges: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidNetwork> {
        let mut only = Vec::new();
        for range in ranges {
            if only.len() == MAX_RANGES {
                return Err(InvalidNetwork::Count);
            }
            let range = Cidr::parse(range)?;
            if never().any(|barred| barred.covers(&range)) {
                return Err(InvalidNetwork::Never);
            }
            only.push(range);
        }
        let count = only.len();
        only.sort();
        only.dedup();
        match count {
            0 => Err(InvalidNetwork::Count),
            _ if only.len() != count => Err(InvalidNetwork::Twice),
            _ => Ok(Self::Only(only)),
        }
    }

    /// Whether what is sent there reaches this machine, its own cloud's metadata service or nobody: a secret
    /// may go there without TLS.
    pub const fn is_near(&self) -> bool {
        matches!(self, Self::Loopback | Self::Imds | Self::Identity)
    }

    fn word(text: &str) -> Option<Self> {
        match text {
            "public" => Some(Self::Public),
            "private" => Some(Self::Private),
            "loopback" => Some(Self::Loopback),
            "imds" => Some(Self::Imds),
            "identity" => Some(Self::Identity),
            _ => None,
        }
    }

    /// Whether packets may be sent to `address`.
    ///
    /// An address that carries IPv4 addresses (RFC 6052 NAT64, RFC 3056 6to4, RFC 4380 Teredo, and
    /// the IPv4-compatible ones of RFC 4291) must be in the class, and so must each that it carries.
    /// An IPv4-mapped one is the IPv4 address, as it is to the kernel.
    ///
    /// # Errors
    /// [`Outside`], if it is not in the class.
    pub fn admits(&self, address: IpAddr) -> Result<(), Outside> {
        let address = address.to_canonical();
        self.admits_itself(address)?;
        for carried in carried(address).into_iter().flatten() {
            self.admits_itself(IpAddr::V4(carried))?;
        }
        Ok(())
    }

    fn admits_itself(&self, address: IpAddr) -> Result<(), Outside> {
        let class = classify(address);
        let admitted = match self {
            Self::Public => class == Class::Public,
            Self::Private => matches!(class, Class::Private | Class::Shared | Class::UniqueLocal),
            Self::Loopback => class == Class::Loopback,
            Self::Imds => address == IpAddr::V4(IMDS),
            Self::Identity => matches!(class, Class::Loopback | Class::LinkLocal),
            Self::Only(ranges) => !class.is_never_listed() && ranges.iter().any(|range| range.contains(address)),
        };
        if admitted { Ok(()) } else { Err(Outside { address, class }) }
    }
}

impl Outside {
    /// The address, in canonical form; where it was one that another carries, the carried one.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// What kind of address it is, such as `a private address (RFC 1918)`.
    pub fn in_words(&self) -> &'static str {
        self.class.in_words()
    }
}

impl Class {
    fn in_words(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Private => "a private address (RFC 1918)",
            Self::Shared => "a carrier's shared address (RFC 6598)",
            Self::UniqueLocal => "a private address (RFC 4193)",
            Self::Loopback => "a loopback address of this machine",
            Self::LinkLocal => "a link-local address",
            Self::ThisNetwork => "an address of this very machine or network (RFC 791)",
            Self::Multicast => "a multicast or broadcast address",
            Self::Metadata => "an address at which a cloud answers its own machines",
            Self::LocalNat64 => "an address of a local NAT64 (RFC 8215)",
            Self::Special => "an address of a special purpose (RFC 6890)",
        }
    }

    /// Whether no list of ranges admits it. A range that somebody wrote for a network is not meant
    /// for the services of the very machine, which lie inside it.
    fn is_never_listed(self) -> bool {
        matches!(
            self,
            Self::Loopback
                | Self::LinkLocal
                | Self::ThisNetwork
                | Self::Multicast
                | Self::Metadata
                // Where the IPv4 address stands in it depends on the site, so it cannot be judged.
                | Self::LocalNat64
        )
    }
}

/// Every range that is not simply public, the more specific before the one it lies in.
const TABLE: &[(Cidr, Class)] = &[
    // What clouds answer their own machines on, as their documentation says. Azure's is in public space.
    (Cidr::v4([168, 63, 129, 16], 32), Class::Metadata), // Azure, wire server
    (Cidr::v4([169, 254, 169, 254], 32), Class::Metadata), // all of them
    (Cidr::v4([169, 254, 170, 2], 32), Class::Metadata), // AWS, containers
    (Cidr::v4([169, 254, 170, 23], 32), Class::Metadata), // AWS, pods
    (Cidr::v4([100, 100, 100, 200], 32), Class::Metadata), // Alibaba
    (Cidr::v4([192, 0, 0, 192], 32), Class::Metadata),   // Oracle, older
    (Cidr::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), Class::Metadata), // AWS: 254, pods 23, DNS 253, time 123
    (Cidr::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), Class::Metadata), // Google
    (Cidr::v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), Class::Metadata), // Oracle
    (Cidr::v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), Class::Metadata), // Scaleway
    // IANA IPv4 Special-Purpose Address Registry.
    (Cidr::v4([0, 0, 0, 0], 8), Class::ThisNetwork), // RFC 791; Linux takes 0.0.0.0 for itself
    (Cidr::v4([10, 0, 0, 0], 8), Class::Private),    // RFC 1918
    (Cidr::v4([100, 64, 0, 0], 10), Class::Shared),  // RFC 6598
    (Cidr::v4([127, 0, 0, 0], 8), Class::Loopback),  // RFC 1122
    (Cidr::v4([169, 254, 0, 0], 16), Class::LinkLocal), // RFC 3927
    (Cidr::v4([172, 16, 0, 0], 12), Class::Private), // RFC 1918
    (Cidr::v4([192, 0, 0, 0], 24), Class::Special),  // RFC 6890; its globally reachable .9 and .10 too
    (Cidr::v4([192, 0, 2, 0], 24), Class::Special),  // RFC 5737, documentation
    (Cidr::v4([192, 88, 99, 0], 24), Class::Special), // RFC 7526, 6to4 relays, withdrawn
    (Cidr::v4([192, 168, 0, 0], 16), Class::Private), // RFC 1918
    (Cidr::v4([198, 18, 0, 0], 15), Class::Special), // RFC 2544, benchmarks
    (Cidr::v4([198, 51, 100, 0], 24), Class::Special), // RFC 5737
    (Cidr::v4([203, 0, 113, 0], 24), Class::Special), // RFC 5737
    (Cidr::v4([224, 0, 0, 0], 4), Class::Multicast), // RFC 5771
    (Cidr::v4([255, 255, 255, 255], 32), Class::Multicast), // RFC 919, broadcast
    (Cidr::v4([240, 0, 0, 0], 4), Class::Special),   // RFC 1112, reserved
    (Cidr::v4([0, 0, 0, 0], 0), Class::Public),
    // IANA IPv6 Special-Purpose Address Registry. IPv4-mapped addresses (::ffff:0:0/96) never come
    // here: they are IPv4.
    (Cidr::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Class::Loopback), // RFC 4291
    (Cidr::v6([0, 0, 0, 0, 0, 0, 0, 0], 128), Class::ThisNetwork), // RFC 4291, unspecified
    (Cidr::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), Class::Public), // RFC 6052: as good as what it carries
    (Cidr::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Class::LocalNat64), // RFC 8215
    (Cidr::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Class::UniqueLocal), // RFC 4193
    (Cidr::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Class::LinkLocal), // RFC 4291
    (Cidr::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Class::Multicast), // RFC 4291
    (Cidr::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Class::Special), // RFC 2928: Teredo, benchmarks, ORCHID, its exceptions too
    (Cidr::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Class::Special), // RFC 3849, documentation
    (Cidr::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), Class::Special), // RFC 3056, 6to4
    (Cidr::v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Class::Special), // RFC 9637, documentation
    (Cidr::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3), Class::Public),   // RFC 4291, global unicast
    // The rest: discard (RFC 6666), dummy (RFC 9780), segment routing (5f00::/16, RFC 9602), site-local
    // (RFC 3879), IPv4-compatible (RFC 4291), and what IANA has given to nobody.
    (Cidr::v6([0, 0, 0, 0, 0, 0, 0, 0], 0), Class::Special),
];

fn classify(address: IpAddr) -> Class {
    TABLE.iter().find(|(range, _)| range.contains(address)).map_or(Class::Special, |(_, class)| *class)
}

fn never() -> impl Iterator<Item = &'static Cidr> {
    TABLE.iter().filter(|(_, class)| class.is_never_listed()).map(|(range, _)| range)
}

/// The IPv4 addresses that packets to `address` may end at.
fn carried(address: IpAddr) -> [Option<Ipv4Addr>; 2] {
    let IpAddr::V6(v6) = address else { return [None, None] };
    let bits = v6.to_bits();
    let at = |shift: u32| Some(Ipv4Addr::from_bits(u32::try_from(bits >> shift & 0xffff_ffff).unwrap_or_default()));
    match v6.segments() {
        // `::` and `::1` are no IPv4-compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None, None],
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0, ..] => [at(0), None],
        [0x2002, ..] => [at(80), None],
        // RFC 4380: the server, and the client with every bit turned.
        [0x2001, 0, ..] => [at(64), at(0).map(|client| !client)],
        _ => [None, None],
    }
}

impl Cidr {
    const fn v4(base: [u8; 4], prefix: u8) -> Self {
        let [a, b, c, d] = base;
        Self { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    const fn v6(base: [u16; 8], prefix: u8) -> Self {
        let [a, b, c, d, e, f, g, h] = base;
        Self { base: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
    }

    /// Reads `ADDRESS/PREFIX`. There is one way to write a prefix (no `/08`), and no default.
    ///
    /// # Errors
    /// [`InvalidNetwork`].
    pub fn parse(text: &str) -> Result<Self, InvalidNetwork> {
        let (base, prefix) = text.split_once('/').ok_or(InvalidNetwork::Form)?;
        let base: IpAddr = base.parse().map_err(|_| InvalidNetwork::Form)?;
        let canonical = prefix.bytes().all(|b| b.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
        let width = if base.is_ipv4() { 32 } else { 128 };
        let prefix: u8 =
            prefix.parse().ok().filter(|prefix| canonical && *prefix <= width).ok_or(InvalidNetwork::Form)?;
        if matches!(base, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(InvalidNetwork::Mapped);
        }
        let range = Self { base, prefix };
        if range.masked(base) == Some(base) { Ok(range) } else { Err(InvalidNetwork::HostBits) }
    }

    /// Whether `address` is in it. An IPv4-mapped address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.masked(address.to_canonical()) == Some(self.base)
    }

    /// Whether all of `other` is in it.
    fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.masked(other.base) == Some(self.base)
    }

    /// `address` without the bits behind the prefix; none for one of the other family.
    fn masked(&self, address: IpAddr) -> Option<IpAddr> {
        match (self.base, address) {
            (IpAddr::V4(_), IpAddr::V4(v4)) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(self.prefix.into())).unwrap_or_default();
                Some(IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask)))
            }
            (IpAddr::V6(_), IpAddr::V6(v6)) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(self.prefix.into())).unwrap_or_default();
                Some(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Private => f.write_str("private"),
            Self::Loopback => f.write_str("loopback"),
            Self::Imds => f.write_str("imds"),
            Self::Identity => f.write_str("identity"),
            Self::Only(ranges) => {
                for (index, range) in ranges.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{range}")?;
                }
                Ok(())
            }
        }
    }
}

impl<'de> serde::Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NetworkVisitor;

        impl<'de> Visitor<'de> for NetworkVisitor {
            type Value = Network;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"public\", \"private\", \"loopback\", \"imds\", or a list of ranges such as \"10.0.0.0/8\"",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Network, E> {
                Network::word(text).ok_or_else(|| E::invalid_value(Unexpected::Other("text"), &self))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Network, A::Error> {
                let mut ranges: Vec<String> = Vec::new();
                while let Some(range) = items.next_element()? {
                    ranges.push(range);
                    if ranges.len() > MAX_RANGES {
                        break;
                    }
                }
                Network::only(ranges.iter().map(String::as_str)).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(NetworkVisitor)
    }
}

impl JsonSchema for Network {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "enum": ["public", "private", "loopback", "imds"] },
                {
                    "type": "array",
                    "items": { "type": "string", "pattern": r"^[0-9a-f.:]+/\d{1,3}$", "examples": ["10.0.0.0/8"] },
                    "minItems": 1,
                    "maxItems": MAX_RANGES,
                    "uniqueItems": true
                }
            ]
        })
    }
}
