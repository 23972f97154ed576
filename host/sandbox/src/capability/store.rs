//! `store`: the mount's own part of the host's encrypted store.

use async_trait::async_trait;
use strongroom_core::Failure;

use crate::bindings::strongroom::plugin::{store, types};
use crate::call::State;
use crate::convert;

/// The store as one call may use it: bound to mount and lineage, to the reference's prefix, and
/// read-only where the function only reads. The implementation holds all three.
#[async_trait]
pub trait StoreAccess: Send + Sync {
    /// The value of `key`.
    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, Failure>;
    /// Sets `key`.
    async fn set(&self, key: String, value: Vec<u8>) -> Result<(), Failure>;
    /// Removes `key`; true if it was there.
    async fn delete(&self, key: String) -> Result<bool, Failure>;
    /// Sets `key` to `new` if it holds `expected` (`None`: absent). True if it did.
    async fn swap(&self, key: String, expected: Option<Vec<u8>>, new: Option<Vec<u8>>) -> Result<bool, Failure>;
    /// A page of keys that begin with `prefix`, after `cursor`, and the next cursor.
    async fn keys(&self, prefix: String, cursor: Option<String>) -> Result<(Vec<String>, Option<String>), Failure>;
}

impl State {
    fn store_access(&self) -> Result<std::sync::Arc<dyn StoreAccess>, types::Failure> {
        self.capabilities.store.clone().ok_or_else(|| {
            convert::failure_to_guest(&Failure::new(
                strongroom_core::Kind::Unsupported,
                "store.none",
                "this call has no part of the store",
            ))
        })
    }
}

/// Gives the guest an answer or a failure; the failure is also kept, because what the store says
/// (a wrong passphrase, a full disk) is the host's own word and must not be retold by a guest.
macro_rules! answer {
    ($state:expr, $result:expr) => {
        match $result {
            Ok(value) => Ok(Ok(value)),
            Err(failure) => {
                let told = convert::failure_to_guest(&failure);
                $state.host_failure.get_or_insert(failure);
                Ok(Err(told))
            }
        }
    };
}

type Answer<T> = wasmtime::Result<Result<T, types::Failure>>;

impl store::Host for State {
    async fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        let access = match self.store_access() {
            Ok(access) => access,
            Err(failure) => return Ok(Err(failure)),
        };
        answer!(self, access.get(key).await)
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> Answer<()> {
        let access = match self.store_access() {
            Ok(access) => access,
            Err(failure) => return Ok(Err(failure)),
        };
        answer!(self, access.set(key, value).await)
    }

    async fn delete(&mut self, key: String) -> Answer<bool> {
        let access = match self.store_access() {
            Ok(access) => access,
            Err(failure) => return Ok(Err(failure)),
        };
        answer!(self, access.delete(key).await)
    }

    async fn swap(&mut self, key: String, expected: Option<Vec<u8>>, new: Option<Vec<u8>>) -> Answer<bool> {
        let access = match self.store_access() {
            Ok(access) => access,
            Err(failure) => return Ok(Err(failure)),
        };
        answer!(self, access.swap(key, expected, new).await)
    }

    async fn keys(&mut self, prefix: String, cursor: Option<String>) -> Answer<(Vec<String>, Option<String>)> {
        let access = match self.store_access() {
            Ok(access) => access,
            Err(failure) => return Ok(Err(failure)),
        };
        answer!(self, access.keys(prefix, cursor).await)
    }
}
