//! Whose the files are: the checks and the few writes around the store's folder.
//!
//! Store, key file and their folders belong to the user or root and are writable by nobody else;
//! the files are readable by nobody else either. The store's own file is only looked at with
//! `lstat` here and must never be opened: closing any descriptor of it would drop all the locks
//! that SQLite holds on it in this process (POSIX advisory locks). The folder is safe to check by
//! path, because nobody else can write to it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom_core::{Failure, Kind};

use crate::failures;

/// The folder that `path` lies in, without symbolic links; made with mode 0700 if `create`.
///
/// `Ok(None)`: it is not there.
pub(crate) fn of(path: &Path, create: bool) -> Result<Option<PathBuf>, Failure> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if create {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failures::io(folder, "cannot make the folder", &error))?;
    }
    let folder = match fs::canonicalize(folder) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failures::io(folder, "cannot look at the folder", &error)),
    };
    let about = fs::metadata(&folder).map_err(|error| failures::io(&folder, "cannot look at the folder", &error))?;
    if !about.is_dir() {
        let message = format!("{} is not a folder", folder.display());
        return Err(Failure::new(Kind::InvalidConfig, "store.permissions", message));
    }
    owned_by_us(&folder, about.uid())?;
    if about.mode() & 0o022 != 0 {
        let repair = format!("chmod go-w {}", failures::shell(&folder));
        return Err(failures::permissions(&folder, "can be written by other users", &repair));
    }
    Ok(Some(folder))
}

/// True if there is a regular file at `path` that nobody else can read or write.
pub(crate) fn private_file(path: &Path) -> Result<bool, Failure> {
    match fs::symlink_metadata(path) {
        Ok(about) => private(path, &about).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failures::io(path, "cannot look at", &error)),
    }
}

/// What tells the file at `path` from another; `None` if there is none.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

/// The check itself, on what `lstat` or `fstat` told.
pub(crate) fn private(path: &Path, about: &fs::Metadata) -> Result<(), Failure> {
    if !about.is_file() {
        let what = if about.is_symlink() { "is a symbolic link" } else { "is not a regular file" };
        let repair = format!("ls -ld {}, and move it away or give the real path", failures::shell(path));
        return Err(failures::permissions(path, what, &repair));
    }
    owned_by_us(path, about.uid())?;
    if about.mode() & 0o077 != 0 {
        let repair = format!("chmod 600 {}", failures::shell(path));
        return Err(failures::permissions(path, "can be read or written by other users", &repair));
    }
    Ok(())
}

fn owned_by_us(path: &Path, owner: u32) -> Result<(), Failure> {
    let user = rustix::process::geteuid().as_raw();
    if owner == user || owner == 0 {
        return Ok(());
    }
    let why = format!("belongs to user {owner}, not to the user who runs strongroom ({user}) or root");
    Err(failures::permissions(path, &why, &format!("chown {user} {}", failures::shell(path))))
}

/// Held while a store is made or its key is changed: one process at a time. Dropping releases it,
/// and so does the death of the process; no file is left behind.
#[derive(Debug)]
pub(crate) struct Guard {
    _folder: File,
}

/// Takes the guard of `folder`, waiting up to `patience`.
pub(crate) fn guard(folder: &Path, patience: Duration) -> Result<Guard, Failure> {
    let file = File::open(folder).map_err(|error| failures::io(folder, "cannot open the folder", &error))?;
    let end = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Guard { _folder: file }),
            // There is no call that waits for a lock with a limit.
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return Err(failures::busy(folder)),
            Err(TryLockError::Error(error)) => return Err(failures::io(folder, "cannot lock the folder", &error)),
        }
    }
}

/// The name of the unfinished file beside `path`. Used under the guard only, so one name is enough,
/// and what a killed process left is overwritten by the next.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    path.with_file_name(name)
}

/// Makes an empty private file, in place of what a killed process may have left there.
pub(crate) fn fresh_file(path: &Path) -> Result<File, Failure> {
    remove(path)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| failures::io(path, "cannot make", &error))
}

/// Removes a file that need not be there.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failures::io(path, "cannot remove", &error)),
        _ => Ok(()),
    }
}

/// Gives the finished file its name, durably.
pub(crate) fn publish(unfinished: &Path, path: &Path) -> Result<(), Failure> {
    fs::rename(unfinished, path).map_err(|error| failures::io(path, "cannot make", &error))?;
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failures::io(folder, "cannot sync the folder", &error))
}

/// Replaces the content of `path`, whole or not at all, durably, mode 0600.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let unfinished = unfinished(path);
    let written = fresh_file(&unfinished).and_then(|mut file| {
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(|error| failures::io(path, "cannot write", &error))
    });
    let done = written.and_then(|()| publish(&unfinished, path));
    if done.is_err() {
        let _ = remove(&unfinished);
    }
    done
}
