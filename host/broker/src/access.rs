//! Who may have what, for a server to ask before it resolves: the policy's questions in the mounts' words.

use strongroom_core::config::Access;
use strongroom_core::{Failure, Name, Reference};

use crate::Strongroom;

/// What a policy is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed<'a> {
    /// The mount that answers.
    pub mount: &'a Name,
    /// The host that the reference names, for schemes that have one.
    pub host: Option<&'a str>,
    /// The joined path.
    pub path: String,
}

impl Strongroom {
    /// Which mount answers a reference or the scope of a listing, and what a policy is asked about it. Nothing is
    /// resolved, and the mount's own `allow` is not asked.
    ///
    /// # Errors
    /// `unknown-mount` if no mount or more than one would answer.
    pub fn routed<'a>(&'a self, reference: &'a Reference) -> Result<Routed<'a>, Failure> {
        let mount = self.0.mounts.router.route(reference)?;
        Ok(Routed { mount, host: reference.authority.as_deref(), path: reference.joined_path() })
    }

    /// The callers, issuers and rules of the config.
    pub fn access(&self) -> &Access {
        &self.0.access
    }
}
