//! Lines for standard output. Each process begins a chain of its own there, known by its random beginning.
//!
//! There is one output, and so one chain, whatever configs come and go. It must never wait for long for whoever reads it.

use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use strongroom_core::audit::{Chain, Head, Keys};
use strongroom_core::{Failure, Kind};

use super::{key, unwritten};

/// How long to wait for a reader who does not read. After that nobody waits until one does.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a pipe that is said to be writable takes at once.
const PIECE: usize = 4096;

/// The output, as this process left it.
static OUTPUT: Mutex<Output> = Mutex::new(Output { chain: None, torn: false, stalled: false });

struct Output {
    /// The newest line, and the key it was written with.
    chain: Option<(Head, Option<key::Id>)>,
    /// It ends in half a line.
    torn: bool,
    /// Nobody read it in time.
    stalled: bool,
}

/// Writes what `lines` writes, after the newest line of the key whose file is `of`.
pub(super) fn print(
    keys: &Keys,
    of: Option<key::Id>,
    names: bool,
    lines: impl FnOnce(&mut Chain<'_>, &mut Vec<u8>),
) -> Result<(), Failure> {
    let mut output = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    let start = match output.chain {
        Some((head, known)) if known == of => head,
        _ => Head { seq: 0, mac: *key::random()? },
    };
    let mut chain = Chain::after(keys, start, names);
    let mut out = Vec::new();
    lines(&mut chain, &mut out);
    if out.is_empty() {
        return Ok(());
    }
    if output.torn {
        out.insert(0, b'\n');
    }
    let until = Instant::now() + if output.stalled { Duration::ZERO } else { PATIENCE };
    let (written, result) = write(&out, until);
    output.stalled = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut);
    if written > 0 {
        // After half a line nothing can go on from it.
        output.torn = result.is_err();
        output.chain = result.is_ok().then(|| (chain.head(), of));
    }
    result.map_err(|error| match error.kind() {
        ErrorKind::TimedOut => {
            let message = "the audit log on standard output cannot be written: nobody reads it";
            Failure::new(Kind::Unavailable, "audit.busy", message)
                .help("look for what standard output leads to, and whether it still runs")
        }
        _ => unwritten("standard output", &error),
    })
}

/// How much was written, and whether that is all.
fn write(bytes: &[u8], until: Instant) -> (usize, io::Result<()>) {
    let output = rustix::stdio::stdout();
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        if let Err(error) = wait(until) {
            return (written, Err(error));
        }
        match rustix::io::write(output, rest.get(..PIECE).unwrap_or(rest)) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => return (written, Err(error.into())),
        }
    }
    (written, Ok(()))
}

/// Waits until standard output takes something, or until `until`.
fn wait(until: Instant) -> io::Result<()> {
    let output = rustix::stdio::stdout();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&output, PollFlags::OUT)], Some(&left)) {
            Ok(0) => return Err(ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
