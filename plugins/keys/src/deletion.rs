//! Deletes, recovers and purges.
//!
//! With the mount's `deleted_for`, what is deleted is marked, and is gone for good once it was purged or
//! its time is over; without, it is gone at once. A mark is a change of the head alone: nothing that is
//! deleted for a while is moved, read or written again.

use crate::change::{Claims, Settings, change, tidy};
use crate::head::{DeletedKey, Deletion, Head, NO_TARGET, State, Version, head_key};
use crate::place::{Part, Place};
use crate::read::{absent, alive, deletion_times, destroyed, find, find_key, for_days, no_group, pick};
use crate::store::Store;
use crate::{Failure, Kind, Receipt, failure};

/// Deletes a key, one version of it, a metadata field, the target, or all of a group. What is left
/// empty is gone too. Metadata and target are gone at once.
///
/// # Errors
/// `not-found` if it is not there; what the store says.
pub fn remove(store: &impl Store, settings: &Settings, place: &Place) -> Result<Receipt, Failure> {
    only_keys_have_versions(place)?;
    let group = &place.group;
    let soft = settings.deletion()?;
    let done = change(store, settings, group, |head, claims| {
        alive(head, settings.now, group)?;
        match (&place.part, &place.version) {
            (Part::Group, _) => match soft {
                Some(_) => head.deletion = soft,
                None => end_group(head, claims)?,
            },
            (Part::Target, _) if head.target == NO_TARGET => {
                return Err(failure(Kind::NotFound, "keys.no-target", format!("group `{group}` has no target")));
            }
            (Part::Target, _) => head.target = NO_TARGET.into(),
            (Part::Metadata(name), _) => {
                if head.metadata.remove(name).is_none() {
                    return Err(absent(group, "metadata field", name, head.metadata.keys()));
                }
            }
            // What waits for a first version is not kept.
            (Part::Key(name), None) if head.awaited.remove(name).is_some() => {}
            (Part::Key(name), None) => {
                find_key(head, settings.now, group, name)?;
                delete_key(head, claims, settings, name)?;
            }
            (Part::Key(name), version) => {
                let number = find(head, settings.now, group, name, version.as_deref())?.version;
                match soft {
                    Some(deletion) => with(head, name, number, |version| version.state = State::Deleted(deletion)),
                    None => forget_version(head, claims, name, number)?,
                }
            }
        }
        tidy_empty(head, claims)
    });
    swept(store, settings, group, done)?;
    let marked = matches!(place.part, Part::Group | Part::Key(_));
    Ok(match soft.filter(|_| marked) {
        Some(deletion) => receipt(None, "deleted", Some(deletion)),
        None => Receipt { version: None, attributes: Vec::new() },
    })
}

/// Brings back a deleted group, a deleted key with its versions as they were, or a deleted version.
///
/// # Errors
/// `not-found` if it is not among the deleted ones; `unsupported` if nothing ever is.
pub fn recover(store: &impl Store, settings: &Settings, place: &Place) -> Result<Receipt, Failure> {
    only_keys_have_versions(place)?;
    let group = &place.group;
    let done = change(store, settings, group, |head, _| match (&place.part, &place.version) {
        (Part::Group, _) => match head.deletion.take() {
            Some(_) => Ok(None),
            None => Err(not_deleted(head, settings, place)),
        },
        (Part::Key(name), None) => {
            recoverable(head, settings, place)?;
            let Some(gone) = head.deleted.remove(name) else { return Err(not_deleted(head, settings, place)) };
            let newest = gone.key.newest().map(|version| version.version);
            head.keys.insert(name.clone(), gone.key);
            Ok(newest)
        }
        (Part::Key(name), version) => {
            recoverable(head, settings, place)?;
            let found = pick(find_key(head, settings.now, group, name)?, group, name, version.as_deref())?;
            let number = found.version;
            match found.state {
                State::Deleted(_) => with(head, name, number, |version| version.state = State::Present),
                State::Present => return Err(not_deleted(head, settings, place)),
                State::Destroyed {} => return Err(destroyed(&shown(place))),
            }
            Ok(Some(number))
        }
        _ => Err(open_data()),
    });
    let (version, head) = swept(store, settings, group, done)?;
    Ok(receipt(version.or((place.part == Part::Group).then_some(head.revision)), "recovered", None))
}

/// Ends a deleted group or a deleted key for good; or one version of a key, whether it is deleted or
/// not: its value is taken away, and its number is still told, where the mount keeps what is deleted.
///
/// # Errors
/// `not-found` if it is not among the deleted ones, `unsupported` if nothing ever is.
pub fn purge(store: &impl Store, settings: &Settings, place: &Place) -> Result<Receipt, Failure> {
    only_keys_have_versions(place)?;
    let group = &place.group;
    let done = change(store, settings, group, |head, claims| {
        match (&place.part, &place.version) {
            (Part::Group, _) => {
                if head.deletion.is_none() {
                    return Err(not_deleted(head, settings, place));
                }
                end_group(head, claims)?;
            }
            (Part::Key(name), None) => {
                recoverable(head, settings, place)?;
                if !head.deleted.contains_key(name) {
                    return Err(not_deleted(head, settings, place));
                }
                end_key(head, claims, name)?;
            }
            (Part::Key(name), version) => {
                alive(head, settings.now, group)?;
                let found = pick(find_key(head, settings.now, group, name)?, group, name, version.as_deref())?;
                let number = found.version;
                if !found.has_value() {
                    return Err(destroyed(&shown(place)));
                }
                if settings.deleted_for == 0 {
                    forget_version(head, claims, name, number)?;
                } else {
                    with(head, name, number, Version::destroy);
                    head.untidy = true;
                }
            }
            _ => return Err(open_data()),
        }
        tidy_empty(head, claims)
    });
    swept(store, settings, group, done)?;
    Ok(receipt(None, "purged", None))
}

/// Deletes a key that is there: marks it, or takes it out for good.
///
/// # Errors
/// What the store says.
pub fn delete_key<S: Store>(
    head: &mut Head,
    claims: &Claims<'_, S>,
    settings: &Settings,
    name: &str,
) -> Result<(), Failure> {
    let Some(deletion) = settings.deletion()? else { return end_key(head, claims, name) };
    if let Some(key) = head.keys.remove(name) {
        head.deleted.insert(name.into(), DeletedKey { deletion, key });
    }
    Ok(())
}

/// Takes a key out, and with it every number that anybody may have claimed for it.
fn end_key<S: Store>(head: &mut Head, claims: &Claims<'_, S>, name: &str) -> Result<(), Failure> {
    head.floor = head.last(name).max(claims.highest(Some(name))?);
    head.keys.remove(name);
    head.deleted.remove(name);
    head.untidy = true;
    Ok(())
}

/// As [`end_key`], all of it.
fn end_group<S: Store>(head: &mut Head, claims: &Claims<'_, S>) -> Result<(), Failure> {
    head.clear();
    head.floor = head.floor.max(claims.highest(None)?);
    Ok(())
}

/// Takes a version out; with the last that has a value, the key.
fn forget_version<S: Store>(head: &mut Head, claims: &Claims<'_, S>, name: &str, number: u64) -> Result<(), Failure> {
    let Some(key) = head.keys.get_mut(name) else { return Ok(()) };
    if !key.versions.iter().any(|v| v.version != number && v.has_value()) {
        return end_key(head, claims, name);
    }
    key.versions.retain(|v| v.version != number);
    if head.last(name) < number {
        // It was the newest: its number must not be given again.
        head.floor = number;
    }
    head.untidy = true;
    Ok(())
}

fn tidy_empty<S: Store>(head: &mut Head, claims: &Claims<'_, S>) -> Result<(), Failure> {
    if !head.removed && head.is_empty() { end_group(head, claims) } else { Ok(()) }
}

fn with(head: &mut Head, name: &str, number: u64, change: impl Fn(&mut Version)) {
    let versions = head.keys.get_mut(name).map(|key| key.versions.as_mut_slice()).unwrap_or_default();
    versions.iter_mut().filter(|version| version.version == number).for_each(change);
}

/// Whoever deleted the group before may have died before its values were gone; and what is past its
/// time has no other change that takes it away, if everybody is told that it is not there.
fn swept<T>(store: &impl Store, settings: &Settings, group: &str, done: Result<T, Failure>) -> Result<T, Failure> {
    if done.is_err() {
        let mut head = Head::read(group, store.get(&head_key(group))?.as_deref())?;
        if head.removed && head.untidy {
            tidy(store, group, &head)?;
        } else if head.expire(settings.now) {
            change(store, settings, group, |_, _| Ok(()))?;
        }
    }
    done
}

/// That there may be something deleted in the group to act on.
fn recoverable(head: &Head, settings: &Settings, place: &Place) -> Result<(), Failure> {
    match alive(head, settings.now, &place.group) {
        // Of a mount that keeps nothing that is the better answer.
        Err(_) if head.removed && settings.deleted_for == 0 => Err(no_soft_delete()),
        other => other,
    }
}

/// The failure for what is not among the deleted ones.
fn not_deleted(head: &Head, settings: &Settings, place: &Place) -> Failure {
    if settings.deleted_for == 0 {
        return no_soft_delete();
    }
    if head.removed {
        return no_group(&place.group);
    }
    failure(Kind::NotFound, "keys.not-deleted", format!("{} is not among the deleted ones", shown(place)))
}

/// The failure for a mount that keeps nothing of what is deleted.
pub fn no_soft_delete() -> Failure {
    let message = "nothing is kept of what is deleted here: the mount's config has no `deleted_for`";
    failure(Kind::Unsupported, "keys.no-soft-delete", message)
}

/// The failure for a name that is to be set, and is deleted.
pub fn name_taken(what: &str, deletion: Deletion, now: Option<u64>) -> Failure {
    let message = format!(
        "{what} was deleted and keeps its name {}: recover it (strongroom recover), or purge it (strongroom purge), before it \
         is set again",
        for_days(deletion, now)
    );
    let mut failure = failure(Kind::Conflict, "keys.name-taken", message);
    failure.attributes.push(("state".into(), "deleted".into()));
    failure.attributes.extend(deletion_times(deletion));
    failure
}

fn open_data() -> Failure {
    let message =
        "only a key, a version of it or a whole group is kept when it is deleted; metadata and target are not";
    failure(Kind::Unsupported, "keys.no-soft-delete", message)
}

fn only_keys_have_versions(place: &Place) -> Result<(), Failure> {
    if place.version.is_some() && !matches!(place.part, Part::Key(_)) {
        let message = "only a key has versions that can be deleted";
        return Err(failure(Kind::Unsupported, "keys.version", message));
    }
    Ok(())
}

/// For messages.
fn shown(place: &Place) -> String {
    let Place { group, part, version } = place;
    match (part, version) {
        (Part::Key(name), Some(version)) => format!("version `{version}` of key `{name}` of group `{group}`"),
        (Part::Key(name), None) => format!("key `{name}` of group `{group}`"),
        _ => format!("group `{group}`"),
    }
}

fn receipt(version: Option<u64>, state: &str, deletion: Option<Deletion>) -> Receipt {
    let mut attributes = vec![("state".into(), state.into())];
    attributes.extend(deletion.into_iter().flat_map(deletion_times));
    Receipt { version: version.map(|number| number.to_string()), attributes }
}
