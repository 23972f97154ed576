//! Verifies the JSON Web Tokens (RFC 7519) that callers of a server bring.
//!
//! Nothing that a token says about how it is to be verified is believed: its issuer must be one of the config, and
//! that one's entry says with which algorithms it signs and where its keys are. The checks, in order: the
//! form, the header, the issuer, the key, the signature, and only then the claims. It must never fetch
//! anything but a configured issuer's keys, and never tell a caller which check failed.
//!
//! Start reading at [`Verifier`].

#![forbid(unsafe_code)]

mod claims;
mod form;
mod keeper;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use strongroom_core::config::callers::Issuer;
use strongroom_core::policy::Identity;
use strongroom_core::{Failure, Kind, Name};

use crate::form::Token;
use crate::keeper::Keeper;

pub use crate::form::MAX_TOKEN_BYTES;
pub use crate::keeper::{KEEP_WITHOUT_ANSWER, RETRY, UNKNOWN_KEY};
pub use crate::keys::{MAX_KEYS, MAX_SET_BYTES};

/// What a [`Fetch`] gives: the bytes of a key set.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>, Failure>> + Send>>;

/// Fetches the keys of an issuer, from its `origin` and `target` and nowhere else. It ends by itself, within
/// seconds, and gives at most [`MAX_SET_BYTES`].
pub type Fetch = Arc<dyn Fn(&Issuer) -> Fetching + Send + Sync>;

/// What every token that is not accepted is called towards its bearer.
pub const REFUSED: &str = "the token is not accepted";

/// Verifies tokens. Cheap to clone; clones share the keys. Needs a tokio runtime.
#[derive(Clone)]
pub struct Verifier(Arc<BTreeMap<Name, Arc<Keeper>>>);

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Whether a bearer's token has the form of a JWT: three parts. A token of `strongroom token new` has one.
pub fn is_jwt(bearer: &str) -> bool {
    bearer.bytes().filter(|b| *b == b'.').count() == 2
}

/// What is wrong with a token, for the log alone.
fn refused(code: &'static str, why: &'static str) -> Failure {
    Failure::new(Kind::Unauthenticated, code, why)
}

impl Verifier {
    /// Of these issuers. Fetches nothing yet.
    pub fn new(issuers: &BTreeMap<Name, Issuer>, fetch: Fetch) -> Self {
        let keeper = |(name, issuer): (&Name, &Issuer)| {
            (name.clone(), Arc::new(Keeper::new(name.clone(), issuer.clone(), fetch.clone())))
        };
        Self(Arc::new(issuers.iter().map(keeper).collect()))
    }

    /// Who brings `bearer`, a token without the word before it.
    ///
    /// # Errors
    /// `unauthenticated` with the code `token.refused` and the words of [`REFUSED`], whatever is wrong: its bearer
    /// learns nothing from it. What is wrong goes to the log, as [`Verifier::verify`] tells it.
    pub async fn identify(&self, bearer: &str, now: SystemTime) -> Result<Identity, Failure> {
        self.verify(bearer, now).await.map_err(|failure| {
            tracing::info!(target: "strongroom", code = failure.code(), "a token was refused: {failure}");
            Failure::new(Kind::Unauthenticated, "token.refused", REFUSED)
        })
    }

    /// As [`Verifier::identify`], and tells what is wrong. Not for its bearer.
    ///
    /// # Errors
    /// `unauthenticated` with a code `token.*`. It holds nothing of the token.
    pub async fn verify(&self, bearer: &str, now: SystemTime) -> Result<Identity, Failure> {
        let token = Token::parse(bearer)?;
        let keeper = self.0.values().find(|keeper| keeper.issuer.issuer == token.issuer);
        let keeper = keeper.ok_or_else(|| refused("token.issuer", "its issuer is none of the config"))?;
        let algorithm = keeper.issuer.algorithms.iter().find(|algorithm| algorithm.name() == token.algorithm);
        let algorithm = *algorithm
            .ok_or_else(|| refused("token.algorithm", "it is not signed with an algorithm of its issuer's entry"))?;
        let key = keeper.key(token.key_id.as_deref(), algorithm, now).await?;
        key.verify(algorithm, token.signed, &token.signature)?;
        claims::check(token.claims, &keeper.name, &keeper.issuer, now)
    }
}
