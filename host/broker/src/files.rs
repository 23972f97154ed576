//! The host's own provider: mounted secrets such as `/run/secrets`, below allow-listed folders.
//!
//! It is no plugin, because a sandbox could contain nothing here that this does not: one open, of one
//! path, that the kernel holds inside the folder. Symbolic links are followed only inside it (as
//! Kubernetes lays its secrets out), and only regular files are read.

use std::io::Read;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use strongroom_core::config::Folders;
use strongroom_core::secret::{MAX_VALUE_BYTES, Metadata};
use strongroom_core::{Failure, Kind, Reference, Secret, Value};
use zeroize::Zeroizing;

/// The folder that holds the file, and the path in it.
///
/// # Errors
/// `file.folder` if the mount allows none that does.
pub(crate) fn holding<'a>(folders: &'a Folders, reference: &'a Reference) -> Result<(&'a str, &'a str), Failure> {
    let path = reference.path.first().map(String::as_str).unwrap_or_default();
    folders.holding(path).ok_or_else(|| {
        let allowed: Vec<&str> = folders.iter().collect();
        let message = "the file is not in a folder that the mount allows";
        Failure::new(Kind::PolicyDenied, "file.folder", message).help(format!("it allows: {}", allowed.join(", ")))
    })
}

pub(crate) fn read(folders: &Folders, reference: &Reference, limit: u64) -> Result<Secret, Failure> {
    let (folder, rest) = holding(folders, reference)?;
    read_beneath(folder, rest, limit)
}

/// A file that the environment names by its absolute path: read anew each time, since such files are
/// replaced while a program runs.
pub(crate) fn read_named(path: &str) -> Result<Secret, Failure> {
    if !path.starts_with('/') {
        let message = "a file that the environment names must have an absolute path";
        return Err(Failure::new(Kind::InvalidConfig, "file.path", message));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| unreadable(&error.into()))?;
    read_whole(file.into(), MAX_VALUE_BYTES as u64)
}

/// A file that lies in `folder` or below it, of at most `limit` bytes.
pub(crate) fn read_beneath(folder: &str, rest: &str, limit: u64) -> Result<Secret, Failure> {
    read_whole(open_beneath(folder, rest)?.into(), limit)
}

fn read_whole(mut file: std::fs::File, limit: u64) -> Result<Secret, Failure> {
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(Failure::new(Kind::InvalidReference, "file.kind", "this is no regular file"));
    }
    let limit = limit.min(MAX_VALUE_BYTES as u64);
    // Room for the whole file at once: a vector that grows leaves copies of the value behind.
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(limit) + 1).unwrap_or_default()));
    file.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::new(
            Kind::LimitExceeded,
            "value.too-large",
            format!("the file is larger than {limit} bytes"),
        ));
    }
    Ok(Secret::new(Value::from_bytes(std::mem::take(&mut *bytes)), Metadata::default()))
}

#[cfg(target_os = "linux")]
fn open_beneath(folder: &str, rest: &str) -> Result<rustix::fd::OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let folder = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|error| unreadable(&std::io::Error::from(error)))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&folder, rest, flags, Mode::empty(), resolve).map_err(|error| match error {
        rustix::io::Errno::XDEV | rustix::io::Errno::LOOP => {
            Failure::new(Kind::PolicyDenied, "file.outside", "the path leads out of the folder that the mount allows")
        }
        error => unreadable(&std::io::Error::from(error)),
    })
}

/// Without `openat2` no symbolic link is followed at all.
#[cfg(not(target_os = "linux"))]
fn open_beneath(folder: &str, rest: &str) -> Result<rustix::fd::OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let failed = |error: rustix::io::Errno| unreadable(&std::io::Error::from(error));
    let mut at = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let mut parts = rest.split('/').peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() { flags | OFlags::DIRECTORY } else { flags };
        at = rustix::fs::openat(&at, part, flags, Mode::empty()).map_err(failed)?;
    }
    Ok(at)
}

fn unreadable(error: &std::io::Error) -> Failure {
    let (kind, code) = match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => (Kind::NotFound, "file.not-found"),
        std::io::ErrorKind::PermissionDenied => (Kind::Denied, "file.denied"),
        _ => (Kind::Unavailable, "file.unreadable"),
    };
    Failure::new(kind, code, format!("the file cannot be read: {error}"))
}
