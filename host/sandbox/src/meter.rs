//! Time spent inside a guest.
//!
//! Epochs count wall time and are engine-wide, so they only make a guest look at its watch; the
//! watch itself is here. A call's future is wrapped so that the meter runs while the future is
//! polled and stands still while it waits for the store or the network.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// One call's stop-watch. Shared between the future that runs it and the store that reads it, both
/// on one thread at a time, so relaxed ordering is enough.
#[derive(Debug)]
pub(crate) struct Meter {
    origin: Instant,
    spent_ns: AtomicU64,
    /// Nanoseconds after `origin` at which the current poll began, plus one; 0 while not polled.
    running_since: AtomicU64,
}

impl Meter {
    pub(crate) fn new(origin: Instant) -> Arc<Self> {
        Arc::new(Self { origin, spent_ns: AtomicU64::new(0), running_since: AtomicU64::new(0) })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Time inside polls so far, the current one included.
    pub(crate) fn spent(&self) -> Duration {
        let since = self.running_since.load(Ordering::Relaxed);
        let current = if since == 0 { 0 } else { self.now().saturating_sub(since - 1) };
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed).saturating_add(current))
    }
}

/// A future whose polls are counted by a [`Meter`].
pub(crate) struct Metered<F> {
    pub(crate) meter: Arc<Meter>,
    pub(crate) future: Pin<Box<F>>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let start = self.meter.now();
        self.meter.running_since.store(start + 1, Ordering::Relaxed);
        let polled = self.future.as_mut().poll(context);
        self.meter.running_since.store(0, Ordering::Relaxed);
        self.meter.spent_ns.fetch_add(self.meter.now().saturating_sub(start), Ordering::Relaxed);
        polled
    }
}
