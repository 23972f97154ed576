//! The secrets of one run: random, known to the child, and kept here as digests alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strongroom::Failure;
use strongroom_core::policy::Identity;
use zeroize::Zeroizing;

use crate::token::{self, digest};

/// What stands before the proxy's secret, as the name of a user.
pub(super) const USER: &str = "strongroom";

/// When the job's token ends, in seconds since the Unix epoch: its client asks for the next one shortly before, and wants
/// to know. The year 2100: what ends it is the run.
const FAR: u64 = 4_102_444_800;

/// What the child gets.
pub(super) struct Given {
    /// For the proxy.
    pub(super) proxy: Zeroizing<String>,
    /// For the endpoint of the identity.
    pub(super) identity: Zeroizing<String>,
    /// What the identity's endpoint gives for vaults.
    vault: Zeroizing<String>,
    /// The run's token: it looks like a JWT, as Azure ML's client wants it.
    pub(super) job: Zeroizing<String>,
}

/// What tells that a request is the child's. The secrets themselves are not kept but where they are handed out.
pub(crate) struct RunTokens {
    proxy: [u8; 32],
    identity: [u8; 32],
    vault: (Zeroizing<String>, [u8; 32]),
    job: [u8; 32],
    child: Identity,
}

impl Given {
    pub(super) fn random() -> Result<Self, Failure> {
        let job = token::shaped_as_jwt(FAR, &token::new()?);
        Ok(Self { proxy: token::new()?, identity: token::new()?, vault: token::new()?, job })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Zeroizing<String>> {
        [&self.proxy, &self.identity, &self.vault, &self.job].into_iter()
    }

    pub(super) fn digests(&self) -> RunTokens {
        let gids = rustix::process::getgroups().unwrap_or_default();
        let gids = gids.into_iter().chain([rustix::process::getegid()]).map(rustix::process::Gid::as_raw).collect();
        let uid = rustix::process::geteuid().as_raw();
        let proxy = Zeroizing::new(format!("{USER}:{}", *self.proxy));
        RunTokens {
            proxy: digest(&Zeroizing::new(STANDARD.encode(proxy.as_bytes()))),
            identity: digest(&self.identity),
            vault: (self.vault.clone(), digest(&self.vault)),
            job: digest(&self.job),
            // The child is the user's, like this process.
            child: Identity::Unix { uid, gids },
        }
    }
}

impl RunTokens {
    fn child_if(&self, same: bool) -> Option<Identity> {
        same.then(|| self.child.clone())
    }

    /// Whether these are the proxy's credentials, in base64 (RFC 7617).
    pub(crate) fn is_proxy(&self, credentials: &str) -> bool {
        digest(credentials) == self.proxy
    }

    /// Who shows this at the identity's endpoint.
    pub(crate) fn at_identity(&self, header: &str) -> Option<Identity> {
        self.child_if(digest(header) == self.identity)
    }

    /// Who shows this at the Key Vault door.
    pub(crate) fn at_vault(&self, token: &str) -> Option<Identity> {
        self.child_if(digest(token) == self.vault.1)
    }

    /// Who shows this at the Azure ML door.
    pub(crate) fn at_job(&self, token: &str) -> Option<Identity> {
        self.child_if(digest(token) == self.job)
    }

    /// The token that the Key Vault door accepts.
    pub(crate) fn vault(&self) -> &Zeroizing<String> {
        &self.vault.0
    }
}
