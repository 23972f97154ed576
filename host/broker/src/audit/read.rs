//! Reading a log back: for `audit verify` and `audit head`.
//!
//! Files are looked at under their lock, so that no line is half written; what is added later is not read.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom_core::audit::{Head, Report, Verifier};
use strongroom_core::{Failure, Kind};

use super::{file, key};

/// How long to wait for who is writing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A log's files that are there, the oldest first.
///
/// # Errors
/// If its folder cannot be read.
pub fn files(newest: &Path) -> Result<Vec<PathBuf>, Failure> {
    let older = older(newest)?.into_iter().rev().map(|number| file::numbered(newest, number));
    Ok(older.chain([newest.to_owned()]).filter(|path| path.exists()).collect())
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

/// Reads a log, its files oldest first, with the key in the file `key`. `anchor` is a head that was kept elsewhere.
///
/// # Errors
/// If a file or the key cannot be read. What does not hold is in the report.
pub fn verify(files: &[PathBuf], key: &Path, anchor: Option<Head>) -> Result<Report, Failure> {
    let keys = key::existing(key)?;
    // All are opened before one is read: rotation meanwhile changes their names alone.
    let opened = files.iter().map(|path| snapshot(path).map(|(file, size)| (path, file, size)));
    let opened: Vec<_> = opened.collect::<Result<_, _>>()?;
    let mut verifier = Verifier::new(&keys, anchor);
    let mut buffer = vec![0; 256 << 10];
    for (index, (path, file, size)) in opened.into_iter().enumerate() {
        if index > 0 {
            verifier.next_file();
        }
        let mut file = file.take(size);
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

/// The newest line of a log's file; `None` if it has none.
///
/// # Errors
/// `audit.tampered` if it does not end in a line of this key; if file or key cannot be read.
pub fn head(file: &Path, key: &Path) -> Result<Option<Head>, Failure> {
    file::head_of(file, &key::existing(key)?)
}

/// The file, and how much of it is whole now.
pub(super) fn snapshot(path: &Path) -> Result<(File, u64), Failure> {
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
