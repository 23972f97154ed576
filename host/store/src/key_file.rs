//! The key file: master keys for machines with neither keyring nor passphrase.
//!
//! A text file, mode 0600, one line a key: its random name and the key, in hex. It may hold keys of
//! several stores; a key is added before a store needs it and taken away after no store does, so
//! that a crash at any moment leaves the key the store needs. It must never be written in place.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use strongroom_core::{Failure, Kind};
use zeroize::Zeroizing;

use crate::crypt::{self, ID_BYTES, Id, KEY_BYTES, Key};
use crate::{failures, folder};

/// The largest key file that is read, in bytes: some six hundred keys.
const MAX_BYTES: u64 = 64 * 1024;

const HEADING: &str = "# Keys of strongroom's store. Whoever reads this file can read the store.\n";

/// The key named `id`.
pub(crate) fn read(path: &Path, id: &Id) -> Result<Key, Failure> {
    let Some(text) = load(path)? else {
        let message = format!("the store is held by the key file {}, which is not there", path.display());
        return Err(Failure::new(Kind::Unauthenticated, "store.key-file-missing", message)
            .help("restore it from a backup: without it, the store's values are lost")
            .help("if you moved the store's folder, move the key file with it"));
    };
    match lines(path, &text)?.find(|(name, _)| name == id) {
        Some((_, key)) => Ok(key),
        None => {
            let message = format!("the key file {} does not hold this store's key", path.display());
            Err(Failure::new(Kind::Unauthenticated, "store.key-file", message)
                .help("it belongs to another store, or is older than the last key rotation: restore the right one"))
        }
    }
}

/// Adds a key. What is there stays.
pub(crate) fn add(path: &Path, id: &Id, key: &Key, guarded: &Path, patience: Duration) -> Result<(), Failure> {
    let _guard = also_guard(path, guarded, patience)?;
    let text = load(path)?.unwrap_or_else(|| Zeroizing::new(HEADING.to_owned()));
    let _checked = lines(path, &text)?.count();
    let key = Zeroizing::new(crypt::hex(key.as_slice()));
    // In one allocation: growing a string would leave a copy of the keys behind.
    let mut longer = Zeroizing::new(String::with_capacity(text.len() + 2 * (ID_BYTES + KEY_BYTES) + 3));
    let end = if text.ends_with('\n') { "" } else { "\n" };
    for part in [text.as_str(), end, &crypt::hex(id), " ", key.as_str(), "\n"] {
        longer.push_str(part);
    }
    folder::replace(path, longer.as_bytes())
}

/// Takes the key named `id` away, if it is there, and the file with its last key.
pub(crate) fn remove(path: &Path, id: &Id, guarded: &Path, patience: Duration) -> Result<(), Failure> {
    let _guard = also_guard(path, guarded, patience)?;
    let Some(text) = load(path)? else { return Ok(()) };
    let name = crypt::hex(id);
    let mut kept = Zeroizing::new(String::with_capacity(text.len() + 1));
    for line in text.lines().filter(|line| !line.starts_with(&name)) {
        kept.push_str(line);
        kept.push('\n');
    }
    if lines(path, &kept)?.next().is_none() { folder::remove(path) } else { folder::replace(path, kept.as_bytes()) }
}

/// The guard of the key file's folder, unless the caller holds that very one as the store's.
fn also_guard(path: &Path, guarded: &Path, patience: Duration) -> Result<Option<folder::Guard>, Failure> {
    match folder::of(path, true)? {
        Some(own) if own != guarded => folder::guard(&own, patience).map(Some),
        _ => Ok(None),
    }
}

fn load(path: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    if folder::of(path, false)?.is_none() {
        return Ok(None);
    }
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            // A symbolic link is refused by the system with an error few people know.
            folder::private_file(path)?;
            return Err(failures::io(path, "cannot open the key file", &error));
        }
    };
    let about = file.metadata().map_err(|error| failures::io(path, "cannot look at the key file", &error))?;
    folder::private(path, &about)?;
    // One byte of room more than the file has, so that reading it never grows (and copies) the string.
    let room = usize::try_from(about.len().min(MAX_BYTES)).unwrap_or_default() + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    let read = Read::by_ref(&mut file).take(MAX_BYTES).read_to_string(&mut text);
    match read {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(malformed(path)),
        Err(error) => Err(failures::io(path, "cannot read the key file", &error)),
    }
}

/// The keys of the file; a line that is neither a comment nor a key is an error.
fn lines<'a>(path: &Path, text: &'a str) -> Result<impl Iterator<Item = (Id, Key)> + use<'a>, Failure> {
    let parse = |line: &str| -> Option<(Id, Key)> {
        let (name, key) = line.split_once(' ')?;
        Some((*crypt::unhex::<ID_BYTES>(name)?, crypt::unhex::<KEY_BYTES>(key)?))
    };
    let lines = || text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    if lines().any(|line| parse(line).is_none()) {
        return Err(malformed(path));
    }
    Ok(text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(parse))
}

fn malformed(path: &Path) -> Failure {
    Failure::new(Kind::Integrity, "store.key-file", format!("the key file {} is damaged", path.display()))
        .help("restore it from a backup: without it, the store's values are lost")
}
