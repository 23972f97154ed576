//! How a group changes while other processes read and change it, and any may die at any moment.
//!
//! 1. Each new value is written under a number that nobody has used: the claim, a swap from
//!    nothing. Until a head lists it, it does not exist.
//! 2. The head is swapped, old for new. This is the one moment at which the change happens, whole
//!    or not at all.
//! 3. If another change came first, everything is thought again on the new head. A claim is kept
//!    while its number is above all that were ever listed, else made again.
//! 4. Records that the new head does not list are deleted, at leisure. Who dies before that leaves
//!    the mark `untidy` in the head, and the group's next change tidies up.
//!
//! What was deleted for a while and whose time is over goes with the next change, by the same steps.
//!
//! What is deleted in step 4 has a number that the head is past. A process that still holds such a
//! claim read an older head, so its swap must fail; and since numbers only grow, the deleted key is
//! never used again. A claim whose maker died is above the head's numbers, looks like one at work,
//! and is left alone until the numbers have passed it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::head::{Deletion, Head, head_key, parse_value_key, value_key, values_prefix};
use crate::store::{Store, all_keys};
use crate::{Context, Failure, Kind, failure};

/// How often a change is thought again before it is a conflict. Each round that is lost was won by
/// another process, so this many processes may write to one group at once.
const MAX_ROUNDS: usize = 100;

/// How many numbers may be taken by others before a claim gives up.
const MAX_SKIPS: u64 = 1000;

/// The longest that what is deleted can be kept, in days: Key Vault's own limit.
const MAX_DELETED_FOR: u32 = 90;

const DAY: u64 = 24 * 60 * 60;

/// What a call needs to know besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Seconds since the Unix epoch, if the host says.
    pub now: Option<u64>,
    /// How many versions of a key are kept.
    pub versions: usize,
    /// For how many days what is deleted can be recovered. 0: not at all.
    pub deleted_for: u32,
}

impl Settings {
    /// Reads the mount's config and what the host tells of the call.
    ///
    /// # Errors
    /// `invalid-config` if the config is not the manifest's.
    pub fn of(ctx: &Context) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Config {
            #[serde(default = "twenty")]
            versions: usize,
            #[serde(default)]
            deleted_for: u32,
        }
        const fn twenty() -> usize {
            20
        }
        let invalid = |what: &str| failure(Kind::InvalidConfig, "keys.config", what);
        let text = if ctx.config.trim().is_empty() { "{}" } else { ctx.config.as_str() };
        let config: Config = serde_json::from_str(text).map_err(|_| {
            invalid("the config has `versions` and `deleted_for`, both whole numbers, and nothing else")
        })?;
        if !(1..=100).contains(&config.versions) {
            return Err(invalid("`versions` is a number from 1 to 100"));
        }
        if config.deleted_for > MAX_DELETED_FOR {
            return Err(invalid("`deleted_for` is a number of days, from 0 to 90"));
        }
        let now = ctx.attributes.iter().find(|(key, _)| key == "now").and_then(|(_, now)| now.parse().ok());
        Ok(Self { now, versions: config.versions, deleted_for: config.deleted_for })
    }

    /// The mark of what is deleted now; `None` if nothing is kept of it.
    ///
    /// # Errors
    /// `internal` if the host does not tell the time: nobody could say when it is over.
    pub fn deletion(&self) -> Result<Option<Deletion>, Failure> {
        if self.deleted_for == 0 {
            return Ok(None);
        }
        let at = self.now.ok_or_else(|| failure(Kind::Internal, "keys.no-time", "the host did not tell the time"))?;
        let until = at.saturating_add(u64::from(self.deleted_for).saturating_mul(DAY));
        Ok(Some(Deletion { at, until }))
    }
}

/// The values that this change has written, by key.
#[derive(Debug)]
pub struct Claims<'a, S: Store> {
    store: &'a S,
    group: &'a str,
    held: BTreeMap<String, u64>,
    skipped: bool,
}

impl<S: Store> Claims<'_, S> {
    /// Writes `value` as a new version of `name` and returns its number. In one change each name
    /// has one value, so a later round may find it written already.
    ///
    /// # Errors
    /// What the store says.
    pub fn claim(&mut self, head: &Head, name: &str, value: &[u8]) -> Result<u64, Failure> {
        let last = head.last(name);
        if let Some(&number) = self.held.get(name) {
            if number > last {
                return Ok(number);
            }
            self.held.remove(name);
            self.store.delete(&value_key(self.group, name, number))?;
        }
        for number in last.saturating_add(1)..=last.saturating_add(MAX_SKIPS) {
            if self.store.swap(&value_key(self.group, name, number), None, Some(value))? {
                self.held.insert(name.into(), number);
                return Ok(number);
            }
            self.skipped = true;
        }
        Err(conflict())
    }

    /// The highest number of any record of the group, or of the key `name`.
    ///
    /// # Errors
    /// What the store says.
    pub fn highest(&self, name: Option<&str>) -> Result<u64, Failure> {
        let prefix = values_prefix(self.group);
        let keys = all_keys(self.store, &prefix)?;
        let records = keys.iter().filter_map(|key| parse_value_key(key.strip_prefix(&prefix)?));
        Ok(records.filter(|(owner, _)| name.is_none_or(|name| name == *owner)).map(|(_, n)| n).max().unwrap_or(0))
    }

    /// The value of a version that `head` lists; `None` if the head is no longer the current one.
    ///
    /// # Errors
    /// What the store says.
    pub fn value(&self, name: &str, number: u64) -> Result<Option<Vec<u8>>, Failure> {
        self.store.get(&value_key(self.group, name, number))
    }

    fn release(&self) {
        for (name, &number) in &self.held {
            // If it fails, an unlisted record stays, which is harmless.
            let _ = self.store.delete(&value_key(self.group, name, number));
        }
    }
}

/// Changes `group` by `edit`, which gets the current head to change and may be called again when
/// another change came first. The head it is given is marked removed if there is no such group.
///
/// # Errors
/// Those of `edit` and the store; `conflict` if others were first too often. After an error of the
/// store the change may have happened; in all other cases nothing has changed.
pub fn change<S: Store, T>(
    store: &S,
    settings: &Settings,
    group: &str,
    mut edit: impl FnMut(&mut Head, &mut Claims<'_, S>) -> Result<T, Failure>,
) -> Result<(T, Head), Failure> {
    let mut claims = Claims { store, group, held: BTreeMap::new(), skipped: false };
    for _ in 0..MAX_ROUNDS {
        let record = store.get(&head_key(group))?;
        let old = Head::read(group, record.as_deref())?;
        let untidy = old.untidy;
        let mut new = Head { untidy: false, ..old };
        let edited = sweep(&mut new, settings, &claims).and_then(|()| {
            let made = new.removed;
            let answer = edit(&mut new, &mut claims)?;
            settle(&mut new, made, settings, claims.skipped);
            Ok((answer, new.write()?))
        });
        let (answer, bytes) = match edited {
            Ok(edited) => edited,
            Err(error) => {
                claims.release();
                return Err(error);
            }
        };
        // On an error it may have been swapped: the claims must stay.
        if store.swap(&head_key(group), record.as_deref(), Some(&bytes))? {
            if untidy || new.untidy {
                // The change is done, and the mark brings the next one here again.
                let _ = tidy(store, group, &new);
            }
            return Ok((answer, new));
        }
    }
    claims.release();
    Err(conflict())
}

/// Takes out what is past its time, and with it every number that anybody may have claimed there.
fn sweep<S: Store>(head: &mut Head, settings: &Settings, claims: &Claims<'_, S>) -> Result<(), Failure> {
    if head.expire(settings.now) {
        head.floor = head.floor.max(claims.highest(None)?);
    }
    Ok(())
}

/// Does to a changed head what every change does. `made` says that there was no such group before.
fn settle(new: &mut Head, made: bool, settings: &Settings, skipped: bool) {
    new.revision = new.revision.saturating_add(1);
    new.untidy |= skipped;
    for key in new.keys.values_mut() {
        let surplus = key.versions.len().saturating_sub(settings.versions);
        new.untidy |= surplus > 0;
        key.versions.drain(..surplus);
    }
    if new.removed {
        return;
    }
    if made {
        new.created = settings.now;
    }
    new.updated = settings.now;
}

/// Deletes the group's records that `head` is past and does not list.
///
/// # Errors
/// What the store says.
pub fn tidy(store: &impl Store, group: &str, head: &Head) -> Result<(), Failure> {
    let prefix = values_prefix(group);
    for key in all_keys(store, &prefix)? {
        let Some((name, number)) = key.strip_prefix(&prefix).and_then(parse_value_key) else { continue };
        if number <= head.last(name) && !head.lists(name, number) {
            store.delete(&key)?;
        }
    }
    Ok(())
}

fn conflict() -> Failure {
    failure(Kind::Conflict, "keys.busy", "too many others were changing the group at the same time; try again")
}
