//! What the tests share: the example program, a deadline for everything, and a user's terminal.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// The longest anything may take before it counts as hanging. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The example `hide`, which cargo builds with the tests of the package.
pub fn hide() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/hide");
    assert!(path.exists(), "run `cargo test -p strongroom-process` as a whole, which builds {}", path.display());
    path
}

/// `hide`'s command line, with output piped and no input.
pub fn hide_with(args: &[&str]) -> Command {
    let mut command = Command::new(hide());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a program to its end, and kills it when that takes too long.
pub fn finish(command: &mut Command) -> (ExitStatus, String, String) {
    let mut child = command.spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let pid = Pid::from_child(&child);
    let errors = std::thread::spawn(move || err.as_mut().map(read_all).unwrap_or_default());
    let output = std::thread::spawn(move || out.as_mut().map(read_all).unwrap_or_default());
    let status = wait(&mut child).unwrap_or_else(|| {
        let _ = kill_process(pid, Signal::KILL);
        panic!("it did not end: {command:?}")
    });
    (status, output.join().unwrap(), errors.join().unwrap())
}

fn read_all(from: &mut impl Read) -> String {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// Waits for a child's end, at most [`PATIENCE`].
pub fn wait(child: &mut Child) -> Option<ExitStatus> {
    let ended = rustix::process::pidfd_open(Pid::from_child(child), rustix::process::PidfdFlags::empty()).unwrap();
    ready(&ended, PATIENCE).then(|| child.wait().unwrap())
}

/// True if there is something to read in time.
pub fn ready(fd: &impl AsFd, time: Duration) -> bool {
    let time = Timespec::try_from(time).unwrap();
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&time)).unwrap() > 0
}

/// Reads from a pipe until it has given `needle`.
pub fn read_until(from: &mut (impl Read + AsFd), needle: &str) -> String {
    let mut seen = Vec::new();
    let end = Instant::now() + PATIENCE;
    while !String::from_utf8_lossy(&seen).contains(needle) {
        let left = end.saturating_duration_since(Instant::now());
        assert!(ready(from, left), "no {needle:?} in {:?}", String::from_utf8_lossy(&seen));
        let mut buffer = [0; 4096];
        let count = from.read(&mut buffer).unwrap();
        assert!(count > 0, "ended without {needle:?}: {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// A user at a terminal, with a program that has it as its own.
pub struct Desk {
    pub master: File,
    pub slave: OwnedFd,
    pub program: Child,
    /// The terminal's modes before the program started.
    pub before: Termios,
    seen: Vec<u8>,
    mark: usize,
}

impl Desk {
    /// Starts a program as the leader of a new session on a new terminal of 80 columns, 24 rows.
    pub fn start(program: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&master, size(80, 24)).unwrap();
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(program).env("PS1", "READY> ").env("TERM", "xterm").env("HIDE", hide());
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let before = tcgetattr(&slave).unwrap();
        let program = command.spawn().unwrap();
        Self { master: master.into(), slave, program, before, seen: Vec::new(), mark: 0 }
    }

    /// An interactive shell with job control, at its prompt. `$HIDE` is the example.
    pub fn shell() -> Self {
        let mut desk = Self::start(&["bash", "--norc", "--noprofile", "--noediting", "-i"]);
        desk.expect("READY> ");
        desk
    }

    pub fn press(&mut self, keys: &str) {
        std::io::Write::write_all(&mut self.master, keys.as_bytes()).unwrap();
    }

    /// Waits until `needle` appears after what was waited for before, and gives what came till then.
    pub fn expect(&mut self, needle: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let new = String::from_utf8_lossy(&self.seen[self.mark..]).into_owned();
            if let Some(at) = new.find(needle) {
                self.mark += at + needle.len();
                return new[..at + needle.len()].to_owned();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(ready(&self.master, left), "no {needle:?} in {:?}", self.transcript());
            let mut buffer = [0; 4096];
            let count = self.master.read(&mut buffer).unwrap_or(0);
            assert!(count > 0, "the terminal ended without {needle:?}: {:?}", self.transcript());
            self.seen.extend_from_slice(&buffer[..count]);
        }
    }

    pub fn transcript(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    pub fn modes(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.master, size(columns, rows)).unwrap();
    }

    /// The exit status; what the program still writes is read meanwhile.
    pub fn end(&mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.program);
        let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let end = Instant::now() + PATIENCE;
        while !ready(&ended, Duration::ZERO) {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).unwrap();
            let mut fds = [PollFd::new(&ended, PollFlags::IN), PollFd::new(&self.master, PollFlags::IN)];
            assert!(poll(&mut fds, Some(&left)).unwrap() > 0, "it did not end: {:?}", self.transcript());
            self.drain();
        }
        self.drain();
        self.program.wait().unwrap()
    }

    fn drain(&mut self) {
        while ready(&self.master, Duration::ZERO) {
            let mut buffer = [0; 4096];
            match self.master.read(&mut buffer) {
                Ok(count) if count > 0 => self.seen.extend_from_slice(&buffer[..count]),
                _ => break,
            }
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// True if a process of this number is there, a zombie included.
pub fn is_there(pid: &str) -> bool {
    std::path::Path::new("/proc").join(pid.trim()).exists()
}
