//! The connections that are open, counted: how many there may be, and when the last one has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Which part of the connections only Unix sockets have.
const LOCAL_SHARE: u32 = 16;

/// A count that all listeners share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Open(Arc<Inner>);

struct Inner {
    count: AtomicU32,
    limit: AtomicU32,
    closed: Notify,
    shown: Gauge<u64, AtomicU64>,
}

/// One connection; not counted any more when dropped.
pub(crate) struct Connection(Arc<Inner>);

impl Open {
    /// `shown` is the metric that follows the count.
    pub(crate) fn new(limit: u32, shown: Gauge<u64, AtomicU64>) -> Self {
        let (count, limit) = (AtomicU32::new(0), AtomicU32::new(limit));
        Self(Arc::new(Inner { count, limit, closed: Notify::new(), shown }))
    }

    /// From now on there may be this many.
    pub(crate) fn limit(&self, limit: u32) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Counts one more; `None` if there are as many as there may be, and the new one is to be closed. The last places are for
    /// those of this machine's users: from the network anybody can take all that there are.
    pub(crate) fn enter(&self, local: bool) -> Option<Connection> {
        let limit = self.0.limit.load(Ordering::Relaxed);
        let limit = if local { limit } else { limit - (limit / LOCAL_SHARE).min(limit.saturating_sub(1)) };
        let more = |count: u32| (count < limit).then(|| count.saturating_add(1));
        self.0.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        self.0.shown.inc();
        Some(Connection(Arc::clone(&self.0)))
    }

    /// Waits until there is none.
    pub(crate) async fn all_closed(&self) {
        loop {
            let closed = self.0.closed.notified();
            if self.0.count.load(Ordering::Acquire) == 0 {
                return;
            }
            closed.await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.shown.dec();
        if self.0.count.fetch_sub(1, Ordering::Release) == 1 {
            self.0.closed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_counted_and_waited_for() {
        let open = Open::new(2, Gauge::default());
        let first = open.enter(true).unwrap();
        let second = open.enter(true).unwrap();
        assert!(open.enter(true).is_none(), "there are as many as there may be");
        drop(first);
        let third = open.enter(true).unwrap();
        let waiting = tokio::spawn({
            let open = open.clone();
            async move { open.all_closed().await }
        });
        drop((second, third));
        waiting.await.unwrap();
    }

    #[test]
    fn the_network_leaves_places_to_the_machine() {
        let open = Open::new(32, Gauge::default());
        let far: Vec<Connection> = std::iter::from_fn(|| open.enter(false)).collect();
        let near: Vec<Connection> = std::iter::from_fn(|| open.enter(true)).collect();
        assert_eq!((far.len(), near.len()), (30, 2));
        assert!(Open::new(1, Gauge::default()).enter(false).is_some());
    }
}
