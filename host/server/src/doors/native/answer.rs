//! What the door answers: JSON, and failures in one shape.

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde::{Serialize, Serializer};
use strongroom::{Failure, Kind, Secret, Text};
use strongroom_core::secret::Metadata;

pub(super) use crate::doors::answer::{is_stale, json, mark_stale};

/// A secret.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    /// Of a value that is no UTF-8 text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<zeroize::Zeroizing<String>>,
    #[serde(flatten)]
    known: Known<'a>,
}

/// What is known of a secret.
#[derive(Serialize)]
pub(super) struct Known<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

/// A failure.
#[derive(Serialize)]
pub(super) struct Failed<'a> {
    kind: &'static str,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    help: Vec<&'a str>,
    retry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// What the plugin tells of it for programs.
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
}

impl<'a> Shown<'a> {
    pub(super) fn of(reference: String, secret: &'a Secret) -> Self {
        let value = secret.expose_text();
        let value_base64 = value.is_none().then(|| zeroize::Zeroizing::new(STANDARD.encode(secret.expose())));
        Self { reference, value, value_base64, known: Known::of(&secret.metadata) }
    }
}

impl<'a> Known<'a> {
    pub(super) fn of(metadata: &'a Metadata) -> Self {
        Self {
            version: metadata.version.as_ref().map(Text::as_str),
            content_type: metadata.content_type.as_ref().map(Text::as_str),
            expires_at: metadata.expires_at,
            attributes: attributes(&metadata.attributes),
            stale: is_stale(metadata),
        }
    }
}

/// Open data, without what is the host's own: sorted, and of two of one key the last.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Attributes<'a>(#[serde(serialize_with = "as_map")] Vec<(&'a str, &'a str)>);

fn as_map<S: Serializer>(all: &[(&str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(all.iter().copied())
}

impl Attributes<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(super) fn attributes(all: &[(Text, Text)]) -> Attributes<'_> {
    let own = |key: &str| key == strongroom::STALE || key == strongroom::KEPT;
    let mut attributes: Vec<(&str, &str)> = Vec::with_capacity(all.len());
    for (key, value) in all.iter().map(|(key, value)| (key.as_str(), value.as_str())).filter(|(key, _)| !own(key)) {
        match attributes.binary_search_by_key(&key, |(key, _)| key) {
            Ok(at) => attributes.splice(at..=at, [(key, value)]).for_each(drop),
            Err(at) => attributes.insert(at, (key, value)),
        }
    }
    Attributes(attributes)
}

impl<'a> Failed<'a> {
    pub(super) fn of(failure: &'a Failure) -> Self {
        Self {
            kind: failure.kind().name(),
            code: failure.code(),
            message: failure.message().as_str(),
            help: failure.helps().iter().map(Text::as_str).collect(),
            retry: failure.kind().meaning().retry,
            retry_after_ms: failure.retry_after(),
            mount: failure.mount().map(strongroom_core::Name::as_str),
            plugin: failure.plugin().map(Text::as_str),
            reference: failure.subject().map(Text::as_str),
            attributes: attributes(failure.attributes()),
        }
    }
}

/// The status of the one table, but where HTTP has a better word for what is wrong with a request.
fn status_of(failure: &Failure) -> StatusCode {
    let status = match failure.code() {
        "request.too-large" | "request.too-many" => 413,
        "request.head" => 431,
        "request.slow" => 408,
        "request.content-type" => 415,
        _ => failure.kind().meaning().http,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A failure on its way out of a handler.
pub(super) struct Refused(Failure);

/// What handlers give.
pub(super) type Answered = Result<Response, Refused>;

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        failure(&self.0)
    }
}

pub(super) fn failure(failure: &Failure) -> Response {
    with_status(status_of(failure), failure)
}

pub(super) fn with_status(status: StatusCode, failure: &Failure) -> Response {
    let mut response = json(status, &serde_json::json!({ "failure": Failed::of(failure) }));
    let headers = response.headers_mut();
    if let Some(wait) = failure.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.div_ceil(1000)));
    }
    if failure.kind() == Kind::Unauthenticated && status == StatusCode::UNAUTHORIZED {
        headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
