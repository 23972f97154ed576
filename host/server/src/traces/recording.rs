//! One request while it is answered: what its spans will say.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use strongroom::Kind;
use strongroom::observe::{Cached, Ended, Observe};
use strongroom_core::Name;
use strongroom_core::config::listeners::Door;
use strongroom_core::policy::{Operation, Rule};

use super::Traces;
use crate::metrics::class;

/// The most spans of one request. A thousand references of one request are told by their number.
const MAX_SPANS: usize = 64;

/// A request that is recorded. Its spans go off when the last one who works for it has let go of it.
pub(crate) struct Recording {
    traces: Traces,
    door: Door,
    trace: [u8; 16],
    parent: Option<[u8; 8]>,
    began: Instant,
    /// The time of day when it began.
    at: SystemTime,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    spans: Vec<Span>,
    left_out: u64,
    operations: u64,
    /// The status of the answer, or why there was none but that, and when.
    answered: Option<(u16, Duration)>,
    refused: Option<&'static str>,
}

/// What goes off.
pub(super) struct Finished {
    pub(super) trace: [u8; 16],
    pub(super) parent: Option<[u8; 8]>,
    /// The id of the first span; the others count on from it.
    pub(super) first_id: u64,
    pub(super) began: Instant,
    pub(super) at: SystemTime,
    /// The request's own, and then what was done for it.
    pub(super) spans: Vec<Span>,
}

/// A span but for its place in the trace.
pub(super) struct Span {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) began: Instant,
    pub(super) took: Duration,
    pub(super) failed: bool,
    pub(super) attributes: Vec<(&'static str, Value)>,
}

/// A span's kind (`SpanKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// What is done here.
    Internal,
    /// What was asked of us.
    Server,
    /// What we asked of others.
    Client,
}

/// What an attribute says: nothing else can be in a span.
#[derive(Clone)]
pub(super) enum Value {
    /// One of a closed set.
    Word(&'static str),
    /// A name of the config, or a plugin's that the lock holds.
    Name(Name),
    /// The beginning of a digest.
    Digest(String),
    /// A number of ours.
    Number(u64),
}

impl Recording {
    pub(super) fn new(traces: Traces, door: Door, trace: [u8; 16], parent: Option<[u8; 8]>, began: Instant) -> Self {
        let now = SystemTime::now();
        let at = now.checked_sub(began.elapsed()).unwrap_or(now);
        Self { traces, door, trace, parent, began, at, told: Mutex::default() }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, span: Span) {
        let mut told = self.told();
        if told.spans.len() + 1 < MAX_SPANS {
            told.spans.push(span);
        } else {
            told.left_out += 1;
        }
    }

    /// The request has this answer.
    pub(crate) fn answered(&self, status: u16) {
        self.told().answered = Some((status, self.began.elapsed()));
    }

    /// The request was not let in.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.told().refused = Some(reason);
    }

    /// An operation has ended, a denied one among them.
    pub(crate) fn operation(
        &self,
        operation: Operation,
        mount: Option<&Name>,
        rule: Option<Rule>,
        outcome: Result<(), Kind>,
        began: Instant,
    ) {
        let mut attributes = vec![("strongroom.operation", Value::Word(operation.name()))];
        attributes.extend(mount.map(|mount| ("strongroom.mount", Value::Name(mount.clone()))));
        attributes.push(("strongroom.outcome", Value::Word(outcome.map_or_else(Kind::name, |()| "ok"))));
        let rule = rule.and_then(Rule::index).and_then(|rule| u64::try_from(rule).ok());
        attributes.extend(rule.map(|rule| ("strongroom.rule", Value::Number(rule))));
        self.told().operations += 1;
        let (name, took) = (operation.name(), began.elapsed());
        self.add(Span { name, role: Role::Internal, began, took, failed: false, attributes });
    }
}

impl Observe for Recording {
    fn sandbox(&self, ended: &Ended<'_>) {
        let Ended { entry, plugin, digest, began, ran, memory_bytes, killed } = *ended;
        let micros = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX);
        let mut attributes = vec![
            ("strongroom.mount", Value::Name(entry.clone())),
            ("strongroom.plugin", Value::Name(plugin.clone())),
            ("strongroom.plugin.digest", Value::Digest(digest.short())),
            ("strongroom.sandbox.micros", Value::Number(micros)),
            ("strongroom.sandbox.memory_bytes", Value::Number(memory_bytes)),
        ];
        attributes.extend(killed.map(|killed| ("strongroom.killed", Value::Word(killed.name()))));
        let failed = killed.is_some();
        self.add(Span { name: "sandbox", role: Role::Internal, began, took: began.elapsed(), failed, attributes });
    }

    fn backend(&self, mount: &Name, began: Instant, took: Duration, outcome: Result<u16, Kind>) {
        let failed = outcome.is_err() || outcome.is_ok_and(|status| status >= 500);
        let attributes = vec![
            ("strongroom.mount", Value::Name(mount.clone())),
            ("strongroom.outcome", Value::Word(class(outcome))),
            ("strongroom.backend.milliseconds", Value::Number(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))),
        ];
        self.add(Span { name: "backend", role: Role::Client, began, took, failed, attributes });
    }

    fn cache(&self, mount: &Name, told: Cached) {
        let attributes =
            vec![("strongroom.mount", Value::Name(mount.clone())), ("strongroom.cache", Value::Word(told.name()))];
        let (began, took) = (Instant::now(), Duration::ZERO);
        self.add(Span { name: "cache", role: Role::Internal, began, took, failed: false, attributes });
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let told = std::mem::take(self.told.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut attributes = vec![("strongroom.door", Value::Word(self.door.name()))];
        attributes.extend(told.refused.map(|reason| ("strongroom.refused", Value::Word(reason))));
        if self.parent.is_some() {
            attributes.push(("strongroom.parent", Value::Word("claimed")));
        }
        // Most requests are one operation: theirs is told where people look first.
        let one = told.spans.iter().find(|span| span.attributes.iter().any(|(key, _)| *key == "strongroom.operation"));
        match told.operations {
            1 => attributes.extend(one.into_iter().flat_map(|span| span.attributes.iter().cloned())),
            count => attributes.push(("strongroom.operations", Value::Number(count))),
        }
        let took = match told.answered {
            Some((status, took)) => {
                attributes.push(("http.response.status_code", Value::Number(status.into())));
                took
            }
            // Its caller went away.
            None => self.began.elapsed(),
        };
        if told.left_out > 0 {
            attributes.push(("strongroom.spans_left_out", Value::Number(told.left_out)));
        }
        let failed = told.answered.is_some_and(|(status, _)| status >= 500);
        let own = Span { name: self.door.name(), role: Role::Server, began: self.began, took, failed, attributes };
        let mut spans = Vec::with_capacity(told.spans.len() + 1);
        spans.push(own);
        spans.extend(told.spans);
        let Self { trace, parent, began, at, .. } = *self;
        // Never zero, which is no id, and with room to count on.
        let first_id = getrandom::u64().unwrap_or_default() >> 1 | 1;
        self.traces.take(Finished { trace, parent, first_id, began, at, spans });
    }
}

/// Who is told of what goes on for a request.
pub(crate) fn follower(recording: Option<&Arc<Recording>>) -> Option<Arc<dyn Observe>> {
    recording.map(|recording| Arc::clone(recording) as Arc<dyn Observe>)
}
