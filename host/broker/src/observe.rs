//! What a server counts and traces: sandboxes, requests to backends, the cache. Names of the config and closed sets, and
//! nothing that a plugin, a backend or a caller wrote: whoever reads metrics need not be trusted with more.
//!
//! [`Setup::observe`](crate::Setup) is told of everything; besides it, who [`follow`]s a piece of work is told of that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_core::{Digest, Failure, Kind, Name};

use crate::turns::{asked_by, asker};

/// Told of what goes on. It must be quick: a call waits for it.
pub trait Observe: Send + Sync {
    /// A sandbox has ended.
    fn sandbox(&self, ended: &Ended<'_>);

    /// A request of a mount's plugin, or of an auth plugin under a credential's name, was answered with this status or
    /// failed.
    fn backend(&self, mount: &Name, began: Instant, took: Duration, outcome: Result<u16, Kind>);

    /// What the cache of a mount that has one said to a question.
    fn cache(&self, mount: &Name, told: Cached);
}

/// A sandbox that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The mount or the credential that it ran for.
    pub entry: &'a Name,
    /// Its plugin's name.
    pub plugin: &'a Name,
    /// Its plugin's digest.
    pub digest: &'a Digest,
    /// When the call was made.
    pub began: Instant,
    /// How long the plugin's own code ran.
    pub ran: Duration,
    /// The linear memory it had.
    pub memory_bytes: u64,
    /// Why the host ended it, if it did.
    pub killed: Option<Killed>,
}

tokio::task_local! {
    static FOLLOWER: Option<Arc<dyn Observe>>;
}

/// Does `work`, and tells `follower` of what goes on in it, in tasks that it starts here too.
pub fn follow<F: Future>(follower: Option<Arc<dyn Observe>>, work: F) -> impl Future<Output = F::Output> {
    FOLLOWER.scope(follower, work)
}

/// Does `work` in a task of its own for whom this task works, followed as this one is.
pub(crate) fn carry_on<F: Future>(work: F) -> impl Future<Output = F::Output> {
    follow(follower(), asked_by(asker(), work))
}

/// Who follows the work of this task, for tasks that it starts.
pub(crate) fn follower() -> Option<Arc<dyn Observe>> {
    FOLLOWER.try_with(Clone::clone).ok().flatten()
}

/// Tells everybody who is to be told.
pub(crate) fn tell(observe: Option<&Arc<dyn Observe>>, what: impl Fn(&dyn Observe)) {
    if let Some(observe) = observe {
        what(&**observe);
    }
    // Most work is followed by nobody.
    let _ = FOLLOWER.try_with(|follower| follower.as_deref().map(what));
}

/// Why the host ended a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Killed {
    /// It trapped, or ended itself.
    Trapped,
    /// It used too much CPU time.
    Cpu,
    /// It wanted too much memory.
    Memory,
    /// It reached another of its limits.
    Limit,
    /// Its time was over.
    Deadline,
}

/// What a cache said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cached {
    /// A kept answer.
    Hit,
    /// Nothing.
    Miss,
    /// Somebody was asking already.
    Shared,
    /// A kept answer after its time, because the backend cannot be asked.
    Stale,
}

impl Killed {
    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trapped => "trapped",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Limit => "limit",
            Self::Deadline => "deadline",
        }
    }

    /// What a failure of a call says of its sandbox. A plugin's own failures have kinds of their own.
    pub(crate) fn of(failure: &Failure) -> Option<Self> {
        match (failure.kind(), failure.code()) {
            (Kind::Trapped, _) => Some(Self::Trapped),
            (Kind::LimitExceeded, "limit.cpu") => Some(Self::Cpu),
            (Kind::LimitExceeded, "limit.memory") => Some(Self::Memory),
            (Kind::LimitExceeded, code) if code.starts_with("limit.") => Some(Self::Limit),
            (Kind::Deadline, "deadline") => Some(Self::Deadline),
            _ => None,
        }
    }
}

impl Cached {
    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Shared => "shared",
            Self::Stale => "stale",
        }
    }
}
