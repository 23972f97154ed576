//! The custom keys provider: groups of named keys, with metadata and a target, in the host's
//! encrypted store. `docs/keys.md` is what a user reads.
//!
//! The shape is that of Azure ML's custom connections, so that a program finds the same document
//! and the same fields under `keys://` as under `azureml://connections/`.
//!
//! Start at [`place`], what a reference means here; [`head`], the one record that says what a group
//! holds; and [`change`], how a group changes while others read and change it, and any of them may
//! be killed at any moment. This plugin must never put a value, or a piece of one, in a failure.

pub mod change;
pub mod deletion;
pub mod document;
pub mod head;
pub mod list;
pub mod place;
pub mod read;
pub mod store;
pub mod write;

#[cfg(test)]
mod tests;

mod bindings {
    #![allow(unsafe_code, missing_docs, clippy::all, clippy::mem_forget, clippy::indexing_slicing, clippy::unwrap_used)]
    //! Made from the contract by wit-bindgen.

    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package strongroom:keys-plugin;
            world plugin {
                import strongroom:plugin/store@0.1.0;
                export strongroom:plugin/provider@0.1.0;
                export strongroom:plugin/catalog@0.1.0;
                export strongroom:plugin/writer@0.1.0;
                export strongroom:plugin/annotator@0.1.0;
                export strongroom:plugin/lifecycle@0.1.0;
            }
        ",
        world: "strongroom:keys-plugin/plugin",
        generate_all,
    });

    #[cfg(target_arch = "wasm32")]
    export!(Plugin with_types_in self);

    #[cfg(target_arch = "wasm32")]
    use super::Plugin;
}

use bindings::exports::strongroom::plugin::{annotator, catalog, lifecycle, provider, writer};
pub use bindings::strongroom::plugin::types::{Context, Entry, Failure, Kind, Page, Receipt, Reference, Secret, Value};
use place::Place;
use store::HostStore;

/// Open data of the contract: names and texts.
pub type Attributes = [(String, String)];

/// The standard library's own allocator, in a patch that begins with the room that the builder leaves: a call that needs no
/// more has a memory that does not grow.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The plugin. It has no state: every call is a new instance.
#[derive(Debug)]
pub struct Plugin;

impl provider::Guest for Plugin {
    fn resolve(ctx: Context, refs: Vec<Reference>) -> Vec<Result<Secret, Failure>> {
        match change::Settings::of(&ctx) {
            Ok(settings) => read::resolve(&HostStore, settings.now, &refs),
            Err(failure) => refs.iter().map(|_| Err(failure.clone())).collect(),
        }
    }
}

impl catalog::Guest for Plugin {
    fn names(ctx: Context, scope: Reference, prefix: Option<String>, cursor: Option<String>) -> Result<Page, Failure> {
        let prefix = prefix.as_deref().unwrap_or_default();
        list::names(&HostStore, &change::Settings::of(&ctx)?, &scope, prefix, cursor.as_deref())
    }
}

impl writer::Guest for Plugin {
    fn put(
        ctx: Context,
        reference: Reference,
        value: Value,
        attributes: Vec<(String, String)>,
        expected: Option<String>,
    ) -> Result<Receipt, Failure> {
        let place = Place::of(&reference)?;
        write::put(&HostStore, &change::Settings::of(&ctx)?, &place, value, &attributes, expected.as_deref())
    }

    fn remove(ctx: Context, reference: Reference) -> Result<Receipt, Failure> {
        deletion::remove(&HostStore, &change::Settings::of(&ctx)?, &Place::of(&reference)?)
    }
}

impl annotator::Guest for Plugin {
    fn annotate(ctx: Context, reference: Reference, attributes: Vec<(String, String)>) -> Result<Receipt, Failure> {
        write::annotate(&HostStore, &change::Settings::of(&ctx)?, &Place::of(&reference)?, &attributes)
    }
}

impl lifecycle::Guest for Plugin {
    fn versions(ctx: Context, reference: Reference, cursor: Option<String>) -> Result<Page, Failure> {
        list::versions(&HostStore, &change::Settings::of(&ctx)?, &Place::of(&reference)?, cursor.as_deref())
    }

    fn recover(ctx: Context, reference: Reference) -> Result<Receipt, Failure> {
        deletion::recover(&HostStore, &change::Settings::of(&ctx)?, &Place::of(&reference)?)
    }

    fn purge(ctx: Context, reference: Reference) -> Result<Receipt, Failure> {
        deletion::purge(&HostStore, &change::Settings::of(&ctx)?, &Place::of(&reference)?)
    }
}

/// A failure of this plugin. `message` says what and why, and never holds a value.
pub fn failure(kind: Kind, code: &str, message: impl Into<String>) -> Failure {
    Failure { kind, code: code.into(), message: message.into(), retry_after_ms: None, attributes: Vec::new() }
}
