//! One call: a fresh store, a fresh instance, the exported function, and the end of both.
//!
//! Nothing of a call may outlive it but its answer. Whatever stops it (a trap, a limit, the
//! deadline) becomes a typed failure that holds no words of the guest's memory.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use strongroom_core::{Failure, Kind, Reference, Secret, Text, Value};
use wasmtime::component::{Instance, InstancePre, ResourceTable};
use wasmtime::{Store, Trap, UpdateDeadline};
use zeroize::Zeroize;

use crate::bindings::strongroom::plugin::types;
use crate::capability::{Capabilities, Http};
use crate::convert;
use crate::engine::Runtime;
use crate::limits::{CallLimits, Hit, Limiter};
use crate::meter::{Meter, Metered};
use crate::plugin::{Plugin, cannot_link};

/// What a call is given besides the plugin and its arguments.
#[derive(Debug, Clone)]
pub struct Call {
    /// The mount's config as JSON, valid under the manifest's schema.
    pub config: String,
    /// What the plugin is told: never a reference, a value, or bytes that a caller chose.
    pub attributes: Vec<(String, String)>,
    /// When it must have answered.
    pub deadline: Instant,
    /// What it may use.
    pub limits: CallLimits,
    /// What it may reach.
    pub capabilities: Capabilities,
    /// Where it is noted what it used.
    pub usage: Arc<Usage>,
}

/// What one call used. Complete when the call has ended.
#[derive(Debug, Default)]
pub struct Usage {
    ran_ns: AtomicU64,
    memory_bytes: AtomicU64,
}

impl Usage {
    /// How long the guest's own code ran.
    pub fn ran(&self) -> Duration {
        Duration::from_nanos(self.ran_ns.load(Ordering::Relaxed))
    }

    /// The linear memory that it had at its end, in bytes; 0 where its time was over before that was known.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    fn note(&self, meter: &Meter, guest: Option<&Guest>) {
        self.ran_ns.store(u64::try_from(meter.spent().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let memory = guest.map_or(0, |guest| guest.store.data().limiter.memory_bytes());
        self.memory_bytes.store(memory as u64, Ordering::Relaxed);
    }
}

/// One page of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The names and what is known about them. Never a value.
    pub entries: Vec<Entry>,
    /// The cursor of the next page.
    pub next: Option<String>,
}

/// A name in a backend, as the plugin told it: escape it before showing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the scope that was listed.
    pub name: String,
    /// What is known about it.
    pub attributes: Vec<(Text, Text)>,
}

/// What a plugin says of a write that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The version that was written.
    pub version: Option<Text>,
    /// What is known about it.
    pub attributes: Vec<(Text, Text)>,
}

impl Receipt {
    /// What became of the secret, where its backend takes a while for it: `deleted` or `deleting`, `recovered` or
    /// `recovering`, `purged`.
    pub fn state(&self) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key.as_str() == "state").map(|(_, state)| state.as_str())
    }
}

/// What a store holds during a call.
pub(crate) struct State {
    pub(crate) limiter: Limiter,
    pub(crate) table: ResourceTable,
    pub(crate) capabilities: Capabilities,
    pub(crate) http: Http,
    pub(crate) log_lines_left: u32,
    pub(crate) random_bytes_left: u64,
    pub(crate) started: Instant,
    /// The first failure that the store gave to the guest.
    pub(crate) host_failure: Option<Failure>,
}

impl wasmtime_wasi_io::IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

/// Why the host ended a call, as the error that travels through wasmtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the guest used up its CPU time")]
    Cpu,
    #[error("the deadline passed")]
    Deadline,
    #[error("the guest asked for too much randomness")]
    Random,
    #[error("the system has no randomness")]
    NoRandomness,
    #[error("the guest ended itself")]
    Exit,
    #[error("an export has another type than the contract's")]
    Contract,
}

/// A store that lives for one call.
pub(crate) struct Guest {
    pub(crate) store: Store<State>,
    pub(crate) context: types::Context,
}

/// What the host itself told a guest on the way: it is better said in the host's words than retold.
#[derive(Debug, Default)]
pub(crate) struct Told {
    store: Option<Failure>,
    http: Option<Failure>,
}

impl Guest {
    fn new(runtime: &Runtime, call: Call, meter: &Arc<Meter>) -> Self {
        let context = convert::context_to_guest(&call);
        let Call { deadline, limits, capabilities, .. } = call;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let state = State {
            limiter: Limiter::new(limits),
            table,
            http: Http::new(capabilities.http.clone()),
            capabilities,
            log_lines_left: limits.log_lines,
            random_bytes_left: limits.random_bytes,
            started: Instant::now(),
            host_failure: None,
        };
        let mut store = Store::new(&runtime.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.set_max_component_handles(limits.handles);
        store.set_epoch_deadline(1);
        let watch = Arc::clone(meter);
        store.epoch_deadline_callback(move |_| {
            if watch.spent() > limits.cpu {
                return Err(Stop::Cpu.into());
            }
            if Instant::now() >= deadline {
                return Err(Stop::Deadline.into());
            }
            Ok(UpdateDeadline::Yield(1))
        });
        Self { store, context }
    }

    pub(crate) async fn instance(&mut self, pre: &InstancePre<State>) -> wasmtime::Result<Instance> {
        pre.instantiate_async(&mut self.store).await
    }
}

/// Makes one call on one exported interface, in a sandbox of its own: the answer, and what the host
/// told the guest on the way. A macro, because each interface's generated type is another one.
macro_rules! in_sandbox {
    ($plugin:expr, $call:expr, $export:ident.$function:ident($($argument:expr),*)) => {{
        let pre = $plugin.pre();
        $plugin
            .run($call, |mut guest| async move {
                let answer = async {
                    let instance = guest.instance(pre).await?;
                    let exported = $crate::call::fits($export.load(&mut guest.store, &instance))?;
                    exported.$function(&mut guest.store, &guest.context, $($argument),*).await
                };
                (answer.await, guest)
            })
            .await?
    }};
}

impl Plugin {
    /// Resolves `references`, all in one sandbox. Gives exactly one answer per reference, in order.
    ///
    /// # Errors
    /// What ends the whole call: a trap, a limit, the deadline, or a wrong number of answers.
    pub async fn resolve(&self, call: Call, references: &[Reference]) -> Result<Vec<Result<Secret, Failure>>, Failure> {
        let limit = call.limits.value_bytes;
        let refs: Vec<_> = references.iter().map(convert::reference_to_guest).collect();
        let provider = self.exports().provider.as_ref().ok_or_else(|| self.cannot("answer references"))?;
        let (answers, told) = in_sandbox!(self, call, provider.call_resolve(&refs));
        let answer = |answer| match answer {
            Ok(secret) => convert::secret_from_guest(secret, limit),
            Err(failure) => Err(own_words(convert::failure_from_guest(failure), &told)),
        };
        // Before they are counted, so that values which nobody gets are overwritten, too.
        let answers: Vec<_> = answers.into_iter().map(answer).collect();
        if answers.len() != references.len() {
            return Err(self.protocol(
                "answers.count",
                format!("it gave {} answers to {} references", answers.len(), references.len()),
            ));
        }
        Ok(answers)
    }

    /// Lists the names under `scope`.
    ///
    /// # Errors
    /// `unsupported` if the plugin has no catalog; else what it or the host says.
    pub async fn names(
        &self,
        call: Call,
        scope: &Reference,
        prefix: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<Page, Failure> {
        let catalog = self.exports().catalog.as_ref().ok_or_else(|| self.cannot("list names"))?;
        // Without soft delete there is no state: a plugin that knows of none would list what is there.
        if scope.selector("state").is_some() && self.exports().lifecycle.is_none() {
            return Err(self.cannot("list what was deleted"));
        }
        let scope = convert::reference_to_guest(scope);
        let (answer, told) = in_sandbox!(self, call, catalog.call_names(&scope, prefix, cursor));
        answered(answer, told).map(convert::page_from_guest)
    }

    /// Sets a value. `expected` is the version to replace, an empty one: there is none yet; `None` is
    /// unconditional.
    ///
    /// # Errors
    /// `unsupported` if the plugin cannot write; `limit-exceeded` for a value above the limit; else
    /// what it or the host says.
    pub async fn put(
        &self,
        call: Call,
        reference: &Reference,
        value: &Value,
        attributes: &[(String, String)],
        expected: Option<&str>,
    ) -> Result<Receipt, Failure> {
        let writer = self.exports().writer.as_ref().ok_or_else(|| self.cannot("set secrets"))?;
        if value.expose().len() > call.limits.value_bytes {
            return Err(convert::value_too_large(call.limits.value_bytes));
        }
        let reference = convert::reference_to_guest(reference);
        let value = Wiped(convert::value_to_guest(value));
        let (answer, told) = in_sandbox!(self, call, writer.call_put(&reference, &value.0, attributes, expected));
        answered(answer, told).map(convert::receipt_from_guest)
    }

    /// Removes a secret, or the version that the reference selects.
    ///
    /// # Errors
    /// As [`Plugin::put`].
    pub async fn remove(&self, call: Call, reference: &Reference) -> Result<Receipt, Failure> {
        let writer = self.exports().writer.as_ref().ok_or_else(|| self.cannot("delete secrets"))?;
        let reference = convert::reference_to_guest(reference);
        let (answer, told) = in_sandbox!(self, call, writer.call_remove(&reference));
        answered(answer, told).map(convert::receipt_from_guest)
    }

    /// Changes what is known about a secret, not its value.
    ///
    /// # Errors
    /// As [`Plugin::put`].
    pub async fn annotate(
        &self,
        call: Call,
        reference: &Reference,
        attributes: &[(String, String)],
    ) -> Result<Receipt, Failure> {
        let annotator = self.exports().annotator.as_ref().ok_or_else(|| self.cannot("change attributes"))?;
        let reference = convert::reference_to_guest(reference);
        let (answer, told) = in_sandbox!(self, call, annotator.call_annotate(&reference, attributes));
        answered(answer, told).map(convert::receipt_from_guest)
    }

    /// Lists the versions of a secret.
    ///
    /// # Errors
    /// `unsupported` if the plugin has no lifecycle; else what it or the host says.
    pub async fn versions(&self, call: Call, reference: &Reference, cursor: Option<&str>) -> Result<Page, Failure> {
        let lifecycle = self.exports().lifecycle.as_ref().ok_or_else(|| self.cannot("list versions"))?;
        let reference = convert::reference_to_guest(reference);
        let (answer, told) = in_sandbox!(self, call, lifecycle.call_versions(&reference, cursor));
        answered(answer, told).map(convert::page_from_guest)
    }

    /// Brings a deleted secret back.
    ///
    /// # Errors
    /// As [`Plugin::put`].
    pub async fn recover(&self, call: Call, reference: &Reference) -> Result<Receipt, Failure> {
        let lifecycle = self.exports().lifecycle.as_ref().ok_or_else(|| self.cannot("recover secrets"))?;
        let reference = convert::reference_to_guest(reference);
        let (answer, told) = in_sandbox!(self, call, lifecycle.call_recover(&reference));
        answered(answer, told).map(convert::receipt_from_guest)
    }

    /// Ends a deleted secret for good.
    ///
    /// # Errors
    /// As [`Plugin::put`].
    pub async fn purge(&self, call: Call, reference: &Reference) -> Result<Receipt, Failure> {
        let lifecycle = self.exports().lifecycle.as_ref().ok_or_else(|| self.cannot("purge secrets"))?;
        let reference = convert::reference_to_guest(reference);
        let (answer, told) = in_sandbox!(self, call, lifecycle.call_purge(&reference));
        answered(answer, told).map(convert::receipt_from_guest)
    }

    /// A fresh store around `body`, which makes the instance and calls it. Gives the answer, and what
    /// the host told the guest on the way.
    pub(crate) async fn run<R, Ended>(
        &self,
        call: Call,
        body: impl FnOnce(Guest) -> Ended,
    ) -> Result<(R, Told), Failure>
    where
        Ended: Future<Output = (wasmtime::Result<R>, Guest)>,
    {
        let runtime = self.runtime();
        let started = Instant::now();
        if call.deadline <= started {
            return Err(self.deadline());
        }
        let _running = runtime.ticker.run();
        if !runtime.ticker.can_interrupt() {
            return Err(Failure::new(
                Kind::Internal,
                "sandbox.ticker",
                "no thread could be started to watch the plugin",
            ));
        }
        let CallLimits { cpu, .. } = call.limits;
        let deadline = call.deadline;
        let reach = call.capabilities.http.clone();
        let meter = Meter::new(started);
        let usage = Arc::clone(&call.usage);
        let guest = Guest::new(runtime, call, &meter);
        let metered = Metered { meter: Arc::clone(&meter), future: Box::pin(body(guest)) };
        let ended = tokio::time::timeout_at(deadline.into(), metered).await;
        usage.note(&meter, ended.as_ref().ok().map(|(_, guest)| guest));
        // What ends a call ends it whatever the guest made of it; nothing it knows may get out.
        if let Some(fatal) = reach.as_ref().and_then(|reach| reach.fatal()) {
            return Err(fatal.by_plugin(self.label()));
        }
        match ended {
            Ok((Ok(answer), guest)) => {
                let store = guest.store.into_data().host_failure;
                let http = reach.and_then(|reach| reach.last_failure());
                Ok((answer, Told { store, http }))
            }
            Ok((Err(error), guest)) => Err(self.classify(&error, &guest.store.data().limiter, cpu)),
            // The instance is unusable after its future was dropped in the middle; the store went too.
            Err(_) => Err(self.deadline()),
        }
    }

    /// What a guest's end means. Only wasmtime's own fixed words are repeated, never the guest's.
    fn classify(&self, error: &wasmtime::Error, limiter: &Limiter, cpu: std::time::Duration) -> Failure {
        let limit = |code, message: String| {
            Failure::new(Kind::LimitExceeded, code, format!("the plugin {} {message}", self.name()))
                .by_plugin(self.label())
        };
        match error.downcast_ref::<Stop>() {
            Some(Stop::Cpu) => {
                return limit("limit.cpu", format!("used more than {} ms of CPU time", cpu.as_millis()))
                    .help("raise `limits.cpu` of the mount if the plugin is known to need it");
            }
            Some(Stop::Deadline) => return self.deadline(),
            Some(Stop::Random) => return limit("limit.random", "asked for too much randomness".to_owned()),
            Some(Stop::Exit) => {
                let message = format!("the plugin {} ended itself instead of answering", self.name());
                return Failure::new(Kind::Trapped, "plugin.exit", message).by_plugin(self.label());
            }
            Some(Stop::Contract) => return cannot_link(self.name(), self.label(), "an export has another type"),
            Some(Stop::NoRandomness) => {
                return Failure::new(Kind::Internal, "system.random", "the system has no randomness to give");
            }
            None => {}
        }
        match limiter.hit {
            Some(Hit::Memory) => {
                return limit("limit.memory", "needs more memory than it may have".to_owned())
                    .help("raise `limits.memory` of the mount if the plugin is known to need it");
            }
            Some(Hit::Table) => return limit("limit.table", "needs larger tables than it may have".to_owned()),
            None => {}
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Failure::new(Kind::Unavailable, "sandbox.full", "every sandbox is in use");
        }
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return Failure::new(
                Kind::Trapped,
                "plugin.trapped",
                format!("the plugin {} trapped: {trap}", self.name()),
            )
            .by_plugin(self.label());
        }
        // These have no type of their own in wasmtime; the tests of the limits hold the words.
        let words = error.root_cause().to_string();
        if words.contains("fuel allocated for hostcalls") {
            return limit("limit.hostcall", "handed the host more data than it may".to_owned());
        }
        if words.contains("resource limit exceeded") {
            return limit("limit.instances", "has more instances, memories or tables than it may".to_owned());
        }
        if words.contains("handle") && words.contains("limit") || words.contains("no free keys") {
            return limit("limit.handles", "holds more handles than it may".to_owned());
        }
        if words.contains("minimum size of") && words.contains("exceeds") {
            return limit("limit.memory", "needs more memory than it may have".to_owned());
        }
        self.protocol("plugin.abi", "it broke the calling convention".to_owned())
    }

    fn protocol(&self, code: &'static str, what: String) -> Failure {
        Failure::new(Kind::Protocol, code, format!("the plugin {} broke its contract: {what}", self.name()))
            .by_plugin(self.label())
    }

    fn deadline(&self) -> Failure {
        Failure::new(Kind::Deadline, "deadline", format!("the plugin {} did not answer in time", self.name()))
            .by_plugin(self.label())
            .help("the mount's `deadline` says how long a request may take")
    }

    pub(crate) fn cannot(&self, what: &str) -> Failure {
        Failure::new(Kind::Unsupported, "plugin.unsupported", format!("the plugin {} cannot {what}", self.name()))
            .by_plugin(self.label())
    }
}

/// What loading an export gives: its name was found when the plugin was loaded, so what fails here is
/// its type.
pub(crate) fn fits<T>(loaded: wasmtime::Result<T>) -> wasmtime::Result<T> {
    loaded.map_err(|_| Stop::Contract.into())
}

/// A value on its way into a guest, overwritten however the call ends: at a deadline, its future is
/// dropped in the middle.
struct Wiped(types::Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        match &mut self.0 {
            types::Value::Text(text) => text.zeroize(),
            types::Value::Binary(bytes) => bytes.zeroize(),
        }
    }
}

pub(crate) fn answered<T>(answer: Result<T, types::Failure>, told: Told) -> Result<T, Failure> {
    answer.map_err(|failure| own_words(convert::failure_from_guest(failure), &told))
}

/// A guest passes on what the store told it by code, and what became of its last request in words of
/// its own; the host then says it itself, and the guest's words stand behind.
fn own_words(failure: Failure, told: &Told) -> Failure {
    match (&told.store, &told.http) {
        (Some(own), _) if own.code() == failure.code() => own.clone(),
        // Silence may mean that nothing is set up here, which the plugin alone can tell; a chain then goes on.
        (_, Some(own)) if failure.kind() == Kind::NotConfigured => failure.help(own.message().clone()),
        (_, Some(own)) => own.clone().help(format!("the plugin says: {} [{}]", failure.message(), failure.code())),
        _ => failure,
    }
}
