//! The state of one stream that is being masked.
//!
//! Between two chunks only the longest end of the stream that may still become a form is kept. It
//! must never be shown before that is settled, and never outlive it in memory.

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

use super::matcher::Matcher;
use super::{MASK, MIN_BYTES, Masker};

/// How many held-back bytes [`MaskStream::show_early`] shows, at most.
const EARLY_BYTES: usize = 2;

/// Filters one stream, chunk by chunk.
///
/// ```
/// use strongroom_core::mask::Masks;
///
/// let mut masks = Masks::new();
/// masks.add("PASSWORD", b"correct horse");
/// let mut stream = masks.build().stream();
/// let mut out = Vec::new();
/// stream.push(b"login: correct ho", &mut out);
/// assert_eq!(out, b"login: ");
/// stream.push(b"rse, or correct?", &mut out);
/// stream.finish(&mut out);
/// assert_eq!(out, b"login: ***, or correct?");
/// ```
pub struct MaskStream {
    masker: Masker,
    /// The end of the stream so far that is a proper beginning of a form.
    held: Zeroizing<Vec<u8>>,
    state: State,
}

#[derive(Default)]
struct State {
    /// How many of the held-back bytes have been shown early.
    shown: usize,
    /// How many of the held-back bytes belong to an occurrence that began before them.
    covered: usize,
    /// Whether the last thing written was a mask.
    masking: bool,
    /// Places of occurrences; kept to be used again.
    found: Vec<(usize, usize)>,
}

impl MaskStream {
    pub(super) fn new(masker: Masker) -> Self {
        Self { masker, held: Zeroizing::default(), state: State::default() }
    }

    /// Filters the next bytes of the stream: whatever of it and of the bytes held back is settled
    /// is appended to `out`. At most [`MAX_FORM_BYTES`](super::MAX_FORM_BYTES) less one stay
    /// behind, and none that cannot be the start of a form.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(matcher) = &self.masker.matcher else {
            out.extend_from_slice(chunk);
            return;
        };
        if !self.held.is_empty() {
            let before = self.held.len();
            // So much of the chunk ends every form that began before it.
            let (seam, rest) = chunk.split_at_checked(matcher.longest() - 1).unwrap_or((chunk, &[]));
            self.held.extend_from_slice(seam);
            if rest.is_empty() {
                let settled = matcher.unsettled(&self.held);
                self.state.settle(matcher, &self.held, settled, out);
                forget(&mut self.held, settled);
                return;
            }
            self.state.settle(matcher, &self.held, before, out);
            let all = self.held.len();
            forget(&mut self.held, all);
        }
        let settled = matcher.unsettled(chunk);
        self.state.settle(matcher, chunk, settled, out);
        if let Some(tail) = chunk.get(settled..).filter(|tail| !tail.is_empty()) {
            // Room for the seam too: growing would leave a copy.
            self.held.reserve(2 * matcher.longest());
            self.held.extend_from_slice(tail);
        }
    }

    /// Ends the stream: what was held back was no secret and is appended to `out`. The stream is
    /// then as new.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(matcher) = &self.masker.matcher {
            let all = self.held.len();
            self.state.settle(matcher, &self.held, all, out);
            forget(&mut self.held, all);
        }
        self.state = State::default();
    }

    /// Ends a stream that was cut off by a limit: as [`MaskStream::finish`], but what may be the
    /// beginning of a secret is hidden, from [`MIN_BYTES`] on.
    pub fn finish_cut(&mut self, out: &mut Vec<u8>) {
        if self.held.len() >= MIN_BYTES {
            self.state.covered = self.held.len();
        }
        self.finish(out);
    }

    /// Goes on with a set that holds more: from the next byte on it hides what is only in that one, too. What is held
    /// back is settled with it.
    pub fn renew(&mut self, masker: Masker) {
        // With nothing to hide, nothing that is held back would ever be shown.
        if let Some(matcher) = masker.matcher.clone() {
            let mut held = Zeroizing::new(Vec::with_capacity(self.held.len() + 2 * matcher.longest()));
            held.extend_from_slice(&self.held);
            self.held = held;
            self.masker = masker;
        }
    }

    /// True if bytes are held back that [`MaskStream::show_early`] has not shown.
    pub fn has_pending(&self) -> bool {
        self.held.len() > self.state.shown
    }

    /// For a terminal whose program has been quiet for a moment: shows the first one or two of the
    /// held-back bytes.
    ///
    /// With many secrets nearly every letter is the start of some form, so the echo of a key would
    /// appear only with the next one. Matching goes on as if nothing had been shown: the rest of a
    /// secret is still hidden, and only a secret that is printed this slowly gives away two bytes.
    /// Not for pipes, where nobody waits.
    pub fn show_early(&mut self, out: &mut Vec<u8>) {
        let Some(matcher) = &self.masker.matcher else { return };
        let shown = self.held.len().min(EARLY_BYTES);
        if shown > self.state.shown {
            self.state.write(matcher, &self.held, shown, out);
            self.state.shown = shown;
        }
    }
}

impl State {
    /// Writes `text` up to `settled`, and keeps what is known about the rest. All occurrences that
    /// begin before `settled` are in `text`.
    fn settle(&mut self, matcher: &Matcher, text: &[u8], settled: usize, out: &mut Vec<u8>) {
        let reach = self.write(matcher, text, settled, out);
        self.covered = reach.saturating_sub(settled);
        self.shown = self.shown.saturating_sub(settled);
    }

    /// Writes what has not been shown of `text` up to `settled`, and tells where the last
    /// occurrence ends that begins before.
    fn write(&mut self, matcher: &Matcher, text: &[u8], settled: usize, out: &mut Vec<u8>) -> usize {
        self.found.clear();
        if self.covered > 0 {
            self.found.push((0, self.covered));
        }
        matcher.find(text, &mut self.found);
        self.found.sort_unstable();
        let mut reach = self.covered;
        let mut at = self.shown.min(settled);
        for &(start, end) in self.found.iter().take_while(|(start, _)| *start < settled) {
            reach = end.max(reach);
            if end.min(settled) <= at {
                continue;
            }
            if start > at {
                out.extend_from_slice(text.get(at..start).unwrap_or_default());
                self.masking = false;
            }
            if !self.masking {
                out.extend_from_slice(MASK.as_bytes());
                self.masking = true;
            }
            at = end.min(settled);
        }
        if at < settled {
            out.extend_from_slice(text.get(at..settled).unwrap_or_default());
            self.masking = false;
        }
        reach
    }
}

/// Drops the first `count` bytes and overwrites what they leave.
fn forget(held: &mut Vec<u8>, count: usize) {
    let count = count.min(held.len());
    let rest = held.len() - count;
    held.copy_within(count.., 0);
    if let Some(gone) = held.get_mut(rest..) {
        gone.zeroize();
    }
    held.truncate(rest);
}

impl fmt::Debug for MaskStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskStream(..)")
    }
}
