//! Credentials that try others in order: `chain`, whose links the operator names, and `default`, whose
//! links are those of Azure's own default chain.
//!
//! They are the host's own and no plugin: a link that is not set up is passed over, and nothing else is. A
//! link that is set up and fails ends the chain, for otherwise a metadata service that is blocked would
//! silently become somebody's own login. For the same reason it is said when another link wins than before.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strongroom_core::config::{Credential, Limits, PluginSource};
use strongroom_core::{Digest, Failure, Kind, Name, Text};
use strongroom_egress::{Challenge, Token};
use strongroom_store::Space;

use crate::credentials::SEALED_VARIABLE;
use crate::environment::Environment;
use crate::keeping::bound_to;
use crate::{Inner, default_chain, unix_now};

/// The name under which a config asks for a chain of its own links.
const CHAIN: &str = "chain";
/// The name under which it asks for Azure's.
const DEFAULT: &str = "default";

/// The most links of a chain.
const MAX_LINKS: usize = 16;

/// How long the link that won the last time is asked first, before those above it.
const WINNER_FIRST: Duration = Duration::from_secs(3600);

/// How old what is known of the winner may become before it is written again.
const WINNER_FRESH: Duration = Duration::from_secs(600);

/// The most that is kept of a chain, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Where it is kept.
const WINNER: &str = "winner";

/// A credential that tries others in order.
pub(crate) struct Chain {
    pub(crate) name: Name,
    pub(crate) credential: Credential,
    pub(crate) links: Vec<Link>,
    /// Which links are there, in short.
    shape: String,
}

/// One link: what it is called, and the credential, or why there is none.
pub(crate) struct Link {
    pub(crate) word: String,
    pub(crate) credential: Result<Name, Failure>,
}

/// A link that has to be made, since no config has it.
pub(crate) struct Made {
    pub(crate) name: Name,
    pub(crate) credential: Credential,
    /// Sealed inputs that are files which the environment names.
    pub(crate) files: BTreeMap<String, String>,
}

/// Which link won, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Winner {
    link: String,
    /// Tenant and identity, as far as they were told.
    who: String,
    /// Which links there were.
    links: String,
    /// When it was written, in seconds since the Unix epoch.
    at: u64,
}

/// The winners of this process, by chain.
#[derive(Default)]
pub(crate) struct Winners(Mutex<HashMap<Name, Winner>>);

impl Winners {
    fn get(&self, chain: &Name) -> Option<Winner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(chain).cloned()
    }

    fn set(&self, chain: &Name, winner: Option<Winner>) {
        let mut winners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match winner {
            Some(winner) => drop(winners.insert(chain.clone(), winner)),
            None => drop(winners.remove(chain)),
        }
    }
}

/// Whether the config's credential is a chain.
pub(crate) fn is_chain(credential: &Credential) -> bool {
    is(credential, CHAIN) || is(credential, DEFAULT)
}

fn is(credential: &Credential, name: &str) -> bool {
    matches!(&credential.plugin, PluginSource::Bundled(plugin) if plugin.as_str() == name)
}

/// Reads a chain, and the links that it brings with it.
///
/// # Errors
/// `config.chain` for what a chain cannot be told; `config.azure-token-credentials`.
pub(crate) fn read(
    name: &Name,
    credential: &Credential,
    environment: &Environment,
) -> Result<(Chain, Vec<Made>), Failure> {
    let wrong =
        |message: String| Failure::new(Kind::InvalidConfig, "config.chain", message).at(credential.source.place(name));
    let is_default = is(credential, DEFAULT);
    let without_effect = [
        ("sealed", !credential.sealed.is_empty()),
        ("grants", credential.grants.is_some()),
        ("network", credential.network.is_some()),
        ("limits", credential.limits != Limits::default()),
        ("tenants", !is_default && !credential.tenants.is_empty()),
    ];
    if let Some((key, _)) = without_effect.into_iter().find(|(_, there)| *there) {
        return Err(wrong(format!("`{key}` has no effect on a chain: each of its links has its own")));
    }
    let config = credential.config.as_object();
    if is_default {
        if config.is_some_and(|config| !config.is_empty()) {
            return Err(wrong("the credential `default` takes no `config`: the environment says it all".into())
                .help("name the tenant and the like in credentials of your own, and those in a `chain`"));
        }
        let (links, made) = default_chain::links(name, credential, environment)
            .map_err(|failure| failure.at(credential.source.place(name)))?;
        return Ok((Chain::new(name, credential, links), made));
    }
    let links = config.filter(|config| config.len() == 1).and_then(|config| config.get("links")?.as_array());
    let links = links.filter(|links| !links.is_empty() && links.len() <= MAX_LINKS);
    let names: Option<Vec<Name>> =
        links.and_then(|links| links.iter().map(|l| Name::parse(l.as_str()?).ok()).collect());
    let Some(names) = names else {
        return Err(wrong("the `config` of a chain is `links`, 1 to 16 names of credentials, and nothing else".into())
            .help("config = { links = [\"machine\", \"me\"] }"));
    };
    let links = names.into_iter().map(|name| Link { word: name.to_string(), credential: Ok(name) }).collect();
    Ok((Chain::new(name, credential, links), Vec::new()))
}

/// Whether the link of that failure is not set up.
fn moves_on(failure: &Failure) -> bool {
    // A variable that is not set, where a credential takes its secret from, is no credential either.
    let unset =
        failure.kind() == Kind::NotFound && failure.attributes().iter().any(|(key, _)| key.as_str() == SEALED_VARIABLE);
    failure.kind() == Kind::NotConfigured || unset
}

impl Chain {
    fn new(name: &Name, credential: &Credential, links: Vec<Link>) -> Self {
        let there: Vec<String> =
            links.iter().map(|link| format!("{} {}", link.word, link.credential.is_ok())).collect();
        let shape = Digest::of(there.join("\n").as_bytes()).to_string();
        Self { name: name.clone(), credential: credential.clone(), links, shape }
    }

    /// The credentials of its links.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.links.iter().filter_map(|link| link.credential.as_ref().ok())
    }

    /// The place of the link that won, if the links are those of then.
    fn position(&self, winner: &Winner) -> Option<usize> {
        let there = |link: &Link| link.word == winner.link && link.credential.is_ok();
        self.links.iter().position(there).filter(|_| winner.links == self.shape)
    }
}

/// What became of one link, in words.
fn verdict(word: &str, failure: &Failure, took: Duration) -> Text {
    Text::new(format!("{word}: {} ({} ms)", failure.message(), took.as_millis()))
}

impl Inner {
    /// A token of the first link that is set up.
    pub(crate) async fn chain_token(
        self: &Arc<Self>,
        chain: &Chain,
        audience: &str,
        challenge: Option<&Challenge>,
        mount: &Name,
        depth: usize,
        deadline: Instant,
    ) -> Result<Token, Failure> {
        self.check_audience(&chain.name, &chain.credential, audience)?;
        let remembered = self.winners.get(&chain.name).or_else(|| self.kept_winner(chain));
        let fresh = remembered
            .as_ref()
            .filter(|winner| unix_now().saturating_sub(Duration::from_secs(winner.at)) < WINNER_FIRST);
        let ask = async |name: &Name| {
            let credential = self
                .mounts
                .credentials
                .get(name)
                .ok_or_else(|| Failure::new(Kind::Internal, "token.credential", "a link of the chain went away"))?;
            let wanted = self.wanted(credential, audience, challenge, mount)?;
            self.token(credential, wanted, challenge.is_some(), depth, deadline).await
        };
        // Who won lately is asked first, and no link twice.
        let first = fresh.and_then(|winner| chain.position(winner));
        let others = (0..chain.links.len()).filter(|at| Some(*at) != first);
        let mut verdicts = Vec::new();
        for (at, link) in first.into_iter().chain(others).filter_map(|at| Some((at, chain.links.get(at)?))) {
            let started = Instant::now();
            let asked = match &link.credential {
                Ok(name) => ask(name).await,
                Err(absent) => Err(absent.clone()),
            };
            match asked {
                Ok((token, who)) => {
                    self.won(chain, link, &who, remembered.as_ref());
                    return Ok(token);
                }
                Err(failure) if moves_on(&failure) => {
                    verdicts.push((at, verdict(&link.word, &failure, started.elapsed())))
                }
                Err(failure) => return Err(told(verdicts, failure.help(stopped(chain, link)))),
            }
        }
        let message = format!("no link of the credential {} is set up here", chain.name);
        let failure = Failure::new(Kind::NotConfigured, "credential.chain", message)
            .at(chain.credential.source.place(&chain.name));
        Err(told(verdicts, failure))
    }

    /// Notes who won, and says so if it is another one than before.
    fn won(&self, chain: &Chain, link: &Link, who: &str, before: Option<&Winner>) {
        let now = unix_now().as_secs();
        let winner = Winner { link: link.word.clone(), who: who.to_owned(), links: chain.shape.clone(), at: now };
        if let Some(before) = before {
            // What nobody told of is no change.
            let other = before.who != winner.who && !before.who.is_empty() && !winner.who.is_empty();
            if before.link != winner.link || other {
                let of = |winner: &Winner| match winner.who.as_str() {
                    "" => winner.link.clone(),
                    who => format!("{} ({who})", winner.link),
                };
                let message =
                    format!("the credential {} is {} now, and was {} before", chain.name, of(&winner), of(before));
                (self.plugins.warn)(
                    Failure::new(Kind::Unauthenticated, "credential.changed", message)
                        .help("if that is not meant: name the one credential in the mount, in place of the chain"),
                );
            } else if now.saturating_sub(before.at) < WINNER_FRESH.as_secs() {
                self.winners.set(&chain.name, Some(before.clone()));
                return;
            }
        }
        self.winners.set(&chain.name, Some(winner.clone()));
        // A store is not made for this alone.
        if let Ok(Some(space)) = self.chain_space(chain)
            && let Ok(bytes) = serde_json::to_vec(&winner)
        {
            let _ = space.set(WINNER, &bytes);
        }
    }

    fn chain_space(&self, chain: &Chain) -> Result<Option<Space>, Failure> {
        let source = &chain.credential.source;
        let bound = bound_to(&format!("{:?}\n{}", source.layer, source.origin));
        self.vault.space(&chain.name, &format!("chain {bound}"), MAX_BYTES, false)
    }

    fn kept_winner(&self, chain: &Chain) -> Option<Winner> {
        let bytes = self.chain_space(chain).ok()??.get(WINNER).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    /// Forgets which link won.
    pub(crate) fn forget_winner(&self, chain: &Chain) -> Result<(), Failure> {
        self.winners.set(&chain.name, None);
        if let Some(space) = self.chain_space(chain)? {
            space.delete(WINNER)?;
        }
        Ok(())
    }
}

/// The failure, with what became of the links before: in the order of the chain, whichever was asked first.
fn told(mut verdicts: Vec<(usize, Text)>, failure: Failure) -> Failure {
    verdicts.sort_by_key(|(at, _)| *at);
    verdicts.into_iter().fold(failure, |failure, (_, verdict)| failure.help(verdict))
}

fn stopped(chain: &Chain, link: &Link) -> String {
    let Chain { name, credential, .. } = chain;
    let narrowed = match is(credential, DEFAULT) {
        true => "; AZURE_TOKEN_CREDENTIALS leaves links out, such as `dev` on a machine that is none of Azure's",
        false => "",
    };
    let word = &link.word;
    format!("the link {word} of the credential {name} is set up and failed, so no other link is tried{narrowed}")
}
