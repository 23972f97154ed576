//! The user's store, opened when it is first needed and not before: a run that uses only `env:`
//! never opens it.
//!
//! A config that replaces another goes on with the store that is open. Each opening has connections of its own, and SQLite
//! keeps the descriptor of one that was closed for as long as any other of the process has the file open: the locks of
//! POSIX leave it no choice.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_core::config::{KeyHolder, StoreConfig};
use strongroom_core::{Failure, Kind, Name};
use strongroom_store::{How, Options, OsKeyring, Prompt, Space, Store, Unlock};
use zeroize::Zeroizing;

use crate::capabilities::Writing;
use crate::discover;
use crate::environment::Environment;
use crate::paths::Paths;

/// Asks a person for the store's passphrase.
pub type AskPassphrase = Arc<dyn Fn(strongroom_store::Ask) -> Result<Zeroizing<String>, Failure> + Send + Sync>;

/// How the store's key may be asked for.
#[derive(Clone, Default)]
pub struct Keys {
    /// A passphrase that was given; for a new store it wins over keyring and key file.
    pub passphrase: Option<Zeroizing<String>>,
    /// A file whose first line is the passphrase, if none was given.
    pub passphrase_file: Option<PathBuf>,
    /// Asks a person.
    pub prompt: Option<AskPassphrase>,
    /// Leave the operating system's keyring alone, as if there were none.
    pub no_keyring: bool,
}

impl Keys {
    /// The passphrase of `STRONGROOM_PASSPHRASE`, or the file that `STRONGROOM_PASSPHRASE_FILE` names;
    /// `STRONGROOM_NO_KEYRING` leaves the keyring alone.
    pub fn from_environment(environment: &Environment) -> Self {
        Self {
            passphrase: environment.setting("STRONGROOM_PASSPHRASE").map(|text| Zeroizing::new(text.to_owned())),
            passphrase_file: environment.setting("STRONGROOM_PASSPHRASE_FILE").map(PathBuf::from),
            prompt: None,
            no_keyring: environment.setting("STRONGROOM_NO_KEYRING").is_some(),
        }
    }

    /// Whether both would be asked for in the same way.
    fn same(&self, other: &Self) -> bool {
        let Self { passphrase, passphrase_file, prompt, no_keyring } = self;
        let asks = match (prompt, &other.prompt) {
            (None, None) => true,
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            _ => false,
        };
        asks && (passphrase, passphrase_file, no_keyring)
            == (&other.passphrase, &other.passphrase_file, &other.no_keyring)
    }

    /// The passphrase that was given. The file is read when a store is opened, not before.
    fn given(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        if let (None, Some(path)) = (&self.passphrase, &self.passphrase_file) {
            return read_passphrase(path).map(Some);
        }
        Ok(self.passphrase.clone())
    }
}

/// The first line of the file, which must be the user's or root's and closed to writing by others.
fn read_passphrase(path: &std::path::Path) -> Result<Zeroizing<String>, Failure> {
    const MAX: u64 = 4096;
    let failed = |why: String| {
        Failure::new(
            Kind::Unauthenticated,
            "store.passphrase-file",
            format!("cannot take the passphrase from {}: {why}", path.display()),
        )
        .help("STRONGROOM_PASSPHRASE_FILE names a file whose first line is the passphrase")
    };
    let mut file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| failed(error.to_string()))?;
    let mine = metadata.uid() == 0 || metadata.uid() == rustix::process::geteuid().as_raw();
    if !mine || metadata.mode() & 0o022 != 0 {
        return Err(failed("others could have written it".to_owned()));
    }
    let mut text = Zeroizing::new(String::with_capacity(4097));
    file.by_ref().take(MAX).read_to_string(&mut text).map_err(|_| failed("it is no text".to_owned()))?;
    let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
    if line.is_empty() { Err(failed("its first line is empty".to_owned())) } else { Ok(line) }
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
    opened: Arc<Opened>,
}

/// What the configs share that follow one another.
#[derive(Default)]
struct Opened {
    store: Mutex<Option<Store>>,
    writing: Writing,
}

impl Opened {
    fn store(&self) -> MutexGuard<'_, Option<Store>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault {
    /// `before` is that of the config which this one replaces.
    pub(crate) fn new(
        config: &StoreConfig,
        folder: &std::path::Path,
        paths: Paths,
        keys: Keys,
        before: Option<&Self>,
    ) -> Self {
        let path = match &config.path {
            Some(path) => Some(crate::paths::beside(folder, path)),
            None => paths.store(),
        };
        let prefer = config.key.map(|key| match key {
            KeyHolder::Keyring => How::Keyring,
            KeyHolder::Passphrase => How::Passphrase,
            KeyHolder::File => How::File,
        });
        let vault = Self { options: path.map(Options::new), paths, prefer, keys, opened: Arc::default() };
        match before.filter(|before| vault.goes_on_with(before)) {
            Some(before) => Self { opened: Arc::clone(&before.opened), ..vault },
            None => vault,
        }
    }

    /// Whether it would open what `before` has, in the same way. What was put in that store's place, or has another key
    /// by now, is for a reload to open.
    fn goes_on_with(&self, before: &Self) -> bool {
        let same = (&self.options, &self.paths, self.prefer) == (&before.options, &before.paths, before.prefer);
        same && self.keys.same(&before.keys) && before.opened.store().as_ref().is_none_or(Store::is_in_place)
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
        unlock.passphrase = self.keys.given()?;
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
        let mut opened = self.opened.store();
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

    /// How this process writes to it.
    pub(crate) fn writing(&self) -> &Writing {
        &self.opened.writing
    }

    /// Closes the store, whose keys are overwritten when the last call that uses it has ended.
    pub(crate) fn close(&self) {
        *self.opened.store() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn vault(folder: &Path, keys: Keys, before: Option<&Vault>) -> Vault {
        let paths = Paths { state: Some(folder.to_owned()), ..Paths::default() };
        Vault::new(&StoreConfig::default(), folder, paths, Keys { no_keyring: true, ..keys }, before)
    }

    fn has_one(vault: &Vault) -> bool {
        vault.opened.store().is_some()
    }

    #[test]
    fn the_next_config_goes_on_with_the_store_unless_it_would_open_another_or_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let first = vault(folder.path(), Keys::default(), None);
        let next = vault(folder.path(), Keys::default(), Some(&first));
        assert!(!has_one(&next));
        first.open(true).unwrap();
        assert!(has_one(&next), "also one that was opened since");
        assert!(has_one(&vault(folder.path(), Keys::default(), Some(&next))));

        let other = tempfile::tempdir().unwrap();
        assert!(!has_one(&vault(other.path(), Keys::default(), Some(&next))));
        let passphrase = Keys { passphrase: Some("p".to_owned().into()), ..Keys::default() };
        assert!(!has_one(&vault(folder.path(), passphrase, Some(&next))));
        let asks = Keys { prompt: Some(Arc::new(|_| Ok("p".to_owned().into()))), ..Keys::default() };
        let asking = vault(folder.path(), asks.clone(), None);
        asking.open(true).unwrap();
        assert!(has_one(&vault(folder.path(), asks, Some(&asking))));
        assert!(!has_one(&vault(folder.path(), Keys::default(), Some(&asking))));

        // What was put in its place is for a reload to open.
        let path = folder.path().join("store.db");
        let copy = folder.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::rename(copy, &path).unwrap();
        assert!(!has_one(&vault(folder.path(), Keys::default(), Some(&next))));
    }
}
