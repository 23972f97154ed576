//! Who a caller is: what its connection proves, or the token that it shows.
//!
//! A token that is shown must be good: one that is not is never passed over for what the connection proves. All bad tokens
//! get one answer.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use strongroom::{Failure, Kind};
use strongroom_callers::Verifier;
use strongroom_core::policy::{Caller, Identity, Policy};

use crate::limits::Place;
use crate::listener::Peer;

/// Knows callers by one config.
pub(crate) struct Identifier {
    /// The server's own user: its processes are the owner.
    own: u32,
    verifier: Verifier,
}

/// One answer for every token that is no good.
fn refused() -> Failure {
    Failure::new(Kind::Unauthenticated, "caller.token", "the token is not accepted")
}

impl Identifier {
    pub(crate) fn new(verifier: Verifier) -> Self {
        Self { own: rustix::process::geteuid().as_raw(), verifier }
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The caller of a request. A JWT is verified, which may take a while, once `listen` lets it.
    ///
    /// # Errors
    /// What `listen` says; `caller.token` for a token that is no good; `caller.unknown` where a token is needed and none was shown, or
    /// where the config knows nobody like that.
    pub(crate) async fn caller(
        &self,
        policy: &Policy,
        peer: &Peer,
        token: Option<&str>,
        listen: impl FnOnce() -> Result<Place, Failure>,
    ) -> Result<Caller, Failure> {
        let known = |identity: &Identity| Some(policy.identify(identity, Some(self.own))).filter(Caller::is_known);
        let proved = match (token, peer) {
            (Some(token), _) => {
                let brought = of_config(token);
                if let Some(caller) = known(&brought.identity) {
                    return if brought.is_over() { Err(refused()) } else { Ok(caller) };
                }
                if !strongroom_callers::is_jwt(token) {
                    return Err(refused());
                }
                let _place = listen()?;
                // In a box of its own: other tokens need none of its room.
                let identity = Box::pin(self.jwt(token)).await?;
                return known(&identity).ok_or_else(refused);
            }
            (None, Peer::Unix { uid, gids }) => Identity::Unix { uid: *uid, gids: gids.clone() },
            (None, Peer::Certificate { names }) => Identity::Tls { names: names.clone() },
            (None, Peer::Network | Peer::Loopback) => {
                return Err(Failure::new(Kind::Unauthenticated, "caller.unknown", "a token is needed here"));
            }
        };
        known(&proved).ok_or_else(|| {
            Failure::new(Kind::Unauthenticated, "caller.unknown", "nobody like that is among the callers")
        })
    }

    /// The caller of a request that shows a token which a door has given to `identity`.
    ///
    /// # Errors
    /// `caller.token` where the config does not know them any more.
    pub(crate) fn again(&self, policy: &Policy, identity: &Identity) -> Result<Caller, Failure> {
        Some(policy.identify(identity, Some(self.own))).filter(Caller::is_known).ok_or_else(refused)
    }

    /// Who a JWT is of.
    ///
    /// # Errors
    /// `caller.token`, whatever is wrong with it.
    pub(crate) async fn jwt(&self, jwt: &str) -> Result<Identity, Failure> {
        self.verifier.identify(jwt, SystemTime::now()).await.map_err(|_| refused())
    }
}

/// A token that may be one of the config.
pub(crate) struct Brought {
    pub(crate) identity: Identity,
    /// When it ends, in seconds since the Unix epoch.
    pub(crate) until: Option<u64>,
}

/// A token as one of the config, of which that has the digest. It may look like anything, a JWT among them, for clients that
/// read its end: then it ends then.
pub(crate) fn of_config(token: &str) -> Brought {
    Brought { identity: Identity::Token { digest: Sha256::digest(token.as_bytes()).into() }, until: end_of(token) }
}

impl Brought {
    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|end| end <= now())
    }
}

/// The end that a token says it has, in seconds since the Unix epoch: `exp` of what looks like a JWT (RFC 7519). Nothing
/// of it is verified.
pub(crate) fn end_of(token: &str) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: Option<serde_json::Number>,
    }
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    // What is no whole number of seconds ended long ago.
    exp.map(|exp| exp.as_u64().unwrap_or_default())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_jwt_says_when_it_ends() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        for (claims, end) in [
            (r#"{"exp":1893456000}"#, Some(1_893_456_000)),
            (r#"{"exp":1893456000.5}"#, Some(0)),
            (r#"{"exp":-1}"#, Some(0)),
            (r#"{"exp":"never"}"#, None),
            ("{}", None),
            ("no json", None),
        ] {
            assert_eq!(end_of(&token(claims)), end, "{claims}");
        }
        for other in ["", "abc", "a.b", "a.b.c.d", "..", "a.!!.c"] {
            assert_eq!(end_of(other), None, "{other}");
        }
    }
}
