//! Reading a log as somebody who trusts nothing but the key.
//!
//! Bytes go in, file after file, oldest first; what does not hold comes out with file, line and number. A line whose
//! MAC holds is what was written; how it stands to the line before it says what happened between them.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest as _, Sha256};

use super::{Head, Keys, Line, MAX_LINE_BYTES, Torn};

/// The most problems that are told one by one; the others are counted.
const MAX_PROBLEMS: usize = 100;

/// One thing that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// Which file, from 0.
    pub file: usize,
    /// Which line of it, from 1.
    pub line: u64,
    /// The number that the line gives itself, if it gives one.
    pub seq: Option<u64>,
    /// What it is.
    pub what: What,
}

/// What does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The line is not what was written there.
    Changed,
    /// The line was put in: nothing is missing where it stands.
    Inserted,
    /// Lines are missing before this one.
    Missing {
        /// The number of the first that could be missing.
        from: u64,
        /// The number of the last that could be.
        to: u64,
    },
    /// The line was written, but stands in the wrong place, or once more.
    Order,
    /// The line goes on after another line than the one before it: that one is not what was here when it was written.
    Fork,
    /// Another log begins here.
    Restart,
    /// The line tells of a torn line before it, which is not there, or not as it was.
    Torn,
}

/// What became of the head that was kept elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// There was none.
    None,
    /// Its line is here.
    Holds,
    /// A line of its number is here, and is another.
    Other,
    /// The log ends before it: newest lines are missing.
    Missing,
    /// The log begins after it: its line went with older files.
    Older,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many lines are as they were written.
    pub lines: u64,
    /// The number of the first of them. Above 1, older lines are not here.
    pub first: Option<u64>,
    /// The newest of them.
    pub head: Option<Head>,
    /// Where lines were cut by a crash, and the log says so: file and line.
    pub torn: Vec<(usize, u64)>,
    /// Where a line was cut that nothing follows yet.
    pub torn_end: Option<(usize, u64)>,
    /// Where a new chain begins, as each start of a program that logs to standard output does.
    pub restarts: Vec<(usize, u64)>,
    /// What does not hold.
    pub problems: Vec<Problem>,
    /// How many more problems there are.
    pub more: u64,
    /// What became of the head that was kept elsewhere.
    pub anchor: Anchor,
}

/// A text that is no line of this log, until it is known what it was.
#[derive(Debug, Clone, Copy)]
struct Bad {
    file: usize,
    line: u64,
    seq: Option<u64>,
    torn: Torn,
}

/// Reads a log.
#[derive(Debug)]
pub struct Verifier<'k> {
    keys: &'k Keys,
    anchor: Option<Head>,
    file: usize,
    line: u64,
    /// The line that is not whole yet, as far as it is needed.
    partial: Vec<u8>,
    /// What of a line that is longer than any of ours was read already.
    overlong: Option<(u64, Sha256)>,
    last: Option<Head>,
    /// What the chains began with, each at random.
    beginnings: HashSet<[u8; 32]>,
    bad: VecDeque<Bad>,
    report: Report,
}

impl<'k> Verifier<'k> {
    /// For a log that was written with `keys`; `anchor` is a head that was kept elsewhere.
    pub fn new(keys: &'k Keys, anchor: Option<Head>) -> Self {
        let report = Report {
            lines: 0,
            first: None,
            head: None,
            torn: Vec::new(),
            torn_end: None,
            restarts: Vec::new(),
            problems: Vec::new(),
            more: 0,
            anchor: Anchor::None,
        };
        Self {
            keys,
            anchor,
            file: 0,
            line: 0,
            partial: Vec::new(),
            overlong: None,
            last: None,
            beginnings: HashSet::new(),
            bad: VecDeque::new(),
            report,
        }
    }

    /// The next bytes of the file.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            bytes = rest.get(1..).unwrap_or_default();
            if self.partial.is_empty() && self.overlong.is_none() {
                self.whole(line);
            } else {
                self.more(line);
                self.end_line();
            }
        }
        self.more(bytes);
    }

    /// The file ended; what comes next is the next newer one.
    pub fn next_file(&mut self) {
        // A line without its end in the middle of a log is judged as one with it.
        if self.is_open() {
            self.end_line();
        }
        self.file += 1;
        self.line = 0;
    }

    /// All was read.
    pub fn finish(mut self) -> Report {
        if self.is_open() {
            let before = self.bad.len();
            self.end_line();
            if self.bad.len() > before
                && let Some(last) = self.bad.pop_back()
            {
                self.report.torn_end = Some((last.file, last.line));
            }
        }
        self.judge(What::Changed);
        let (first, last) = (self.report.first, self.last);
        self.report.head = last;
        if let Some(anchor) = self.anchor
            && self.report.anchor == Anchor::None
        {
            self.report.anchor = match (first, last) {
                (Some(first), _) if anchor.seq < first => Anchor::Older,
                (_, Some(last)) if anchor.seq <= last.seq => Anchor::Other,
                _ => Anchor::Missing,
            };
        }
        self.report
    }

    fn is_open(&self) -> bool {
        !self.partial.is_empty() || self.overlong.is_some()
    }

    /// More of a line whose end has not come.
    fn more(&mut self, bytes: &[u8]) {
        if let Some((count, hash)) = &mut self.overlong {
            *count += bytes.len() as u64;
            hash.update(bytes);
            return;
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > MAX_LINE_BYTES {
            let start = std::mem::take(&mut self.partial);
            self.overlong = Some((start.len() as u64, Sha256::new_with_prefix(start)));
        }
    }

    fn end_line(&mut self) {
        match self.overlong.take() {
            Some((bytes, hash)) => {
                self.line += 1;
                self.bad_line(None, Torn { bytes, sha256: hash.finalize().into() });
            }
            None => {
                let mut line = std::mem::take(&mut self.partial);
                self.whole(&line);
                line.clear();
                self.partial = line;
            }
        }
    }

    fn whole(&mut self, text: &[u8]) {
        self.line += 1;
        match Line::read(text, self.keys) {
            Some(line) => self.genuine(line),
            None => {
                let torn = Torn { bytes: text.len() as u64, sha256: Sha256::digest(text).into() };
                self.bad_line(Line::claimed_seq(text), torn);
            }
        }
    }

    fn bad_line(&mut self, seq: Option<u64>, torn: Torn) {
        // Nobody reads thousands of them, and a file that is no log at all must not fill the memory.
        if self.bad.len() > MAX_PROBLEMS {
            let oldest = self.bad.pop_front();
            oldest.into_iter().for_each(|bad| self.problem(bad.file, bad.line, bad.seq, What::Changed));
        }
        self.bad.push_back(Bad { file: self.file, line: self.line, seq, torn });
    }

    fn genuine(&mut self, line: Line) {
        let at = (self.file, self.line, Some(line.head.seq));
        if let Some(torn) = line.torn {
            match self.bad.pop_back() {
                Some(bad) if bad.torn == torn => self.report.torn.push((bad.file, bad.line)),
                other => {
                    self.bad.extend(other);
                    self.problem(at.0, at.1, at.2, What::Torn);
                }
            }
        }
        self.report.lines += 1;
        self.compare(&line);
        let between = self.bad.len() as u64;
        let mut wrong = None;
        match self.last {
            None => {
                self.report.first = Some(line.head.seq);
                self.beginnings.extend((line.head.seq == 1).then_some(line.prev));
                self.judge(if line.head.seq == 1 { What::Inserted } else { What::Changed });
            }
            Some(_) if line.head.seq == 1 && line.prev != Head::START.mac => {
                self.judge(What::Changed);
                self.report.restarts.push((self.file, self.line));
                if !self.beginnings.insert(line.prev) {
                    wrong = Some(What::Order);
                }
            }
            Some(_) if line.head.seq == 1 => wrong = Some(What::Restart),
            Some(last) if line.head.seq <= last.seq => {
                self.judge(What::Changed);
                self.problem(at.0, at.1, at.2, What::Order);
                return;
            }
            Some(last) => {
                let gap = line.head.seq - last.seq - 1;
                self.judge(if gap == 0 { What::Inserted } else { What::Changed });
                if gap > between {
                    wrong = Some(What::Missing { from: last.seq + 1, to: line.head.seq - 1 });
                } else if gap == 0 && line.prev != last.mac {
                    wrong = Some(What::Fork);
                }
            }
        }
        self.judge(What::Changed);
        if let Some(what) = wrong {
            self.problem(at.0, at.1, at.2, what);
        }
        self.last = Some(line.head);
    }

    fn compare(&mut self, line: &Line) {
        let Some(anchor) = self.anchor else { return };
        let before = self.last.is_none() && anchor.seq + 1 == line.head.seq && anchor.mac == line.prev;
        if line.head == anchor || before {
            self.report.anchor = Anchor::Holds;
        }
    }

    /// What the texts were that are no lines of this log.
    fn judge(&mut self, what: What) {
        while let Some(bad) = self.bad.pop_front() {
            self.problem(bad.file, bad.line, bad.seq, what);
        }
    }

    fn problem(&mut self, file: usize, line: u64, seq: Option<u64>, what: What) {
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(Problem { file, line, seq, what });
        } else {
            self.report.more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::{Chain, Record};
    use super::*;
    use crate::policy::Operation;

    fn keys() -> Keys {
        Keys::new(&[1; 32])
    }

    fn record(micros: u64) -> Record<'static> {
        Record {
            caller: "owner",
            kind: "unix",
            door: "native",
            operation: Operation::Resolve,
            mount: None,
            reference: None,
            plugin: None,
            outcome: Ok(()),
            rule: None,
            micros,
            trace: None,
            claimed: &[],
        }
    }

    /// `count` lines after `head`, each with its end.
    fn lines_after(keys: &Keys, head: Head, count: u64) -> (Vec<Vec<u8>>, Vec<Head>) {
        let mut chain = Chain::after(keys, head, false);
        let one = |micros| {
            let mut line = Vec::new();
            chain.record(&mut line, Duration::ZERO, &record(micros));
            (line, chain.head())
        };
        (0..count).map(one).unzip()
    }

    fn lines(count: u64) -> (Vec<Vec<u8>>, Vec<Head>) {
        lines_after(&keys(), Head::START, count)
    }

    fn read(files: &[&[u8]], anchor: Option<Head>) -> Report {
        let keys = keys();
        let mut verifier = Verifier::new(&keys, anchor);
        for (index, file) in files.iter().enumerate() {
            if index > 0 {
                verifier.next_file();
            }
            file.chunks(7).for_each(|chunk| verifier.push(chunk));
        }
        verifier.finish()
    }

    fn told(lines: &[Vec<u8>]) -> Vec<(u64, Option<u64>, What)> {
        let report = read(&[&lines.concat()], None);
        report.problems.iter().map(|p| (p.line, p.seq, p.what)).collect()
    }

    #[test]
    fn a_whole_log_holds_in_one_file_and_in_several() {
        let (lines, heads) = lines(9);
        let all = lines.concat();
        let report = read(&[&all], None);
        assert_eq!((report.lines, report.first, report.head), (9, Some(1), heads.last().copied()));
        assert_eq!((report.problems, report.torn_end, report.anchor), (Vec::new(), None, Anchor::None));
        let split = read(&[&lines[..4].concat(), &lines[4..].concat()], Some(heads[8]));
        assert_eq!((split.lines, split.problems, split.anchor), (9, Vec::new(), Anchor::Holds));
        assert_eq!(read(&[b""], None).lines, 0);
    }

    #[test]
    fn an_edit_an_insertion_a_removal_and_another_order_are_found_and_placed() {
        let (lines, _) = lines(6);
        let edited = |at: usize, from: &str, to: &str| {
            let mut lines = lines.clone();
            lines[at] = String::from_utf8(lines[at].clone()).unwrap().replacen(from, to, 1).into_bytes();
            lines
        };
        assert_eq!(told(&edited(2, "owner", "ownes")), [(3, Some(3), What::Changed)]);
        assert_eq!(told(&edited(2, "\"ok\"", "\"denied\"")), [(3, Some(3), What::Changed)]);
        assert_eq!(told(&edited(0, "\"v\":1", "\"v\":2")), [(1, None, What::Changed)]);

        let mut inserted = lines.clone();
        inserted.insert(3, lines[2].clone());
        assert_eq!(told(&inserted), [(4, Some(3), What::Order)]);
        inserted[3] = lines_after(&Keys::new(&[9; 32]), Head::START, 1).0.remove(0);
        assert_eq!(told(&inserted), [(4, Some(1), What::Inserted)]);
        inserted[3] = b"\n".to_vec();
        assert_eq!(told(&inserted), [(4, None, What::Inserted)]);

        let mut removed = lines.clone();
        removed.drain(2..4);
        assert_eq!(told(&removed), [(3, Some(5), What::Missing { from: 3, to: 4 })]);

        let mut swapped = lines.clone();
        swapped.swap(2, 3);
        assert_eq!(told(&swapped), [(3, Some(4), What::Missing { from: 3, to: 3 }), (4, Some(3), What::Order)]);
    }

    #[test]
    fn a_line_that_was_moved_here_from_another_history_is_found() {
        let (lines, heads) = lines(6);
        // Somebody cuts the log back, it goes on, and then they put the old end back.
        let (other, _) = lines_after(&keys(), Head { seq: 3, mac: [8; 32] }, 2);
        assert_eq!(told(&[&lines[..3], &other[..]].concat()), [(4, Some(4), What::Fork)]);
        // A second log begins in the middle.
        assert_eq!(told(&[&lines[..], &lines[..2]].concat())[0], (7, Some(1), What::Restart));
        let (fresh, _) = lines_after(&keys(), Head { seq: 0, mac: [5; 32] }, 2);
        let report = read(&[&[&lines[..], &fresh[..]].concat().concat()], Some(heads[5]));
        assert_eq!((report.problems, report.restarts, report.anchor), (Vec::new(), vec![(0, 7)], Anchor::Holds));
        // The same history twice.
        let again = [&lines[..], &fresh[..], &fresh[..1]].concat();
        assert_eq!(told(&again), [(9, Some(1), What::Order)]);
    }

    #[test]
    fn a_cut_front_is_told_and_a_cut_end_shows_against_a_head_alone() {
        let (lines, heads) = lines(6);
        let report = read(&[&lines[2..].concat()], None);
        assert_eq!((report.first, report.problems.len()), (Some(3), 0));
        let cut = lines[..4].concat();
        let at = |anchor| read(&[&cut], Some(anchor)).anchor;
        assert_eq!(read(&[&cut], None).problems, []);
        assert_eq!((at(heads[3]), at(heads[0])), (Anchor::Holds, Anchor::Holds));
        assert_eq!(at(heads[4]), Anchor::Missing);
        assert_eq!(at(Head { mac: [1; 32], ..heads[2] }), Anchor::Other);
        let late = |anchor| read(&[&lines[3..].concat()], Some(anchor)).anchor;
        assert_eq!((late(heads[2]), late(heads[1])), (Anchor::Holds, Anchor::Older));
        assert_eq!(read(&[b""], Some(heads[0])).anchor, Anchor::Missing);
    }

    #[test]
    fn a_torn_line_is_told_and_a_healed_one_is_no_problem() {
        let (lines, heads) = lines(3);
        let cut = &lines[2][..lines[2].len() - 9];
        let torn = [&lines[0], &lines[1], cut].concat();
        let report = read(&[&torn], None);
        assert_eq!((report.lines, report.torn_end, report.problems.len()), (2, Some((0, 3)), 0));
        // A line that only lacks its end is whole.
        let report = read(&[lines.concat().strip_suffix(b"\n").unwrap()], None);
        assert_eq!((report.lines, report.torn_end), (3, None));

        let keys = keys();
        let mut healed = [&torn[..], b"\n"].concat();
        let mut chain = Chain::after(&keys, heads[1], false);
        let about = Torn { bytes: cut.len() as u64, sha256: Sha256::digest(cut).into() };
        chain.torn(&mut healed, Duration::ZERO, &about);
        chain.record(&mut healed, Duration::ZERO, &record(7));
        let report = read(&[&healed], None);
        assert_eq!((report.lines, report.torn, report.problems), (4, vec![(0, 3)], Vec::new()));
        // Nothing hides behind it: what it tells of must be there, and as it was.
        for (from, to) in [(cut, &b""[..]), (cut, b"{}"), (&cut[..5], b"{\"v\":2")] {
            let at = torn.len() - cut.len();
            let changed = [&healed[..at], to, &healed[at + from.len()..]].concat();
            let whats: Vec<What> = read(&[&changed], None).problems.iter().map(|p| p.what).collect();
            assert!(whats.contains(&What::Torn), "{whats:?}");
        }
        let without: Vec<&[u8]> = healed.split_inclusive(|b| *b == b'\n').collect();
        let without = [without[0], without[1], without[3], without[4]].concat();
        let report = read(&[&without], None);
        assert_eq!(report.problems, [Problem { file: 0, line: 3, seq: Some(3), what: What::Torn }]);
    }

    #[test]
    fn a_file_of_zeros_or_without_an_end_costs_no_memory() {
        let (lines, _) = lines(2);
        let zeros = vec![0; 3 * MAX_LINE_BYTES];
        let report = read(&[&[&lines.concat()[..], &zeros].concat()], None);
        assert_eq!((report.lines, report.torn_end, report.problems.len()), (2, Some((0, 3)), 0));
        let report = read(&[&b"x\n".repeat(5000)], None);
        assert_eq!((report.lines, report.problems.len(), report.more), (0, 100, 4900));
        let keys = keys();
        let mut verifier = Verifier::new(&keys, None);
        verifier.push(&zeros);
        assert!(verifier.partial.capacity() < zeros.len());
    }

    proptest! {
        /// Whatever somebody without the key does to the bytes before the last line, if anything is different, it is
        /// told.
        #[test]
        fn no_change_before_the_last_line_goes_unseen(
            count in 2u64..8,
            at in any::<prop::sample::Index>(),
            len in 0usize..40,
            new in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let (lines, heads) = lines(count);
            let all = lines.concat();
            let kept = lines.last().unwrap().len();
            let at = at.index(all.len() - kept);
            let end = (at + len).min(all.len() - kept);
            let changed = [&all[..at], &new[..], &all[end..]].concat();
            let report = read(&[&changed], heads.last().copied());
            prop_assert_eq!(report.problems.is_empty() && report.first == Some(1), changed == all);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            read(&[&bytes, &bytes], Some(Head::START));
        }
    }
}
