//! Tokens: what a caller is told of its own, and logins that give one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method, Request, Uri};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strongroom::{Failure, Kind};
use strongroom_core::policy::Caller;
use zeroize::Zeroizing;

use super::answer::{self, Answered, Refused, bad, not_offered, wrong_method};
use super::sessions::{MAX_TTL, Session};
use super::{check_headers, token_of};
use crate::doors::{body, hex, stranger, trace_of};
use crate::gate::Call;
use crate::identify::{Brought, of_config};
use crate::listener::Peer;
use crate::state::House;

/// One answer for every login that fails: it tells nothing of roles, callers and issuers.
fn refused() -> Refused {
    bad("invalid role or credential")
}

/// A way to log in, and what its body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Login {
    /// A role and a JWT.
    Jwt,
    /// The same, of a Kubernetes service account.
    Kubernetes,
    /// A role's id and a secret.
    AppRole,
}

#[derive(Deserialize)]
struct WithJwt {
    role: Option<String>,
    jwt: Zeroizing<String>,
}

#[derive(Deserialize)]
struct WithSecret {
    role_id: String,
    secret_id: Zeroizing<String>,
}

/// Logs in. The path says how.
pub(super) async fn login(State(house): State<Arc<House>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let trace = trace_of(&head.headers);
    let peer = head.extensions.get::<Arc<Peer>>().map(AsRef::as_ref);
    let mut response = match log_in(&house, (&head.method, &head.uri, &head.headers), peer, trace, body).await {
        Ok(response) => response,
        Err(refused) => axum::response::IntoResponse::into_response(refused),
    };
    crate::doors::finish(&mut response, trace);
    response
}

async fn log_in(
    house: &House,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    peer: Option<&Peer>,
    trace: [u8; 16],
    body: Body,
) -> Answered {
    let (state, _place) = stranger(house, headers, uri, peer)?;
    if !matches!(*method, Method::POST | Method::PUT) {
        return Err(wrong_method());
    }
    check_headers(headers, state.vault.as_ref())?;
    let login = match uri.path().split('/').nth(3) {
        Some("jwt") => Login::Jwt,
        Some("kubernetes") => Login::Kubernetes,
        _ => Login::AppRole,
    };
    let bytes = body::read(headers, body).await?;
    let (brought, role) = match login {
        Login::Jwt | Login::Kubernetes => {
            let WithJwt { role, jwt } = body::parse(&bytes)?;
            let identity = state.identifier.jwt(&jwt).await.map_err(|_| refused())?;
            (Brought { identity, until: None }, role.filter(|role| !role.is_empty()))
        }
        Login::AppRole => {
            let WithSecret { role_id, secret_id } = body::parse(&bytes)?;
            (of_config(&secret_id), Some(role_id))
        }
    };
    if brought.is_over() {
        return Err(refused());
    }
    let Brought { identity, until } = brought;
    let caller = state.identifier.again(&state.policy, &identity).map_err(|_| refused())?;
    if role.is_some_and(|role| !caller.names().any(|name| name.as_str() == role)) {
        return Err(refused());
    }
    let (token, session) = house.sessions().give(identity, until, caller.shown().as_str(), login.name())?;
    Ok(answer::auth(trace, shown(&token, &caller, &session)))
}

/// What is below `auth/` and needs a token.
pub(super) fn handle(house: &House, call: &Call, method: &Method, words: &[&str], headers: &HeaderMap) -> Answered {
    let read = matches!(*method, Method::GET | Method::HEAD);
    let write = matches!(*method, Method::POST | Method::PUT);
    let token = token_of(headers).unwrap_or_default();
    let session = house.sessions().of(token);
    match words {
        ["token", "lookup-self"] if read || write => {
            Ok(answer::data(call, http::StatusCode::OK, known(call.caller(), token, session.as_ref()), &[]))
        }
        ["token", "renew-self"] if write => match house.sessions().renew(token) {
            Some(session) => Ok(answer::auth(call.trace(), shown(token, call.caller(), &session))),
            None => Err(bad("lease is not renewable")),
        },
        ["token", "revoke-self"] if write => match house.sessions().end(token) {
            true => Ok(answer::done()),
            false => Err(bad("this token stands in Strongroom's config, and is revoked there")),
        },
        ["token", "lookup-self" | "renew-self" | "revoke-self"] => Err(wrong_method()),
        ["jwt" | "kubernetes" | "approle", "login"] => Err(wrong_method()),
        _ => Err(not_offered("this part of `auth/`")),
    }
}

/// A token as logins and renewals answer it.
fn shown(token: &str, caller: &Caller, session: &Session) -> Value {
    json!({
        "client_token": token,
        "accessor": session.accessor,
        "policies": policies(caller),
        "token_policies": policies(caller),
        "identity_policies": null,
        "metadata": { "role": session.caller },
        "lease_duration": session.left(),
        "renewable": true,
        "entity_id": "",
        "token_type": "service",
        "orphan": true,
        "mfa_requirement": null,
        "num_uses": 0,
    })
}

/// The callers of the config that it is: Vault's policies are names, too.
fn policies(caller: &Caller) -> Vec<&str> {
    caller.names().map(strongroom_core::Name::as_str).collect()
}

/// All that Vault tells of a token: clients wait for a complete answer.
fn known(caller: &Caller, token: &str, session: Option<&Session>) -> Value {
    let at = |time: std::time::Duration| answer::time(Some(time.as_secs()));
    json!({
        "accessor": session.map_or_else(|| accessor(token), |session| session.accessor.clone()),
        "creation_time": session.map_or(0, |session| session.created.as_secs()),
        "creation_ttl": session.map_or(0, |session| (session.expires - session.created).as_secs()),
        "display_name": caller.shown().as_str(),
        "entity_id": "",
        "expire_time": session.map(|session| at(session.expires)),
        "explicit_max_ttl": session.map_or(0, |_| MAX_TTL.as_secs()),
        "id": token,
        "issue_time": session.map(|session| at(session.created)),
        "meta": session.map(|session| json!({ "role": session.caller })),
        "num_uses": 0,
        "orphan": true,
        "path": session.map_or_else(|| "auth/token/create".to_owned(), |session| format!("auth/{}/login", session.method)),
        "policies": policies(caller),
        "renewable": session.is_some(),
        "ttl": session.map_or(0, |session| session.left()),
        "type": "service",
    })
}

/// A word for a token of the config that tells nothing about it: a digest of what the config itself holds.
fn accessor(token: &str) -> String {
    let digest = Sha256::digest([b"strongroom vault accessor ".as_slice(), &Sha256::digest(token.as_bytes())].concat());
    let mut short = [0; 16];
    short.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    hex(&short)
}

impl Login {
    fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Kubernetes => "kubernetes",
            Self::AppRole => "approle",
        }
    }
}

/// The failure for a door without a config. Kept here: logins meet it first.
pub(super) fn no_mounts() -> Failure {
    Failure::new(
        Kind::Unsupported,
        "vault.no-mounts",
        "no mounts are behind this door: the config has no [doors.vault]",
    )
}
