//! Time spent inside a guest.
//!
//! Epochs count wall time and are engine-wide, so they only make a guest look at its watch; the
//! watch itself is here. A call's future is wrapped so that the meter runs while the future is
//! polled and stands still while it waits for the store or the network.
//!
//! What counts is processor time: on a busy machine a thread is made to wait for milliseconds in the middle of a poll,
//! which is no fault of the guest's. That clock is a call of the kernel and costs a microsecond, so each thread
//! looks at it once a millisecond at most, and where hardly any time has passed, that time is taken for it.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// A poll that is over in less was hardly interrupted: an epoch is a millisecond.
const SHORT: Duration = Duration::from_millis(1);

thread_local! {
    /// When this thread last looked at its processor time, and what that was in nanoseconds.
    static SEEN: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
}

/// One call's stop-watch. Shared between the future that runs it and the store that reads it, both
/// on one thread at a time, so relaxed ordering is enough.
#[derive(Debug)]
pub(crate) struct Meter {
    origin: Instant,
    spent_ns: AtomicU64,
    /// Nanoseconds after `origin` at which the current poll began, plus one; 0 while not polled.
    running_since: AtomicU64,
    /// What the thread that polls had used of its processor when the current poll began, or a little before.
    thread_had: AtomicU64,
}

impl Meter {
    pub(crate) fn new(origin: Instant) -> Arc<Self> {
        Arc::new(Self {
            origin,
            spent_ns: AtomicU64::new(0),
            running_since: AtomicU64::new(0),
            thread_had: AtomicU64::new(0),
        })
    }

    /// Nanoseconds from the origin to `now`.
    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }

    fn start(&self) {
        let now = Instant::now();
        let had = match SEEN.get() {
            Some((seen, had)) if now.saturating_duration_since(seen) < SHORT => had,
            _ => {
                let had = thread_ns();
                SEEN.set(Some((now, had)));
                had
            }
        };
        self.thread_had.store(had, Ordering::Relaxed);
        self.running_since.store(self.since(now) + 1, Ordering::Relaxed);
    }

    fn stop(&self) {
        self.spent_ns.fetch_add(self.current(), Ordering::Relaxed);
        self.running_since.store(0, Ordering::Relaxed);
    }

    /// Time inside the current poll. For the thread that polls.
    fn current(&self) -> u64 {
        let since = self.running_since.load(Ordering::Relaxed);
        if since == 0 {
            return 0;
        }
        let passed = self.since(Instant::now()).saturating_sub(since - 1);
        if Duration::from_nanos(passed) < SHORT {
            return passed;
        }
        passed.min(thread_ns().saturating_sub(self.thread_had.load(Ordering::Relaxed)))
    }

    /// Time inside polls so far, the current one included. For the thread that polls, or when nobody does.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed).saturating_add(self.current()))
    }
}

/// The processor time of this thread.
fn thread_ns() -> u64 {
    // Every kernel that this runs on has that clock; without it nothing would be counted, and the deadline would end the call.
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// A future whose polls are counted by a [`Meter`].
pub(crate) struct Metered<F> {
    pub(crate) meter: Arc<Meter>,
    pub(crate) future: Pin<Box<F>>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.start();
        let polled = self.future.as_mut().poll(context);
        self.meter.stop();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest whose thread has to wait in the middle of a poll, as on a busy machine, has not used that time.
    #[test]
    fn a_thread_that_waits_is_not_a_guest_that_runs() {
        let busy = |time: Duration| {
            let until = Instant::now() + time;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        };
        let meter = Meter::new(Instant::now());
        meter.start();
        std::thread::spawn(move || busy(Duration::from_millis(50))).join().unwrap();
        let waited = meter.spent();
        assert!(waited < Duration::from_millis(25), "{waited:?}");

        let before = thread_ns();
        while thread_ns() - before < 5_000_000 {}
        meter.stop();
        let ran = meter.spent();
        assert!(ran >= waited + Duration::from_millis(5), "{ran:?} after {waited:?}");
        assert!(ran < Duration::from_millis(50), "{ran:?}");
    }
}
