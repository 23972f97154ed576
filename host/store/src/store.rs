//! The store itself: making and opening it, its connections, and its transactions.
//!
//! Every read and write begins by reading the head, in the same transaction: if another process has
//! rotated the key, the head names another data key, and it is loaded anew before anything else. It
//! must never hold one of its own locks while it waits for a file, a keyring or a person.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use strongroom_core::{Failure, Name};

use crate::crypt::{self, DataKeys, ID_BYTES};
use crate::database::{self, Head};
use crate::failures;
use crate::folder;
use crate::holder::{Ask, Holder, How, Offer, Site, Unlock};
use crate::roots::{self, MAC_BYTES, SpaceMac, SpaceRow};
use crate::space::Space;

/// How much one mount may keep, in bytes of keys and values: 64 MiB.
pub const DEFAULT_LIMIT_BYTES: u64 = 64 << 20;

/// Idle connections that are kept for the next call. One costs some 100 KiB and 50 us to open.
const IDLE_CONNECTIONS: usize = 8;

/// How often a call starts over because the key was rotated under it.
const ROTATIONS: usize = 4;

/// Where the store is and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The store's file. SQLite keeps two more beside it (`-wal`, `-shm`) while it is open.
    pub path: PathBuf,
    /// How much one mount may keep, over all lineages: keys, values and
    /// [`crate::ROW_OVERHEAD_BYTES`] a key.
    pub limit_bytes: u64,
    /// How long a call waits for other processes before it fails with `store.busy`.
    pub patience: Duration,
}

impl Options {
    /// The store at `path`, 64 MiB a mount, 8 s of patience (less than the default deadline of a
    /// request, so that the reason is told).
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), limit_bytes: DEFAULT_LIMIT_BYTES, patience: Duration::from_secs(8) }
    }
}

/// An open store. Cheap to clone; all clones are one. Dropping the last overwrites its keys.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    created: bool,
}

pub(crate) struct Shared {
    /// With the folder's symbolic links resolved.
    pub(crate) path: PathBuf,
    pub(crate) folder: PathBuf,
    /// Which file it was when it was opened.
    file: Option<(u64, u64)>,
    pub(crate) limit_bytes: u64,
    pub(crate) patience: Duration,
    offer: Mutex<Arc<Offer>>,
    keys: Mutex<Arc<DataKeys>>,
    idle: Mutex<Vec<Connection>>,
}

/// One consistent, checked view of the file.
pub(crate) struct View<'a> {
    pub(crate) path: &'a Path,
    pub(crate) connection: &'a Connection,
    pub(crate) head: Head,
    pub(crate) spaces: Vec<SpaceMac>,
    pub(crate) keys: Arc<DataKeys>,
}

impl Store {
    /// Opens the store, or makes it if there is none.
    ///
    /// Making is atomic: of processes that try at once, one makes it and all open it. A new key is
    /// held as `unlock` prefers; else by its passphrase, if it has one; else in the keyring, if
    /// there is one; else in the key file.
    ///
    /// # Errors
    /// `store.permissions`, `store.corrupt`, `store.newer`, `store.busy`, `store.disk-full`,
    /// `store.io`, and of the key: `store.keyring-absent`, `store.keyring-entry`,
    /// `store.keyring-slow`, `store.passphrase-missing`, `store.passphrase`,
    /// `store.key-file-missing`, `store.key-file`. Whatever the failure, nothing is made or changed.
    pub fn open(options: &Options, unlock: Unlock) -> Result<Self, Failure> {
        if Self::exists(options)? {
            return Self::open_there(options, unlock);
        }
        // A person is asked before others are made to wait.
        let wants = unlock.wants_passphrase();
        let offer = unlock.settle(&options.path, wants, Ask::New)?;
        let Place { folder, path } = located(&options.path, true)?;
        let site = Site { store: &path, guarded: &folder, patience: options.patience };
        let guard = folder::guard(&folder, options.patience)?;
        if folder::private_file(&path)? {
            drop(guard);
            return Self::made(options, Place { folder, path }, offer, None);
        }
        for stray in ["-wal", "-journal"] {
            if folder::private_file(&beside(&path, stray))? {
                return Err(failures::corrupt(&path, &format!("it is gone, and its {stray} file is still there")));
            }
        }
        let keys = make(site, &offer)?;
        drop(guard);
        Self::made(options, Place { folder, path }, offer, Some(keys))
    }

    /// Opens the store if there is one. Makes nothing.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_existing(options: &Options, unlock: Unlock) -> Result<Option<Self>, Failure> {
        if Self::exists(options)? { Self::open_there(options, unlock).map(Some) } else { Ok(None) }
    }

    /// True if there is a store, whether or not it can be opened.
    ///
    /// # Errors
    /// `store.permissions` if others could read or exchange it; `store.io`.
    pub fn exists(options: &Options) -> Result<bool, Failure> {
        match folder::of(&options.path, false)? {
            Some(folder) => folder::private_file(&folder.join(options.path.file_name().unwrap_or_default())),
            None => Ok(false),
        }
    }

    /// What `mount` keeps for plugins of `lineage`, and nobody else sees. A space that is not there
    /// is empty, and is made by the first write.
    ///
    /// # Errors
    /// `store.lineage` if `lineage` is not 1 to [`crate::MAX_LINEAGE_BYTES`] bytes without control
    /// characters.
    pub fn space(&self, mount: &Name, lineage: &str) -> Result<Space, Failure> {
        Space::new(Arc::clone(&self.shared), mount, lineage)
    }

    /// True if this call of [`Store::open`] made the store: worth telling its person, with [`Store::how`].
    pub fn created(&self) -> bool {
        self.created
    }

    /// Whether what is at its path is still the file that was opened, with a key that is known. What was put in its place
    /// is another store, for [`Store::open`].
    pub fn is_in_place(&self) -> bool {
        let there = folder::identity(&self.shared.path);
        there.is_some() && there == self.shared.file && self.shared.read(|_| Ok(())).is_ok()
    }

    /// How the key is held, now.
    ///
    /// # Errors
    /// As [`Space::get`].
    pub fn how(&self) -> Result<How, Failure> {
        self.shared.read(|view| view.holder().map(|holder| holder.how()))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn open_there(options: &Options, unlock: Unlock) -> Result<Self, Failure> {
        let Place { folder, path } = located(&options.path, false)?;
        // Whether to ask for a passphrase stands in the file.
        let connection = database::open(&path, options.patience)?;
        let head = Head::read(&connection).map_err(|error| failures::sqlite(&path, &error))?;
        let how = holder(&path, &head)?.how();
        let offer = unlock.settle(&path, how == How::Passphrase, Ask::Open)?;
        let keys = unwrap(&path, &head, &offer)?;
        Self::unlocked(options, Place { folder, path }, connection, keys, offer, false)
    }

    /// Opens what this process (which then has the keys) or another has just made.
    fn made(options: &Options, place: Place, offer: Offer, keys: Option<DataKeys>) -> Result<Self, Failure> {
        let connection = database::open(&place.path, options.patience)?;
        let created = keys.is_some();
        let keys = match keys {
            Some(keys) => keys,
            None => {
                let head = Head::read(&connection).map_err(|error| failures::sqlite(&place.path, &error))?;
                unwrap(&place.path, &head, &offer)?
            }
        };
        Self::unlocked(options, place, connection, keys, offer, created)
    }

    fn unlocked(
        options: &Options,
        Place { folder, path }: Place,
        connection: Connection,
        keys: DataKeys,
        offer: Offer,
        created: bool,
    ) -> Result<Self, Failure> {
        let shared = Shared {
            file: folder::identity(&path),
            path,
            folder,
            limit_bytes: options.limit_bytes,
            patience: options.patience,
            offer: Mutex::new(Arc::new(offer)),
            keys: Mutex::new(Arc::new(keys)),
            idle: Mutex::new(vec![connection]),
        };
        // Nothing is said to be open whose head is not genuine.
        shared.read(|_| Ok(()))?;
        Ok(Self { shared: Arc::new(shared), created })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

/// A store's file and the folder it lies in, without symbolic links.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) path: PathBuf,
}

/// Where the store at `path` is, or would be.
pub(crate) fn located(path: &Path, create: bool) -> Result<Place, Failure> {
    let folder = folder::of(path, create)?.ok_or_else(|| {
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        failures::io(path, "cannot find the folder of", &gone)
    })?;
    let path = folder.join(path.file_name().unwrap_or_default());
    Ok(Place { folder, path })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// Makes the store, under the guard: a complete file first, which then gets its name.
fn make(site: Site<'_>, offer: &Offer) -> Result<DataKeys, Failure> {
    let (holder, master) = offer.new_master(site)?;
    let unfinished = folder::unfinished(site.store);
    let made = || -> Result<DataKeys, Failure> {
        let data = crypt::random_key()?;
        let mut head = Head {
            store: crypt::random::<ID_BYTES>()?,
            key: crypt::random::<ID_BYTES>()?,
            holder: holder.text()?,
            wrapped: Vec::new(),
            counter: 0,
            mac: [0; MAC_BYTES],
        };
        head.wrapped = crypt::wrap(&master, &head.binding(), &data)?;
        for stray in ["-wal", "-shm"] {
            folder::remove(&beside(&unfinished, stray))?;
        }
        drop(folder::fresh_file(&unfinished)?);
        let keys = DataKeys::derive(head.key, &data);
        database::make(&unfinished, &mut head, &keys)?;
        folder::publish(&unfinished, site.store)?;
        Ok(keys)
    };
    let done = made();
    if done.is_err() {
        for suffix in ["", "-wal", "-shm"] {
            let _ = folder::remove(&beside(&unfinished, suffix));
        }
        // If it has its name already, only the folder's sync failed: then the key is needed.
        if matches!(folder::private_file(site.store), Ok(false)) {
            holder.forget(offer, site);
        }
    }
    done
}

fn holder(path: &Path, head: &Head) -> Result<Holder, Failure> {
    Holder::parse(&head.holder).ok_or_else(|| failures::corrupt(path, "its key record is malformed"))
}

/// The data key of `head`.
pub(crate) fn unwrap(path: &Path, head: &Head, offer: &Offer) -> Result<DataKeys, Failure> {
    let holder = holder(path, head)?;
    let master = holder.master(offer, path)?;
    let data = crypt::unwrap(&master, &head.binding(), &head.wrapped).ok_or_else(|| match holder.how() {
        How::Passphrase => failures::passphrase_wrong(path),
        How::Keyring | How::File => failures::corrupt(path, "its wrapped key was changed"),
    })?;
    Ok(DataKeys::derive(head.key, &data))
}

/// A lock of ours guards plain data that is whole at every moment, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl View<'_> {
    pub(crate) fn holder(&self) -> Result<Holder, Failure> {
        holder(self.path, &self.head)
    }

    /// The space of `mount` and `lineage`, checked.
    pub(crate) fn space(&self, mount: &str, lineage: &str) -> Result<Option<SpaceRow>, Failure> {
        let Some(listed) = self.spaces.iter().find(|space| space.mount == mount && space.lineage == lineage) else {
            return Ok(None);
        };
        let space = SpaceRow::read(self.connection, listed.id).map_err(|error| self.failed(&error))?;
        match space {
            Some(space) if space.check(listed, &self.head, &self.keys) => Ok(Some(space)),
            _ => Err(self.corrupt("the record of a space was changed")),
        }
    }

    pub(crate) fn failed(&self, error: &rusqlite::Error) -> Failure {
        failures::sqlite(self.path, error)
    }

    pub(crate) fn corrupt(&self, what: &str) -> Failure {
        failures::corrupt(self.path, what)
    }
}

impl Shared {
    pub(crate) fn offer(&self) -> Arc<Offer> {
        Arc::clone(&lock(&self.offer))
    }

    pub(crate) fn keep(&self, offer: Offer, keys: Arc<DataKeys>) {
        *lock(&self.offer) = Arc::new(offer);
        *lock(&self.keys) = keys;
    }

    /// Reads one consistent state of the file.
    pub(crate) fn read<T>(&self, work: impl Fn(&View<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        self.transact(TransactionBehavior::Deferred, |view| work(view).map(|answer| (answer, false)))
    }

    /// Writes: `work` says whether it changed anything. It returns when the change is on the disk,
    /// and if it fails nothing is changed.
    pub(crate) fn write<T>(&self, work: impl Fn(&mut View<'_>) -> Result<(T, bool), Failure>) -> Result<T, Failure> {
        self.transact(TransactionBehavior::Immediate, |view| {
            view.head.counter = view.head.counter.checked_add(1).ok_or_else(|| view.corrupt("its counter ran out"))?;
            let (answer, changed) = work(view)?;
            if changed {
                roots::sign_head(&mut view.head, &view.spaces, &view.keys);
                view.head.write(view.connection).map_err(|error| view.failed(&error))?;
            }
            Ok((answer, changed))
        })
    }

    fn transact<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl Fn(&mut View<'_>) -> Result<(T, bool), Failure>,
    ) -> Result<T, Failure> {
        let mut stale: Option<Failure> = None;
        for _ in 0..ROTATIONS {
            let mut connection = self.connection()?;
            let failed = |error: rusqlite::Error| failures::sqlite(&self.path, &error);
            let (transaction, head) = self.begin(&mut connection, behavior).map_err(failed)?;
            let keys = Arc::clone(&lock(&self.keys));
            if keys.id != head.key {
                // The key was rotated. Getting the new one may take long, so let others write.
                drop(transaction);
                self.give_back(connection);
                match unwrap(&self.path, &head, &self.offer()) {
                    Ok(keys) => *lock(&self.keys) = Arc::new(keys),
                    // Perhaps it was rotated once more, and the key we looked for is gone already.
                    Err(failure) => {
                        if stale.is_some() {
                            return Err(rotated(failure));
                        }
                        stale = Some(failure);
                    }
                }
                continue;
            }
            let spaces = roots::spaces(&transaction).map_err(failed)?;
            if !roots::check_head(&head, &spaces, &keys) {
                return Err(failures::corrupt(&self.path, "its head or its list of spaces was changed"));
            }
            let mut view = View { path: &self.path, connection: &transaction, head, spaces, keys };
            let (answer, changed) = work(&mut view)?;
            if changed {
                transaction.commit().map_err(failed)?;
            } else {
                drop(transaction);
            }
            // Only now: a connection that failed is closed rather than used again.
            self.give_back(connection);
            return Ok(answer);
        }
        Err(stale.map_or_else(|| failures::busy(&self.path), rotated))
    }

    /// Begins and reads the head. SQLite waits for most locks by itself; what it answers "busy" to at
    /// once (recovery after a crash, a race for the log's first page) is tried again here.
    fn begin<'a>(
        &self,
        connection: &'a mut Connection,
        behavior: TransactionBehavior,
    ) -> rusqlite::Result<(rusqlite::Transaction<'a>, Head)> {
        let end = Instant::now() + self.patience;
        loop {
            let begun = rusqlite::Transaction::new_unchecked(connection, behavior)
                .and_then(|transaction| Head::read(&transaction).map(|head| (transaction, head)));
            let error = match begun {
                Ok(begun) => return Ok(begun),
                Err(error) => error,
            };
            let passing = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::FileLockingProtocolFailed];
            if Instant::now() >= end || !error.sqlite_error_code().is_some_and(|code| passing.contains(&code)) {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn connection(&self) -> Result<Connection, Failure> {
        let idle = lock(&self.idle).pop();
        match idle {
            Some(connection) => Ok(connection),
            None if folder::private_file(&self.path)? => database::open(&self.path, self.patience),
            None => Err(failures::corrupt(&self.path, "it was removed while it was open")),
        }
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }
}

fn rotated(failure: Failure) -> Failure {
    failure.help("the store's key was rotated while this process had it open: start it again with the new key")
}
