//! Secrets for a child as files that live in memory and go with it.
//!
//! Each run has a fresh 0700 folder on a file system in memory, and in it a 0600 file for each
//! secret. A plain path works with every program, also with those that close what they inherit
//! (`ssh`, Python's `subprocess`), which `/proc/self/fd/N` does not. The price is that a run ended
//! by `SIGKILL` cannot remove its folder: the next run with files does, because a folder without a
//! lock on it belongs to nobody. It must never write to a disk.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{geteuid, getpid};
use strongroom_core::{Failure, Kind};
use zeroize::Zeroizing;

/// How the folders are called, so that a later run knows its kind.
const PREFIX: &str = "strongroom-files-";

/// The files of one run. They are removed when this is dropped.
pub(crate) struct SecretFiles {
    folder: Option<Folder>,
    files: Vec<(OsString, PathBuf)>,
}

struct Folder {
    path: PathBuf,
    /// Holds the lock that says the folder is in use.
    fd: OwnedFd,
}

impl SecretFiles {
    /// Writes each value to a file and remembers which variable names it.
    pub(crate) fn create(values: Vec<(OsString, Zeroizing<Vec<u8>>)>) -> Result<Self, Failure> {
        let mut made = Self { folder: None, files: Vec::new() };
        if values.is_empty() {
            return Ok(made);
        }
        let (path, fd) = fresh_folder()?;
        let folder = made.folder.insert(Folder { path, fd });
        for (name, value) in values {
            if name.is_empty() || name.as_bytes().contains(&b'/') || name.as_bytes().starts_with(b".") {
                return Err(Failure::new(Kind::InvalidConfig, "process.files", "not a name for a file and a variable")
                    .about(name.to_string_lossy().as_ref())
                    .help("use the name of a variable: letters, digits and underscores"));
            }
            let path = folder.path.join(&name);
            write(&folder.fd, &name, &value).map_err(|error| not_written(&name, folder, &error))?;
            made.files.push((name, path));
        }
        Ok(made)
    }

    /// Puts these in the place of what the files hold, each in one step: whoever reads sees the old or the new one.
    /// What is no file of this run is passed over.
    pub(crate) fn replace(&self, values: &[(OsString, Zeroizing<Vec<u8>>)]) -> Result<(), Failure> {
        let Some(folder) = &self.folder else { return Ok(()) };
        for (name, value) in values.iter().filter(|(name, _)| self.files.iter().any(|(known, _)| known == name)) {
            // No name of a variable begins with a dot.
            let mut fresh = OsString::from(".");
            fresh.push(name);
            let written = write(&folder.fd, &fresh, value)
                .and_then(|()| Ok(rustix::fs::renameat(&folder.fd, &fresh, &folder.fd, name)?));
            if let Err(error) = written {
                let _ = rustix::fs::unlinkat(&folder.fd, &fresh, AtFlags::empty());
                return Err(not_written(name, folder, &error));
            }
        }
        Ok(())
    }

    /// The variables that tell the child where its files are.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (OsString, OsString)> + '_ {
        self.files.iter().map(|(name, path)| (name.clone(), path.clone().into_os_string()))
    }
}

impl Drop for SecretFiles {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            remove(&folder.path, &folder.fd);
        }
    }
}

fn not_written(name: &OsStr, folder: &Folder, error: &std::io::Error) -> Failure {
    let message = format!("the file for `{}` was not written: {error}", name.to_string_lossy());
    Failure::new(Kind::Internal, "process.files", message)
        .help(format!("`{}` is in memory: make room there", folder.path.display()))
}

fn write(folder: &OwnedFd, name: &OsStr, value: &[u8]) -> Result<(), std::io::Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::openat(folder, name, flags, mode)?;
    // Whatever the umask is.
    rustix::fs::fchmod(&file, mode)?;
    std::io::Write::write_all(&mut std::fs::File::from(file), value)
}

/// A new 0700 folder in memory, locked, after removing those that ended runs have left.
fn fresh_folder() -> Result<(PathBuf, OwnedFd), Failure> {
    let uid = geteuid().as_raw();
    let bases = [PathBuf::from(format!("/run/user/{uid}")), PathBuf::from("/dev/shm")];
    for base in bases.iter().filter(|base| is_in_memory(base)) {
        sweep(base);
        for attempt in 0..16u32 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            let path = base.join(format!("{PREFIX}{}-{:x}-{attempt}", getpid().as_raw_nonzero(), now));
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(_) => break,
            }
            match open_folder(&path) {
                Some(fd)
                    if rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok()
                        && rustix::fs::fstat(&fd).is_ok_and(|found| found.st_nlink > 0) =>
                {
                    return Ok((path, fd));
                }
                // A sweeping run was faster than our lock: it removes the folder, we take another.
                _ => continue,
            }
        }
    }
    Err(Failure::new(
        Kind::Unsupported,
        "process.files",
        "there is no writable file system in memory for a secret file",
    )
    .help("mount a tmpfs at /dev/shm (`docker run --tmpfs /dev/shm`), or pass the value as a variable with `-e`"))
}

#[cfg(target_os = "linux")]
fn is_in_memory(base: &Path) -> bool {
    /// The kernel's numbers for file systems that have no disk (`statfs(2)`).
    const IN_MEMORY: [rustix::fs::FsWord; 2] = [0x0102_1994, 0x8584_58f6];
    rustix::fs::statfs(base).is_ok_and(|found| IN_MEMORY.contains(&found.f_type))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_base: &Path) -> bool {
    false
}

fn open_folder(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    // In /dev/shm others could have made it.
    (rustix::fs::fstat(&fd).ok()?.st_uid == geteuid().as_raw()).then_some(fd)
}

/// Removes the folders of runs that no longer hold their lock.
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_bytes().starts_with(PREFIX.as_bytes())
            && let Some(fd) = open_folder(&entry.path())
            && rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            remove(&entry.path(), &fd);
        }
    }
}

fn remove(path: &Path, fd: &OwnedFd) {
    if let Ok(mut entries) = Dir::read_from(fd) {
        let names: Vec<_> = entries.by_ref().flatten().map(|entry| entry.file_name().to_owned()).collect();
        for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
            let _ = rustix::fs::unlinkat(fd, name, AtFlags::empty());
        }
    }
    let _ = rustix::fs::rmdir(path);
}
