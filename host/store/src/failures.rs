//! The store's failures: one function a case, so that code, kind and advice cannot drift.
//!
//! None of them ever holds a value or a passphrase. Paths, mounts and key names are shown.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi;
use strongroom_core::{Failure, Kind};

/// The file is not what it must be.
pub(crate) fn corrupt(path: &Path, what: &str) -> Failure {
    Failure::new(Kind::Integrity, "store.corrupt", format!("the store {} is damaged: {what}", path.display()))
        .help("nothing was changed; `strongroom doctor` checks the whole file")
        .help("restore it from a backup, together with its -wal file if there is one, while no strongroom runs")
        .help("or move it away and set the secrets again; a new store is then made")
}

/// The file system has no room, or no more for this user or process.
pub(crate) fn disk_full(path: &Path) -> Failure {
    let message = format!("the store {} cannot grow: the disk, a quota or a file size limit is full", path.display());
    Failure::new(Kind::Unavailable, "store.disk-full", message)
        .help("nothing of this write was kept, and what was there before still is")
        .help("free some space, or raise the quota or `ulimit -f`, and try again")
}

/// Others held the lock for longer than the caller waits.
pub(crate) fn busy(path: &Path) -> Failure {
    let message = format!("the store {} is in use: other processes kept writing to it for too long", path.display());
    Failure::new(Kind::Unavailable, "store.busy", message)
        .help("nothing was changed; try again, or look for a stopped process with `fuser` on that file")
}

/// The file or folder cannot be used as it stands.
pub(crate) fn permissions(path: &Path, why: &str, repair: &str) -> Failure {
    Failure::new(Kind::PolicyDenied, "store.permissions", format!("{} {why}", path.display()))
        .help(format!("run: {repair}"))
}

/// A quoted path, for a command a person can paste.
pub(crate) fn shell(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// A system call on `path` failed.
pub(crate) fn io(path: &Path, doing: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => disk_full(path),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            let message = format!("{doing} {}: {error}", path.display());
            Failure::new(Kind::PolicyDenied, "store.permissions", message)
                .help("it must belong to the user who runs strongroom and be writable by that user")
                .help(format!("look with: ls -ld {}", shell(path)))
        }
        _ => Failure::new(Kind::Unavailable, "store.io", format!("{doing} {}: {error}", path.display())),
    }
}

/// SQLite refused. Its own words are left out: they may quote what the file holds.
pub(crate) fn sqlite(path: &Path, error: &rusqlite::Error) -> Failure {
    let rusqlite::Error::SqliteFailure(cause, _) = error else {
        // A column of another type, a missing row or a row too many: the file is not ours any more.
        return corrupt(path, "a row has not the shape it must have");
    };
    let code = cause.extended_code;
    match cause.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => busy(path),
        ErrorCode::DiskFull => disk_full(path),
        // A write that was refused other than by ENOSPC: EDQUOT and EFBIG arrive so.
        ErrorCode::SystemIoFailure if matches!(code, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE) => {
            disk_full(path)
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => corrupt(path, "it is not a whole SQLite file"),
        // Less than SQLite needed was there.
        ErrorCode::SystemIoFailure if code == ffi::SQLITE_IOERR_SHORT_READ => corrupt(path, "it is cut short"),
        ErrorCode::Unknown | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation | ErrorCode::SchemaChanged => {
            corrupt(path, "its tables are not those of a store")
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            let message = format!("the store {} cannot be opened for writing", path.display());
            Failure::new(Kind::PolicyDenied, "store.permissions", message)
                .help("it and its folder must belong to the user who runs strongroom and be writable by that user")
                .help(format!("look with: ls -la {}", shell(path.parent().unwrap_or(path))))
        }
        ErrorCode::OutOfMemory => Failure::new(Kind::Unavailable, "store.memory", "there is not enough memory"),
        _ => {
            let message = format!("the store {} cannot be read or written (SQLite code {code})", path.display());
            Failure::new(Kind::Unavailable, "store.io", message)
        }
    }
}

/// A passphrase is needed and none was given.
pub(crate) fn passphrase_missing(path: &Path) -> Failure {
    let message = format!("the store {} is held by a passphrase, and none was given", path.display());
    Failure::new(Kind::Unauthenticated, "store.passphrase-missing", message)
        .help("run it on a terminal to be asked, or set STRONGROOM_PASSPHRASE_FILE or STRONGROOM_PASSPHRASE")
}

/// The passphrase, or the record it was checked against, is wrong: they cannot be told apart.
pub(crate) fn passphrase_wrong(path: &Path) -> Failure {
    let message = format!("the passphrase does not open the store {}", path.display());
    Failure::new(Kind::Unauthenticated, "store.passphrase", message)
        .help("check for a stray blank or an old value in STRONGROOM_PASSPHRASE or STRONGROOM_PASSPHRASE_FILE")
        .help("if it was changed by key rotation, use the new one; a lost passphrase cannot be recovered")
}

/// A size or count limit of the store.
pub(crate) fn limit(code: &'static str, message: String) -> Failure {
    Failure::new(Kind::LimitExceeded, code, message)
}
