//! What a server counts: sandboxes, requests to backends, the cache. Names of the config and closed sets, and nothing
//! that a plugin, a backend or a caller wrote: whoever reads metrics need not be trusted with more.

use std::time::Duration;

use strongroom_core::{Failure, Kind, Name};

/// Told of what goes on. It must be quick: a call waits for it.
pub trait Observe: Send + Sync {
    /// A sandbox has ended: how long its plugin's own code ran, the linear memory it had, and why the host ended it, if
    /// it did.
    fn sandbox(&self, plugin: &Name, ran: Duration, memory_bytes: u64, killed: Option<Killed>);

    /// A request of a mount's plugin, or of an auth plugin under a credential's name, was answered with this status or
    /// failed.
    fn backend(&self, mount: &Name, took: Duration, outcome: Result<u16, Kind>);

    /// What the cache of a mount that has one said to a question.
    fn cache(&self, mount: &Name, told: Cached);
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
