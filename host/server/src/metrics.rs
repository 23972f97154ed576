//! What the server counts, for Prometheus. Labels are names of the config and closed sets; no secret, no reference, no
//! caller's and no plugin's text is among them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use strongroom::observe::{Cached, Ended, Observe};
use strongroom::{Failure, Kind};
use strongroom_core::Name;
use strongroom_core::config::listeners::Door;
use strongroom_core::policy::Operation;

/// What a mount is called where there is none: nobody's text becomes a label.
const NO_MOUNT: &str = "-";

/// Bounds of the time that plugins' own code runs, in seconds: from the fastest call that was measured to the default limit.
const SANDBOX_SECONDS: [f64; 10] = [5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 5e-4, 2e-3, 1e-2, 5e-2, 0.2];

/// Bounds of linear memory, in bytes: from one page of 64 KiB to what JavaScript and Python need.
const SANDBOX_BYTES: [f64; 6] = [131_072.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 33_554_432.0, 134_217_728.0];

/// Bounds of operations, in seconds. Few: there are as many histograms as mounts have operations.
const OPERATION_SECONDS: [f64; 6] = [0.000_1, 0.001, 0.01, 0.1, 1.0, 10.0];

/// Bounds of requests and answers, in seconds.
const SECONDS: [f64; 10] = [0.000_1, 0.000_5, 0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 10.0];

/// A mount's name, or [`NO_MOUNT`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OfMount(Option<Name>);

impl EncodeLabelValue for OfMount {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.0.as_ref().map_or(NO_MOUNT, Name::as_str))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    door: &'static str,
    mount: OfMount,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OnMount {
    mount: OfMount,
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Denial {
    mount: OfMount,
    rule: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSpans {
    outcome: &'static str,
}

/// What became of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The collector has them.
    Sent,
    /// The collector did not take them.
    Refused,
    /// They could not be sent.
    Lost,
    /// There was no room for them.
    Dropped,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AtDoor {
    door: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    door: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPlugin {
    plugin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kill {
    plugin: String,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Backend {
    mount: OfMount,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCache {
    mount: OfMount,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    outcome: &'static str,
}

/// The rules of the host that deny something, each with the failures that it gives.
const DENIALS: [(&str, &[&str]); 8] = [
    ("policy", &["policy.denied"]),
    ("allow", &["mount.allow"]),
    ("hosts", &["mount.host"]),
    ("read-only", &["mount.read-only"]),
    ("environment", &["env.own", "env.sealed"]),
    ("egress", &["egress.refused", "egress.address"]),
    ("credential", &["credential.audience", "credential.tenant", "config.credential-project"]),
    ("plugin", &["lock.missing", "lock.rights-grew", "signer.refused", "tool.refused", "file.outside"]),
];

/// Which rule of the host has denied something, if one has.
pub(crate) fn denial(failure: &Failure) -> Option<&'static str> {
    if failure.kind() != Kind::PolicyDenied {
        return None;
    }
    let rule = DENIALS.iter().find(|(_, codes)| codes.contains(&failure.code()));
    Some(rule.map_or("other", |(rule, _)| rule))
}

/// Why a request is not let in.
pub(crate) fn refusal(failure: &Failure) -> &'static str {
    match failure.code() {
        "server.busy" => "busy",
        "server.caller-busy" => "caller-busy",
        "server.origin" | "server.host" | "request.host" | "request.head" => "sender",
        _ => "caller",
    }
}

/// What a backend said: the class of its status, or why there is none.
pub(crate) fn class(outcome: Result<u16, Kind>) -> &'static str {
    match outcome {
        Ok(100..=299) => "2xx",
        Ok(300..=399) => "3xx",
        Ok(400..=499) => "4xx",
        Ok(_) => "5xx",
        Err(kind) => kind.name(),
    }
}

/// Every metric of one server. It outlives reloads.
pub(crate) struct Metrics {
    registry: Registry,
    operations: Family<Request, Counter>,
    operation_seconds: Family<OnMount, Histogram, fn() -> Histogram>,
    denials: Family<Denial, Counter>,
    seconds: Family<AtDoor, Histogram, fn() -> Histogram>,
    refused: Family<Refusal, Counter>,
    sandbox_seconds: Family<OfPlugin, Histogram, fn() -> Histogram>,
    sandbox_bytes: Family<OfPlugin, Histogram, fn() -> Histogram>,
    kills: Family<Kill, Counter>,
    backend_seconds: Family<Backend, Histogram, fn() -> Histogram>,
    cache: Family<OfCache, Counter>,
    reloads: Family<Reload, Counter>,
    pub(crate) connections: Gauge<u64, AtomicU64>,
    kept: Gauge<u64, AtomicU64>,
    spans: Family<OfSpans, Counter>,
    often: RwLock<BTreeMap<Name, Arc<Often>>>,
    answered: ByDoor<Histogram>,
}

/// What nearly every request counts, at hand: no labels are put together and looked up for it. Each is made with the first
/// that is counted, as all are.
#[derive(Default)]
struct Often {
    /// Values of one mount that were resolved.
    resolved: ByDoor<Counter>,
    /// How long that took.
    seconds: OnceLock<Histogram>,
    /// Those that were kept.
    hits: OnceLock<Counter>,
}

/// One of each door.
#[derive(Default)]
struct ByDoor<T>([OnceLock<T>; 6]);

impl<T> ByDoor<T> {
    fn of(&self, door: Door) -> &OnceLock<T> {
        let [native, key_vault, vault, azureml, metrics, managed_identity] = &self.0;
        match door {
            Door::Native => native,
            Door::KeyVault => key_vault,
            Door::Vault => vault,
            Door::Azureml => azureml,
            Door::Metrics => metrics,
            Door::ManagedIdentity => managed_identity,
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("strongroom");
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            operations: Family::default(),
            operation_seconds: Family::new_with_constructor(|| Histogram::new(OPERATION_SECONDS)),
            denials: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            refused: Family::default(),
            sandbox_seconds: Family::new_with_constructor(|| Histogram::new(SANDBOX_SECONDS)),
            sandbox_bytes: Family::new_with_constructor(|| Histogram::new(SANDBOX_BYTES)),
            kills: Family::default(),
            backend_seconds: Family::new_with_constructor(seconds),
            cache: Family::default(),
            reloads: Family::default(),
            connections: Gauge::default(),
            kept: Gauge::default(),
            spans: Family::default(),
            often: RwLock::default(),
            answered: ByDoor(Default::default()),
            registry: Registry::default(),
        };
        let each = "Operations on references";
        registry.register("operations", each, metrics.operations.clone());
        let took = "Time that operations on a mount take";
        registry.register_with_unit("operation", took, Unit::Seconds, metrics.operation_seconds.clone());
        registry.register("denials", "Operations that a rule of the host denied", metrics.denials.clone());
        registry.register_with_unit("request", "Time to answer a request", Unit::Seconds, metrics.seconds.clone());
        registry.register("refused", "Requests that were not let in", metrics.refused.clone());
        let ran = "Time that a plugin's own code ran in one sandbox";
        registry.register_with_unit("sandbox", ran, Unit::Seconds, metrics.sandbox_seconds.clone());
        let memory = "Linear memory of one sandbox";
        registry.register_with_unit("sandbox_memory", memory, Unit::Bytes, metrics.sandbox_bytes.clone());
        registry.register("sandbox_kills", "Sandboxes that the host ended", metrics.kills.clone());
        let backend = "Time until a backend's answer";
        registry.register_with_unit("backend", backend, Unit::Seconds, metrics.backend_seconds.clone());
        registry.register("cache", "What the caches of mounts said", metrics.cache.clone());
        registry.register("reloads", "Changed configs that were read", metrics.reloads.clone());
        registry.register("connections", "Connections that are open", metrics.connections.clone());
        registry.register("cache_entries", "Answers that are kept", metrics.kept.clone());
        registry.register("spans", "Spans of requests, and what became of them", metrics.spans.clone());
        Self { registry, ..metrics }
    }

    /// One operation on a reference, a denied one among them.
    pub(crate) fn operation(
        &self,
        door: Door,
        mount: Option<&Name>,
        operation: Operation,
        outcome: Result<(), Kind>,
        took: Duration,
    ) {
        let request = || {
            let outcome = outcome.map_or_else(Kind::name, |()| "ok");
            Request { door: door.name(), mount: OfMount(mount.cloned()), operation: operation.name(), outcome }
        };
        let on = |mount: &Name| OnMount { mount: OfMount(Some(mount.clone())), operation: operation.name() };
        let seconds = &self.operation_seconds;
        match mount {
            Some(mount) if operation == Operation::Resolve && outcome.is_ok() => {
                let often = self.often(mount);
                often.seconds.get_or_init(|| seconds.get_or_create_owned(&on(mount))).observe(took.as_secs_f64());
                often.resolved.of(door).get_or_init(|| self.operations.get_or_create_owned(&request())).inc();
            }
            mount => {
                if let Some(mount) = mount {
                    seconds.get_or_create(&on(mount)).observe(took.as_secs_f64());
                }
                self.operations.get_or_create(&request()).inc();
            }
        }
    }

    /// An operation was denied by a rule of the host: see [`denial`].
    pub(crate) fn denied(&self, mount: Option<&Name>, rule: &'static str) {
        let mount = OfMount(mount.cloned());
        self.denials.get_or_create(&Denial { mount, rule }).inc();
    }

    /// What became of so many spans.
    pub(crate) fn spans(&self, fate: Fate, count: usize) {
        let outcome = match fate {
            Fate::Sent => "sent",
            Fate::Refused => "refused",
            Fate::Lost => "lost",
            Fate::Dropped => "dropped",
        };
        if count > 0 {
            self.spans.get_or_create(&OfSpans { outcome }).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    /// A request was answered, whatever the answer.
    pub(crate) fn answered(&self, door: Door, took: Duration) {
        let made = || self.seconds.get_or_create_owned(&AtDoor { door: door.name() });
        self.answered.of(door).get_or_init(made).observe(took.as_secs_f64());
    }

    fn often(&self, mount: &Name) -> Arc<Often> {
        if let Some(often) = self.often.read().unwrap_or_else(PoisonError::into_inner).get(mount) {
            return Arc::clone(often);
        }
        let mut all = self.often.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(mount.clone()).or_default())
    }

    /// A request was not let in.
    pub(crate) fn refused(&self, door: Door, failure: &Failure) {
        self.refused.get_or_create(&Refusal { door: door.name(), reason: refusal(failure) }).inc();
    }

    /// A changed config is in force, or was refused.
    pub(crate) fn reloaded(&self, done: bool) {
        let outcome = if done { "ok" } else { "refused" };
        self.reloads.get_or_create(&Reload { outcome }).inc();
    }

    /// All of it, in the OpenMetrics text format, version 1.0. `kept` is how many answers are kept now.
    pub(crate) fn shown(&self, kept: usize) -> String {
        self.kept.set(u64::try_from(kept).unwrap_or(u64::MAX));
        let mut shown = String::new();
        // It writes into memory, and cannot fail.
        let _ = text::encode(&mut shown, &self.registry);
        shown
    }
}

impl Observe for Metrics {
    fn sandbox(&self, ended: &Ended<'_>) {
        let Ended { plugin, ran, memory_bytes, killed, .. } = *ended;
        let of = OfPlugin { plugin: plugin.to_string() };
        self.sandbox_seconds.get_or_create(&of).observe(ran.as_secs_f64());
        if memory_bytes > 0 {
            // Exact up to 2^53 bytes.
            self.sandbox_bytes.get_or_create(&of).observe(memory_bytes as f64);
        }
        if let Some(killed) = killed {
            self.kills.get_or_create(&Kill { plugin: of.plugin, cause: killed.name() }).inc();
        }
    }

    fn backend(&self, mount: &Name, _began: Instant, took: Duration, outcome: Result<u16, Kind>) {
        let labels = Backend { mount: OfMount(Some(mount.clone())), outcome: class(outcome) };
        self.backend_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    fn cache(&self, mount: &Name, told: Cached) {
        let labels = || OfCache { mount: OfMount(Some(mount.clone())), result: told.name() };
        match told {
            Cached::Hit => {
                self.often(mount).hits.get_or_init(|| self.cache.get_or_create_owned(&labels())).inc();
            }
            _ => {
                self.cache.get_or_create(&labels()).inc();
            }
        }
    }
}
