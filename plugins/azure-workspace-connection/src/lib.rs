//! The connections of an Azure ML workspace: `azureml://connections/{c}` is the whole document with its
//! secrets, `/credentials/{k}`, `/metadata/{k}` and `/target` are one field of it.
//!
//! There is no token here: the host adds it to the requests that `plugin.toml` allows. A connection is
//! asked for once, however many of its fields a call wants. No value, and no piece of one, is ever in a
//! failure; names of fields are.
//!
//! Start at [`place`], what a reference means here; then [`document`], what a connection holds by its
//! auth type; [`read`] and [`write`] use both, [`list`] pages, and [`refusal`] reads failures.

#![forbid(unsafe_code)]

pub mod document;
pub mod list;
pub mod place;
pub mod read;
pub mod refusal;
pub mod write;

#[cfg(test)]
mod tests;

use strongroom_plugin::{
    Attributes, Catalog, Context, Failure, Page, Provider, Receipt, Reference, Secret, Value, Writer,
};

use place::{Place, Workspace};

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct WorkspaceConnection;

strongroom_plugin::provider!(WorkspaceConnection: catalog, writer);

impl Provider for WorkspaceConnection {
    fn resolve(context: &Context, reference: &Reference) -> Result<Secret, Failure> {
        read::one(&Workspace::of(context)?, &Place::of(reference)?)
    }

    fn resolve_all(context: &Context, references: &[Reference]) -> Vec<Result<Secret, Failure>> {
        match Workspace::of(context) {
            Ok(workspace) => read::all(&workspace, references),
            Err(failure) => references.iter().map(|_| Err(failure.clone())).collect(),
        }
    }
}

impl Catalog for WorkspaceConnection {
    fn names(context: &Context, scope: &Reference, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure> {
        list::names(&Workspace::of(context)?, scope, prefix, cursor)
    }
}

impl Writer for WorkspaceConnection {
    fn put(
        context: &Context,
        reference: &Reference,
        value: Value,
        attributes: Attributes,
        expected: Option<&str>,
    ) -> Result<Receipt, Failure> {
        write::put(&Workspace::of(context)?, &Place::of(reference)?, &value, &attributes, expected)
    }

    fn remove(context: &Context, reference: &Reference) -> Result<Receipt, Failure> {
        write::remove(&Workspace::of(context)?, &Place::of(reference)?)
    }
}
