//! Where a person's browser comes back to after a sign-in: a listener on this machine alone, for one
//! request (RFC 8252, 7.3 and 8.3).
//!
//! Whoever is on this machine, and every page that its browser shows, can reach the port. So nothing
//! but the right `state` ends the wait: what is wrong, slow or garbage is answered or dropped, and
//! never holds up what comes after it. It must never say to anybody what it received, be reachable
//! from another machine, or outlive the wait.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hint::black_box;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use strongroom_core::{Failure, Kind};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinSet, id};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

/// The largest head, and the largest form, in bytes: an identity provider's code has one or two KiB.
const MAX_BYTES: usize = 16 << 10;

/// The most parameters that a sign-in comes back with. Entra ID sends four.
const MAX_PARAMETERS: usize = 32;

/// The most connections at a time. One more ends the oldest: who opens many and says nothing must not
/// keep the browser out.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may take from its start to its end: a browser on this machine needs none of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the page of the one that counted may take to be read.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often another port is tried where somebody else has this one on `::1`.
const ATTEMPTS: usize = 16;

/// How long to wait before connections are taken again where the machine has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// What every answer says, so that it says nothing of what was received.
const CLOSING: &str = "You can close this page. The terminal tells how the sign-in ended.\n";
const WRONG: &str = "This is no answer to the sign-in that Strongroom waits for.\n";

/// A listener on one port of `127.0.0.1` and `::1`. Closed when it is dropped.
#[derive(Debug)]
pub struct Callback {
    listeners: Vec<TcpListener>,
    port: u16,
}

/// How the parameters come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A form that is posted (OAuth 2.0 Form Post Response Mode).
    Form,
    /// The query of a GET.
    Query,
}

/// What a browser came back with, in order, without the `state`. No name stands twice.
pub type Parameters = Vec<(String, String)>;

impl Callback {
    /// Listens on a port that the system chooses; on `127.0.0.1` alone where this machine has no `::1`.
    ///
    /// # Errors
    /// `login.listen` if it can be done on neither.
    pub async fn bind() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Kind::Unavailable, "login.listen", format!("no port of this machine could be opened: {error}"))
                .help("sign in with a device code: plugin = \"device-code\"")
        };
        for _ in 0..ATTEMPTS {
            let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
            let port = first.local_addr().map_err(failed)?.port();
            match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                Ok(second) => return Ok(Self { listeners: vec![first, second], port }),
                // A browser may try ::1 first, and would tell it to whoever listens there.
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(_) => return Ok(Self { listeners: vec![first], port }),
            }
        }
        Err(failed(ErrorKind::AddrInUse.into()))
    }

    /// What the identity provider is told to send the browser to: `http://localhost:{port}`, which is
    /// how a native application is registered with Entra ID.
    pub fn redirect_uri(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Waits for the one request that brings `state`, answers it, and closes the port. Dropping the
    /// future closes it, too.
    pub async fn wait(self, state: &str, by: By) -> Parameters {
        let (found, mut came) = mpsc::channel(1);
        let state = Zeroizing::new(state.to_owned());
        let expected = Arc::new(Expected { state, by, port: self.port, found });
        let mut connections = JoinSet::new();
        let mut running: VecDeque<AbortHandle> = VecDeque::new();
        let (brought_by, parameters) = loop {
            tokio::select! {
                Some(found) = came.recv() => break found,
                accepted = self.accept() => match accepted {
                    Ok(stream) => {
                        if running.len() >= MAX_CONNECTIONS
                            && let Some(oldest) = running.pop_front()
                        {
                            oldest.abort();
                        }
                        running.push_back(connections.spawn(serve(stream, Arc::clone(&expected))));
                    }
                    Err(_) => sleep(PAUSE).await,
                },
                Some(_) = connections.join_next() => running.retain(|connection| !connection.is_finished()),
            }
        };
        // Whoever is second is refused.
        drop((self, came));
        // The page is on its way; who does not read it has had its time.
        let answered = async {
            while let Some(ended) = connections.join_next_with_id().await {
                if ended.map_or_else(|error| error.id(), |(id, ())| id) == brought_by {
                    break;
                }
            }
        };
        let _ = timeout(FAREWELL, answered).await;
        parameters
    }

    async fn accept(&self) -> std::io::Result<TcpStream> {
        let mut listeners = self.listeners.iter();
        let stream = match (listeners.next(), listeners.next()) {
            (Some(one), Some(other)) => tokio::select! {
                accepted = one.accept() => accepted,
                accepted = other.accept() => accepted,
            },
            (Some(one), None) => one.accept().await,
            (None, _) => std::future::pending().await,
        };
        stream.map(|(stream, _)| stream)
    }
}

/// What is waited for, and what came.
struct Expected {
    state: Zeroizing<String>,
    by: By,
    port: u16,
    /// Holds one.
    found: mpsc::Sender<(Id, Parameters)>,
}

impl Expected {
    /// Where the parameters of a request stand, if its head could be the callback's. What it is refused
    /// with otherwise.
    fn admit(&self, head: &Parts) -> Result<By, StatusCode> {
        let refuse = |status| Err(status);
        // Another name for this machine is somebody's DNS (rebinding).
        let host = only(&head.headers, HOST).and_then(|host| host.strip_suffix(&format!(":{}", self.port)));
        if !host
            .is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].iter().any(|own| host.eq_ignore_ascii_case(own)))
        {
            return refuse(StatusCode::MISDIRECTED_REQUEST);
        }
        if head.uri.authority().is_some() || head.uri.path() != "/" {
            return refuse(StatusCode::NOT_FOUND);
        }
        // A browser that is sent here navigates; a script of a page fetches, and never needs to be here.
        for (name, must) in [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")] {
            if head.headers.contains_key(name) && only(&head.headers, HeaderName::from_static(name)) != Some(must) {
                return refuse(StatusCode::FORBIDDEN);
            }
        }
        // An authority's page is https; `null` is what a browser says of it after redirects. Which
        // authority it is does not matter: a sign-in goes from one to another, and `state` decides.
        let page = |origin: &str| origin == "null" || origin.starts_with("https://");
        if head.headers.contains_key(ORIGIN) && !only(&head.headers, ORIGIN).is_some_and(page) {
            return refuse(StatusCode::FORBIDDEN);
        }
        match self.by {
            By::Query if head.method == Method::GET => Ok(By::Query),
            By::Form if head.method == Method::POST && head.uri.query().is_none() => {
                let kind =
                    only(&head.headers, CONTENT_TYPE).and_then(|kind| kind.split(';').next()).unwrap_or_default();
                if kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
                    Ok(By::Form)
                } else {
                    refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                }
            }
            By::Query | By::Form => refuse(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    /// Takes `text`, a form or a query, if its `state` is the right one and it is the first that is.
    fn take(&self, text: &[u8]) -> Option<()> {
        let mut parameters = parse(text)?;
        let at = parameters.iter().position(|(name, _)| name == "state")?;
        let state = Zeroizing::new(parameters.remove(at).1);
        if !is_same(state.as_bytes(), self.state.as_bytes()) {
            return None;
        }
        self.found.try_send((id(), parameters)).ok()
    }
}

/// Serves one request.
async fn serve(stream: TcpStream, expected: Arc<Expected>) {
    let service = service_fn(|request| answer(&expected, request));
    let connection =
        http1::Builder::new().keep_alive(false).max_buf_size(MAX_BYTES).serve_connection(TokioIo::new(stream), service);
    // Whatever goes wrong with it, it was one of any number.
    let _ = timeout(PATIENCE, connection).await;
}

async fn answer(expected: &Expected, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let taken = match expected.admit(&head) {
        Err(status) => Err(status),
        Ok(By::Query) => expected.take(head.uri.query().unwrap_or_default().as_bytes()).ok_or(StatusCode::BAD_REQUEST),
        Ok(By::Form) => match Limited::new(body, MAX_BYTES).collect().await {
            Ok(form) => expected.take(&Zeroizing::new(form.to_bytes().to_vec())).ok_or(StatusCode::BAD_REQUEST),
            Err(_) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        },
    };
    let (status, words) = match taken {
        Ok(()) => (StatusCode::OK, CLOSING),
        Err(status) => (status, WRONG),
    };
    let mut answer = Response::new(Full::new(Bytes::from_static(words.as_bytes())));
    *answer.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(answer)
}

/// The value of a header that is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Compares in a time that does not tell where two texts differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (one, other)| black_box(differ | (one ^ other)));
    one.len() == other.len() && differ == 0
}

/// Reads `application/x-www-form-urlencoded` (URL Standard, 5.1), but strictly: no broken encoding, no
/// name twice, no empty one.
fn parse(text: &[u8]) -> Option<Parameters> {
    let mut parameters = Parameters::new();
    for pair in text.split(|byte| *byte == b'&') {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at_checked(equals)?;
        let (name, value) = (decode(name)?, decode(value.get(1..).unwrap_or_default())?);
        if name.is_empty() || parameters.len() == MAX_PARAMETERS || parameters.iter().any(|(known, _)| *known == name) {
            return None;
        }
        parameters.push((name, value));
    }
    Some(parameters)
}

fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
