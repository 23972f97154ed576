//! The child on a pty, through the monitor.
//!
//! The child begins in the pty's foreground, and the user's terminal raw, only if standard input
//! and output are both terminals and this process has the foreground: else two of a pipeline would
//! both make the terminal raw. A child that begins in the background is stopped by its pty when it
//! wants to read or set it, the monitor says so, and only then the terminal is taken for it.
//!
//! While the user's terminal is not raw, both it and the pty turn a line feed into two characters:
//! lines then end in `\r\r\n`, which nobody sees. Turning either off would race with what is
//! under way when the terminal is taken, and somebody would see that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;

use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_current_process_group, kill_process, wait, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
use rustix::termios::{OptionalActions, isatty, tcsetattr, tcsetwinsize};
use strongroom_core::{Failure, Kind};

use crate::child::{Child, Exit};
use crate::direct::{piped, same_file};
use crate::lookup::start_failure;
use crate::monitor::{Message, send_streams};
use crate::pump::Channel;
use crate::run::{Add, Filters, Io, Keeper, Stream, Watch};
use crate::signals::Received;
use crate::terminal::{Terminal, can_be_continued};
use crate::{broken, tool};

/// How much is read from the keyboard at once, in bytes: the size of a terminal's own input queue.
const KEYS_BYTES: usize = 4096;

/// Looks after a child through the monitor.
pub(crate) struct Monitored<'a> {
    program: std::path::PathBuf,
    monitor: Pid,
    monitor_is_gone: bool,
    control: OwnedFd,
    master: Rc<OwnedFd>,
    terminal: Terminal<'a>,
    /// The child has the foreground it was to have. Keys wait until then: one that interrupts or
    /// stops would reach the monitor's group, where it means nothing.
    started: bool,
    /// What was typed and not yet taken by the pty.
    typed: Vec<u8>,
    /// The child has, or shall have again when continued, the pty's foreground.
    foreground: bool,
    exit: Option<Exit>,
}

/// Starts `child` on a new pty, with pipes for those of its streams that are no terminal.
pub(crate) fn start<'a>(
    path: &Path,
    child: Child,
    io: &Io<'a>,
    filters: Filters<'_, 'a>,
) -> Result<(Monitored<'a>, Vec<Channel<'a>>), Failure> {
    let no_pty = |error: io::Error| {
        broken("process.start", "no pty for the program", error)
            .help("`--no-mask` gives the program this terminal itself; `| cat` needs no pty")
    };
    let shown = if isatty(io.output) { io.output } else { io.errors };
    let mut terminal = Terminal::find(io.input, shown);
    let (master, slave) = open_pty(&terminal).map_err(no_pty)?;
    let master = Rc::new(master);

    let stream = if same_file(io.output, io.errors) {
        Stream::Both
    } else if isatty(io.output) {
        Stream::Output
    } else {
        Stream::Errors
    };
    let mut channels = vec![Channel::new(Rc::clone(&master), true, shown, filters(stream)).map_err(no_pty)?];
    let mut other = None;
    if stream != Stream::Both {
        let (target, which) =
            if stream == Stream::Output { (io.errors, Stream::Errors) } else { (io.output, Stream::Output) };
        let (channel, end) = piped(target, which, filters).map_err(no_pty)?;
        channels.push(channel);
        other = Some(end);
    }
    let pty = slave.as_fd();
    let end = other.as_ref().map_or(pty, AsFd::as_fd);
    let input = if isatty(io.input) { pty } else { io.input };
    let (output, errors) = match stream {
        Stream::Both => (pty, pty),
        Stream::Output => (pty, end),
        Stream::Errors => (end, pty),
    };

    let foreground = isatty(io.input) && isatty(io.output) && terminal.is_ours();
    let (control, monitor_end) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| no_pty(error.into()))?;
    send_streams(control.as_fd(), &[input, output, errors, pty], foreground).map_err(no_pty)?;
    if foreground {
        terminal.make_raw();
    }
    let monitor = launch(path, &child, io, monitor_end, slave)?;
    let monitored = Monitored {
        program: path.to_owned(),
        monitor,
        monitor_is_gone: false,
        control,
        master,
        terminal,
        started: false,
        typed: Vec::new(),
        foreground,
        exit: None,
    };
    Ok((monitored, channels))
}

fn launch(path: &Path, child: &Child, io: &Io<'_>, control: OwnedFd, slave: OwnedFd) -> Result<Pid, Failure> {
    let none = |error| broken("process.monitor", "the monitor of the program's terminal did not start", error);
    let mut command = Command::new(&io.monitor.program);
    command.args(&io.monitor.args).arg(path).arg(&child.program).args(&child.args);
    command.env_clear().envs(child.env.iter().map(|(name, value)| (name, value)));
    command
        .stdin(Stdio::from(control))
        .stdout(Stdio::from(slave.try_clone().map_err(none)?))
        .stderr(Stdio::from(slave));
    match command.spawn() {
        Ok(started) => Ok(Pid::from_child(&started)),
        Err(error) if error.raw_os_error() == Some(Errno::TOOBIG.raw_os_error()) => Err(start_failure(path, &error)),
        Err(error) => Err(none(error)),
    }
}

/// A pty with the modes and the size of the user's terminal.
fn open_pty(terminal: &Terminal<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    #[cfg(target_os = "linux")]
    let flags = flags | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    // Keys are written to it, and a child that does not read must not hold up its own output.
    fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
    if let Some(modes) = terminal.modes() {
        tcsetattr(&slave, OptionalActions::Now, &modes)?;
    }
    if let Some(size) = terminal.size() {
        tcsetwinsize(&master, size)?;
    }
    Ok((master, slave))
}

impl Monitored<'_> {
    fn tell(&self, message: Message) {
        // If the monitor is gone, the control socket says so in the next round.
        let _ = message.send(self.control.as_fd());
    }

    /// The child has stopped. If it only asked for the terminal, it may have it; else stop too, as
    /// the shell that started us expects, with our whole group.
    fn stopped(&mut self, signal: i32) {
        let asks = signal == Signal::TTIN.as_raw() || signal == Signal::TTOU.as_raw();
        if asks && self.terminal.is_ours() {
            self.foreground = true;
            self.resume();
            return;
        }
        self.terminal.restore();
        if can_be_continued() {
            let _ = kill_current_process_group(Signal::TSTP);
            // This is where we stop. The SIGCONT that ends it is the next event.
            let _ = kill_process(getpid(), Signal::STOP);
        } else {
            self.resume();
        }
    }

    /// Continues the child, with the terminal if it had it and we have it.
    fn resume(&mut self) {
        self.copy_size();
        if self.foreground && self.terminal.is_ours() {
            self.terminal.make_raw();
            self.tell(Message::Foreground);
        } else {
            self.tell(Message::Background);
        }
    }

    /// Gives the pty the terminal's size.
    fn copy_size(&self) {
        if let Some(size) = self.terminal.size() {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    fn reap(&mut self) {
        let alone = tool::none_runs();
        loop {
            let all = getpid().is_init() && alone.is_some();
            match if all { wait(WaitOptions::NOHANG) } else { waitpid(Some(self.monitor), WaitOptions::NOHANG) } {
                Ok(Some((pid, _))) if pid == self.monitor => self.monitor_is_gone = true,
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }

    fn type_in(&mut self) {
        match rustix::io::write(&self.master, &self.typed) {
            Ok(count) => {
                self.typed.drain(..count.min(self.typed.len()));
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.typed.clear(),
        }
    }

    fn read_keys(&mut self) {
        let Some(keys) = self.terminal.keys() else { return };
        let mut buffer = [0; KEYS_BYTES];
        match rustix::io::read(keys, &mut buffer) {
            Ok(0) => self.terminal.keys_ended(),
            Ok(count) => {
                self.typed.extend_from_slice(buffer.get(..count).unwrap_or_default());
                self.type_in();
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.terminal.keys_ended(),
        }
    }
}

impl Keeper for Monitored<'_> {
    fn watch<'k>(&'k self, add: Add<'_, 'k>) {
        if self.exit.is_some() {
            return;
        }
        add(Watch::Control, self.control.as_fd(), PollFlags::IN);
        if !self.typed.is_empty() {
            add(Watch::Master, self.master.as_fd(), PollFlags::OUT);
        } else if let Some(keys) = self.terminal.keys().filter(|_| self.started) {
            add(Watch::Keyboard, keys, PollFlags::IN);
        }
    }

    fn ready(&mut self, watch: Watch) -> Result<(), Failure> {
        match watch {
            Watch::Keyboard => self.read_keys(),
            Watch::Master => self.type_in(),
            Watch::Control => match Message::receive(self.control.as_fd()) {
                Ok(Some(Message::Started)) => self.started = true,
                Ok(Some(Message::Stopped(signal))) => self.stopped(signal),
                Ok(Some(Message::Ended(exit))) => self.exit = Some(exit),
                Ok(Some(Message::Failed(errno))) => {
                    return Err(start_failure(&self.program, &io::Error::from_raw_os_error(errno)));
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    return Err(Failure::new(
                        Kind::Internal,
                        "process.monitor",
                        "the monitor of the program's terminal ended before the program",
                    )
                    .help("something killed it: look for SIGKILL and for memory limits"));
                }
            },
            Watch::Signals | Watch::Changes | Watch::Read(_) | Watch::Write(_) => {}
        }
        Ok(())
    }

    fn signal(&mut self, received: Received) -> Result<(), Failure> {
        match received.signal {
            Signal::CHILD => self.reap(),
            Signal::CONT => self.resume(),
            Signal::WINCH => {
                self.copy_size();
                // The kernel tells the pty's foreground, which the child may not have (yet). Told
                // twice, a program draws twice.
                self.tell(Message::Signal(Signal::WINCH.as_raw()));
            }
            // Our own, to stop the rest of our group.
            Signal::TSTP if received.sender == Some(getpid()) => {}
            signal => self.tell(Message::Signal(signal.as_raw())),
        }
        Ok(())
    }

    fn send(&mut self, signal: Signal) {
        self.tell(Message::Signal(signal.as_raw()));
    }

    fn exit(&self) -> Option<Exit> {
        self.exit
    }
}

impl Drop for Monitored<'_> {
    /// Leaves no zombie: the monitor ends by itself once it has said how the child did, or when the
    /// control socket closes.
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Both);
        if !self.monitor_is_gone {
            let _ = waitpid(Some(self.monitor), WaitOptions::empty());
        }
    }
}
