//! One request and its answer, within limits.
//!
//! Nothing here decides what may be sent: that was decided before. What is made sure of here is that
//! the answer is HTTP in its plainest form (no redirect is followed, no upgrade, no interim answer, no
//! trailer comes through), that nothing is kept before it is counted, and that every wait has an end.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::body::Collector;
use super::http1::wipe;
use super::pool::Line;
use super::{Destination, SendError, Stage};

/// The largest head of an answer, in bytes, over all its fields: more than any service of the field
/// sends, and what hyper's buffer is made for.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;

/// The most fields of an answer's head.
pub const MAX_FIELDS: usize = 100;

/// What may be read until the answer's head is complete: a head, interim answers before it, and what of
/// the body comes with it.
const MAX_BEFORE_BODY: usize = 8 * MAX_HEAD_BYTES;

/// What a byte of a body may take on the wire: chunks of one byte each take six. Without this bound a
/// chunk's size could be written with zeros in front for ever.
const MAX_FRAMING: usize = 8;

/// Fields that belong to the connection (RFC 9110, 7.6.1), or that only the host writes. A caller that
/// sets one of them has a mistake in it, which is told and not repaired.
const OURS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is to be sent. Its `Debug` shows no header's value, no path and no body.
#[derive(Clone)]
pub struct Outgoing {
    /// Any method but `CONNECT` and `TRACE`.
    pub method: Method,
    /// Begins with `/`. Sent as it is.
    pub path_and_query: PathAndQuery,
    /// Without the fields that the host writes: `Host`, `Content-Length`, and those of the connection.
    pub headers: HeaderMap,
    /// The whole body. Build it with [`Bytes::from_owner`] of a `Zeroizing` where it is a secret: it is
    /// not copied here.
    pub body: Bytes,
}

/// How much, and how long. Each time is cut to what is left of the deadline.
#[derive(Debug, Clone)]
pub struct Limits {
    /// When all must be over.
    pub deadline: Instant,
    /// For DNS, TCP and TLS together.
    pub connect: Option<Duration>,
    /// From the request to the head of its answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the body.
    pub between_bytes: Option<Duration>,
    /// The largest head of the answer; never more than [`MAX_HEAD_BYTES`].
    pub header_bytes: usize,
    /// The largest body of the answer.
    pub body_bytes: usize,
}

/// What came back. Its `Debug` shows no header's value and no body.
#[derive(Clone)]
pub struct Answer {
    /// Never 1xx.
    pub status: StatusCode,
    /// Every field, as it came. Trailers are not among them.
    pub headers: HeaderMap,
    /// As it came: an encoding, such as gzip, is still on it.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why an exchange on a connection failed, and whether it may be tried on another one.
pub(super) struct Failed {
    pub(super) error: SendError,
    /// Nothing of an answer had come: a kept connection was perhaps just being closed.
    pub(super) unanswered: bool,
    /// Nothing of the request had gone.
    pub(super) unsent: bool,
}

/// A request, checked.
pub(super) struct Prepared {
    outgoing: Outgoing,
    authority: Authority,
    scheme: Scheme,
}

impl Prepared {
    pub(super) fn new(to: &Destination, outgoing: Outgoing) -> Result<Self, SendError> {
        let bad = |why| Err(SendError::Request(why));
        if matches!(outgoing.method, Method::CONNECT | Method::TRACE) {
            return bad("its method is CONNECT or TRACE");
        }
        if !outgoing.path_and_query.as_str().starts_with('/') {
            return bad("its path does not begin with a slash");
        }
        if OURS.iter().any(|name| outgoing.headers.contains_key(*name)) {
            return bad("it holds a header field that only the host writes");
        }
        let Ok(authority) = Authority::try_from(to.authority()) else {
            return bad("its host is no host");
        };
        Ok(Self { outgoing, authority, scheme: if to.secure { Scheme::HTTPS } else { Scheme::HTTP } })
    }

    /// Whether sending it twice is the same as once (RFC 9110, 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        super::retry::is_idempotent(&self.outgoing.method)
    }

    fn build(&self, http2: bool) -> Result<Request<Full<Bytes>>, SendError> {
        let Outgoing { method, path_and_query, headers, body } = &self.outgoing;
        let mut request = Request::new(Full::new(body.clone()));
        let fields = request.headers_mut();
        fields.reserve(headers.len() + 2);
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(path_and_query.clone());
        if http2 {
            uri.scheme = Some(self.scheme.clone());
            uri.authority = Some(self.authority.clone());
        } else {
            let host = HeaderValue::from_str(self.authority.as_str());
            fields.insert(HOST, host.map_err(|_| SendError::Request("its host is no host"))?);
        }
        for (name, value) in headers {
            fields.append(name, value.clone());
        }
        if !body.is_empty() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            fields.insert(CONTENT_LENGTH, body.len().into());
        }
        *request.method_mut() = method.clone();
        *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| SendError::Request("its target is no URI"))?;
        Ok(request)
    }
}

/// Sends `request` on `line` and reads the answer. The connection may be used again if it succeeds.
pub(super) async fn exchange(line: &mut Line, request: &Prepared, limits: &Limits) -> Result<Answer, Failed> {
    let head_until = soonest(limits.deadline, limits.first_byte);
    let response = match line {
        Line::One(http1) => {
            http1.meter.begin(MAX_BEFORE_BODY);
            let sending = http1.sender.try_send_request(request.build(false)?);
            let sent = timeout_at(head_until, http1.drive(sending)).await;
            let unanswered = http1.meter.read() == 0;
            let flooded = http1.meter.is_exceeded();
            http1.meter.allow(limits.body_bytes.saturating_mul(MAX_FRAMING).saturating_add(MAX_BEFORE_BODY));
            sent.map(|sent| {
                sent.map_err(|mut error| Failed {
                    unsent: error.take_message().is_some(),
                    unanswered,
                    error: if flooded { SendError::HeadTooLarge } else { explain(error.error()) },
                })
            })
        }
        Line::Shared(http2) => {
            let sending = http2.sender.try_send_request(request.build(true)?);
            timeout_at(head_until, sending).await.map(|sent| {
                sent.map_err(|mut error| Failed {
                    unsent: error.take_message().is_some(),
                    unanswered: true,
                    error: explain(error.error()),
                })
            })
        }
    };
    let response = response.map_err(|_| SendError::Timeout(Stage::Answer))??;
    let (status, headers, mut incoming) = head(response, limits)?;
    let mut body = Collector::new(incoming.size_hint().lower(), limits.body_bytes)?;
    loop {
        let until = soonest(limits.deadline, limits.between_bytes);
        let frame = incoming.frame();
        let frame = match line {
            Line::One(http1) => timeout_at(until, http1.drive(frame)).await,
            Line::Shared(_) => timeout_at(until, frame).await,
        };
        match frame.map_err(|_| SendError::Timeout(Stage::Body))? {
            None => break,
            Some(Err(_)) if line.is_flooded() => return Err(SendError::BodyTooLarge(limits.body_bytes).into()),
            Some(Err(error)) => return Err(explain(&error).into()),
            Some(Ok(frame)) => {
                // Trailers are no data: dropped.
                if let Ok(piece) = frame.into_data() {
                    let fits = body.push(&piece);
                    wipe(piece);
                    fits?;
                }
            }
        }
    }
    Ok(Answer { status, headers, body: body.finish() })
}

/// Takes the head apart, checked and copied: as hyper gives it, each value holds on to the memory that
/// the beginning of the body lies in too, which could then not be wiped.
fn head(response: Response<Incoming>, limits: &Limits) -> Result<(StatusCode, HeaderMap, Incoming), SendError> {
    let (parts, incoming) = response.into_parts();
    if parts.status.is_informational() {
        return Err(SendError::Protocol("it switches protocols"));
    }
    if parts.version < Version::HTTP_2
        && let Some(encoding) = parts.headers.get(TRANSFER_ENCODING)
        && (!encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
            || parts.headers.get_all(TRANSFER_ENCODING).iter().count() > 1
            || parts.headers.contains_key(CONTENT_LENGTH))
    {
        // RFC 9112, 6.3: an answer that tells two lengths is how answers are smuggled.
        return Err(SendError::Protocol("its length is told in two ways, or in none that is known"));
    }
    let mut bytes = 0_usize;
    let mut headers = HeaderMap::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        // What a field takes on the wire of HTTP/1.1: a colon, a blank and a line's end.
        bytes = bytes.saturating_add(name.as_str().len()).saturating_add(value.len()).saturating_add(4);
        let copied = (HeaderName::from_bytes(name.as_str().as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
        let (Ok(name), Ok(value)) = copied else {
            return Err(SendError::Protocol("it has a header field that cannot be read"));
        };
        headers.append(name, value);
    }
    if bytes > limits.header_bytes.min(MAX_HEAD_BYTES) || headers.len() > MAX_FIELDS {
        return Err(SendError::HeadTooLarge);
    }
    Ok((parts.status, headers, incoming))
}

pub(super) fn soonest(deadline: Instant, at_most: Option<Duration>) -> Instant {
    at_most.and_then(|wait| Instant::now().checked_add(wait)).map_or(deadline, |until| until.min(deadline))
}

/// hyper's errors in our words. Theirs may repeat what the server sent.
fn explain(error: &hyper::Error) -> SendError {
    // hyper tells this apart by its words only, unless its server is built too. A test holds them.
    if error.is_parse() && error.to_string().contains("too large") {
        SendError::HeadTooLarge
    } else if error.is_parse_version_h2() {
        SendError::Protocol("it is HTTP/2, which was not asked for")
    } else if error.is_parse_status() {
        SendError::Protocol("its status is no HTTP status")
    } else if error.is_parse() {
        SendError::Protocol("it is no HTTP")
    } else {
        // Broken off by the server, by the network, or by an HTTP/2 error code.
        SendError::Closed
    }
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        Self { error, unanswered: false, unsent: false }
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outgoing({} with {} fields and {} bytes)", self.method, self.headers.len(), self.body.len())
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({} with {} fields and {} bytes)", self.status, self.headers.len(), self.body.len())
    }
}
