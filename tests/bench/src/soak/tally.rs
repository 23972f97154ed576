//! What was done and what came of it.

use std::collections::BTreeMap;
use std::fmt;

use strongroom::{Failure, Kind};

/// How much of what is wrong is told.
const SHOWN: usize = 20;

/// Counts of everything, and the first of what is wrong.
#[derive(Debug, Default)]
pub struct Tally {
    done: BTreeMap<&'static str, u64>,
    failed: BTreeMap<(Kind, String), u64>,
    wrong: Vec<String>,
    more_wrong: usize,
}

impl Tally {
    /// Something came out as it should.
    pub fn done(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    /// Something failed, which may be only as one of `kinds`.
    pub fn failed(&mut self, what: &str, failure: &Failure, kinds: &[Kind]) {
        let told = format!("{failure} {:?}", failure.helps());
        self.failed_as(what, failure.kind(), failure.code(), &told, kinds);
    }

    /// The same, of a failure that was `told` by another process.
    pub fn failed_as(&mut self, what: &str, kind: Kind, code: &str, told: &str, kinds: &[Kind]) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if !kinds.contains(&kind) {
            self.wrong(format!("{what}: {kind} [{code}]: {told}"));
        } else if code.is_empty() || code.len() > 128 || !code.bytes().all(plain) {
            self.wrong(format!("{what}: a code that is none: {code:?}"));
        }
        *self.failed.entry((kind, code.to_owned())).or_default() += 1;
    }

    /// Something is as it must never be.
    pub fn wrong(&mut self, what: String) {
        if self.wrong.len() < SHOWN { self.wrong.push(what) } else { self.more_wrong += 1 }
    }

    /// What must never be, and was.
    pub fn wrong_things(&self) -> Vec<String> {
        let more = (self.more_wrong > 0).then(|| format!("and {} more", self.more_wrong));
        self.wrong.iter().cloned().chain(more).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.done {
            writeln!(f, "{count:>9}  {what}")?;
        }
        for ((kind, code), count) in &self.failed {
            writeln!(f, "{count:>9}  failed: {kind} [{code}]")?;
        }
        Ok(())
    }
}
