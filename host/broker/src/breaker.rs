//! Circuit breakers: a backend that has failed several times in a row is left alone for a while, and whoever asks is told
//! so at once instead of waiting for it.
//!
//! After the pause one call finds out whether it is back. A refusal, an absent secret and a wrong answer are answers:
//! only what says that the backend cannot be asked counts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use strongroom_core::config::Limits;
use strongroom_core::{Failure, Kind, Name};

/// The most backends that are told apart: references choose hosts among those that a mount allows.
const MAX_CIRCUITS: usize = 4096;

/// What a circuit is of: a mount, and the host that its reference names.
type Key = (Name, Option<String>);

#[derive(Debug, Default)]
struct Circuit {
    /// Failures since the last answer.
    failures: u32,
    /// Until when nobody asks.
    open_until: Option<Instant>,
    /// Somebody finds out whether it is back.
    probed: bool,
}

/// The circuits of all backends that failed last.
#[derive(Debug, Default)]
pub(crate) struct Breakers(Mutex<HashMap<Key, Circuit>>);

/// One call's leave to ask. Dropped without a verdict, as if it had not been.
#[derive(Debug)]
pub(crate) struct Leave<'a> {
    breakers: &'a Breakers,
    key: Key,
    probing: bool,
}

impl Breakers {
    /// Leave to ask the backend of `mount` at `host`.
    ///
    /// # Errors
    /// `breaker.open`, with the time that is left.
    pub(crate) fn enter(&self, mount: &Name, host: Option<&str>, now: Instant) -> Result<Leave<'_>, Failure> {
        let key = (mount.clone(), host.map(str::to_owned));
        let mut circuits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(circuit) = circuits.get_mut(&key) else { return Ok(Leave { breakers: self, key, probing: false }) };
        let left = circuit.open_until.map(|until| until.saturating_duration_since(now));
        match left {
            None => Ok(Leave { breakers: self, key, probing: false }),
            Some(Duration::ZERO) if !circuit.probed => {
                circuit.probed = true;
                Ok(Leave { breakers: self, key, probing: true })
            }
            Some(left) => {
                let wait = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(100);
                let message = "the backend failed several times in a row, and is left alone for a while";
                Err(Failure::new(Kind::Unavailable, "breaker.open", message).retry_after_ms(Some(wait)))
            }
        }
    }
}

impl Leave<'_> {
    /// Notes how the call ended: `failed` is whether the backend could not be asked.
    pub(crate) fn ended(self, failed: bool, limits: &Limits, now: Instant) {
        let mut circuits = self.breakers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !failed {
            circuits.remove(&self.key);
            return;
        }
        if limits.failures == 0 {
            return;
        }
        if circuits.len() >= MAX_CIRCUITS && !circuits.contains_key(&self.key) {
            circuits.retain(|_, circuit| circuit.open_until.is_some_and(|until| until > now));
        }
        if circuits.len() >= MAX_CIRCUITS {
            return;
        }
        let circuit = circuits.entry(self.key.clone()).or_default();
        circuit.failures = circuit.failures.saturating_add(1);
        if self.probing || circuit.failures >= limits.failures {
            circuit.open_until = now.checked_add(limits.pause);
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.probing {
            let mut circuits = self.breakers.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(circuit) = circuits.get_mut(&self.key) {
                circuit.probed = false;
            }
        }
    }
}

/// Whether a failure says that the backend cannot be asked. One of the host's own, such as no free place, does not.
pub(crate) fn is_of_backend(failure: &Failure) -> bool {
    matches!(failure.kind(), Kind::Unavailable | Kind::Deadline)
        && !matches!(
            failure.code(),
            "deadline.queue" | "breaker.open" | "sandbox.full" | "offline" | "offline.not-kept"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: fn() -> Limits = || Limits { failures: 3, pause: Duration::from_secs(5), ..Limits::default() };

    #[test]
    fn a_backend_that_keeps_failing_is_left_alone_and_tried_by_one_after_the_pause() {
        let breakers = Breakers::default();
        let mount = Name::parse("vault").unwrap();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let enter = |seconds| breakers.enter(&mount, Some("a.example"), at(seconds));
        for _ in 0..3 {
            enter(0).unwrap().ended(true, &LIMITS(), at(0));
        }
        let refused = enter(1).unwrap_err();
        assert_eq!((refused.code(), refused.retry_after()), ("breaker.open", Some(4000)));
        assert!(breakers.enter(&mount, Some("b.example"), at(1)).is_ok(), "another host is another backend");
        let probe = enter(5).unwrap();
        assert_eq!(enter(5).unwrap_err().code(), "breaker.open", "one finds out for all");
        probe.ended(true, &LIMITS(), at(5));
        assert!(enter(9).is_err(), "and if it fails, the pause begins anew");
        drop(enter(10).unwrap());
        let probe = enter(10).expect("one that gave up does not keep others from finding out");
        probe.ended(false, &LIMITS(), at(10));
        enter(10).unwrap().ended(true, &LIMITS(), at(10));
        assert!(enter(10).is_ok(), "after an answer it takes as many failures as before");
    }

    #[test]
    fn it_can_be_switched_off() {
        let breakers = Breakers::default();
        let mount = Name::parse("vault").unwrap();
        let limits = Limits { failures: 0, ..LIMITS() };
        for _ in 0..20 {
            breakers.enter(&mount, None, Instant::now()).unwrap().ended(true, &limits, Instant::now());
        }
    }
}
