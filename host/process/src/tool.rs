//! Helpers that run within limits: a cloud's own tool, a compiler, the compile child.
//!
//! They get the environment that is given and nothing else, a closed or given standard input, a
//! process group of their own that is killed at the deadline and at their end, and capped output.
//! It must never hand on a descriptor of this process: the standard library opens all of its own
//! close-on-exec, and so does this crate.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, setrlimit,
    waitid, waitpid,
};
use strongroom_core::{Failure, Kind};
use zeroize::Zeroizing;

use crate::broken;
use crate::child::Exit;
use crate::lookup::{find, start_failure};

/// The most a compile child may answer, in bytes: above what any component compiles to.
pub const MAX_COMPILED_BYTES: usize = 256 << 20;

/// What is kept of a tool's standard error, in bytes: enough for its last words.
const MAX_ERRORS_BYTES: usize = 64 * 1024;
/// One read, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// How often a child without a descriptor of its own (not on Linux) is asked whether it has ended.
const TICK: Duration = Duration::from_millis(5);

/// Held by each tool from its start until it has been waited for.
static RUNNING: RwLock<()> = RwLock::new(());

/// Held while every process that has ended may be waited for, orphans of process 1 among them: none is a tool, whose own
/// caller waits for it. `None` while one runs.
pub(crate) fn none_runs() -> Option<RwLockWriteGuard<'static, ()>> {
    match RUNNING.try_write() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What to run.
#[derive(Debug)]
pub struct Tool<'a> {
    /// An absolute path, or a name that is searched in the `PATH` of `env`.
    pub program: PathBuf,
    /// The arguments after the name.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working folder.
    pub folder: PathBuf,
    /// What it reads on standard input; `None` is an input that is closed.
    pub input: Option<&'a [u8]>,
    /// Where its output goes.
    pub output: Destination,
    /// How much it may use.
    pub limits: Limits,
}

/// Where a tool's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To the caller: standard output, up to the limit, and the beginning of standard error.
    Captured,
    /// To this process's own standard error, both streams, so that standard output stays clean. For
    /// builders that a person watches: the tool then stays in this process's group, so that a key at
    /// the terminal reaches it, and only it, not its children, is killed at the deadline.
    Shown,
}

/// How much a tool may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time from start to end.
    pub wall: Duration,
    /// Bytes on standard output. More is an error, and ends the tool.
    pub output_bytes: usize,
}

/// What a tool did.
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output.
    pub output: Zeroizing<Vec<u8>>,
    /// The first 64 KiB of its standard error: somebody else's words, so `Text` before it is shown.
    pub errors: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("exit", &self.exit).finish_non_exhaustive()
    }
}

/// Runs a tool to its end.
///
/// # Errors
/// `process.not-found`, `process.not-executable`; `tool.deadline` when the time is up;
/// `tool.output` when it wrote too much; `process.start` for a broken machine. A tool that exits
/// with a status of its own is no error here.
pub fn run_limited(tool: &Tool<'_>) -> Result<Output, Failure> {
    let path = find(tool.program.as_os_str(), &tool.env)?;
    let _ours = RUNNING.read().unwrap_or_else(PoisonError::into_inner);
    let mut started = Started::new(&path, tool)?;
    let result = started.attend(tool, &path);
    // Whatever it has left running ends with it. Its number is not free before it is waited for.
    started.kill();
    let exit = started.reap().map_err(|error| broken("process.start", "how the tool ended is not known", error));
    let (output, errors) = result?;
    Ok(Output { exit: exit?, output, errors })
}

/// The real path of `program`, which is a path, or a name that is searched in the `PATH` of `env`: if it
/// belongs to root or to the user of this process, and neither it nor a folder above it can be written by
/// anybody else. What others can put there is no tool.
///
/// # Errors
/// `process.not-found`, `process.not-executable`; `tool.writable`, kind `policy-denied`.
pub fn guarded(program: &OsStr, env: &[(OsString, OsString)]) -> Result<PathBuf, Failure> {
    let found = find(program, env)?;
    let real = std::fs::canonicalize(&found).map_err(|error| start_failure(&found, &error))?;
    let user = rustix::process::geteuid().as_raw();
    for path in real.ancestors() {
        let about = std::fs::metadata(path).map_err(|error| start_failure(path, &error))?;
        // In a folder with the sticky bit nobody replaces what is somebody else's.
        let shared = about.is_dir() && about.mode() & 0o1000 != 0;
        let others = about.mode() & 0o022 != 0 && !shared;
        if others || ![0, user].contains(&about.uid()) {
            let (shown, at) = (real.display(), path.display());
            let message = format!("`{shown}` is not run as a tool: `{at}` can be changed by other users");
            return Err(Failure::new(Kind::PolicyDenied, "tool.writable", message)
                .help(format!("if it is yours: chmod go-w '{at}'")));
        }
    }
    Ok(real)
}

/// Runs this program's own compile child: `input` on its standard input, the artefact from its
/// standard output, at most [`MAX_COMPILED_BYTES`]. The child gets an empty environment and calls
/// [`limit_self`] before it reads.
///
/// # Errors
/// As [`run_limited`]'s, and `tool.failed` if it did not exit with 0: its standard error is quoted.
pub fn compile_child(program: PathBuf, args: Vec<OsString>, input: &[u8], wall: Duration) -> Result<Vec<u8>, Failure> {
    let limits = Limits { wall, output_bytes: MAX_COMPILED_BYTES };
    let folder = PathBuf::from("/");
    let output = Destination::Captured;
    let tool = Tool { program, args, env: Vec::new(), folder, input: Some(input), output, limits };
    let mut done = run_limited(&tool)?;
    if done.exit == Exit::Code(0) {
        return Ok(std::mem::take(&mut *done.output));
    }
    let how = match done.exit {
        Exit::Code(code) => format!("exited with status {code}"),
        Exit::Signal(signal) => format!("was killed by signal {signal}, as at a limit of time or memory"),
    };
    let words = String::from_utf8_lossy(&done.errors);
    let words = words.trim();
    let said = if words.is_empty() { String::new() } else { format!(": {words}") };
    Err(Failure::new(Kind::LimitExceeded, "tool.failed", format!("the compile child {how}{said}"))
        .help("a component this large may need higher limits, or is made to be expensive"))
}

/// Limits this process itself, for the compile child before it reads what nobody trusts: address
/// space in bytes, CPU time in seconds (then `SIGKILL`), no file larger than nothing, few
/// descriptors, no core file; on Linux it also ends with its parent.
///
/// # Errors
/// `process.harden` where the kernel refuses.
pub fn limit_self(memory_bytes: u64, cpu_seconds: u64) -> Result<(), Failure> {
    /// Enough for standard streams, a memory file and what the runtime opens.
    const DESCRIPTORS: u64 = 64;
    let refused = |error: Errno| broken("process.harden", "a limit could not be set", error);
    for (resource, most) in [
        (Resource::As, memory_bytes),
        (Resource::Cpu, cpu_seconds),
        (Resource::Nofile, DESCRIPTORS),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).map_err(refused)?;
    }
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(refused)?;
    Ok(())
}

/// Output, which may hold a token.
type Bytes = Zeroizing<Vec<u8>>;

/// A tool that runs.
struct Started {
    pid: Pid,
    /// It leads a group of its own.
    leads: bool,
    /// Readable when it has ended; only on Linux.
    ended: Option<OwnedFd>,
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    errors: Option<OwnedFd>,
}

impl Started {
    fn new(path: &Path, tool: &Tool<'_>) -> Result<Self, Failure> {
        let shown = tool.output == Destination::Shown;
        let mut command = Command::new(path);
        command.args(&tool.args).current_dir(&tool.folder).env_clear();
        command.envs(tool.env.iter().map(|(name, value)| (name, value)));
        command.stdin(if tool.input.is_some() { Stdio::piped() } else { Stdio::null() });
        if shown {
            let clone = || rustix::stdio::stderr().try_clone_to_owned();
            let streams = clone().and_then(|one| Ok((one, clone()?)));
            let (one, two) = streams.map_err(|error| broken("process.start", "no descriptor for the tool", error))?;
            command.stdout(Stdio::from(one)).stderr(Stdio::from(two));
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        }
        if !tool.folder.is_dir() {
            let shown = tool.folder.display();
            return Err(Failure::new(Kind::NotFound, "process.start", format!("the folder `{shown}` is not there")));
        }
        let mut child = command.spawn().map_err(|error| start_failure(path, &error))?;
        let pid = Pid::from_child(&child);
        #[cfg(target_os = "linux")]
        let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok();
        #[cfg(not(target_os = "linux"))]
        let ended = None;
        let input = child.stdin.take().map(OwnedFd::from);
        if let Some(input) = &input {
            // It may write before it reads.
            fcntl_setfl(input, OFlags::WRONLY | OFlags::NONBLOCK)
                .map_err(|error| broken("process.start", "the tool's input could not be set up", error))?;
        }
        let output = child.stdout.take().map(OwnedFd::from);
        let errors = child.stderr.take().map(OwnedFd::from);
        Ok(Self { pid, leads: !shown, ended, input, output, errors })
    }

    /// Feeds and reads until the tool has ended.
    fn attend(&mut self, tool: &Tool<'_>, path: &Path) -> Result<(Bytes, Bytes), Failure> {
        let deadline = Instant::now().checked_add(tool.limits.wall);
        let mut left = tool.input.unwrap_or_default();
        // Room from the start for what a tool usually says: a vector that grows leaves copies behind.
        let room = tool.limits.output_bytes.saturating_add(1).min(READ_BYTES);
        let mut output = Zeroizing::new(Vec::with_capacity(room));
        let mut errors = Zeroizing::new(Vec::new());
        let mut buffer = Zeroizing::new(vec![0; READ_BYTES]);
        loop {
            if left.is_empty() {
                self.input = None;
            }
            let ended = self.has_ended();
            let time = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if ended {
                // It leads its group until it is waited for, so the number cannot mean another one.
                self.kill();
            }
            if time == Some(Duration::ZERO) {
                if ended {
                    return Ok((output, errors));
                }
                let (shown, wall) = (path.display(), tool.limits.wall);
                return Err(Failure::new(
                    Kind::Deadline,
                    "tool.deadline",
                    format!("`{shown}` did not end in {wall:?}"),
                )
                .about(shown.to_string())
                .help("try it by hand with the same arguments; it may wait for a person or a network"));
            }
            let [can_write, can_read, can_read_errors] = self.wait(if ended { Some(Duration::ZERO) } else { time })?;
            if can_write {
                left = self.feed(left);
            }
            if can_read {
                read_into(&mut self.output, &mut buffer, &mut output, tool.limits.output_bytes.saturating_add(1));
                if output.len() > tool.limits.output_bytes {
                    let (shown, most) = (path.display(), tool.limits.output_bytes);
                    let why = format!("`{shown}` wrote more than the {most} bytes it may");
                    return Err(Failure::new(Kind::LimitExceeded, "tool.output", why).about(shown.to_string()));
                }
            }
            if can_read_errors {
                read_into(&mut self.errors, &mut buffer, &mut errors, MAX_ERRORS_BYTES);
            }
            // What is there when it has ended is read; what others add later is not waited for.
            if ended && !can_read && !can_read_errors {
                return Ok((output, errors));
            }
        }
    }

    fn wait(&self, time: Option<Duration>) -> Result<[bool; 3], Failure> {
        let time = if self.ended.is_some() { time } else { Some(time.map_or(TICK, |time| time.min(TICK))) };
        let streams = [(&self.input, PollFlags::OUT), (&self.output, PollFlags::IN), (&self.errors, PollFlags::IN)];
        let mut fds: Vec<_> = self.ended.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let first = fds.len();
        fds.extend(streams.iter().filter_map(|(fd, flags)| fd.as_ref().map(|fd| PollFd::new(fd, *flags))));
        let timeout = time.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(broken("process.start", "waiting for the tool failed", error)),
        }
        let mut ready = fds.iter().skip(first).map(|fd| !fd.revents().is_empty());
        Ok(streams.map(|(fd, _)| fd.is_some() && ready.next().unwrap_or(false)))
    }

    /// Writes once and gives what is left. A tool that closes its input has read enough.
    fn feed<'i>(&mut self, left: &'i [u8]) -> &'i [u8] {
        let Some(input) = &self.input else { return &[] };
        match rustix::io::write(input, left) {
            Ok(count) => left.get(count..).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => left,
            Err(_) => &[],
        }
    }

    /// True if it has ended. It is not reaped where its group is still to be killed.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    fn kill(&self) {
        let _ =
            if self.leads { kill_process_group(self.pid, Signal::KILL) } else { kill_process(self.pid, Signal::KILL) };
    }

    fn reap(&self) -> io::Result<Exit> {
        loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => {
                    if let Some(exit) = Exit::of(status) {
                        return Ok(exit);
                    }
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn read_into(from: &mut Option<OwnedFd>, buffer: &mut [u8], to: &mut Vec<u8>, most: usize) {
    let Some(fd) = from else { return };
    match rustix::io::read(fd.as_fd(), &mut *buffer) {
        Ok(0) => *from = None,
        Ok(count) => {
            let kept = count.min(most.saturating_sub(to.len()));
            to.extend_from_slice(buffer.get(..kept).unwrap_or_default());
        }
        Err(Errno::INTR | Errno::AGAIN) => {}
        Err(_) => *from = None,
    }
}
