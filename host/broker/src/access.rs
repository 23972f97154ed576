//! What a server needs to know of a config to decide who may do what, and how it gets an issuer's keys.

use std::borrow::Cow;
use std::time::Instant;

use strongroom_core::config::Access;
use strongroom_core::policy::{Accounts, Policy};
use strongroom_core::{Failure, Kind, Name, Network, Origin, Reference};
use strongroom_egress::fetch;

use crate::Strongroom;
use crate::mounts::Mounts;

/// What of a reference a policy decides about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed<'a> {
    /// The mount that answers it.
    pub mount: &'a Name,
    /// The host it names.
    pub host: Option<&'a str>,
    /// Its joined path.
    pub path: Cow<'a, str>,
}

/// Finds rules that would have no effect, which only shows once it is known how references read.
pub(crate) fn check(access: &Access, mounts: &Mounts) -> Result<(), Failure> {
    for rule in access.rules.iter().filter(|rule| !rule.hosts.is_empty()) {
        let mounted = rule.mounts.iter().filter_map(|name| mounts.all.get(name));
        let hostless = |scheme: &str| mounts.shapes.get(scheme).is_some_and(|shape| !shape.has_authority());
        if let Some(mounted) = mounted.into_iter().find(|mounted| hostless(&mounted.scheme)) {
            let (name, scheme) = (&mounted.name, &mounted.scheme);
            let message = format!("a rule's `hosts` denies all of {name}: references of `{scheme}:` name no host");
            return Err(Failure::new(Kind::InvalidConfig, "config.policy", message)
                .at(rule.source.place(name))
                .help("write a rule without `hosts` for that mount"));
        }
    }
    Ok(())
}

impl Strongroom {
    /// The mount that answers a reference, its host and its joined path: what a policy decides about. Asks nobody, and
    /// says nothing of the mount's own `hosts` and `allow`.
    ///
    /// # Errors
    /// `unknown-mount` if no mount answers it.
    pub fn routed<'a>(&'a self, reference: &'a Reference) -> Result<Routed<'a>, Failure> {
        let mount = self.0.mounts.router.route(reference)?;
        Ok(Routed { mount, host: reference.authority.as_deref(), path: reference.joined_path() })
    }

    /// Who may do what, as the config says. `accounts` tells the numbers of the accounts that it names; for a
    /// server, [`SystemAccounts`](crate::SystemAccounts).
    ///
    /// # Errors
    /// `config.account` for an account that there is not.
    pub fn policy(&self, accounts: &dyn Accounts) -> Result<Policy, Failure> {
        Policy::new(&self.0.access, accounts)
    }

    /// `[callers]`, `[issuers]` and `[[policy]]` of the config.
    pub fn access(&self) -> &Access {
        &self.0.access
    }

    /// Fetches a document that the config itself names, such as an issuer's keys: over https, with the config's own
    /// addresses and certificate authorities, within five seconds, at most 256 KiB.
    ///
    /// # Errors
    /// As [`fetch::document`]; `offline` where nothing is asked over the network.
    pub async fn fetch(&self, origin: &Origin, target: &str, network: &Network) -> Result<Vec<u8>, Failure> {
        self.0.keeping.online()?;
        let deadline = Instant::now() + fetch::DEADLINE;
        let body = fetch::document(&self.0.client, origin, target, network, self.0.cas()?, deadline).await?;
        Ok(body.to_vec())
    }

    /// Hands JSON in at an address that the config itself names, such as a collector's, as [`Strongroom::fetch`] fetches.
    /// Gives the answer's body, of at most 16 KiB.
    ///
    /// # Errors
    /// As [`fetch::hand_in`]; `offline` where nothing is asked over the network.
    pub async fn hand_in(
        &self,
        origin: &Origin,
        target: &str,
        network: &Network,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        self.0.keeping.online()?;
        let deadline = Instant::now() + fetch::DEADLINE;
        let cas = self.0.cas()?;
        let body = fetch::hand_in(&self.0.client, origin, target, network, cas, body.into(), deadline).await?;
        Ok(body.to_vec())
    }
}
