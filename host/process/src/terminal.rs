//! The user's own terminal, while the child's pty stands for it.
//!
//! It must never stay raw: [`Terminal`] restores it when it is dropped, so also when a panic
//! unwinds; the signals that would end this process are events, so they pass here too.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, getpgid, getpgrp, getppid, getsid};
use rustix::termios::{OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

/// A terminal that can be made raw and is always restored.
pub(crate) struct Terminal<'a> {
    keyboard: Keyboard<'a>,
    /// Somebody may still type.
    open: bool,
    /// What to go back to, while it is raw.
    saved: Option<Termios>,
}

enum Keyboard<'a> {
    Opened(OwnedFd),
    Borrowed(BorrowedFd<'a>),
    /// Only for its size and modes: nothing is read from it.
    Deaf(BorrowedFd<'a>),
}

impl<'a> Terminal<'a> {
    /// The terminal people type at: `input`, else the one that controls this process. Sizes and
    /// modes come from `shown` if there is neither.
    pub(crate) fn find(input: BorrowedFd<'a>, shown: BorrowedFd<'a>) -> Self {
        let keyboard = if isatty(input) {
            Keyboard::Borrowed(input)
        } else {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open("/dev/tty", flags, Mode::empty()).map_or(Keyboard::Deaf(shown), Keyboard::Opened)
        };
        let open = !matches!(keyboard, Keyboard::Deaf(_));
        Self { keyboard, open, saved: None }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.keyboard {
            Keyboard::Opened(fd) => fd.as_fd(),
            Keyboard::Borrowed(fd) | Keyboard::Deaf(fd) => *fd,
        }
    }

    /// Its modes now.
    pub(crate) fn modes(&self) -> Option<Termios> {
        self.saved.clone().or_else(|| tcgetattr(self.fd()).ok())
    }

    /// Its size now.
    pub(crate) fn size(&self) -> Option<Winsize> {
        tcgetwinsize(self.fd()).ok()
    }

    /// True if this process may set it and read from it. A terminal that does not control this
    /// process has no foreground for it, and nobody to object.
    pub(crate) fn is_ours(&self) -> bool {
        tcgetpgrp(self.fd()).map_or(true, |group| group == getpgrp())
    }

    /// Makes it raw, if it is ours.
    pub(crate) fn make_raw(&mut self) {
        if !self.open || !self.is_ours() {
            return;
        }
        let Ok(before) = tcgetattr(self.fd()) else { return };
        let mut raw = before.clone();
        raw.make_raw();
        if tcsetattr(self.fd(), OptionalActions::Now, &raw).is_ok() && self.saved.is_none() {
            self.saved = Some(before);
        }
    }

    /// Gives it back as it was. Whoever has it by now has set it as they like, so only if it is ours.
    pub(crate) fn restore(&mut self) {
        if let Some(before) = self.saved.take()
            && self.is_ours()
        {
            let _ = tcsetattr(self.fd(), OptionalActions::Now, &before);
        }
    }

    /// Where keys come from, while it is raw.
    pub(crate) fn keys(&self) -> Option<BorrowedFd<'_>> {
        (self.open && self.saved.is_some()).then(|| self.fd())
    }

    /// Nobody can type any more.
    pub(crate) fn keys_ended(&mut self) {
        self.open = false;
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.restore();
    }
}

/// True if this process can stop and somebody would continue it: a shell with job control, in our
/// session but in another group, is the parent of our group. The kernel has the same rule for
/// `SIGTSTP` (an orphaned group is not stopped), but none for `SIGSTOP`.
pub(crate) fn can_be_continued() -> bool {
    let (Ok(session), group) = (getsid(None), getpgrp()) else { return false };
    let mut parent = getppid();
    // Up through those of our own group, such as a script that runs us. The bound is only against
    // a table that changes while it is read.
    for _ in 0..64 {
        let Some(pid) = parent else { return false };
        if getsid(Some(pid)) != Ok(session) {
            return false;
        }
        if getpgid(Some(pid)) != Ok(group) {
            return true;
        }
        parent = parent_of(pid);
    }
    false
}

/// The parent of another process, from the kernel's table.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // `pid (name) state parent ...`, and the name may hold anything.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end.checked_add(1)?..)?).ok()?;
    Pid::from_raw(rest.split_ascii_whitespace().nth(1)?.parse().ok()?)
}
