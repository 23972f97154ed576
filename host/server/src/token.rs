//! Tokens that this server makes up: random, of 256 bits, kept as digests.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strongroom::{Failure, Kind};
use zeroize::Zeroizing;

/// So many random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| Failure::new(Kind::Internal, "server.random", "the system gives no random bytes"))?;
    Ok(bytes)
}

/// A new token: 43 characters of base64url.
pub(crate) fn new() -> Result<Zeroizing<String>, Failure> {
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*Zeroizing::new(random::<32>()?))))
}

/// What is kept of a token. Found and compared by it, a token's time tells nothing about any other.
pub(crate) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// A token that looks like a JWT (RFC 7519) which ends at `end`, in seconds since the Unix epoch, with `token` in the place of
/// the signature: for clients that read a token's end. Nobody signs it; it is good by its digest, like any other.
pub fn shaped_as_jwt(end: u64, token: &str) -> Zeroizing<String> {
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let (head, claims) = (part(json!({ "alg": "HS256", "typ": "JWT" })), part(json!({ "exp": end })));
    Zeroizing::new(format!("{head}.{claims}.{token}"))
}
