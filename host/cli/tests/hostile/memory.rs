//! Searching a process's memory for a secret, from outside.
//!
//! What is searched for is never in the process that is searched, so whatever is found is a copy that
//! the process itself made. A secret is searched for piece by piece: whoever frees memory without
//! wiping it leaves all but the first bytes of it, where the allocator writes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::canary::hex;

/// The length of a piece, in bytes: too long to be there by chance.
pub const PIECE: usize = 16;

/// How much is read at once, in bytes.
const WINDOW: usize = 1 << 20;

const PAGE: usize = 4096;

/// A secret of several pieces, each with characters that encodings write in a form of their own.
#[derive(Clone)]
pub struct Marker(String);

impl Marker {
    pub fn new() -> Self {
        let piece = || {
            let random = format!("{:016x}", getrandom::u64().unwrap());
            format!("{}+{}/{}", &random[..5], &random[5..10], &random[10..14])
        };
        let marker = Self((0..4).map(|_| piece()).collect());
        assert_eq!(marker.0.len(), 4 * PIECE);
        marker
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// The forms in which a copy is known, each as its whole text.
    pub fn forms(&self) -> BTreeMap<&'static str, String> {
        let bytes = self.0.as_bytes();
        let percent = self.0.replace('+', "%2B").replace('/', "%2F");
        let mut forms = BTreeMap::from([
            ("plain", self.0.clone()),
            ("hex", hex(bytes)),
            ("HEX", hex(bytes).to_uppercase()),
            ("percent", percent.clone()),
            ("percent, small", percent.to_lowercase()),
            ("JSON, escaped", self.0.replace('/', "\\/")),
        ]);
        for (shift, standard, url) in
            [(0, "base64", "base64url"), (1, "base64+1", "base64url+1"), (2, "base64+2", "base64url+2")]
        {
            let shifted = [&[0; 2][..shift], bytes].concat();
            // What does not depend on what stands around it.
            let inner = |text: String| text[4..text.len() - 4].to_owned();
            forms.insert(standard, inner(STANDARD_NO_PAD.encode(&shifted)));
            forms.insert(url, inner(URL_SAFE_NO_PAD.encode(&shifted)));
        }
        forms
    }
}

/// A part of a secret that was found.
pub struct Trace {
    form: &'static str,
    piece: usize,
    at: u64,
    place: String,
}

/// All of them.
#[derive(Default)]
pub struct Traces(Vec<Trace>);

impl Traces {
    /// How often it is there in this form: as often as the piece that is there most often.
    pub fn copies(&self, form: &str) -> usize {
        let mut of_piece = BTreeMap::<usize, usize>::new();
        for trace in self.0.iter().filter(|trace| trace.form == form) {
            *of_piece.entry(trace.piece).or_default() += 1;
        }
        of_piece.into_values().max().unwrap_or_default()
    }

    /// The forms that were found, and how often.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let forms: std::collections::BTreeSet<_> = self.0.iter().map(|trace| trace.form).collect();
        forms.into_iter().map(|form| (form, self.copies(form))).collect()
    }

    /// Those that lie in one of these ranges.
    pub fn within(mut self, ranges: &[std::ops::Range<u64>]) -> Self {
        self.0.retain(|trace| ranges.iter().any(|range| range.contains(&trace.at)));
        self
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.iter().filter(|trace| trace.piece <= 1);
        whole
            .into_iter()
            .try_for_each(|Trace { form, piece, place, .. }| writeln!(f, "  {form}, piece {piece}: {place}"))
    }
}

/// Looks for `marker` in everything that the process has in memory and can read.
pub fn search(process: u32, marker: &Marker) -> Traces {
    let forms = marker.forms();
    let mut needles = Vec::new();
    for (form, text) in &forms {
        let pieces = text.as_bytes().chunks_exact(PIECE).enumerate();
        needles.extend(pieces.map(|(number, piece)| (*form, number, piece)));
    }
    // The same bytes in two forms are one thing.
    needles.sort_by_key(|(form, number, piece)| (*piece, *form != "plain", *number));
    needles.dedup_by_key(|(_, _, piece)| *piece);
    let mut found = Vec::new();
    scan(process, needles.iter().map(|(_, _, piece)| *piece), |needle, at, line, around| {
        let (form, piece, _) = needles[needle];
        found.push(Trace { form, piece, at, place: format!("{at:#x} in {line}{around}") });
    });
    Traces(found)
}

/// Where in the process's memory `text` stands, as it is.
pub fn places(process: u32, text: &str) -> Vec<u64> {
    let mut found = Vec::new();
    scan(process, [text.as_bytes()].into_iter(), |_, at, _, _| found.push(at));
    found
}

/// The memories of the guests that live in the process, whose instances are allocated on demand: all
/// that such a memory could grow to is reserved behind it, which nothing else in a process looks like. It may be several mappings:
/// what its module begins with is one of its own.
pub fn guests(process: u32) -> Vec<std::ops::Range<u64>> {
    const RESERVED: u64 = 1 << 30;
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mappings: Vec<(u64, u64, &str)> = maps
        .lines()
        .map(|line| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (start, end) = bounds(range);
            (start, end, &rest[..4])
        })
        .collect();
    let reserved = |(start, end, rights): &(u64, u64, &str)| *rights == "---p" && end - start >= RESERVED;
    let memory = |index: usize| {
        let end = mappings[index].0;
        let before = mappings[..index].iter().rev();
        let start = before.scan(end, |next, (start, end, rights)| {
            let one_more = end == next && *rights == "rw-p";
            one_more.then(|| std::mem::replace(next, *start)).map(|_| *start)
        });
        start.last().map(|start| start..end)
    };
    (0..mappings.len()).filter(|index| reserved(&mappings[*index])).filter_map(memory).collect()
}

fn bounds(range: &str) -> (u64, u64) {
    let (start, end) = range.split_once('-').unwrap();
    (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap())
}

/// Tells of every needle in the process's memory: which, where, in what mapping, and what stands around it.
fn scan<'n>(
    process: u32,
    needles: impl ExactSizeIterator<Item = &'n [u8]> + Clone,
    mut tell: impl FnMut(usize, u64, &str, String),
) {
    let longest = needles.clone().map(<[u8]>::len).max().unwrap_or_default();
    let searcher = AhoCorasick::new(needles).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let present = File::open(format!("/proc/{process}/pagemap")).unwrap();
    let mut window = vec![0_u8; WINDOW];
    for line in fs::read_to_string(format!("/proc/{process}/maps")).unwrap().lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        if !rest.starts_with('r') || rest.contains("[v") {
            continue;
        }
        let (start, end) = bounds(range);
        for (from, to) in runs(&present, start, end) {
            let mut at = from;
            while at < to {
                let length = WINDOW.min((to - at) as usize);
                // Pages can go away at any time; then nothing is in them.
                let Ok(read) = memory.read_at(&mut window[..length], at) else { break };
                let last = at + read as u64 >= to || read < length;
                for hit in searcher.find_overlapping_iter(&window[..read]) {
                    // What reaches into the overlap is found again there.
                    if last || hit.start() < read - (longest - 1) {
                        let place = at + hit.start() as u64;
                        tell(hit.pattern().as_usize(), place, line, around(&window[..read], hit.start()));
                    }
                }
                at += if last { read as u64 } else { (read - (longest - 1)) as u64 };
                if read == 0 {
                    break;
                }
            }
        }
    }
}

/// What stands before and behind: it tells whose memory it is.
fn around(window: &[u8], at: usize) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let (before, behind) = (at.saturating_sub(80), (at + PIECE + 48).min(window.len()));
    format!("\n    {} <> {}", text(&window[before..at]), text(&window[at + PIECE..behind]))
}

/// The pages from `start` to `end` that hold anything, as ranges.
fn runs(present: &File, start: u64, end: u64) -> Vec<(u64, u64)> {
    /// In memory, or swapped out.
    const HELD: u64 = 3 << 62;
    const ENTRY: usize = 8;
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut entries = vec![0; 1 << 19];
    let mut page = start / PAGE as u64;
    let last = end / PAGE as u64;
    while page < last {
        let wanted = entries.len().min((last - page) as usize * ENTRY);
        let read = present.read_at(&mut entries[..wanted], page * ENTRY as u64).unwrap();
        assert!(read >= ENTRY, "the page map ends early");
        for entry in entries[..read].chunks_exact(ENTRY) {
            let at = page * PAGE as u64;
            if u64::from_ne_bytes(entry.try_into().unwrap()) & HELD != 0 {
                match runs.last_mut() {
                    Some((_, to)) if *to == at => *to += PAGE as u64,
                    _ => runs.push((at, at + PAGE as u64)),
                }
            }
            page += 1;
        }
    }
    runs
}
