//! What a job asks about itself before it asks for secrets: where the services are, its run, its token.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::response::Response;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use strongroom::{Failure, Kind};
use strongroom_core::audit::rfc3339;

use super::answer;
use crate::doors::answer::json as document;
use crate::doors::bearer;
use crate::identify::end_of;
use crate::listener::Peer;

/// What Azure ML calls its services.
const SERVICES: [&str; 9] = [
    "api",
    "catalog",
    "experimentation",
    "history",
    "hyperdrive",
    "labeling",
    "modelmanagement",
    "pipelines",
    "studio",
];

/// Where the services are: where the client asked this.
pub(super) async fn discovery(Extension(peer): Extension<Arc<Peer>>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let Some(host) = host.filter(|host| !host.as_str().contains('@')) else {
        let failure = Failure::new(Kind::InvalidReference, "request.host", "the Host is none");
        return answer::failure(&failure);
    };
    let scheme = if matches!(*peer, Peer::Loopback | Peer::Unix { .. }) { "http" } else { "https" };
    let here = format!("{scheme}://{host}");
    // The SDK wants each to be there, whatever it asks for.
    let map: serde_json::Map<_, _> = SERVICES.map(|service| (service.to_owned(), json!(here))).into_iter().collect();
    document(StatusCode::OK, &map)
}

/// A run, as far as `Run.get_context()` wants to know it. Nothing is known of it but what was asked.
pub(super) fn record(experiment: &str, run: &str) -> Response {
    let record = json!({
        "runNumber": 1, "rootRunId": run, "runId": run, "experimentId": experiment, "status": "Running",
        "runType": "azureml.scriptrun", "parentRunId": null, "tags": {}, "properties": {}, "hidden": false,
    });
    document(StatusCode::OK, &record)
}

/// The token that the caller has shown, once more: whoever gave it out gives the next one, too.
pub(super) fn token(headers: &HeaderMap) -> Result<Response, Failure> {
    let token = bearer(headers).unwrap_or_default();
    let end = end_of(token).filter(|_| !token.is_empty()).ok_or_else(|| {
        let message = "a run's token is one that says when it ends: a JWT";
        Failure::new(Kind::Unsupported, "azureml.token", message)
    })?;
    Ok(document(StatusCode::OK, &json!({ "token": token, "expiryTimeUtc": time(Some(end)) })))
}

/// A time of a plugin, in seconds since the Unix epoch, as the service writes it; by default now.
pub(super) fn time(told: Option<u64>) -> String {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut text = Vec::new();
    rfc3339(&mut text, told.map_or_else(now, Duration::from_secs));
    String::from_utf8(text).unwrap_or_default()
}
