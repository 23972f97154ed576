//! What the host itself fetches and hands in: documents that its own config names, such as an issuer's keys, and the
//! spans of its own requests.
//!
//! No guest has any part in it, and no credential goes along. It must never ask anything but the one
//! address it is given: no redirect is followed, and nothing of the answer says where to go next.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use strongroom_core::{Digest, Failure, Kind, Network, Origin};
use zeroize::Zeroizing;

use crate::Unsent;
use crate::net::{Cas, Client, Destination, Limits, MAX_HEAD_BYTES, Outgoing};

/// The largest document, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// The largest answer to what is handed in, in bytes: it says that it came.
pub const MAX_RECEIPT_BYTES: usize = 16 * 1024;

/// How long a fetch may take, all of it.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Whose connections these are: never those of a mount.
const FETCHED: &str = "strongroom: what the host itself fetches";
const HANDED_IN: &str = "strongroom: what the host itself hands in";

/// Gets the document at `target`, a path and query, of `origin`, which is https and in `network`. Whoever answers must
/// have a certificate of the system's authorities or of `cas`, where they count for the host.
///
/// # Errors
/// What kept it from coming: `policy-denied` for an address outside `network`, `unavailable` for any status but
/// 200, `limit-exceeded` for more than [`MAX_BYTES`], `deadline` after `deadline`.
pub async fn document(
    client: &Client,
    origin: &Origin,
    target: &str,
    network: &Network,
    cas: Cas,
    deadline: Instant,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !origin.secure {
        return Err(wrong("a document is fetched over https alone"));
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/jwk-set+json"));
    let asked = (Method::GET, headers, Bytes::new());
    ask(client, (origin, target, network), cas, FETCHED, asked, MAX_BYTES, deadline).await
}

/// Posts `body`, JSON, to `target`, a path and query, of `origin` in `network`, and gives the answer's body. Whoever answers
/// over https is known as with [`document`].
///
/// # Errors
/// As [`document`], but for its limit: [`MAX_RECEIPT_BYTES`].
pub async fn hand_in(
    client: &Client,
    origin: &Origin,
    target: &str,
    network: &Network,
    cas: Cas,
    body: Bytes,
    deadline: Instant,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let asked = (Method::POST, headers, body);
    ask(client, (origin, target, network), cas, HANDED_IN, asked, MAX_RECEIPT_BYTES, deadline).await
}

fn wrong(why: &'static str) -> Failure {
    Failure::new(Kind::InvalidConfig, "fetch.address", why)
}

/// One request, and the body of its answer.
async fn ask(
    client: &Client,
    (origin, target, network): (&Origin, &str, &Network),
    cas: Cas,
    partition: &str,
    (method, mut headers, body): (Method, HeaderMap, Bytes),
    body_bytes: usize,
    deadline: Instant,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let path_and_query = PathAndQuery::try_from(target).map_err(|_| wrong("a document's path is not one of a URL"))?;
    let to = Destination {
        secure: origin.secure,
        host: origin.host.to_string().into(),
        port: origin.port,
        network: network.clone(),
        http2: false,
        partition: *Digest::of(partition.as_bytes()).as_bytes(),
        cas,
    };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let outgoing = Outgoing { method, path_and_query, headers, body };
    let limits = Limits {
        deadline: deadline.into(),
        connect: None,
        first_byte: None,
        between_bytes: None,
        header_bytes: MAX_HEAD_BYTES,
        body_bytes,
    };
    let answer = client.exchange(&to, outgoing, &limits).await.map_err(|error| Unsent::Failed(error).failure())?;
    let refused = |why: String| Failure::new(Kind::Unavailable, "fetch.answer", format!("{} {why}", to.authority()));
    if answer.status != StatusCode::OK {
        return Err(refused(format!("answered with the status {}", answer.status.as_u16())));
    }
    if answer.headers.get_all(CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
        return Err(refused("encoded its answer, which was not asked for".to_owned()));
    }
    Ok(answer.body)
}
