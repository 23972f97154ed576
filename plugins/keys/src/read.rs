//! Answers references.

use std::collections::BTreeMap;

use crate::head::{Deletion, Head, Key, State, Version, head_key, value_key};
use crate::place::{Part, Place};
use crate::store::Store;
use crate::{Failure, Kind, Reference, Secret, Value, document, failure};

/// How often a read is begun again because a change took away what it was about to read.
const MAX_ROUNDS: usize = 10;

/// The most names that a not-found failure lists.
const MAX_NAMES: usize = 10;

/// One answer per reference, in order. References to one group are answered from one state of it, as
/// it is at `now` (seconds since the Unix epoch).
pub fn resolve(store: &impl Store, now: Option<u64>, refs: &[Reference]) -> Vec<Result<Secret, Failure>> {
    let places: Vec<_> = refs.iter().map(Place::of).collect();
    let mut heads = BTreeMap::new();
    for _ in 1..MAX_ROUNDS {
        heads.clear();
        let round: Option<Vec<_>> =
            places.iter().map(|place| answer(store, now, &mut heads, place).transpose()).collect();
        if let Some(answers) = round {
            return answers;
        }
    }
    // Somebody changes the group all the time, or a value is lost.
    heads.clear();
    places
        .iter()
        .map(|place| answer(store, now, &mut heads, place).and_then(|secret| secret.ok_or_else(lost)))
        .collect()
}

/// `Ok(None)` if the head lists a value that is not there: a change came between.
fn answer(
    store: &impl Store,
    now: Option<u64>,
    heads: &mut BTreeMap<String, Result<Head, Failure>>,
    place: &Result<Place, Failure>,
) -> Result<Option<Secret>, Failure> {
    let place = place.as_ref().map_err(Clone::clone)?;
    let head = heads.entry(place.group.clone()).or_insert_with(|| existing(store, now, &place.group));
    let head = head.as_ref().map_err(|error| error.clone())?;
    let whole = |text: String, content_type: Option<&str>| Secret {
        value: Value::Text(text),
        version: Some(head.revision.to_string()),
        content_type: content_type.map(Into::into),
        expires_at: None,
        max_age_ms: None,
        attributes: times(head.created, head.updated),
    };
    match &place.part {
        Part::Key(name) => {
            let version = find(head, now, &place.group, name, place.version.as_deref())?;
            if version.disabled {
                return Err(disabled(&place.group, name, version));
            }
            let Some(bytes) = store.get(&value_key(&place.group, name, version.version))? else { return Ok(None) };
            Ok(Some(Secret {
                value: value(version, bytes)?,
                version: Some(version.version.to_string()),
                content_type: version.content_type.clone(),
                expires_at: version.expires,
                max_age_ms: None,
                attributes: details(version),
            }))
        }
        Part::Group => {
            check_revision(head, place)?;
            let mut keys = BTreeMap::new();
            for (name, key) in &head.keys {
                let Some(version) = key.shown() else { continue };
                let Some(bytes) = store.get(&value_key(&place.group, name, version.version))? else {
                    return Ok(None);
                };
                match value(version, bytes)? {
                    Value::Text(text) => keys.insert(name.as_str(), text),
                    Value::Binary(_) => {
                        let message = format!(
                            "the value of `{name}` is not text, so group `{}` cannot be read as JSON; read its keys one by one",
                            place.group
                        );
                        return Err(failure(Kind::Unsupported, "keys.binary", message));
                    }
                };
            }
            Ok(Some(whole(document::write(&place.group, head, &keys)?, Some("application/json"))))
        }
        Part::Metadata(name) => {
            check_revision(head, place)?;
            match head.metadata.get(name) {
                Some(text) => Ok(Some(whole(text.clone(), None))),
                None => Err(absent(&place.group, "metadata field", name, head.metadata.keys())),
            }
        }
        Part::Target => {
            check_revision(head, place)?;
            Ok(Some(whole(head.target.clone(), None)))
        }
    }
}

/// The head of a group that is there at `now`, without what is past its time.
///
/// # Errors
/// `not-found`, or what the store says.
pub fn existing(store: &impl Store, now: Option<u64>, group: &str) -> Result<Head, Failure> {
    let mut head = Head::read(group, store.get(&head_key(group))?.as_deref())?;
    head.expire(now);
    alive(&head, now, group)?;
    Ok(head)
}

/// That a group is there, and not deleted.
///
/// # Errors
/// `not-found`.
pub fn alive(head: &Head, now: Option<u64>, group: &str) -> Result<(), Failure> {
    if head.removed {
        return Err(no_group(group));
    }
    match head.deletion {
        Some(deletion) => Err(deleted("keys.deleted", format!("group `{group}`"), deletion, now)),
        None => Ok(()),
    }
}

/// The failure for a group that does not exist.
pub fn no_group(group: &str) -> Failure {
    failure(Kind::NotFound, "keys.no-group", format!("there is no group `{group}`"))
}

/// A key with its versions, whatever became of them.
///
/// # Errors
/// `not-found`, also if the key is deleted.
pub fn find_key<'a>(head: &'a Head, now: Option<u64>, group: &str, name: &str) -> Result<&'a Key, Failure> {
    if let Some(gone) = head.deleted.get(name) {
        return Err(deleted("keys.deleted", format!("key `{name}` of group `{group}`"), gone.deletion, now));
    }
    head.keys.get(name).ok_or_else(|| absent(group, "key", name, head.keys.keys()))
}

/// The version of a key that a reference names, by default the newest, whatever became of it.
///
/// # Errors
/// `not-found`.
pub fn pick<'a>(key: &'a Key, group: &str, name: &str, version: Option<&str>) -> Result<&'a Version, Failure> {
    let newest = key.newest().ok_or_else(lost)?;
    let Some(version) = version else { return Ok(newest) };
    key.versions.iter().rev().find(|v| v.version.to_string() == version).ok_or_else(|| {
        let message =
            format!("key `{name}` of group `{group}` has no version `{version}`; the newest is `{}`", newest.version);
        failure(Kind::NotFound, "keys.no-version", message)
    })
}

/// As [`pick`], if it is neither deleted nor destroyed. No other version stands in for the newest one:
/// who deleted it did not ask for an old value.
///
/// # Errors
/// `not-found`; attributes of the failure say which version it is about, and since when.
pub fn find<'a>(
    head: &'a Head,
    now: Option<u64>,
    group: &str,
    name: &str,
    version: Option<&str>,
) -> Result<&'a Version, Failure> {
    let found = pick(find_key(head, now, group, name)?, group, name, version)?;
    let what = format!("version `{}` of key `{name}` of group `{group}`", found.version);
    let mut failure = match found.state {
        State::Present => return Ok(found),
        State::Deleted(deletion) => deleted("keys.version-deleted", what, deletion, now),
        State::Destroyed {} => destroyed(&what),
    };
    failure.attributes.push(("version".into(), found.version.to_string()));
    failure.attributes.extend(times(found.created, found.updated));
    Err(failure)
}

/// The failure for a version whose value is no more.
pub fn destroyed(what: &str) -> Failure {
    let message = format!("{what} was destroyed: its value is gone for good");
    let mut failure = failure(Kind::NotFound, "keys.version-destroyed", message);
    failure.attributes.push(("state".into(), "destroyed".into()));
    failure
}

/// The failure for what was deleted and can be recovered.
fn deleted(code: &str, what: String, deletion: Deletion, now: Option<u64>) -> Failure {
    let message = format!("{what} was deleted, and can be recovered {} (strongroom recover)", for_days(deletion, now));
    let mut failure = failure(Kind::NotFound, code, message);
    failure.attributes.push(("state".into(), "deleted".into()));
    failure.attributes.extend(deletion_times(deletion));
    failure
}

/// How long something can still be recovered, for people.
pub fn for_days(deletion: Deletion, now: Option<u64>) -> String {
    let Some(now) = now else { return "for a while".into() };
    match deletion.until.saturating_sub(now).div_ceil(24 * 60 * 60) {
        0 | 1 => "for less than a day".into(),
        days => format!("for less than {days} days"),
    }
}

fn disabled(group: &str, name: &str, version: &Version) -> Failure {
    let message = format!(
        "version `{}` of key `{name}` of group `{group}` is disabled; enable it (enabled = true), or name another version",
        version.version
    );
    failure(Kind::Denied, "keys.disabled", message)
}

/// The failure for a part that a group does not have: lists what it has, by name.
pub fn absent<'a>(group: &str, what: &str, name: &str, have: impl Iterator<Item = &'a String>) -> Failure {
    let mut have: Vec<_> = have.take(MAX_NAMES + 1).map(|name| format!("`{name}`")).collect();
    if have.len() > MAX_NAMES {
        have.truncate(MAX_NAMES);
        have.push("and more".into());
    }
    let have = if have.is_empty() { "none".into() } else { have.join(", ") };
    let code = if what == "key" { "keys.no-key" } else { "keys.no-metadata" };
    failure(Kind::NotFound, code, format!("group `{group}` has no {what} `{name}`; it has: {have}"))
}

/// Of a group only the current state is kept.
fn check_revision(head: &Head, place: &Place) -> Result<(), Failure> {
    match &place.version {
        Some(version) if *version != head.revision.to_string() => {
            let message = format!(
                "group `{}` is at `{}`, and earlier states of it are not kept; its keys have versions",
                place.group, head.revision
            );
            Err(failure(Kind::NotFound, "keys.no-version", message))
        }
        _ => Ok(()),
    }
}

fn value(version: &Version, bytes: Vec<u8>) -> Result<Value, Failure> {
    if version.binary {
        return Ok(Value::Binary(bytes));
    }
    String::from_utf8(bytes).map(Value::Text).map_err(|_| lost())
}

fn lost() -> Failure {
    failure(
        Kind::Internal,
        "keys.value-lost",
        "the store no longer holds a value that the group lists; restore the store, or set the key again",
    )
}

/// What is known about a version that is there, as the contract's attributes.
pub fn details(version: &Version) -> Vec<(String, String)> {
    let mut attributes = times(version.created, version.updated);
    if version.disabled {
        attributes.push(("enabled".into(), "false".into()));
    }
    attributes.extend(version.not_before.map(|time| ("not-before".into(), time.to_string())));
    attributes.extend(version.tags.iter().map(|(tag, text)| (format!("tags.{tag}"), text.clone())));
    attributes
}

/// `created` and `updated` as attributes.
pub fn times(created: Option<u64>, updated: Option<u64>) -> Vec<(String, String)> {
    let pairs = [("created", created), ("updated", updated.or(created))];
    pairs.into_iter().filter_map(|(key, time)| Some((key.to_owned(), time?.to_string()))).collect()
}

/// `deleted` and `scheduled-purge` as attributes.
pub fn deletion_times(deletion: Deletion) -> [(String, String); 2] {
    [("deleted", deletion.at), ("scheduled-purge", deletion.until)].map(|(key, time)| (key.into(), time.to_string()))
}
