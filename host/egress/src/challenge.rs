//! What a backend's 401 says of the token it wants (RFC 6750, section 3; RFC 9470 for claims).
//!
//! Two things are taken from it: a tenant, which the broker checks against the operator's list, and claims,
//! which go to the identity provider that the credential has anyway. Never an authority, an audience or a
//! scope: whoever answers a request does not decide where secrets are sent.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use strongroom_core::{Failure, Kind, Origin, Text};

use crate::inject::Challenge;

/// The longest claims, in bytes of JSON.
const MAX_CLAIMS_BYTES: usize = 8 << 10;

/// The longest tenant: a GUID or a domain.
const MAX_TENANT_BYTES: usize = 253;

/// The challenge of an answer to a request that carried a token for `audience`. Without any that is
/// understood it is empty: then the token itself may just be no longer good.
///
/// # Errors
/// `challenge.resource` if it names another resource than the token was for; `challenge.claims` if its
/// claims are no JSON, or too long.
pub(crate) fn of(headers: &HeaderMap, audience: &str) -> Result<Challenge, Failure> {
    let bearer = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).find_map(|text| {
        let (scheme, rest) = text.trim_start().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| parameters(rest))
    });
    let Some(parameters) = bearer else { return Ok(Challenge::default()) };
    let named = |names: &[&str]| {
        parameters.iter().find(|(name, _)| names.iter().any(|n| name.eq_ignore_ascii_case(n))).map(|(_, v)| v.as_str())
    };
    if let Some(resource) = named(&["scope", "resource"])
        && !same_resource(resource, audience)
    {
        let (wanted, had) = (Text::capped(resource, 128), audience);
        let message = format!("the backend wants a token for {wanted}, and its mount's tokens are for {had}");
        return Err(Failure::new(Kind::Unauthenticated, "challenge.resource", message)
            .help("the host of the reference may be wrong, or belong to another cloud"));
    }
    let tenant = named(&["authorization", "authorization_uri"]).and_then(tenant_of);
    let claims = named(&["claims"]).map(claims_of).transpose()?;
    Ok(Challenge { tenant, claims })
}

/// The file of a key that Azure Arc's agent names in its 401: `Basic realm=/path`.
pub(crate) fn realm(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(WWW_AUTHENTICATE)?.to_str().ok()?;
    let (scheme, rest) = text.trim_start().split_once(' ')?;
    let basic = scheme.eq_ignore_ascii_case("basic");
    let named = parameters(rest).into_iter().find(|(name, _)| basic && name.eq_ignore_ascii_case("realm"));
    named.map(|(_, realm)| realm)
}

/// `name="value", name=value`: quotes and blanks are optional, and `=` may stand in a value.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while let Some((name, after)) = rest.split_once('=') {
        if found.len() == 16 {
            break;
        }
        let after = after.trim_start();
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = tail.trim_start_matches([' ', ',', '\t']);
    }
    found
}

/// The first segment of the authority's path. `adfs` is none, and so is what could be no tenant.
fn tenant_of(uri: &str) -> Option<String> {
    let path = uri.split_once("://")?.1.split_once('/')?.1;
    let tenant = path.split(['/', '?', '#']).next()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    let fits = !tenant.is_empty() && tenant.len() <= MAX_TENANT_BYTES && tenant.bytes().all(plain);
    (fits && !tenant.eq_ignore_ascii_case("adfs") && tenant.chars().any(char::is_alphanumeric))
        .then(|| tenant.to_owned())
}

fn claims_of(encoded: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Err(Failure::new(Kind::Unauthenticated, "challenge.claims", format!("the backend's claims challenge {why}")))
    };
    let plain = encoded.trim_end_matches('=');
    if plain.len() > MAX_CLAIMS_BYTES.div_ceil(3) * 4 {
        return wrong("is longer than 8 KiB");
    }
    let decoded = STANDARD_NO_PAD.decode(plain).or_else(|_| URL_SAFE_NO_PAD.decode(plain));
    let Some(text) = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return wrong("is no base64 of text");
    };
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        Ok(_) => Ok(text),
        Err(_) => wrong("holds no JSON object"),
    }
}

fn same_resource(named: &str, audience: &str) -> bool {
    let host = |text: &str| {
        let origin = text.strip_suffix("/.default").unwrap_or(text);
        Origin::parse(origin.trim_end_matches('/')).ok().map(|origin| origin.host.to_string())
    };
    match (host(named), host(audience)) {
        (Some(named), Some(audience)) => named == audience,
        _ => named == audience,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn challenge(text: &str) -> Result<Challenge, Failure> {
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap())]);
        of(&headers, "https://vault.azure.net")
    }

    #[test]
    fn a_tenant_and_claims_are_taken_and_nothing_else() {
        let tenant = |tenant: &str| Challenge { tenant: Some(tenant.to_owned()), claims: None };
        let nothing = Challenge::default();
        for (text, expected) in [
            (
                r#"Bearer authorization="https://login.windows.net/t-1", resource="https://vault.azure.net""#,
                tenant("t-1"),
            ),
            (
                r#"bearer authorization_uri=https://evil.example/t.2/x, scope=https://vault.azure.net/.default"#,
                tenant("t.2"),
            ),
            (r#"Bearer authorization="https://login.windows.net/adfs""#, nothing.clone()),
            (r#"Bearer authorization="https://login.windows.net/..""#, nothing.clone()),
            (r#"Bearer authorization="https://login.windows.net/a%2fb""#, nothing.clone()),
            (r#"Bearer error="invalid_token""#, nothing.clone()),
            (r#"Basic realm="x""#, nothing.clone()),
            ("Bearer", nothing.clone()),
            (
                r#"Bearer error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ==", resource="https://vault.azure.net/""#,
                Challenge { tenant: None, claims: Some(r#"{"access_token":{}}"#.to_owned()) },
            ),
        ] {
            assert_eq!(challenge(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_realm_is_that_of_a_basic_challenge() {
        let of = |text: &str| realm(&HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap())]));
        assert_eq!(of("Basic realm=/var/opt/k.key"), Some("/var/opt/k.key".to_owned()));
        assert_eq!(of(r#"basic charset=x, realm="/k.key""#), Some("/k.key".to_owned()));
        for none in ["Bearer realm=/k.key", "Basic", "Basic x=y"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn what_would_lead_elsewhere_is_a_failure_of_its_own() {
        for (text, code) in [
            (r#"Bearer resource="https://evil.example""#, "challenge.resource"),
            (r#"Bearer scope="https://managedhsm.azure.net/.default""#, "challenge.resource"),
            (r#"Bearer claims="%%%""#, "challenge.claims"),
            (r#"Bearer claims="WzFd""#, "challenge.claims"),
        ] {
            assert_eq!(challenge(text).unwrap_err().code(), code, "{text}");
        }
        let long = format!("Bearer claims=\"{}\"", "A".repeat(16 << 10));
        assert_eq!(challenge(&long).unwrap_err().code(), "challenge.claims");
    }
}
