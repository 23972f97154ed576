//! Where an HTTP request goes: scheme, host and port, parsed once.
//!
//! The same parser reads the origin of a manifest's rule, of a mount's config, and the authority of
//! what a guest asks for, so that no two of them can disagree on what a text means. It is stricter
//! than RFC 3986 allows: no user information, no other spelling of an address, no trailing dot.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host, in the one form that is compared and looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name: lower-case labels, no trailing dot.
    Name(String),
    /// An address, written as such. It is never looked up.
    Ip(IpAddr),
}

/// Scheme, host and port. The port is always known: the scheme's where none is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Whether it is `https`.
    pub secure: bool,
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

/// Why a text is no origin. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// Neither `http://` nor `https://`.
    #[error("it begins with https:// or http://")]
    Scheme,
    /// Something after the host and port.
    #[error("it is a scheme, a host and perhaps a port, without a path, a query or a user")]
    Extra,
    /// No host, or one that is written in a way that has two meanings.
    #[error(
        "its host is a DNS name without a trailing dot, an IPv4 address in four decimal numbers, or an IPv6 address in brackets"
    )]
    Host,
    /// No port number.
    #[error("its port is a number from 1 to 65535 without leading zeros")]
    Port,
}

impl Host {
    /// Reads a host as it stands in an authority: `name`, `192.0.2.1`, `[2001:db8::1]`.
    ///
    /// # Errors
    /// [`InvalidOrigin::Host`], also for what other parsers would take as an address: `127.1`,
    /// `0x7f.0.0.1`, `2130706433`.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
            return address.map(|address| Self::Ip(address.into())).ok_or(InvalidOrigin::Host);
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X") {
            let address = text.parse::<Ipv4Addr>().map_err(|_| InvalidOrigin::Host)?;
            return Ok(Self::Ip(address.into()));
        }
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if text.len() > 253 || !text.split('.').all(label) {
            return Err(InvalidOrigin::Host);
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

impl Origin {
    /// Reads `https://host[:port]`, with or without a final slash.
    ///
    /// # Errors
    /// [`InvalidOrigin`]
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let (secure, rest) = split_scheme(text)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@', '\\']) {
            return Err(InvalidOrigin::Extra);
        }
        Self::of_authority(secure, authority)
    }

    /// Reads `host[:port]`.
    ///
    /// # Errors
    /// [`InvalidOrigin`]
    pub fn of_authority(secure: bool, authority: &str) -> Result<Self, InvalidOrigin> {
        if authority.contains('@') {
            return Err(InvalidOrigin::Extra);
        }
        // The colons of an IPv6 address stand in brackets.
        let bracket = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority.get(bracket..).and_then(|rest| rest.split_once(':')) {
            Some((before, port)) => {
                let end = bracket + before.len();
                (authority.get(..end).unwrap_or_default(), Some(port))
            }
            None => (authority, None),
        };
        let port = match port {
            None => default_port(secure),
            Some(digits) => {
                let plain = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
                digits.parse().ok().filter(|_| plain).ok_or(InvalidOrigin::Port)?
            }
        };
        Ok(Self { secure, host: Host::parse(host)?, port })
    }

    /// Takes a URL apart: its origin, and all that stands behind the authority as it is written.
    ///
    /// # Errors
    /// [`InvalidOrigin`]
    pub fn of_url(url: &str) -> Result<(Self, &str), InvalidOrigin> {
        let (secure, rest) = split_scheme(url)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at_checked(end).ok_or(InvalidOrigin::Host)?;
        Ok((Self::of_authority(secure, authority)?, behind))
    }

    /// `host`, or `host:port` where the port is not the scheme's.
    pub fn authority(&self) -> String {
        if self.port == default_port(self.secure) {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

pub(crate) fn split_scheme(text: &str) -> Result<(bool, &str), InvalidOrigin> {
    match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => Ok((true, rest)),
        (None, Some(rest)) => Ok((false, rest)),
        (None, None) => Err(InvalidOrigin::Scheme),
    }
}

const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_form() {
        for (text, shown) in [
            ("https://V.Vault.Azure.Net", "https://v.vault.azure.net"),
            ("https://v.x/", "https://v.x"),
            ("https://v.x:443", "https://v.x"),
            ("https://v.x:8443", "https://v.x:8443"),
            ("http://v.x:443", "http://v.x:443"),
            ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
            ("https://[::1]:8200", "https://[::1]:8200"),
            ("https://[2001:DB8:0::1]", "https://[2001:db8::1]"),
            ("https://a_b.x", "https://a_b.x"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_url_is_an_origin_and_what_stands_behind_it() {
        for (url, origin, behind) in [
            ("https://V.x/a/b?c=d#e", "https://v.x", "/a/b?c=d#e"),
            ("http://127.0.0.1:40342?a=b", "http://127.0.0.1:40342", "?a=b"),
            ("https://v.x#/a", "https://v.x", "#/a"),
            ("https://v.x", "https://v.x", ""),
        ] {
            let parts = Origin::of_url(url).unwrap();
            assert_eq!((parts.0.to_string().as_str(), parts.1), (origin, behind), "{url}");
        }
        for url in ["ftp://v.x/", "/a", "https:///a", "https://u@v.x/a", "https://v.x\\@evil/a", "x?https://v.x/"] {
            assert!(Origin::of_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_could_mean_two_hosts_is_none() {
        for text in [
            "https://",
            "https:///",
            "ftp://v.x",
            "HTTPS://v.x",
            "//v.x",
            "v.x",
            "https://u@v.x",
            "https://u:p@v.x",
            "https://v.x@evil",
            "https://v.x/p",
            "https://v.x?q",
            "https://v.x#f",
            "https://v.x\\@evil",
            "https://v.x.",
            "https://v..x",
            "https://.x",
            "https://-v.x",
            "https://v-.x",
            "https://v x",
            "https://v%2ex",
            "https://v\u{fc}.x",
            "https://v\u{3002}x",
            "https://v.x:",
            "https://v.x:0",
            "https://v.x:080",
            "https://v.x:65536",
            "https://v.x:+80",
            "https://v.x:80:80",
            "https://127.1",
            "https://127.0.0.01",
            "https://0x7f.0.0.1",
            "https://0x7f000001",
            "https://2130706433",
            "https://1.2.3.4.5",
            "https://999.1.1.1",
            "https://[::1",
            "https://::1",
            "https://[::1%25eth0]",
            "https://[v1.x]",
            "https://[::1]x:80",
            &format!("https://{}.x", "a".repeat(64)),
            &format!("https://{}", "a.".repeat(127) + "aa"),
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
