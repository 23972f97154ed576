use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn only(ranges: &[&str]) -> Network {
    Network::only(ranges.iter().copied()).unwrap()
}

/// Every class and the address just inside and outside of each of its borders.
#[test]
fn classes_end_where_the_registries_say() {
    use Network::{Imds, Loopback, Private, Public};
    let networks = [Public, Private, Loopback, Imds];
    // Each address, and which of the four admits it, if any.
    let table: &[(&str, Option<Network>)] = &[
        ("0.0.0.0", None),
        ("0.255.255.255", None),
        ("1.0.0.0", Some(Public)),
        ("9.255.255.255", Some(Public)),
        ("10.0.0.0", Some(Private)),
        ("10.255.255.255", Some(Private)),
        ("11.0.0.0", Some(Public)),
        ("100.63.255.255", Some(Public)),
        ("100.64.0.0", Some(Private)),
        ("100.100.100.199", Some(Private)),
        ("100.100.100.200", None),
        ("100.100.100.201", Some(Private)),
        ("100.127.255.255", Some(Private)),
        ("100.128.0.0", Some(Public)),
        ("126.255.255.255", Some(Public)),
        ("127.0.0.0", Some(Loopback)),
        ("127.0.0.1", Some(Loopback)),
        ("127.255.255.255", Some(Loopback)),
        ("128.0.0.0", Some(Public)),
        ("168.63.129.15", Some(Public)),
        ("168.63.129.16", None),
        ("168.63.129.17", Some(Public)),
        ("169.253.255.255", Some(Public)),
        ("169.254.0.0", None),
        ("169.254.169.253", None),
        ("169.254.169.254", Some(Imds)),
        ("169.254.169.255", None),
        ("169.254.170.2", None),
        ("169.254.255.255", None),
        ("169.255.0.0", Some(Public)),
        ("172.15.255.255", Some(Public)),
        ("172.16.0.0", Some(Private)),
        ("172.31.255.255", Some(Private)),
        ("172.32.0.0", Some(Public)),
        ("191.255.255.255", Some(Public)),
        ("192.0.0.0", None),
        ("192.0.0.9", None),
        ("192.0.0.10", None),
        ("192.0.0.192", None),
        ("192.0.0.255", None),
        ("192.0.1.0", Some(Public)),
        ("192.0.1.255", Some(Public)),
        ("192.0.2.0", None),
        ("192.0.2.255", None),
        ("192.0.3.0", Some(Public)),
        ("192.88.98.255", Some(Public)),
        ("192.88.99.0", None),
        ("192.88.99.255", None),
        ("192.88.100.0", Some(Public)),
        ("192.167.255.255", Some(Public)),
        ("192.168.0.0", Some(Private)),
        ("192.168.255.255", Some(Private)),
        ("192.169.0.0", Some(Public)),
        ("198.17.255.255", Some(Public)),
        ("198.18.0.0", None),
        ("198.19.255.255", None),
        ("198.20.0.0", Some(Public)),
        ("198.51.99.255", Some(Public)),
        ("198.51.100.0", None),
        ("198.51.100.255", None),
        ("198.51.101.0", Some(Public)),
        ("203.0.112.255", Some(Public)),
        ("203.0.113.0", None),
        ("203.0.113.255", None),
        ("203.0.114.0", Some(Public)),
        ("223.255.255.255", Some(Public)),
        ("224.0.0.0", None),
        ("239.255.255.255", None),
        ("240.0.0.0", None),
        ("255.255.255.254", None),
        ("255.255.255.255", None),
        ("::", None),
        ("::1", Some(Loopback)),
        ("::2", None),
        ("100::", None),
        ("100::ffff:ffff:ffff:ffff", None),
        ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("2000::", Some(Public)),
        ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Public)),
        ("2001::", None),
        ("2001:0:808:808::f7f7:f7f7", None),
        ("2001:1::1", None),
        ("2001:4:112::1", None),
        ("2001:20::1", None),
        ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("2001:200::", Some(Public)),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", Some(Public)),
        ("2001:db8::", None),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("2001:db9::", Some(Public)),
        ("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Public)),
        ("2002::", None),
        ("2002:808:808::1", None),
        ("2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("2003::", Some(Public)),
        ("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Public)),
        ("3fff::", None),
        ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("3fff:1000::", Some(Public)),
        ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Public)),
        ("4000::", None),
        ("5f00::1", None),
        ("fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("fc00::", Some(Private)),
        ("fd00:ec1:ffff:ffff:ffff:ffff:ffff:ffff", Some(Private)),
        ("fd00:ec2::254", None),
        ("fd00:ec2::23", None),
        ("fd00:ec3::", Some(Private)),
        ("fd20:ce::254", None),
        ("fd20:ce::255", Some(Private)),
        ("fd00:c1::a9fe:a9fe", None),
        ("fd00:42::42", None),
        ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Private)),
        ("fe00::", None),
        ("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("fe80::", None),
        ("fe80::a9fe:a9fe", None),
        ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("fec0::", None),
        ("ff00::", None),
        ("ff02::1", None),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
        // IPv4 by other spellings: mapped is IPv4, NAT64 as good as what it carries, the rest is refused.
        ("::ffff:8.8.8.8", Some(Public)),
        ("::ffff:10.0.0.1", Some(Private)),
        ("::ffff:127.0.0.1", Some(Loopback)),
        ("::ffff:169.254.169.254", Some(Imds)),
        ("::ffff:0.0.0.0", None),
        ("64:ff9b::8.8.8.8", Some(Public)),
        ("64:ff9b::10.0.0.1", None),
        ("64:ff9b::127.0.0.1", None),
        ("64:ff9b::169.254.169.254", None),
        ("64:ff9b::168.63.129.16", None),
        ("64:ff9b:0:0:0:1:808:808", None),
        ("64:ff9b:1::8.8.8.8", None),
        ("::8.8.8.8", None),
        ("::127.0.0.1", None),
        ("::ffff:0:8.8.8.8", None),
    ];
    for (address, class) in table {
        for network in &networks {
            assert_eq!(network.admits(ip(address)).is_ok(), class.as_ref() == Some(network), "{address} in {network}");
        }
    }
}

#[test]
fn a_list_admits_what_it_covers_and_nothing_of_this_machine() {
    let everything = only(&["0.0.0.0/0", "::/0"]);
    for address in ["8.8.8.8", "10.0.0.1", "203.0.113.1", "::ffff:10.0.0.1", "2003::1", "fd00::1", "64:ff9b::10.0.0.1"]
    {
        assert_eq!(everything.admits(ip(address)), Ok(()), "{address}");
    }
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "169.254.1.1",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        // Teredo: the server, and the client with its bits turned.
        "2001:0:7f00:1::f7f7:f7f7",
        "2001:0:808:808::80ff:fffe",
    ] {
        assert!(everything.admits(ip(address)).is_err(), "{address}");
    }
    let ten = only(&["10.0.0.0/8", "10.9.0.0/16", "fd00::/8"]);
    for (address, admitted) in [
        ("9.255.255.255", false),
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("::ffff:10.1.1.1", true),
        ("::ffff:11.1.1.1", false),
        ("fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("fd00::", true),
        ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
        ("fe00::", false),
        // What it is carried by must be listed, and so must what is carried.
        ("64:ff9b::10.0.0.1", false),
    ] {
        assert_eq!(ten.admits(ip(address)).is_ok(), admitted, "{address}");
    }
    assert!(only(&["64:ff9b::/96"]).admits(ip("64:ff9b::10.0.0.1")).is_err());
    assert!(only(&["64:ff9b::/96", "10.0.0.0/8"]).admits(ip("64:ff9b::10.0.0.1")).is_ok());
    assert!(only(&["8.8.8.8/32"]).admits(ip("8.8.8.8")).is_ok());
    assert!(only(&["8.8.8.8/32"]).admits(ip("8.8.8.9")).is_err());
}

#[test]
fn ranges_have_one_spelling() {
    for good in ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00::/8", "2001:db8::1/128"] {
        assert_eq!(Cidr::parse(good).unwrap().to_string(), good);
    }
    for (bad, why) in [
        ("", InvalidNetwork::Form),
        ("10.0.0.0", InvalidNetwork::Form),
        ("10.0.0.0/", InvalidNetwork::Form),
        ("10.0.0.0/33", InvalidNetwork::Form),
        ("10.0.0.0/08", InvalidNetwork::Form),
        ("10.0.0.0/+8", InvalidNetwork::Form),
        ("10.0.0.0/-1", InvalidNetwork::Form),
        ("10.0.0.0/256", InvalidNetwork::Form),
        ("10.0.0.0/8/8", InvalidNetwork::Form),
        ("10.0.0/8", InvalidNetwork::Form),
        ("010.0.0.0/8", InvalidNetwork::Form),
        ("10.0.0.0 /8", InvalidNetwork::Form),
        ("::/129", InvalidNetwork::Form),
        ("[::]/0", InvalidNetwork::Form),
        ("fe80::%1/64", InvalidNetwork::Form),
        ("example.com/8", InvalidNetwork::Form),
        ("10.0.0.1/8", InvalidNetwork::HostBits),
        ("0.0.0.1/0", InvalidNetwork::HostBits),
        ("fd00::1/8", InvalidNetwork::HostBits),
        ("::ffff:10.0.0.0/104", InvalidNetwork::Mapped),
        ("::ffff:0:0/96", InvalidNetwork::Mapped),
    ] {
        assert_eq!(Cidr::parse(bad), Err(why), "{bad}");
    }
}

#[test]
fn networks_are_written_and_read_back() {
    let read = |json: &str| serde_json::from_str::<Network>(json);
    for (json, shown) in [
        ("\"public\"", "public"),
        ("\"private\"", "private"),
        ("\"loopback\"", "loopback"),
        ("\"imds\"", "imds"),
        ("[\"10.0.0.0/8\"]", "10.0.0.0/8"),
        ("[\"fd00::/8\", \"192.168.0.0/16\", \"10.0.0.0/8\"]", "10.0.0.0/8, 192.168.0.0/16, fd00::/8"),
    ] {
        let network = read(json).unwrap();
        assert_eq!(network.to_string(), shown);
        assert_eq!(Network::parse(shown), Ok(network));
    }
    assert_eq!(Network::default(), Network::Public);
    let many = |count: usize| (0..count).map(|n| format!("\"10.{n}.0.0/16\"")).collect::<Vec<_>>().join(",");
    assert!(read(&format!("[{}]", many(MAX_RANGES))).is_ok());
    let too_many = format!("[{}]", many(MAX_RANGES + 1));
    for bad in [
        "\"Public\"",
        "\"any\"",
        "\"\"",
        "\"10.0.0.0/8\"",
        "[]",
        "[\"public\"]",
        "[1]",
        "1",
        "null",
        "{}",
        "[\"10.0.0.0/8\", \"10.0.0.0/8\"]",
        // Ranges that could never admit anything: such a config would only look as if it allowed something.
        "[\"127.0.0.0/8\"]",
        "[\"127.0.0.1/32\"]",
        "[\"169.254.169.254/32\"]",
        "[\"::1/128\"]",
        "[\"fe80::/64\"]",
        &too_many,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    for bad in ["", "Public", "public, private", "10.0.0.0/8,11.0.0.0/8", "10.0.0.0/8, "] {
        assert!(Network::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_refusal_says_what_the_address_is() {
    let words = |address: &str| Network::Public.admits(ip(address)).unwrap_err().to_string();
    assert_eq!(words("::ffff:10.0.0.1"), "10.0.0.1 is a private address (RFC 1918)");
    assert_eq!(words("64:ff9b::127.0.0.1"), "127.0.0.1 is a loopback address of this machine");
    assert_eq!(words("168.63.129.16"), "168.63.129.16 is an address at which a cloud answers its own machines");
    let refused = Network::Private.admits(ip("8.8.8.8")).unwrap_err();
    assert_eq!((refused.address(), refused.in_words()), (ip("8.8.8.8"), "a public address"));
}

/// The same judgement made by text: prefixes of strings of `0` and `1`.
mod naive {
    use super::*;

    fn bits(address: IpAddr) -> String {
        match address {
            IpAddr::V4(v4) => v4.octets().iter().map(|o| format!("{o:08b}")).collect(),
            IpAddr::V6(v6) => v6.octets().iter().map(|o| format!("{o:08b}")).collect(),
        }
    }

    pub fn within(address: IpAddr, range: &str) -> bool {
        let (base, prefix) = range.split_once('/').unwrap();
        let base = ip(base);
        base.is_ipv4() == address.is_ipv4() && bits(address).starts_with(&bits(base)[..prefix.parse().unwrap()])
    }

    fn any(address: IpAddr, ranges: &str) -> bool {
        ranges.split_whitespace().any(|range| within(address, range))
    }

    const METADATA: &str = "168.63.129.16/32 169.254.169.254/32 169.254.170.2/32 169.254.170.23/32 \
        100.100.100.200/32 192.0.0.192/32 fd00:ec2::/32 fd20:ce::254/128 fd00:c1::a9fe:a9fe/128 fd00:42::42/128";
    const NEVER: &str = "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 255.255.255.255/32 ::/128 ::1/128 \
        fe80::/10 ff00::/8 64:ff9b:1::/48";
    const NOT_GLOBAL: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 \
        192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 \
        224.0.0.0/3 ::/3 4000::/2 8000::/1 2001::/23 2001:db8::/32 2002::/16 3fff::/20";
    const PRIVATE: &str = "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7";

    fn one(network: &Network, address: IpAddr) -> bool {
        match network {
            Network::Public => {
                !any(address, METADATA) && (!any(address, NOT_GLOBAL) || within(address, "64:ff9b::/96"))
            }
            Network::Private => any(address, PRIVATE) && !any(address, METADATA),
            Network::Loopback => any(address, "127.0.0.0/8 ::1/128"),
            Network::Imds => address == ip("169.254.169.254"),
            Network::Identity => {
                any(address, "127.0.0.0/8 ::1/128 169.254.0.0/16 fe80::/10") && !any(address, METADATA)
            }
            Network::Only(ranges) => {
                !any(address, METADATA)
                    && !any(address, NEVER)
                    && ranges.iter().any(|range| within(address, &range.to_string()))
            }
        }
    }

    fn v4(bits: &str) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(bits, 2).unwrap()))
    }

    pub fn admits(network: &Network, address: IpAddr) -> bool {
        let text = bits(address);
        if within(address, "::ffff:0:0/96") {
            return one(network, v4(&text[96..]));
        }
        let mut all = vec![address];
        if any(address, "64:ff9b::/96 ::/96") && !any(address, "::/127") {
            all.push(v4(&text[96..]));
        }
        if within(address, "2002::/16") {
            all.push(v4(&text[16..48]));
        }
        if within(address, "2001::/32") {
            all.push(v4(&text[32..64]));
            let turned: String = text[96..].chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
            all.push(v4(&turned));
        }
        all.into_iter().all(|address| one(network, address))
    }
}

/// Addresses around the borders of everything above: a uniformly random one is nearly always public.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let near4 = (0..TABLE.len(), any::<bool>(), -2_i64..=2).prop_filter_map("IPv4", |(index, end, off)| {
        let (Cidr { base: IpAddr::V4(base), prefix }, _) = TABLE[index] else { return None };
        let size = if end { (1_i64 << (32 - prefix)) - 1 } else { 0 };
        Some(Ipv4Addr::from_bits((i64::from(base.to_bits()) + size + off) as u32))
    });
    let near6 = (0..TABLE.len(), any::<bool>(), -2_i8..=2).prop_filter_map("IPv6", |(index, end, off)| {
        let (Cidr { base: IpAddr::V6(base), prefix }, _) = TABLE[index] else { return None };
        let size = if end { u128::MAX.checked_shr(prefix.into()).unwrap_or(0) } else { 0 };
        Some(Ipv6Addr::from_bits(base.to_bits().wrapping_add(size).wrapping_add_signed(off.into())))
    });
    let v4 = prop_oneof![near4, any::<u32>().prop_map(Ipv4Addr::from_bits)].boxed();
    let carried = (v4.clone(), v4.clone(), 0..6_u8).prop_map(|(a, b, form)| {
        let (a, b) = (u128::from(a.to_bits()), u128::from(b.to_bits()));
        Ipv6Addr::from_bits(match form {
            0 => 0xffff << 32 | a,
            1 => 0x64_ff9b << 96 | a,
            2 => 0x64_ff9b_0001 << 80 | a,
            3 => 0x2002 << 112 | a << 80 | b,
            4 => 0x2001_0000 << 96 | a << 64 | (b ^ 0xffff_ffff),
            _ => a,
        })
    });
    prop_oneof![
        v4.prop_map(IpAddr::V4),
        near6.prop_map(IpAddr::V6),
        carried.prop_map(IpAddr::V6),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ]
}

fn networks() -> impl Strategy<Value = Network> {
    let range = (addresses(), 0..=128_u8).prop_map(|(address, prefix)| {
        let base = address.to_canonical();
        let range = Cidr { base, prefix: if base.is_ipv4() { prefix % 33 } else { prefix } };
        Cidr { base: range.masked(base).unwrap(), ..range }.to_string()
    });
    let list = prop::collection::vec(range, 1..4)
        .prop_filter_map("ranges", |ranges| Network::only(ranges.iter().map(String::as_str)).ok());
    prop_oneof![
        Just(Network::Public),
        Just(Network::Private),
        Just(Network::Loopback),
        Just(Network::Imds),
        Just(only(&["0.0.0.0/0", "::/0"])),
        list,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn judging_agrees_with_a_second_reading_of_the_registries(network in networks(), address in addresses()) {
        prop_assert_eq!(network.admits(address).is_ok(), naive::admits(&network, address));
    }

    #[test]
    fn what_is_shown_is_read_back(network in networks()) {
        prop_assert_eq!(Network::parse(&network.to_string()), Ok(network));
    }

    #[test]
    fn no_text_makes_the_parsers_fall(text in "\\PC*|[0-9a-f:./, ]{0,40}") {
        if let Ok(network) = Network::parse(&text) {
            prop_assert_eq!(Network::parse(&network.to_string()), Ok(network));
        }
    }
}
