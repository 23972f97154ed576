//! The only crate that starts processes: `run`'s child and its terminal, tools, the compile child.
//!
//! It must never print, never look at the process's own environment, and never read what a child
//! writes for any purpose but to hand it to the caller's [`Filter`].
//!
//! - [`run`] starts a program with a complete environment and keeps its exit status, its signals,
//!   the order of its output and its terminal, while a [`Filter`] rewrites what it writes.
//! - [`run_watched`] does so, and starts it anew or tells it when what it was given has changed.
//! - [`exec`] replaces this process where nothing needs rewriting.
//! - [`monitor_main`] is the other half of [`run`] on a terminal, in a process of its own.
//! - [`write_secret_file`] writes a file that others cannot read and that is whole or not there.
//! - [`tool`] runs a helper within limits.
//! - [`open_page`] opens a page in a person's browser, which goes on by itself.
//! - [`peer_groups`] tells who is at the other end of a Unix socket.
//! - [`harden`] keeps this process's memory from other processes of the same user.
//!
//! Start reading at `run.rs` (the rule for signals), then `pump.rs` (how output flows).

#![deny(unsafe_code)]

mod child;
mod direct;
mod files;
mod lookup;
mod monitor;
mod monitored;
mod output;
mod page;
mod peer;
mod pump;
mod run;
mod signals;
mod terminal;
pub mod tool;
mod watch;

pub use child::{Child, Exit, exec, exit_status};
pub use monitor::monitor_main;
pub use output::write_secret_file;
pub use page::{Opening, open_page};
pub use peer::peer_groups;
pub use pump::Filter;
pub use run::{Filters, Io, MonitorCommand, Stream, run, run_watched};
pub use watch::{Change, Changes, Files, Watched};

use strongroom_core::{Failure, Kind};

/// Makes this process undumpable: no core file, and no `ptrace` or `/proc/PID/mem` for other
/// processes of the same user (root aside). A program that is started later is not affected,
/// because `execve` sets the flag anew.
///
/// Whoever needs `/proc/self/pagemap` opens it before. Elsewhere than on Linux this does nothing.
///
/// # Errors
/// `process.harden` where the kernel refuses, which a plain Linux never does.
pub fn harden() -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|error| broken("process.harden", "this process could not be made undumpable", error))?;
    }
    Ok(())
}

/// Raises the limit of open files of this process as far as it may, and says what it is now: a server has one for each
/// connection.
///
/// # Errors
/// `process.files` where the system refuses.
pub fn raise_file_limit() -> Result<Option<u64>, Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
            .map_err(|error| broken("process.files", "the limit of open files could not be raised", error))?;
    }
    Ok(maximum)
}

/// True if [`harden`] has worked.
pub fn is_hardened() -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        dumpable_behavior().is_ok_and(|behavior| behavior == DumpableBehavior::NotDumpable)
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// A failure of the machine: what could not be done, and what the system said.
fn broken(code: &'static str, what: &str, error: impl Into<std::io::Error>) -> Failure {
    Failure::new(Kind::Internal, code, format!("{what}: {}", error.into()))
        .help("run `strongroom doctor`; a limit on processes, open files or memory is the usual cause")
}
