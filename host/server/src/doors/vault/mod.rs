//! The KV version 2 engine of HashiCorp Vault and OpenBao, below `/v1`, for clients that know nothing else.
//!
//! A mount of this door is a scope of Strongroom's, and the path below it the reference's own. `docs/doors/vault.md` says what
//! is offered. What is not is refused in words, never as a secret that is not there.

mod answer;
mod data;
mod history;
mod metadata;
mod place;
mod sessions;
mod system;
mod token;
mod value;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use serde_json::json;
use strongroom::Failure;
use strongroom_core::config::listeners::Door;
use strongroom_core::policy::Identity;

use self::answer::{Answered, Refused, bad, not_offered, wrong_method};
use self::data::Fate;
use self::place::Found;
pub(crate) use self::place::Mounts;
pub(crate) use self::sessions::Sessions;
use crate::doors::{Face, bearer, behind, in_the_open};
use crate::gate::Call;
use crate::state::House;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const WRAP: HeaderName = HeaderName::from_static("x-vault-wrap-ttl");

/// The door.
struct Vault(Arc<Sessions>);

impl Face for Vault {
    fn door(&self) -> Door {
        Door::Vault
    }

    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        token_of(headers)
    }

    fn given(&self, token: &str) -> Option<Identity> {
        self.0.of(token).map(|session| session.identity)
    }

    fn refuse(&self, failure: &Failure) -> Response {
        answer::refuse(failure)
    }
}

/// The token of a request: in Vault's own header, or in everybody's. Of two that differ neither is good.
fn token_of(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(TOKEN).iter();
    let Some(token) = all.next() else {
        return headers.contains_key(header::AUTHORIZATION).then(|| bearer(headers).unwrap_or_default());
    };
    let token = token.to_str().unwrap_or_default();
    // What is no token at all may be meant for whoever is in between.
    let other = |value: &http::HeaderValue| {
        value.to_str().is_ok_and(|text| text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")))
    };
    let differs = headers.get_all(header::AUTHORIZATION).iter().any(other) && bearer(headers) != Some(token);
    Some(if all.next().is_some() || differs { "" } else { token })
}

pub(crate) fn router(house: &Arc<House>) -> Router {
    let routes = Router::new().route("/v1/{*path}", any(handle)).with_state(Arc::clone(house));
    // Whoever watches the server need not be a caller, and learns nothing but that it runs; and a login makes one.
    let open = Router::new()
        .route("/v1/sys/health", any(system::health))
        .route("/v1/sys/seal-status", any(system::seal_status))
        .route("/v1/sys/leader", any(system::leader))
        .route("/v1/sys/init", any(system::initialized))
        .route("/v1/auth/jwt/login", any(token::login))
        .route("/v1/auth/kubernetes/login", any(token::login))
        .route("/v1/auth/approle/login", any(token::login))
        .with_state(Arc::clone(house));
    behind(routes, house, Vault(Arc::clone(house.sessions()))).merge(in_the_open(open, answer::refuse))
}

/// What no request may ask for here, whatever its path.
fn check_headers(headers: &HeaderMap, mounts: Option<&Mounts>) -> Result<(), Refused> {
    // Whoever asks for a wrapped answer wants nobody on the way to see the value.
    if headers.contains_key(WRAP) {
        return Err(not_offered("response wrapping"));
    }
    let mounts = mounts.ok_or_else(token::no_mounts)?;
    for namespace in headers.get_all(NAMESPACE) {
        if !namespace.to_str().is_ok_and(|namespace| mounts.has_namespace(namespace)) {
            return Err(Refused::Said(StatusCode::NOT_FOUND, "namespace not found".to_owned()));
        }
    }
    Ok(())
}

async fn handle(State(house): State<Arc<House>>, Extension(call): Extension<Call>, request: Request<Body>) -> Answered {
    let (head, body) = request.into_parts();
    let (method, headers, query) = (&head.method, &head.headers, head.uri.query());
    check_headers(headers, call.vault())?;
    let mounts = call.vault().ok_or_else(token::no_mounts)?;
    let words = place::words(head.uri.path().strip_prefix("/v1/").unwrap_or_default())?;
    let plain: Vec<&str> = words.iter().map(String::as_str).collect();
    match plain.as_slice() {
        ["sys", rest @ ..] => return system::handle(&call, mounts, method, rest, headers, body).await,
        ["auth", rest @ ..] => return token::handle(&house, &call, method, rest, headers),
        ["identity" | "cubbyhole", ..] => return Err(not_offered("this engine")),
        _ => {}
    }
    let found = mounts.find(&words).filter(|found| call.touches(found.scope));
    let Some(Found { scope, rest, .. }) = found else {
        // Which mounts there are is for those who may have something in them.
        return Err(match call.caller().is_owner() {
            true => bad(format!("no handler for route {:?}: no mount of this door is there", words.join("/"))),
            false => Refused::Said(StatusCode::FORBIDDEN, "permission denied".to_owned()),
        });
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let Some((kind, names)) = rest.split_first() else { return Err(wrong_path()) };
    let reference = || {
        let made = call.far_below(scope, names, false);
        made.map_err(|_| {
            bad(format!(
                "nothing can be at {}: what stands behind this mount has other paths (custom keys: a group and a key)",
                names.join("/")
            ))
        })
    };
    let read = matches!(*method, Method::GET | Method::HEAD);
    let write = matches!(*method, Method::POST | Method::PUT);
    let patch = *method == Method::PATCH;
    match *kind {
        // What nothing can be at is not there, for who reads.
        "data" | "metadata" if read && !names.is_empty() && !metadata::is_listing(query) && reference().is_err() => {
            Ok(answer::nothing())
        }
        "data" if read => data::read(&call, &reference()?, query).await,
        "data" if write => data::write(&call, &reference()?, headers, body).await,
        "data" if patch => {
            check_merge_patch(headers)?;
            data::patch(&call, &reference()?, headers, body).await
        }
        "data" if *method == Method::DELETE => data::delete(&call, &reference()?).await,
        "delete" | "undelete" | "destroy" if write => {
            let fate = match *kind {
                "delete" => Fate::Delete,
                "undelete" => Fate::Undelete,
                _ => Fate::Destroy,
            };
            data::versions(&call, &reference()?, headers, body, fate).await
        }
        "metadata" if method.as_str() == "LIST" || (read && metadata::is_listing(query)) => {
            match call.far_below(scope, names, true) {
                Ok(scope) => metadata::list(&call, &scope, query).await,
                Err(_) => Ok(answer::nothing()),
            }
        }
        "metadata" if read => metadata::read(&call, &reference()?).await,
        "metadata" if write => metadata::write(&call, &reference()?, headers, body, false).await,
        "metadata" if patch => {
            check_merge_patch(headers)?;
            metadata::write(&call, &reference()?, headers, body, true).await
        }
        "metadata" if *method == Method::DELETE => metadata::delete(&call, &reference()?).await,
        "config" if names.is_empty() && read => {
            let document = json!({ "cas_required": false, "delete_version_after": "0s", "max_versions": 0 });
            Ok(answer::data(&call, StatusCode::OK, document, &[]))
        }
        "config" if names.is_empty() && write => Err(not_offered("changing the engine's config")),
        "subkeys" | "detailed-metadata" => Err(not_offered("this path of the engine")),
        "data" | "metadata" | "config" | "delete" | "undelete" | "destroy" => Err(wrong_method()),
        _ => Err(wrong_path()),
    }
}

fn wrong_path() -> Refused {
    bad(
        "Invalid path for a versioned K/V secrets engine: after the mount comes data/, metadata/, delete/, undelete/ or destroy/",
    )
}

/// A patch says which kind it is.
fn check_merge_patch(headers: &HeaderMap) -> Result<(), Refused> {
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match essence.split(';').next().unwrap_or_default().trim() {
        "application/merge-patch+json" => Ok(()),
        _ => Err(Refused::Said(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a PATCH must be application/merge-patch+json".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_in_one_place_or_the_same_in_both() {
        for (lines, token) in [
            (&[("x-vault-token", "a")][..], Some("a")),
            (&[("authorization", "Bearer a")], Some("a")),
            (&[("x-vault-token", "a"), ("authorization", "Bearer a")], Some("a")),
            (&[("x-vault-token", "a"), ("authorization", "Bearer b")], Some("")),
            (&[("x-vault-token", "a"), ("authorization", "Basic a")], Some("a")),
            (&[("x-vault-token", "a"), ("authorization", "Basic a"), ("authorization", "Bearer a")], Some("")),
            (&[("x-vault-token", "a"), ("x-vault-token", "a")], Some("")),
            (&[("x-vault-token", "")], Some("")),
            (&[("authorization", "Basic a")], Some("")),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(token_of(&headers), token, "{lines:?}");
        }
    }
}
