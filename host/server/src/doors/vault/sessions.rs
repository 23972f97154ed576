//! The tokens that logins were answered with.
//!
//! A token is 256 random bits; what is kept is its digest and to whom it was given. It lasts for a while, can be renewed and
//! ended, and is worth no more than what proved its bearer: the policy in force is asked each time. All are lost
//! with the process. Tokens must never be kept, shown or logged.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strongroom::{Failure, Kind};
use strongroom_core::policy::Identity;
use zeroize::Zeroizing;

use super::answer::since_epoch;
use crate::token::{self, digest, random};

/// How long a token lasts, and by how much it is renewed.
pub(super) const TTL: Duration = Duration::from_secs(3600);

/// How long a token can be renewed: a login each day finds out whether its bearer is still whom it was.
pub(super) const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// The most tokens that are good at once, and of these the most of one caller.
const MAX_TOKENS: usize = 16_384;
const MAX_OF_CALLER: usize = 4096;

/// The tokens that are good.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

/// What is known of a token.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// To whom it was given.
    pub(super) identity: Identity,
    /// What the config calls them.
    pub(super) caller: String,
    /// How they logged in: `jwt`, `kubernetes`, `approle`.
    pub(super) method: &'static str,
    /// A word for the token that is no token.
    pub(super) accessor: String,
    /// When it was given, since the Unix epoch.
    pub(super) created: Duration,
    /// When it ends.
    pub(super) expires: Duration,
    /// When what it was given for ends, and it with that at the latest.
    until: Duration,
}

impl Session {
    /// How much longer it lasts, in seconds, begun ones included.
    pub(super) fn left(&self) -> u64 {
        let left = self.expires.saturating_sub(since_epoch());
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }
}

impl Sessions {
    /// A new token for somebody; `until`, in seconds since the Unix epoch, is when what they have shown ends.
    ///
    /// # Errors
    /// `server.tokens` if there are as many as there may be.
    pub(super) fn give(
        &self,
        identity: Identity,
        until: Option<u64>,
        caller: &str,
        method: &'static str,
    ) -> Result<(Zeroizing<String>, Session), Failure> {
        let token = Zeroizing::new(format!("sr.{}", *token::new()?));
        let created = since_epoch();
        let until = until.map_or(Duration::MAX, Duration::from_secs);
        let session = Session {
            identity,
            caller: caller.to_owned(),
            method,
            accessor: URL_SAFE_NO_PAD.encode(random::<18>()?),
            created,
            expires: (created + TTL).min(until),
            until,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_caller = |all: &HashMap<_, Session>| all.values().filter(|other| other.caller == caller).count();
        if all.len() >= MAX_TOKENS || of_caller(&all) >= MAX_OF_CALLER {
            all.retain(|_, session| session.expires > created);
            if all.len() >= MAX_TOKENS || of_caller(&all) >= MAX_OF_CALLER {
                let message = "as many tokens are good as there may be";
                return Err(Failure::new(Kind::Throttled, "server.tokens", message).retry_after_ms(Some(60_000)));
            }
        }
        all.insert(digest(&token), session.clone());
        Ok((token, session))
    }

    /// What is known of a token that is good.
    pub(super) fn of(&self, token: &str) -> Option<Session> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Found by its digest: how long that takes tells nothing about any token.
        all.get(&digest(token)).filter(|session| session.expires > since_epoch()).cloned()
    }

    /// Has a token last longer.
    pub(super) fn renew(&self, token: &str) -> Option<Session> {
        let now = since_epoch();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = all.get_mut(&digest(token)).filter(|session| session.expires > now)?;
        session.expires = (now + TTL).min(session.created + MAX_TTL).min(session.until).max(session.expires);
        Some(session.clone())
    }

    /// Ends a token. False if it was none.
    pub(super) fn end(&self, token: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest(token)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somebody() -> Identity {
        Identity::Tls { names: vec!["a.example".to_owned()] }
    }

    #[test]
    fn a_token_is_good_until_it_is_ended() {
        let sessions = Sessions::default();
        let (token, session) = sessions.give(somebody(), None, "a", "jwt").unwrap();
        assert_eq!(token.len(), 46);
        assert_eq!(sessions.of(&token).unwrap().identity, somebody());
        assert!(sessions.of(&session.accessor).is_none() && sessions.of("").is_none());
        assert!(sessions.renew(&token).unwrap().expires >= session.expires);
        assert!(sessions.end(&token) && !sessions.end(&token));
        assert!(sessions.of(&token).is_none() && sessions.renew(&token).is_none());
    }

    #[test]
    fn time_ends_a_token_and_renewing_has_an_end() {
        let sessions = Sessions::default();
        let (token, _) = sessions.give(somebody(), None, "a", "jwt").unwrap();
        let age = |by: Duration, left: Duration| {
            let mut all = sessions.0.lock().unwrap();
            let session = all.get_mut(&digest(&token)).unwrap();
            session.created = since_epoch().saturating_sub(by);
            session.expires = since_epoch() + left;
        };
        age(MAX_TTL - Duration::from_secs(60), Duration::from_secs(30));
        assert!(sessions.renew(&token).unwrap().left() <= 60);
        age(MAX_TTL, Duration::ZERO);
        assert!(sessions.of(&token).is_none() && sessions.renew(&token).is_none());
        // What was shown for it ends before.
        let soon = since_epoch().as_secs() + 60;
        let (token, session) = sessions.give(somebody(), Some(soon), "a", "approle").unwrap();
        assert!(session.left() <= 60 && sessions.renew(&token).unwrap().left() <= 60);
    }

    #[test]
    fn there_are_only_so_many_and_old_ones_make_room() {
        let sessions = Sessions::default();
        let tokens: Vec<_> =
            (0..MAX_OF_CALLER).map(|_| sessions.give(somebody(), None, "a", "jwt").unwrap().0).collect();
        assert_eq!(sessions.give(somebody(), None, "a", "jwt").unwrap_err().code(), "server.tokens");
        assert!(sessions.give(somebody(), None, "b", "jwt").is_ok());
        sessions.0.lock().unwrap().get_mut(&digest(&tokens[0])).unwrap().expires = Duration::ZERO;
        assert!(sessions.give(somebody(), None, "a", "jwt").is_ok());
    }
}
