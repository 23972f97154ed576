//! What one call on a mount may reach: variables, a part of the store, a place for log lines.
//!
//! Everything is bound before the call, from the references it was made for. What a guest read is
//! remembered until the call ends, so that its log lines and failure texts can be masked with it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use strongroom_core::{Failure, Kind, Masks, Name, Text};
use strongroom_sandbox::capability::env::Variables;
use strongroom_sandbox::capability::log::{Level, LogSink};
use strongroom_sandbox::capability::store::StoreAccess;
use strongroom_store::Space;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::environment::{self, Environment};

/// What a call touched, to mask its own words with.
#[derive(Default)]
pub(crate) struct Touched(Mutex<Vec<Zeroizing<Vec<u8>>>>);

impl Touched {
    pub(crate) fn note(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Zeroizing::new(bytes.to_vec()));
    }

    /// Masks the texts that `rewrite` is given a masker for. The masker is only made if there is
    /// something to hide.
    pub(crate) fn masker(&self) -> Option<strongroom_core::Masker> {
        let touched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.is_empty() {
            return None;
        }
        let mut masks = Masks::new();
        touched.iter().for_each(|value| masks.add("", value));
        Some(masks.build())
    }
}

/// The variables that one call may read.
pub(crate) struct BoundVariables {
    pub(crate) environment: Arc<Environment>,
    pub(crate) readable: BTreeSet<String>,
    /// For listings: names may be seen that cannot be read.
    pub(crate) listed: Option<Vec<String>>,
    pub(crate) touched: Arc<Touched>,
}

impl Variables for BoundVariables {
    fn get(&self, name: &str) -> Option<Zeroizing<String>> {
        if !self.readable.contains(name) || environment::is_own(name.as_ref()) {
            return None;
        }
        let value = self.environment.get(name)?.to_str()?;
        self.touched.note(value.as_bytes());
        Some(Zeroizing::new(value.to_owned()))
    }

    fn names(&self) -> Vec<String> {
        if let Some(names) = &self.listed {
            return names.clone();
        }
        let there =
            |name: &&String| self.environment.get(name).is_some() && !environment::is_own(name.as_str().as_ref());
        self.readable.iter().filter(there).cloned().collect()
    }
}

/// A mount's part of the store as one call may use it.
pub(crate) struct BoundStore {
    /// `None`: there is no store yet, which reads as an empty one.
    pub(crate) space: Option<Space>,
    /// Keys outside it do not exist for this call.
    pub(crate) prefix: String,
    pub(crate) writable: bool,
    pub(crate) writing: Writing,
    pub(crate) touched: Arc<Touched>,
}

impl BoundStore {
    fn check(&self, key: &str) -> Result<(), Failure> {
        if key.starts_with(&self.prefix) {
            return Ok(());
        }
        Err(Failure::new(
            Kind::PolicyDenied,
            "store.outside-prefix",
            "the plugin reached for keys that are not this reference's",
        ))
    }

    fn writable(&self, key: &str) -> Result<Space, Failure> {
        self.check(key)?;
        match &self.space {
            Some(space) if self.writable => Ok(space.clone()),
            _ => Err(Failure::new(
                Kind::PolicyDenied,
                "store.read-only",
                "the plugin tried to write while it may only read",
            )),
        }
    }
}

/// The way to write to one store: one call of this process at a time, in the order in which they came.
///
/// SQLite lets one write and has the others try again and again, each with a thread and a connection of its own: of
/// thirty, some come too late. Whoever waits here has neither, and leaves when its call ends. Other
/// processes are waited for as SQLite does.
#[derive(Clone)]
pub(crate) struct Writing(Arc<Semaphore>);

impl Default for Writing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Writing {
    /// Does `work`, which writes, when its turn has come. What has begun goes on to its end, whoever waits for it.
    ///
    /// Writes wait for the disk (milliseconds), so they leave the executor; reads take microseconds and
    /// would pay more for the way than for the work.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let unfinished = || Failure::new(Kind::Internal, "store.task", "a write to the store did not finish");
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(|_| unfinished())?;
        let work = move || {
            let _turn = turn;
            work()
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(_) => Err(unfinished()),
        }
    }
}

#[async_trait]
impl StoreAccess for BoundStore {
    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, Failure> {
        self.check(&key)?;
        let Some(space) = &self.space else { return Ok(None) };
        let value = space.get(&key)?;
        if let Some(value) = &value {
            self.touched.note(value);
        }
        Ok(value.map(|mut value| std::mem::take(&mut *value)))
    }

    async fn set(&self, key: String, value: Vec<u8>) -> Result<(), Failure> {
        let space = self.writable(&key)?;
        let value = Zeroizing::new(value);
        self.writing.run(move || space.set(&key, &value)).await
    }

    async fn delete(&self, key: String) -> Result<bool, Failure> {
        let space = self.writable(&key)?;
        self.writing.run(move || space.delete(&key)).await
    }

    async fn swap(&self, key: String, expected: Option<Vec<u8>>, new: Option<Vec<u8>>) -> Result<bool, Failure> {
        let space = self.writable(&key)?;
        let (expected, new) = (expected.map(Zeroizing::new), new.map(Zeroizing::new));
        let bytes = |value: &Option<Zeroizing<Vec<u8>>>| value.as_ref().map(|v| v.to_vec()).map(Zeroizing::new);
        let (expected, new) = (bytes(&expected), bytes(&new));
        self.writing
            .run(move || space.swap(&key, expected.as_deref().map(Vec::as_slice), new.as_deref().map(Vec::as_slice)))
            .await
    }

    async fn keys(&self, prefix: String, cursor: Option<String>) -> Result<(Vec<String>, Option<String>), Failure> {
        self.check(&prefix)?;
        let Some(space) = &self.space else { return Ok((Vec::new(), None)) };
        let page = space.keys(&prefix, cursor.as_deref())?;
        Ok((page.keys, page.next))
    }
}

/// Log lines of one call, kept until it is known what to mask in them.
pub(crate) struct HeldLog(Mutex<Vec<Line>>);

/// A level, a message and its fields.
type Line = (Level, Text, Vec<(Text, Text)>);

impl HeldLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Vec::new())))
    }

    /// Writes what was held, masked.
    pub(crate) fn release(&self, mount: &Name, plugin: &str, touched: &Touched) {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if lines.is_empty() {
            return;
        }
        let masker = touched.masker();
        let mask = |text: Text| masker.as_ref().map_or_else(|| text.clone(), |masker| masker.mask_line(&text));
        for (level, message, fields) in lines {
            let message = mask(message);
            let fields: Vec<String> =
                fields.into_iter().map(|(key, value)| format!("{}={}", mask(key), mask(value))).collect();
            let fields = fields.join(" ");
            match level {
                Level::Trace => tracing::trace!(target: "strongroom::plugin", %mount, plugin, "{message} {fields}"),
                Level::Debug => tracing::debug!(target: "strongroom::plugin", %mount, plugin, "{message} {fields}"),
                Level::Info => tracing::info!(target: "strongroom::plugin", %mount, plugin, "{message} {fields}"),
                Level::Warn => tracing::warn!(target: "strongroom::plugin", %mount, plugin, "{message} {fields}"),
                Level::Error => tracing::error!(target: "strongroom::plugin", %mount, plugin, "{message} {fields}"),
            }
        }
    }
}

impl LogSink for HeldLog {
    fn log(&self, level: Level, message: Text, fields: Vec<(Text, Text)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((level, message, fields));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_writes_waits_for_its_turn_and_leaves_it_to_others_when_its_call_ends() {
        let (writing, order) = (Writing::default(), Arc::new(Mutex::new(Vec::new())));
        let write = |number: u8| {
            let order = Arc::clone(&order);
            move || {
                order.lock().unwrap().push(number);
                Ok(())
            }
        };
        let (begun, first_begins) = oneshot::channel();
        let (go, may_end) = std::sync::mpsc::channel();
        let first = write(1);
        let first = writing.run(move || {
            begun.send(()).unwrap();
            may_end.recv().unwrap();
            first()
        });
        let mut first = Box::pin(first);
        let (mut second, mut third) = (Box::pin(writing.run(write(2))), Box::pin(writing.run(write(3))));
        // Each has its place in the line once it was asked.
        tokio::select! {
            biased;
            _ = &mut first => panic!("it waits"),
            _ = &mut second => panic!("it is not its turn"),
            _ = &mut third => panic!("it is not its turn"),
            begins = first_begins => begins.unwrap(),
        }
        drop(second);
        // What has begun goes on, though nobody waits for it.
        drop(first);
        go.send(()).unwrap();
        third.await.unwrap();
        assert_eq!(*order.lock().unwrap(), [1, 3]);
    }
}
