//! The digests that make an exchanged, missing or old row visible.
//!
//! The rows of a space fall into [`BUCKETS`] buckets by a hash of their key. The space keeps one keyed
//! digest a bucket, over name, write counter and tag of each of its rows in the order of their names,
//! and a MAC over its owner, its sizes and all the digests. The head keeps a MAC over the MACs of all
//! spaces. So a read checks one bucket, one space and the head, whatever the size of the store, and
//! the only older copy that still fits is one of everything. It must never write over what it has not
//! checked: that would make a forged row genuine.

use rusqlite::{Connection, OptionalExtension, params};

use crate::crypt::{DataKeys, TAG_BYTES, bind};
use crate::database::Head;

/// Bytes of a MAC.
pub(crate) const MAC_BYTES: usize = 32;
/// Bytes of a bucket's digest: 128 bits, for which a forger without the key has one try a write.
const DIGEST_BYTES: usize = 16;
/// How many buckets a space has. With these, all digests of a space lie on one page of the file
/// (2 KiB), and a space of ten thousand keys has some eighty rows to check on each read.
const BUCKETS: usize = 128;

/// What the head is about: every space, in the order of their ids.
#[derive(Clone)]
pub(crate) struct SpaceMac {
    pub id: i64,
    pub mount: String,
    pub lineage: String,
    pub bytes: i64,
    pub mac: [u8; MAC_BYTES],
}

/// One space with its digests.
#[derive(Clone)]
pub(crate) struct SpaceRow {
    pub id: i64,
    pub mount: String,
    pub lineage: String,
    /// The number of the last write to this space.
    pub counter: i64,
    /// How many keys it holds.
    pub keys: i64,
    /// Their size as it counts against the limit.
    pub bytes: i64,
    digests: Vec<u8>,
    pub mac: [u8; MAC_BYTES],
}

/// One row without its value.
pub(crate) struct Leaf {
    pub id: i64,
    pub bucket: i64,
    pub key: String,
    pub counter: i64,
    pub tag: [u8; TAG_BYTES],
}

/// All spaces' MACs.
pub(crate) fn spaces(connection: &Connection) -> rusqlite::Result<Vec<SpaceMac>> {
    let mut all = connection.prepare("SELECT id, mount, lineage, bytes, mac FROM space ORDER BY id")?;
    let rows = all.query_map([], |row| {
        Ok(SpaceMac { id: row.get(0)?, mount: row.get(1)?, lineage: row.get(2)?, bytes: row.get(3)?, mac: row.get(4)? })
    })?;
    rows.collect()
}

fn head_mac(head: &Head, spaces: &[SpaceMac], keys: &DataKeys) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&keys.roots);
    let counter = head.counter.to_le_bytes();
    hasher.update(&bind(&[b"head", &head.store, &head.key, head.holder.as_bytes(), &head.wrapped, &counter]));
    for space in spaces {
        let id = space.id.to_le_bytes();
        hasher.update(&bind(&[&id, space.mount.as_bytes(), space.lineage.as_bytes(), &space.mac]));
    }
    hasher.finalize()
}

/// True if the head, and which spaces there are with which MACs, is as it was last written.
pub(crate) fn check_head(head: &Head, spaces: &[SpaceMac], keys: &DataKeys) -> bool {
    // blake3::Hash compares in constant time.
    head_mac(head, spaces, keys) == head.mac
}

/// Makes the head's MAC anew.
pub(crate) fn sign_head(head: &mut Head, spaces: &[SpaceMac], keys: &DataKeys) {
    head.mac = head_mac(head, spaces, keys).into();
}

/// The bucket of a key. The store's name goes in, so that a plugin cannot choose keys that fall
/// into one bucket.
pub(crate) fn bucket(head: &Head, key: &str) -> i64 {
    let hash = blake3::hash(&bind(&[b"bucket", &head.store, key.as_bytes()]));
    let [first, ..] = *hash.as_bytes();
    i64::from(first) % BUCKETS as i64
}

struct BucketHasher(blake3::Hasher);

impl BucketHasher {
    fn new(head: &Head, space: &SpaceRow, bucket: i64, keys: &DataKeys) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&keys.roots);
        hasher.update(&bind(&[b"bucket", &head.store, &space.id.to_le_bytes(), &bucket.to_le_bytes()]));
        Self(hasher)
    }

    fn add(&mut self, leaf: &Leaf) {
        self.0.update(&bind(&[leaf.key.as_bytes(), &leaf.counter.to_le_bytes(), &leaf.tag]));
    }

    fn finish(&self) -> [u8; DIGEST_BYTES] {
        let mut digest = [0; DIGEST_BYTES];
        self.0.finalize_xof().fill(&mut digest);
        digest
    }
}

impl SpaceRow {
    /// A space without rows.
    pub(crate) fn empty(head: &Head, id: i64, mount: &str, lineage: &str, keys: &DataKeys) -> Self {
        let mut space = Self {
            id,
            mount: mount.to_owned(),
            lineage: lineage.to_owned(),
            counter: head.counter,
            keys: 0,
            bytes: 0,
            digests: Vec::with_capacity(BUCKETS * DIGEST_BYTES),
            mac: [0; MAC_BYTES],
        };
        for bucket in 0..BUCKETS as i64 {
            let digest = BucketHasher::new(head, &space, bucket, keys).finish();
            space.digests.extend_from_slice(&digest);
        }
        space
    }

    /// Reads the space `id`.
    pub(crate) fn read(connection: &Connection, id: i64) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT mount, lineage, counter, keys, bytes, digests, mac FROM space WHERE id = ?1";
        let read = connection.query_one(sql, [id], |row| {
            Ok(Self {
                id,
                mount: row.get(0)?,
                lineage: row.get(1)?,
                counter: row.get(2)?,
                keys: row.get(3)?,
                bytes: row.get(4)?,
                digests: row.get(5)?,
                mac: row.get(6)?,
            })
        });
        read.optional()
    }

    /// Signs and writes the space, and puts its new MAC among the others'.
    pub(crate) fn write(
        &mut self,
        connection: &Connection,
        all: &mut Vec<SpaceMac>,
        head: &Head,
        keys: &DataKeys,
    ) -> rusqlite::Result<()> {
        self.counter = head.counter;
        self.mac = self.compute(head, keys).into();
        let sql = "INSERT OR REPLACE INTO space (id, mount, lineage, counter, keys, bytes, digests, mac) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let row =
            params![self.id, self.mount, self.lineage, self.counter, self.keys, self.bytes, self.digests, self.mac];
        connection.execute(sql, row)?;
        all.retain(|space| space.id != self.id);
        all.push(SpaceMac {
            id: self.id,
            mount: self.mount.clone(),
            lineage: self.lineage.clone(),
            bytes: self.bytes,
            mac: self.mac,
        });
        all.sort_unstable_by_key(|space| space.id);
        Ok(())
    }

    fn compute(&self, head: &Head, keys: &DataKeys) -> blake3::Hash {
        let numbers = [self.id, self.counter, self.keys, self.bytes].map(i64::to_le_bytes).concat();
        let parts: [&[u8]; 6] =
            [b"space", &head.store, self.mount.as_bytes(), self.lineage.as_bytes(), &numbers, &self.digests];
        blake3::keyed_hash(&keys.roots, &bind(&parts))
    }

    /// True if this row is as it was last written, and is the one the (checked) head knows.
    pub(crate) fn check(&self, listed: &SpaceMac, head: &Head, keys: &DataKeys) -> bool {
        self.digests.len() == BUCKETS * DIGEST_BYTES
            && self.bytes == listed.bytes
            && self.compute(head, keys) == self.mac
            && self.mac == listed.mac
    }

    fn digest(&self, bucket: i64) -> Option<&[u8]> {
        let start = usize::try_from(bucket).ok()?.checked_mul(DIGEST_BYTES)?;
        self.digests.get(start..start + DIGEST_BYTES)
    }

    /// The rows of a bucket.
    pub(crate) fn leaves(&self, connection: &Connection, bucket: i64) -> rusqlite::Result<Vec<Leaf>> {
        let sql = "SELECT id, bucket, key, counter, tag FROM entry WHERE space = ?1 AND bucket = ?2 ORDER BY key";
        let mut all = connection.prepare(sql)?;
        let rows = all.query_map([self.id, bucket], leaf)?;
        rows.collect()
    }

    /// True if these are all rows of the bucket and each is the newest of its name.
    pub(crate) fn check_bucket(&self, leaves: &[Leaf], bucket: i64, head: &Head, keys: &DataKeys) -> bool {
        let mut hasher = BucketHasher::new(head, self, bucket, keys);
        leaves.iter().for_each(|leaf| hasher.add(leaf));
        // What is compared is not secret: whoever can watch the time can read the digests in the file.
        self.digest(bucket).is_some_and(|kept| kept == hasher.finish())
    }

    /// Makes a bucket's digest anew after its rows were changed by us.
    pub(crate) fn sign_bucket(
        &mut self,
        connection: &Connection,
        bucket: i64,
        head: &Head,
        keys: &DataKeys,
    ) -> rusqlite::Result<()> {
        let mut hasher = BucketHasher::new(head, self, bucket, keys);
        self.leaves(connection, bucket)?.iter().for_each(|leaf| hasher.add(leaf));
        let start = usize::try_from(bucket).unwrap_or_default() * DIGEST_BYTES;
        if let Some(slot) = self.digests.get_mut(start..start + DIGEST_BYTES) {
            slot.copy_from_slice(&hasher.finish());
        }
        Ok(())
    }

    /// Makes all digests anew after every row was written again by us.
    pub(crate) fn sign_all(&mut self, connection: &Connection, head: &Head, keys: &DataKeys) -> rusqlite::Result<()> {
        (0..BUCKETS as i64).try_for_each(|bucket| self.sign_bucket(connection, bucket, head, keys))
    }

    /// Checks every row of the space against its digests and gives each to `each`, in the order of
    /// the names: by the index that listings use, so that a name hidden from it is noticed.
    pub(crate) fn check_all(
        &self,
        connection: &Connection,
        head: &Head,
        keys: &DataKeys,
        mut each: impl FnMut(Leaf),
    ) -> rusqlite::Result<bool> {
        let mut hashers: Vec<_> =
            (0..BUCKETS as i64).map(|bucket| BucketHasher::new(head, self, bucket, keys)).collect();
        let sql =
            "SELECT id, bucket, key, counter, tag FROM entry INDEXED BY entry_by_key WHERE space = ?1 ORDER BY key";
        let mut all = connection.prepare(sql)?;
        let mut found = 0_i64;
        for row in all.query_map([self.id], leaf)? {
            let row = row?;
            let bucket = bucket(head, &row.key);
            if row.bucket != bucket {
                return Ok(false);
            }
            if let Some(hasher) = usize::try_from(bucket).ok().and_then(|bucket| hashers.get_mut(bucket)) {
                hasher.add(&row);
            }
            found += 1;
            each(row);
        }
        let digests = hashers.iter().flat_map(BucketHasher::finish);
        Ok(found == self.keys && digests.eq(self.digests.iter().copied()))
    }
}

fn leaf(row: &rusqlite::Row<'_>) -> rusqlite::Result<Leaf> {
    Ok(Leaf { id: row.get(0)?, bucket: row.get(1)?, key: row.get(2)?, counter: row.get(3)?, tag: row.get(4)? })
}
