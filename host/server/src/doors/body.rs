//! Bodies of requests: of a size, in a time, and in one meaning.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use strongroom::{Failure, Kind};

/// The largest body, in bytes: the largest value, in base64, and what is around it.
pub(crate) const MAX_BYTES: usize = 2 << 20;

/// How long a client may take to send a body.
const TIME: Duration = Duration::from_secs(20);

/// Reads a whole body.
///
/// # Errors
/// `request.too-large`, `request.slow`, `request.broken`.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
    let too_large = || Failure::new(Kind::LimitExceeded, "request.too-large", "the body is larger than 2 MiB");
    // A client that says so need not send it.
    let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|told| told > MAX_BYTES as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(TIME, Limited::new(body, MAX_BYTES).collect()).await {
        Err(_) => Err(Failure::new(Kind::Deadline, "request.slow", "the body did not come in time")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Failure::new(Kind::InvalidReference, "request.broken", "the body ended too early")),
    }
}

/// Reads a body as JSON.
///
/// # Errors
/// As [`read`]; `request.content-type`; `request.json` with the line and column, and nothing of the body.
pub(crate) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Failure> {
    let essence = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let message = "the body must be application/json, and its Content-Type must say so";
        return Err(Failure::new(Kind::InvalidReference, "request.content-type", message));
    }
    parse(&read(headers, body).await?)
}

/// Reads JSON.
///
/// # Errors
/// `request.json`, as [`json`].
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        // Its own words may hold what it read.
        let what = match error.classify() {
            serde_json::error::Category::Data => "does not have the fields that it must have, and only those",
            _ => "is no JSON text",
        };
        let message = format!("the body {what} (line {}, column {})", error.line(), error.column());
        Failure::new(Kind::InvalidReference, "request.json", message)
    })
}
