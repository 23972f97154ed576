//! When an issuer's keys are fetched: seldom, by one at a time, and never because somebody asks often.
//!
//! A token with an unknown key costs its sender nothing to make, so such tokens cause one fetch a minute and no
//! more. A fetch that fails changes nothing: what is known stays in use for a day.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use strongroom_core::config::callers::{Algorithm, Issuer};
use strongroom_core::{Failure, Name};
use tokio::sync::watch;

use crate::keys::{Choice, Key, KeySet};
use crate::{Fetch, refused};

/// How long a key that nobody has waits to be asked for again, from one fetch to the next: a minute.
pub const UNKNOWN_KEY: Duration = Duration::from_secs(60);

/// How long a fetch that failed waits to be made again while there are no keys, or old ones: ten seconds.
pub const RETRY: Duration = Duration::from_secs(10);

/// How long keys stay in use when they cannot be fetched again: a day.
pub const KEEP_WITHOUT_ANSWER: Duration = Duration::from_secs(24 * 3600);

/// The keys of one issuer.
pub(crate) struct Keeper {
    pub(crate) name: Name,
    pub(crate) issuer: Issuer,
    fetch: Fetch,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Option<(Arc<KeySet>, SystemTime)>,
    /// When the last fetch was begun.
    tried: Option<SystemTime>,
    /// Closed when the fetch that runs is over.
    flight: Option<watch::Receiver<()>>,
}

impl Keeper {
    pub(crate) fn new(name: Name, issuer: Issuer, fetch: Fetch) -> Self {
        Self { name, issuer, fetch, state: Mutex::default() }
    }

    /// The key that a token with this `kid` is signed with.
    ///
    /// # Errors
    /// `token.key` if there is none, `token.keys` if the issuer's keys are not known.
    pub(crate) async fn key(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<Key, Failure> {
        // Twice at most: once with what is there, and once with what was fetched.
        let mut fetched = false;
        loop {
            let (choice, fresh) = match self.known(now) {
                None => (None, false),
                Some((keys, fresh)) => (Some(keys.choose(id, algorithm)), fresh),
            };
            let waited = match (&choice, fresh) {
                (Some(Choice::Key(_) | Choice::Misfit), true) => None,
                _ if fetched => None,
                (Some(Choice::Unknown), true) => self.refresh(now, UNKNOWN_KEY),
                // Old keys serve while somebody else asks for new ones.
                (Some(Choice::Key(_)), false) if self.is_asking() => None,
                _ => self.refresh(now, RETRY),
            };
            if let Some(mut flight) = waited {
                let _ = flight.changed().await;
                fetched = true;
                continue;
            }
            return match choice {
                Some(Choice::Key(key)) => Ok(key),
                Some(Choice::Unknown) => Err(refused("token.key", "its issuer has no such key")),
                Some(Choice::Misfit) => Err(refused("token.key", "no one key of its issuer fits its algorithm")),
                None => Err(refused("token.keys", "the keys of its issuer could not be fetched")),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that may be used, and whether they are as new as the issuer's entry wants.
    fn known(&self, now: SystemTime) -> Option<(Arc<KeySet>, bool)> {
        let state = self.lock();
        let (keys, since) = state.keys.as_ref()?;
        let age = age(*since, now);
        (age < KEEP_WITHOUT_ANSWER).then(|| (keys.clone(), age < self.issuer.max_age))
    }

    fn is_asking(&self) -> bool {
        self.lock().flight.as_ref().is_some_and(|flight| flight.has_changed().is_ok())
    }

    /// Joins the fetch that runs, or begins one if the last was begun `pause` ago.
    fn refresh(self: &Arc<Self>, now: SystemTime, pause: Duration) -> Option<watch::Receiver<()>> {
        let mut state = self.lock();
        if let Some(flight) = state.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
            return Some(flight.clone());
        }
        if state.tried.is_some_and(|tried| age(tried, now) < pause) {
            return None;
        }
        state.tried = Some(now);
        let (over, flight) = watch::channel(());
        state.flight = Some(flight.clone());
        drop(state);
        let keeper = self.clone();
        let fetching = (self.fetch)(&self.issuer);
        // A task of its own: a caller that goes away must not take the others' keys along.
        tokio::spawn(async move {
            match fetching.await.and_then(|bytes| KeySet::parse(&bytes)) {
                Ok(keys) => keeper.lock().keys = Some((Arc::new(keys), now)),
                Err(failure) => {
                    let (issuer, code) = (keeper.name.as_str(), failure.code());
                    tracing::warn!(target: "strongroom", issuer, code, "the keys of an issuer could not be fetched: {failure}");
                }
            }
            drop(over);
        });
        Some(flight)
    }
}

/// How long ago `then` was. Callers ask at nearly the same time, so a moment ahead is now; a clock that was put back
/// makes everything old, and nothing new.
fn age(then: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_else(|ahead| match ahead.duration() <= RETRY {
        true => Duration::ZERO,
        false => Duration::MAX,
    })
}
