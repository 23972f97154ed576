//! The child as a plain child: same session, same process group, pipes or nothing in between.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait, waitpid};
use strongroom_core::Failure;

use crate::broken;
use crate::child::{Child, Exit, spawn};
use crate::lookup::start_failure;
use crate::pump::{Channel, READ_BYTES};
use crate::run::{Add, Filters, Io, Keeper, Stream, Watch};
use crate::signals::Received;
use crate::{terminal, tool};

/// Looks after a child of our own.
pub(crate) struct Direct {
    pid: Pid,
    exit: Option<Exit>,
}

/// Starts `child` with our own three streams.
pub(crate) fn start_bare(path: &Path, child: Child, io: &Io<'_>) -> Result<Direct, Failure> {
    launch(path, &child, [io.input, io.output, io.errors])
}

/// Starts `child` with a pipe for each stream, or one for both if they are the same file.
pub(crate) fn start_piped<'a>(
    path: &Path,
    child: Child,
    io: &Io<'a>,
    filters: Filters<'_, 'a>,
) -> Result<(Direct, Vec<Channel<'a>>), Failure> {
    let no_pipe = |error: io::Error| broken("process.start", "no pipe to the program", error);
    if same_file(io.output, io.errors) {
        let (channel, end) = piped(io.output, Stream::Both, filters).map_err(no_pipe)?;
        let direct = launch(path, &child, [io.input, end.as_fd(), end.as_fd()])?;
        return Ok((direct, vec![channel]));
    }
    let (output, output_end) = piped(io.output, Stream::Output, filters).map_err(no_pipe)?;
    let (errors, errors_end) = piped(io.errors, Stream::Errors, filters).map_err(no_pipe)?;
    let direct = launch(path, &child, [io.input, output_end.as_fd(), errors_end.as_fd()])?;
    Ok((direct, vec![output, errors]))
}

/// A channel to `target`, and the end of its pipe that the child gets.
pub(crate) fn piped<'a>(
    target: BorrowedFd<'a>,
    stream: Stream,
    filters: Filters<'_, 'a>,
) -> io::Result<(Channel<'a>, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // Where the user's pipes are at their limit, the usual size does as well.
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(&read, READ_BYTES);
    Ok((Channel::new(Rc::new(read), false, target, filters(stream))?, write))
}

/// True if two descriptors are the same file, pipe or terminal.
pub(crate) fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

fn launch(path: &Path, child: &Child, streams: [BorrowedFd<'_>; 3]) -> Result<Direct, Failure> {
    let started = spawn(path, &child.program, &child.args, Some(&child.env), |command| {
        let [input, output, errors] = streams;
        command.stdin(stdio(input)?).stdout(stdio(output)?).stderr(stdio(errors)?);
        Ok(())
    })
    .map_err(|error| start_failure(path, &error))?;
    let pid = Pid::from_child(&started);
    Ok(Direct { pid, exit: None })
}

fn stdio(fd: BorrowedFd<'_>) -> io::Result<Stdio> {
    Ok(Stdio::from(fd.try_clone_to_owned()?))
}

impl Direct {
    /// Takes every change of state; as process 1 also those of orphans, which nobody else reaps.
    fn reap(&mut self) {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        let alone = tool::none_runs();
        while self.exit.is_none() {
            let all = getpid().is_init() && alone.is_some();
            let change = if all { wait(options) } else { waitpid(Some(self.pid), options) };
            match change {
                Ok(Some((pid, status))) if pid == self.pid => self.changed(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                // Somebody else in this process waited for it: how it ended is lost, that it did is not.
                Err(_) => self.exit = Some(Exit::Code(1)),
            }
        }
    }

    fn changed(&mut self, status: WaitStatus) {
        if status.stopped() {
            // Our own parent, a shell, must see a stopped job.
            if terminal::can_be_continued() {
                let _ = kill_process(getpid(), Signal::STOP);
            }
        } else {
            self.exit = Exit::of(status);
        }
    }
}

impl Keeper for Direct {
    fn watch<'k>(&'k self, _add: Add<'_, 'k>) {}

    fn ready(&mut self, _watch: Watch) -> Result<(), Failure> {
        Ok(())
    }

    fn signal(&mut self, received: Received) -> Result<(), Failure> {
        if received.signal == Signal::CHILD {
            self.reap();
        } else if !received.by_kernel && received.sender != Some(self.pid) {
            self.send(received.signal);
        }
        Ok(())
    }

    fn send(&mut self, signal: Signal) {
        // As long as it has not been waited for, the number is its own.
        if self.exit.is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }

    fn exit(&self) -> Option<Exit> {
        self.exit
    }
}
