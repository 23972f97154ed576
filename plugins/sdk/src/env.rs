//! Environment variables of the host; the grant `env`.
//!
//! A call sees the variables that the manifest's `[env] names` gives for its own references. Any
//! other looks absent.

use crate::bindings::strongroom::plugin::env;

/// The variable `name`, if it is set and this call may read it.
#[must_use]
pub fn get(name: &str) -> Option<String> {
    env::get(name)
}

/// The names that this call may read and that are set.
#[must_use]
pub fn names() -> Vec<String> {
    env::names()
}
