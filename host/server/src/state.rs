//! What a request is answered with, swapped whole when the config changes: requests that run keep what they
//! began with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use strongroom::{Audit, Failure, Strongroom, SystemAccounts};
use strongroom_callers::{Fetch, Verifier};
use strongroom_core::policy::Policy;

use crate::as_azure::{Handed, RunTokens};
use crate::doors::scopes::InForce;
use crate::doors::vault;
use crate::identify::Identifier;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::traces::Traces;

/// One config in force.
pub(crate) struct State {
    /// The broker. Only the gate uses it.
    pub(crate) strongroom: Strongroom,
    /// Where every operation is written down; `None` where the config has no audit log.
    pub(crate) audit: Option<Audit>,
    /// Who may have what.
    pub(crate) policy: Policy,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Where spans go; `None` where the config does not say.
    pub(crate) traces: Option<Traces>,
    /// Who callers are.
    pub(crate) identifier: Identifier,
    /// Whom the identifier asks for an issuer's keys. It may have come with an earlier config, and must keep none.
    pub(crate) fetcher: Arc<ArcSwap<Strongroom>>,
    /// What stands behind the doors.
    pub(crate) doors: InForce,
    /// How much is taken on.
    pub(crate) limits: Limits,
    /// Where the Vault door leads; `None` where the config does not say.
    pub(crate) vault: Option<vault::Mounts>,
    /// Told of each value before it leaves.
    pub(crate) handed: Option<Handed>,
}

impl State {
    /// What the config of `strongroom` says. `before` is what is in force: what it has that still fits is taken over.
    ///
    /// # Errors
    /// What is wrong with the config.
    pub(crate) fn read(
        strongroom: Strongroom,
        doors: InForce,
        metrics: &Arc<Metrics>,
        before: Option<&Self>,
    ) -> Result<Self, Failure> {
        let (verifier, fetcher) = verifier(&strongroom, before);
        Ok(Self {
            audit: strongroom.audit()?,
            policy: strongroom.policy(&SystemAccounts)?,
            identifier: Identifier::new(verifier),
            fetcher,
            doors,
            limits: Limits::new(strongroom.server_config()),
            metrics: Arc::clone(metrics),
            traces: None,
            vault: vault::Mounts::read(&strongroom)?,
            handed: None,
            strongroom,
        })
    }
}

/// What verifies JWTs, and whom it asks. While the issuers stay the same so do their keys: a reload is no reason to ask
/// for them.
fn verifier(strongroom: &Strongroom, before: Option<&State>) -> (Verifier, Arc<ArcSwap<Strongroom>>) {
    let issuers = &strongroom.access().issuers;
    let same = |before: &&State| {
        let before = &before.strongroom.access().issuers;
        before.len() == issuers.len()
            && before.iter().zip(issuers).all(|(one, two)| one.0 == two.0 && one.1.verifies_as(two.1))
    };
    if let Some(before) = before.filter(same) {
        return (before.identifier.verifier().clone(), Arc::clone(&before.fetcher));
    }
    let fetcher = Arc::new(ArcSwap::from_pointee(strongroom.clone()));
    let asked = Arc::clone(&fetcher);
    let fetch: Fetch = Arc::new(move |issuer| {
        let (strongroom, issuer) = (asked.load_full(), issuer.clone());
        Box::pin(async move { strongroom.fetch(&issuer.origin, &issuer.target, &issuer.network).await })
    });
    (Verifier::new(issuers, fetch), fetcher)
}

/// What all listeners share.
pub(crate) struct House {
    state: ArcSwap<State>,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
    sessions: Arc<vault::Sessions>,
    run: Option<RunTokens>,
}

impl House {
    pub(crate) fn new(state: State, metrics: Arc<Metrics>) -> Self {
        Self {
            state: ArcSwap::from_pointee(state),
            metrics,
            draining: AtomicBool::new(false),
            sessions: Arc::default(),
            run: None,
        }
    }

    /// For the child of one run, whose tokens are these.
    pub(crate) fn for_run(self, tokens: RunTokens) -> Self {
        Self { run: Some(tokens), ..self }
    }

    /// The tokens of the one run that this is for.
    pub(crate) fn run(&self) -> Option<&RunTokens> {
        self.run.as_ref()
    }

    /// What is in force now.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Requests that come from now on get this one.
    pub(crate) fn replace(&self, state: State) {
        state.fetcher.store(Arc::new(state.strongroom.clone()));
        self.state.store(Arc::new(state));
    }

    /// The tokens that the Vault door has given, which outlive a config.
    pub(crate) fn sessions(&self) -> &Arc<vault::Sessions> {
        &self.sessions
    }

    /// From now on the server is not ready: whoever asks sends its clients elsewhere.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
