//! What changes while a child of `run` is there: it is started anew, or its files are replaced and it is told.
//!
//! It knows nothing of secrets or of when to look: whoever calls says what has changed. It must never start a child
//! anew that was told to end by somebody else.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::Signal;
use strongroom_core::Failure;
use zeroize::Zeroizing;

use crate::child::Child;
use crate::files::SecretFiles;
use crate::run::{Add, Keeper, Watch};

/// Something that changed.
#[derive(Debug)]
pub enum Change {
    /// The child is to end, and this one to start in its place.
    Restart(Child),
    /// The child's files are to hold these, and then it gets the signal.
    Files(Files, Signal),
}

/// New contents of files of [`Child::files`], by the variable that names each.
pub struct Files(pub Vec<(OsString, Zeroizing<Vec<u8>>)>);

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files(..)")
    }
}

/// Whoever knows what changes.
pub trait Changes {
    /// Readable when something may have changed; `None` once nothing will any more.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// What has changed since the last call. Called when [`Changes::fd`] is readable, and must not wait.
    fn take(&mut self) -> Vec<Change>;

    /// A change that could not be made, and the child goes on as it was.
    fn failed(&mut self, failure: Failure);
}

/// What to do with changes.
pub struct Watched<'w> {
    /// Where they come from.
    pub changes: &'w mut dyn Changes,
    /// How long a child that is to end has between `SIGTERM` and `SIGKILL`.
    pub grace: Duration,
}

impl std::fmt::Debug for Watched<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("grace", &self.grace).finish_non_exhaustive()
    }
}

/// A child, and what is to come after it.
pub(crate) struct Watching<'w> {
    watched: Option<Watched<'w>>,
    next: Option<Child>,
    kill_at: Option<Instant>,
    /// Somebody else told the child to end: whatever changes now comes too late.
    is_over: bool,
}

impl<'w> Watching<'w> {
    pub(crate) fn new(watched: Option<Watched<'w>>) -> Self {
        Self { watched, next: None, kill_at: None, is_over: false }
    }

    pub(crate) fn watch<'k>(&'k self, add: Add<'_, 'k>) {
        if let Some(fd) = self.watched.as_ref().and_then(|watched| watched.changes.fd()) {
            add(Watch::Changes, fd, PollFlags::IN);
        }
    }

    /// How long until the child's time is up.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.kill_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Something changed.
    pub(crate) fn changed(&mut self, keeper: &mut dyn Keeper, files: &SecretFiles) {
        let Some(watched) = &mut self.watched else { return };
        for change in watched.changes.take() {
            let ends_by_itself = keeper.exit().is_some() && self.next.is_none();
            if self.is_over || ends_by_itself {
                continue;
            }
            match change {
                Change::Restart(child) => {
                    if self.next.replace(child).is_none() {
                        keeper.send(Signal::TERM);
                        self.kill_at = Instant::now().checked_add(watched.grace);
                    }
                }
                Change::Files(Files(values), signal) => match files.replace(&values) {
                    Ok(()) => keeper.send(signal),
                    Err(failure) => watched.changes.failed(failure),
                },
            }
        }
    }

    /// Kills a child whose time is up.
    pub(crate) fn look_at_time(&mut self, keeper: &mut dyn Keeper) {
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            keeper.send(Signal::KILL);
        }
    }

    /// Somebody sent this process a signal that asks to end, and so the child: nothing comes after it. Other than
    /// `SIGTERM` such signals have other uses, too (`SIGHUP` reloads), and a child that is not ending already may go on.
    pub(crate) fn asked_to_end(&mut self, signal: Signal) {
        if signal == Signal::TERM || self.next.is_some() {
            self.is_over = true;
            self.next = None;
            self.kill_at = None;
        }
    }

    /// What is to start now that the child has ended.
    pub(crate) fn next(&mut self) -> Option<Child> {
        self.kill_at = None;
        self.next.take()
    }
}
