//! The operating system's keyring: Secret Service on Linux, Keychain on macOS.
//!
//! A keyring is a [`Keyring`], so that tests and embedders can give another. [`OsKeyring`] is the
//! real one. It may ask its person to unlock it, and it may hang: it must never be waited for
//! without a limit.

use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

use strongroom_core::Text;
use zeroize::Zeroizing;

/// Why a keyring did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyringError {
    /// There is none here, or it is locked and cannot be unlocked from here. What it said.
    Absent(Text),
    /// It did not answer in time: perhaps it is waiting for its person.
    Slow,
}

/// A place of the operating system that keeps small secrets for one user.
pub trait Keyring: Send + Sync {
    /// The secret under `account`; `None` if the keyring works and has none.
    ///
    /// # Errors
    /// [`KeyringError`] if the keyring cannot be asked.
    fn read(&self, account: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError>;

    /// Keeps `secret` under `account`, in place of what is there.
    ///
    /// # Errors
    /// [`KeyringError`] if the keyring cannot be asked, or refuses.
    fn write(&self, account: &str, secret: &[u8]) -> Result<(), KeyringError>;

    /// Removes what is under `account`, if anything is.
    ///
    /// # Errors
    /// [`KeyringError`] if the keyring cannot be asked, or refuses.
    fn remove(&self, account: &str) -> Result<(), KeyringError>;
}

/// The service name under which a person finds our entries in the keyring's own program.
const SERVICE: &str = "strongroom";

/// The keyring of this system and user.
#[derive(Debug, Clone)]
pub struct OsKeyring {
    limit: Duration,
}

impl Default for OsKeyring {
    /// Waits 30 s: a missing service is an error at once, so only a person who is asked to unlock
    /// their keyring takes longer than a moment.
    fn default() -> Self {
        Self { limit: Duration::from_secs(30) }
    }
}

impl OsKeyring {
    /// A keyring that is given up after `limit`.
    pub fn with_limit(limit: Duration) -> Self {
        Self { limit }
    }

    /// Does `work` on a thread of its own. A thread that hangs in a call is left behind: there is
    /// no way to end it, and it holds nothing that others wait for.
    fn bounded<T: Send + 'static>(
        &self,
        account: &str,
        work: impl FnOnce(keyring::Entry) -> keyring::Result<T> + Send + 'static,
    ) -> Result<T, KeyringError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let account = account.to_owned();
        let task = move || {
            let done = keyring::Entry::store_status()
                .as_ref()
                .map_err(absent)
                .and_then(|()| keyring::Entry::new(SERVICE, &account).and_then(work).map_err(|error| absent(&error)));
            // Nobody listens any more if it took too long.
            let _ = answer.send(done);
        };
        std::thread::Builder::new()
            .name("strongroom-keyring".into())
            .spawn(task)
            .map_err(|error| KeyringError::Absent(Text::new(error.to_string())))?;
        match answered.recv_timeout(self.limit) {
            Ok(done) => done,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(KeyringError::Slow),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(KeyringError::Absent("the keyring's client failed".into()))
            }
        }
    }
}

/// Only the cases whose words cannot hold what was stored are quoted.
fn absent(error: &keyring::Error) -> KeyringError {
    KeyringError::Absent(match error {
        keyring::Error::PlatformFailure(_) | keyring::Error::NoStorageAccess(_) | keyring::Error::NoDefaultStore => {
            Text::capped(error.to_string(), 200)
        }
        _ => "the keyring's entry cannot be read".into(),
    })
}

impl Keyring for OsKeyring {
    fn read(&self, account: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
        self.bounded(account, |entry| match entry.get_secret() {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(keyring::Error::NoEntry) => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn write(&self, account: &str, secret: &[u8]) -> Result<(), KeyringError> {
        let secret = Zeroizing::new(secret.to_vec());
        self.bounded(account, move |entry| entry.set_secret(&secret))
    }

    fn remove(&self, account: &str) -> Result<(), KeyringError> {
        self.bounded(account, |entry| match entry.delete_credential() {
            Err(keyring::Error::NoEntry) => Ok(()),
            done => done,
        })
    }
}

impl fmt::Debug for dyn Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}
