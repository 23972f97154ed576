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

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Failure, Kind, failure};

/// The form of the head's record. A head of another form is refused, never guessed at.
pub const FORMAT: u32 = 1;

/// The largest head, in bytes. Old and new cross into the host in one call, which carries 2 MiB.
pub const MAX_HEAD: usize = 512 * 1024;

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
    /// What the keys are for: a host, or `_`.
    pub target: String,
    /// Open data that is not secret.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: BTreeMap<String, String>,
    /// The keys by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keys: BTreeMap<String, Key>,
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
    pub expires: Option<u64>,
    /// The user's own marks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: BTreeMap<String, String>,
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
            target: NO_TARGET.into(),
            metadata: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Reads the record of `group`; an absent one is an absent group.
    ///
    /// # Errors
    /// `internal` if it is of another form.
    pub fn read(group: &str, record: Option<&[u8]>) -> Result<Self, Failure> {
        let Some(bytes) = record else { return Ok(Self::absent()) };
        match serde_json::from_slice::<Self>(bytes) {
            Ok(head) if head.format == FORMAT && head.keys.values().all(|key| !key.versions.is_empty()) => Ok(head),
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
    /// `unsupported` if it is larger than [`MAX_HEAD`].
    pub fn write(&self) -> Result<Vec<u8>, Failure> {
        let bytes = serde_json::to_vec(self)
            .map_err(|_| failure(Kind::Internal, "keys.format", "a group's record cannot be written"))?;
        if bytes.len() > MAX_HEAD {
            let message = "the group is too large: its names, metadata and tags together would pass 512 KiB; \
                           split it, or keep fewer versions";
            return Err(failure(Kind::Unsupported, "keys.group-too-large", message));
        }
        Ok(bytes)
    }

    /// The highest number that a version of `name` had or may have had.
    pub fn last(&self, name: &str) -> u64 {
        let newest = self.keys.get(name).and_then(Key::current).map_or(0, |v| v.version);
        newest.max(self.floor)
    }

    /// Whether version `number` of `name` exists.
    pub fn lists(&self, name: &str, number: u64) -> bool {
        self.keys.get(name).is_some_and(|key| key.versions.iter().any(|v| v.version == number))
    }

    /// Takes everything out and marks the group as gone.
    pub fn clear(&mut self) {
        for name in self.keys.keys() {
            self.floor = self.floor.max(self.last(name));
        }
        *self = Self { revision: self.revision, floor: self.floor, untidy: true, ..Self::absent() };
    }

    /// True if nobody could tell the group from one that was never there.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.metadata.is_empty() && self.target == NO_TARGET
    }
}

impl Key {
    /// The newest version.
    pub fn current(&self) -> Option<&Version> {
        self.versions.last()
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
