//! What was asked: for tests that count requests or look at one. It must never keep a token, a secret
//! or a body.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::http::{Call, find};

/// The oldest requests are dropped beyond this, so that a soak does not fill the memory.
const KEPT: usize = 20_000;

/// Fields of a form that say what was asked and are no secret.
const SHOWN: [&str; 8] = [
    "grant_type",
    "scope",
    "resource",
    "client_id",
    "redirect_uri",
    "response_mode",
    "client_assertion_type",
    "claims",
];

/// Fields of a query that are as good as a secret.
const HIDDEN: [&str; 4] = ["code", "state", "nonce", "login_hint"];

/// One request.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// From 1; none is left out.
    pub number: u64,
    /// `entra`, `key-vault`, `arm`, `ml`, or one of the identity endpoints.
    pub service: String,
    /// The method.
    pub method: String,
    /// The name asked.
    pub host: String,
    /// The path as it came.
    pub path: String,
    /// The query, without what is as good as a secret.
    pub query: Vec<(String, String)>,
    /// Names of headers.
    pub headers: Vec<String>,
    /// `Content-Length`, if one came.
    pub content_length: Option<u64>,
    /// Fields of a form: names, and values of those that tell only what was asked.
    pub form: Vec<(String, Option<String>)>,
    /// `x-ms-client-request-id`.
    pub request_id: Option<String>,
    /// Which connection it came on.
    pub connection: u64,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The answer's status; 0 if the connection was dropped.
    pub status: u16,
    /// The fault that met it.
    pub fault: Option<String>,
}

impl Entry {
    /// Of a request, before it is answered.
    pub fn new(service: &str, call: &Call, connection: u64, version: &str) -> Self {
        let form =
            call.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let form = if form { call.form() } else { Vec::new() };
        let shown = |name: &str| SHOWN.contains(&name).then(|| find(&form, name).unwrap_or_default().to_owned());
        Self {
            number: 0,
            service: service.to_owned(),
            method: call.method.to_string(),
            host: call.host.clone(),
            path: call.path.clone(),
            query: call.query.iter().filter(|(name, _)| !HIDDEN.contains(&name.as_str())).cloned().collect(),
            headers: call.headers.keys().map(ToString::to_string).collect(),
            content_length: call.header("content-length").and_then(|length| length.parse().ok()),
            form: form.iter().map(|(name, _)| (name.clone(), shown(name))).collect(),
            request_id: call.header("x-ms-client-request-id").map(str::to_owned),
            connection,
            version: version.to_owned(),
            status: 0,
            fault: None,
        }
    }
}

/// The log and its sums.
#[derive(Debug, Default)]
pub struct Record {
    entries: VecDeque<Entry>,
    last: u64,
    /// TLS and plain connections taken.
    pub connections: u64,
    /// Requests under way, and the most there ever were at once, by service.
    under_way: BTreeMap<String, (u64, u64)>,
    requests: BTreeMap<String, u64>,
    statuses: BTreeMap<u16, u64>,
    faults: BTreeMap<String, u64>,
    unknown_hosts: BTreeMap<String, u64>,
}

/// Sums since the start, or since they were cleared.
#[derive(Debug, Serialize)]
pub struct Counters<'record> {
    connections: u64,
    /// By service.
    requests: &'record BTreeMap<String, u64>,
    /// By service.
    most_at_once: BTreeMap<&'record str, u64>,
    statuses: &'record BTreeMap<u16, u64>,
    /// By kind.
    faults: &'record BTreeMap<String, u64>,
    /// Names that somebody tried to reach and the fake does not have: a client that was led astray.
    unknown_hosts: &'record BTreeMap<String, u64>,
}

impl Record {
    /// A request begins.
    pub fn begin(&mut self, service: &str) {
        let (now, most) = self.under_way.entry(service.to_owned()).or_default();
        *now = now.saturating_add(1);
        *most = (*most).max(*now);
    }

    /// It is over, answered or not.
    pub fn end(&mut self, mut entry: Entry) {
        if let Some((now, _)) = self.under_way.get_mut(&entry.service) {
            *now = now.saturating_sub(1);
        }
        self.last = self.last.saturating_add(1);
        entry.number = self.last;
        count(&mut self.requests, entry.service.clone());
        count(&mut self.statuses, entry.status);
        if let Some(fault) = &entry.fault {
            count(&mut self.faults, fault.clone());
        }
        if self.entries.len() >= KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Somebody tried to reach a name that the fake does not have.
    pub fn unknown_host(&mut self, name: &str) {
        count(&mut self.unknown_hosts, name.to_owned());
    }

    /// The requests in the order in which they were answered.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The sums.
    pub fn counters(&self) -> Counters<'_> {
        Counters {
            connections: self.connections,
            requests: &self.requests,
            most_at_once: self.under_way.iter().map(|(service, (_, most))| (service.as_str(), *most)).collect(),
            statuses: &self.statuses,
            faults: &self.faults,
            unknown_hosts: &self.unknown_hosts,
        }
    }

    /// Forgets all, sums too; what is under way stays so.
    pub fn clear(&mut self) {
        let under_way = std::mem::take(&mut self.under_way);
        *self = Self { last: self.last, ..Self::default() };
        self.under_way = under_way.into_iter().map(|(service, (now, _))| (service, (now, now))).collect();
    }
}

fn count<K: Ord>(sums: &mut BTreeMap<K, u64>, key: K) {
    let sum = sums.entry(key).or_default();
    *sum = sum.saturating_add(1);
}
