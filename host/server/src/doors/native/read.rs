//! Reading: values, what is known of them, names.

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, Request};
use axum::response::Response;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom::elsewhere::Basis;
use strongroom::{Failure, Kind, Page, Reference};

use super::answer::{self, Answered, Failed, Known, Shown};
use crate::doors::body;
use crate::doors::query::Query;
use crate::gate::Call;

/// The most references of one request.
const MAX_REFERENCES: usize = 1024;

/// What to accept, alone, to get a value's very bytes.
const RAW: [&[u8]; 2] = [b"application/octet-stream", b"text/plain"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    references: Vec<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    Secret(Shown<'a>),
    Failed { reference: &'a str, failure: Failed<'a> },
}

fn unanswered() -> Failure {
    Failure::new(Kind::Internal, "resolve.unanswered", "there was no answer")
}

/// The reference that the query names.
pub(super) fn reference(call: &Call, query: Option<&str>) -> Result<Reference, Failure> {
    call.parse(Query::parse(query, &["reference"])?.need("reference")?)
}

/// Many references at once: an answer or a failure for each, in order.
pub(super) async fn resolve(
    Extension(call): Extension<Call>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    Query::parse(query.as_deref(), &[])?;
    let wanted: Wanted = body::json(&headers, body).await?;
    if wanted.references.len() > MAX_REFERENCES {
        let message = format!("there are more than {MAX_REFERENCES} references");
        return Err(Failure::new(Kind::LimitExceeded, "request.too-many", message).into());
    }
    let parsed: Vec<Result<Reference, Failure>> = wanted.references.iter().map(|text| call.parse(text)).collect();
    let good: Vec<Reference> = parsed.iter().filter_map(|parsed| parsed.as_ref().ok().cloned()).collect();
    let mut answers = call.resolve(&good).await.into_iter();
    let results: Vec<_> = parsed
        .into_iter()
        .map(|parsed| match parsed {
            Ok(reference) => answers.next().unwrap_or_else(|| Err(unanswered())).map(|secret| (reference, secret)),
            Err(failure) => Err(failure),
        })
        .collect();
    let shown: Vec<Answer<'_>> = results
        .iter()
        .zip(&wanted.references)
        .map(|(result, written)| match result {
            Ok((reference, secret)) => Answer::Secret(Shown::of(reference.to_string(), secret)),
            Err(failure) => Answer::Failed { reference: written, failure: Failed::of(failure) },
        })
        .collect();
    Ok(answer::json(StatusCode::OK, &json!({ "results": shown })))
}

/// One value: JSON, or its very bytes for whoever accepts nothing but those.
pub(super) fn secret(Extension(call): Extension<Call>, request: Request) -> impl Future<Output = Answered> + Send {
    // The request itself is not kept while its answer is sought.
    let reference = reference(&call, request.uri().query());
    let raw = request.headers().get(ACCEPT).filter(|accept| RAW.contains(&accept.as_bytes())).cloned();
    async move { secret_as(&call, &reference?, raw).await }
}

/// `raw`: the media type to answer the very bytes with.
async fn secret_as(call: &Call, reference: &Reference, raw: Option<HeaderValue>) -> Answered {
    let secret = call.resolve_one(reference).await?;
    let mut response = match raw {
        Some(raw) => {
            let mut response = Response::new(Body::from(secret.expose().to_vec()));
            response.headers_mut().insert(CONTENT_TYPE, raw);
            response
        }
        None => answer::json(StatusCode::OK, &Shown::of(reference.written().0, &secret)),
    };
    if answer::is_stale(&secret.metadata) {
        answer::mark_stale(&mut response);
    }
    Ok(response)
}

pub(super) async fn metadata(Extension(call): Extension<Call>, RawQuery(query): RawQuery) -> Answered {
    let reference = reference(&call, query.as_deref())?;
    Ok(answer::json(StatusCode::OK, &Known::of(&call.metadata(&reference).await?)))
}

/// A page of names as JSON.
fn shown(page: &Page, what: &str) -> Response {
    let entries: Vec<_> = page
        .entries
        .iter()
        .map(|entry| json!({ "name": entry.name, "attributes": answer::attributes(&entry.attributes) }))
        .collect();
    answer::json(StatusCode::OK, &json!({ what: entries }))
}

pub(super) async fn versions(Extension(call): Extension<Call>, RawQuery(query): RawQuery) -> Answered {
    let reference = reference(&call, query.as_deref())?;
    Ok(shown(&call.versions(&reference).await?, "versions"))
}

pub(super) async fn names(Extension(call): Extension<Call>, RawQuery(query): RawQuery) -> Answered {
    let query = Query::parse(query.as_deref(), &["scope", "deleted"])?;
    let scope = call.parse_scope(query.need("scope")?)?;
    Ok(shown(&call.list(&scope, query.flag("deleted")?).await?, "names"))
}

pub(super) async fn explain(Extension(call): Extension<Call>, RawQuery(query): RawQuery) -> Answered {
    let reference = reference(&call, query.as_deref())?;
    Ok(answer::json(StatusCode::OK, &call.explain(&reference)?))
}

pub(super) async fn plugins(Extension(call): Extension<Call>, RawQuery(query): RawQuery) -> Answered {
    Query::parse(query.as_deref(), &[])?;
    Ok(answer::json(StatusCode::OK, &json!({ "mounts": call.plugins()? })))
}

/// What the server is, for its owner's own command line: it is asked only if both have read the same config.
pub(super) async fn server(Extension(call): Extension<Call>, RawQuery(query): RawQuery) -> Answered {
    Query::parse(query.as_deref(), &[])?;
    #[derive(Serialize)]
    struct Server<'a> {
        version: &'static str,
        #[serde(flatten)]
        basis: &'a Basis,
    }
    let server = Server { version: env!("CARGO_PKG_VERSION"), basis: call.basis()? };
    Ok(answer::json(StatusCode::OK, &server))
}
