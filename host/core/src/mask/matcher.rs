//! Finds every occurrence of every form, fast where there is none.
//!
//! A sampled filter of grams: of each form, as many consecutive grams (3 or 4 bytes) are entered in a
//! bitmap as the step is long, and only every step-th position of the text is looked up: each
//! occurrence is met at exactly one of them. What the bitmap lets through is compared with the forms
//! that hold such a gram. Forms below [`LONG`] have a filter of their own, so that one
//! short value does not shorten the step of all.
//!
//! With a hundred secrets (a thousand forms) this is several times as fast as an Aho-Corasick
//! automaton and a hundred times as fast to build; the automaton is the oracle of the tests.

use std::ops::Range;

use zeroize::Zeroizing;

use super::MIN_BYTES;
use super::forms::Forms;

/// Forms of at least this length, in bytes, are sampled with grams of 4.
const LONG: usize = 8;

/// The longest step. Beyond it, more entries cost more than fewer lookups gain.
const MAX_STEP: usize = 16;

/// Bits of the bitmap for each entry: about one lookup in sixteen that ought to fail does not.
const BITS_PER_ENTRY: usize = 16;

/// The end of a chain.
const NONE: u32 = u32::MAX;

/// All forms, ready to be searched for.
pub(super) struct Matcher {
    bytes: Zeroizing<Vec<u8>>,
    short: Option<Sampled>,
    long: Option<Sampled>,
    starts: Starts,
    longest: usize,
}

impl Matcher {
    /// `forms` holds at least one.
    pub(super) fn new(forms: Forms) -> Self {
        let (bytes, pieces) = forms.into_parts();
        let starts = Starts::new(&bytes, pieces);
        let (long, short): (Vec<_>, Vec<_>) = starts.forms.iter().cloned().partition(|form| form.len() >= LONG);
        let longest = starts.forms.iter().map(Range::len).max().unwrap_or(1);
        Self { short: Sampled::new(&bytes, short, 3), long: Sampled::new(&bytes, long, 4), starts, longest, bytes }
    }

    /// The length of the longest form, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Adds the place of every occurrence in `text` to `found`, in no order; places that meet may
    /// have become one.
    pub(super) fn find(&self, text: &[u8], found: &mut Vec<(usize, usize)>) {
        for sampled in [&self.short, &self.long].into_iter().flatten() {
            sampled.find(&self.bytes, text, found);
        }
    }

    /// Where the longest end of `text` begins that is a proper beginning of a form; the length of
    /// `text` if there is none.
    pub(super) fn unsettled(&self, text: &[u8]) -> usize {
        let first = text.len().saturating_sub(self.longest - 1);
        (first..text.len())
            .find(|at| self.starts.begins(&self.bytes, text.get(*at..).unwrap_or_default()))
            .unwrap_or(text.len())
    }
}

/// Chains of entries by hash, with a bitmap in front.
struct Chains {
    bits: Vec<u64>,
    bits_shift: u32,
    heads: Vec<u32>,
    heads_shift: u32,
    next: Vec<u32>,
}

impl Chains {
    fn with_capacity(entries: usize) -> Self {
        let heads = entries.next_power_of_two().clamp(1 << 8, 1 << 30);
        let bits = (entries * BITS_PER_ENTRY).next_power_of_two().clamp(1 << 12, 1 << 30);
        Self {
            bits: vec![0; bits / 64],
            bits_shift: 32 - bits.trailing_zeros(),
            heads: vec![NONE; heads],
            heads_shift: 32 - heads.trailing_zeros(),
            next: Vec::with_capacity(entries),
        }
    }

    /// Fibonacci hashing: the high bits are the good ones.
    fn hash(gram: u32) -> u32 {
        gram.wrapping_mul(0x9e37_79b1)
    }

    /// Adds the entry whose number is the count of those before it.
    fn push(&mut self, gram: u32) {
        let hash = Self::hash(gram);
        let bit = hash >> self.bits_shift;
        if let Some(word) = self.bits.get_mut((bit >> 6) as usize) {
            *word |= 1 << (bit & 63);
        }
        if let Some(head) = self.heads.get_mut((hash >> self.heads_shift) as usize) {
            let entry = self.next.len() as u32;
            self.next.push(*head);
            *head = entry;
        }
    }

    /// False if no entry has this gram.
    #[inline(always)]
    fn may_hold(&self, gram: u32) -> bool {
        let bit = Self::hash(gram) >> self.bits_shift;
        self.bits.get((bit >> 6) as usize).is_some_and(|word| word >> (bit & 63) & 1 != 0)
    }

    /// The entries with this gram, and some others.
    fn entries(&self, gram: u32) -> impl Iterator<Item = usize> {
        let link = |entry: u32| (entry != NONE).then_some(entry);
        let head = self.heads.get((Self::hash(gram) >> self.heads_shift) as usize);
        std::iter::successors(head.copied().and_then(link), move |entry| {
            self.next.get(*entry as usize).copied().and_then(link)
        })
        .map(|entry| entry as usize)
    }
}

/// The forms of one range of lengths, sampled with one step.
struct Sampled {
    chains: Chains,
    forms: Vec<Range<usize>>,
    gram: usize,
    step: usize,
}

impl Sampled {
    fn new(bytes: &[u8], forms: Vec<Range<usize>>, gram: usize) -> Option<Self> {
        let shortest = forms.iter().map(Range::len).min()?;
        let step = (shortest - gram + 1).min(MAX_STEP);
        let mut sampled = Self { chains: Chains::with_capacity(forms.len() * step), forms: Vec::new(), gram, step };
        for form in &forms {
            let first = form.start + sampled.first_gram(form);
            for at in first..first + step {
                sampled.chains.push(read_gram(bytes.get(at..at + gram).unwrap_or_default()));
            }
        }
        sampled.forms = forms;
        Some(sampled)
    }

    /// Where in a form its grams are taken from. The middle: beginnings (`https://`, `eyJ`) are
    /// what secrets share with each other and with ordinary output.
    fn first_gram(&self, form: &Range<usize>) -> usize {
        (form.len() + 1 - self.gram - self.step) / 2
    }

    fn find(&self, bytes: &[u8], text: &[u8], found: &mut Vec<(usize, usize)>) {
        let kept = u32::MAX >> (8 * (4 - self.gram));
        let mut at = 0;
        while let Some(window) = text.get(at..).and_then(<[u8]>::first_chunk) {
            let gram = u32::from_le_bytes(*window) & kept;
            if self.chains.may_hold(gram) {
                self.compare(gram, at, bytes, text, found);
            }
            at += self.step;
        }
        // A gram of 3 bytes fits once more where a window of 4 does not.
        if let Some(window) = text.get(at..at + self.gram) {
            self.compare(read_gram(window), at, bytes, text, found);
        }
    }

    #[cold]
    #[inline(never)]
    fn compare(&self, gram: u32, at: usize, bytes: &[u8], text: &[u8], found: &mut Vec<(usize, usize)>) {
        for entry in self.chains.entries(gram) {
            let Some(form) = self.forms.get(entry / self.step) else { continue };
            let offset = self.first_gram(form) + entry % self.step;
            let Some(start) = at.checked_sub(offset) else { continue };
            let end = start + form.len();
            if text.get(start..end).is_some_and(|seen| Some(seen) == bytes.get(form.clone())) {
                // A text full of occurrences must not become a list of the same size.
                match found.last_mut() {
                    Some((from, to)) if *from <= start && start <= *to => *to = end.max(*to),
                    _ => found.push((start, end)),
                }
            }
        }
    }
}

/// How the forms begin.
struct Starts {
    forms: Vec<Range<usize>>,
    chains: Chains,
    /// The first four bytes of each form.
    grams: Zeroizing<Vec<u32>>,
}

impl Starts {
    /// Also drops repetitions.
    fn new(bytes: &[u8], pieces: Vec<Range<usize>>) -> Self {
        let mut starts = Self {
            forms: Vec::with_capacity(pieces.len()),
            chains: Chains::with_capacity(pieces.len()),
            grams: Zeroizing::new(Vec::with_capacity(pieces.len())),
        };
        for piece in pieces {
            let Some(form) = bytes.get(piece.clone()) else { continue };
            let gram = read_gram(form);
            let known = |entry| starts.forms.get(entry).and_then(|old: &Range<usize>| bytes.get(old.clone()));
            if starts.chains.may_hold(gram) && starts.chains.entries(gram).any(|entry| known(entry) == Some(form)) {
                continue;
            }
            starts.chains.push(gram);
            starts.grams.push(gram);
            starts.forms.push(piece);
        }
        starts
    }

    /// True if `text`, which is not empty, is a proper beginning of a form.
    fn begins(&self, bytes: &[u8], text: &[u8]) -> bool {
        let gram = read_gram(text);
        if text.len() < MIN_BYTES {
            let kept = u32::MAX >> (8 * (4 - text.len()));
            // Counted, not searched: without an early end the compiler makes wide instructions of it.
            return self.grams.iter().map(|start| u32::from((start ^ gram) & kept == 0)).sum::<u32>() != 0;
        }
        self.chains.may_hold(gram)
            && self.chains.entries(gram).filter_map(|entry| self.forms.get(entry)).any(|form| {
                form.len() > text.len() && bytes.get(form.clone()).is_some_and(|form| form.starts_with(text))
            })
    }
}

/// Up to four bytes from the start of `text` as a number.
#[inline(always)]
fn read_gram(text: &[u8]) -> u32 {
    if let Some(four) = text.first_chunk() {
        return u32::from_le_bytes(*four);
    }
    text.iter().rev().fold(0, |gram, byte| gram << 8 | u32::from(*byte))
}
