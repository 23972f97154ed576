//! What the door answers: Key Vault's bundles, and failures in its shape.

use std::collections::BTreeMap;

use axum::response::Response;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use strongroom::{Failure, Kind, Text};

use crate::doors::answer;

/// What is known of a secret, as Key Vault tells it. Times are in seconds since the Unix epoch.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct About<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<&'a str, &'a str>,
    pub(super) attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    managed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted_date: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scheduled_purge_date: Option<u64>,
    #[serde(skip)]
    pub(super) state: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attributes<'a> {
    pub(super) enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_level: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recoverable_days: Option<u32>,
}

impl Default for Attributes<'_> {
    fn default() -> Self {
        Self {
            enabled: true,
            nbf: None,
            exp: None,
            created: None,
            updated: None,
            recovery_level: None,
            recoverable_days: None,
        }
    }
}

impl<'a> About<'a> {
    /// What a mount's plugin says.
    pub(super) fn of(said: &'a [(Text, Text)]) -> Self {
        let mut about = Self::default();
        for (key, text) in said {
            let text = text.as_str();
            let attributes = &mut about.attributes;
            match key.as_str() {
                "content-type" => about.content_type = Some(text),
                "enabled" => attributes.enabled = text != "false",
                "not-before" => attributes.nbf = text.parse().ok(),
                "expires" => attributes.exp = text.parse().ok(),
                "created" => attributes.created = text.parse().ok(),
                "updated" => attributes.updated = text.parse().ok(),
                "recovery-level" => attributes.recovery_level = Some(text),
                "recoverable-days" => attributes.recoverable_days = text.parse().ok(),
                "managed" => about.managed = (text == "true").then_some(true),
                "deleted" => about.deleted_date = text.parse().ok(),
                "scheduled-purge" => about.scheduled_purge_date = text.parse().ok(),
                "state" => about.state = Some(text),
                key => {
                    if let Some(tag) = key.strip_prefix("tags.") {
                        about.tags.insert(tag, text);
                    }
                }
            }
        }
        if about.state == Some("disabled") {
            about.attributes.enabled = false;
        }
        if about.is_recoverable() && about.attributes.recovery_level.is_none() {
            about.attributes.recovery_level = Some("Recoverable+Purgeable");
        }
        about
    }

    /// Whether it is deleted and can come back.
    pub(super) fn is_recoverable(&self) -> bool {
        self.deleted_date.is_some() || self.scheduled_purge_date.is_some()
    }

    /// Whether a list shows it: what is deleted or destroyed is not there for a client of a vault.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.state, Some("deleted" | "destroyed"))
    }
}

/// A secret, an entry of a list, or a deleted secret. They differ in what they lack.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bundle<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<&'a str>,
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recovery_id: Option<String>,
    #[serde(flatten)]
    pub(super) about: About<'a>,
}

impl<'a> Bundle<'a> {
    pub(super) fn new(id: String, about: About<'a>) -> Self {
        Self { value: None, id, recovery_id: None, about }
    }
}

pub(super) fn bundle(bundle: &Bundle<'_>) -> Response {
    answer::json(StatusCode::OK, bundle)
}

/// A page of a list.
pub(super) fn page(entries: &[Bundle<'_>], next: Option<String>) -> Response {
    answer::json(StatusCode::OK, &json!({ "value": entries, "nextLink": next }))
}

pub(super) fn nothing() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Status, code, and the code within it.
fn shape(failure: &Failure) -> (u16, &'static str, Option<&'static str>) {
    let http = failure.kind().meaning().http;
    match failure.code() {
        "SecretDisabled" | "keys.disabled" => return (403, "Forbidden", Some("SecretDisabled")),
        "ObjectIsDeletedButRecoverable" | "keys.name-taken" => {
            return (409, "Conflict", Some("ObjectIsDeletedButRecoverable"));
        }
        "keyvault.vault" => return (404, "VaultNotFound", None),
        "request.method" => return (405, "NotSupported", None),
        "request.too-large" => return (413, "BadParameter", None),
        "request.head" => return (431, "BadParameter", None),
        "request.slow" => return (408, "RequestTimeout", None),
        "request.content-type" => return (415, "BadParameter", None),
        _ => {}
    }
    match failure.kind() {
        Kind::InvalidReference | Kind::InvalidConfig => (http, "BadParameter", None),
        Kind::NotFound | Kind::UnknownMount => (http, "SecretNotFound", None),
        Kind::PolicyDenied => (http, "Forbidden", Some("ForbiddenByPolicy")),
        Kind::Denied => (http, "Forbidden", Some("AccessDenied")),
        // The client's token was good; with a 401 it would get another one.
        Kind::Unauthenticated | Kind::NotConfigured => (502, "BadGateway", None),
        Kind::Conflict => (http, "Conflict", None),
        Kind::Unsupported => (http, "NotSupported", None),
        Kind::Throttled => (http, "Throttled", None),
        Kind::Unavailable => (http, "ServiceUnavailable", None),
        Kind::Deadline => (http, "GatewayTimeout", None),
        Kind::LimitExceeded | Kind::Trapped | Kind::Protocol => (http, "BadGateway", None),
        Kind::Integrity | Kind::Internal => (http, "InternalServerError", None),
    }
}

pub(super) fn failure(failure: &Failure) -> Response {
    let (status, code, inner) = shape(failure);
    shaped(status, code, inner, failure)
}

fn shaped(status: u16, code: &str, inner: Option<&str>, failure: &Failure) -> Response {
    let mut error = json!({ "code": code, "message": failure.message().as_str() });
    if let (Some(inner), Some(error)) = (inner, error.as_object_mut()) {
        error.insert("innererror".to_owned(), json!({ "code": inner }));
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer::json(status, &json!({ "error": error }));
    if let Some(wait) = failure.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.div_ceil(1000)));
    }
    response
}

/// Somebody who is not let in: who has no good token is told where to get one.
pub(super) fn not_admitted(refused: &Failure, challenge: &HeaderValue) -> Response {
    if refused.kind() != Kind::Unauthenticated {
        return failure(refused);
    }
    let message = match refused.code() {
        "caller.unknown" => "AKV10000: Request is missing a Bearer or PoP token.",
        _ => "AKV10001: Error validating token.",
    };
    let told = Failure::new(Kind::Unauthenticated, "caller.token", message);
    let mut response = shaped(401, "Unauthorized", None, &told);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
    response
}
