//! What `doctor` asks: how the store is, with and without its key.

use std::fs;

use rusqlite::Connection;
use strongroom_core::{Failure, Text};

use crate::database::{self, Head};
use crate::failures;
use crate::folder;
use crate::holder::{Holder, How};
use crate::store::{Options, Store, located};

/// How a store is, as far as that shows without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How the key is held.
    pub how: How,
    /// The number of the file's format.
    pub format: u32,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of the log beside it, which is moved into the file from time to time.
    pub log_bytes: u64,
    /// The spaces the file lists.
    pub spaces: Vec<SpaceStatus>,
    /// What SQLite's own check of the file found; empty is good.
    pub problems: Vec<Text>,
}

/// One space, as the file lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceStatus {
    /// The mount it belongs to.
    pub mount: Text,
    /// The plugin lineage it belongs to.
    pub lineage: Text,
    /// How many keys it holds.
    pub keys: u64,
    /// What they count against the mount's limit.
    pub bytes: u64,
}

/// What [`Store::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Values that were opened and are genuine.
    pub genuine: u64,
    /// What is not, each with its mount and key; empty is good.
    pub problems: Vec<Text>,
}

impl Store {
    /// Looks at the store without its key; `None` if there is none. Nothing it says is proven: that
    /// is [`Store::verify`]. It reads the whole file once.
    ///
    /// # Errors
    /// `store.permissions`, `store.corrupt`, `store.newer`, `store.busy`, `store.io`.
    pub fn inspect(options: &Options) -> Result<Option<Status>, Failure> {
        if !Self::exists(options)? {
            return Ok(None);
        }
        let path = located(&options.path, false)?.path;
        let failed = |error: rusqlite::Error| failures::sqlite(&path, &error);
        let connection = database::open(&path, options.patience)?;
        let head = Head::read(&connection).map_err(failed)?;
        let holder =
            Holder::parse(&head.holder).ok_or_else(|| failures::corrupt(&path, "its key record is malformed"))?;
        let size = |suffix: &str| {
            let mut name = path.as_os_str().to_os_string();
            name.push(suffix);
            fs::symlink_metadata(name).map_or(0, |about| about.len())
        };
        Ok(Some(Status {
            how: holder.how(),
            format: database::FORMAT.unsigned_abs(),
            file_bytes: size(""),
            log_bytes: size("-wal"),
            spaces: spaces(&connection).map_err(failed)?,
            problems: quick_check(&connection).map_err(failed)?,
        }))
    }

    /// Opens every value of the store, checks every digest and SQLite's own structures, and says what
    /// is not as it was written. It reads and opens the whole store once, and does not stop at the
    /// first problem.
    ///
    /// # Errors
    /// As [`crate::Space::get`] where not even the head is genuine.
    pub fn verify(&self) -> Result<Report, Failure> {
        // The folder may have been opened up since.
        folder::private_file(&self.shared().path)?;
        self.shared().read(|view| {
            let mut report = Report::default();
            let failed = |error: rusqlite::Error| view.failed(&error);
            report.problems = quick_check(view.connection).map_err(failed)?;
            let mut listed = 0_i64;
            for space in &view.spaces {
                let place = Text::new(format!("mount {}", space.mount));
                let space = match view.space(&space.mount, &space.lineage) {
                    Ok(Some(space)) => space,
                    Ok(None) | Err(_) => {
                        report.problems.push(format!("{place}: the record of the space was changed").into());
                        continue;
                    }
                };
                let mut leaves = Vec::new();
                let genuine = space
                    .check_all(view.connection, &view.head, &view.keys, |leaf| leaves.push(leaf))
                    .map_err(failed)?;
                if !genuine {
                    report.problems.push(format!("{place}: rows were exchanged, removed, added or changed").into());
                }
                for leaf in leaves {
                    listed += 1;
                    match view.unseal(&space, &leaf) {
                        Ok(_) => report.genuine += 1,
                        Err(_) => report.problems.push(format!("{place}, key {}: was changed", leaf.key).into()),
                    }
                }
            }
            let rows: i64 = view
                .connection
                .query_one("SELECT count(*) FROM entry NOT INDEXED", [], |row| row.get(0))
                .map_err(failed)?;
            if rows != listed {
                report.problems.push("there are rows that belong to no space".into());
            }
            Ok(report)
        })
    }
}

fn spaces(connection: &Connection) -> rusqlite::Result<Vec<SpaceStatus>> {
    let mut all = connection.prepare("SELECT mount, lineage, keys, bytes FROM space ORDER BY mount, lineage")?;
    let rows = all.query_map([], |row| {
        Ok(SpaceStatus {
            mount: Text::new(row.get::<_, String>(0)?),
            lineage: Text::new(row.get::<_, String>(1)?),
            keys: u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
            bytes: u64::try_from(row.get::<_, i64>(3)?).unwrap_or_default(),
        })
    })?;
    rows.collect()
}

/// At most a hundred problems; SQLite stops there by itself.
fn quick_check(connection: &Connection) -> rusqlite::Result<Vec<Text>> {
    let mut check = connection.prepare("PRAGMA quick_check")?;
    let rows = check.query_map([], |row| row.get::<_, String>(0))?;
    let found: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").map(Text::from).collect())
}
