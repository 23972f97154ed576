//! The audit log's way to the disk: `[audit]` of the config.
//!
//! [`Audit::write`] returns when the lines are with the kernel, and a thread of its own has them synced once a second or sooner. The
//! form of the lines and their chain are [`strongroom_core::audit`]'s. It must never be given a value, and no function
//! here takes one; nor may it let an operation pass unrecorded, unless the config says `on_failure = "continue"`.

mod file;
mod key;
mod output;
mod read;
mod record;
mod sync;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

pub use strongroom_core::audit::{Anchor, Head, Problem, Record, Report, What};
use strongroom_core::audit::{Chain, Keys};
use strongroom_core::config::{AuditConfig, AuditSink, OnFailure};
use strongroom_core::{Failure, Kind};
use tokio::sync::Notify;

use self::file::Log;
pub use self::read::{Files, head, verify};
pub use self::record::Audited;
pub(crate) use self::record::Recorder;
use self::sync::Syncer;
use crate::paths::{self, Paths};
use crate::{Warn, unix_now};

/// What most lines take of what they tell, in bytes.
const LINE_BYTES: usize = 512;

/// The log. Cheap to clone; when the last clone is dropped, what it wrote is synced.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    names: bool,
    on_failure: OnFailure,
    place: Place,
    /// Made with the first line; and which file they are from.
    keys: OnceLock<(Keys, Option<key::Id>)>,
    /// What is to be written together.
    queue: Mutex<Batch>,
    state: Mutex<State>,
    syncer: Syncer,
    warn: Warn,
}

/// Records of several requests, which become lines with one call of the kernel.
#[derive(Default)]
struct Batch {
    told: Vec<Vec<u8>>,
    fate: Arc<Fate>,
}

/// What became of a batch, for each whose record is in it.
#[derive(Default)]
struct Fate {
    written: OnceLock<Result<(), Failure>>,
    /// That it was written, to all who wait; or to one of them that it is theirs to write.
    news: Notify,
}

/// Records in line. Should nobody wait for them any more, they are written all the same.
#[must_use = "what was not written must not be handed out"]
pub struct Queued<'a> {
    audit: &'a Audit,
    fate: Arc<Fate>,
}

/// Where a log and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The log's newest file; older ones lie beside it, numbered from 1, the newest of them first. `None`: standard output.
    pub file: Option<PathBuf>,
    /// The key.
    pub key: PathBuf,
}

struct State {
    sink: Sink,
    /// How many records could not be written since the last that was.
    lost: u64,
    /// Whether that was told.
    warned: bool,
}

enum Sink {
    File(Log),
    Stdout,
}

impl Place {
    /// Where `config` says that they are. `folder` is that of its file.
    ///
    /// # Errors
    /// `unsupported` where the key has no folder to be in.
    pub fn new(config: &AuditConfig, folder: &Path, paths: &Paths) -> Result<Self, Failure> {
        let key = match &config.key_file {
            Some(file) => paths::beside(folder, file),
            None => paths.audit_key().ok_or_else(crate::discover::no_state)?,
        };
        let file = match &config.sink {
            AuditSink::File { path, .. } => Some(paths::beside(folder, path)),
            AuditSink::Stdout => None,
        };
        Ok(Self { file, key })
    }
}

impl Audit {
    /// The log of `config`, whose file lies in `folder`. The key and the log's file are made if they are not there.
    ///
    /// # Errors
    /// With `on_failure = "refuse"`, why it cannot be written: `audit.*`. Otherwise that is a warning, and each write
    /// tries again.
    pub fn open(config: &AuditConfig, folder: &Path, paths: &Paths, warn: Warn) -> Result<Self, Failure> {
        let place = Place::new(config, folder, paths)?;
        let sink = match (&config.sink, &place.file) {
            (AuditSink::File { rotate, keep, .. }, Some(file)) => Sink::File(Log::new(file.clone(), *rotate, *keep)),
            _ => Sink::Stdout,
        };
        let audit = Self(Arc::new(Inner {
            names: config.names,
            on_failure: config.on_failure,
            place,
            keys: OnceLock::new(),
            queue: Mutex::default(),
            state: Mutex::new(State { sink, lost: 0, warned: false }),
            syncer: Syncer::default(),
            warn,
        }));
        audit.write(&[])?;
        Ok(audit)
    }

    /// Writes one line a record, all at once. Returns when they are with the kernel.
    ///
    /// # Errors
    /// `audit.*`: they are not, and what they tell of must not be handed out. With `on_failure = "continue"` never; how
    /// many were lost is warned of once, and recorded with the next line.
    pub fn write(&self, records: &[Record<'_>]) -> Result<(), Failure> {
        let mut state = self.state();
        let (result, warning) = self.append(&mut state, records.len(), |chain, out, now| {
            records.iter().for_each(|record| chain.record(out, now, record));
        });
        self.leave(state);
        warning.into_iter().for_each(|warning| (self.0.warn)(warning));
        result
    }

    /// Puts records in line, one a line, to be written together with what others write at the same time.
    pub fn queue<'r>(&self, records: impl Iterator<Item = Record<'r>>) -> Queued<'_> {
        let Some((keys, _)) = self.0.keys.get() else {
            return self.decided(self.write(&records.collect::<Vec<_>>()));
        };
        let mut told = records.map(|record| {
            let mut told = Vec::with_capacity(LINE_BYTES);
            keys.tell(&mut told, self.0.names, &record);
            told
        });
        // All are told before the others have to wait; nearly always there is one.
        let Some(first) = told.next() else { return self.decided(Ok(())) };
        let further = told.collect::<Vec<_>>();
        let mut batch = self.batch();
        batch.told.push(first);
        batch.told.extend(further);
        Queued { audit: self, fate: Arc::clone(&batch.fate) }
    }

    fn decided(&self, written: Result<(), Failure>) -> Queued<'_> {
        Queued { audit: self, fate: Arc::new(Fate { written: written.into(), ..Fate::default() }) }
    }

    /// Whether it can go on under a config that asks for the same: with its file and its key, not others that were put in
    /// their place or are to begin.
    fn goes_on(&self) -> bool {
        let id = key::id(&self.0.place.key);
        let key = self.0.keys.get().is_some_and(|(_, of)| of.is_some() && *of == id);
        let state = self.state();
        let file = match &state.sink {
            Sink::File(log) => log.is_in_place(),
            Sink::Stdout => true,
        };
        self.leave(state);
        key && file && self.write(&[]).is_ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless somebody has it.
    fn free_state(&self) -> Option<MutexGuard<'_, State>> {
        match self.0.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets others write. Who found the state taken waits for news, and came into line before: if anybody is, one of them is told.
    fn leave(&self, state: MutexGuard<'_, State>) {
        drop(state);
        let batch = self.batch();
        if !batch.told.is_empty() {
            batch.fate.news.notify_one();
        }
    }

    /// Writes what is in line.
    fn write_batch(&self, mut state: MutexGuard<'_, State>) {
        let batch = std::mem::take(&mut *self.batch());
        let (result, warning) = self.append(&mut state, batch.told.len(), |chain, out, now| {
            batch.told.iter().for_each(|told| chain.told(out, now, told));
        });
        // Nobody else can have written it: it was in the queue, and who takes it from there holds the state.
        let _ = batch.fate.written.set(result);
        batch.fate.news.notify_waiters();
        self.leave(state);
        warning.into_iter().for_each(|warning| (self.0.warn)(warning));
    }

    /// Writes `count` lines, or says what that means, and what to warn of once others may write.
    fn append(
        &self,
        state: &mut State,
        count: usize,
        lines: impl Fn(&mut Chain<'_>, &mut Vec<u8>, Duration),
    ) -> (Result<(), Failure>, Option<Failure>) {
        let failure = match self.try_append(state, lines) {
            Ok(()) => return (Ok(()), None),
            Err(failure) => failure,
        };
        state.lost = state.lost.saturating_add(count as u64);
        let known = std::mem::replace(&mut state.warned, true);
        match self.0.on_failure {
            OnFailure::Refuse => (Err(failure), None),
            OnFailure::Continue if known => (Ok(()), None),
            OnFailure::Continue => {
                (Ok(()), Some(failure.help("it goes on unrecorded, as on_failure = \"continue\" says")))
            }
        }
    }

    fn try_append(
        &self,
        state: &mut State,
        lines: impl Fn(&mut Chain<'_>, &mut Vec<u8>, Duration),
    ) -> Result<(), Failure> {
        let inner = &*self.0;
        let (keys, of) = match inner.keys.get() {
            Some(keys) => keys,
            None => {
                let made = key::ensure(&inner.place)?;
                inner.keys.get_or_init(|| (made, key::id(&inner.place.key)))
            }
        };
        inner.syncer.healthy()?;
        let lost = state.lost;
        let lines = |chain: &mut Chain<'_>, out: &mut Vec<u8>| {
            let now = unix_now();
            if lost > 0 {
                chain.lost(out, now, lost);
            }
            lines(chain, out, now);
        };
        match &mut state.sink {
            Sink::File(log) => {
                if let Some((file, bytes)) = log.append(keys, inner.names, lines)? {
                    inner.syncer.dirty(file, bytes);
                }
            }
            Sink::Stdout => output::print(keys, *of, inner.names, lines)?,
        }
        state.lost = 0;
        state.warned = false;
        Ok(())
    }
}

impl Queued<'_> {
    /// Has them written: the kernel is called once for all that are in line by then, and by one of those who wait. Returns when
    /// they are with the kernel.
    ///
    /// # Errors
    /// As [`Audit::write`].
    pub async fn written(self) -> Result<(), Failure> {
        if self.fate.written.get().is_none() {
            // Whoever is ready on this thread comes first, and goes along.
            tokio::task::yield_now().await;
        }
        loop {
            // Made before anything is looked at, so that no news is missed.
            let news = self.fate.news.notified();
            if let Some(written) = self.fate.written.get() {
                return written.clone();
            }
            if let Some(state) = self.audit.free_state() {
                self.write(state);
            } else {
                // Another batch is being written. This thread has better to do than to wait.
                news.await;
            }
        }
    }

    /// Writes all that is in line, unless somebody has done so meanwhile.
    fn write(&self, state: MutexGuard<'_, State>) {
        match self.fate.written.get() {
            Some(_) => self.audit.leave(state),
            None => self.audit.write_batch(state),
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.fate.written.get().is_none() {
            self.write(self.audit.state());
        }
    }
}

impl std::fmt::Debug for Queued<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queued").field("written", &self.fate.written).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").field("place", &self.0.place).finish_non_exhaustive()
    }
}

/// The lines did not get there.
fn unwritten(place: &str, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Unavailable, "audit.write", format!("the audit log {place} cannot be written: {error}"))
        .help("nothing is handed out that is not recorded; mend it, or write on_failure = \"continue\" under [audit]")
}
