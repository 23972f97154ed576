//! Connections that wait for their next request.
//!
//! A connection is used again only under the very key it was opened for. The key holds the caller's
//! partition (mount, rule and credential), so that no plugin ever writes to a connection that another
//! one has authenticated, and the address, so that a connection is used only while the host's name
//! still leads to it. The pool is bounded, and empties itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::http1::Http1;
use super::http2::Http2;
use super::roots::CaSet;

/// What two requests must agree in to share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) partition: [u8; 32],
    pub(super) secure: bool,
    pub(super) http2: bool,
    pub(super) host: Box<str>,
    pub(super) port: u16,
    pub(super) address: IpAddr,
    pub(super) cas: CaSet,
}

/// A connection and how it may be used.
#[derive(Debug)]
pub(super) enum Line {
    /// By one exchange at a time.
    One(Box<Http1>),
    /// By many.
    Shared(Http2),
}

impl Line {
    /// Whether the last request's answer was cut off because more came than was allowed.
    pub(super) fn is_flooded(&self) -> bool {
        matches!(self, Self::One(http1) if http1.meter.is_exceeded())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Duration,
    per_key: usize,
    total: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: HashMap<PoolKey, Vec<Waiting>>,
    count: usize,
    sweeper: Option<AbortHandle>,
}

#[derive(Debug)]
struct Waiting {
    line: Line,
    since: Instant,
}

impl Pool {
    /// Keeps at most `per_key` and `total` connections, each for at most `idle`.
    pub(super) fn new(idle: Duration, per_key: usize, total: usize) -> Self {
        Self { idle, per_key, total, inner: Mutex::default() }
    }

    /// A connection for `key` that can be used now.
    pub(super) fn take(&self, key: &PoolKey) -> Option<Line> {
        // Those that turn out to be closed are dropped when the lock is free again.
        let mut dead = Vec::new();
        let mut inner = self.lock();
        let waiting = inner.lines.get_mut(key)?;
        let mut found = None;
        let before = waiting.len();
        // The last one in is the likeliest to be alive.
        while let Some(mut last) = waiting.pop() {
            if last.since.elapsed() < self.idle {
                match last.line {
                    Line::Shared(http2) if http2.is_reusable() => {
                        waiting.push(Waiting { line: Line::Shared(http2.clone()), since: Instant::now() });
                        found = Some(Line::Shared(http2));
                        break;
                    }
                    Line::One(mut http1) => {
                        if http1.is_reusable() {
                            found = Some(Line::One(http1));
                            break;
                        }
                        last.line = Line::One(http1);
                    }
                    Line::Shared(_) => {}
                }
            }
            dead.push(last);
        }
        let after = waiting.len();
        if after == 0 {
            inner.lines.remove(key);
        }
        inner.count = inner.count.saturating_sub(before - after);
        drop(inner);
        found
    }

    /// Takes in a connection that has answered a request completely. One that cannot be used again,
    /// or for which there is no room, is closed.
    pub(super) fn put(self: &Arc<Self>, key: PoolKey, mut line: Line) {
        let reusable = match &mut line {
            Line::One(http1) => http1.is_reusable(),
            Line::Shared(http2) => http2.is_reusable(),
        };
        if !reusable || self.total == 0 || self.per_key == 0 {
            return;
        }
        let mut dead = Vec::new();
        let mut inner = self.lock();
        let there = inner.lines.get(&key);
        let shared = |waiting: &Waiting| matches!(&waiting.line, Line::Shared(http2) if http2.is_reusable());
        if matches!(line, Line::Shared(_)) && there.is_some_and(|waiting| waiting.iter().any(shared)) {
            return;
        }
        let full = there.is_some_and(|waiting| waiting.len() >= self.per_key);
        if !full && inner.count >= self.total {
            dead.extend(inner.evict_oldest());
        }
        let waiting = inner.lines.entry(key).or_default();
        if full {
            dead.push(waiting.remove(0));
        }
        waiting.push(Waiting { line, since: Instant::now() });
        inner.count += usize::from(!full);
        if inner.sweeper.as_ref().is_none_or(AbortHandle::is_finished) {
            inner.sweeper = Some(tokio::spawn(sweep(Arc::downgrade(self), self.idle)).abort_handle());
        }
        drop(inner);
        drop(dead);
    }

    /// Closes every connection that waits.
    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        let lines = std::mem::take(&mut inner.lines);
        inner.count = 0;
        drop(inner);
        drop(lines);
    }

    /// How many connections wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().count
    }

    /// Closes what has waited too long; `false` if nothing is left.
    fn sweep(&self) -> bool {
        let mut dead = Vec::new();
        let mut inner = self.lock();
        for waiting in inner.lines.values_mut() {
            dead.extend(waiting.extract_if(.., |waiting| waiting.since.elapsed() >= self.idle));
        }
        inner.lines.retain(|_, waiting| !waiting.is_empty());
        inner.count = inner.count.saturating_sub(dead.len());
        let left = inner.count > 0;
        if !left {
            inner.sweeper = None;
        }
        drop(inner);
        drop(dead);
        left
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn evict_oldest(&mut self) -> Option<Waiting> {
        let oldest = |waiting: &Vec<Waiting>| waiting.first().map(|first| first.since);
        let key = self.lines.iter().min_by_key(|(_, waiting)| oldest(waiting))?.0.clone();
        let waiting = self.lines.get_mut(&key)?;
        let evicted = (!waiting.is_empty()).then(|| waiting.remove(0));
        if waiting.is_empty() {
            self.lines.remove(&key);
        }
        self.count = self.count.saturating_sub(usize::from(evicted.is_some()));
        evicted
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(sweeper) = self.lock().sweeper.take() {
            sweeper.abort();
        }
    }
}

/// Looks after the pool as long as there is something in it: an idle connection is not driven, so
/// nobody else would notice that its time is over.
async fn sweep(pool: Weak<Pool>, idle: Duration) {
    loop {
        tokio::time::sleep(idle).await;
        match pool.upgrade() {
            Some(pool) if pool.sweep() => {}
            _ => return,
        }
    }
}
