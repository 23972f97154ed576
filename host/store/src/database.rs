//! The file: a SQLite database in WAL mode with three tables, and how a connection to it is set up.
//!
//! Only this module opens the file, and it never makes one where one is expected. It must never
//! trust the schema it finds: it has to be, word for word, the one written here.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};
use strongroom_core::{Failure, Kind};

use crate::crypt::{self, DataKeys, ID_BYTES, Id};
use crate::failures;
use crate::roots::MAC_BYTES;

/// "SRst": tells our files from other SQLite files.
const APPLICATION: i32 = 0x5352_7374;
/// The format this build reads and writes.
pub(crate) const FORMAT: i32 = 1;
/// A log longer than this, in bytes, is cut after a checkpoint, so that one large rotation does not
/// leave a large file for ever.
const JOURNAL_LIMIT_BYTES: i64 = 4 << 20;

/// One row: which store this is, how its key is held, and the MAC over all spaces.
const HEAD: &str = "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), store BLOB NOT NULL, key BLOB NOT NULL, \
     holder TEXT NOT NULL, wrapped BLOB NOT NULL, counter INTEGER NOT NULL, mac BLOB NOT NULL) STRICT";
/// One row a space: its owner, its size, and the digests of its rows.
const SPACE: &str = "CREATE TABLE space (id INTEGER PRIMARY KEY, mount TEXT NOT NULL, lineage TEXT NOT NULL, \
     counter INTEGER NOT NULL, keys INTEGER NOT NULL, bytes INTEGER NOT NULL, digests BLOB NOT NULL, \
     mac BLOB NOT NULL, UNIQUE (mount, lineage)) STRICT";
/// One row a value. The value comes last, so that a scan over the others never touches its pages.
const ENTRY: &str = "CREATE TABLE entry (id INTEGER PRIMARY KEY, space INTEGER NOT NULL, bucket INTEGER NOT NULL, \
     key TEXT NOT NULL, counter INTEGER NOT NULL, nonce BLOB NOT NULL, tag BLOB NOT NULL, body BLOB NOT NULL) STRICT";
const BY_KEY: &str = "CREATE UNIQUE INDEX entry_by_key ON entry (space, key)";
const BY_BUCKET: &str = "CREATE INDEX entry_by_bucket ON entry (space, bucket, key)";

const SCHEMA: [&str; 5] = [HEAD, SPACE, ENTRY, BY_KEY, BY_BUCKET];

/// The head of the file as it lies there. Nothing of it is known to be right before
/// `roots::check_head`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The random name of the store.
    pub store: Id,
    /// The random name of the data key.
    pub key: Id,
    /// The [`crate::holder::Holder`] as text.
    pub holder: String,
    /// The data key, wrapped.
    pub wrapped: Vec<u8>,
    /// The number of the last write to the file.
    pub counter: i64,
    /// The MAC over the spaces.
    pub mac: [u8; MAC_BYTES],
}

impl Head {
    /// What the wrapped data key is bound to.
    pub(crate) fn binding(&self) -> Vec<u8> {
        crypt::bind(&[b"strongroom store v1 wrap", &self.store, &self.key, self.holder.as_bytes()])
    }

    /// Reads the one row.
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT store, key, holder, wrapped, counter, mac FROM head WHERE id = 1";
        connection.query_one(sql, [], |row| {
            Ok(Self {
                store: row.get::<_, [u8; ID_BYTES]>(0)?,
                key: row.get::<_, [u8; ID_BYTES]>(1)?,
                holder: row.get(2)?,
                wrapped: row.get(3)?,
                counter: row.get(4)?,
                mac: row.get(5)?,
            })
        })
    }

    /// Writes the one row.
    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO head (id, store, key, holder, wrapped, counter, mac) \
                   VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";
        let row = params![self.store, self.key, self.holder, self.wrapped, self.counter, self.mac];
        connection.execute(sql, row).map(|_| ())
    }
}

/// What a value is bound to: moved anywhere else, or under another number, it does not open.
pub(crate) fn value_binding(head: &Head, mount: &str, lineage: &str, key: &str, counter: i64) -> Vec<u8> {
    crypt::bind(&[
        b"strongroom store v1 value",
        &head.store,
        &head.key,
        mount.as_bytes(),
        lineage.as_bytes(),
        key.as_bytes(),
        &counter.to_le_bytes(),
    ])
}

/// Opens the file at `path`, which is there and was checked to be private.
pub(crate) fn open(path: &Path, patience: Duration) -> Result<Connection, Failure> {
    let failed = |error: rusqlite::Error| failures::sqlite(path, &error);
    let connection = connect(path).map_err(failed)?;
    connection.busy_timeout(patience).map_err(failed)?;
    settings(&connection).map_err(failed)?;
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)).map_err(failed);
    if number("application_id")? != APPLICATION {
        return Err(failures::corrupt(path, "it is not a store of strongroom"));
    }
    match number("user_version")? {
        FORMAT => {}
        newer if newer > FORMAT => {
            let message = format!("the store {} has format {newer}; this strongroom reads {FORMAT}", path.display());
            return Err(Failure::new(Kind::Unsupported, "store.newer", message)
                .help("it was made by a newer strongroom: use that version or a later one"));
        }
        _ => return Err(failures::corrupt(path, "its format number is wrong")),
    }
    let mut found: Vec<String> = connection
        .prepare(
            "SELECT coalesce(sql, name) FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_autoindex\\_%' ESCAPE '\\'",
        )
        .and_then(|mut all| all.query_map([], |row| row.get(0))?.collect())
        .map_err(failed)?;
    found.sort_unstable();
    let mut expected = SCHEMA;
    expected.sort_unstable();
    if found != expected {
        return Err(failures::corrupt(path, "its tables are not those of a store"));
    }
    Ok(connection)
}

/// Makes a whole new database in the empty file at `path`, which nobody else knows yet, and closes it.
pub(crate) fn make(path: &Path, head: &mut Head, keys: &DataKeys) -> Result<(), Failure> {
    let failed = |error: rusqlite::Error| failures::sqlite(path, &error);
    crate::roots::sign_head(head, &[], keys);
    let make = || -> rusqlite::Result<()> {
        let connection = connect(path)?;
        settings(&connection)?;
        connection.pragma_update(None, "application_id", APPLICATION)?;
        connection.pragma_update(None, "user_version", FORMAT)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {};", SCHEMA.join(";\n")))?;
        head.write(&connection)?;
        connection.execute_batch("COMMIT")?;
        // The last one to close moves the log into the file and removes it: what gets its name is
        // one complete file.
        connection.close().map_err(|(_, error)| error)
    };
    make().map_err(failed)?;
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| failures::io(path, "cannot sync", &error))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // No CREATE: an absent file is an error here. NO_MUTEX: a connection is used by one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    Connection::open_with_flags(path, flags)
}

/// Settings of every connection; those that matter for safety are not kept in the file.
fn settings(connection: &Connection) -> rusqlite::Result<()> {
    // Nothing that a changed file could bring along is run, and the file's own tables stay out of
    // reach of SQL.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    connection.execute_batch(&format!(
        // FULL: sync the log at every commit, so that "written" is true when it is said.
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; \
         PRAGMA secure_delete = ON; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; \
         PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES};"
    ))
}
