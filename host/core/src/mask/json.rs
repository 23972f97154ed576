//! The strings inside a JSON value, and how JSON writers escape a string.
//!
//! `serde_json` says whether it is JSON; the strings are then taken out here, because a parser's
//! own copies and scratch buffers would be freed with the secret still in them.

use std::iter::Peekable;
use std::str::Chars;

use serde::de::IgnoredAny;
use zeroize::Zeroizing;

/// Calls `leaf` with each string, escapes undone, that is a value (not a key) in the JSON object or
/// array `value`. Anything that is not JSON, and JSON that is neither, has none.
pub(super) fn for_each_leaf(value: &[u8], leaf: &mut dyn FnMut(&[u8])) {
    let value = value.trim_ascii();
    if !matches!(value.first(), Some(b'{' | b'[')) || serde_json::from_slice::<IgnoredAny>(value).is_err() {
        return;
    }
    let Ok(mut rest) = std::str::from_utf8(value) else { return };
    while let Some((_, tail)) = rest.split_once('"') {
        let end = string_end(tail);
        let (inside, after) = tail.split_at_checked(end).unwrap_or((tail, ""));
        rest = after.strip_prefix('"').unwrap_or(after);
        if !rest.trim_ascii_start().starts_with(':') {
            leaf(unescape(inside).as_bytes());
        }
    }
}

/// The position of the quote that ends a string.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index,
            _ => {}
        }
    }
    text.len()
}

fn unescape(text: &str) -> Zeroizing<String> {
    // No escape is shorter than the character it stands for (U+FFFD for half a pair is 3 of 6), so
    // this never grows, which would leave a copy behind.
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('u') => code_point(&mut chars),
            Some(other) => other,
            None => break,
        });
    }
    out
}

/// What follows `\u`: one code unit, or two that are a pair.
fn code_point(chars: &mut Peekable<Chars<'_>>) -> char {
    let first = code_unit(chars);
    if (0xd800..0xdc00).contains(&first) {
        let mut ahead = chars.clone();
        if ahead.next() == Some('\\') && ahead.next() == Some('u') {
            let second = code_unit(&mut ahead);
            if (0xdc00..0xe000).contains(&second) {
                *chars = ahead;
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                    .unwrap_or(char::REPLACEMENT_CHARACTER);
            }
        }
    }
    char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn code_unit(chars: &mut Peekable<Chars<'_>>) -> u32 {
    let mut unit = 0;
    for _ in 0..4 {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
        chars.next();
        unit = unit << 4 | digit;
    }
    unit
}

/// How one family of JSON writers escapes, beyond what RFC 8259 demands.
#[derive(Clone, Copy, Default)]
pub(super) struct Style {
    /// `/` as `\/`.
    pub slash: bool,
    /// ASCII characters that are written as `\u00XX` though they need not be.
    pub extra: &'static str,
    /// Non-ASCII as `\uXXXX`.
    pub ascii: bool,
    /// Upper-case hex digits.
    pub upper: bool,
}

/// The most bytes that escaping makes of one: `\u001f`.
pub(super) const GROWTH: usize = 6;

/// Appends `text` as it stands between the quotes of a JSON string.
pub(super) fn escape(text: &str, style: Style, out: &mut Vec<u8>) {
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c as u8);
            continue;
        }
        let short = match c {
            _ if style.extra.contains(c) => None,
            '"' | '\\' => Some(c as u8),
            '/' if style.slash => Some(b'/'),
            '\n' => Some(b'n'),
            '\r' => Some(b'r'),
            '\t' => Some(b't'),
            '\u{8}' => Some(b'b'),
            '\u{c}' => Some(b'f'),
            _ => None,
        };
        if let Some(short) = short {
            out.extend_from_slice(&[b'\\', short]);
        } else if c < ' ' || style.extra.contains(c) || (style.ascii && !c.is_ascii()) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                for byte in unit.to_be_bytes() {
                    out.extend_from_slice(&super::forms::hex(byte, style.upper));
                }
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}
