//! The store as its users, its neighbours and its attackers meet it. One binary, because linking
//! costs more than running; a test that needs other processes starts this binary again.
#![allow(missing_docs, missing_debug_implementations, reason = "a test binary")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests are outside #[test] functions"
)]

mod holders;
mod processes;
mod rotation;
mod tamper;
mod values;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use strongroom_core::{Failure, Kind, Name, Text};
use strongroom_store::{Cost, Keyring, KeyringError, Options, Space, Store, Unlock};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// What must never stand in a file.
pub const CANARY: &str = "canary-5f1d0c9e-never-on-disk";

/// A folder of its own, with a store and a key file to be made in it.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn fresh() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("store.key")
    }

    pub fn options(&self) -> Options {
        Options::new(self.path())
    }

    pub fn unlock(&self) -> Unlock {
        Unlock { cost: Cost::FLOOR, ..Unlock::with_key_file(self.key_file()) }
    }

    pub fn with_passphrase(&self, passphrase: &str) -> Unlock {
        Unlock { passphrase: Some(Zeroizing::new(passphrase.into())), ..self.unlock() }
    }

    pub fn open(&self) -> Store {
        Store::open(&self.options(), self.unlock()).unwrap()
    }

    /// The names of what is in the folder, sorted.
    pub fn files(&self) -> Vec<String> {
        let all = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// A connection as an attacker has it, who knows SQL and no key. Nothing else may have the
    /// store open.
    pub fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

pub fn mount(name: &str) -> Name {
    Name::parse(name).unwrap()
}

/// The space most tests use.
pub fn keys(store: &Store) -> Space {
    store.space(&mount("keys"), "custom-keys").unwrap()
}

pub fn got(space: &Space, key: &str) -> Option<Vec<u8>> {
    space.get(key).unwrap().map(|value| value.to_vec())
}

#[track_caller]
pub fn assert_failure<T>(answer: Result<T, Failure>, kind: Kind, code: &str) -> Failure {
    match answer {
        Ok(_) => panic!("expected {code}, and it worked"),
        Err(failure) => {
            assert_eq!((failure.code(), failure.kind()), (code, kind), "{failure:?}");
            assert!(!failure.helps().is_empty() || kind == Kind::LimitExceeded, "{code} says nothing of what to do");
            failure
        }
    }
}

/// A keyring in memory, which can be taken away.
#[derive(Default)]
pub struct FakeKeyring {
    pub items: Mutex<HashMap<String, Vec<u8>>>,
    pub error: Mutex<Option<KeyringError>>,
}

impl FakeKeyring {
    pub fn offered(self: &Arc<Self>) -> Option<Arc<dyn Keyring>> {
        Some(self.clone())
    }

    pub fn fail_with(&self, error: Option<KeyringError>) {
        *self.error.lock().unwrap() = error;
    }

    fn reachable(&self) -> Result<(), KeyringError> {
        self.error.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

pub fn absent() -> Option<KeyringError> {
    Some(KeyringError::Absent(Text::new("no D-Bus session")))
}

impl Keyring for FakeKeyring {
    fn read(&self, account: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
        self.reachable()?;
        Ok(self.items.lock().unwrap().get(account).cloned().map(Zeroizing::new))
    }

    fn write(&self, account: &str, secret: &[u8]) -> Result<(), KeyringError> {
        self.reachable()?;
        self.items.lock().unwrap().insert(account.into(), secret.into());
        Ok(())
    }

    fn remove(&self, account: &str) -> Result<(), KeyringError> {
        self.reachable()?;
        self.items.lock().unwrap().remove(account);
        Ok(())
    }
}
