//! Tokens: got by an auth plugin in a sandbox of its own, kept in memory, handed to the egress layer.
//!
//! A token goes from here to the injector and nowhere else: no provider, no log and no caller gets
//! one. One request for a token is in flight at a time for each credential and resource.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use strongroom_core::manifest::Function;
use strongroom_core::{Failure, Kind, Name};
use strongroom_egress::inject::Getting;
use strongroom_egress::{Token, Tokens};
use strongroom_sandbox::acquire::{RawToken, Step, TokenRequest};
use strongroom_sandbox::capability::sealed::SealedInputs;
use zeroize::Zeroizing;

use crate::Inner;
use crate::capabilities::Touched;
use crate::credentials::Credentialed;

/// How long a token is kept whose end nobody knows: a file may hold another one by then.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);

/// The longest life that is believed, and so how long one that never ends is kept: an end beyond what a
/// clock can hold is a plugin's to give.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long before its end a token is renewed; spread, so that many processes do not ask at once.
const AHEAD: Duration = Duration::from_secs(300);

/// The tokens of this process.
#[derive(Default)]
pub(crate) struct TokenCache(Mutex<HashMap<(Name, String), Arc<Slot>>>);

/// One credential and resource. Whoever holds the lock asks; the others wait for what it gets.
type Slot = tokio::sync::Mutex<Option<Kept>>;

struct Kept {
    token: Token,
    /// From when on another one is asked for.
    renew_at: Instant,
    /// When it ends, if that is known.
    ends_at: Option<Instant>,
}

impl TokenCache {
    fn slot(&self, credential: &Name, audience: &str) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry((credential.clone(), audience.to_owned())).or_default())
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The tokens of one mount's credential, for one call.
pub(crate) struct MountTokens {
    pub(crate) inner: Arc<Inner>,
    pub(crate) credential: Name,
    /// How many credentials stand above this one.
    pub(crate) depth: usize,
    pub(crate) deadline: Instant,
}

impl Tokens for MountTokens {
    fn token<'a>(&'a self, audience: &'a str) -> Getting<'a> {
        Box::pin(async move {
            let credential =
                self.inner.mounts.credentials.get(&self.credential).ok_or_else(|| {
                    Failure::new(Kind::Internal, "token.credential", "the mount's credential went away")
                })?;
            let got = self.inner.token(credential, audience, self.depth, self.deadline);
            // What is late for the call must not hold it longer than its own deadline.
            match tokio::time::timeout_at(self.deadline.into(), got).await {
                Ok(token) => token.map_err(|failure| failure.attribute("credential", self.credential.as_str())),
                Err(_) => Err(Failure::new(Kind::Deadline, "token.late", "no token was got in time")),
            }
        })
    }
}

/// The sealed inputs of one acquisition, overwritten when it ends.
struct Inputs(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl SealedInputs for Inputs {
    fn reveal(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.0.get(name).cloned()
    }
}

impl Inner {
    async fn token(
        self: &Arc<Self>,
        credential: &Credentialed,
        audience: &str,
        depth: usize,
        deadline: Instant,
    ) -> Result<Token, Failure> {
        let name = &credential.name;
        if !credential.credential.audiences.iter().any(|allowed| allowed == audience) {
            let message = format!("the credential {name} may not be used for {audience}");
            return Err(Failure::new(Kind::PolicyDenied, "credential.audience", message)
                .help(format!("if it may: audiences = [\"{audience}\"] under [credentials.{name}]")));
        }
        let slot = self.tokens.slot(name, audience);
        let mut kept = slot.lock().await;
        let now = Instant::now();
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.renew_at) {
            return Ok(kept.token.clone());
        }
        match self.acquire(credential, audience, depth, deadline).await {
            Ok(new) => Ok(kept.insert(new).token.clone()),
            // Renewed ahead of its end, so the old one still serves.
            Err(failure) => match kept.as_ref().filter(|kept| kept.ends_at.is_some_and(|end| now < end)) {
                Some(old) => {
                    (self.plugins.warn)(failure.help("the token in hand is still good and goes on being used"));
                    Ok(old.token.clone())
                }
                None => Err(failure),
            },
        }
    }

    /// Runs the auth plugin once.
    async fn acquire(
        self: &Arc<Self>,
        credential: &Credentialed,
        audience: &str,
        depth: usize,
        deadline: Instant,
    ) -> Result<Kept, Failure> {
        let Credentialed { name, provided, sealed, .. } = credential;
        let place = || credential.credential.source.place(name);
        let touched = Arc::new(Touched::default());
        let mut inputs = BTreeMap::new();
        for (input, reference) in sealed {
            let secret = self.resolve_sealed(reference, depth + 1, deadline).await.map_err(|failure| {
                failure.help(format!("it is the sealed input `{input}` of the credential {name}"))
            })?;
            touched.note(secret.expose());
            inputs.insert(input.clone(), Zeroizing::new(secret.expose().to_vec()));
        }
        let plugin = provided.loaded.get_or_try_init(|| async { self.plugins.load(provided) }).await?;
        let asked = crate::resolve::Asked {
            entry: crate::resolve::Entry::Credential(credential),
            references: &[],
            function: Function::Acquire,
            arrived: Instant::now(),
            depth: depth + 1,
        };
        let mut prepared = self.prepare(provided, &asked, Arc::clone(plugin), touched, Some(deadline))?;
        prepared.call.capabilities.sealed = Some(Arc::new(Inputs(inputs)));
        let _permit = self.admit(prepared.call.deadline, depth + 1).await?;
        let call = prepared.take_call();
        let request = TokenRequest { audience: audience.to_owned(), ..TokenRequest::default() };
        let step = match prepared.plugin.acquire(call, &request, None).await {
            Ok(step) => step,
            Err(mut failure) => {
                prepared.mask(&mut std::iter::once(&mut failure));
                return Err(failure.at(place()));
            }
        };
        prepared.mask(&mut std::iter::empty());
        match step {
            Step::Ready(token) => keep(token).map_err(|failure| failure.by_plugin(prepared.plugin.label()).at(place())),
            Step::Interactive => {
                let message = format!("the credential {name} needs a person to sign in");
                Err(Failure::new(Kind::Unauthenticated, "credential.interactive", message)
                    .by_plugin(prepared.plugin.label())
                    .at(place()))
            }
        }
    }
}

fn keep(raw: RawToken) -> Result<Kept, Failure> {
    let RawToken { value, scheme, expires_at, refresh_at, .. } = raw;
    let now = Instant::now();
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let from_now = |seconds: u64| Duration::from_secs(seconds).checked_sub(unix);
    let (renew_at, ends_at) = match expires_at {
        None => (now + UNKNOWN_LIFE, None),
        Some(end) => {
            let Some(left) = from_now(end).filter(|left| !left.is_zero()) else {
                return Err(Failure::new(Kind::Unauthenticated, "token.expired", "the token has expired already"));
            };
            let left = left.min(LONGEST_LIFE);
            // A token that lives for minutes is used for half of that.
            let jitter = Duration::from_millis(u64::from(getrandom::u32().unwrap_or_default()) % 60_000);
            let renew = left.saturating_sub(AHEAD + jitter).max(left / 2);
            let asked = refresh_at.and_then(from_now).unwrap_or(renew);
            (now + renew.min(asked), Some(now + left))
        }
    };
    Ok(Kept { token: Token::new(value, &scheme)?, renew_at, ends_at })
}
