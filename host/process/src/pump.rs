//! From the child's pipe or pty, through a filter, to this process's own output.
//!
//! One thread and `poll`: a channel reads only when all it read before is written, so a slow
//! reader slows the child, as it would without us, and no signal waits behind a blocked write.
//! It must never drop a byte that the filter gave out while somebody still reads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// Rewrites a stream of output, piece by piece.
pub trait Filter {
    /// Takes the next piece, whose borders mean nothing, and adds to `out` what is safe to show.
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>);

    /// The stream has ended: adds what was held back.
    fn finish(&mut self, out: &mut Vec<u8>);

    /// True while something is held back because it may be the start of what must be hidden.
    fn pending(&self) -> bool;

    /// Called once when something is held back and nothing came for 100 ms: a prompt or an echoed
    /// key may be waiting to be seen. Whoever gives out here must still recognise the rest. The
    /// default gives out nothing.
    fn idle(&mut self, _out: &mut Vec<u8>) {}
}

/// How long a stream is quiet before [`Filter::idle`] is called, in milliseconds: below what a
/// person at a prompt notices as a pause.
pub(crate) const IDLE_MS: u64 = 100;

/// One read, in bytes, and what the pipes that we make hold where the system lets us: a program that
/// says much is then waited for less often.
pub(crate) const READ_BYTES: usize = 256 * 1024;

/// The first read, in bytes: most programs say little, and memory that is touched costs start-up time.
const FIRST_BYTES: usize = 4096;

/// Where reads go: small until a read fills it. Overwritten when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Zeroizing<Vec<u8>>);

impl Buffer {
    /// Room for one read.
    fn room(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = Zeroizing::new(vec![0; FIRST_BYTES]);
        }
        &mut self.0
    }

    /// The last read gave `count` bytes.
    fn filled(&mut self, count: usize) {
        if count == self.0.len() && count < READ_BYTES {
            self.0 = Zeroizing::new(vec![0; READ_BYTES]);
        }
    }
}

/// The most bytes a pipe that `poll` calls writable takes without blocking (`PIPE_BUF`).
#[cfg(target_os = "linux")]
const PIECE_BYTES: usize = 4096;
#[cfg(not(target_os = "linux"))]
const PIECE_BYTES: usize = 512;

/// How much of a pty is read after the child ended, in bytes: above what the kernel buffers, so
/// nothing is lost, and bounded, because somebody else may go on writing.
const PTY_REST_BYTES: u64 = 1 << 20;

/// Where a stream goes.
enum Target<'a> {
    Given(BorrowedFd<'a>),
    Own(OwnedFd),
}

impl AsFd for Target<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Given(fd) => *fd,
            Self::Own(fd) => fd.as_fd(),
        }
    }
}

/// The same pipe by a descriptor of our own that takes what there is room for and never waits. The one we
/// were given is shared with others, whose writes have to go on waiting.
fn unblocking(pipe: BorrowedFd<'_>) -> Option<OwnedFd> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    rustix::fs::open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// One stream of the child's output on its way.
pub(crate) struct Channel<'a> {
    source: Option<Rc<OwnedFd>>,
    is_pty: bool,
    target: Target<'a>,
    filter: Box<dyn Filter + 'a>,
    waiting: Vec<u8>,
    written: usize,
    piece: usize,
    /// What may still be read, once the child has ended.
    rest: Option<u64>,
    told_idle: bool,
    trouble: Option<io::Error>,
}

impl<'a> Channel<'a> {
    pub(crate) fn new(
        source: Rc<OwnedFd>,
        is_pty: bool,
        target: BorrowedFd<'a>,
        filter: Box<dyn Filter + 'a>,
    ) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(target)?.st_mode);
        let own = if kind.is_fifo() { unblocking(target) } else { None };
        // A regular file never makes a writer wait, and poll always calls it ready.
        let whole = kind.is_file() || own.is_some();
        let target = own.map_or(Target::Given(target), Target::Own);
        Ok(Self {
            source: Some(source),
            is_pty,
            target,
            filter,
            waiting: Vec::new(),
            written: 0,
            piece: if whole { usize::MAX } else { PIECE_BYTES },
            rest: None,
            told_idle: false,
            trouble: None,
        })
    }

    /// Where to wait for input, if it is wanted now.
    pub(crate) fn reads(&self) -> Option<BorrowedFd<'_>> {
        if self.writes().is_some() { None } else { self.source.as_ref().map(|source| source.as_fd()) }
    }

    /// Where to wait until it can be written, if something is to be.
    pub(crate) fn writes(&self) -> Option<BorrowedFd<'_>> {
        (self.written < self.waiting.len()).then(|| self.target.as_fd())
    }

    /// True if nothing will come any more and everything is written.
    pub(crate) fn is_done(&self) -> bool {
        self.source.is_none() && self.writes().is_none()
    }

    /// True if [`Channel::quiet`] should be called when nothing came for a while.
    pub(crate) fn wants_idle(&self) -> bool {
        self.source.is_some() && !self.told_idle && self.filter.pending()
    }

    /// Reads once; `poll` said that there is something, or the end.
    pub(crate) fn read(&mut self, buffer: &mut Buffer) {
        let Some(source) = &self.source else { return };
        let room = buffer.room();
        match rustix::io::read(source, &mut *room) {
            Ok(0) => self.end(),
            Ok(count) => {
                self.told_idle = false;
                self.give(|filter, out| filter.push(room.get(..count).unwrap_or_default(), out));
                buffer.filled(count);
                if let Some(rest) = &mut self.rest {
                    *rest = rest.saturating_sub(count as u64);
                    if *rest == 0 {
                        self.end();
                    }
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A pty whose last user has gone says EIO.
            Err(_) => self.end(),
        }
    }

    /// Writes once; `poll` said that there is room, or that nobody reads.
    pub(crate) fn write(&mut self) {
        let end = self.written.saturating_add(self.piece).min(self.waiting.len());
        match rustix::io::write(self.target.as_fd(), self.waiting.get(self.written..end).unwrap_or_default()) {
            Ok(count) => self.written = self.written.saturating_add(count),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                // Without us the child would see this itself: closing its pipe tells it so.
                if !matches!(error, Errno::PIPE | Errno::IO) {
                    self.trouble = Some(error.into());
                }
                self.source = None;
                self.waiting.clear();
                self.written = 0;
            }
        }
    }

    /// Nothing came for a while.
    pub(crate) fn quiet(&mut self) {
        self.told_idle = true;
        self.give(|filter, out| filter.idle(out));
    }

    /// The child has ended: only what is there already is still read.
    pub(crate) fn child_ended(&mut self) {
        let Some(source) = &self.source else { return };
        let rest = if self.is_pty { Ok(PTY_REST_BYTES) } else { rustix::io::ioctl_fionread(source) };
        match rest {
            Ok(0) | Err(_) => self.end(),
            Ok(rest) => self.rest = Some(rest),
        }
    }

    /// Nothing more is read.
    pub(crate) fn end(&mut self) {
        if self.source.take().is_some() {
            self.give(|filter, out| filter.finish(out));
        }
    }

    /// Why output was lost, if it was and not just because nobody reads any more.
    pub(crate) fn trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    fn give(&mut self, act: impl FnOnce(&mut dyn Filter, &mut Vec<u8>)) {
        if self.writes().is_none() {
            self.waiting.clear();
            self.written = 0;
        }
        act(&mut *self.filter, &mut self.waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds everything back until it is told that nothing comes.
    #[derive(Default)]
    struct Holding(Vec<u8>);

    impl Filter for Holding {
        fn push(&mut self, chunk: &[u8], _: &mut Vec<u8>) {
            self.0.extend_from_slice(chunk);
        }
        fn finish(&mut self, out: &mut Vec<u8>) {
            out.append(&mut self.0);
        }
        fn pending(&self) -> bool {
            !self.0.is_empty()
        }
        fn idle(&mut self, out: &mut Vec<u8>) {
            out.append(&mut self.0);
        }
    }

    #[test]
    fn a_filter_is_told_once_that_nothing_comes() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let (shown, out) = rustix::pipe::pipe().unwrap();
        let mut channel = Channel::new(Rc::new(read), false, out.as_fd(), Box::new(Holding::default())).unwrap();
        assert!(!channel.wants_idle());
        rustix::io::write(&write, b"Password: ").unwrap();
        channel.read(&mut Buffer::default());
        assert!(channel.writes().is_none() && channel.wants_idle());
        channel.quiet();
        assert!(!channel.wants_idle());
        channel.write();
        let mut buffer = [0; 64];
        assert_eq!(rustix::io::read(&shown, &mut buffer).unwrap(), 10);
        assert_eq!(&buffer[..10], b"Password: ");
    }

    #[test]
    fn nothing_is_read_before_what_was_read_is_written() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let (_shown, out) = rustix::pipe::pipe().unwrap();
        let mut channel = Channel::new(Rc::new(read), false, out.as_fd(), Box::new(Holding::default())).unwrap();
        rustix::io::write(&write, &[b'x'; 10_000]).unwrap();
        let mut buffer = Buffer::default();
        // The first read fills the small buffer, the second has room for all that is left.
        channel.read(&mut buffer);
        channel.read(&mut buffer);
        channel.quiet();
        assert!(channel.reads().is_none());
        assert!(channel.writes().is_some());
        while channel.writes().is_some() {
            channel.write();
        }
        assert!(channel.reads().is_some());
    }
}
