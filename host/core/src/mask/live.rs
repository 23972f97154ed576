//! Masking where values become known while the streams run: a program that asks for more, a value that changes.
//!
//! A value must be added before anybody who writes to a stream can know it: then no byte of it comes by unseen.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use super::{MaskStream, Masker, Masks};
use crate::Digest;

/// The values to hide, which may still become more. A clone shares them.
#[derive(Clone)]
pub struct LiveMasks(Arc<Shared>);

struct Shared {
    /// How often what is hidden has changed.
    count: AtomicU64,
    state: Mutex<State>,
}

struct State {
    masks: Masks,
    /// What was added one by one.
    added: Vec<Zeroizing<Vec<u8>>>,
    /// The same, so that a value which is asked for again and again costs nothing.
    known: HashSet<Digest>,
    /// The matcher of the first `count` changes.
    built: (u64, Masker),
}

impl LiveMasks {
    /// Hides `masks`, and what is added later.
    pub fn new(masks: Masks) -> Self {
        let built = (0, masks.clone().build());
        let state = Mutex::new(State { masks, added: Vec::new(), known: HashSet::new(), built });
        Self(Arc::new(Shared { count: AtomicU64::new(0), state }))
    }

    /// Hides `value` too, in whatever is written from now on, as [`Masks::add`] does. One that is too short stays
    /// visible; nobody is warned.
    pub fn add(&self, value: &[u8]) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.insert(Digest::of(value)) {
            state.added.push(Zeroizing::new(value.to_vec()));
            self.0.count.fetch_add(1, Ordering::Release);
        }
    }

    /// Hides `masks` in place of those that it began with, beside what was added.
    pub fn renew(&self, masks: Masks) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.masks = masks;
        self.0.count.fetch_add(1, Ordering::Release);
    }

    /// As [`LiveMasks::renew`], where nothing will be added: no copy of the values is kept to go on from.
    pub fn settle(&self, masks: Masks) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.0.count.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        state.masks = Masks::new();
        state.built = (count, masks.build());
    }

    /// The state to filter one stream with.
    pub fn stream(&self) -> LiveStream {
        let (at, masker) = self.0.built();
        LiveStream { shared: Arc::clone(&self.0), at, stream: masker.stream() }
    }
}

impl Shared {
    /// The matcher for all values so far. It is made when it is first needed: many values cost one.
    fn built(&self) -> (u64, Masker) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.count.load(Ordering::Acquire);
        if state.built.0 != count {
            let mut masks = state.masks.clone();
            state.added.iter().for_each(|value| masks.add("", value));
            state.built = (count, masks.build());
        }
        state.built.clone()
    }
}

/// Filters one stream, as a [`MaskStream`], with the values that are known at each chunk.
pub struct LiveStream {
    shared: Arc<Shared>,
    at: u64,
    stream: MaskStream,
}

impl LiveStream {
    /// As [`MaskStream::push`].
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        if self.shared.count.load(Ordering::Acquire) != self.at {
            let (at, masker) = self.shared.built();
            self.at = at;
            self.stream.renew(masker);
        }
        self.stream.push(chunk, out);
    }

    /// As [`MaskStream::finish`].
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.stream.finish(out);
    }

    /// As [`MaskStream::has_pending`].
    pub fn has_pending(&self) -> bool {
        self.stream.has_pending()
    }

    /// As [`MaskStream::show_early`].
    pub fn show_early(&mut self, out: &mut Vec<u8>) {
        self.stream.show_early(out);
    }
}

impl fmt::Debug for LiveMasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveMasks(..)")
    }
}

impl fmt::Debug for LiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveStream(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_hidden_from_when_it_is_known_and_the_others_stay_so() {
        let mut masks = Masks::new();
        masks.add("A", b"correct horse");
        let live = LiveMasks::new(masks);
        let mut stream = live.stream();
        let mut out = Vec::new();
        stream.push(b"battery staple, correct ho", &mut out);
        live.add(b"battery staple");
        live.add(b"rse and");
        stream.push(b"rse and battery sta", &mut out);
        live.add(b"battery staple");
        stream.push(b"ple.", &mut out);
        stream.finish(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "battery staple, *** ***.");
        // What it began with may be another set; what was added stays.
        let mut masks = Masks::new();
        masks.add("A", b"another horse");
        live.renew(masks);
        let mut late = live.stream();
        let mut out = Vec::new();
        late.push(b"battery staple, correct horse, another horse", &mut out);
        late.finish(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "***, correct horse, ***");
    }

    #[test]
    fn where_nothing_was_hidden_something_is() {
        let live = LiveMasks::new(Masks::new());
        let mut stream = live.stream();
        let mut out = Vec::new();
        stream.push(b"first battery ", &mut out);
        live.add(b"battery staple");
        stream.push(b"battery staple", &mut out);
        stream.finish(&mut out);
        assert_eq!(out, b"first battery ***");
    }
}
