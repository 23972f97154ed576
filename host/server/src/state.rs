//! What a request is answered with, swapped whole when the config changes: requests that run keep what they
//! began with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use strongroom::{Audit, Strongroom};
use strongroom_core::policy::Policy;

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
    /// What stands behind the doors.
    pub(crate) doors: InForce,
    /// How much is taken on.
    pub(crate) limits: Limits,
    /// Where the Vault door leads; `None` where the config does not say.
    pub(crate) vault: Option<vault::Mounts>,
}

/// What all listeners share.
pub(crate) struct House {
    state: ArcSwap<State>,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
    sessions: Arc<vault::Sessions>,
}

impl House {
    pub(crate) fn new(state: State, metrics: Arc<Metrics>) -> Self {
        Self {
            state: ArcSwap::from_pointee(state),
            metrics,
            draining: AtomicBool::new(false),
            sessions: Arc::default(),
        }
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
