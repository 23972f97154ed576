//! Reading a log back: for `audit verify` and `audit head`.
//!
//! Files are looked at under their lock, so that no line is half written; what is added later is not read.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom_core::audit::{Head, Report, Verifier};
use strongroom_core::{Failure, Kind};

use super::{file, key};

/// How long to wait for who is writing, and how often to look.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// Files of a log, the oldest first, each with how much of it is whole.
pub struct Files(Vec<(PathBuf, File, u64)>);

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.paths()).finish()
    }
}

impl Files {
    /// Opens these, as they are named: the oldest first.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn open(paths: Vec<PathBuf>) -> Result<Self, Failure> {
        let opened = paths.into_iter().map(|path| snapshot(&path).map(|(file, size)| (path, file, size)));
        opened.collect::<Result<_, _>>().map(Self)
    }

    /// Opens all of the log whose newest file is `newest`, as they were at one moment: rotation waits meanwhile.
    ///
    /// # Errors
    /// If its folder or a file cannot be read, or others have the log for too long.
    pub fn of_log(newest: &Path) -> Result<Self, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let older =
                older(newest)?.into_iter().rev().map(|number| file::numbered(newest, number)).collect::<Vec<_>>();
            let opened = match File::open(newest) {
                Ok(opened) => opened,
                // Between two names of rotation there is none, for a moment.
                Err(error) if error.kind() == ErrorKind::NotFound && (older.is_empty() || Instant::now() >= until) => {
                    return Self::open(older);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(error) => return Err(unreadable(newest, &error)),
            };
            let failed = |error| unreadable(newest, &error);
            if !opened.metadata().map_err(failed)?.is_file() {
                return Self::open(vec![newest.to_owned()]);
            }
            // Who rotates holds the lock alone.
            file::wait_for(&opened, newest, until, File::try_lock_shared)?;
            let about = opened.metadata().map_err(failed)?;
            let in_place =
                fs::metadata(newest).is_ok_and(|named| (named.dev(), named.ino()) == (about.dev(), about.ino()));
            if !in_place && Instant::now() < until {
                continue;
            }
            let older = self::older(newest)?.into_iter().rev().map(|number| file::numbered(newest, number));
            let mut all = Vec::new();
            for path in older {
                let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
                let size = file.metadata().map_err(|error| unreadable(&path, &error))?.len();
                all.push((path, file, size));
            }
            let _ = opened.unlock();
            all.push((newest.to_owned(), opened, about.len()));
            return Ok(Self(all));
        }
    }

    /// Their paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _, _)| path.as_path())
    }
}

/// The numbers of the older files, from the newest.
pub(super) fn older(newest: &Path) -> Result<Vec<u32>, Failure> {
    let folder = newest.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = newest.file_name().unwrap_or_default().to_string_lossy();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let number = |entry: &str| entry.strip_prefix(&*name)?.strip_prefix('.')?.parse::<u32>().ok();
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut numbers: Vec<u32> = names.filter_map(|entry| number(&entry.to_string_lossy())).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a log with the key in the file `key`. `anchor` is a head that was kept elsewhere.
///
/// # Errors
/// If a file or the key cannot be read. What does not hold is in the report.
pub fn verify(files: &Files, key: &Path, anchor: Option<Head>) -> Result<Report, Failure> {
    let keys = key::existing(key)?;
    let mut verifier = Verifier::new(&keys, anchor);
    let mut buffer = vec![0; 256 << 10];
    for (index, (path, file, size)) in files.0.iter().enumerate() {
        if index > 0 {
            verifier.next_file();
        }
        let mut file = file.take(*size);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => verifier.push(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(path, &error)),
            }
        }
    }
    Ok(verifier.finish())
}

/// The newest line of the log whose newest file is `newest`; `None` if it has none.
///
/// # Errors
/// `audit.tampered` if a file does not end in a line of this key; if file or key cannot be read.
pub fn head(newest: &Path, key: &Path) -> Result<Option<Head>, Failure> {
    let keys = key::existing(key)?;
    let files = Files::of_log(newest)?;
    if files.0.is_empty() {
        return Err(unreadable(newest, &ErrorKind::NotFound.into()));
    }
    // Right after rotation the newest has none yet.
    for (path, file, size) in files.0.iter().rev() {
        if let Some(head) = file::head_of(file, *size, &keys, path)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// The file, and how much of it is whole now.
fn snapshot(path: &Path) -> Result<(File, u64), Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let about = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !about.is_file() {
        return Ok((file, u64::MAX));
    }
    file::wait_for(&file, path, Instant::now() + PATIENCE, File::try_lock_shared)?;
    let size = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    let _ = file.unlock();
    Ok((file, size))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let kind = if error.kind() == ErrorKind::NotFound { Kind::NotFound } else { Kind::Denied };
    Failure::new(kind, "audit.unreadable", format!("cannot read {}: {error}", path.display()))
}
