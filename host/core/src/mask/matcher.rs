//! Finds every occurrence of every form, fast where there is none.
//!
//! A sampled filter of grams: of each form, as many consecutive grams (3 or 4 bytes) are entered in
//! a bitmap as the step is long, and only every step-th position of the text is looked up: each
//! occurrence is met at exactly one of them. What the bitmap lets through is compared with the
//! forms that hold such a gram. Forms below [`LONG`] have a filter of their own, so that one short
//! value does not shorten the step of all.
//!
//! With a hundred secrets (a thousand forms) this is several times as fast as an Aho-Corasick
//! automaton and a hundred times as fast to build; the automaton is the oracle of the tests.

use std::ops::Range;

use zeroize::Zeroizing;

use super::MIN_BYTES;
use super::forms::Forms;

/// Forms of at least this length, in bytes, are sampled with grams of 4.
const LONG: usize = 8;

/// The steps for forms of [`LONG`] and more, in bytes. Beyond 12, more entries cost more than fewer
/// lookups gain.
const LONG_STEPS: [usize; 4] = [5, 6, 8, 12];

/// The step for forms below [`LONG`].
const SHORT_STEP: usize = 2;

/// How many positions are looked up before what was found is compared. In between there is no
/// branch that depends on the text, because those that are mispredicted cost more than the lookups.
const BLOCK: usize = 64;

/// The size of a bitmap: 32 KiB, which a processor's first cache holds. With a hundred secrets one
/// lookup in ten to fifty that ought to fail does not. Fixed, so that the compiler sees that every
/// place is inside.
const BITMAP_BITS: usize = 1 << 18;

/// [`BITMAP_BITS`] in words.
const BITMAP_WORDS: usize = BITMAP_BITS / 64;

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
        Self {
            short: Sampled::new(&bytes, short, 3, &[SHORT_STEP]),
            long: Sampled::new(&bytes, long, 4, &LONG_STEPS),
            starts,
            longest,
            bytes,
        }
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
    bitmap: Box<[u64; BITMAP_WORDS]>,
    heads: Vec<u32>,
    heads_shift: u32,
    next: Vec<u32>,
}

impl Chains {
    fn with_capacity(entries: usize) -> Self {
        let heads = entries.next_power_of_two().clamp(1 << 8, 1 << 30);
        Self {
            bitmap: Box::new([0; BITMAP_WORDS]),
            heads: vec![NONE; heads],
            heads_shift: 32 - heads.trailing_zeros(),
            next: Vec::with_capacity(entries),
        }
    }

    /// Fibonacci hashing: the high bits are the good ones.
    #[inline(always)]
    fn hash(gram: u32) -> u32 {
        gram.wrapping_mul(0x9e37_79b1)
    }

    /// The word of the bitmap, and the bit in it.
    #[inline(always)]
    fn place(hash: u32) -> (usize, u32) {
        let bit = hash >> (32 - BITMAP_BITS.trailing_zeros());
        ((bit / 64) as usize, bit % 64)
    }

    /// Adds the entry whose number is the count of those before it.
    fn push(&mut self, gram: u32) {
        let hash = Self::hash(gram);
        let (word, bit) = Self::place(hash);
        if let Some(word) = self.bitmap.get_mut(word) {
            *word |= 1 << bit;
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
        let (word, bit) = Self::place(Self::hash(gram));
        self.bitmap.get(word).is_some_and(|word| word >> bit & 1 != 0)
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
    /// `steps` are those there is code for with this gram; the longest is taken with which no form
    /// is missed.
    fn new(bytes: &[u8], forms: Vec<Range<usize>>, gram: usize, steps: &[usize]) -> Option<Self> {
        let shortest = forms.iter().map(Range::len).min()?;
        let step = steps.iter().copied().filter(|step| *step <= shortest - gram + 1).max()?;
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
        let compare = |at| self.compare(at, bytes, text, found);
        match self.step {
            SHORT_STEP => self.sample_short(text, compare),
            5 => self.sample_long::<5>(text, compare),
            6 => self.sample_long::<6>(text, compare),
            8 => self.sample_long::<8>(text, compare),
            _ => self.sample_long::<12>(text, compare),
        }
    }

    /// Looks up every [`SHORT_STEP`]-th position with a gram of 3.
    fn sample_short(&self, text: &[u8], mut compare: impl FnMut(usize)) {
        let mut at = 0;
        while let Some(block) = text.get(at..at + SHORT_STEP * BLOCK + 1) {
            let (eights, _) = block.as_chunks::<8>();
            let mut hits = 0u64;
            for (index, eight) in eights.iter().enumerate() {
                let word = u64::from_le_bytes(*eight);
                let next = u64::from(block.get(8 * index + 8).copied().unwrap_or_default());
                for gram in [word, word >> 16, word >> 32, word >> 48 | next << 16] {
                    let gram = gram as u32 & 0xff_ffff;
                    hits = hits >> 1 | u64::from(self.chains.may_hold(gram)) << 63;
                }
            }
            each_bit(hits, |index| compare(at + SHORT_STEP * index));
            at += SHORT_STEP * BLOCK;
        }
        while at + self.gram <= text.len() {
            compare(at);
            at += self.step;
        }
    }

    /// Looks up every `STEP`-th position with a gram of 4, which is not longer.
    fn sample_long<const STEP: usize>(&self, text: &[u8], mut compare: impl FnMut(usize)) {
        let (steps, _) = text.as_chunks::<STEP>();
        let (blocks, _) = steps.as_chunks::<BLOCK>();
        let mut at = 0;
        for block in blocks {
            let mut hits = 0u64;
            for step in block {
                let gram = step.first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
                hits = hits >> 1 | u64::from(self.chains.may_hold(gram)) << 63;
            }
            each_bit(hits, |index| compare(at + STEP * index));
            at += STEP * BLOCK;
        }
        while at + self.gram <= text.len() {
            compare(at);
            at += self.step;
        }
    }

    /// Compares every form that has the gram at `at` where it has it.
    fn compare(&self, at: usize, bytes: &[u8], text: &[u8], found: &mut Vec<(usize, usize)>) {
        let gram = read_gram(text.get(at..at + self.gram).unwrap_or_default());
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

/// Calls `each` with the number of every bit that is set.
fn each_bit(mut bits: u64, mut each: impl FnMut(usize)) {
    while bits != 0 {
        each(bits.trailing_zeros() as usize);
        bits &= bits - 1;
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
            // Counted, not searched: without an early end the compiler makes wide instructions of
            // it.
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
