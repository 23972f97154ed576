//! How much is taken on at once. What is over is refused at once and told to come back: nothing waits in line
//! until its caller has given up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use strongroom::{Failure, Kind};
use strongroom_core::config::listeners::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When to come back, in milliseconds: most requests take far less.
const RETRY_MS: u32 = 1000;

/// Which part of the requests strangers may be.
const STRANGERS: usize = 4;

/// The limits in force.
pub(crate) struct Limits {
    requests: Arc<Semaphore>,
    /// Of those of whom it is not known yet who they are, and who make the server wait before it is: a share of their own.
    strangers: Arc<Semaphore>,
    per_caller: u32,
    /// How many requests of each are under way. There are no more of them than the config has callers, and sets of callers
    /// that one may be at once.
    callers: RwLock<HashMap<Box<str>, Arc<AtomicU32>>>,
}

/// A place among the requests that are answered now; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _request: OwnedSemaphorePermit,
}

/// A place among the requests of one caller.
#[derive(Debug)]
pub(crate) struct Turn(Arc<AtomicU32>);

fn busy(code: &'static str, message: &str) -> Failure {
    Failure::new(Kind::Throttled, code, message).retry_after_ms(Some(RETRY_MS))
}

impl Limits {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let requests = usize::try_from(config.requests).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            strangers: Arc::new(Semaphore::new((requests / STRANGERS).max(1))),
            per_caller: config.per_caller,
            callers: RwLock::default(),
        }
    }

    /// A place for somebody who is still to say or prove who they are, and may take their time for that. It is none of those that
    /// known callers have.
    ///
    /// # Errors
    /// `server.busy`, to be tried again.
    pub(crate) fn listen(&self) -> Result<Place, Failure> {
        let stranger = Arc::clone(&self.strangers).try_acquire_owned();
        let stranger = stranger.map_err(|_| busy("server.busy", "the server finds out who as many are as it may"))?;
        Ok(Place { _request: stranger })
    }

    /// A place for one request.
    ///
    /// # Errors
    /// `server.busy`, to be tried again.
    pub(crate) fn enter(&self) -> Result<Place, Failure> {
        let request = Arc::clone(&self.requests).try_acquire_owned();
        let request = request.map_err(|_| busy("server.busy", "the server answers as many requests as it may"))?;
        Ok(Place { _request: request })
    }

    /// A place for one request of `caller`.
    ///
    /// # Errors
    /// `server.caller-busy`, to be tried again.
    pub(crate) fn turn(&self, caller: &str) -> Result<Turn, Failure> {
        let known = self.callers.read().unwrap_or_else(PoisonError::into_inner).get(caller).map(Arc::clone);
        let under_way = known.unwrap_or_else(|| {
            let mut callers = self.callers.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(callers.entry(caller.into()).or_default())
        });
        // Counted first, so that of two who come at once one at most is the last.
        let turn = Turn(under_way);
        match turn.0.fetch_add(1, Ordering::Relaxed) {
            before if before < self.per_caller => Ok(turn),
            _ => Err(busy("server.caller-busy", "this caller has as many requests under way as it may")),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_take_no_places_of_known_callers() {
        let limits = Limits::new(&ServerConfig { requests: 8, ..ServerConfig::default() });
        let _strangers: Vec<Place> = std::iter::from_fn(|| limits.listen().ok()).collect();
        assert_eq!(limits.listen().unwrap_err().code(), "server.busy");
        let all: Vec<Place> = std::iter::from_fn(|| limits.enter().ok()).collect();
        assert_eq!(all.len(), 8);
    }

    #[test]
    fn one_caller_leaves_places_to_others() {
        let limits = Limits::new(&ServerConfig { requests: 3, per_caller: 1, ..ServerConfig::default() });
        let first = (limits.enter().unwrap(), limits.turn("a").unwrap());
        let refused = limits.turn("a").unwrap_err();
        assert_eq!((refused.code(), refused.retry_after()), ("server.caller-busy", Some(1000)));
        let _second = (limits.enter().unwrap(), limits.turn("b").unwrap());
        let _third = limits.enter().unwrap();
        assert_eq!(limits.enter().unwrap_err().code(), "server.busy");
        drop(first);
        assert!(limits.enter().is_ok() && limits.turn("a").is_ok());
    }
}
