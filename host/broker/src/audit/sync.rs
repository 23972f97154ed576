//! Syncing, once a second while there is something to sync, and sooner where that is much: what is synced at once is what
//! others have to wait for who write meanwhile.
//!
//! A crash of the program loses nothing that was written; a crash of the machine at most what was written in the last
//! second. A sync that fails is told by the next write: from then on nobody knows what is on the disk.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use strongroom_core::Failure;

/// How long a line may be with the kernel alone.
const EVERY: Duration = Duration::from_secs(1);

/// How many bytes are not left for longer.
const MUCH: u64 = 2 << 20;

/// The thread that syncs; it begins with the first write and ends with this.
#[derive(Default)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// What was written to since it was last synced. With rotation it is two for a moment.
    files: Vec<Arc<File>>,
    /// How much that is, in bytes.
    bytes: u64,
    failed: Option<std::io::Error>,
    closed: bool,
}

impl Syncer {
    /// Notes that so many bytes were written to a file.
    pub(super) fn dirty(&self, file: Arc<File>, bytes: u64) {
        let mut state = self.shared.lock();
        let before = state.bytes;
        state.bytes = before.saturating_add(bytes);
        if state.files.iter().any(|known| Arc::ptr_eq(known, &file)) {
            if before < MUCH && state.bytes >= MUCH {
                self.shared.wake.notify_one();
            }
            return;
        }
        state.files.push(file);
        drop(state);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let started = std::thread::Builder::new().name("strongroom-audit".to_owned()).spawn(move || shared.run());
            match started {
                Ok(started) => *thread = Some(started),
                // Without a thread each write waits for the disk.
                Err(_) => self.shared.sync(),
            }
        }
        drop(thread);
        self.shared.wake.notify_one();
    }

    /// Whether all syncs were well. One that was not is told once, and as often as it fails again: the kernel tells it only once,
    /// and what a second one says of the lines before it is worth nothing.
    pub(super) fn healthy(&self) -> Result<(), Failure> {
        let mut state = self.shared.lock();
        let Some(error) = state.failed.take() else { return Ok(()) };
        drop(state);
        self.shared.sync();
        Err(super::unwritten("(written, but not synced)", &error))
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
        self.shared.sync();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let idle = |state: &mut State| state.files.is_empty() && !state.closed;
            let state = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let waited = self.wake.wait_timeout_while(state, EVERY, |state| !state.closed && state.bytes < MUCH);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return;
            }
            drop(state);
            self.sync();
        }
    }

    /// Syncs what was written to. What could not be synced stays to be.
    fn sync(&self) {
        let mut state = self.lock();
        let files = std::mem::take(&mut state.files);
        state.bytes = 0;
        drop(state);
        for file in files {
            let synced = file.sync_data();
            let mut state = self.lock();
            match synced {
                Ok(()) => {}
                Err(error) => {
                    state.failed = Some(error);
                    state.files.push(file);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_failed_is_told_once_and_as_often_as_it_fails_again() {
        // What is no file on a disk cannot be synced.
        let (syncer, file) = (Syncer::default(), Arc::new(File::open("/dev/null").unwrap()));
        assert!(syncer.healthy().is_ok());
        syncer.shared.lock().files.push(Arc::clone(&file));
        syncer.shared.sync();
        assert_eq!(syncer.healthy().unwrap_err().code(), "audit.write");
        assert!(syncer.healthy().is_err(), "it failed again");
        syncer.shared.lock().files.clear();
        assert!(syncer.healthy().is_err(), "that of the time before is told, although nothing is left to sync");
        assert!(syncer.healthy().is_ok());
    }
}
