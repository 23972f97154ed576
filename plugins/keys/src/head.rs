//! The head: one record per group, the sole truth about what the group holds.
//!
//! Values are records of their own, because one may be as large as a call may carry. A value that
//! the head does not list does not exist for anybody; a head is only ever replaced as a whole. The
//! head never holds a value.
//!
//! Numbers of versions only grow, over the whole life of the store: what a number once named is
//! never another value, and a slow process that deletes what it found unused cannot hit something
//! new. That is why a removed group leaves a small head behind, which says that it is gone and
//! where numbers go on.
//!
//! What is deleted for a while is marked here and nothing else: its values stay where they are. Deleted
//! keys lie apart from the others, so that who does not look for them cannot show them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Failure, Kind, failure};

/// The form of the head's record. A head of another form is refused, never guessed at.
pub const FORMAT: u32 = 1;

/// The largest head, in bytes. Old and new cross into the host in one call, which carries 2 MiB.
pub const MAX_HEAD: usize = 512 * 1024;

/// What a mark of a deletion may add to that, in bytes, and the largest head with marks. A full group
/// must not refuse a deletion for the want of room to note it.
const MAX_MARK: usize = 64;
const MAX_MARKED_HEAD: usize = 900 * 1024;

/// The target of a group that was given none: what Azure ML writes for custom connections.
pub const NO_TARGET: &str = "_";

/// What a group holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Always [`FORMAT`].
    pub format: u32,
    /// Grows with every change.
    pub revision: u64,
    /// The group is gone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub removed: bool,
    /// The last change may have left records behind that nothing lists.
    #[serde(default, skip_serializing_if = "is_default")]
    pub untidy: bool,
    /// No version number up to this one is given again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub floor: u64,
    /// Seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub created: Option<u64>,
    /// Seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub updated: Option<u64>,
    /// The group is deleted, with all that it holds, and can be recovered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion: Option<Deletion>,
    /// What the keys are for: a host, or `_`.
    pub target: String,
    /// Open data that is not secret.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: BTreeMap<String, String>,
    /// The keys by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keys: BTreeMap<String, Key>,
    /// The deleted keys that can be recovered, by name. None of them is among `keys`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deleted: BTreeMap<String, DeletedKey>,
    /// The tags that the first version of a key will have, by the key's name. None of them is among `keys` or `deleted`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub awaited: BTreeMap<String, BTreeMap<String, String>>,
}

/// When something was deleted, and from when on it is gone for good. Seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// Deleted then.
    pub at: u64,
    /// Gone from then on. Fixed by the config at the time of the deletion.
    pub until: u64,
}

impl Deletion {
    /// Whether it is final at `now`. Nothing is while the time is not known.
    #[must_use]
    pub fn over(&self, now: Option<u64>) -> bool {
        now.is_some_and(|now| now >= self.until)
    }
}

/// A key that was deleted with all its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeletedKey {
    /// When.
    pub deletion: Deletion,
    /// As it was, and as it will be again if it is recovered.
    pub key: Key,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Oldest first; never empty in a stored head.
    pub versions: Vec<Version>,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Which.
    pub version: u64,
    /// What became of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub state: State,
    /// Its value is not given out until it is enabled again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disabled: bool,
    /// The value is bytes that are not text.
    #[serde(default, skip_serializing_if = "is_default")]
    pub binary: bool,
    /// Seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub created: Option<u64>,
    /// Seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub updated: Option<u64>,
    /// A media type.
    #[serde(default, skip_serializing_if = "is_default")]
    pub content_type: Option<String>,
    /// Seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_before: Option<u64>,
    /// Seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expires: Option<u64>,
    /// The user's own marks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: BTreeMap<String, String>,
}

/// What became of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum State {
    /// It is there.
    #[default]
    Present,
    /// It can be recovered.
    Deleted(Deletion),
    /// Its value is no more, only its number is still told. Not a bare word in the record: the host takes
    /// each text of a record for a secret, and would mask the word in failures.
    Destroyed {},
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Head {
    /// A group that does not exist yet.
    pub fn absent() -> Self {
        Self {
            format: FORMAT,
            revision: 0,
            removed: true,
            untidy: false,
            floor: 0,
            created: None,
            updated: None,
            deletion: None,
            target: NO_TARGET.into(),
            metadata: BTreeMap::new(),
            keys: BTreeMap::new(),
            deleted: BTreeMap::new(),
            awaited: BTreeMap::new(),
        }
    }

    /// Reads the record of `group`; an absent one is an absent group.
    ///
    /// # Errors
    /// `internal` if it is of another form.
    pub fn read(group: &str, record: Option<&[u8]>) -> Result<Self, Failure> {
        let Some(bytes) = record else { return Ok(Self::absent()) };
        match serde_json::from_slice::<Self>(bytes) {
            Ok(head) if head.format == FORMAT && head.all_keys().all(|(_, key)| !key.versions.is_empty()) => Ok(head),
            _ => Err(failure(
                Kind::Internal,
                "keys.format",
                format!("the record of group `{group}` is in a form that this version of the plugin does not read"),
            )),
        }
    }

    /// The record.
    ///
    /// # Errors
    /// `unsupported` if it is larger than [`MAX_HEAD`], marks of deletions aside.
    pub fn write(&self) -> Result<Vec<u8>, Failure> {
        let bytes = serde_json::to_vec(self)
            .map_err(|_| failure(Kind::Internal, "keys.format", "a group's record cannot be written"))?;
        let limit = MAX_HEAD.saturating_add(self.marks().saturating_mul(MAX_MARK)).min(MAX_MARKED_HEAD);
        if bytes.len() > limit {
            let message = "the group is too large: its names, metadata and tags together would pass 512 KiB; \
                           split it, keep fewer versions, or purge what is deleted";
            return Err(failure(Kind::Unsupported, "keys.group-too-large", message));
        }
        Ok(bytes)
    }

    /// How many deletions are noted.
    fn marks(&self) -> usize {
        let versions = self.all_keys().flat_map(|(_, key)| &key.versions);
        versions.filter(|version| version.state != State::Present).count()
            + self.deleted.len()
            + usize::from(self.deletion.is_some())
    }

    /// Every key, also the deleted ones.
    fn all_keys(&self) -> impl Iterator<Item = (&String, &Key)> {
        self.keys.iter().chain(self.deleted.iter().map(|(name, deleted)| (name, &deleted.key)))
    }

    fn key(&self, name: &str) -> Option<&Key> {
        self.keys.get(name).or_else(|| Some(&self.deleted.get(name)?.key))
    }

    /// The highest number that a version of `name` had or may have had.
    pub fn last(&self, name: &str) -> u64 {
        let newest = self.key(name).and_then(Key::newest).map_or(0, |v| v.version);
        newest.max(self.floor)
    }

    /// Whether version `number` of `name` has a value, be it deleted or not.
    pub fn lists(&self, name: &str, number: u64) -> bool {
        let holds = |v: &Version| v.version == number && v.has_value();
        self.key(name).is_some_and(|key| key.versions.iter().any(holds))
    }

    /// Takes everything out and marks the group as gone.
    pub fn clear(&mut self) {
        let floor = self.all_keys().map(|(name, _)| self.last(name)).max().unwrap_or_default();
        *self = Self { revision: self.revision, floor: floor.max(self.floor), untidy: true, ..Self::absent() };
    }

    /// Takes out what was deleted and whose time is over at `now`. True if there was any; its records
    /// are still there then.
    pub fn expire(&mut self, now: Option<u64>) -> bool {
        if self.deletion.is_some_and(|deletion| deletion.over(now)) {
            self.clear();
            return true;
        }
        let mut any = false;
        for name in self.deleted.keys().cloned().collect::<Vec<_>>() {
            if self.deleted.get(&name).is_some_and(|deleted| deleted.deletion.over(now)) {
                self.floor = self.last(&name);
                self.deleted.remove(&name);
                any = true;
            }
        }
        let keys = self.keys.values_mut().chain(self.deleted.values_mut().map(|deleted| &mut deleted.key));
        for version in keys.flat_map(|key| &mut key.versions) {
            if matches!(version.state, State::Deleted(deletion) if deletion.over(now)) {
                version.destroy();
                any = true;
            }
        }
        if any && self.is_empty() {
            self.clear();
        }
        self.untidy |= any;
        any
    }

    /// True if it holds nothing, nor anything that could come back: nobody could tell the group from one
    /// that was never there.
    pub fn is_empty(&self) -> bool {
        let nothing = self.keys.is_empty() && self.deleted.is_empty() && self.awaited.is_empty();
        nothing && self.metadata.is_empty() && self.target == NO_TARGET
    }
}

impl Key {
    /// The newest version, whatever became of it.
    pub fn newest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// The newest version, if its value is given out: what the group as a whole shows of the key.
    pub fn shown(&self) -> Option<&Version> {
        self.newest().filter(|version| version.state == State::Present && !version.disabled)
    }
}

impl Version {
    /// Whether there is a value, be it deleted or not.
    pub fn has_value(&self) -> bool {
        self.state != State::Destroyed {}
    }

    /// Leaves the number, its times and its tags, which are the user's own marks. The record of the value is still there.
    pub fn destroy(&mut self) {
        *self = Self {
            version: self.version,
            state: State::Destroyed {},
            created: self.created,
            updated: self.updated,
            tags: std::mem::take(&mut self.tags),
            ..Self::default()
        };
    }
}

/// The store's key of a group's head.
pub fn head_key(group: &str) -> String {
    format!("{group}/head")
}

/// The group whose head `key` is.
pub fn group_of(key: &str) -> Option<&str> {
    key.strip_suffix("/head").filter(|group| !group.contains('/'))
}

/// The beginning of the store's keys of a group's values.
pub fn values_prefix(group: &str) -> String {
    format!("{group}/v/")
}

/// The store's key of one value. Names hold no slash, so no name reaches into another's.
pub fn value_key(group: &str, name: &str, number: u64) -> String {
    format!("{group}/v/{name}/{number}")
}

/// The name and number in what follows [`values_prefix`].
pub fn parse_value_key(rest: &str) -> Option<(&str, u64)> {
    let (name, number) = rest.rsplit_once('/')?;
    Some((name, number.parse().ok()?))
}
