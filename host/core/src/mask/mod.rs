//! Masking: other people's output without the secrets that are known.
//!
//! [`Masks`] collects the values to hide, [`Masker`] is the finished, immutable matcher, and
//! [`MaskStream`] filters one stream with it. The engine must never print, log or keep a value
//! outside zeroizing memory, must never let a byte of a form through because of where a chunk ends,
//! and must never hold back a byte that cannot be the start of a form.
//!
//! # What is masked
//!
//! Of each value, less line ends at its end, these forms:
//!
//! - the value as it is;
//! - base64 (RFC 4648, standard and URL alphabet) at all three alignments: the characters that the
//!   value alone decides. A character that also holds bits of a neighbouring byte stays, so at
//!   either end of the mask 2 or 4 bits of the first or last byte may be told; no scheme that
//!   leaves the neighbours readable can do better. Wrapped lines of 64 and 76 characters too;
//! - hex, lower and upper case;
//! - percent-encoded (RFC 3986; `encodeURIComponent`; with `/` kept) and form-encoded (`+` for a
//!   blank), with upper and lower hex digits;
//! - JSON-escaped (RFC 8259), as `serde_json` and JavaScript, Python, PHP, Go, Jackson and .NET
//!   write it;
//! - as [`Text`] shows it.
//!
//! A value with several lines is hidden as a whole, with `\n` and with `\r\n` (which a terminal
//! makes of it), and so is each line of [`MIN_BYTES`] or more, less the blanks around it. Of a
//! value that is a JSON object or array, each string of [`MIN_LEAF_BYTES`] or more, at any depth,
//! is hidden as if it had been added; so are the strings in a string that is JSON itself. Of forms
//! above [`MAX_FORM_BYTES`] each piece of that size is hidden on its own, which bounds what a
//! stream holds back, hides the whole and also hides much of a part.
//!
//! Every byte that belongs to any occurrence of any form is hidden, also where occurrences overlap;
//! each unbroken run of hidden bytes is shown as one [`MASK`], whatever its length, so that neither
//! length nor number is told. The result does not depend on how the stream was cut into chunks.
//!
//! # What masking cannot do
//!
//! It stops accidents, not a program that wants to tell. It does not see a value that was
//! compressed, encrypted, hashed, reversed, re-cased, cut into parts (`${VALUE:0:8}`) or printed
//! with anything between its bytes: a blank after each character, a prefix on each line, escape
//! sequences for colour or cursor, output of another process in between. It does not see encodings
//! that are not in the list above (UTF-16, base32, octal, wrapped or spaced hex, base64 wrapped at
//! other widths or behind other data, quoting of shells, or two encodings on top of each other,
//! unless the second changes nothing). Standard output and error are two streams: a value half in
//! each is seen by neither. Values below [`MIN_BYTES`] are not masked, but named in a [`Warning`]:
//! they would hide half of any text. Short lines and strings of a longer value are hidden only
//! where the whole is printed. Of the last line of wrapped base64, up to 7 characters may stay. And
//! a value that is an ordinary word hides that word everywhere, which tells a reader who can guess
//! what the word was.

mod forms;
mod json;
mod live;
mod matcher;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::Text;

use forms::Forms;
pub use live::{LiveMasks, LiveStream};
use matcher::Matcher;
pub use stream::MaskStream;

/// What stands for hidden bytes.
pub const MASK: &str = "***";

/// The shortest value, form or line, in bytes, that is masked.
pub const MIN_BYTES: usize = 4;

/// The shortest string inside a JSON value, in bytes, that is masked on its own.
///
/// Higher than [`MIN_BYTES`], because JSON is full of strings such as `true`, `prod` and `eastus`.
pub const MIN_LEAF_BYTES: usize = 8;

/// The longest form, in bytes, that is searched for as one piece.
///
/// A stream holds back less than this, and checking one candidate costs no more than comparing it.
pub const MAX_FORM_BYTES: usize = 1024;

/// The values to hide, while they are being collected.
#[derive(Clone, Default)]
pub struct Masks {
    forms: Forms,
    warnings: Vec<Warning>,
}

impl Masks {
    /// Nothing to hide yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hides `value` in every form of the [module's list](self). `label` names it in a [`Warning`]:
    /// a variable's name or a reference, never the value.
    ///
    /// A value below [`MIN_BYTES`], line ends at its end not counted, is not hidden but adds a
    /// warning. An empty one has nothing to hide and adds none. In a composed string each resolved
    /// part is to be added, and the string need not be.
    pub fn add(&mut self, label: &str, value: &[u8]) {
        let value = without_line_end(value);
        if value.is_empty() {
            return;
        }
        if value.len() < MIN_BYTES {
            self.warnings.push(Warning::TooShort { label: Text::new(label) });
            return;
        }
        self.add_value(value, NESTED_JSON);
    }

    fn add_value(&mut self, value: &[u8], nested: usize) {
        self.add_lines(value);
        if nested == 0 {
            return;
        }
        json::for_each_leaf(value, &mut |leaf| {
            let leaf = without_line_end(leaf);
            if leaf.len() >= MIN_LEAF_BYTES {
                self.add_value(leaf, nested - 1);
            }
        });
    }

    fn add_lines(&mut self, value: &[u8]) {
        self.forms.add(value);
        if !value.contains(&b'\n') {
            return;
        }
        self.forms.add_with_line_ends(value, b"\n");
        self.forms.add_with_line_ends(value, b"\r\n");
        for line in value.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if line.len() >= MIN_BYTES {
                self.forms.add(line);
            }
        }
    }

    /// What could not be hidden, in the order of [`Masks::add`].
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// True if nothing will be hidden.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Makes the matcher.
    pub fn build(self) -> Masker {
        if self.is_empty() {
            return Masker::none();
        }
        Masker { matcher: Some(Arc::new(Matcher::new(self.forms))) }
    }
}

/// How many times JSON inside a string of JSON is looked into, the outermost included.
const NESTED_JSON: usize = 3;

fn without_line_end(mut value: &[u8]) -> &[u8] {
    while let [rest @ .., b'\n' | b'\r'] = value {
        value = rest;
    }
    value
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masks(..)")
    }
}

/// What masking will not hide.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The value has fewer than [`MIN_BYTES`] bytes.
    TooShort {
        /// What the caller calls the value.
        label: Text,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { label } => {
                write!(f, "the value of {label} is shorter than {MIN_BYTES} bytes and is not masked")
            }
        }
    }
}

/// The finished set of forms. Immutable; a clone shares it.
#[derive(Clone, Default)]
pub struct Masker {
    matcher: Option<Arc<Matcher>>,
}

impl Masker {
    /// Hides nothing: streams copy.
    pub fn none() -> Self {
        Self::default()
    }

    /// True if nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.matcher.is_none()
    }

    /// The state to filter one stream with.
    pub fn stream(&self) -> MaskStream {
        MaskStream::new(self.clone())
    }

    /// Whether `bytes` hold one of the secrets, in any of their forms.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        let Some(matcher) = &self.matcher else { return false };
        let mut found = Vec::new();
        matcher.find(bytes, &mut found);
        !found.is_empty()
    }

    /// `text` without the secrets.
    ///
    /// Mask before a text is cut or made a [`Text`], where that is possible: what is cut cannot be
    /// found any more. Should a binary value have been part of a character, the rest of that
    /// character becomes U+FFFD.
    pub fn mask_text(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut out = Vec::with_capacity(text.len());
        let mut stream = self.stream();
        stream.push(text.as_bytes(), &mut out);
        stream.finish(&mut out);
        into_string(out)
    }

    /// `text` without the secrets, in the form that [`Text`] gives them.
    ///
    /// If the text was cut (it ends in `…`), the beginning of a secret before the cut is hidden
    /// too, from [`MIN_BYTES`] on.
    pub fn mask_line(&self, text: &Text) -> Text {
        if self.is_empty() {
            return text.clone();
        }
        let mut out = Vec::with_capacity(text.as_str().len());
        let mut stream = self.stream();
        if let Some(kept) = text.as_str().strip_suffix('…') {
            stream.push(kept.as_bytes(), &mut out);
            stream.finish_cut(&mut out);
            out.extend_from_slice("…".as_bytes());
        } else {
            stream.push(text.as_str().as_bytes(), &mut out);
            stream.finish(&mut out);
        }
        // It was capped and escaped before; masking adds nothing that needs either.
        Text::capped(into_string(out), usize::MAX)
    }
}

fn into_string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker(..)")
    }
}
