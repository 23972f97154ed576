//! Changing: values, what is known of them, and their end.

use std::collections::BTreeMap;

use axum::Extension;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use strongroom::{Failure, Kind, Receipt, Text, Value};
use zeroize::Zeroizing;

use super::answer::{self, Answered};
use super::read::reference;
use crate::doors::body;
use crate::gate::{Call, Change};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewValue {
    value: Option<Zeroizing<String>>,
    value_base64: Option<Zeroizing<String>>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    expected: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAttributes {
    attributes: BTreeMap<String, String>,
}

fn shown(receipt: &Receipt) -> Response {
    let document = json!({
        "version": receipt.version.as_ref().map(Text::as_str),
        "attributes": answer::attributes(&receipt.attributes),
    });
    answer::json(StatusCode::OK, &document)
}

/// Whether a body of that type is the value itself: bytes, or text that is stored as it comes, and so must be UTF-8.
fn is_the_value(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset = |part: &str| part.get(..8).is_some_and(|name| name.eq_ignore_ascii_case("charset="));
    let utf8 = |part: &str| {
        part.get(8..)
            .is_some_and(|set| ["utf-8", "us-ascii"].iter().any(|one| set.trim_matches('"').eq_ignore_ascii_case(one)))
    };
    ["application/octet-stream", "text/plain"].iter().any(|one| essence.eq_ignore_ascii_case(one))
        && parts.all(|part| !charset(part) || utf8(part))
}

/// The value of a body: the very bytes, or JSON with what is to be known of them.
async fn change(headers: &HeaderMap, body: Body) -> Result<Change, Failure> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_the_value(content_type) {
        let bytes = body::read(headers, body).await?;
        return Ok(Change::Set { value: Value::from_bytes(bytes.to_vec()), attributes: Vec::new(), expected: None });
    }
    let new: NewValue = body::json(headers, body).await?;
    let value = match (new.value, new.value_base64) {
        (Some(mut text), None) => Value::text(std::mem::take(&mut *text)),
        (None, Some(encoded)) => match STANDARD.decode(encoded.as_bytes()) {
            Ok(bytes) => Value::from_bytes(bytes),
            Err(_) => {
                let message = "`value_base64` is no base64 of RFC 4648, section 4, with its padding";
                return Err(Failure::new(Kind::InvalidReference, "request.json", message));
            }
        },
        _ => {
            let message = "the body must have `value` or `value_base64`, and not both";
            return Err(Failure::new(Kind::InvalidReference, "request.json", message));
        }
    };
    Ok(Change::Set { value, attributes: new.attributes.into_iter().collect(), expected: new.expected })
}

pub(super) async fn set(
    Extension(call): Extension<Call>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let reference = reference(&call, query.as_deref())?;
    let change = change(&headers, body).await?;
    Ok(shown(&call.change(&reference, change).await?))
}

pub(super) async fn annotate(
    Extension(call): Extension<Call>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let reference = reference(&call, query.as_deref())?;
    let NewAttributes { attributes } = body::json(&headers, body).await?;
    let change = Change::Annotate { attributes: attributes.into_iter().collect() };
    Ok(shown(&call.change(&reference, change).await?))
}

async fn plain(call: &Call, query: Option<&str>, change: Change) -> Answered {
    let reference = reference(call, query)?;
    Ok(shown(&call.change(&reference, change).await?))
}

pub(super) async fn delete(Extension(call): Extension<Call>, RawQuery(query): RawQuery) -> Answered {
    plain(&call, query.as_deref(), Change::Delete).await
}

pub(super) async fn recover(Extension(call): Extension<Call>, RawQuery(query): RawQuery) -> Answered {
    plain(&call, query.as_deref(), Change::Recover).await
}

pub(super) async fn purge(Extension(call): Extension<Call>, RawQuery(query): RawQuery) -> Answered {
    plain(&call, query.as_deref(), Change::Purge).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_value_if_it_is_utf8() {
        for (content_type, is) in [
            ("text/plain", true),
            ("Text/Plain;charset=UTF-8", true),
            ("text/plain; charset=\"utf-8\"; format=flowed", true),
            ("application/octet-stream", true),
            ("text/plain; charset=utf-16", false),
            ("text/plain; charset=", false),
            ("text/html", false),
            ("", false),
        ] {
            assert_eq!(is_the_value(content_type), is, "{content_type}");
        }
    }
}
