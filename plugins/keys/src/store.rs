//! The store that the host lends to the mount, as this plugin uses it.
//!
//! Everything above is written over the trait, so that it can be run against a store that dies
//! between any two operations.

use crate::Failure;
use crate::bindings::strongroom::plugin::store;

/// One space of keys and bytes, shared with every other process that uses the mount.
pub trait Store {
    /// The value of `key`.
    ///
    /// # Errors
    /// What the host says; so for all that follow.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure>;

    /// Removes `key`. False if there was none.
    ///
    /// # Errors
    /// What the host says.
    fn delete(&self, key: &str) -> Result<bool, Failure>;

    /// Puts `new` where `expected` is now, at once; `None` stands for an absent key. False if
    /// `expected` was not there.
    ///
    /// # Errors
    /// What the host says. It may then have happened or not.
    fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, Failure>;

    /// A page of keys that begin with `prefix`, and the cursor of the next page.
    ///
    /// # Errors
    /// What the host says.
    fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>), Failure>;
}

/// The store of the host.
#[derive(Debug)]
pub struct HostStore;

impl Store for HostStore {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        store::get(key)
    }

    fn delete(&self, key: &str) -> Result<bool, Failure> {
        store::delete(key)
    }

    fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, Failure> {
        store::swap(key, expected, new)
    }

    fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>), Failure> {
        store::keys(prefix, cursor)
    }
}

/// Every key that begins with `prefix`.
///
/// # Errors
/// What the store says.
pub fn all_keys(store: &impl Store, prefix: &str) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let (keys, next) = store.keys(prefix, cursor.as_deref())?;
        all.extend(keys);
        // A cursor that stands still would never end.
        if next.is_none() || next == cursor {
            return Ok(all);
        }
        cursor = next;
    }
}
