//! What is common to the answers of all doors: JSON, and the word that a value may be old.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use strongroom_core::secret::Metadata;

use crate::doors::STALE;

/// A document, or a bare 500 if it cannot be written.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response {
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

/// Whether a value was served because its backend could not be asked.
pub(crate) fn is_stale(metadata: &Metadata) -> bool {
    metadata.attributes.iter().any(|(key, _)| key.as_str() == strongroom::STALE)
}

/// Says in a header, too, that a value may be older than its backend's.
pub(crate) fn mark_stale(response: &mut Response) {
    response.headers_mut().insert(STALE, HeaderValue::from_static("true"));
}
