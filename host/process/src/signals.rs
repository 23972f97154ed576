//! The signals that reach this process, as events for a poll loop.
//!
//! Handlers, not a blocked mask: a mask counts for one thread only, and whoever embeds this crate
//! has others. A handler stays when [`Signals`] is dropped, and then does nothing.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Signal};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::origin::{Origin, WithOrigin};
use signal_hook::low_level::siginfo::Cause;

/// What is passed on to the child of `run`. `SIGTTIN` and `SIGTTOU` are left as they are: they are
/// sent to whole groups, and stop child and parent alike.
pub(crate) const FORWARDED: [Signal; 10] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::TSTP,
    Signal::CONT,
    Signal::WINCH,
];

/// One signal that arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    /// The kernel sent it: a key at the terminal, a hangup, a new size. Then the whole foreground
    /// group got it.
    pub(crate) by_kernel: bool,
    /// Who sent it, if that was a process this one can see.
    pub(crate) sender: Option<Pid>,
}

impl Received {
    /// True for what asks a process to end.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.signal, Signal::HUP | Signal::INT | Signal::QUIT | Signal::TERM)
    }

    fn from_origin(origin: &Origin) -> Option<Self> {
        Some(Self {
            signal: Signal::from_named_raw(origin.signal)?,
            by_kernel: origin.cause == Cause::Kernel,
            sender: origin.process.and_then(|process| Pid::from_raw(process.pid)),
        })
    }
}

/// The handlers and the pipe they wake.
#[derive(Debug)]
pub(crate) struct Signals(SignalDelivery<UnixStream, WithOrigin>);

impl Signals {
    /// Installs handlers for `SIGCHLD` and those of `wanted` that this process does not ignore.
    ///
    /// What is ignored stays ignored, here and in the child: `nohup` must go on to work, and a
    /// handler would become the default action in the child.
    pub(crate) fn install(wanted: &[Signal]) -> io::Result<Self> {
        let ignored = ignored();
        let wanted = wanted.iter().map(|signal| signal.as_raw()).filter(|raw| ignored & bit(*raw) == 0);
        let (read, write) = UnixStream::pair()?;
        let all = wanted.chain([Signal::CHILD.as_raw()]);
        SignalDelivery::with_pipe(read, write, WithOrigin::default(), all).map(Self)
    }

    /// Readable when something arrived.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }

    /// What arrived since the last call. Several of one kind may have become one.
    pub(crate) fn take(&mut self) -> Vec<Received> {
        self.0.pending().filter_map(|origin| Received::from_origin(&origin)).collect()
    }
}

fn bit(raw: i32) -> u64 {
    u32::try_from(raw).ok().and_then(|raw| 1u64.checked_shl(raw.saturating_sub(1))).unwrap_or(0)
}

/// The signals this process was started with as ignored, a bit each from signal 1. There is no safe
/// `sigaction` that only asks; the kernel's own table says it.
fn ignored() -> u64 {
    // One read: the table is below 2 KiB, and a growing buffer would ask eight times.
    let mut table = [0; 4096];
    let count = std::fs::File::open("/proc/self/status").and_then(|mut file| file.read(&mut table)).unwrap_or(0);
    let status = String::from_utf8_lossy(table.get(..count).unwrap_or_default());
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
