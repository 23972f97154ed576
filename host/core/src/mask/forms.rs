//! Every way a value is likely to be written.
//!
//! All forms lie in one zeroizing buffer, whose growth leaves no copy behind. Forms that a value
//! cannot have (a percent-encoding of letters alone) are not made: making all of them for a hundred
//! secrets must stay well below a millisecond, because every `run` waits for it.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::Text;

use super::json::{self, Style};
use super::{MAX_FORM_BYTES, MIN_BYTES, MIN_LEAF_BYTES};

/// The widths at which common tools wrap base64: PEM and OpenSSL; MIME, coreutils and Python.
const WRAPS: [usize; 2] = [64, 76];

/// Enough for a few ordinary secrets, so that the buffer grows only a few times for a hundred.
const FIRST_BYTES: usize = 8 << 10;

/// All forms of all values: the text to be searched for, in pieces of at most [`MAX_FORM_BYTES`].
#[derive(Clone, Default)]
pub(super) struct Forms {
    bytes: Zeroizing<Vec<u8>>,
    pieces: Vec<Range<usize>>,
    /// The whole forms of the value at hand, to find repetitions among them.
    wholes: Vec<Range<usize>>,
}

impl Forms {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The pieces, and the buffer they lie in. None is empty, and repetitions among different
    /// values remain.
    pub(super) fn into_parts(self) -> (Zeroizing<Vec<u8>>, Vec<Range<usize>>) {
        (self.bytes, self.pieces)
    }

    /// Adds the value with each line end written as `line_end`.
    pub(super) fn add_with_line_ends(&mut self, value: &[u8], line_end: &[u8]) {
        let mut rewritten = Zeroizing::new(Vec::with_capacity(2 * value.len()));
        for (index, line) in value.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                rewritten.extend_from_slice(line_end);
            }
            rewritten.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        }
        if *rewritten != value {
            self.add(&rewritten);
        }
    }

    /// Adds every form of the value, which has [`MIN_BYTES`] bytes or more.
    pub(super) fn add(&mut self, value: &[u8]) {
        self.wholes.clear();
        let traits = Traits::of(value);
        self.form(value.len(), |out| out.extend_from_slice(value));
        self.base64(value);
        for upper in [false, true] {
            self.form(2 * value.len(), |out| {
                let start = out.len();
                out.resize(start + 2 * value.len(), 0);
                let (pairs, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut();
                for (pair, byte) in pairs.iter_mut().zip(value) {
                    *pair = hex(*byte, upper);
                }
            });
        }
        if traits.reserved {
            self.percent(value, &traits);
        }
        if let Ok(text) = std::str::from_utf8(value) {
            self.json(text, &traits);
            if traits.control || traits.wide {
                self.form(json::GROWTH * text.len(), |out| as_text(text, out));
            }
        }
    }

    fn base64(&mut self, value: &[u8]) {
        // What stands before the value is unknown; two blanks for it bring every alignment.
        let mut shifted = Zeroizing::new(vec![0; value.len() + 2]);
        if let Some(tail) = shifted.get_mut(2..) {
            tail.copy_from_slice(value);
        }
        // Alignment, and how many characters hold bits of what stands before.
        for (before, skip) in [(0, 0), (1, 2), (2, 3)] {
            let input = shifted.get(2 - before..).unwrap_or_default();
            // What stands behind is unknown too: only characters that are full.
            let full = input.len() * 8 / 6;
            let start = self.open(full + 3);
            let end = start + full + 3;
            self.bytes.resize(end, 0);
            if let Some(room) = self.bytes.get_mut(start..) {
                // There is room for the whole, so this cannot fail; if it did, zeros would be
                // masked.
                let _ = STANDARD_NO_PAD.encode_slice(input, room);
            }
            self.bytes.truncate(start + full);
            let whole = start + skip..start + full;
            // Tools wrap what they encode themselves, so only from the start.
            let wraps = before == 0;
            if self.close(whole.clone()) && wraps {
                self.wrapped(&whole);
            }
            if self.bytes.get(whole.clone()).unwrap_or_default().iter().any(|c| matches!(c, b'+' | b'/')) {
                let start = self.open(whole.len());
                self.bytes.extend_from_within(whole);
                for c in self.bytes.get_mut(start..).unwrap_or_default() {
                    match c {
                        b'+' => *c = b'-',
                        b'/' => *c = b'_',
                        _ => {}
                    }
                }
                let whole = start..self.bytes.len();
                if self.close(whole.clone()) && wraps {
                    self.wrapped(&whole);
                }
            }
        }
    }

    /// The lines that a tool which wraps would make of base64.
    fn wrapped(&mut self, whole: &Range<usize>) {
        for width in WRAPS {
            if whole.len() > width {
                let lines = whole.clone().step_by(width).map(|at| at..whole.end.min(at + width));
                self.pieces.extend(lines.filter(|line| line.len() >= MIN_LEAF_BYTES));
            }
        }
    }

    fn percent(&mut self, value: &[u8], traits: &Traits) {
        // What is kept beside letters and digits, `+` for a blank, and whether this differs from
        // the first.
        let styles: [(&[u8], bool, bool); 5] = [
            (b"-._~", false, true),
            (b"-._~/", false, traits.slash),
            (b"-._~!'()*", false, traits.mark),
            (b"-._~", true, traits.blank),
            (b"-._*", true, traits.mark || traits.tilde),
        ];
        for (kept, plus, differs) in styles {
            if !differs {
                continue;
            }
            for upper in [true, false] {
                self.form(3 * value.len(), |out| {
                    for byte in value {
                        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
                            out.push(*byte);
                        } else if plus && *byte == b' ' {
                            out.push(b'+');
                        } else {
                            let [high, low] = hex(*byte, upper);
                            out.extend_from_slice(&[b'%', high, low]);
                        }
                    }
                });
            }
        }
    }

    fn json(&mut self, text: &str, traits: &Traits) {
        let plain = Style::default();
        let escaped = traits.control || traits.quote;
        let styles = [
            // serde_json, JavaScript; Python; PHP without and with its Unicode option.
            (plain, escaped),
            (Style { ascii: true, ..plain }, traits.wide),
            (Style { ascii: true, slash: true, ..plain }, traits.slash && traits.wide),
            (Style { slash: true, ..plain }, traits.slash),
            // Go.
            (Style { extra: "<>&", ..plain }, traits.angle),
            // Jackson, with and without its ASCII option.
            (Style { upper: true, ..plain }, traits.control),
            (Style { upper: true, ascii: true, ..plain }, traits.wide),
            // .NET.
            (
                Style { upper: true, ascii: true, extra: "<>&'\"+`\u{7f}", ..plain },
                escaped || traits.angle || traits.net || traits.wide,
            ),
        ];
        for (style, differs) in styles {
            if differs {
                self.form(json::GROWTH * text.len(), |out| json::escape(text, style, out));
            }
        }
    }

    /// Adds one form: `write` appends at most `room` bytes.
    fn form(&mut self, room: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.open(room);
        write(&mut self.bytes);
        self.close(start..self.bytes.len());
    }

    /// Makes room without leaving a copy of the old buffer behind.
    fn open(&mut self, room: usize) -> usize {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity - len < room {
            let mut grown = Zeroizing::new(Vec::with_capacity((len + room).max(2 * capacity).max(FIRST_BYTES)));
            grown.extend_from_slice(&self.bytes);
            self.bytes = grown;
        }
        len
    }

    /// Adds what was written as a form, unless the value has it already or it is too short.
    fn close(&mut self, whole: Range<usize>) -> bool {
        let form = self.bytes.get(whole.clone()).unwrap_or_default();
        if form.len() < MIN_BYTES || self.wholes.iter().any(|old| self.bytes.get(old.clone()) == Some(form)) {
            self.bytes.truncate(whole.start);
            return false;
        }
        self.wholes.push(whole.clone());
        let last = whole.end.saturating_sub(MAX_FORM_BYTES).max(whole.start);
        self.pieces.extend((whole.start..last).step_by(MAX_FORM_BYTES).map(|at| at..at + MAX_FORM_BYTES));
        // The last piece ends where the form ends, and may overlap the one before.
        self.pieces.push(last..whole.end);
        true
    }

    /// A set of literal forms, for the tests of the matcher.
    #[cfg(test)]
    pub(super) fn literal<T: AsRef<[u8]>>(forms: &[T]) -> Self {
        let mut all = Self::default();
        for form in forms {
            all.form(form.as_ref().len(), |out| out.extend_from_slice(form.as_ref()));
        }
        all
    }
}

/// Which encodings change a value.
#[derive(Default)]
struct Traits {
    /// Anything that percent-encoding changes.
    reserved: bool,
    blank: bool,
    slash: bool,
    tilde: bool,
    /// `!'()*`, on which percent-encoders differ.
    mark: bool,
    control: bool,
    /// A quote or a backslash.
    quote: bool,
    /// `<>&`.
    angle: bool,
    /// What only .NET escapes.
    net: bool,
    /// Anything beyond ASCII.
    wide: bool,
}

impl Traits {
    fn of(value: &[u8]) -> Self {
        let mut traits = Self::default();
        for byte in value {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => continue,
                b'~' => {
                    traits.tilde = true;
                    continue;
                }
                b' ' => traits.blank = true,
                b'/' => traits.slash = true,
                b'\'' => (traits.mark, traits.net) = (true, true),
                b'!' | b'(' | b')' | b'*' => traits.mark = true,
                b'"' | b'\\' => traits.quote = true,
                b'<' | b'>' | b'&' => traits.angle = true,
                b'+' | b'`' => traits.net = true,
                0..=0x1f | 0x7f => traits.control = true,
                0x80.. => traits.wide = true,
                _ => {}
            }
            traits.reserved = true;
        }
        // The form encoding of HTML is the one that does not keep `~`.
        traits.reserved |= traits.tilde;
        traits
    }
}

/// The two hex digits of a byte.
#[inline]
pub(super) fn hex(byte: u8, upper: bool) -> [u8; 2] {
    // From `9` to the letters it is 7 further, or 39.
    let letters = if upper { 7 } else { 39 };
    [byte >> 4, byte & 15].map(|digit| b'0' + digit + if digit > 9 { letters } else { 0 })
}

/// Appends `text` as [`Text`] shows it. Character by character, because a `Text` of the whole would
/// not be zeroized.
fn as_text(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        let mut buffer = [0; 4];
        let c = c.encode_utf8(&mut buffer);
        match c.as_bytes() {
            [b' '..=b'~'] => out.extend_from_slice(c.as_bytes()),
            _ => out.extend_from_slice(Text::new(c).as_str().as_bytes()),
        }
    }
}
