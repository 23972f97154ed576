//! The mount's own part of the host's encrypted store; the grant `store`.
//!
//! Other mounts and other plugins have their own. It cannot be changed while `resolve` or `names`
//! runs, and keys may be bound to the reference by the manifest's `[store] prefix`.
//!
//! All functions fail with what the host says: the store cannot be opened, or a limit was met.

use crate::Failure;
use crate::bindings::strongroom::plugin::store;

/// The value of `key`.
///
/// # Errors
/// What the host says.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Failure> {
    store::get(key).map_err(Into::into)
}

/// Puts `value` at `key`.
///
/// # Errors
/// What the host says.
pub fn set(key: &str, value: &[u8]) -> Result<(), Failure> {
    store::set(key, value).map_err(Into::into)
}

/// Removes `key`. False if there was none.
///
/// # Errors
/// What the host says.
pub fn delete(key: &str) -> Result<bool, Failure> {
    store::delete(key).map_err(Into::into)
}

/// Puts `new` where `expected` is now, at once; `None` stands for an absent key. False if `expected`
/// was not there.
///
/// # Errors
/// What the host says; it may then have happened or not.
pub fn swap(key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, Failure> {
    store::swap(key, expected, new).map_err(Into::into)
}

/// A page of the keys that begin with `prefix`, and the cursor of the next page if there is one.
///
/// # Errors
/// What the host says.
pub fn keys(prefix: &str, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>), Failure> {
    store::keys(prefix, cursor).map_err(Into::into)
}
