//! Who a caller is: what its connection proves, or the token that it shows.
//!
//! A token that is shown must be good: one that is not is never passed over for what the connection proves. All bad tokens
//! get one answer.

use std::time::SystemTime;

use sha2::{Digest, Sha256};
use strongroom::{Failure, Kind};
use strongroom_callers::Verifier;
use strongroom_core::policy::{Caller, Identity, Policy};

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

    /// The caller of a request.
    ///
    /// # Errors
    /// `caller.token` for a token that is no good; `caller.unknown` where a token is needed and none was shown, or
    /// where the config knows nobody like that.
    pub(crate) async fn caller(&self, policy: &Policy, peer: &Peer, token: Option<&str>) -> Result<Caller, Failure> {
        let known = |identity: &Identity| Some(policy.identify(identity, Some(self.own))).filter(Caller::is_known);
        let proved = match (token, peer) {
            (Some(token), _) => {
                // One that the config has the digest of may look like anything, a JWT among them.
                let digest = Sha256::digest(token.as_bytes()).into();
                if let Some(caller) = known(&Identity::Token { digest }) {
                    return Ok(caller);
                }
                if !strongroom_callers::is_jwt(token) {
                    return Err(refused());
                }
                let identity = self.jwt(token).await?;
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
