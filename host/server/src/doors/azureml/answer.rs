//! What the door answers: failures in the envelope of Azure ML's own services.

use axum::response::Response;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use strongroom::{Failure, Kind};

use crate::doors::answer;

/// Status, and the code that says what is wrong.
fn shape(failure: &Failure) -> (u16, &'static str) {
    let http = failure.kind().meaning().http;
    match failure.code() {
        "azureml.workspace" => return (404, "WorkspaceNotFound"),
        "azureml.path" => return (404, "NotFound"),
        "SecretDisabled" | "keys.disabled" => return (403, "SecretDisabled"),
        "request.method" => return (405, "MethodNotAllowed"),
        "request.too-large" => return (413, "RequestTooLarge"),
        "request.head" => return (431, "RequestHeaderFieldsTooLarge"),
        "request.slow" => return (408, "RequestTimeout"),
        "request.content-type" => return (415, "UnsupportedMediaType"),
        _ => {}
    }
    match failure.kind() {
        Kind::InvalidReference | Kind::InvalidConfig => (http, "BadArgument"),
        Kind::NotFound | Kind::UnknownMount => (http, "SecretNotFound"),
        Kind::PolicyDenied | Kind::Denied => (http, "Forbidden"),
        // The client's token was good; with a 401 it would get another one.
        Kind::Unauthenticated | Kind::NotConfigured => (502, "BadGateway"),
        Kind::Conflict => (http, "Conflict"),
        Kind::Unsupported => (http, "NotSupported"),
        Kind::Throttled => (http, "TooManyRequests"),
        Kind::Unavailable => (http, "ServiceUnavailable"),
        Kind::Deadline => (http, "GatewayTimeout"),
        Kind::LimitExceeded | Kind::Trapped | Kind::Protocol => (http, "BadGateway"),
        Kind::Integrity | Kind::Internal => (http, "InternalServerError"),
    }
}

pub(super) fn failure(failure: &Failure) -> Response {
    let (status, code) = shape(failure);
    shaped(status, code, failure)
}

fn shaped(status: u16, code: &str, failure: &Failure) -> Response {
    let message = failure.message().as_str();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let whose = if status.is_server_error() { "ServiceError" } else { "UserError" };
    let document = json!({
        "error": {
            "code": whose, "severity": null, "message": message, "messageFormat": message, "messageParameters": {},
            "referenceCode": null, "detailsUri": null, "target": null, "details": [],
            "innerError": { "code": code, "innerError": null }, "debugInfo": null,
        },
        "correlation": null, "environment": null, "location": null, "time": null, "componentName": "credential",
    });
    let mut response = answer::json(status, &document);
    if let Some(wait) = failure.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.div_ceil(1000)));
    }
    response
}

/// Somebody who is not let in.
pub(super) fn not_admitted(refused: &Failure) -> Response {
    if refused.kind() != Kind::Unauthenticated {
        return failure(refused);
    }
    let mut response = shaped(401, "Unauthorized", refused);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
