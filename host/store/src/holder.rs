//! How the master key is held: in the keyring, by a passphrase, in a key file.
//!
//! The store's file says which, in a [`Holder`] record to which the wrapped data key is bound. What
//! the caller can offer is an [`Unlock`]. The record decides, always: where what it names is absent
//! the store stays closed, because falling back would let whoever removes a keyring choose the
//! weaker way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Serialize};
use strongroom_core::{Failure, Kind};
use zeroize::{Zeroize, Zeroizing};

use crate::crypt::{self, ID_BYTES, Id, KEY_BYTES, Key};
use crate::keyring::{Keyring, KeyringError};
use crate::{failures, key_file};

/// A way to hold the master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// A random key in the operating system's keyring.
    Keyring,
    /// Derived from a passphrase by argon2id.
    Passphrase,
    /// A random key in a file of mode 0600.
    File,
}

impl How {
    /// The word for it in config, output and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keyring => "keyring",
            Self::Passphrase => "passphrase",
            Self::File => "file",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a passphrase is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To open a store: ask once.
    Open,
    /// For a new store or a rotation: ask twice, the same both times.
    New,
}

/// Asks a person for a passphrase.
pub type Prompt = Box<dyn Fn(Ask) -> Result<Zeroizing<String>, Failure> + Send + Sync>;

/// What deriving a key from a passphrase costs, for whoever guesses too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
}

impl Cost {
    /// The least that is accepted: 19 MiB and 2 passes, the OWASP minimum for argon2id.
    pub const FLOOR: Self = Self { memory_kib: 19 * 1024, passes: 2 };

    /// Memory in KiB and passes over it, raised to [`Cost::FLOOR`] and cut to what any store may
    /// ask of a machine: 1 GiB and 16 passes.
    pub fn new(memory_kib: u32, passes: u32) -> Self {
        Self {
            memory_kib: memory_kib.clamp(Self::FLOOR.memory_kib, MOST.memory_kib),
            passes: passes.clamp(Self::FLOOR.passes, MOST.passes),
        }
    }
}

/// A file may name any cost, and is not to be trusted before the key has opened it.
const MOST: Cost = Cost { memory_kib: 1024 * 1024, passes: 16 };

impl Default for Cost {
    /// 64 MiB and 3 passes: RFC 9106's choice for machines with little memory to spare, on one lane
    /// because it is computed on one thread. Some 200 ms of one core.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3 }
    }
}

/// What the caller offers to open the store with, or to make it with.
pub struct Unlock {
    /// A passphrase that was given explicitly. For a new store it wins over keyring and file.
    pub passphrase: Option<Zeroizing<String>>,
    /// Asks for a passphrase where one is needed and none was given.
    pub prompt: Option<Prompt>,
    /// Where the key file is, or would be made.
    pub key_file: PathBuf,
    /// The keyring; `None` is as if there were none.
    pub keyring: Option<Arc<dyn Keyring>>,
    /// How a new store's key is to be held. Then nothing else is tried.
    pub prefer: Option<How>,
    /// What a new passphrase costs.
    pub cost: Cost,
}

impl Unlock {
    /// Only a key file at `key_file`; the other fields are added by the caller.
    pub fn with_key_file(key_file: impl Into<PathBuf>) -> Self {
        Self {
            passphrase: None,
            prompt: None,
            key_file: key_file.into(),
            keyring: None,
            prefer: None,
            cost: Cost::default(),
        }
    }

    /// Settles the passphrase, asking a person only if it is needed, and keeps what may be needed
    /// again while the store is open.
    pub(crate) fn settle(self, path: &Path, needs_passphrase: bool, ask: Ask) -> Result<Offer, Failure> {
        let mut passphrase = self.passphrase.filter(|text| !text.is_empty());
        if needs_passphrase && passphrase.is_none() {
            let prompt = self.prompt.ok_or_else(|| failures::passphrase_missing(path))?;
            passphrase = Some(prompt(ask)?).filter(|text| !text.is_empty());
            if passphrase.is_none() {
                return Err(failures::passphrase_missing(path));
            }
        }
        Ok(Offer { passphrase, key_file: self.key_file, keyring: self.keyring, prefer: self.prefer, cost: self.cost })
    }

    /// True if a new store or a rotation cannot do without a passphrase.
    pub(crate) fn wants_passphrase(&self) -> bool {
        self.prefer == Some(How::Passphrase)
    }
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unlock")
            .field("passphrase", &self.passphrase.as_ref().map(|_| ".."))
            .field("key_file", &self.key_file)
            .field("keyring", &self.keyring.is_some())
            .field("prefer", &self.prefer)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// An [`Unlock`] whose passphrase is settled.
pub(crate) struct Offer {
    passphrase: Option<Zeroizing<String>>,
    key_file: PathBuf,
    keyring: Option<Arc<dyn Keyring>>,
    prefer: Option<How>,
    cost: Cost,
}

/// Where things are while a key is made or dropped, under the guard of the store's folder.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    /// The store's file, for messages.
    pub store: &'a Path,
    /// The folder whose guard the caller holds.
    pub guarded: &'a Path,
    /// How long to wait for another guard.
    pub patience: Duration,
}

/// The record in the store's file. Its text is kept as it was written: the wrap is bound to it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Holder {
    Keyring { key: String },
    Passphrase { memory_kib: u32, passes: u32, salt: String },
    File { key: String },
}

/// Bytes of the salt of a passphrase, as RFC 9106 recommends.
const SALT_BYTES: usize = 16;

impl Holder {
    /// Reads the record.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let holder: Self = serde_json::from_str(text).ok()?;
        let plausible = match &holder {
            Self::Keyring { key } | Self::File { key } => crypt::unhex::<ID_BYTES>(key).is_some(),
            Self::Passphrase { memory_kib, passes, salt } => {
                let cost = Cost { memory_kib: *memory_kib, passes: *passes };
                Cost::new(cost.memory_kib, cost.passes) == cost && crypt::unhex::<SALT_BYTES>(salt).is_some()
            }
        };
        plausible.then_some(holder)
    }

    /// The record as it is written.
    pub(crate) fn text(&self) -> Result<String, Failure> {
        serde_json::to_string(self)
            .map_err(|_| Failure::new(Kind::Internal, "store.holder", "the key record cannot be written"))
    }

    /// The way this record names.
    pub(crate) fn how(&self) -> How {
        match self {
            Self::Keyring { .. } => How::Keyring,
            Self::Passphrase { .. } => How::Passphrase,
            Self::File { .. } => How::File,
        }
    }

    /// The master key, from where this record says and nowhere else.
    pub(crate) fn master(&self, offer: &Offer, path: &Path) -> Result<Key, Failure> {
        match self {
            Self::Keyring { key } => {
                let Some(keyring) = &offer.keyring else { return Err(keyring_absent(path, "its use is switched off")) };
                match keyring.read(&account(key)) {
                    Ok(Some(secret)) => {
                        let mut master = Key::default();
                        if secret.len() != KEY_BYTES {
                            return Err(keyring_entry(path, key, "is not a key of strongroom"));
                        }
                        master.copy_from_slice(&secret);
                        Ok(master)
                    }
                    Ok(None) => Err(keyring_entry(path, key, "is not there")),
                    Err(KeyringError::Absent(why)) => Err(keyring_absent(path, why.as_str())),
                    Err(KeyringError::Slow) => Err(keyring_slow(path)),
                }
            }
            Self::Passphrase { memory_kib, passes, salt } => {
                let passphrase = offer.passphrase.as_ref().ok_or_else(|| failures::passphrase_missing(path))?;
                let salt = crypt::unhex::<SALT_BYTES>(salt)
                    .ok_or_else(|| failures::corrupt(path, "its key record is malformed"))?;
                stretch(passphrase, salt.as_slice(), Cost { memory_kib: *memory_kib, passes: *passes })
            }
            Self::File { key } => key_file::read(&offer.key_file, &name(path, key)?),
        }
    }

    /// Forgets a master key that no store needs any more. Best done, not needed: a key left over
    /// opens nothing.
    pub(crate) fn forget(&self, offer: &Offer, site: Site<'_>) {
        let _ = match self {
            Self::Keyring { key } => {
                offer.keyring.as_ref().is_some_and(|keyring| keyring.remove(&account(key)).is_ok())
            }
            Self::Passphrase { .. } => true,
            Self::File { key } => name(site.store, key)
                .and_then(|id| key_file::remove(&offer.key_file, &id, site.guarded, site.patience))
                .is_ok(),
        };
    }
}

impl Offer {
    /// Makes a master key and keeps it: as preferred; else by the passphrase that was given; else in
    /// the keyring, if there is one; else in the key file.
    pub(crate) fn new_master(&self, site: Site<'_>) -> Result<(Holder, Key), Failure> {
        match self.prefer {
            Some(How::Passphrase) => self.new_passphrase(site.store),
            Some(How::Keyring) => self.new_keyring(site.store),
            Some(How::File) => self.new_file(site),
            None if self.passphrase.is_some() => self.new_passphrase(site.store),
            None => match self.new_keyring(site.store) {
                Err(failure) if failure.code() == KEYRING_ABSENT => self.new_file(site),
                done => done,
            },
        }
    }

    fn new_passphrase(&self, path: &Path) -> Result<(Holder, Key), Failure> {
        let passphrase = self.passphrase.as_ref().ok_or_else(|| failures::passphrase_missing(path))?;
        let salt = crypt::random::<SALT_BYTES>()?;
        let Cost { memory_kib, passes } = self.cost;
        let key = stretch(passphrase, &salt, self.cost)?;
        Ok((Holder::Passphrase { memory_kib, passes, salt: crypt::hex(&salt) }, key))
    }

    fn new_keyring(&self, path: &Path) -> Result<(Holder, Key), Failure> {
        let Some(keyring) = &self.keyring else { return Err(keyring_absent(path, "its use is switched off")) };
        let name = crypt::hex(&crypt::random::<ID_BYTES>()?);
        let key = crypt::random_key()?;
        let written = keyring.write(&account(&name), key.as_slice());
        // Read back before anything depends on it: a keyring may accept and not keep.
        match written.and_then(|()| keyring.read(&account(&name))) {
            Ok(Some(kept)) if *kept == *key.as_slice() => Ok((Holder::Keyring { key: name }, key)),
            Ok(_) => Err(keyring_absent(path, "it did not keep what was put there")),
            Err(KeyringError::Absent(why)) => Err(keyring_absent(path, why.as_str())),
            Err(KeyringError::Slow) => Err(keyring_slow(path)),
        }
    }

    fn new_file(&self, site: Site<'_>) -> Result<(Holder, Key), Failure> {
        let id = crypt::random::<ID_BYTES>()?;
        let key = crypt::random_key()?;
        key_file::add(&self.key_file, &id, &key, site.guarded, site.patience)?;
        Ok((Holder::File { key: crypt::hex(&id) }, key))
    }
}

/// The keyring's account of a key: what its person sees beside "strongroom".
fn account(key: &str) -> String {
    format!("store {key}")
}

fn name(path: &Path, key: &str) -> Result<Id, Failure> {
    crypt::unhex::<ID_BYTES>(key).map(|id| *id).ok_or_else(|| failures::corrupt(path, "its key record is malformed"))
}

/// argon2id, version 0x13, one lane.
fn stretch(passphrase: &str, salt: &[u8], cost: Cost) -> Result<Key, Failure> {
    let too_much = |_| Failure::new(Kind::Internal, "store.argon2", "a key cannot be derived from the passphrase");
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(KEY_BYTES)).map_err(too_much)?;
    let mut key = Key::default();
    let mut memory = vec![Block::default(); params.block_count()];
    let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        passphrase.as_bytes(),
        salt,
        key.as_mut_slice(),
        &mut memory,
    );
    memory.iter_mut().for_each(Zeroize::zeroize);
    done.map_err(too_much)?;
    Ok(key)
}

const KEYRING_ABSENT: &str = "store.keyring-absent";

fn keyring_absent(path: &Path, why: &str) -> Failure {
    let message = format!("the keyring that is to hold the key of the store {} is absent: {why}", path.display());
    Failure::new(Kind::Unauthenticated, KEYRING_ABSENT, message)
        .help(
            "over ssh, in cron and in containers there is often none, or it is locked: run this from a desktop session",
        )
        .help("for use without one, rotate the store's key to a passphrase or a key file from such a session")
}

fn keyring_entry(path: &Path, key: &str, what: &str) -> Failure {
    let message = format!("the keyring's entry for the store {} {what}", path.display());
    Failure::new(Kind::Unauthenticated, "store.keyring-entry", message).help(format!(
        "look for \"strongroom\", account \"{}\": it is another user's keyring, or it was removed",
        account(key)
    ))
}

fn keyring_slow(path: &Path) -> Failure {
    let message = format!("the keyring that holds the key of the store {} did not answer in time", path.display());
    Failure::new(Kind::Unavailable, "store.keyring-slow", message)
        .help("it may be waiting for you to unlock it: do so and try again")
}
