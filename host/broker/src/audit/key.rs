//! The log's key: 32 random bytes in a file that only the user can read.
//!
//! Whoever has it can write a log that verifies, and can tell from a hash which of the names that they guess it is. It
//! is made once, before the first line, and never in the place of one that a log was written with.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use strongroom_core::audit::Keys;
use strongroom_core::{Failure, Kind};
use zeroize::Zeroizing;

use super::Place;

/// 32 random bytes.
pub(super) fn random() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|_| Failure::new(Kind::Internal, "system.random", "the system has no randomness to give"))?;
    Ok(bytes)
}

/// What tells a key's file from another, or from itself before it was changed.
pub(super) type Id = (u64, u64, i64, i64);

/// That of the file that is there now.
pub(super) fn id(path: &Path) -> Option<Id> {
    let about = fs::symlink_metadata(path).ok()?;
    Some((about.dev(), about.ino(), about.ctime(), about.ctime_nsec()))
}

/// The keys of a log that is there.
pub(super) fn existing(path: &Path) -> Result<Keys, Failure> {
    load(path)?.ok_or_else(|| missing(path))
}

/// The keys; made for a log that has no line yet.
pub(super) fn ensure(place: &Place) -> Result<Keys, Failure> {
    let path = &place.key;
    if let Some(keys) = load(path)? {
        return Ok(keys);
    }
    let begun = place.file.as_ref().is_some_and(|file| {
        let about = fs::symlink_metadata(file);
        about.is_ok_and(|about| about.is_file() && about.len() > 0)
    });
    if begun {
        // Another process may have made both just now, the key first.
        return existing(path);
    }
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| cannot("make", path, &error))?;
    }
    match strongroom_process::write_secret_file(path, &*random()?, false) {
        // Where several processes try at once, all use the one that was first.
        Err(failure) if failure.code() != "output.exists" => Err(failure.about(path.display().to_string())),
        _ => existing(path),
    }
}

fn load(path: &Path) -> Result<Option<Keys>, Failure> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("open", path, &error)),
    };
    let about = file.metadata().map_err(|error| cannot("read", path, &error))?;
    let mine = about.uid() == 0 || about.uid() == rustix::process::geteuid().as_raw();
    if !about.is_file() || !mine || about.mode() & 0o077 != 0 {
        let message = format!("the audit log's key {} can be read or written by others", path.display());
        return Err(Failure::new(Kind::Integrity, "audit.key-permissions", message)
            .help(format!("it must be a file of yours or root's: chmod 600 {}", path.display()))
            .help("who has read it can write lines that verify: if that is a worry, begin a new log with a new key"));
    }
    let mut key = Zeroizing::new([0; 32]);
    let mut extra = [0; 1];
    let whole = file.read_exact(&mut *key).is_ok() && matches!(file.read(&mut extra), Ok(0));
    if !whole {
        let message = format!("the audit log's key {} is damaged: it is not 32 bytes", path.display());
        return Err(Failure::new(Kind::Integrity, "audit.key", message).help("restore it from a backup"));
    }
    Ok(Some(Keys::new(&key)))
}

fn missing(path: &Path) -> Failure {
    let message = format!("the audit log's key {} is not there", path.display());
    Failure::new(Kind::Integrity, "audit.key-missing", message)
        .help("restore it: without it nothing can be added to the log, and nobody can verify it")
        .help("or move the log away: a new one then begins, with a new key")
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot {what} the audit log's key {}: {error}", path.display());
    Failure::new(Kind::Unavailable, "audit.key", message)
}
