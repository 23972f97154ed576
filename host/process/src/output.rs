//! Files that hold secrets: for their owner only, and whole or not there.
//!
//! It must never leave half a file, follow a link at the target, or widen a mode.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use strongroom_core::{Failure, Kind};

/// The mode of every file written here: read and write for the owner.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Writes `bytes` to a file at `path`, mode 0600 whatever the umask, so that it appears complete
/// or not at all, and stays after a crash.
///
/// The bytes go to a file without a name (`O_TMPFILE`) which then gets its name (`linkat`); where
/// the file system has no such files, to a temporary name beside the target, removed on failure.
/// With `overwrite` an existing file is replaced in one step, its mode becoming 0600.
///
/// # Errors
/// `output.exists` for a file that is there without `overwrite`; `output.symlink`, and
/// `output.not-a-file` for a folder or a device, always; `output.folder` where the folder cannot be
/// opened; `output.full` for a full disk, `output.write` for the rest. `path` is then as it was.
pub fn write_secret_file(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), Failure> {
    let about = |failure: Failure| failure.about(path.display().to_string());
    let Some(name) = path.file_name().filter(|_| !path.as_os_str().as_encoded_bytes().ends_with(b"/")) else {
        return Err(about(Failure::new(Kind::InvalidConfig, "output.not-a-file", "this path does not name a file")));
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| {
        let why = format!("the folder `{}` cannot be opened: {}", folder.display(), io::Error::from(error));
        let kind = if error == Errno::ACCESS { Kind::Denied } else { Kind::NotFound };
        about(Failure::new(kind, "output.folder", why).help("make the folder first, or name another"))
    })?;
    check_target(&folder, name, overwrite).and_then(|()| write(&folder, name, bytes, overwrite)).map_err(about)
}

fn exists() -> Failure {
    Failure::new(Kind::Conflict, "output.exists", "the file is there already and is kept as it is")
        .help("remove it, name another, or say that it may be overwritten")
}

fn check_target(folder: &OwnedFd, name: &OsStr, overwrite: bool) -> Result<(), Failure> {
    let kind = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => FileType::from_raw_mode(found.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed(&error.into())),
    };
    match kind {
        FileType::RegularFile if overwrite => Ok(()),
        FileType::RegularFile => Err(exists()),
        FileType::Symlink => Err(Failure::new(
            Kind::Conflict,
            "output.symlink",
            "this is a symbolic link, and a secret is not written through one",
        )
        .help("name the file it points to, or remove the link")),
        _ => Err(Failure::new(Kind::Conflict, "output.not-a-file", "this is there, and is no regular file")
            .help("name a file; for standard output leave the option out or use `-`")),
    }
}

fn write(folder: &OwnedFd, name: &OsStr, bytes: &[u8], overwrite: bool) -> Result<(), Failure> {
    let done = match nameless(folder) {
        Some(file) => fill(file, bytes).and_then(|file| publish_nameless(&file, folder, name, overwrite)),
        None => write_named(folder, name, bytes, overwrite),
    };
    done.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(),
        _ => failed(&error),
    })?;
    rustix::fs::fsync(folder)
        .or_else(|error| if error == Errno::INVAL { Ok(()) } else { Err(error) })
        .map_err(|error| failed(&error.into()))
}

/// A file without a name in `folder`, where its file system can and `/proc` is there to name it by.
#[cfg(target_os = "linux")]
fn nameless(folder: &OwnedFd) -> Option<File> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, ".", flags, MODE).ok()?;
    rustix::fs::stat(proc_path(&file)).ok()?;
    Some(File::from(file))
}

#[cfg(not(target_os = "linux"))]
fn nameless(_folder: &OwnedFd) -> Option<File> {
    None
}

fn proc_path(file: &impl std::os::fd::AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<File> {
    rustix::fs::fchmod(&file, MODE)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

fn publish_nameless(file: &File, folder: &OwnedFd, name: &OsStr, overwrite: bool) -> io::Result<()> {
    let link = |to: &OsStr| rustix::fs::linkat(CWD, proc_path(file), folder, to, AtFlags::SYMLINK_FOLLOW);
    match link(name) {
        Err(Errno::EXIST) if overwrite => {}
        result => return Ok(result?),
    }
    // A link cannot replace a file, a rename can.
    let temporary = with_fresh_name(|temporary| link(temporary))?;
    replace(folder, temporary.as_ref(), name)
}

fn write_named(folder: &OwnedFd, name: &OsStr, bytes: &[u8], overwrite: bool) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut opened = None;
    let temporary = with_fresh_name(|temporary| {
        opened = Some(rustix::fs::openat(folder, temporary, flags, MODE)?);
        Ok(())
    })?;
    let written = opened.map_or(Err(Errno::BADF.into()), |file| fill(File::from(file), bytes));
    match written {
        Ok(_) if overwrite => replace(folder, temporary.as_ref(), name),
        // A link refuses to replace what appeared meanwhile.
        Ok(_) => {
            let linked = rustix::fs::linkat(folder, &temporary, folder, name, AtFlags::empty());
            let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
            Ok(linked?)
        }
        Err(error) => {
            let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
            Err(error)
        }
    }
}

fn replace(folder: &OwnedFd, temporary: &OsStr, name: &OsStr) -> io::Result<()> {
    rustix::fs::renameat(folder, temporary, folder, name).inspect_err(|_| {
        let _ = rustix::fs::unlinkat(folder, temporary, AtFlags::empty());
    })?;
    Ok(())
}

/// Tries names that nobody uses until `make` accepts one.
fn with_fresh_name(mut make: impl FnMut(&OsStr) -> Result<(), Errno>) -> io::Result<String> {
    for attempt in 0..64u32 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let name = format!(".strongroom-{}-{:x}-{attempt}", std::process::id(), now.as_nanos());
        match make(OsStr::new(&name)) {
            Err(Errno::EXIST) => {}
            result => return result.map(|()| name).map_err(Into::into),
        }
    }
    Err(Errno::EXIST.into())
}

fn failed(error: &io::Error) -> Failure {
    let full =
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge);
    let (kind, code) = match error.kind() {
        _ if full => (Kind::LimitExceeded, "output.full"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (Kind::Denied, "output.write"),
        _ => (Kind::Internal, "output.write"),
    };
    Failure::new(kind, code, format!("the file was not written: {error}"))
        .help("nothing was left behind; make room, or choose another place")
}
