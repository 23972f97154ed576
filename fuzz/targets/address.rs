//! Addresses and the classes that admit them: one address has one judgement, however it is written.
//!
//! Input: 16 bytes of an address, then the text of a network, of a range or of an origin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use strongroom_core::origin::Host;
use strongroom_core::{Cidr, Network, Origin};

pub fn run(data: &[u8]) {
    let Some((bits, rest)) = data.split_first_chunk::<16>() else { return };
    let v6 = Ipv6Addr::from(*bits);
    let [a, b, c, d, ..] = *bits;
    let v4 = Ipv4Addr::new(a, b, c, d);
    let text = std::str::from_utf8(rest).unwrap_or_default();
    let mut networks = vec![Network::Public, Network::Private, Network::Loopback, Network::Imds];
    networks.extend(network(text));
    for address in [IpAddr::V6(v6), IpAddr::V4(v4)] {
        judged(address, &networks);
        written(address);
    }
    for network in &networks {
        let judge = |address: IpAddr| network.admits(address).map_err(|outside| outside.to_string());
        let plain = judge(v4.into());
        assert_eq!(plain, judge(v4.to_ipv6_mapped().into()), "{v4} mapped, in {network}");
        // What carries an IPv4 address is no way around its class.
        let octets = v4.octets().map(u16::from);
        let (high, low) = (octets[0] << 8 | octets[1], octets[2] << 8 | octets[3]);
        let carriers = [
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0),
            Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low),
        ];
        for carrier in carriers {
            assert!(judge(carrier.into()).is_err() || plain.is_ok(), "{carrier} carries {v4}, in {network}");
        }
    }
    origin(text);
}

fn network(text: &str) -> Option<Network> {
    for range in text.split(", ") {
        if let Ok(range) = Cidr::parse(range) {
            assert_eq!(Cidr::parse(&range.to_string()), Ok(range));
        }
    }
    let network = Network::parse(text).ok()?;
    assert_eq!(Network::parse(&network.to_string()).as_ref(), Ok(&network));
    Some(network)
}

fn judged(address: IpAddr, networks: &[Network]) {
    let address = address.to_canonical();
    let admits = |network: &Network| network.admits(address).is_ok();
    let words = [Network::Public, Network::Private, Network::Loopback, Network::Imds];
    assert!(words.iter().filter(|network| admits(network)).count() <= 1, "{address} is in two classes");
    let own = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    let never = own || address.is_multicast() || address.is_unspecified();
    for network in networks {
        match network {
            Network::Public | Network::Private => assert!(!never || !admits(network), "{address} in {network}"),
            Network::Loopback => assert_eq!(address.is_loopback(), admits(network), "{address} in {network}"),
            Network::Identity => assert!(!admits(network) || own, "{address} in {network}"),
            Network::Imds => assert_eq!(address.to_string() == "169.254.169.254", admits(network)),
            Network::Only(ranges) => {
                let listed = ranges.iter().any(|range| range.contains(address));
                assert!(!admits(network) || (listed && !never), "{address} in {network}");
            }
        }
    }
    if admits(&Network::Public) {
        let private = match address {
            IpAddr::V4(v4) => v4.is_private() || v4.is_documentation() || v4.octets()[0] == 0,
            IpAddr::V6(v6) => v6.is_unique_local() || (v6.segments()[0] & 0xe000 != 0x2000 && v6.segments()[0] != 0x64),
        };
        assert!(!private, "{address} is called public");
    }
}

/// An address that is written as such is that address and no name.
fn written(address: IpAddr) {
    let text = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    assert_eq!(Host::parse(&text), Ok(Host::Ip(address)), "{text}");
}

fn origin(text: &str) {
    for secure in [true, false] {
        let Ok(origin) = Origin::of_authority(secure, text) else { continue };
        assert_eq!(Origin::parse(&origin.to_string()).as_ref(), Ok(&origin));
        assert_eq!(Origin::of_authority(secure, &origin.authority()).as_ref(), Ok(&origin));
        assert_ne!(origin.port, 0);
        if let Host::Name(name) = &origin.host {
            assert!(name.parse::<IpAddr>().is_err(), "{name} is an address to others");
            assert!(!name.ends_with('.') && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
        }
    }
}
