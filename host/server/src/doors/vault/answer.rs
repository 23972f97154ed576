//! What the door answers: Vault's envelope around data, and its errors.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use strongroom::{Failure, Kind, Text};

use crate::doors::hex;
use crate::gate::Call;

/// What Vault says for a time that is not known: Go's zero.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// What is around all data.
#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    request_id: String,
    lease_id: &'static str,
    renewable: bool,
    lease_duration: u64,
    data: Option<T>,
    wrap_info: Option<()>,
    warnings: Option<&'a [&'a str]>,
    auth: Option<serde_json::Value>,
}

/// Why a request is not answered with data.
pub(super) enum Refused {
    /// As of any door.
    Failure(Failure),
    /// As Vault says it.
    Said(StatusCode, String),
}

/// What handlers give.
pub(super) type Answered = Result<Response, Refused>;

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Failure(failure) => refuse(&failure),
            Self::Said(status, message) => errors(status, &[&message]),
        }
    }
}

/// A request that no client should have sent.
pub(super) fn bad(message: impl Into<String>) -> Refused {
    Refused::Said(StatusCode::BAD_REQUEST, message.into())
}

/// What the door does not have. Never a 404: clients take that for a secret that is not there.
pub(super) fn not_offered(what: &str) -> Refused {
    bad(format!("{what} is not offered here: this is Strongroom, which has Vault's KV version 2 and no other engine"))
}

/// A path that has no such method.
pub(super) fn wrong_method() -> Refused {
    Refused::Said(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation".to_owned())
}

/// Nothing is there, as Vault says it.
pub(super) fn nothing() -> Response {
    errors(StatusCode::NOT_FOUND, &[])
}

/// Done, and nothing to tell.
pub(super) fn done() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

pub(super) fn errors(status: StatusCode, errors: &[&str]) -> Response {
    json(status, &serde_json::json!({ "errors": errors }))
}

/// Data in its envelope.
pub(super) fn data(call: &Call, status: StatusCode, data: impl Serialize, warnings: &[&str]) -> Response {
    json(status, &envelope(call.trace(), Some(data), None, warnings))
}

/// No data, but something to say.
pub(super) fn warned(call: &Call, warnings: &[&str]) -> Response {
    json(StatusCode::OK, &envelope(call.trace(), None::<()>, None, warnings))
}

/// A token, as logins and renewals give it.
pub(super) fn auth(trace: [u8; 16], auth: serde_json::Value) -> Response {
    json(StatusCode::OK, &envelope(trace, None::<()>, Some(auth), &[]))
}

fn envelope<'a, T: Serialize>(
    trace: [u8; 16],
    data: Option<T>,
    auth: Option<serde_json::Value>,
    warnings: &'a [&'a str],
) -> Envelope<'a, T> {
    Envelope {
        request_id: uuid(trace),
        lease_id: "",
        renewable: false,
        lease_duration: 0,
        data,
        wrap_info: None,
        warnings: Some(warnings).filter(|warnings| !warnings.is_empty()),
        auth,
    }
}

pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    // Room from the start for what nearly every answer is: a vector that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(1024);
    let status = match serde_json::to_writer(&mut bytes, document) {
        Ok(()) => status,
        Err(_) => {
            bytes.clear();
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A failure in Vault's shape.
pub(super) fn refuse(failure: &Failure) -> Response {
    let message = failure.message().as_str();
    let (status, said): (_, Vec<String>) = match (failure.kind(), failure.code()) {
        (Kind::NotFound, _) => (404, Vec::new()),
        // Vault tells a bad token no more than one that may not.
        (Kind::PolicyDenied, "policy.denied") => (403, vec!["permission denied".to_owned()]),
        (Kind::PolicyDenied | Kind::Denied, _) => (403, vec![format!("permission denied: {message}")]),
        (Kind::Unauthenticated | Kind::NotConfigured, _) if failure.mount().is_none() => {
            (403, vec!["permission denied".to_owned()])
        }
        // The server's own credential: its client's token is good.
        (Kind::Unauthenticated | Kind::NotConfigured | Kind::Unavailable, _) => (502, vec![message.to_owned()]),
        (_, "request.too-large") => (413, vec![message.to_owned()]),
        (_, "request.head") => (431, vec![message.to_owned()]),
        (_, "request.slow") => (408, vec![message.to_owned()]),
        (Kind::UnknownMount | Kind::Conflict | Kind::Unsupported, _) => (400, vec![message.to_owned()]),
        (kind, _) => (kind.meaning().http, vec![message.to_owned()]),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = errors(status, &said.iter().map(String::as_str).collect::<Vec<_>>());
    if let Some(wait) = failure.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.div_ceil(1000)));
    }
    response
}

/// A request's id in the form of a UUID.
fn uuid(trace: [u8; 16]) -> String {
    let hex = hex(&trace);
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Seconds since the Unix epoch as Vault writes a time.
pub(super) fn time(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| NO_TIME.to_owned(), |seconds| written(Duration::from_secs(seconds)))
}

/// As [`time`], of this moment.
pub(super) fn now() -> String {
    written(since_epoch())
}

/// The time since the Unix epoch.
pub(super) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn written(time: Duration) -> String {
    let mut written = Vec::with_capacity(24);
    strongroom_core::audit::rfc3339(&mut written, time);
    String::from_utf8(written).unwrap_or_default()
}

/// The number in the attribute `name`.
pub(super) fn number(attributes: &[(Text, Text)], name: &str) -> Option<u64> {
    let (_, text) = attributes.iter().find(|(key, _)| key.as_str() == name)?;
    text.as_str().parse().ok()
}

/// The tags among attributes, which Vault calls custom metadata.
pub(super) fn tags(attributes: &[(Text, Text)]) -> BTreeMap<String, String> {
    let tag =
        |(key, value): &(Text, Text)| Some((key.as_str().strip_prefix("tags.")?.to_owned(), value.as_str().to_owned()));
    attributes.iter().filter_map(tag).collect()
}
