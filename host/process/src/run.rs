//! `run`: a program with its secrets, its own exit status, its signals and its terminal.
//!
//! Three ways to stand between the child and the output, chosen by what the output is:
//!
//! - no filters: the child inherits everything, this process only waits (`direct.rs`);
//! - no terminal: a pipe for each stream, or one for both where they are the same file, so that
//!   the order stays. The child is in this process's group and session (`direct.rs`);
//! - a terminal: a pty, and a monitor process that leads the child's session (`monitored.rs`).
//!
//! The rule for signals. Without a pty child and parent are one process group, so what the
//! *kernel* sends (a key at the terminal, a hangup, a new size) has reached the child already and
//! is not passed on; what another *process* sends is, unless the child itself sent it. `kill` at a
//! whole group thus reaches the child twice, which nothing can tell apart. With a pty the child is
//! in a session of its own, and everything is passed on, to its whole group. In both, this process
//! stops when the child has stopped, and never else; continuing it continues the child.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::isatty;
use strongroom_core::{Failure, Kind};

use crate::child::{Child, Exit};
use crate::files::SecretFiles;
use crate::lookup::find;
use crate::pump::{Buffer, Channel, Filter, IDLE_MS};
use crate::signals::{FORWARDED, Received, Signals};
use crate::watch::{Watched, Watching};
use crate::{broken, direct, monitored};

/// Which of the child's streams a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Errors,
    /// Both, because they are the same file or terminal.
    Both,
}

/// How to start this same program again as the monitor: its `main` must hand the arguments that
/// follow [`MonitorCommand::args`] to [`crate::monitor_main`].
#[derive(Debug, Clone)]
pub struct MonitorCommand {
    /// The program, with a slash in it: `/proc/self/exe` on Linux.
    pub program: PathBuf,
    /// The hidden arguments that say so.
    pub args: Vec<std::ffi::OsString>,
}

/// Where the child's streams come from and go to.
#[derive(Debug)]
pub struct Io<'a> {
    /// The child's standard input: inherited, or relayed if it is a terminal and output is too.
    pub input: BorrowedFd<'a>,
    /// Where its filtered output goes.
    pub output: BorrowedFd<'a>,
    /// Where its filtered errors go.
    pub errors: BorrowedFd<'a>,
    /// For output on a terminal.
    pub monitor: MonitorCommand,
}

impl Io<'static> {
    /// This process's own standard streams.
    pub fn standard(monitor: MonitorCommand) -> Self {
        Self {
            input: rustix::stdio::stdin(),
            output: rustix::stdio::stdout(),
            errors: rustix::stdio::stderr(),
            monitor,
        }
    }
}

/// Makes a filter for a stream.
pub type Filters<'f, 'a> = &'f mut dyn FnMut(Stream) -> Box<dyn Filter + 'a>;

/// Runs `child` to its end and says how that was.
///
/// `filters` is asked once for each stream; without it the child inherits all three streams.
/// After the child has ended, what it left in its pipe or pty is still written, then `run` comes
/// back, also while a grandchild holds the other end. As process 1 it reaps orphans meanwhile.
///
/// Call it from the main thread of a process that runs one child: it installs signal handlers,
/// which stay, and it may stop this process.
///
/// # Errors
/// `process.not-found` and `process.not-executable` for the program ([`crate::exit_status`]),
/// `process.files` for its files, `process.output` where output could not be written (a full disk;
/// a reader that went away is none), `process.start` and `process.monitor` for a broken machine.
pub fn run<'a>(child: Child, io: &Io<'a>, filters: Option<Filters<'_, 'a>>) -> Result<Exit, Failure> {
    keep_running(child, io, filters, None)
}

/// As [`run`], and makes the changes that come meanwhile: a child that is to start anew is told to end (`SIGTERM`,
/// `SIGKILL` after its time) and the next one started, with streams, filters and a terminal made anew and files in the
/// same places. A child that ends by itself ends the run; so does a signal to this process that asks to end, whatever
/// was to come.
///
/// # Errors
/// As [`run`], also when the next child cannot be started.
pub fn run_watched<'a>(
    child: Child,
    io: &Io<'a>,
    filters: Option<Filters<'_, 'a>>,
    watched: Watched<'_>,
) -> Result<Exit, Failure> {
    keep_running(child, io, filters, Some(watched))
}

fn keep_running<'a>(
    mut child: Child,
    io: &Io<'a>,
    mut filters: Option<Filters<'_, 'a>>,
    watched: Option<Watched<'_>>,
) -> Result<Exit, Failure> {
    let mut path = find(&child.program, &child.env)?;
    let files = SecretFiles::create(std::mem::take(&mut child.files))?;
    let mut signals =
        Signals::install(&FORWARDED).map_err(|error| broken("process.start", "no signal handlers", error))?;
    let mut watching = Watching::new(watched);
    loop {
        child.env.extend(files.variables());
        let exit = match filters.as_deref_mut() {
            None => {
                let mut keeper = direct::start_bare(&path, child, io)?;
                attend(&mut keeper, &mut signals, Vec::new(), &mut watching, &files)?
            }
            Some(filters) if isatty(io.output) || isatty(io.errors) => {
                let (mut keeper, channels) = monitored::start(&path, child, io, filters)?;
                attend(&mut keeper, &mut signals, channels, &mut watching, &files)?
            }
            Some(filters) => {
                let (mut keeper, channels) = direct::start_piped(&path, child, io, filters)?;
                attend(&mut keeper, &mut signals, channels, &mut watching, &files)?
            }
        };
        let Some(next) = watching.next() else { return Ok(exit) };
        // Whoever asked to end while nothing ran was not heard by a child.
        if let Some(received) = signals.take().into_iter().find(Received::ends) {
            return Ok(ended_by(received));
        }
        child = next;
        files.replace(&std::mem::take(&mut child.files))?;
        path = find(&child.program, &child.env)?;
    }
}

fn ended_by(received: Received) -> Exit {
    Exit::Signal(u8::try_from(received.signal.as_raw()).unwrap_or(u8::MAX))
}

/// Something to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    Signals,
    /// What the child was given may have changed.
    Changes,
    /// The monitor says something.
    Control,
    /// Somebody types.
    Keyboard,
    /// The pty takes input.
    Master,
    Read(usize),
    Write(usize),
}

/// Takes one thing to wait for.
pub(crate) type Add<'x, 'k> = &'x mut dyn FnMut(Watch, BorrowedFd<'k>, PollFlags);

/// Whoever looks after the child: as its parent, or through the monitor.
pub(crate) trait Keeper {
    /// Names what to wait for beside signals and output.
    fn watch<'k>(&'k self, add: Add<'_, 'k>);
    /// One of these is ready.
    fn ready(&mut self, watch: Watch) -> Result<(), Failure>;
    /// A signal arrived.
    fn signal(&mut self, received: Received) -> Result<(), Failure>;
    /// Sends the child a signal of our own.
    fn send(&mut self, signal: Signal);
    /// How the child ended, once it has.
    fn exit(&self) -> Option<Exit>;
}

/// The loop: until the child has ended and its output is written.
fn attend(
    keeper: &mut dyn Keeper,
    signals: &mut Signals,
    mut channels: Vec<Channel<'_>>,
    watching: &mut Watching<'_>,
    files: &SecretFiles,
) -> Result<Exit, Failure> {
    let mut buffer = Buffer::default();
    let mut ended = false;
    let exit = loop {
        if let Some(exit) = keeper.exit() {
            if !ended {
                ended = true;
                channels.iter_mut().for_each(Channel::child_ended);
            }
            if channels.iter().all(Channel::is_done) {
                break exit;
            }
        }
        let (ready, reading) = wait(keeper, signals, &channels, watching, ended)?;
        if ready.contains(&Watch::Signals) {
            for received in signals.take() {
                // Nobody is left to pass it to, and output may be stuck: end as the child would have.
                if ended && received.ends() {
                    watching.asked_to_end(Signal::TERM);
                    return Ok(ended_by(received));
                }
                if received.ends() {
                    watching.asked_to_end(received.signal);
                }
                keeper.signal(received)?;
            }
        }
        for watch in &ready {
            match watch {
                Watch::Signals => {}
                Watch::Changes => watching.changed(keeper, files),
                Watch::Read(index) => {
                    if let Some(channel) = channels.get_mut(*index) {
                        channel.read(&mut buffer);
                    }
                }
                Watch::Write(index) => {
                    if let Some(channel) = channels.get_mut(*index) {
                        channel.write();
                    }
                }
                other => keeper.ready(*other)?,
            }
        }
        watching.look_at_time(keeper);
        for (index, channel) in channels.iter_mut().enumerate() {
            if reading.contains(&index) && !ready.contains(&Watch::Read(index)) {
                if ended {
                    channel.end();
                } else if ready.is_empty() && channel.wants_idle() {
                    channel.quiet();
                }
            }
        }
    };
    match channels.iter_mut().find_map(Channel::trouble) {
        None => Ok(exit),
        Some(error) => Err(Failure::new(
            Kind::Internal,
            "process.output",
            format!("the program's output could not be written whole: {error}"),
        )
        .help(format!("make room where the output goes; the program itself ended with status {}", exit.status()))),
    }
}

/// Waits once. Gives what is ready, and which channels were asked for input.
fn wait(
    keeper: &dyn Keeper,
    signals: &Signals,
    channels: &[Channel<'_>],
    watching: &Watching<'_>,
    ended: bool,
) -> Result<(Vec<Watch>, Vec<usize>), Failure> {
    let mut watches = vec![Watch::Signals];
    let mut fds = vec![PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN)];
    let mut reading = Vec::new();
    let mut add = |watch, fd, flags| {
        watches.push(watch);
        fds.push(PollFd::from_borrowed_fd(fd, flags));
    };
    keeper.watch(&mut add);
    watching.watch(&mut add);
    for (index, channel) in channels.iter().enumerate() {
        if let Some(fd) = channel.writes() {
            add(Watch::Write(index), fd, PollFlags::OUT);
        }
        if let Some(fd) = channel.reads() {
            add(Watch::Read(index), fd, PollFlags::IN);
            reading.push(index);
        }
    }
    let milliseconds = if ended && !reading.is_empty() {
        Some(0)
    } else if channels.iter().any(Channel::wants_idle) {
        Some(IDLE_MS)
    } else {
        None
    };
    let quiet = milliseconds.map(Duration::from_millis);
    let time = [quiet, watching.left()].into_iter().flatten().min();
    let timeout = time.and_then(|time| Timespec::try_from(time).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        // A handler ran; its event is in the pipe, and the next round sees it.
        Err(Errno::INTR) => return Ok((Vec::new(), Vec::new())),
        Err(error) => return Err(broken("process.start", "waiting for the program failed", error)),
    }
    let ready = watches.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
    Ok((ready.map(|(watch, _)| watch).collect(), reading))
}
