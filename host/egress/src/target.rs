//! The path and the query of a request, taken apart once.
//!
//! What a server could read in two ways is no target: each segment, key and value is decoded exactly
//! once, here, and what leaves is written anew from the decoded parts. So the policy, the wire and
//! the backend speak of the same path.

use std::fmt::Write;

/// The longest path with its query, in bytes.
pub const MAX_BYTES: usize = 8 << 10;

/// The most segments, and the most query pairs.
const MAX_PARTS: usize = 64;

/// A decoded path and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The segments after the first slash. Only the last may be empty: then the path ends in a slash. (Others
    /// of an endpoint may be, too.)
    pub segments: Vec<String>,
    /// The query, in order; no key twice.
    pub query: Vec<(String, String)>,
}

/// Why a text is no target. Says what is wrong, and never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidTarget {
    #[error("its path does not begin with /")]
    Relative,
    #[error("its path and query are longer than 8 KiB, or have more than 64 parts")]
    TooLong,
    #[error("its path has an empty segment (//)")]
    EmptySegment,
    #[error("its path has a `.` or `..` segment")]
    DotSegment,
    #[error("it has a fragment")]
    Fragment,
    #[error("it has a character that must be percent-encoded")]
    Character,
    #[error("it has a percent sign that does not encode a byte of UTF-8 text")]
    Encoding,
    #[error("it hides a slash, a backslash, a dot or a control character in percent-encoding")]
    Hidden,
    #[error("its query has a key twice, or an empty one")]
    Query,
}

impl Target {
    /// Reads the path and query of a request line, RFC 9112 section 3.2.1 (origin form).
    ///
    /// # Errors
    /// [`InvalidTarget`]
    pub fn parse(text: &str) -> Result<Self, InvalidTarget> {
        Self::read(text, false)
    }

    /// As [`Target::parse`], but with empty segments inside the path: some that the environment names have
    /// them (the identity endpoint of GitHub's runners). Never for what a rule's own path is compared with.
    ///
    /// # Errors
    /// [`InvalidTarget`]
    pub fn parse_endpoint(text: &str) -> Result<Self, InvalidTarget> {
        Self::read(text, true)
    }

    fn read(text: &str, doubled: bool) -> Result<Self, InvalidTarget> {
        if text.len() > MAX_BYTES {
            return Err(InvalidTarget::TooLong);
        }
        if text.contains('#') {
            return Err(InvalidTarget::Fragment);
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let inner = path.strip_prefix('/').ok_or(InvalidTarget::Relative)?;
        let count = inner.split('/').count();
        if count > MAX_PARTS || query.split('&').count() > MAX_PARTS {
            return Err(InvalidTarget::TooLong);
        }
        let mut segments = Vec::with_capacity(count);
        for (index, segment) in inner.split('/').enumerate() {
            if segment.is_empty() && index + 1 != count && !doubled {
                return Err(InvalidTarget::EmptySegment);
            }
            if segment == "." || segment == ".." {
                return Err(InvalidTarget::DotSegment);
            }
            // RFC 3986: pchar, but for the percent sign itself.
            let plain = |b: u8| is_unreserved(b) || b"!$&'()*+,;=:@".contains(&b);
            segments.push(decode(segment, plain, b"/\\.")?);
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|_| !query.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            // A plus sign is a blank to some and a plus to others.
            let plain = |b: u8| is_unreserved(b) || b"!$'()*,;:@/?=".contains(&b);
            // A slash has no meaning of its own in a query (RFC 3986, 3.4), so nothing hides behind it.
            let (key, value) = (decode(key, plain, b"")?, decode(value, plain, b"")?);
            if key.is_empty() || pairs.iter().any(|(known, _)| *known == key) {
                return Err(InvalidTarget::Query);
            }
            pairs.push((key, value));
        }
        Ok(Self { segments, query: pairs })
    }

    /// The one text of this target.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            text.push('/');
            encode(&mut text, segment, |b| is_unreserved(b) || b"!$&'()*+,;=:@".contains(&b));
        }
        let mut mark = '?';
        for (key, value) in &self.query {
            text.push(mark);
            encode(&mut text, key, is_unreserved);
            text.push('=');
            encode(&mut text, value, is_unreserved);
            mark = '&';
        }
        text
    }
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~".contains(&b)
}

fn encode(out: &mut String, text: &str, plain: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn decode(text: &str, plain: impl Fn(u8) -> bool, hidden: &[u8]) -> Result<String, InvalidTarget> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            if !plain(byte) {
                return Err(InvalidTarget::Character);
            }
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or(InvalidTarget::Encoding);
        let byte = u8::try_from(digit()? * 16 + digit()?).map_err(|_| InvalidTarget::Encoding)?;
        if byte < b' ' || byte == 0x7f || hidden.contains(&byte) {
            return Err(InvalidTarget::Hidden);
        }
        bytes.push(byte);
    }
    let text = String::from_utf8(bytes).map_err(|_| InvalidTarget::Encoding)?;
    // C1 controls are two bytes each.
    if text.chars().any(char::is_control) { Err(InvalidTarget::Hidden) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_has_one_text() {
        for (text, written) in [
            ("/", "/"),
            ("/secrets/n", "/secrets/n"),
            ("/secrets/n/", "/secrets/n/"),
            ("/a%20b/%7e/%41", "/a%20b/~/A"),
            ("/a:b@c", "/a:b@c"),
            ("/%25", "/%25"),
            ("/%252e", "/%252e"),
            ("/%C3%bc", "/%C3%BC"),
            ("/p?", "/p"),
            ("/p?a=1&b", "/p?a=1&b="),
            ("/p?a=x/y:z", "/p?a=x%2Fy%3Az"),
            ("/p?a=https%3a%2f%2fx%2ey", "/p?a=https%3A%2F%2Fx.y"),
            ("/p?a=b=c", "/p?a=b%3Dc"),
            ("/p?%61=1", "/p?a=1"),
        ] {
            assert_eq!(Target::parse(text).map(|target| target.to_text()), Ok(written.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_path_of_an_endpoint_may_have_empty_segments_and_no_other_ambiguity() {
        for text in ["/106//idtoken/x?api-version=2.0", "//a", "/a//"] {
            assert_eq!(Target::parse_endpoint(text).map(|target| target.to_text()), Ok(text.to_owned()));
        }
        for bad in ["/a//../b", "/a//%2e", "/a//b%2fc", "a//b", "/a//b#c"] {
            assert!(Target::parse_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_none() {
        use InvalidTarget::*;
        for (text, why) in [
            ("", Relative),
            ("*", Relative),
            ("p", Relative),
            ("?a=1", Relative),
            ("http://evil/p", Relative),
            ("//evil/p", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a//", EmptySegment),
            ("/./a", DotSegment),
            ("/a/..", DotSegment),
            ("/a/../b", DotSegment),
            ("/%2e%2e/a", Hidden),
            ("/.%2E/a", Hidden),
            ("/a%2fb", Hidden),
            ("/a%5Cb", Hidden),
            ("/a%00", Hidden),
            ("/a%0d%0aHost:x", Hidden),
            ("/a%7f", Hidden),
            ("/a%C2%85", Hidden),
            ("/a\\b", Character),
            ("/a b", Character),
            ("/a\u{fc}", Character),
            ("/a|b", Character),
            ("/a\r\nb", Character),
            ("/a#b", Fragment),
            ("/a?b#c", Fragment),
            ("/a%", Encoding),
            ("/a%4", Encoding),
            ("/a%zz", Encoding),
            ("/a%+1", Encoding),
            ("/a%ff", Encoding),
            ("/a%C0%AF", Encoding),
            ("/p?a=1&a=2", Query),
            ("/p?a=1&%61=2", Query),
            ("/p?=1", Query),
            ("/p?a=1&", Query),
            ("/p?a=b+c", Character),
        ] {
            assert_eq!(Target::parse(text), Err(why), "{text}");
        }
        assert_eq!(Target::parse(&format!("/{}", "a".repeat(MAX_BYTES))), Err(TooLong));
        assert_eq!(Target::parse(&"/a".repeat(MAX_PARTS + 1)), Err(TooLong));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(text in r"/[/a-c.%2eEfF5:+#\\ \u{fc}]{0,12}(\?[a-c/?.]{1,4}=[/a-c.%2e?=:]{0,8})?") {
            if let Ok(target) = Target::parse(&text) {
                let written = target.to_text();
                prop_assert_eq!(Target::parse(&written), Ok(target));
            }
        }
    }
}
