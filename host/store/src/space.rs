//! What one mount and one plugin lineage keep together: a map from names to sealed values.
//!
//! It must never show or change what belongs to another mount or lineage, and never hand out a value
//! that is not the newest one written under exactly this name.

use std::fmt;
use std::sync::Arc;

use rusqlite::{OptionalExtension, params};
use strongroom_core::{Failure, Kind, Name};
use zeroize::Zeroizing;

use crate::crypt::{self, NONCE_BYTES, Sealed};
use crate::roots::{self, Leaf, SpaceRow};
use crate::store::{Shared, View};
use crate::{database, failures};

/// The longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 512;
/// The longest lineage, in bytes of UTF-8.
pub const MAX_LINEAGE_BYTES: usize = 128;
/// The largest value, in bytes: a secret of 1 MiB and a quarter more for what a plugin keeps with it.
pub const MAX_VALUE_BYTES: usize = (1 << 20) + (1 << 18);
/// What a key counts against the mount's limit beside its own bytes and its value's, so that a
/// million empty values are not free.
pub const ROW_OVERHEAD_BYTES: u64 = 128;
/// The most keys a [`Page`] holds.
pub const PAGE_KEYS: usize = 256;

/// Some of the keys of a space, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most [`PAGE_KEYS`] keys.
    pub keys: Vec<String>,
    /// What to give to [`Space::keys`] for those that follow, if there are any.
    pub next: Option<String>,
}

/// What one mount keeps for one plugin lineage. Cheap to clone.
#[derive(Clone)]
pub struct Space {
    shared: Arc<Shared>,
    mount: Name,
    lineage: Box<str>,
    limit_bytes: u64,
}

impl Space {
    pub(crate) fn new(shared: Arc<Shared>, mount: &Name, lineage: &str) -> Result<Self, Failure> {
        check_lineage(lineage)?;
        let limit_bytes = shared.limit_bytes;
        Ok(Self { shared, mount: mount.clone(), lineage: lineage.into(), limit_bytes })
    }

    /// The same space, where the mount may keep `bytes` in all instead of what the store's options say.
    #[must_use]
    pub fn with_limit(self, bytes: u64) -> Self {
        Self { limit_bytes: bytes, ..self }
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// `store.key` if `key` is empty, longer than [`MAX_KEY_BYTES`] or has control characters;
    /// `store.corrupt` if what is there is not what was written; `store.busy`, `store.io`; and the
    /// key's failures of [`crate::Store::open`], if another process has rotated it.
    pub fn get(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        check_key(key)?;
        self.shared.read(|view| match view.space(self.mount.as_str(), &self.lineage)? {
            Some(space) => view.value(&space, key),
            None => Ok(None),
        })
    }

    /// Puts `value` under `key`, in place of what is there. On the disk when it returns.
    ///
    /// # Errors
    /// As [`Space::get`]; `store.value-size` above [`MAX_VALUE_BYTES`]; `store.mount-size` above the
    /// mount's limit; `store.disk-full`. Then nothing was changed.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Failure> {
        check_key(key)?;
        check_value(value)?;
        self.shared.write(|view| self.put(view, key, Some(value)).map(|_| ((), true)))
    }

    /// Puts every value under its key, and removes the keys that have none, all at once or not at all. On the disk
    /// when it returns.
    ///
    /// # Errors
    /// As [`Space::set`].
    pub fn set_all<'a>(
        &self,
        changes: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    ) -> Result<(), Failure> {
        self.put_all(None, changes).map(drop)
    }

    /// As [`Space::set_all`], if `expected` is what stands under `key`, atomically over all processes; `None` stands for an absent key.
    /// False, and nothing is changed, if something else is there.
    ///
    /// # Errors
    /// As [`Space::set`].
    pub fn set_all_where<'a>(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        changes: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    ) -> Result<bool, Failure> {
        check_key(key)?;
        self.put_all(Some((key, expected)), changes)
    }

    fn put_all<'a>(
        &self,
        condition: Option<(&str, Option<&[u8]>)>,
        changes: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    ) -> Result<bool, Failure> {
        for (key, value) in changes.clone() {
            check_key(key)?;
            value.map_or(Ok(()), check_value)?;
        }
        self.shared.write(|view| {
            if let Some((key, expected)) = condition {
                let now = match view.space(self.mount.as_str(), &self.lineage)? {
                    Some(space) => view.value(&space, key)?,
                    None => None,
                };
                if now.as_ref().map(|value| value.as_slice()) != expected {
                    return Ok((false, false));
                }
            }
            let mut changed = false;
            for (key, value) in changes.clone() {
                // A key of a space that is not there need not be removed from it.
                if value.is_some() || view.space(self.mount.as_str(), &self.lineage)?.is_some() {
                    self.put(view, key, value)?;
                    changed = true;
                }
            }
            Ok((true, changed))
        })
    }

    /// Removes `key`. False if it was not there. On the disk when it returns.
    ///
    /// # Errors
    /// As [`Space::set`].
    pub fn delete(&self, key: &str) -> Result<bool, Failure> {
        check_key(key)?;
        self.shared.write(|view| {
            if view.space(self.mount.as_str(), &self.lineage)?.is_none() {
                return Ok((false, false));
            }
            self.put(view, key, None).map(|was_there| (was_there, was_there))
        })
    }

    /// Puts `new` where `expected` is now, atomically over all processes; `None` stands for an absent
    /// key. False, and nothing is changed, if something else is there.
    ///
    /// # Errors
    /// As [`Space::set`].
    pub fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, Failure> {
        self.set_all_where(key, expected, std::iter::once((key, new)))
    }

    /// Keys that begin with `prefix`, a page at a time: `cursor` is [`Page::next`] of the page before.
    ///
    /// The first page checks that all names of the space are there and genuine; see the crate's
    /// documentation for what that leaves to later pages.
    ///
    /// # Errors
    /// As [`Space::get`], also for `prefix` (which may be empty) and `cursor`.
    pub fn keys(&self, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure> {
        for text in [(!prefix.is_empty()).then_some(prefix), cursor].into_iter().flatten() {
            check_key(text)?;
        }
        self.shared.read(|view| {
            let Some(space) = view.space(self.mount.as_str(), &self.lineage)? else {
                return Ok(Page { keys: Vec::new(), next: None });
            };
            let mut keys = match cursor {
                None => view.first_keys(&space, prefix)?,
                Some(cursor) => view.later_keys(&space, prefix, cursor)?,
            };
            let more = keys.len() > PAGE_KEYS;
            keys.truncate(PAGE_KEYS);
            Ok(Page { next: if more { keys.last().cloned() } else { None }, keys })
        })
    }

    /// Writes or removes one row, with digests and sizes. True if the key was there before.
    fn put(&self, view: &mut View<'_>, key: &str, value: Option<&[u8]>) -> Result<bool, Failure> {
        let mut space = match view.space(self.mount.as_str(), &self.lineage)? {
            Some(space) => space,
            None => view.new_space(self.mount.as_str(), &self.lineage),
        };
        let bucket = roots::bucket(&view.head, key);
        let old = view.bucket(&space, bucket)?.into_iter().find(|leaf| leaf.key == key);
        if let Some(old) = &old {
            let bytes = view.size(old)?;
            view.connection
                .execute("DELETE FROM entry WHERE id = ?1", [old.id])
                .map_err(|error| view.failed(&error))?;
            space.keys -= 1;
            space.bytes -= charge(key, bytes);
        }
        if let Some(value) = value {
            space.keys += 1;
            space.bytes = space.bytes.saturating_add(charge(key, value.len()));
            let others = view.spaces.iter().filter(|other| other.mount == space.mount && other.id != space.id);
            let total = others.map(|other| other.bytes).fold(space.bytes, i64::saturating_add);
            if u64::try_from(total).unwrap_or_default() > self.limit_bytes {
                return Err(self.too_full());
            }
            let counter = view.head.counter;
            let sealed = crypt::seal(&view.keys.values, &view.binding(&space, key, counter), value)?;
            view.insert(&space, bucket, key, counter, &sealed)?;
        }
        let View { connection, head, spaces, keys, path } = view;
        space
            .sign_bucket(connection, bucket, head, keys)
            .and_then(|()| space.write(connection, spaces, head, keys))
            .map_err(|error| failures::sqlite(path, &error))?;
        Ok(old.is_some())
    }

    fn too_full(&self) -> Failure {
        let message =
            format!("mount {} would keep more than its {} KiB in the store", self.mount, self.limit_bytes / 1024);
        failures::limit("store.mount-size", message)
            .on_mount(&self.mount)
            .help("delete secrets or old versions that are not needed")
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("mount", &self.mount).field("lineage", &self.lineage).finish_non_exhaustive()
    }
}

/// What a row counts against the limit.
fn charge(key: &str, value_bytes: usize) -> i64 {
    let bytes = key.len() as u64 + value_bytes as u64 + ROW_OVERHEAD_BYTES;
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.len() > MAX_KEY_BYTES {
        let message = format!("a key of the store has at most {MAX_KEY_BYTES} bytes, this one has {}", key.len());
        return Err(failures::limit("store.key", message));
    }
    if key.is_empty() || key.chars().any(char::is_control) {
        let message = "a key of the store is not empty and has no control characters";
        return Err(Failure::new(Kind::InvalidReference, "store.key", message)
            .about(key)
            .help("a plugin chooses its keys: this is for its author to mend"));
    }
    Ok(())
}

fn check_value(value: &[u8]) -> Result<(), Failure> {
    if value.len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    let message = format!("a value in the store has at most {MAX_VALUE_BYTES} bytes, this one has {}", value.len());
    Err(failures::limit("store.value-size", message))
}

pub(crate) fn check_lineage(lineage: &str) -> Result<(), Failure> {
    if (1..=MAX_LINEAGE_BYTES).contains(&lineage.len()) && !lineage.chars().any(char::is_control) {
        return Ok(());
    }
    let message = format!("a plugin lineage has 1 to {MAX_LINEAGE_BYTES} bytes and no control characters");
    Err(Failure::new(Kind::InvalidConfig, "store.lineage", message).about(lineage))
}

impl View<'_> {
    /// A space that is not in the file yet.
    pub(crate) fn new_space(&self, mount: &str, lineage: &str) -> SpaceRow {
        let id = self.spaces.iter().map(|space| space.id).max().unwrap_or_default() + 1;
        SpaceRow::empty(&self.head, id, mount, lineage, &self.keys)
    }

    /// What the value of a row is bound to.
    fn binding(&self, space: &SpaceRow, key: &str, counter: i64) -> Vec<u8> {
        database::value_binding(&self.head, &space.mount, &space.lineage, key, counter)
    }

    /// The rows of a bucket, checked.
    fn bucket(&self, space: &SpaceRow, bucket: i64) -> Result<Vec<Leaf>, Failure> {
        let leaves = space.leaves(self.connection, bucket).map_err(|error| self.failed(&error))?;
        if space.check_bucket(&leaves, bucket, &self.head, &self.keys) {
            Ok(leaves)
        } else {
            Err(self.corrupt(&format!(
                "rows of mount {} were exchanged, removed, added or changed",
                strongroom_core::Text::new(&space.mount)
            )))
        }
    }

    /// The value under `key`; that it is absent is checked too.
    fn value(&self, space: &SpaceRow, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let leaves = self.bucket(space, roots::bucket(&self.head, key))?;
        match leaves.iter().find(|leaf| leaf.key == key) {
            Some(leaf) => self.unseal(space, leaf).map(Some),
            None => Ok(None),
        }
    }

    /// Opens the value of a row.
    pub(crate) fn unseal(&self, space: &SpaceRow, leaf: &Leaf) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let sealed = self
            .connection
            .query_one("SELECT nonce, body FROM entry WHERE id = ?1", [leaf.id], |row| {
                Ok((row.get::<_, [u8; NONCE_BYTES]>(0)?, row.get::<_, Vec<u8>>(1)?))
            })
            .optional()
            .map_err(|error| self.failed(&error))?;
        let binding = self.binding(space, &leaf.key, leaf.counter);
        sealed
            .and_then(|(nonce, body)| crypt::open(&self.keys.values, &binding, &nonce, &leaf.tag, body))
            .ok_or_else(|| self.corrupt("a value was changed"))
    }

    fn size(&self, leaf: &Leaf) -> Result<usize, Failure> {
        let size: i64 = self
            .connection
            .query_one("SELECT length(body) FROM entry WHERE id = ?1", [leaf.id], |row| row.get(0))
            .map_err(|error| self.failed(&error))?;
        usize::try_from(size).map_err(|_| self.corrupt("a value was changed"))
    }

    pub(crate) fn insert(
        &self,
        space: &SpaceRow,
        bucket: i64,
        key: &str,
        counter: i64,
        sealed: &Sealed,
    ) -> Result<(), Failure> {
        let sql =
            "INSERT INTO entry (space, bucket, key, counter, nonce, tag, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.connection
            .execute(sql, params![space.id, bucket, key, counter, sealed.nonce, sealed.tag, sealed.body])
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }

    /// One key more than a page, from the start, after checking the whole space.
    fn first_keys(&self, space: &SpaceRow, prefix: &str) -> Result<Vec<String>, Failure> {
        let mut keys = Vec::new();
        let genuine = space
            .check_all(self.connection, &self.head, &self.keys, |leaf| {
                if keys.len() <= PAGE_KEYS && leaf.key.starts_with(prefix) {
                    keys.push(leaf.key);
                }
            })
            .map_err(|error| self.failed(&error))?;
        if genuine { Ok(keys) } else { Err(self.corrupt("names were exchanged, removed, added or changed")) }
    }

    /// One key more than a page, after `cursor`.
    fn later_keys(&self, space: &SpaceRow, prefix: &str, cursor: &str) -> Result<Vec<String>, Failure> {
        // A cursor before the prefix is one that somebody made up: it means the start.
        let (sql, start) = if cursor >= prefix {
            ("SELECT key FROM entry WHERE space = ?1 AND key > ?2 ORDER BY key LIMIT ?3", cursor)
        } else {
            ("SELECT key FROM entry WHERE space = ?1 AND key >= ?2 ORDER BY key LIMIT ?3", prefix)
        };
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map(params![space.id, start, PAGE_KEYS as i64 + 1], |row| row.get(0))?;
            rows.collect()
        };
        let mut keys = read().map_err(|error| self.failed(&error))?;
        let ours = keys.iter().take_while(|key| key.starts_with(prefix)).count();
        keys.truncate(ours);
        Ok(keys)
    }
}
