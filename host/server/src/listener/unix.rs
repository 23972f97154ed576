//! Unix sockets: made so that nobody can be taken in by another's, and peers known by what the kernel says.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use strongroom::{Failure, Kind};
use strongroom_core::config::listeners::OpenTo;

/// A socket's file, and the lock that says whose it is. Removed with the server.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Held for as long as the server runs; the lock goes with it.
    _lock: fs::File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn set_mode(path: &Path, open_to: OpenTo) -> io::Result<()> {
    let mode = match open_to {
        OpenTo::User => 0o600,
        OpenTo::Group => 0o660,
        OpenTo::All => 0o666,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Opens a socket that listens to others than before.
///
/// # Errors
/// `server.socket`.
pub(crate) fn open(path: &Path, open_to: OpenTo) -> Result<(), Failure> {
    set_mode(path, open_to).map_err(|error| refused(path, error))
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Failure {
    let message = format!("cannot listen on {}: {why}", path.display());
    Failure::new(Kind::InvalidConfig, "server.socket", message)
}

/// Listens at `path`. A socket that a dead server left there is replaced, one that lives is not.
///
/// # Errors
/// `server.running` if another server has it; `server.socket` for a folder that others can write to, or whatever
/// else is wrong with the path.
pub(crate) fn listen(path: &Path, open_to: OpenTo) -> Result<(UnixListener, SocketFile), Failure> {
    let failed = |error: io::Error| refused(path, error);
    let folder = path.parent().ok_or_else(|| refused(path, "it has no folder"))?;
    if !folder.exists() {
        // Only the last folder, and 0700 whatever the umask says: what is above it is for the operator to make.
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        builder
            .create(folder)
            .or_else(|error| match folder.parent() {
                Some(above) if error.kind() == io::ErrorKind::NotFound => fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(above)
                    .and_then(|()| builder.create(folder)),
                _ => Err(error),
            })
            .map_err(failed)?;
    }
    let about = fs::metadata(folder).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if about.uid() != own && about.uid() != 0 {
        return Err(refused(path, "its folder belongs to somebody else").help("choose a folder of your own"));
    }
    if about.mode() & 0o022 != 0 && about.mode() & 0o1000 == 0 {
        return Err(refused(path, "others may write to its folder, and so put their own socket there")
            .help(format!("chmod go-w {}", folder.display())));
    }
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = {
        use std::os::unix::fs::OpenOptionsExt;
        let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nofollow)
            .open(&lock_path)
    }
    .map_err(failed)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let message = format!("another server listens on {}", path.display());
        return Err(Failure::new(Kind::Conflict, "server.running", message)
            .help("stop it first, or give this one a socket of its own: [listeners.NAME] socket = \"...\""));
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(refused(path, "something else is there").help("remove it, or choose another path"));
        }
        // Whoever held it is gone: the lock is ours.
        Ok(_) => fs::remove_file(path).map_err(failed)?,
    }
    // Made where nobody else can reach it, and moved to its place when its mode is right.
    let nursery = nursery(folder).map_err(failed)?;
    let made = nursery.join("s");
    let result = UnixListener::bind(&made).and_then(|listener| {
        set_mode(&made, open_to)?;
        fs::rename(&made, path)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    let _ = fs::remove_file(&made);
    let _ = fs::remove_dir(&nursery);
    Ok((result.map_err(failed)?, SocketFile { path: path.to_owned(), _lock: lock }))
}

/// A new folder that is nobody else's.
fn nursery(folder: &Path) -> io::Result<PathBuf> {
    for attempt in 0..16 {
        let made = folder.join(format!(".s{}-{attempt}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&made) {
            Ok(()) => return Ok(made),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by a server of that number that was killed here.
                let _ = fs::remove_file(made.join("s"));
                let _ = fs::remove_dir(&made);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[test]
    fn a_socket_is_whose_the_config_says() {
        let folder = folder();
        for (open_to, mode) in [(OpenTo::User, 0o600), (OpenTo::Group, 0o660), (OpenTo::All, 0o666)] {
            let path = folder.path().join("new/s.sock");
            let (_listener, _file) = listen(&path, open_to).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode);
            assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn one_that_lives_stays_and_a_dead_ones_is_replaced() {
        let folder = folder();
        let path = folder.path().join("s.sock");
        let (listener, file) = listen(&path, OpenTo::User).unwrap();
        assert_eq!(listen(&path, OpenTo::User).err().unwrap().code(), "server.running");
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "the first still listens");
        drop(listener);
        drop(file);
        assert!(!path.exists());
        // As a killed server leaves it: the file, and nobody behind it.
        drop(UnixListener::bind(&path).unwrap());
        assert!(listen(&path, OpenTo::User).is_ok());
    }

    #[test]
    fn what_is_no_socket_is_not_removed() {
        let folder = folder();
        let path = folder.path().join("s.sock");
        fs::write(&path, "precious").unwrap();
        assert_eq!(listen(&path, OpenTo::User).err().unwrap().code(), "server.socket");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_folder_that_others_write_to_is_refused() {
        let folder = folder();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let failure = listen(&folder.path().join("s.sock"), OpenTo::All).err().unwrap();
        assert_eq!(failure.code(), "server.socket");
        assert!(!failure.helps().is_empty());
    }
}
