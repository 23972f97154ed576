//! One log file and the older ones beside it, written by any number of processes at once.
//!
//! Whoever writes holds the file's lock (`flock`), looks whether the file is as it was left, reads its end anew if it
//! is not, and appends all lines of a request with one `write`. What a crash left half is finished with a line's end
//! and a line that tells of it. A write that fails is taken back. It must never go on after an end that was not
//! written with the key: that is for a person to look at.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_core::audit::{Chain, Head, Keys, Line, Torn};
use strongroom_core::{Digest, Failure, Kind};

use super::unwritten;
use crate::unix_now;

/// How long to wait for other processes. Each holds the lock for microseconds: who has it longer is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of a file's end is read to find its last line: first little, then more. What a crash of the machine
/// leaves without a line's end is at most what was written in a second.
const WINDOWS: [u64; 4] = [16 << 10, 256 << 10, 4 << 20, 64 << 20];

/// A log in a file.
pub(super) struct Log {
    path: PathBuf,
    rotate: u64,
    keep: u32,
    open: Option<Open>,
    /// The newest line that this process wrote. If the file ends before it, lines were taken away: the chain goes on
    /// from here none the less, so that it shows.
    last: Option<Head>,
    buffer: Vec<u8>,
    /// Others had the lock for too long, and who waits for it now need not hope.
    held: bool,
}

/// The file as this process left it.
struct Open {
    file: Arc<File>,
    id: (u64, u64),
    /// Its length and its newest line, once they are known.
    end: Option<(u64, Head)>,
}

/// The lock, until it is dropped.
struct Locked(Arc<File>);

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// How a file ends.
struct Tail {
    /// Its newest whole line, if it has one.
    head: Option<Head>,
    /// What stands after it.
    rest: Rest,
}

enum Rest {
    Nothing,
    /// The newest line lacks its end.
    NoEnd,
    Torn(Torn),
}

impl Log {
    pub(super) fn new(path: PathBuf, rotate: u64, keep: u32) -> Self {
        Self { path, rotate, keep, open: None, last: None, buffer: Vec::new(), held: false }
    }

    /// Whether the path still names the file that was written last.
    pub(super) fn is_in_place(&self) -> bool {
        let Some(open) = &self.open else { return true };
        fs::symlink_metadata(&self.path).is_ok_and(|about| (about.dev(), about.ino()) == open.id)
    }

    /// Appends what `lines` writes. Gives the file, to be synced, and how many bytes that was, if anything was written.
    pub(super) fn append(
        &mut self,
        keys: &Keys,
        names: bool,
        lines: impl Fn(&mut Chain<'_>, &mut Vec<u8>),
    ) -> Result<Option<(Arc<File>, u64)>, Failure> {
        loop {
            let (locked, size) = self.lock()?;
            let (head, rest) = self.end(&locked, size, keys)?;
            let mut chain = Chain::after(keys, head, names);
            self.buffer.clear();
            match rest {
                Rest::Nothing => {}
                Rest::NoEnd => self.buffer.push(b'\n'),
                Rest::Torn(torn) => {
                    self.buffer.push(b'\n');
                    chain.torn(&mut self.buffer, unix_now(), &torn);
                }
            }
            let healed = !self.buffer.is_empty();
            lines(&mut chain, &mut self.buffer);
            let length = self.buffer.len() as u64;
            // What is healed is healed in its own file.
            if size > 0 && !healed && length > 0 && size + length > self.rotate {
                self.rotate()?;
                continue;
            }
            if let Err(error) = write_once(&locked.0, &self.buffer) {
                // Half a line would be told by the next as torn; better that there is none.
                let _ = locked.0.set_len(size);
                self.open = None;
                return Err(unwritten(&self.path.display().to_string(), &error));
            }
            if let Some(open) = &mut self.open {
                open.end = Some((size + length, chain.head()));
            }
            if length == 0 {
                return Ok(None);
            }
            self.last = Some(chain.head());
            return Ok(Some((Arc::clone(&locked.0), length)));
        }
    }

    /// Locks the file that the path names now, and gives its length.
    fn lock(&mut self) -> Result<(Locked, u64), Failure> {
        let until = Instant::now() + if self.held { Duration::ZERO } else { PATIENCE };
        loop {
            let open = match &self.open {
                Some(open) => open,
                None => self.open.insert(open_log(&self.path)?),
            };
            let locked = wait_for(&open.file, &self.path, until, File::try_lock);
            self.held = locked.is_err();
            locked?;
            let locked = Locked(Arc::clone(&open.file));
            match fs::symlink_metadata(&self.path) {
                Ok(about) if (about.dev(), about.ino()) == open.id => return Ok((locked, about.len())),
                // Another process rotated it, or somebody moved it.
                Ok(_) => self.open = None,
                Err(error) if error.kind() == ErrorKind::NotFound => self.open = None,
                Err(error) => return Err(unwritten(&self.path.display().to_string(), &error)),
            }
        }
    }

    /// The line to go on after, and what stands behind it.
    fn end(&self, locked: &Locked, size: u64, keys: &Keys) -> Result<(Head, Rest), Failure> {
        if let Some((end, head)) = self.open.as_ref().and_then(|open| open.end)
            && end == size
        {
            return Ok((head, Rest::Nothing));
        }
        let tail = read_tail(&locked.0, size, keys, &self.path)?;
        let head = match tail.head {
            Some(head) => head,
            None => self.before()?.map_or(Ok(Head::START), |file| {
                let about = file.metadata().map_err(|error| unwritten(&self.path.display().to_string(), &error))?;
                let tail = read_tail(&file, about.len(), keys, &numbered(&self.path, 1))?;
                Ok(tail.head.unwrap_or(Head::START))
            })?,
        };
        let head = self.last.filter(|last| last.seq >= head.seq).unwrap_or(head);
        Ok((head, tail.rest))
    }

    /// The newest of the older files.
    fn before(&self) -> Result<Option<File>, Failure> {
        for number in 1..=self.keep {
            let path = numbered(&self.path, number);
            match File::open(&path) {
                Ok(file) => return Ok(Some(file)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(unwritten(&path.display().to_string(), &error)),
            }
        }
        Ok(None)
    }

    /// Gives the file and the older ones the next number; the oldest go. The lock is held: others that wait for it
    /// find another file at the path then.
    fn rotate(&mut self) -> Result<(), Failure> {
        let failed = |error| unwritten(&self.path.display().to_string(), &error);
        for number in (0..self.keep).rev() {
            let from = if number == 0 { self.path.clone() } else { numbered(&self.path, number) };
            match fs::rename(from, numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        // Those that an earlier config kept would stay for ever, with a gap before the others.
        for number in super::read::older(&self.path)?.into_iter().filter(|number| *number > self.keep) {
            match fs::remove_file(numbered(&self.path, number)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        // The names last as the lines do.
        if let Some(folder) = self.path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        self.open = None;
        Ok(())
    }
}

/// An older file's path: `audit.jsonl.1`.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// All bytes with one call, or an error.
fn write_once(mut file: &File, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    loop {
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(_) => return Err(ErrorKind::StorageFull.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens the log for writing, and makes it if it is not there.
fn open_log(path: &Path) -> Result<Open, Failure> {
    let failed = |error: std::io::Error| unwritten(&path.display().to_string(), &error);
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path);
    // What was opened is looked at, not what the path names by now: another process may just have rotated it.
    let (file, about) = match opened {
        Ok(file) => {
            let about = file.metadata().map_err(failed)?;
            (file, about)
        }
        Err(error) => {
            return Err(match fs::symlink_metadata(path) {
                Ok(about) if about.is_symlink() => not_a_file(path, "a symbolic link"),
                Ok(about) if !about.is_file() => not_a_file(path, "no regular file"),
                _ => failed(error),
            });
        }
    };
    if !about.is_file() {
        return Err(not_a_file(path, "no regular file"));
    }
    let user = rustix::process::geteuid().as_raw();
    if about.uid() != user {
        return Err(refused(path, &format!("belongs to user {}, not to the user who writes it ({user})", about.uid())));
    }
    if about.mode() & 0o022 != 0 {
        return Err(refused(path, "can be written by others").help(format!("chmod go-w {}", path.display())));
    }
    Ok(Open { id: (about.dev(), about.ino()), file: Arc::new(file), end: None })
}

fn not_a_file(path: &Path, what: &str) -> Failure {
    refused(path, &format!("is {what}")).help("name the file itself under [audit]")
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::new(Kind::PolicyDenied, "audit.permissions", format!("the audit log {} {why}", path.display()))
}

/// Waits for a lock on `file`. There is no call that waits for one with a limit.
pub(super) fn wait_for(
    file: &File,
    path: &Path,
    until: Instant,
    lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<(), Failure> {
    let mut pause = Duration::from_micros(50);
    loop {
        match lock(file) {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(2));
            }
            Err(TryLockError::WouldBlock) => {
                let message = format!("the audit log {} is held by another process", path.display());
                return Err(Failure::new(Kind::Unavailable, "audit.busy", message)
                    .help("look for a stopped process with `fuser` on that file"));
            }
            Err(TryLockError::Error(error)) => return Err(unwritten(&path.display().to_string(), &error)),
        }
    }
}

/// How the first `size` bytes of a file end.
fn read_tail(file: &File, size: u64, keys: &Keys, path: &Path) -> Result<Tail, Failure> {
    let failed = |error| unwritten(&path.display().to_string(), &error);
    for window in WINDOWS {
        let length = window.min(size);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, size - length).map_err(failed)?;
        let whole = length == size;
        match look_at(&bytes, whole, keys) {
            Some(Ok(tail)) => return Ok(tail),
            Some(Err(Foreign)) => break,
            None => {}
        }
    }
    let message = format!("the audit log {} does not end in a line that was written with its key", path.display());
    Err(Failure::new(Kind::Integrity, "audit.tampered", message)
        .help(format!("somebody changed it, or the key is another: strongroom audit verify {}", path.display()))
        .help("keep it as evidence under another name; a new log then begins"))
}

/// The last line was not written with the key.
struct Foreign;

/// The end of a file in its last bytes; `None` if they are too few. `whole`: they are all of it.
fn look_at(bytes: &[u8], whole: bool, keys: &Keys) -> Option<Result<Tail, Foreign>> {
    let newline = bytes.iter().rposition(|byte| *byte == b'\n');
    let (lines, rest) = match newline {
        Some(at) => bytes.split_at_checked(at + 1)?,
        None if whole => (&[][..], bytes),
        None => return None,
    };
    let rest = match Line::read(rest, keys) {
        _ if rest.is_empty() => Rest::Nothing,
        Some(line) => return Some(Ok(Tail { head: Some(line.head), rest: Rest::NoEnd })),
        None => Rest::Torn(Torn { bytes: rest.len() as u64, sha256: *Digest::of(rest).as_bytes() }),
    };
    let Some(last) = lines.strip_suffix(b"\n") else { return Some(Ok(Tail { head: None, rest })) };
    let last = match last.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => last.get(at + 1..)?,
        None if whole => last,
        None => return None,
    };
    Some(Line::read(last, keys).map(|line| Tail { head: Some(line.head), rest }).ok_or(Foreign))
}

/// The newest line of a file's first `size` bytes.
pub(super) fn head_of(file: &File, size: u64, keys: &Keys, path: &Path) -> Result<Option<Head>, Failure> {
    Ok(read_tail(file, size, keys, path)?.head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end is found whatever stands before it, and nothing but lines of the key is gone on from.
    #[test]
    fn an_end_is_found_in_as_little_as_is_read() {
        let (keys, mut lines) = (Keys::new(&[1; 32]), Vec::new());
        let mut chain = Chain::after(&keys, Head::START, false);
        chain.lost(&mut lines, Duration::ZERO, 1);
        let first = chain.head();
        let length = lines.len();
        chain.lost(&mut lines, Duration::ZERO, 2);
        let second = chain.head();
        let look = |bytes: &[u8], whole| match look_at(bytes, whole, &keys) {
            Some(Ok(Tail { head, rest: Rest::Nothing })) => (head, "nothing"),
            Some(Ok(Tail { head, rest: Rest::NoEnd })) => (head, "no end"),
            Some(Ok(Tail { head, rest: Rest::Torn(_) })) => (head, "torn"),
            Some(Err(Foreign)) => (None, "foreign"),
            None => (None, "more"),
        };
        assert_eq!(look(b"", true), (None, "nothing"));
        assert_eq!(look(&lines, true), (Some(second), "nothing"));
        assert_eq!(look(&lines[length - 1..], false), (Some(second), "nothing"));
        assert_eq!(look(&lines[length..], false), (None, "more"));
        assert_eq!(look(&lines[..length], true), (Some(first), "nothing"));
        assert_eq!(look(&lines[..lines.len() - 1], true), (Some(second), "no end"));
        for cut in length + 1..lines.len() - 1 {
            assert_eq!(look(&lines[..cut], true), (Some(first), "torn"), "{cut}");
        }
        for cut in 1..length - 1 {
            assert_eq!(look(&lines[..cut], true), (None, "torn"), "{cut}");
            assert_eq!(look(&lines[..cut], false), (None, "more"), "{cut}");
        }
        assert_eq!(look(&[&lines[..], b"\n"].concat(), true), (None, "foreign"));
        assert_eq!(look(&[&lines[..], b"x\ny"].concat(), true), (None, "foreign"));
    }
}
