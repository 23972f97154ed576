//! The Key Vault door: the data plane of Azure Key Vault's secrets, as its clients know it, over any mount.
//!
//! Which vault a request is for, its `Host` tells; `[doors.key-vault]` says what stands behind it. Keys, certificates,
//! backup and restore are not offered, and refused as such. It must never answer as if a secret were not there
//! where it only may not be told.

mod answer;
mod request;
mod secrets;

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Uri};
use strongroom::{Failure, Kind};
use strongroom_core::config::listeners::Door;
use strongroom_core::policy::Identity;

use self::request::Asked;
use crate::doors::{Face, behind, path};
use crate::gate::Call;
use crate::listener::Peer;
use crate::state::House;

/// The door. It knows the config in force for its challenge.
struct KeyVault(Arc<House>);

impl Face for KeyVault {
    fn door(&self) -> Door {
        Door::KeyVault
    }

    fn given(&self, token: &str) -> Option<Identity> {
        self.0.run()?.at_vault(token)
    }

    fn refuse(&self, failure: &Failure) -> Response {
        answer::not_admitted(failure, &self.0.state().doors.challenge)
    }
}

/// What a vault has beside secrets.
const OTHERS: [&str; 7] =
    ["keys", "deletedkeys", "certificates", "deletedcertificates", "storage", "deletedstorage", "rng"];

pub(crate) fn router(house: &Arc<House>) -> Router {
    let mut routes = Router::new();
    for collection in ["secrets", "deletedsecrets"].into_iter().chain(OTHERS) {
        for path in [format!("/{collection}"), format!("/{collection}/"), format!("/{collection}/{{*rest}}")] {
            routes = routes.route(&path, any(serve));
        }
    }
    behind(routes, house, KeyVault(Arc::clone(house)))
}

async fn serve(
    Extension(call): Extension<Call>,
    Extension(peer): Extension<Arc<Peer>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // Microsoft's clients keep a value back until they were challenged: they send nothing first, and expect this.
    let held_back = matches!(method, Method::PUT | Method::PATCH) && body.is_end_stream();
    if held_back && !headers.contains_key(AUTHORIZATION) {
        let failure = Failure::new(Kind::Unauthenticated, "caller.unknown", "a token is needed here");
        return answer::not_admitted(&failure, &call.doors().challenge);
    }
    match answer(&call, &peer, &method, &uri, &headers, body).await {
        Ok(response) => response,
        Err(failure) => answer::failure(&failure),
    }
}

async fn answer(
    call: &Call,
    peer: &Peer,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let asked = Asked::read(call, peer, uri, headers)?;
    let parts = path::parts(uri.path())?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let collection = parts.first().copied().unwrap_or_default();
    if OTHERS.contains(&collection) {
        return Err(not_offered("keys, certificates and storage accounts are not offered here: secrets alone"));
    }
    match (method.as_str(), parts.as_slice()) {
        (_, ["secrets", "restore"] | ["secrets", _, "backup"]) if method == Method::POST => {
            Err(not_offered("backup and restore are not offered here"))
        }
        ("GET", ["secrets"]) => secrets::list(&asked, false).await,
        ("GET", ["secrets", name, "versions"]) => secrets::versions(&asked, name).await,
        ("GET", ["secrets", name]) => secrets::get(&asked, name, None).await,
        ("GET", ["secrets", name, version]) => secrets::get(&asked, name, Some(version)).await,
        ("PUT", ["secrets", name]) => secrets::set(&asked, name, headers, body).await,
        ("PATCH", ["secrets", name]) => secrets::update(&asked, name, None, headers, body).await,
        ("PATCH", ["secrets", name, version]) => secrets::update(&asked, name, Some(version), headers, body).await,
        ("DELETE", ["secrets", name]) => secrets::delete(&asked, name).await,
        ("GET", ["deletedsecrets"]) => secrets::list(&asked, true).await,
        ("GET", ["deletedsecrets", name]) => secrets::deleted(&asked, name).await,
        ("POST", ["deletedsecrets", name, "recover"]) => secrets::recover(&asked, name).await,
        ("DELETE", ["deletedsecrets", name]) => secrets::purge(&asked, name).await,
        (
            _,
            ["secrets" | "deletedsecrets"]
            | ["secrets" | "deletedsecrets", _]
            | ["secrets", _, _]
            | ["deletedsecrets", _, "recover"],
        ) => Err(Failure::new(Kind::Unsupported, "request.method", "that path is not served with this method")),
        _ => Err(Failure::new(Kind::InvalidReference, "request.path", "the request URI is none of a vault's secrets")),
    }
}

fn not_offered(message: &'static str) -> Failure {
    Failure::new(Kind::Unsupported, "keyvault.not-offered", message)
}
