//! What a token says, once its signature is good: whether it is for us and for now, and of whom.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use strongroom_core::config::callers::Issuer;
use strongroom_core::policy::Identity;
use strongroom_core::{Failure, Name};

use crate::refused;

/// How far the issuer's clock may be from ours.
const LEEWAY: Duration = Duration::from_secs(60);

/// The longest subject, in bytes; OpenID Connect has 255.
const MAX_SUBJECT_BYTES: usize = 1024;

/// The claims that are checked here, and are no property of the bearer.
const CHECKED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// Checks the claims of a token that `issuer` signed; `iss` was compared already.
pub(crate) fn check(
    mut claims: Map<String, Value>,
    name: &Name,
    issuer: &Issuer,
    now: SystemTime,
) -> Result<Identity, Failure> {
    let ours = |audience: &Value| audience.as_str().is_some_and(|text| issuer.audiences.contains(text));
    let fits = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(ours),
        Some(one) => ours(one),
        None => false,
    };
    if !fits {
        return Err(refused("token.audience", "it is for none of the audiences of its issuer's entry"));
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let leeway = LEEWAY.as_secs_f64();
    let time = |claim: &str| match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| refused("token.time", "one of its times is no number")),
    };
    let Some(end) = time("exp")? else { return Err(refused("token.time", "it does not say when it ends")) };
    if now >= end + leeway {
        return Err(refused("token.expired", "it has expired"));
    }
    for claim in ["nbf", "iat"] {
        if time(claim)?.is_some_and(|begin| now + leeway < begin) {
            return Err(refused("token.early", "it is not good yet"));
        }
    }
    // A token that is bound to a key (RFC 7800) is worth nothing without the proof, which is not asked for here.
    if claims.contains_key("cnf") {
        return Err(refused("token.bound", "it is bound to a key, and so no bearer token"));
    }
    let subject = match claims.remove("sub") {
        None => String::new(),
        Some(Value::String(subject)) if subject.len() <= MAX_SUBJECT_BYTES => subject,
        Some(_) => return Err(refused("token.subject", "its subject is no text of at most 1 KiB")),
    };
    claims.retain(|claim, value| !CHECKED.contains(&claim.as_str()) && is_flat(value));
    Ok(Identity::Jwt { issuer: name.clone(), subject, claims: claims.into_iter().collect() })
}

/// A scalar, or a list of scalars.
fn is_flat(value: &Value) -> bool {
    let scalar = |value: &Value| matches!(value, Value::String(_) | Value::Bool(_) | Value::Number(_));
    match value {
        Value::Array(values) => values.iter().all(scalar),
        value => scalar(value),
    }
}
