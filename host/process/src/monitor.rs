//! The process between `run` and a child on a pty: the leader of the child's session.
//!
//! A terminal stops and continues process groups only inside one session, and a group whose
//! parents are all in other sessions is not stopped at all. So somebody in the child's session
//! must be its parent: this process. It holds no secret but the environment it passes on, opens
//! nothing, reads nothing that the child writes, and ends when the child has ended or `run` has.
//!
//! They talk over a socket pair, which is the monitor's standard input: `run` first sends the
//! child's three streams and the pty; then each side sends [`Message`]s of five bytes.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{
    Pid, Signal, WaitOptions, getpgid, getpgrp, ioctl_tiocsctty, kill_process_group, setsid, waitpid,
};
use rustix::termios::tcsetpgrp;

use crate::child::{Exit, spawn};
use crate::signals::Signals;

/// What the two say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// To the monitor: continue the child, with the pty's foreground.
    Foreground,
    /// To the monitor: continue the child, without.
    Background,
    /// To the monitor: send this signal to the child's group.
    Signal(i32),
    /// From the monitor: the child runs, and has the foreground if it was to have it.
    Started,
    /// From the monitor: the child was not started; the system's error number.
    Failed(i32),
    /// From the monitor: this signal stopped the child.
    Stopped(i32),
    /// From the monitor: how the child ended.
    Ended(Exit),
}

impl Message {
    fn bytes(self) -> [u8; 5] {
        let (tag, value) = match self {
            Self::Foreground => (b'F', 0),
            Self::Background => (b'B', 0),
            Self::Signal(signal) => (b'S', signal),
            Self::Started => (b'P', 0),
            Self::Failed(errno) => (b'E', errno),
            Self::Stopped(signal) => (b'T', signal),
            Self::Ended(Exit::Code(code)) => (b'X', i32::from(code)),
            Self::Ended(Exit::Signal(signal)) => (b'K', i32::from(signal)),
        };
        let [a, b, c, d] = value.to_ne_bytes();
        [tag, a, b, c, d]
    }

    fn parse(bytes: [u8; 5]) -> Option<Self> {
        let [tag, a, b, c, d] = bytes;
        let value = i32::from_ne_bytes([a, b, c, d]);
        let low = u8::try_from(value).unwrap_or(u8::MAX);
        Some(match tag {
            b'F' => Self::Foreground,
            b'B' => Self::Background,
            b'S' => Self::Signal(value),
            b'P' => Self::Started,
            b'E' => Self::Failed(value),
            b'T' => Self::Stopped(value),
            b'X' => Self::Ended(Exit::Code(low)),
            b'K' => Self::Ended(Exit::Signal(low)),
            _ => return None,
        })
    }

    pub(crate) fn send(self, control: BorrowedFd<'_>) -> io::Result<()> {
        // Both sides read at once, and five bytes fit: no partial writes. The other side may be gone.
        rustix::net::send(control, &self.bytes(), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; `None` if the other side is gone.
    pub(crate) fn receive(control: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let mut bytes = [0; 5];
        match rustix::net::recv(control, &mut bytes, RecvFlags::WAITALL) {
            Ok((_, 5)) => Ok(Self::parse(bytes)),
            Ok(_) | Err(Errno::CONNRESET) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends the child's streams and the pty, and whether it begins in the foreground.
pub(crate) fn send_streams(control: BorrowedFd<'_>, fds: &[BorrowedFd<'_>; 4], foreground: bool) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(fds));
    sendmsg(control, &[IoSlice::new(&[u8::from(foreground)])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

struct Streams {
    input: OwnedFd,
    output: OwnedFd,
    errors: OwnedFd,
    pty: OwnedFd,
    foreground: bool,
}

fn receive_streams(control: BorrowedFd<'_>) -> io::Result<Streams> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let (Some(input), Some(output), Some(errors), Some(pty)) = (fds.next(), fds.next(), fds.next(), fds.next()) else {
        return Err(Errno::BADMSG.into());
    };
    Ok(Streams { input, output, errors, pty, foreground: byte == [1] })
}

/// The main function of the monitor. `args` are those after the hidden ones of
/// [`crate::MonitorCommand`]; the environment is the child's. Gives the status to exit with, which
/// nobody reads.
///
/// Call it first in `main`, before threads and before anything is opened.
pub fn monitor_main(args: impl IntoIterator<Item = OsString>) -> u8 {
    // What fails here shows in /proc only, and the child is wanted all the same.
    let _ = crate::harden();
    let input = rustix::stdio::stdin();
    match watch_over(input, args.into_iter().collect()) {
        Ok(()) => 0,
        Err(error) => {
            let _ = Message::Failed(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())).send(input);
            1
        }
    }
}

fn watch_over(control: BorrowedFd<'_>, mut args: Vec<OsString>) -> io::Result<()> {
    let streams = receive_streams(control)?;
    if args.len() < 2 {
        return Err(Errno::INVAL.into());
    }
    let rest = args.split_off(2);
    let (Some(path), Some(name)) = (args.first(), args.get(1)) else { return Err(Errno::INVAL.into()) };
    setsid()?;
    ioctl_tiocsctty(&streams.pty)?;
    let mut signals = Signals::install(&[Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM])?;
    let child = spawn(Path::new(path), name, &rest, None, |command| {
        command.stdin(Stdio::from(streams.input.try_clone()?));
        command.stdout(Stdio::from(streams.output.try_clone()?));
        command.stderr(Stdio::from(streams.errors.try_clone()?));
        command.process_group(0);
        Ok(())
    })?;
    // Without this the monitor could not take the foreground back: it would be stopped for asking.
    // Only now, because the child inherits the mask it is started with.
    SigSet::from(nix::sys::signal::SIGTTOU).thread_block()?;
    let Streams { pty, foreground, .. } = streams;
    let pid = Pid::from_child(&child);
    if foreground {
        // The child runs already, and if it was quick the pty has stopped it for reading: after this
        // no such stop is left, and none is pending that would swallow a key's.
        give_foreground(&pty, pid);
    }
    Message::Started.send(control)?;
    loop {
        let mut fds =
            [PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN), PollFd::from_borrowed_fd(control, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [_, told] = fds.map(|fd| !fd.revents().is_empty());
        for received in signals.take() {
            if received.signal != Signal::CHILD {
                let _ = kill_process_group(pid, received.signal);
            }
        }
        while let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG | WaitOptions::UNTRACED)? {
            if let Some(signal) = status.stopping_signal() {
                Message::Stopped(signal).send(control)?;
            } else if let Some(exit) = Exit::of(status) {
                // When this leader ends, the foreground group gets SIGHUP: what the child has left
                // running in its group must not.
                let _ = tcsetpgrp(&pty, getpgrp());
                return Message::Ended(exit).send(control);
            }
        }
        if told {
            match Message::receive(control)? {
                Some(Message::Foreground) => {
                    give_foreground(&pty, pid);
                }
                Some(Message::Background) => {
                    let _ = tcsetpgrp(&pty, getpgrp());
                    let _ = kill_process_group(pid, Signal::CONT);
                }
                Some(Message::Signal(signal)) => {
                    if let Some(signal) = Signal::from_named_raw(signal) {
                        let _ = kill_process_group(pid, signal);
                    }
                }
                Some(_) => {}
                None => {
                    // `run` is gone, and with it the terminal.
                    let _ = kill_process_group(pid, Signal::HUP);
                    let _ = kill_process_group(pid, Signal::CONT);
                    return Ok(());
                }
            }
        }
    }
}

/// Makes the child's group the pty's foreground (the group it is in now, which may be a new one),
/// and continues it.
fn give_foreground(pty: &OwnedFd, child: Pid) {
    if let Ok(group) = getpgid(Some(child)) {
        let _ = tcsetpgrp(pty.as_fd(), group);
        let _ = kill_process_group(group, Signal::CONT);
    }
}
