//! What the program's output must not show, while what the program has may change.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use strongroom::{Failure, Kind, Secret};
use strongroom_core::{LiveMasks, LiveStream, Masks};
use strongroom_process::Filter;

use super::watching::Values;

/// How many sets of values are hidden: the first, because a program that is only told keeps its variables, and the newest
/// others. What is searched for must not grow without end.
const KEPT: usize = 16;

/// The values to hide: those that the program has, and those that it had.
pub struct Hidden {
    /// Nothing is hidden, and so nothing kept.
    off: bool,
    /// More may have to be hidden later. If not, no copy of the values is kept.
    more: bool,
    sets: RefCell<VecDeque<Vec<(String, Secret)>>>,
    masks: LiveMasks,
    /// Variables that were warned of.
    too_short: RefCell<BTreeSet<String>>,
}

impl Hidden {
    /// Nothing yet. `on`: whether anything is to be hidden at all; `more`: whether that becomes more while the program
    /// runs.
    pub fn new(on: bool, more: bool) -> Self {
        let masks = LiveMasks::new(Masks::new());
        Self { off: !on, more, sets: RefCell::default(), masks, too_short: RefCell::default() }
    }

    /// What others add to who hand values to the program while it runs.
    pub fn masks(&self) -> &LiveMasks {
        &self.masks
    }

    /// Hides these, too. Gives a warning for each variable whose value is too short to be hidden, once.
    pub fn add(&self, values: &Values) -> Vec<Failure> {
        if self.off {
            return Vec::new();
        }
        let named = values.all().flat_map(|one| one.secrets.iter().map(|secret| (one.name.clone(), secret.clone())));
        let mut sets = self.sets.borrow_mut();
        if sets.len() == KEPT {
            sets.remove(1);
        }
        sets.push_back(named.collect());
        let mut masks = Masks::new();
        let mut seen = BTreeSet::new();
        for (name, secret) in sets.iter().flatten().filter(|(name, secret)| seen.insert((name, secret.expose()))) {
            masks.add(name, secret.expose());
        }
        let warnings = masks.warnings().iter().map(ToString::to_string);
        let fresh = warnings.filter(|warning| self.too_short.borrow_mut().insert(warning.clone()));
        let fresh: Vec<_> = fresh.map(|warning| Failure::new(Kind::LimitExceeded, "mask.too-short", warning)).collect();
        if self.more {
            self.masks.renew(masks);
        } else {
            self.masks.settle(masks);
            sets.clear();
        }
        fresh
    }

    /// A filter for one stream. `early`: somebody may be waiting to see what they type; into a pipe nothing of a secret
    /// is ever shown early.
    pub fn filter(&self, early: bool) -> MaskFilter {
        MaskFilter { stream: self.masks.stream(), early }
    }
}

/// Hides in one stream what is to be hidden when it comes.
pub struct MaskFilter {
    stream: LiveStream,
    early: bool,
}

impl Filter for MaskFilter {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.stream.push(chunk, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.stream.finish(out);
    }

    fn pending(&self) -> bool {
        self.early && self.stream.has_pending()
    }

    fn idle(&mut self, out: &mut Vec<u8>) {
        self.stream.show_early(out);
    }
}
