//! The line's form: written here, read here, and nowhere else.
//!
//! Fixed key order, no blanks, version 1:
//!
//! ```text
//! {"v":1,"seq":7,"time":"2026-11-22T10:00:00.123Z","caller":"ci","kind":"token","door":"native",
//!  "operation":"resolve","mount":"keyvault","name_hash":"<32 hex>","name":"...","plugin":"sha256:...",
//!  "outcome":"ok","rule":0,"micros":812,"trace":"<32 hex>","claimed":{"agent":"..."},
//!  "prev":"<64 hex>","mac":"<64 hex>"}
//! ```
//!
//! on one line. What is not known is left out. Two more kinds of line tell of the log itself, in place of all
//! from `caller` to `claimed`: `"torn":{"bytes":N,"sha256":"<64 hex>"}`, the line before this one was cut by a crash, and
//! `"lost":{"records":N}`, so many lines could not be written.

use std::time::Duration;

use super::{Head, Keys, Record, hmac};
use crate::Text;

/// The longest name of a reference, in characters; references have at most as many bytes.
const MAX_NAME_CHARS: usize = crate::reference::MAX_BYTES;

/// The most claims of a client that are written.
const MAX_CLAIMS: usize = 16;

/// What every line begins with; its number follows.
const BEGIN: &[u8] = b"{\"v\":1,\"seq\":";
const TORN: &[u8] = b",\"torn\":{\"bytes\":";
const TORN_HASH: &[u8] = b",\"sha256\":\"";
const PREV: &[u8] = b",\"prev\":\"";
const MAC: &[u8] = b",\"mac\":\"";
const END: &[u8] = b"\"}";

/// Writes lines, each bound to the one before.
#[derive(Debug, Clone)]
pub struct Chain<'k> {
    keys: &'k Keys,
    names: bool,
    head: Head,
}

/// A line that was cut, by a crash or by somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// How many bytes there are of it, without a line's end.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// A line that was written with the key, as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its number and MAC.
    pub head: Head,
    /// The MAC of the line before it.
    pub prev: [u8; 32],
    /// That the text before it is a torn line, if it says so.
    pub torn: Option<Torn>,
}

impl<'k> Chain<'k> {
    /// Goes on after `head`. With `names` the references are written beside their hashes.
    pub fn after(keys: &'k Keys, head: Head, names: bool) -> Self {
        Self { keys, names, head }
    }

    /// The newest line.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Appends a line, with its end, to `out`. `time` is since the Unix epoch.
    pub fn record(&mut self, out: &mut Vec<u8>, time: Duration, record: &Record<'_>) {
        let start = self.begin(out, time);
        self.keys.tell(out, self.names, record);
        self.end(out, start);
    }

    /// Appends the line of a record that [`Keys::tell`] has written.
    pub fn told(&mut self, out: &mut Vec<u8>, time: Duration, told: &[u8]) {
        let start = self.begin(out, time);
        out.extend_from_slice(told);
        self.end(out, start);
    }

    /// Appends the line that says that the text before it was cut.
    pub fn torn(&mut self, out: &mut Vec<u8>, time: Duration, torn: &Torn) {
        let start = self.begin(out, time);
        out.extend_from_slice(TORN);
        decimal(out, torn.bytes);
        out.extend_from_slice(TORN_HASH);
        hex(out, &torn.sha256);
        out.extend_from_slice(b"\"}");
        self.end(out, start);
    }

    /// Appends the line that says that so many could not be written.
    pub fn lost(&mut self, out: &mut Vec<u8>, time: Duration, records: u64) {
        let start = self.begin(out, time);
        out.extend_from_slice(b",\"lost\":{\"records\":");
        decimal(out, records);
        out.push(b'}');
        self.end(out, start);
    }

    fn begin(&mut self, out: &mut Vec<u8>, time: Duration) -> usize {
        let start = out.len();
        self.head.seq += 1;
        out.extend_from_slice(BEGIN);
        decimal(out, self.head.seq);
        out.extend_from_slice(b",\"time\":\"");
        rfc3339(out, time);
        out.push(b'"');
        start
    }

    fn end(&mut self, out: &mut Vec<u8>, start: usize) {
        out.extend_from_slice(PREV);
        hex(out, &self.head.mac);
        out.push(b'"');
        self.head.mac = self.keys.chain.of(out.get(start..).unwrap_or_default());
        out.extend_from_slice(MAC);
        hex(out, &self.head.mac);
        out.extend_from_slice(END);
        out.push(b'\n');
    }
}

impl Line {
    /// Reads a line without its end. `None` unless it was written with the key, exactly so.
    pub fn read(line: &[u8], keys: &Keys) -> Option<Self> {
        let (written, mac) = cut_tail(line.strip_suffix(END)?, MAC)?;
        if !hmac::same(&keys.chain.of(written), &mac) {
            return None;
        }
        // From here on every byte is ours.
        let (told, prev) = cut_tail(written.strip_suffix(b"\"")?, PREV)?;
        Some(Self { head: Head { seq: seq_of(line)?, mac }, prev, torn: torn_of(told) })
    }

    /// The number that a text gives itself, whoever wrote it.
    pub(super) fn claimed_seq(line: &[u8]) -> Option<u64> {
        seq_of(line)
    }
}

impl Keys {
    /// Writes what a line tells of a record, for [`Chain::told`]: all that does not depend on the lines before it. With `names`
    /// the reference is written beside its hash.
    pub fn tell(&self, out: &mut Vec<u8>, names: bool, record: &Record<'_>) {
        text(out, "caller", record.caller);
        text(out, "kind", record.kind);
        text(out, "door", record.door);
        text(out, "operation", record.operation.name());
        if let Some(mount) = record.mount {
            text(out, "mount", mount.as_str());
        }
        if let Some(reference) = record.reference {
            let (name, question) = reference.written();
            hexed(out, "name_hash", &self.hash_of(name.get(question).unwrap_or_default()));
            if names {
                // The field is what a person would look for, too.
                match name.len() {
                    0..=MAX_NAME_CHARS => text(out, "name", &name),
                    _ => text(out, "name", Text::capped(name, MAX_NAME_CHARS).as_str()),
                }
            }
        }
        if let Some(plugin) = record.plugin {
            key(out, "plugin");
            out.extend_from_slice(b"\"sha256:");
            hex(out, plugin.as_bytes());
            out.push(b'"');
        }
        text(out, "outcome", record.outcome.map_or_else(|kind| kind.name(), |()| "ok"));
        if let Some(rule) = record.rule {
            number(out, "rule", rule as u64);
        }
        number(out, "micros", record.micros);
        if let Some(trace) = &record.trace {
            hexed(out, "trace", trace);
        }
        claims(out, record.claimed);
    }
}

/// Cuts `key` and the 64 hexadecimal digits after it off the end.
fn cut_tail<'l>(line: &'l [u8], key: &[u8]) -> Option<(&'l [u8], [u8; 32])> {
    let (rest, digits) = line.split_at_checked(line.len().checked_sub(64)?)?;
    Some((rest.strip_suffix(key)?, unhex(digits)?))
}

fn seq_of(line: &[u8]) -> Option<u64> {
    leading_number(line.strip_prefix(BEGIN)?).map(|(seq, _)| seq)
}

fn torn_of(told: &[u8]) -> Option<Torn> {
    let (_, after_seq) = leading_number(told.strip_prefix(BEGIN)?)?;
    // `,"time":"2026-11-22T10:00:00.123Z"`: after it stands what the line tells. Nothing that a client writes can
    // stand there.
    let (_, tells) = after_seq.split_at_checked(b",\"time\":\"\"".len() + TIME_BYTES)?;
    let (bytes, rest) = leading_number(tells.strip_prefix(TORN)?)?;
    let digits = rest.strip_prefix(TORN_HASH)?.strip_suffix(b"\"}")?;
    Some(Torn { bytes, sha256: unhex(digits)? })
}

fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(end)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// Reads 64 lower-case hexadecimal digits.
pub(super) fn unhex(digits: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    let value = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            *byte = *byte << 4 | value(digit)?;
        }
    }
    Some(bytes)
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |value: u8| value + if value < 10 { b'0' } else { b'a' - 10 };
    // In pieces: a vector that looks for room at each digit takes longer than all else of a line.
    for bytes in bytes.chunks(16) {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        out.extend_from_slice(digits.get(..2 * bytes.len()).unwrap_or_default());
    }
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    decimal(out, value);
}

fn hexed(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    key(out, name);
    out.push(b'"');
    hex(out, bytes);
    out.push(b'"');
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    string(out, value);
}

/// A JSON string of somebody's words, by the rules of [`Text`].
fn string(out: &mut Vec<u8>, value: &str) {
    let plain = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\';
    out.push(b'"');
    if value.bytes().all(plain) {
        out.extend_from_slice(value.as_bytes());
    } else {
        // Whatever is left after this needs no more than the two escapes.
        let safe = Text::capped(value, usize::MAX);
        for byte in safe.as_str().bytes() {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
    }
    out.push(b'"');
}

/// `claimed`, at its own place, so that nothing a client says can be taken for what the host says.
fn claims(out: &mut Vec<u8>, claimed: &[(&'static str, Text)]) {
    if claimed.is_empty() {
        return;
    }
    key(out, "claimed");
    for (index, (name, value)) in claimed.iter().take(MAX_CLAIMS).enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        string(out, name);
        out.push(b':');
        string(out, value.as_str());
    }
    out.push(b'}');
}

/// The length of a time as [`rfc3339`] writes it.
const TIME_BYTES: usize = "2026-11-22T10:00:00.123Z".len();

/// Writes a time since the Unix epoch as RFC 3339 does: UTC, milliseconds. Up to the year 9999.
pub fn rfc3339(out: &mut Vec<u8>, time: Duration) {
    let seconds = time.as_secs().min(253_402_300_799);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil from days, Howard Hinnant: years that begin in March have their leap day last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = u64::from(time.subsec_millis());
    for (count, number, after) in [
        (4, year, b'-'),
        (2, month, b'-'),
        (2, day, b'T'),
        (2, hour, b':'),
        (2, minute, b':'),
        (2, second, b'.'),
        (3, millis, b'Z'),
    ] {
        digits(out, count, number);
        out.push(after);
    }
}

/// The last `count` digits of a number.
fn digits(out: &mut Vec<u8>, count: u32, number: u64) {
    let digit = |place| b'0' + u8::try_from(number / 10_u64.pow(place) % 10).unwrap_or_default();
    out.extend((0..count).rev().map(digit));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Operation;
    use crate::{Digest, Kind, Name, Reference, Shapes};

    fn reference(text: &str) -> Reference {
        let mut shapes = Shapes::builtin();
        shapes.insert("acme", crate::Shape::uri(false, &["path*"]).unwrap());
        Reference::parse(text, &shapes).unwrap()
    }

    fn record() -> Record<'static> {
        Record {
            caller: "ci",
            kind: "token",
            door: "native",
            operation: Operation::Resolve,
            mount: None,
            reference: None,
            plugin: None,
            outcome: Ok(()),
            rule: None,
            micros: 812,
            trace: None,
            claimed: &[],
        }
    }

    fn written(record: &Record<'_>, names: bool) -> String {
        let keys = Keys::new(&[1; 32]);
        let mut out = Vec::new();
        Chain::after(&keys, Head::START, names).record(&mut out, Duration::from_millis(1_795_341_600_123), record);
        String::from_utf8(out).unwrap()
    }

    /// The form is what operators' tools read: it changes only with its version.
    #[test]
    fn a_line_is_exactly_this() {
        let (mount, reference, plugin) = (
            Name::parse("vault").unwrap(),
            reference("prod+keyvault:https://v.vault.azure.net/secrets/db#a"),
            Digest::of(b"abc"),
        );
        let claimed = [("agent", Text::new("curl")), ("host", Text::new("build-7"))];
        let full = Record {
            mount: Some(&mount),
            reference: Some(&reference),
            plugin: Some(&plugin),
            outcome: Err(Kind::NotFound),
            rule: Some(3),
            trace: Some([0xab; 16]),
            claimed: &claimed,
            ..record()
        };
        assert_eq!(
            written(&full, true),
            concat!(
                r#"{"v":1,"seq":1,"time":"2026-11-22T10:00:00.123Z","caller":"ci","kind":"token","door":"native","#,
                r#""operation":"resolve","mount":"vault","name_hash":"HASH","#,
                r#""name":"prod+keyvault:https://v.vault.azure.net/secrets/db#/a","#,
                r#""plugin":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","#,
                r#""outcome":"not-found","rule":3,"micros":812,"trace":"abababababababababababababababab","#,
                r#""claimed":{"agent":"curl","host":"build-7"},"prev":"0000000000000000000000000000000000000000000000000000000000000000","#,
                r#""mac":"MAC"}"#,
                "\n"
            )
            // Computed by other means: Python's hmac, from the words of docs/audit.md.
            .replace("HASH", "8c70d6229e3c494a9f8b8b33077ae961")
            .replace("MAC", "3520a9984b3dbf00ddee785e5016758d31d1451a112c2203eac02a1afc659622")
        );
        let short = written(&Record { reference: Some(&reference), ..record() }, false);
        assert!(!short.contains("secrets/db") && !short.contains("claimed") && !short.contains("rule"), "{short}");
    }

    #[test]
    fn a_name_is_hashed_without_its_field_and_mount_and_under_the_key() {
        let keys = Keys::new(&[1; 32]);
        let hash = |text| keys.name_hash(&reference(text));
        assert_eq!(hash("keys://g/k"), hash("team+keys://g/k#a.b"));
        for other in ["keys://g/K", "keys://g", "keys://g/k?version=1", "acme://g/k"] {
            assert_ne!(hash("keys://g/k"), hash(other), "{other}");
        }
        assert_ne!(hash("keys://g/k"), Keys::new(&[2; 32]).name_hash(&reference("keys://g/k")));
    }

    #[test]
    fn nobodys_words_break_a_line() {
        let hostile = "a\"b\\c\nd\u{0}\u{1b}[2J\u{202e}e\u{2028}\u{7f}\u{9b}\u{feff}\u{10ffff}🦀\",\"mac\":\"";
        let claimed = [("agent", Text::new(hostile)), ("name", Text::new("}{\"x\":1"))];
        let reference = reference("acme://g/a%22%7D,%22mac%22:%22");
        let hostile_record = Record { caller: hostile, reference: Some(&reference), claimed: &claimed, ..record() };
        let line = written(&hostile_record, true);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.chars().all(|c| c == '\n' || Text::new(c.to_string()).as_str() == c.to_string()), "{line:?}");
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["caller"], Text::new(hostile).as_str());
        assert_eq!(json["claimed"]["agent"], Text::new(hostile).as_str());
        assert_eq!(json["claimed"]["name"], "}{\"x\":1");
        assert_eq!(json["name"], reference.to_string());
        assert!(Line::read(line.trim_end().as_bytes(), &Keys::new(&[1; 32])).is_some());
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let (keys, other) = (Keys::new(&[1; 32]), Keys::new(&[2; 32]));
        let torn = Torn { bytes: 17, sha256: [9; 32] };
        let mut out = Vec::new();
        let mut chain = Chain::after(&keys, Head { seq: 41, mac: [3; 32] }, false);
        chain.record(&mut out, Duration::ZERO, &record());
        let first = chain.head();
        chain.torn(&mut out, Duration::MAX, &torn);
        chain.lost(&mut out, Duration::from_secs(1), 5);
        let lines: Vec<&[u8]> = out.split(|b| *b == b'\n').collect();
        assert_eq!(Line::read(lines[0], &keys), Some(Line { head: first, prev: [3; 32], torn: None }));
        let second = Line::read(lines[1], &keys).unwrap();
        assert_eq!((second.head.seq, second.prev, second.torn), (43, first.mac, Some(torn)));
        let third = Line::read(lines[2], &keys).unwrap();
        assert_eq!((third.head, third.prev, third.torn), (chain.head(), second.head.mac, None));
        for line in &lines[..3] {
            assert_eq!(Line::read(line, &other), None);
            for at in 0..line.len() {
                for bit in [1, 0x20, 0x80] {
                    let mut changed = line.to_vec();
                    changed[at] ^= bit;
                    assert_eq!(Line::read(&changed, &keys), None, "byte {at}");
                }
                assert_eq!(Line::read(&line[..at], &keys), None);
                assert_eq!(Line::read(&line[at + 1..], &keys), None);
            }
        }
    }

    /// A client that claims to be a torn line's record is not one.
    #[test]
    fn words_are_never_taken_for_the_logs_own() {
        let keys = Keys::new(&[1; 32]);
        let claimed = [("torn", Text::new("x")), ("x", Text::new("\"},\"torn\":{\"bytes\":1,\"sha256\":\"00\"}"))];
        let line = written(&Record { claimed: &claimed, ..record() }, true);
        assert_eq!(Line::read(line.trim_end().as_bytes(), &keys).unwrap().torn, None);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_801_396_800_001, "2027-01-31T12:00:00.001Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_000, "9999-12-31T23:59:59.000Z"),
        ] {
            let mut out = Vec::new();
            rfc3339(&mut out, Duration::from_millis(millis));
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        let mut out = Vec::new();
        rfc3339(&mut out, Duration::MAX);
        assert_eq!(out.len(), TIME_BYTES);
    }
}
