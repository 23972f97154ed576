//! What a guest may be handed, one module each, all of one shape: a trait or a value that says what
//! the broker supplies, and the host functions that give it to the guest.
//!
//! Adding a capability is a copy of the smallest ([`env`]) and a line in [`grants_of_import`] and in the linker.
//!
//! [`grants_of_import`]: crate::plugin::grants_of_import

pub mod clock;
pub mod env;
mod http;
pub mod log;
pub mod random;
pub mod sealed;
pub mod signer;
pub mod store;
pub mod tool;
mod wasi_stub;

pub(crate) use self::http::Http;
pub(crate) use self::wasi_stub::{INTERFACES as STUBBED, link as link_stub};

use std::sync::Arc;

/// What one call may reach. An interface that is granted but not supplied answers as empty.
#[derive(Clone, Default)]
pub struct Capabilities {
    /// Where log lines go.
    pub log: Option<Arc<dyn log::LogSink>>,
    /// The variables this call may read.
    pub env: Option<Arc<dyn env::Variables>>,
    /// The mount's part of the store, as this call may use it.
    pub store: Option<Arc<dyn store::StoreAccess>>,
    /// The call's way to its backend.
    pub http: Option<Arc<strongroom_egress::Reach>>,
    /// The sealed inputs of the credential that a token is asked for.
    pub sealed: Option<Arc<dyn sealed::SealedInputs>>,
    /// The credential's keys.
    pub signer: Option<Arc<dyn signer::Signer>>,
    /// The programs that it may have run.
    pub tools: Option<Arc<dyn tool::Tools>>,
}

impl std::fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capabilities")
            .field("log", &self.log.is_some())
            .field("env", &self.env.is_some())
            .field("store", &self.store.is_some())
            .field("http", &self.http.is_some())
            .field("sealed", &self.sealed.is_some())
            .field("signer", &self.signer.is_some())
            .field("tools", &self.tools.is_some())
            .finish()
    }
}
