//! The secrets that the v1 SDK of Azure ML keeps with a workspace: `azureml://keyvault/{name}` is what
//! `Keyvault.get_secret` and `Run.get_secret` read.
//!
//! The service stands in front of the workspace's own vault; the caller needs no permission there. It
//! has no versions, and no way to recover what was deleted. There is no token here: the host adds it to
//! the requests that `plugin.toml` allows. No value, and no piece of one, is ever in a failure.
//!
//! Start at [`place`], what a reference means here; [`read`] asks for one secret or many, [`write`] sets,
//! deletes and lists, and [`refusal`] reads failures.

#![forbid(unsafe_code)]

pub mod place;
pub mod read;
pub mod refusal;
pub mod write;

#[cfg(test)]
mod tests;

use strongroom_plugin::{
    Attributes, Catalog, Context, Failure, Page, Provider, Receipt, Reference, Secret, Value, Writer,
};

use place::{Workspace, name_of};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct MlKeyVault;

strongroom_plugin::provider!(MlKeyVault: catalog, writer);

impl Provider for MlKeyVault {
    fn resolve(context: &Context, reference: &Reference) -> Result<Secret, Failure> {
        read::one(&Workspace::of(context)?, name_of(reference)?)
    }

    fn resolve_all(context: &Context, references: &[Reference]) -> Vec<Result<Secret, Failure>> {
        match Workspace::of(context) {
            Ok(workspace) => read::all(&workspace, references),
            Err(failure) => references.iter().map(|_| Err(failure.clone())).collect(),
        }
    }
}

impl Catalog for MlKeyVault {
    fn names(context: &Context, scope: &Reference, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure> {
        write::names(&Workspace::of(context)?, scope, prefix, cursor)
    }
}

impl Writer for MlKeyVault {
    fn put(
        context: &Context,
        reference: &Reference,
        value: Value,
        attributes: Attributes,
        expected: Option<&str>,
    ) -> Result<Receipt, Failure> {
        write::put(&Workspace::of(context)?, name_of(reference)?, &value, &attributes, expected)
    }

    fn remove(context: &Context, reference: &Reference) -> Result<Receipt, Failure> {
        write::remove(&Workspace::of(context)?, name_of(reference)?)
    }
}
