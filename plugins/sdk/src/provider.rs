//! What a provider is: [`Provider`], and the abilities that it may have besides.
//!
//! Every call is a new instance of the plugin: there is no state to keep, so no method has a `self`.
//! [`provider!`](crate::provider!) exports what is named, and nothing else.

use crate::{Attributes, Context, Failure, Page, Receipt, Reference, Secret, Value};

/// Answers references.
pub trait Provider {
    /// The secret that `reference` names.
    ///
    /// # Errors
    /// Whatever the provider finds; `?` on what this crate's functions give is mostly right.
    fn resolve(context: &Context, reference: &Reference) -> Result<Secret, Failure>;

    /// Answers several references at once: **exactly one answer for each, in their order**. To be
    /// overridden where the backend reads many in one request. It is given more than one only if the
    /// manifest's `batch` allows that.
    fn resolve_all(context: &Context, references: &[Reference]) -> Vec<Result<Secret, Failure>> {
        references.iter().map(|reference| Self::resolve(context, reference)).collect()
    }
}

/// Lists names.
pub trait Catalog {
    /// A page of the names under `scope` that begin with `prefix` (empty: all), from `cursor`, the
    /// [`Page::next`] of the page before. A `state` selector of `deleted` on the scope asks for what
    /// is soft-deleted.
    ///
    /// # Errors
    /// Whatever the provider finds.
    fn names(context: &Context, scope: &Reference, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure>;
}

/// Sets and deletes.
pub trait Writer {
    /// Sets `reference` to `value`. With `expected`, only if that is its version now, or, if it is empty,
    /// only if there is none yet.
    ///
    /// # Errors
    /// Kind conflict if `expected` is not the current version; else whatever the provider finds.
    fn put(
        context: &Context,
        reference: &Reference,
        value: Value,
        attributes: Attributes,
        expected: Option<&str>,
    ) -> Result<Receipt, Failure>;

    /// Deletes `reference`; a `version` selector means that version alone.
    ///
    /// # Errors
    /// Whatever the provider finds.
    fn remove(context: &Context, reference: &Reference) -> Result<Receipt, Failure>;
}

/// Changes what is known about a secret, not its value.
pub trait Annotator {
    /// Sets `attributes` of `reference`.
    ///
    /// # Errors
    /// Whatever the provider finds.
    fn annotate(context: &Context, reference: &Reference, attributes: Attributes) -> Result<Receipt, Failure>;
}

/// Versions and soft delete.
pub trait Lifecycle {
    /// A page of the versions of `reference`, from `cursor`.
    ///
    /// # Errors
    /// Whatever the provider finds.
    fn versions(context: &Context, reference: &Reference, cursor: Option<&str>) -> Result<Page, Failure>;

    /// Brings a deleted secret back.
    ///
    /// # Errors
    /// Kind unsupported where the backend has no soft delete; else whatever the provider finds.
    fn recover(context: &Context, reference: &Reference) -> Result<Receipt, Failure>;

    /// Removes for good. What is purged is gone.
    ///
    /// # Errors
    /// Kind unsupported where the backend has no soft delete; else whatever the provider finds.
    fn purge(context: &Context, reference: &Reference) -> Result<Receipt, Failure>;
}
