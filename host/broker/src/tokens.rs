//! Tokens: got by an auth plugin in a sandbox of its own, kept in memory, handed to the egress layer.
//!
//! A token goes from here to the injector and nowhere else: no provider, no log and no caller gets
//! one. One request for a token is in flight at a time for each credential, resource and tenant. What
//! outlives the process is in the store, sealed: see [`crate::keeping`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use strongroom_core::config::Credential;
use strongroom_core::manifest::{Function, Grant};
use strongroom_core::{Failure, Kind, Name, Text};
use strongroom_egress::inject::Getting;
use strongroom_egress::{Challenge, Token, Tokens};
use strongroom_sandbox::acquire::{RawToken, Resume, Step, TokenRequest};

use crate::acquiring::{Acquiring, Inputs};
use crate::capabilities::Touched;
use crate::credentials::{CREDENTIAL, Credentialed, SEALED_VARIABLE};
use crate::mounts::Origin;
use crate::observe::{Observe, follow};
use crate::resolve::{Asked, Entry};
use crate::tooling::BoundTools;
use crate::{Inner, unix_now};

/// How long a token is kept whose end nobody knows: a file may hold another one by then.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);

/// The longest life that is believed, and so how long one that never ends is kept: an end beyond what a
/// clock can hold is a plugin's to give.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long before its end a token is renewed; spread, so that many processes do not ask at once.
pub(crate) const AHEAD: Duration = Duration::from_secs(300);

/// How long a renewal that failed is not tried again while the token in hand is good, and which part of a call's time it may take.
const RENEWAL_REST: Duration = Duration::from_secs(30);
const RENEWAL_PART: u32 = 4;

/// How long a backend's 401 asks in vain for another token, after one was got for it.
const FORCED_REST: Duration = Duration::from_secs(30);

/// The most tokens of one credential that are kept beside those in use. A backend may name another tenant with each challenge.
const MAX_OF_CREDENTIAL: usize = 64;

/// The tokens of this process.
#[derive(Default)]
pub(crate) struct TokenCache(Mutex<HashMap<Wanted, Arc<Slot>>>);

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    credential: Name,
    pub(crate) audience: String,
    pub(crate) tenant: Option<String>,
    pub(crate) claims: Option<String>,
    /// Which mount was challenged for it; a token for a challenge is nobody else's.
    challenged: Option<Name>,
}

impl Wanted {
    fn is_but_for_claims(&self, other: &Self) -> bool {
        let of = |wanted: &Self| {
            let Wanted { credential, audience, tenant, claims: _, challenged } = wanted;
            (credential.clone(), audience.clone(), tenant.clone(), challenged.clone())
        };
        of(self) == of(other)
    }
}

/// One token. Whoever holds the lock asks; the others wait for what it gets.
type Slot = tokio::sync::Mutex<Option<Kept>>;

pub(crate) struct Kept {
    pub(crate) token: Token,
    /// From when on another one is asked for.
    pub(crate) renew_at: Instant,
    /// When it ends, if that is known.
    pub(crate) ends_at: Option<Instant>,
    /// When it was got, if that was because a backend said 401 to the one before.
    pub(crate) forced_at: Option<Instant>,
    /// Whose it is, as far as the plugin told.
    pub(crate) who: String,
}

impl Kept {
    fn handed(&self) -> (Token, String) {
        (self.token.clone(), self.who.clone())
    }
}

impl TokenCache {
    fn slot(&self, wanted: &Wanted) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.claims.is_some() && !slots.contains_key(wanted) {
            // A backend may ask for other claims each time. Who asks for new ones has no use for the old.
            slots.retain(|known, slot| {
                known.claims.is_none() || !known.is_but_for_claims(wanted) || Arc::strong_count(slot) > 1
            });
        }
        let of_it = |known: &Wanted| known.credential == wanted.credential;
        if !slots.contains_key(wanted) && slots.keys().filter(|known| of_it(known)).count() >= MAX_OF_CREDENTIAL {
            // Its own alone: no backend takes another credential's tokens away. What is still wanted is got anew.
            slots.retain(|known, slot| !of_it(known) || Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(wanted.clone()).or_default())
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The tokens of one mount's credential, for one call.
pub(crate) struct MountTokens {
    pub(crate) inner: Arc<Inner>,
    pub(crate) mount: Name,
    pub(crate) credential: Name,
    /// How many credentials stand above this one.
    pub(crate) depth: usize,
    pub(crate) deadline: Instant,
    /// Who follows the call: a request of its plugin may be sent by a task of its own.
    pub(crate) follower: Option<Arc<dyn Observe>>,
}

impl Tokens for MountTokens {
    fn token<'a>(&'a self, audience: &'a str, challenge: Option<&'a Challenge>) -> Getting<'a> {
        Box::pin(async move {
            let Self { inner, mount, credential, depth, deadline, follower } = self;
            let got = async {
                if let Some(chain) = inner.mounts.chains.get(credential) {
                    return inner.chain_token(chain, audience, challenge, mount, *depth, *deadline).await;
                }
                let credential = inner.mounts.credentials.get(credential).ok_or_else(|| {
                    Failure::new(Kind::Internal, "token.credential", "the mount's credential went away")
                })?;
                let wanted = inner.wanted(credential, audience, challenge, mount)?;
                let got = inner.token(credential, wanted, challenge.is_some(), *depth, *deadline).await;
                got.map(|(token, _)| token)
            };
            // What is late for the call must not hold it longer than its own deadline.
            match tokio::time::timeout_at(self.deadline.into(), follow(follower.clone(), got)).await {
                Ok(token) => token.map_err(|failure| failure.attribute(CREDENTIAL, self.credential.as_str())),
                Err(_) => Err(Failure::new(Kind::Deadline, "token.late", "no token was got in time")),
            }
        })
    }
}

/// A plugin's step, and the words that it is told with.
pub(crate) struct Stepped {
    pub(crate) step: Step,
    pub(crate) label: String,
}

impl Inner {
    /// What is wanted, as far as the operator allows what the backend asks for.
    pub(crate) fn wanted(
        &self,
        credential: &Credentialed,
        audience: &str,
        challenge: Option<&Challenge>,
        mount: &Name,
    ) -> Result<Wanted, Failure> {
        let name = &credential.name;
        self.check_audience(name, &credential.credential, audience)?;
        let own = credential.credential.config.get("tenant").and_then(Value::as_str).map(str::to_owned);
        let asked = challenge.and_then(|challenge| challenge.tenant.clone());
        let tenant = match (own, asked) {
            // `organizations` is whatever tenant the person is of, until a backend names one.
            (Some(own), Some(asked)) if own == "organizations" => Some(asked),
            (Some(own), Some(asked)) if !own.eq_ignore_ascii_case(&asked) => {
                Some(other_tenant(credential, own, asked)?)
            }
            (own, asked) => own.or(asked),
        };
        let claims = challenge.and_then(|challenge| challenge.claims.clone());
        let challenged = claims.is_some().then(|| mount.clone());
        Ok(Wanted { credential: name.clone(), audience: audience.to_owned(), tenant, claims, challenged })
    }

    /// What the operator allows the credential `name` to be used for.
    pub(crate) fn check_audience(&self, name: &Name, credential: &Credential, audience: &str) -> Result<(), Failure> {
        if credential.audiences.iter().any(|allowed| allowed == audience) {
            return Ok(());
        }
        let message = format!("the credential {name} may not be used for {audience}");
        Err(Failure::new(Kind::PolicyDenied, "credential.audience", message)
            .help(format!("if it may: audiences = [\"{audience}\"] under [credentials.{name}]")))
    }

    /// A token, and whose it is as far as the plugin told.
    pub(crate) async fn token(
        self: &Arc<Self>,
        credential: &Credentialed,
        wanted: Wanted,
        forced: bool,
        depth: usize,
        deadline: Instant,
    ) -> Result<(Token, String), Failure> {
        let slot = self.tokens.slot(&wanted);
        let mut kept = slot.lock().await;
        let now = Instant::now();
        // A 401 may ask for another one, but not again and again.
        let usable = |kept: &&Kept| {
            now < kept.renew_at && (!forced || kept.forced_at.is_some_and(|forced| now < forced + FORCED_REST))
        };
        if let Some(kept) = kept.as_ref().filter(usable) {
            return Ok(kept.handed());
        }
        if !forced
            && kept.is_none()
            && let Some(before) = self.kept_token(credential, &wanted)
        {
            return Ok(kept.insert(before).handed());
        }
        let serves = |kept: &Kept| !forced && kept.ends_at.is_some_and(|end| Instant::now() < end);
        let until = match kept.as_ref().is_some_and(serves) {
            // Renewed ahead of its end: what the call is for needs its time, too.
            true => deadline.min(now + deadline.saturating_duration_since(now) / RENEWAL_PART),
            false => deadline,
        };
        match self.acquire(credential, &wanted, depth, until).await {
            Ok(new) => Ok(kept.insert(Kept { forced_at: forced.then_some(now), ..new }).handed()),
            Err(failure) => match kept.as_mut().filter(|kept| serves(kept)) {
                Some(old) => {
                    (self.plugins.warn)(failure.help("the token in hand is still good and goes on being used"));
                    old.renew_at = Instant::now() + RENEWAL_REST;
                    Ok(old.handed())
                }
                None => Err(failure),
            },
        }
    }

    /// Gets a token without a person's help.
    async fn acquire(
        self: &Arc<Self>,
        credential: &Credentialed,
        wanted: &Wanted,
        depth: usize,
        deadline: Instant,
    ) -> Result<Kept, Failure> {
        let Stepped { step, label } = self.step(credential, wanted, None, false, depth, deadline).await?;
        match step {
            Step::Ready(token) => self.settle(credential, wanted, token, &label),
            Step::Pending { .. } | Step::Browser { .. } => {
                let name = &credential.name;
                let message = format!("the credential {name} needs a person to sign in");
                Err(Failure::new(Kind::Unauthenticated, "credential.interactive", message)
                    .by_plugin(label)
                    .at(credential.credential.source.place(name))
                    .help(format!("strongroom login {name}")))
            }
        }
    }

    /// Takes in a token that the plugin gave.
    pub(crate) fn settle(
        &self,
        credential: &Credentialed,
        wanted: &Wanted,
        token: RawToken,
        label: &str,
    ) -> Result<Kept, Failure> {
        self.remember(credential, wanted, &token);
        keep(token).map_err(|failure| failure.by_plugin(label).at(credential.credential.source.place(&credential.name)))
    }

    /// Runs the auth plugin once. `interactive` says whether a person is there to be asked something.
    #[allow(clippy::too_many_arguments, reason = "each is another thing, and two callers pass them")]
    pub(crate) async fn step(
        self: &Arc<Self>,
        credential: &Credentialed,
        wanted: &Wanted,
        resume: Option<Resume>,
        interactive: bool,
        depth: usize,
        deadline: Instant,
    ) -> Result<Stepped, Failure> {
        let Credentialed { name, provided, sealed, .. } = credential;
        let place = || credential.credential.source.place(name);
        let mut secrets = BTreeMap::new();
        for (input, reference) in sealed {
            let secret = self.resolve_sealed(reference, depth + 1, deadline).await.map_err(|failure| {
                let failure = failure.help(format!("it is the sealed input `{input}` of the credential {name}"));
                let variable = *reference.scheme == *"env" && failure.kind() == Kind::NotFound;
                if variable { failure.attribute(SEALED_VARIABLE, input.as_str()) } else { failure }
            })?;
            secrets.insert(input.clone(), secret);
        }
        for (input, path) in &credential.files {
            let secret = crate::files::read_named(path).map_err(|failure| {
                failure.about(path.as_str()).help(format!("the environment names it for the credential {name}"))
            })?;
            secrets.insert(input.clone(), secret);
        }
        let kept = self.kept_state(credential);
        let kept = kept.as_ref().map(|kept| kept.as_slice());
        let touched = Arc::new(Touched::default());
        // A code is worth a token. What says why there is none is for people.
        for (name, value) in resume.iter().flat_map(|resume| &resume.parameters) {
            if !name.starts_with("error") {
                touched.note(value.as_bytes());
            }
        }
        let tenant = wanted.tenant.as_deref();
        let acquiring =
            Acquiring::bind(credential, tenant, &secrets, kept, &self.environment, &touched, &self.arc_keys);
        let plugin = provided.loaded.get_or_try_init(|| async { self.plugins.load(provided) }).await?;
        let asked = Asked {
            entry: Entry::Credential(credential),
            references: &[],
            function: Function::Acquire,
            arrived: Instant::now(),
            depth: depth + 1,
            acquiring: Some(&acquiring),
        };
        let mut prepared = self.prepare(provided, &asked, Arc::clone(plugin), touched, Some(deadline))?;
        let inputs = Arc::new(Inputs { secrets, origins: acquiring.origins(&provided.rules) });
        prepared.call.capabilities.signer = Some(Arc::clone(&inputs) as Arc<_>);
        prepared.call.capabilities.sealed = Some(inputs);
        if provided.grants.contains(&Grant::Tool) {
            let tools = self.bind_tools(credential, prepared.call.deadline, &prepared.touched)?;
            prepared.call.capabilities.tools = Some(Arc::new(tools));
        }
        let _permit = self.admit(prepared.call.deadline, depth + 1).await?;
        let mut call = prepared.take_call();
        // A plugin does not see what the host adds for it, but must know what there is.
        let inputs = acquiring.holdings.names().map(|name| ("input".to_owned(), name));
        call.attributes.extend(inputs.chain([("interactive".to_owned(), interactive.to_string())]));
        let request = TokenRequest {
            audience: wanted.audience.clone(),
            tenant: wanted.tenant.clone(),
            claims: wanted.claims.clone(),
            ..TokenRequest::default()
        };
        match prepared.plugin.acquire(call, &request, kept, resume).await {
            Ok(step) => {
                prepared.mask(&mut std::iter::empty());
                Ok(Stepped { step, label: prepared.plugin.label().to_owned() })
            }
            Err(mut failure) => {
                prepared.mask(&mut std::iter::once(&mut failure));
                // Only the plugin can tell a sign-in that is over from a fault that passes, and it says so outright.
                let over = |(key, value): &(Text, Text)| (key.as_str(), value.as_str()) == ("kept", "refused");
                if failure.kind() == Kind::Unauthenticated
                    && failure.attributes().iter().any(over)
                    && let Some(kept) = kept
                {
                    self.forget_refused(credential, kept);
                }
                let manifest = &provided.manifest;
                let by_person = !manifest.prompts.is_empty() || !manifest.browser.is_empty();
                if failure.kind() == Kind::Unauthenticated && by_person && !interactive {
                    failure = failure.help(format!("strongroom login {name}"));
                }
                Err(failure.at(place()))
            }
        }
    }
}

impl Inner {
    /// The tools of one acquisition. What the operator declares takes the place of the release's, which
    /// only the release's own plugins get.
    fn bind_tools(
        &self,
        credential: &Credentialed,
        deadline: Instant,
        touched: &Arc<Touched>,
    ) -> Result<BoundTools, Failure> {
        let provided = &credential.provided;
        let released = match &provided.origin {
            Origin::Bundled(bundled) => bundled.tools()?,
            Origin::File { .. } => BTreeMap::new(),
        };
        let declaration = |name: &String| self.tools.get(name).or_else(|| released.get(name)).cloned();
        let names = provided.manifest.tool_names(&credential.credential.config);
        Ok(BoundTools {
            declared: names.into_iter().map(|name| (name.clone(), declaration(&name))).collect(),
            environment: Arc::clone(&self.environment),
            sealed_variables: self.mounts.sealed_variables.clone(),
            deadline,
            touched: Arc::clone(touched),
        })
    }
}

/// The tenant to ask where the backend names another one than the credential's `own`.
fn other_tenant(credential: &Credentialed, own: String, asked: String) -> Result<String, Failure> {
    let allowed = |tenant: &String| tenant == "*" || tenant.eq_ignore_ascii_case(&asked);
    if credential.credential.tenants.iter().any(allowed) {
        return Ok(asked);
    }
    // Names of tenants say more than GUIDs do, and two ways to write one tenant are no two.
    if is_guid(&own) != is_guid(&asked) {
        return Ok(own);
    }
    let (name, shown) = (&credential.name, Text::capped(&asked, 64));
    let message = format!("the backend wants a token of the tenant {shown}");
    Err(Failure::new(Kind::PolicyDenied, "credential.tenant", message).help(format!(
        "if the credential {name} may be used there: tenants = [\"{shown}\"] under [credentials.{name}]"
    )))
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| if [8, 13, 18, 23].contains(&at) { b == b'-' } else { b.is_ascii_hexdigit() })
}

pub(crate) fn keep(raw: RawToken) -> Result<Kept, Failure> {
    let RawToken { value, scheme, expires_at, refresh_at, attributes, .. } = raw;
    let who: Vec<String> = attributes
        .iter()
        .filter(|(key, _)| ["tenant", "identity"].contains(&key.as_str()))
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    let now = Instant::now();
    let unix = unix_now();
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
    Ok(Kept { token: Token::new(value, &scheme)?, renew_at, ends_at, forced_at: None, who: who.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_that_differ_each_time_take_no_more_room() {
        let cache = TokenCache::default();
        let wanted = |claims: Option<&str>, mount: &str| Wanted {
            credential: Name::parse("corp").unwrap(),
            audience: "https://vault.azure.net".to_owned(),
            tenant: None,
            claims: claims.map(str::to_owned),
            challenged: claims.and(Name::parse(mount).ok()),
        };
        let plain = cache.slot(&wanted(None, "one"));
        let waiting = cache.slot(&wanted(Some("waited for"), "one"));
        for count in 0..1000 {
            cache.slot(&wanted(Some(&count.to_string()), "one"));
        }
        cache.slot(&wanted(Some("0"), "two"));
        assert_eq!(cache.0.lock().unwrap().len(), 4, "the plain one, the one in use, and the newest of each mount");
        assert!(Arc::ptr_eq(&plain, &cache.slot(&wanted(None, "one"))));
        assert!(Arc::ptr_eq(&waiting, &cache.slot(&wanted(Some("waited for"), "one"))));
    }

    #[test]
    fn tenants_that_differ_each_time_take_no_more_room_and_nothing_of_other_credentials() {
        let cache = TokenCache::default();
        let wanted = |credential: &str, tenant: &str, claims: Option<&str>| Wanted {
            credential: Name::parse(credential).unwrap(),
            audience: "https://vault.azure.net".to_owned(),
            tenant: Some(tenant.to_owned()),
            claims: claims.map(str::to_owned),
            challenged: claims.and(Name::parse("one").ok()),
        };
        let other = Arc::downgrade(&cache.slot(&wanted("other", "own", None)));
        let waiting = cache.slot(&wanted("corp", "waited for", None));
        for claims in [None, Some("claims")] {
            for count in 0..1000 {
                cache.slot(&wanted("corp", &count.to_string(), claims));
            }
        }
        assert!(cache.0.lock().unwrap().len() <= MAX_OF_CREDENTIAL + 1);
        assert!(other.upgrade().is_some(), "another credential's is kept");
        assert!(Arc::ptr_eq(&waiting, &cache.slot(&wanted("corp", "waited for", None))));
    }
}
