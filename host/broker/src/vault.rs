//! The user's store, opened when it is first needed and not before: a run that uses only `env:`
//! never opens it.

use std::sync::{Arc, Mutex, PoisonError};

use strongroom_core::config::{KeyHolder, StoreConfig};
use strongroom_core::{Failure, Name};
use strongroom_store::{How, Options, OsKeyring, Prompt, Space, Store, Unlock};
use zeroize::Zeroizing;

use crate::discover;
use crate::paths::Paths;

/// How the store's key may be asked for.
#[derive(Clone, Default)]
pub struct Keys {
    /// A passphrase that was given; for a new store it wins over keyring and key file.
    pub passphrase: Option<Zeroizing<String>>,
    /// Asks a person.
    pub prompt: Option<Arc<dyn Fn(strongroom_store::Ask) -> Result<Zeroizing<String>, Failure> + Send + Sync>>,
    /// Leave the operating system's keyring alone, as if there were none.
    pub no_keyring: bool,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("no_keyring", &self.no_keyring).finish_non_exhaustive()
    }
}

pub(crate) struct Vault {
    options: Option<Options>,
    paths: Paths,
    prefer: Option<How>,
    keys: Keys,
    opened: Mutex<Option<Store>>,
}

impl Vault {
    pub(crate) fn new(config: &StoreConfig, folder: &std::path::Path, paths: Paths, keys: Keys) -> Self {
        let path = match &config.path {
            Some(path) => Some(crate::paths::beside(folder, path)),
            None => paths.store(),
        };
        let prefer = config.key.map(|key| match key {
            KeyHolder::Keyring => How::Keyring,
            KeyHolder::Passphrase => How::Passphrase,
            KeyHolder::File => How::File,
        });
        Self { options: path.map(Options::new), paths, prefer, keys, opened: Mutex::new(None) }
    }

    /// Where the store is, or would be.
    pub(crate) fn options(&self) -> Result<&Options, Failure> {
        self.options.as_ref().ok_or_else(discover::no_state)
    }

    /// What opens the store.
    pub(crate) fn unlock(&self) -> Result<Unlock, Failure> {
        let options = self.options()?;
        let key_file = match self.paths.store() {
            Some(own) if own == options.path => self.paths.store_key().ok_or_else(discover::no_state)?,
            // A store elsewhere has its key beside it.
            _ => options.path.with_extension("key"),
        };
        let mut unlock = Unlock::with_key_file(key_file);
        unlock.passphrase = self.keys.passphrase.clone();
        unlock.prefer = self.prefer;
        if let Some(prompt) = self.keys.prompt.clone() {
            let prompt: Prompt = Box::new(move |ask| prompt(ask));
            unlock.prompt = Some(prompt);
        }
        if !self.keys.no_keyring {
            unlock.keyring = Some(Arc::new(OsKeyring::default()));
        }
        Ok(unlock)
    }

    /// The store; made if `create` says so, `None` if there is none and it does not.
    pub(crate) fn open(&self, create: bool) -> Result<Option<Store>, Failure> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*opened {
            return Ok(Some(store.clone()));
        }
        let options = self.options()?;
        let store = if create {
            let store = Store::open(options, self.unlock()?)?;
            if store.created() {
                tracing::info!(target: "strongroom", path = %options.path.display(), key = %store.how()?, "made a store");
            }
            Some(store)
        } else {
            Store::open_existing(options, self.unlock()?)?
        };
        opened.clone_from(&store);
        Ok(store)
    }

    /// A mount's part of the store.
    pub(crate) fn space(
        &self,
        mount: &Name,
        lineage: &str,
        limit: u64,
        create: bool,
    ) -> Result<Option<Space>, Failure> {
        let Some(store) = self.open(create)? else { return Ok(None) };
        store.space(mount, lineage).map(|space| Some(space.with_limit(limit)))
    }

    /// Closes the store, whose keys are overwritten when the last call that uses it has ended.
    pub(crate) fn close(&self) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
