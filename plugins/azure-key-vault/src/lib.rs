//! The secrets of Azure Key Vault: `keyvault:https://{vault-host}/secrets/{name}[/{version}]`.
//!
//! There is no token here: the host adds it to the requests that `plugin.toml` allows, answers the
//! vault's challenges and tries again where the vault asks for that, so what this plugin sees is final.
//! A vault's words of a failure name identities and addresses: they are read by code, told in words of
//! our own, and go to the log at debug. No value, and no piece of one, is ever in a failure or a line.
//!
//! Start at [`place`], what a reference means here; [`bundle`] reads the vault's answers and
//! [`refusal`] its failures; [`list`] pages; [`change`] sets and annotates; [`deletion`] deletes,
//! recovers and purges.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod change;
pub mod deletion;
pub mod list;
pub mod place;
pub mod read;
pub mod refusal;

#[cfg(test)]
mod tests;

use strongroom_plugin::{
    Annotator, Attributes, Catalog, Context, Failure, Lifecycle, Page, Provider, Receipt, Reference, Secret, Value,
    Writer,
};

use place::{Place, Scope};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct KeyVault;

strongroom_plugin::provider!(KeyVault: catalog, writer, annotator, lifecycle);

impl Provider for KeyVault {
    fn resolve(context: &Context, reference: &Reference) -> Result<Secret, Failure> {
        read::secret(&context.config()?, &Place::of(reference)?)
    }
}

impl Catalog for KeyVault {
    fn names(_: &Context, scope: &Reference, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure> {
        list::names(&Scope::of(scope)?, prefix, cursor)
    }
}

impl Writer for KeyVault {
    fn put(
        _: &Context,
        reference: &Reference,
        value: Value,
        attributes: Attributes,
        expected: Option<&str>,
    ) -> Result<Receipt, Failure> {
        change::put(&Place::of(reference)?, &value, &attributes, expected)
    }

    fn remove(context: &Context, reference: &Reference) -> Result<Receipt, Failure> {
        deletion::remove(&Place::of(reference)?, context.deadline_ms)
    }
}

impl Annotator for KeyVault {
    fn annotate(_: &Context, reference: &Reference, attributes: Attributes) -> Result<Receipt, Failure> {
        change::annotate(&Place::of(reference)?, &attributes)
    }
}

impl Lifecycle for KeyVault {
    fn versions(_: &Context, reference: &Reference, cursor: Option<&str>) -> Result<Page, Failure> {
        list::versions(&Place::of(reference)?, cursor)
    }

    fn recover(context: &Context, reference: &Reference) -> Result<Receipt, Failure> {
        deletion::recover(&Place::of(reference)?, context.deadline_ms)
    }

    fn purge(_: &Context, reference: &Reference) -> Result<Receipt, Failure> {
        deletion::purge(&Place::of(reference)?)
    }
}
