//! Who a caller is: what its connection proves, or the token that it shows.
//!
//! A token that is shown must be good: one that is not is never passed over for what the connection proves. All bad tokens
//! get one answer.

use std::time::SystemTime;

use sha2::{Digest, Sha256};
use strongroom::{Failure, Kind};
use strongroom_core::policy::{Caller, Identity, Policy};

use crate::listener::Peer;

/// Knows callers by one config.
pub(crate) struct Identifier {
    /// The server's own user: its processes are the owner.
    own: u32,
    verifier: strongroom_callers::Verifier,
}

/// One answer for every token that is no good.
fn refused() -> Failure {
    Failure::new(Kind::Unauthenticated, "caller.token", "the token is not accepted")
}

impl Identifier {
    pub(crate) fn new(verifier: strongroom_callers::Verifier) -> Self {
        Self { own: rustix::process::geteuid().as_raw(), verifier }
    }

    /// The caller of a request.
    ///
    /// # Errors
    /// `caller.token` for a token that is no good; `caller.unknown` where a token is needed and none was shown, or
    /// where the config knows nobody like that.
    pub(crate) async fn caller(&self, policy: &Policy, peer: &Peer, token: Option<&str>) -> Result<Caller, Failure> {
        let identity = match (token, peer) {
            (Some(token), _) => self.token(token).await?,
            (None, Peer::Unix { uid, gids }) => Identity::Unix { uid: *uid, gids: gids.clone() },
            (None, Peer::Certificate { names }) => Identity::Tls { names: names.clone() },
            (None, Peer::Network | Peer::Loopback) => {
                return Err(Failure::new(Kind::Unauthenticated, "caller.unknown", "a token is needed here"));
            }
        };
        let caller = policy.identify(&identity, Some(self.own));
        if caller.is_known() {
            return Ok(caller);
        }
        Err(match token {
            Some(_) => refused(),
            None => Failure::new(Kind::Unauthenticated, "caller.unknown", "nobody like that is among the callers"),
        })
    }

    async fn token(&self, token: &str) -> Result<Identity, Failure> {
        // Only a JWT has two dots: tokens of a config are base64.
        if token.bytes().filter(|byte| *byte == b'.').count() == 2 {
            return self.verifier.identify(token, SystemTime::now()).await.map_err(|failure| {
                tracing::info!(target: "strongroom", code = failure.code(), "a token was refused");
                refused()
            });
        }
        Ok(Identity::Token { digest: Sha256::digest(token.as_bytes()).into() })
    }
}
