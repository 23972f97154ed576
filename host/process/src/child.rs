//! The program to run, how it is started, and how it ended.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::WaitStatus;
use strongroom_core::{Failure, Kind};
use zeroize::Zeroizing;

use crate::lookup::{find, start_failure};

/// A program, its arguments and its complete environment.
pub struct Child {
    /// A path, or a name that is searched in the `PATH` of `env`.
    pub program: OsString,
    /// The arguments after the program's name.
    pub args: Vec<OsString>,
    /// The whole environment: nothing is inherited beside it.
    pub env: Vec<(OsString, OsString)>,
    /// Secrets for the child as files: the name of a variable, which gets the path, and the bytes.
    /// Each is a 0600 file in memory that is removed when the child has ended.
    pub files: Vec<(OsString, Zeroizing<Vec<u8>>)>,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("program", &self.program).finish_non_exhaustive()
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(u8),
    /// This signal killed it.
    Signal(u8),
}

impl Exit {
    /// The status to exit with: the child's own, or 128 and the signal's number, as in shells.
    pub fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }

    pub(crate) fn of(status: WaitStatus) -> Option<Self> {
        let low = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some(Self::Code(low(code))),
            (None, Some(signal)) => Some(Self::Signal(low(signal))),
            (None, None) => None,
        }
    }
}

/// The status with which `run` exits for a failure of its own: 127 for a program that is not there,
/// 126 for one that cannot be run, else 100 and the failure table's.
pub fn exit_status(failure: &Failure) -> u8 {
    match failure.code() {
        "process.not-found" => 127,
        "process.not-executable" => 126,
        _ => failure.kind().meaning().exit.saturating_add(100),
    }
}

/// Replaces this process with the child. Comes back only if that failed.
///
/// For output that needs no filter. Nobody would be left to remove the child's files, so
/// [`Child::files`] must be empty: with files, use [`crate::run`] without filters.
///
/// # Errors
/// As [`crate::run`]'s, and `process.files` where there are files.
pub fn exec(child: &Child) -> Failure {
    if !child.files.is_empty() {
        return Failure::new(Kind::Internal, "process.files", "a child with files cannot replace this process");
    }
    let path = match find(&child.program, &child.env) {
        Ok(path) => path,
        Err(failure) => return failure,
    };
    let mut error = command(&path, &child.program, &child.args, Some(&child.env)).exec();
    if needs_shell(&path, &error) {
        error = shell(&path, &child.args, Some(&child.env)).exec();
    }
    start_failure(&path, &error)
}

/// Spawns `path`, with `prepare` setting up its standard streams and group. As shells do, a script
/// without a `#!` line is given to `/bin/sh`.
pub(crate) fn spawn(
    path: &Path,
    name: &OsStr,
    args: &[OsString],
    env: Option<&[(OsString, OsString)]>,
    prepare: impl Fn(&mut Command) -> io::Result<()>,
) -> io::Result<std::process::Child> {
    let mut first = command(path, name, args, env);
    prepare(&mut first)?;
    match first.spawn() {
        Err(error) if needs_shell(path, &error) => {
            let mut second = shell(path, args, env);
            prepare(&mut second)?;
            second.spawn()
        }
        result => result,
    }
}

fn command(path: &Path, name: &OsStr, args: &[OsString], env: Option<&[(OsString, OsString)]>) -> Command {
    let mut command = Command::new(path);
    command.arg0(name).args(args);
    with_env(command, env)
}

fn shell(path: &Path, args: &[OsString], env: Option<&[(OsString, OsString)]>) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg(path).args(args);
    with_env(command, env)
}

fn with_env(mut command: Command, env: Option<&[(OsString, OsString)]>) -> Command {
    if let Some(env) = env {
        command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
    }
    command
}

/// True for a text file that the kernel refused because it has no `#!` line. What holds a NUL early
/// is a program for some other machine, and not for the shell.
fn needs_shell(path: &Path, error: &io::Error) -> bool {
    if error.raw_os_error() != Some(Errno::NOEXEC.raw_os_error()) {
        return false;
    }
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(128).read_to_end(&mut head));
    read.is_ok() && !head.contains(&0)
}
