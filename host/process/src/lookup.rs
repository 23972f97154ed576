//! Finds the program that a name means, as `execvp` and shells do.
//!
//! Done here and not by the system's `posix_spawnp`, because the search must use the child's own
//! `PATH`, and because "not found" and "found, but not executable" are different exit statuses.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use strongroom_core::{Failure, Kind};

/// What a system without `PATH` searches; the same that `sh` uses.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The path of `program`: itself if it holds a slash, else the first executable of that name in
/// the `PATH` of `env`.
pub(crate) fn find(program: &OsStr, env: &[(OsString, OsString)]) -> Result<PathBuf, Failure> {
    if program.is_empty() {
        return Err(not_found(program).help("name a program after `--`"));
    }
    if program.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(program));
    }
    let path = env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    for folder in path.as_bytes().split(|byte| *byte == b':') {
        // An empty entry is the working folder, and must keep a slash so that nobody searches again.
        let folder = if folder.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(folder) };
        let candidate = Path::new(folder).join(program);
        if rustix::fs::access(&candidate, Access::EXEC_OK).is_ok() {
            if candidate.is_file() {
                return Ok(candidate);
            }
        } else if refused.is_none() && candidate.is_file() {
            refused = Some(candidate);
        }
    }
    match refused {
        Some(candidate) => Err(start_failure(&candidate, &io::Error::from(rustix::io::Errno::ACCESS))),
        None => Err(not_found(program).help("check the spelling, and the PATH that the program is given")),
    }
}

/// The failure for a program that did not start, with the code that decides between 126 and 127.
pub(crate) fn start_failure(path: &Path, error: &io::Error) -> Failure {
    use rustix::io::Errno;
    let shown = path.display();
    let refused = |why: &str| {
        Failure::new(Kind::Unsupported, "process.not-executable", format!("`{shown}` cannot be run: {why}"))
            .about(shown.to_string())
    };
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) if path.exists() => {
            refused("the interpreter it names is not there").help("check the first line of the script, after `#!`")
        }
        Some(Errno::NOENT | Errno::NOTDIR) => not_found(path.as_os_str()).help("check the path"),
        Some(Errno::ACCESS) if path.is_dir() => refused("it is a folder").help("name a program"),
        Some(Errno::ACCESS) => refused("permission denied").help("make it executable with `chmod +x`"),
        Some(Errno::NOEXEC) => refused("it is no program for this machine").help("check what kind of file it is"),
        Some(Errno::TOOBIG) => refused("its arguments and environment are too long together")
            .help("pass large values with `--as-file`, or name fewer of them"),
        _ => refused(&error.to_string()),
    }
}

fn not_found(program: &OsStr) -> Failure {
    let shown = Path::new(program).display();
    Failure::new(Kind::NotFound, "process.not-found", format!("`{shown}`: command not found")).about(shown.to_string())
}
