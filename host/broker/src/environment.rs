//! The process's environment, captured once.
//!
//! This is the only place that reads it. What `STRONGROOM_*` says is for the host itself: it is
//! never handed to a plugin or to a child.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use zeroize::Zeroize;

/// Variables that begin with this are the host's own.
pub const OWN_PREFIX: &str = "STRONGROOM_";

/// A snapshot of the environment.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Drop for Environment {
    fn drop(&mut self) {
        // What the system handed to this process stays where it put it; these are our copies.
        std::mem::take(&mut self.0).into_values().for_each(|value| value.into_encoded_bytes().zeroize());
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

impl Environment {
    /// The environment of this process, now.
    pub fn capture() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The value of `name`, if it is there, UTF-8 and not empty: how settings are read.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(OsStr::to_str).filter(|value| !value.is_empty())
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The variables a child inherits: all but the host's own and the `sealed`, which feed credentials;
    /// and of those the ones in `keep`.
    pub fn for_child(&self, sealed: &BTreeSet<String>, keep: &[String]) -> Vec<(OsString, OsString)> {
        let inherits = |name: &OsStr| !is_withheld(name, sealed) || keep.iter().any(|kept| name == kept.as_str());
        self.iter()
            .filter(|(name, _)| inherits(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Whether a variable is handed to nobody without a word of the user's: the host's own, and the `sealed`, which
/// feed credentials.
pub(crate) fn is_withheld(name: &OsStr, sealed: &BTreeSet<String>) -> bool {
    is_own(name) || name.to_str().is_some_and(|name| sealed.contains(name))
}

/// True for the host's own variables.
pub fn is_own(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(OWN_PREFIX.as_bytes())
}
