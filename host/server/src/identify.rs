//! Who a caller is: what its connection proves, or the token that it shows.
//!
//! A token that is shown must be good: one that is not is never passed over for what the connection proves. All bad tokens
//! get one answer.

use sha2::{Digest, Sha256};
use strongroom::{Failure, Kind};
use strongroom_core::policy::{Accounts, Caller, Identity, Policy};

use crate::listener::Peer;

/// Knows callers by one config.
pub(crate) struct Identifier {
    /// The server's own user: its processes are the owner.
    own: u32,
}

/// One answer for every token that is no good.
fn refused() -> Failure {
    Failure::new(Kind::Unauthenticated, "caller.token", "the token is not accepted")
}

impl Identifier {
    pub(crate) fn new() -> Self {
        Self { own: rustix::process::geteuid().as_raw() }
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
    pub(crate) async fn jwt(&self, _jwt: &str) -> Result<Identity, Failure> {
        Err(refused())
    }

    async fn token(&self, token: &str) -> Result<Identity, Failure> {
        // Only a JWT has two dots: tokens of a config are base64.
        if token.bytes().filter(|byte| *byte == b'.').count() == 2 {
            return Err(refused());
        }
        Ok(Identity::Token { digest: Sha256::digest(token.as_bytes()).into() })
    }
}

/// The accounts of this machine, as its own databases have them.
pub(crate) struct SystemAccounts;

impl Accounts for SystemAccounts {
    fn uid(&self, user: &str) -> Option<u32> {
        nix::unistd::User::from_name(user).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn gid(&self, group: &str) -> Option<u32> {
        nix::unistd::Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw())
    }
}
