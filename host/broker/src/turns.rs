//! Whose turn it is at a mount: as many calls side by side as its config says, and some of them always left for others than
//! the one who asks most.
//!
//! Whoever waits here waits in the order in which they came. That is fair among callers only if nobody can fill the line:
//! an asker's calls wait in a line of the asker's own first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use strongroom_core::Failure;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::within;

/// One in so many of a mount's turns, at least one, is not for an asker who has all others. A mount with a single turn has none
/// to leave.
const LEFT: usize = 8;

tokio::task_local! {
    static ASKER: Option<Arc<str>>;
}

/// Does `work` on behalf of somebody, also in tasks that it starts here. There must be few of them: each is remembered.
pub fn asked_by<F: Future>(asker: Option<Arc<str>>, work: F) -> impl Future<Output = F::Output> {
    ASKER.scope(asker, work)
}

/// On whose behalf this task works, for tasks that it starts.
pub(crate) fn asker() -> Option<Arc<str>> {
    ASKER.try_with(Clone::clone).ok().flatten()
}

/// The turns of one mount.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Semaphore,
    /// The most of one asker.
    share: usize,
    askers: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
}

/// A turn; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'t> {
    _turn: SemaphorePermit<'t>,
    _own: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Turns {
    /// So many side by side.
    pub(crate) fn new(parallel: usize) -> Self {
        let share = parallel.saturating_sub((parallel / LEFT).max(1)).max(1);
        Self { all: Semaphore::new(parallel), share, askers: Mutex::default() }
    }

    /// Waits for a turn, until `deadline`.
    ///
    /// # Errors
    /// `deadline.queue`.
    pub(crate) async fn take(&self, deadline: Instant) -> Result<Turn<'_>, Failure> {
        let own = match asker() {
            None => None,
            Some(asker) => {
                let line = {
                    let mut askers = self.askers.lock().unwrap_or_else(PoisonError::into_inner);
                    Arc::clone(askers.entry(asker).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
                };
                Some(within(deadline, line.acquire_owned()).await?)
            }
        };
        Ok(Turn { _turn: within(deadline, self.all.acquire()).await?, _own: own })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_asks_for_all_leaves_a_turn_to_others() {
        let turns = Turns::new(8);
        let later = Instant::now() + Duration::from_secs(3600);
        let take = |name: &str, deadline| asked_by(Some(name.into()), turns.take(deadline));
        let mut taken = Vec::new();
        for _ in 0..7 {
            taken.push(take("a", later).await.unwrap());
        }
        // The eighth of the same waits in a line of its own, and keeps nobody else from the last turn.
        let mut waiting = Box::pin(take("a", later));
        assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await);
        let other = take("b", later).await.unwrap();
        assert_eq!(take("c", Instant::now()).await.unwrap_err().code(), "deadline.queue");
        // A turn of one's own that is over is the next one's.
        drop(taken.pop());
        let turn = waiting.await.unwrap();
        assert_eq!(take("c", Instant::now()).await.unwrap_err().code(), "deadline.queue");
        drop(turn);
        assert!(take("c", Instant::now()).await.is_ok());
        drop(other);
    }

    #[tokio::test]
    async fn whoever_is_not_named_and_a_mount_of_one_turn_have_all() {
        let turns = Turns::new(1);
        let now = Instant::now() + Duration::from_secs(5);
        drop(asked_by(Some("a".into()), turns.take(now)).await.unwrap());
        let turns = Turns::new(8);
        let mut all = Vec::new();
        for _ in 0..8 {
            all.push(turns.take(now).await.unwrap());
        }
        assert_eq!(all.len(), 8);
    }
}
