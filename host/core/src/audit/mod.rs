//! The audit log: one JSON line an operation, each bound to the one before it.
//!
//! A line says who did what, when and how it ended. It must never hold a value, and no API here takes one: what it holds are
//! closed words, names from the config, a keyed hash of the reference, and [`Text`]. Each line carries the MAC of the
//! line before it (`prev`) and a MAC over itself (`mac`, HMAC-SHA256 over the bytes before it), so that whoever has no
//! key can change, add or take away no line in the middle unseen. Newest lines that are missing show only against a
//! [`Head`] that was kept elsewhere.
//!
//! [`Chain`] writes lines, [`Verifier`] reads them. Files, locks and rotation are the broker's.

mod hmac;
mod line;
mod verify;

use std::fmt;

use self::hmac::Hmac;
pub use self::line::{Chain, Line, Torn, rfc3339};
pub use self::verify::{Anchor, Problem, Report, Verifier, What};
use crate::policy::Operation;
use crate::{Digest, Kind, Name, Reference, Text};

/// The longest line that is read, in bytes: 1 MiB. Lines that are written are far shorter.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// The subkeys of an audit key: one for the chain, one for names, so that neither tells anything about the other.
#[derive(Debug, Clone)]
pub struct Keys {
    chain: Hmac,
    names: Hmac,
}

impl Keys {
    /// The subkeys of `key`.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = Hmac::new(key);
        let sub = |purpose: &[u8]| Hmac::new(&zeroize::Zeroizing::new(key.of(purpose)));
        Self { chain: sub(b"strongroom audit 1 chain"), names: sub(b"strongroom audit 1 names") }
    }

    /// The keyed hash of what a reference asks for: without the mount that it names outright, which is a field of its
    /// own, and without `#field`. 128 bits.
    pub fn name_hash(&self, reference: &Reference) -> [u8; 16] {
        self.hash_of(&reference.question().to_string())
    }

    fn hash_of(&self, question: &str) -> [u8; 16] {
        let hash = self.names.of(question.as_bytes());
        let mut short = [0; 16];
        short.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        short
    }
}

/// What one line tells. There is no place in it for a value.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Who, in the policy's words: `ci`, `owner`, `uid 1000`.
    pub caller: &'a str,
    /// How the caller was identified: `unix`, `tls`, `token`, `jwt`, `command-line`.
    pub kind: &'static str,
    /// Where it came in.
    pub door: &'static str,
    /// What was asked.
    pub operation: Operation,
    /// The mount, once it is known.
    pub mount: Option<&'a Name>,
    /// The reference, hashed; its name only where the config says so.
    pub reference: Option<&'a Reference>,
    /// The plugin that answers the mount.
    pub plugin: Option<&'a Digest>,
    /// How it ended. Never a code of a plugin.
    pub outcome: Result<(), Kind>,
    /// Which rule of the policy allowed it, from 0.
    pub rule: Option<usize>,
    /// How long the request took, in microseconds.
    pub micros: u64,
    /// The trace it belongs to (W3C Trace Context).
    pub trace: Option<[u8; 16]>,
    /// What the client says of itself. Nobody checked it.
    pub claimed: &'a [(&'static str, Text)],
}

/// The end of a log: the number and the MAC of its newest line. Whoever keeps one elsewhere sees later whether newest
/// lines are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The line's sequence number; 0 before the first.
    pub seq: u64,
    /// The line's MAC.
    pub mac: [u8; 32],
}

impl Head {
    /// Before the first line of a log in a file.
    pub const START: Self = Self { seq: 0, mac: [0; 32] };

    /// Reads `SEQ:MAC`, the MAC in 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, mac) = text.split_once(':')?;
        let plain = !seq.is_empty() && seq.bytes().all(|b| b.is_ascii_digit());
        Some(Self { seq: plain.then(|| seq.parse().ok())??, mac: line::unhex(mac.as_bytes())? })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seq)?;
        self.mac.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
