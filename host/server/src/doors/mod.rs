//! The front doors: each a module that speaks one protocol, and nothing of the others.
//!
//! What is common to all is here: who may come in at all, what is refused before anybody looks at it, and what no answer
//! leaves without. A door gets a [`Call`](crate::gate::Call) for each request and has no other way to the secrets.

pub(crate) mod answer;
mod azureml;
pub(crate) mod body;
mod key_vault;
mod metrics;
pub(crate) mod native;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod scopes;
pub(crate) mod vault;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Uri};
use strongroom::observe::follow;
use strongroom::{Failure, Kind, Text};
use strongroom_core::config::listeners::Door;
use strongroom_core::policy::Identity;
use tower::{Service, layer::layer_fn};

use crate::gate::Call;
use crate::listener::Peer;
use crate::metrics::refusal;
use crate::state::House;
use crate::traces::{Recording, follower};

/// The header that says that a value may be older than its backend's.
pub(crate) const STALE: HeaderName = HeaderName::from_static("strongroom-stale");

/// The header by which a client finds its request in the audit log and in traces.
const TRACE: HeaderName = HeaderName::from_static("strongroom-trace");

/// What a client may say of itself in a header, and what the audit log calls it. It is claimed, and proves nothing.
const CLAIMS: [(&str, HeaderName); 2] =
    [("user-agent", header::USER_AGENT), ("request-id", HeaderName::from_static("x-ms-client-request-id"))];

/// The largest head of a request, in bytes as HTTP/1.1 writes them, and the most headers. Tokens and references are the largest in one.
pub(crate) const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 64;

/// The most characters of a claim that are written down.
const MAX_CLAIM: usize = 200;

/// What tells one trace from all others.
type TraceId = [u8; 16];

/// How a door looks to those who are not let in.
pub(crate) trait Face: Send + Sync + 'static {
    /// Which door it is.
    fn door(&self) -> Door;

    /// The token that a request shows, if any.
    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        bearer(headers)
    }

    /// To whom the door itself has given a token, if it gives any.
    fn given(&self, _token: &str) -> Option<Identity> {
        None
    }

    /// A failure in the door's own shape.
    fn refuse(&self, failure: &Failure) -> Response;
}

/// All that is served at a listener with these doors.
pub(crate) fn router(house: &Arc<House>, doors: &BTreeSet<Door>) -> Router {
    let mut all = Router::new();
    for door in doors {
        all = match door {
            Door::Native => all.merge(native::router(house)),
            Door::KeyVault => all.merge(key_vault::router(house)),
            Door::Azureml => all.merge(azureml::router(house)),
            Door::Metrics => all.merge(metrics::router(house)),
            Door::Vault => all.merge(vault::router(house)),
            // Of one run alone, which has a listener of its own for it.
            Door::ManagedIdentity => all,
        };
    }
    // What no door knows is refused in the words of our own.
    // With its state, the router puts handlers and layers together now, and not anew with each request.
    all.fallback(native::nothing_there).with_state(())
}

/// Routes that need no caller: nothing is told there that anybody may not know, but to no page of a browser. `refuse` puts a
/// failure into the door's own shape.
pub(crate) fn in_the_open(routes: Router, refuse: fn(&Failure) -> Response) -> Router {
    routes.layer(from_fn(move |request: Request, next: Next| async move {
        let peer = request.extensions().get::<Arc<Peer>>().map(|peer| &**peer).ok_or_else(no_peer);
        let checked = peer.and_then(|peer| check_sender(request.headers(), request.uri().authority(), peer));
        match checked {
            Ok(()) => next.run(request).await,
            Err(failure) => {
                let mut response = refuse(&failure);
                finish(&mut response, trace_of(request.headers()));
                response
            }
        }
    }))
}

/// Puts a door's routes behind the door: nobody comes to them but known callers.
pub(crate) fn behind<F: Face>(routes: Router, house: &Arc<House>, face: F) -> Router {
    let door = Arc::new((Arc::clone(house), face));
    routes.layer(layer_fn(move |routes| Admission { door: Arc::clone(&door), routes }))
}

/// What stands before the routes of a door. It is a service of its own and no middleware function, which axum would put into
/// two more boxes with each request.
struct Admission<F, S> {
    door: Arc<(Arc<House>, F)>,
    routes: S,
}

impl<F, S: Clone> Clone for Admission<F, S> {
    fn clone(&self) -> Self {
        Self { door: Arc::clone(&self.door), routes: self.routes.clone() }
    }
}

impl<F, S> Service<Request> for Admission<F, S>
where
    F: Face,
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.routes.poll_ready(context)
    }

    // All in one, with nothing handed on by value: each hand would keep a request's room until the answer is there.
    fn call(&mut self, mut request: Request) -> Self::Future {
        let door = Arc::clone(&self.door);
        // Of the two, the one that was asked whether it is ready has to answer.
        let next = self.routes.clone();
        let mut routes = std::mem::replace(&mut self.routes, next);
        Box::pin(async move {
            let (house, face) = &*door;
            let (trace, began) = (trace_of(request.headers()), Instant::now());
            let peer = request.extensions().get::<Arc<Peer>>().map(|peer| &**peer);
            let sender = (request.headers(), request.uri(), peer);
            let (mut response, recording) = match enter(house, face, sender, (trace, began)).await {
                Ok(call) => {
                    let recording = call.recording().cloned();
                    request.extensions_mut().insert(call);
                    let answered = routes.call(request);
                    let response = match follower(recording.as_ref()) {
                        None => answered.await?,
                        followed => Box::pin(follow(followed, answered)).await?,
                    };
                    (response, recording)
                }
                Err(failure) => {
                    house.metrics().refused(face.door(), &failure);
                    (face.refuse(&failure), turned_away(house, face.door(), &request, &failure, (trace, began)))
                }
            };
            if let Some(recording) = recording {
                recording.answered(response.status().as_u16());
            }
            house.metrics().answered(face.door(), began.elapsed());
            finish(&mut response, trace);
            Ok(response)
        })
    }
}

/// The recording of a request that is not let in, if it gets one.
fn turned_away(
    house: &House,
    door: Door,
    request: &Request,
    failure: &Failure,
    (trace, began): (TraceId, Instant),
) -> Option<Arc<Recording>> {
    let recording = house.state().traces.as_ref()?.begin(door, trace, request.headers(), false, began)?;
    recording.refused(refusal(failure));
    Some(recording)
}

/// What no answer leaves without: it is nobody's to keep, and no browser's to guess at.
pub(crate) fn finish(response: &mut Response, trace: [u8; 16]) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(trace) = HeaderValue::from_bytes(&hex_digits(&trace)) {
        headers.insert(TRACE, trace);
    }
}

/// Lets a request of a known caller in.
async fn enter<F: Face>(
    house: &House,
    face: &F,
    (headers, target, peer): (&HeaderMap, &Uri, Option<&Peer>),
    (trace, began): (TraceId, Instant),
) -> Result<Call, Failure> {
    let peer = peer.ok_or_else(no_peer)?;
    check_head(headers, target)?;
    check_sender(headers, target.authority(), peer)?;
    let state = house.state();
    let token = face.token(headers);
    let caller = match token.and_then(|token| face.given(token)) {
        Some(identity) => state.identifier.again(&state.policy, &identity)?,
        None => state.identifier.caller(&state.policy, peer, token, || state.limits.listen()).await?,
    };
    // Only now: whoever they are not known to be must not keep known callers out.
    let place = state.limits.enter()?;
    let turn = state.limits.turn(caller.shown().as_str())?;
    let mut claimed = Vec::new();
    for (name, header) in CLAIMS {
        if let Some(value) = headers.get(header).and_then(|value| value.to_str().ok()) {
            claimed.push((name, Text::capped(value, MAX_CLAIM)));
        }
    }
    let recording = state.traces.as_ref().and_then(|to| to.begin(face.door(), trace, headers, true, began));
    Ok(Call::new(state, caller, face.door(), trace, claimed, recording, (place, turn)))
}

/// Lets a request in that shows who it is of in its body.
///
/// # Errors
/// What any request is refused for.
pub(crate) fn stranger(
    house: &House,
    headers: &HeaderMap,
    target: &Uri,
    peer: Option<&Peer>,
) -> Result<(Arc<crate::state::State>, crate::limits::Place), Failure> {
    check_head(headers, target)?;
    check_sender(headers, target.authority(), peer.ok_or_else(no_peer)?)?;
    let state = house.state();
    let place = state.limits.listen()?;
    Ok((state, place))
}

fn no_peer() -> Failure {
    Failure::new(Kind::Internal, "server.peer", "the connection is unknown")
}

/// Refuses a head that is too large. hyper alone would refuse it without a word.
fn check_head(headers: &HeaderMap, target: &Uri) -> Result<(), Failure> {
    // The separators of a line are four bytes.
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let of_target = target.path().len() + target.query().map_or(0, |query| query.len() + 1);
    if headers.len() <= MAX_HEADERS && of_target + lines.sum::<usize>() <= MAX_HEAD_BYTES {
        return Ok(());
    }
    let kib = MAX_HEAD_BYTES >> 10;
    let message = format!(
        "the target and the headers of the request are larger than {kib} KiB, or more than {MAX_HEADERS} headers"
    );
    Err(Failure::new(Kind::LimitExceeded, "request.head", message))
}

/// Refuses what a browser sends on behalf of a page, and on loopback any name but the machine's own: a page could
/// have its own name lead there.
fn check_sender(headers: &HeaderMap, target: Option<&Authority>, peer: &Peer) -> Result<(), Failure> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Failure::new(Kind::PolicyDenied, "server.origin", "requests of web pages are refused"));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Failure::new(Kind::InvalidReference, "request.host", "there is more than one Host"));
    }
    if *peer != Peer::Loopback {
        return Ok(());
    }
    let named = [host.map(HeaderValue::as_bytes), target.map(|target| target.as_str().as_bytes())];
    if named.into_iter().flatten().all(is_loopback) && host.is_some() {
        return Ok(());
    }
    Err(Failure::new(Kind::PolicyDenied, "server.host", "only requests to localhost by that name are answered here"))
}

fn is_loopback(host: &[u8]) -> bool {
    let Some(authority) = std::str::from_utf8(host).ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    !authority.as_str().contains('@')
        && (bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

/// The token of `Authorization: Bearer`, of which there must be one (RFC 6750, section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let value = all.next()?;
    // Of two, nobody can say which is meant: then it is none that is good.
    let value = if all.next().is_some() { "" } else { value.to_str().unwrap_or_default() };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        _ => Some(""),
    }
}

/// The trace that a request belongs to (W3C Trace Context, level 1), or a new one.
pub(crate) fn trace_of(headers: &HeaderMap) -> [u8; 16] {
    let told = headers.get("traceparent").and_then(|value| parse_traceparent(value.to_str().ok()?));
    told.unwrap_or_else(|| {
        // A keyed hash of a count: none comes twice but by chance, and nobody can tell how many came in between. The
        // system need not be asked each time.
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let [one, two] = &*KEYS;
        (u128::from(one.hash_one(count)) << 64 | u128::from(two.hash_one(count))).to_be_bytes()
    })
}

/// The trace of a `traceparent`, if it is one.
pub(crate) fn parse_traceparent(text: &str) -> Option<[u8; 16]> {
    let mut parts = text.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if version.len() != 2 || version == "ff" || trace.len() != 32 || parent.len() != 16 {
        return None;
    }
    if ![version, trace, parent].into_iter().all(hexadecimal) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    Some(trace.to_be_bytes())
}

/// As lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8; 16]) -> String {
    hex_digits(bytes).map(char::from).iter().collect()
}

fn hex_digits(bytes: &[u8; 16]) -> [u8; 32] {
    let number = u128::from_be_bytes(*bytes);
    std::array::from_fn(|index| match (number >> (124 - 4 * index) & 15) as u8 {
        digit @ 0..10 => b'0' + digit,
        digit => b'a' + digit - 10,
    })
}

/// What the fuzzer found worth keeping of targets of requests, replayed on stable.
#[cfg(test)]
#[path = "../../../../fuzz/targets"]
#[allow(clippy::panic, clippy::unwrap_used, reason = "the bodies of the fuzz targets stand outside #[test] functions")]
mod corpora {
    mod replay;
    mod request;

    #[test]
    fn no_kept_input_fails_the_requests_target() {
        replay::replay("request", request::run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn on_loopback_only_the_machines_own_names_count() {
        for (host, good) in [
            ("localhost", true),
            ("LOCALHOST:8200", true),
            ("127.0.0.1:8200", true),
            ("[::1]:8200", true),
            ("127.8.9.1", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("localhost@evil.example", false),
            ("evil@localhost", false),
            ("0.0.0.0", false),
            ("", false),
        ] {
            let told = check_sender(&headers(&[("host", host)]), None, &Peer::Loopback);
            assert_eq!(told.is_ok(), good, "{host}");
        }
        assert!(check_sender(&HeaderMap::new(), None, &Peer::Loopback).is_err(), "a Host is needed");
        let elsewhere = "evil.example".parse().unwrap();
        let told = check_sender(&headers(&[("host", "localhost")]), Some(&elsewhere), &Peer::Loopback);
        assert!(told.is_err(), "the target counts too");
        assert!(check_sender(&headers(&[("host", "any.example")]), None, &Peer::Network).is_ok());
    }

    #[test]
    fn what_a_page_sends_is_refused_everywhere() {
        let page = headers(&[("host", "localhost"), ("origin", "null")]);
        for peer in [Peer::Loopback, Peer::Network, Peer::Unix { uid: 1, gids: Vec::new() }] {
            assert_eq!(check_sender(&page, None, &peer).unwrap_err().code(), "server.origin");
        }
        let two = headers(&[("host", "a.example"), ("host", "b.example")]);
        assert!(check_sender(&two, None, &Peer::Network).is_err());
    }

    #[test]
    fn a_token_is_one_bearer_or_no_good() {
        for (lines, token) in [
            (&[("authorization", "Bearer abc")][..], Some("abc")),
            (&[("authorization", "bEARER abc")], Some("abc")),
            (&[("authorization", "Basic abc")], Some("")),
            (&[("authorization", "abc")], Some("")),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], Some("")),
            (&[], None),
        ] {
            assert_eq!(bearer(&headers(lines)), token, "{lines:?}");
        }
    }

    #[test]
    fn a_trace_is_taken_over_where_it_is_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parse_traceparent(good).map(|t| hex(&t)).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad}");
        }
    }
}
