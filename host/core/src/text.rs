//! Text that somebody else wrote.
//!
//! Whatever comes from a guest, a backend, a manifest or a file is a [`Text`] before it is shown.
//! It can only be displayed on one line, capped, with every character escaped that could move a
//! cursor, reorder a line or hide itself. It must never be turned back into the raw text.

use std::fmt;

/// The most characters (Unicode scalar values, before escaping) that are kept.
///
/// Long enough for an error message of a cloud service, short enough that a thousand of them do
/// not flood a log.
pub const MAX_CHARS: usize = 512;

/// One line of somebody else's words, safe to print anywhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(String);

impl Text {
    /// Escapes and caps `raw`. Never fails: a longer text ends in `…`.
    pub fn new(raw: impl AsRef<str>) -> Self {
        Self::capped(raw, MAX_CHARS)
    }

    /// As [`Text::new`], with at most `max_chars` characters of `raw`.
    pub fn capped(raw: impl AsRef<str>, max_chars: usize) -> Self {
        let raw = raw.as_ref();
        // Most texts are this plain, and done with.
        if raw.len() <= max_chars && is_plain(raw) {
            return Self(raw.to_owned());
        }
        let mut out = String::with_capacity(raw.len().min(max_chars));
        for (index, c) in raw.chars().enumerate() {
            if index == max_chars {
                out.push('…');
                break;
            }
            if is_hostile(c) {
                out.extend(c.escape_unicode());
            } else {
                out.push(c);
            }
        }
        Self(out)
    }

    /// The escaped text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a text is printable ASCII from end to end.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// Characters that do more on a terminal, in a log or in a browser than stand there: controls
/// (C0, DEL, C1), line and paragraph separators, bidirectional and zero-width formatting, tags and
/// other default-ignorable ones, and the private-use and non-character ranges.
fn is_hostile(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl From<&str> for Text {
    fn from(raw: &str) -> Self {
        Self::new(raw)
    }
}

impl From<String> for Text {
    fn from(raw: String) -> Self {
        Self::new(raw)
    }
}

impl serde::Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_are_escaped_and_plain_ones_kept() {
        assert_eq!(Text::new("ok: größe 日本").as_str(), "ok: größe 日本");
        for hostile in ["\u{1b}[2J", "a\nb", "a\rb", "\u{202e}evil", "a\u{200b}b", "\u{9b}31m", "\u{feff}", "\u{2028}"]
        {
            let shown = Text::new(hostile).to_string();
            assert!(!shown.chars().any(is_hostile), "{hostile:?} became {shown:?}");
            assert!(shown.contains("\\u{"), "{hostile:?} became {shown:?}");
        }
    }

    #[test]
    fn length_is_capped() {
        let shown = Text::capped("x".repeat(100), 10).to_string();
        assert_eq!(shown, format!("{}…", "x".repeat(10)));
        assert_eq!(Text::capped("x".repeat(10), 10).to_string(), "x".repeat(10));
    }
}
