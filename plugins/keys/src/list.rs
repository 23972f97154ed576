//! Lists groups, keys and versions: names and what is known about them, never a value.

use std::collections::BTreeSet;

use crate::change::Settings;
use crate::deletion::no_soft_delete;
use crate::head::{Deletion, Head, State, Version, group_of, head_key};
use crate::place::{NEXT, Part, Place};
use crate::read::{deletion_times, details, existing, find_key, pick, times};
use crate::store::{Store, all_keys};
use crate::{Entry, Failure, Kind, Page, Reference, failure};

/// Entries on a page.
pub const PAGE: usize = 100;

/// The groups, or the keys of the group that `scope` names; with the selector `state` = `deleted`
/// those of them that are deleted and can be recovered. The cursor is the last name shown.
///
/// # Errors
/// `not-found` if there is no such group, `invalid-reference` if the scope is no group; `unsupported`
/// for what is deleted, where nothing is and the mount keeps nothing.
pub fn names(
    store: &impl Store,
    settings: &Settings,
    scope: &Reference,
    prefix: &str,
    cursor: Option<&str>,
) -> Result<Page, Failure> {
    let mut scope = scope.clone();
    let mut deleted = false;
    for (_, state) in scope.selectors.extract_if(.., |(selector, _)| selector == "state") {
        if state != "deleted" {
            let message = "what is listed is there, or has the state `deleted`; there is no other";
            return Err(failure(Kind::InvalidReference, "keys.state", message));
        }
        deleted = true;
    }
    let shown = |name: &str| name.starts_with(prefix) && cursor.is_none_or(|last| name > last);
    let found = if scope.path.is_empty() {
        let keys = all_keys(store, "")?;
        let groups: BTreeSet<_> = keys.iter().filter_map(|key| group_of(key)).filter(|name| shown(name)).collect();
        page(groups.into_iter().map(|group| group_entry(store, settings, group, deleted)), |entry| entry.name.clone())?
    } else {
        let place = Place::of(&scope)?;
        if place.part != Part::Group || place.version.is_some() {
            return Err(failure(Kind::InvalidReference, "keys.scope", "names are listed of a group: keys://{group}"));
        }
        let head = existing(store, settings.now, &place.group)?;
        let keys = head.keys.iter().map(|(name, key)| (name, key, None));
        let gone = head.deleted.iter().map(|(name, gone)| (name, &gone.key, Some(gone.deletion)));
        let entries = keys.chain(gone).filter(|(name, _, deletion)| shown(name) && deletion.is_some() == deleted);
        let entries = entries.filter_map(|(name, key, deletion)| {
            let version = key.newest()?;
            let mut entry = version_entry(name, version, deletion);
            entry.attributes.insert(0, ("version".into(), version.version.to_string()));
            Some(Ok(Some(entry)))
        });
        page(entries, |entry| entry.name.clone())?
    };
    if deleted && settings.deleted_for == 0 && cursor.is_none() && found.entries.is_empty() {
        return Err(no_soft_delete());
    }
    Ok(found)
}

/// The versions of a key, newest first, also those that are deleted and the numbers of those that
/// are destroyed; [`NEXT`] of a key that is not there yet, if that has tags. The cursor is the last version shown.
///
/// # Errors
/// `not-found`; `unsupported` for what has no versions.
pub fn versions(store: &impl Store, settings: &Settings, place: &Place, cursor: Option<&str>) -> Result<Page, Failure> {
    let Part::Key(name) = &place.part else {
        let message = "only a key has versions; of metadata, target and the whole group the current state is kept";
        return Err(failure(Kind::Unsupported, "keys.no-versions", message));
    };
    let head = existing(store, settings.now, &place.group)?;
    if let (Some(NEXT), Some(tags)) = (place.version.as_deref(), head.awaited.get(name)) {
        let mut attributes: Vec<_> = tags.iter().map(|(tag, text)| (format!("tags.{tag}"), text.clone())).collect();
        attributes.push(("state".into(), "awaited".into()));
        return Ok(Page { entries: vec![Entry { name: NEXT.into(), attributes }], next: None });
    }
    let key = find_key(&head, settings.now, &place.group, name)?;
    // Also says whether the version that the reference may name exists.
    let found = pick(key, &place.group, name, place.version.as_deref())?.version;
    let below = match cursor {
        Some(last) => last.parse().map_err(|_| failure(Kind::InvalidReference, "keys.cursor", "no such cursor"))?,
        None => u64::MAX,
    };
    let shown =
        key.versions.iter().rev().filter(|v| v.version < below && (place.version.is_none() || v.version == found));
    page(shown.map(|v| Ok(Some(version_entry(&v.version.to_string(), v, None)))), |entry| entry.name.clone())
}

/// The first entries, and the cursor of the next page if there are more.
fn page(
    entries: impl Iterator<Item = Result<Option<Entry>, Failure>>,
    cursor: impl Fn(&Entry) -> String,
) -> Result<Page, Failure> {
    let mut page = Page { entries: Vec::new(), next: None };
    for entry in entries {
        let Some(entry) = entry? else { continue };
        if page.entries.len() == PAGE {
            page.next = page.entries.last().map(cursor);
            break;
        }
        page.entries.push(entry);
    }
    Ok(page)
}

/// `None` if the group is gone, or not in the state that is asked for.
fn group_entry(store: &impl Store, settings: &Settings, group: &str, deleted: bool) -> Result<Option<Entry>, Failure> {
    let mut head = Head::read(group, store.get(&head_key(group))?.as_deref())?;
    head.expire(settings.now);
    if head.removed || head.deletion.is_some() != deleted {
        return Ok(None);
    }
    let mut attributes = vec![("version".into(), head.revision.to_string())];
    attributes.extend(times(head.created, head.updated));
    attributes.push(("keys".into(), head.keys.len().to_string()));
    if let Some(deletion) = head.deletion {
        attributes.push(("state".into(), "deleted".into()));
        attributes.extend(deletion_times(deletion));
    }
    Ok(Some(Entry { name: group.into(), attributes }))
}

/// `whole` is the deletion of the key with all its versions.
fn version_entry(name: &str, version: &Version, whole: Option<Deletion>) -> Entry {
    let mut attributes = details(version);
    let state = whole.map_or(version.state, State::Deleted);
    let word = match state {
        State::Present if version.disabled => "disabled",
        State::Present => "enabled",
        State::Deleted(_) => "deleted",
        State::Destroyed {} => "destroyed",
    };
    attributes.push(("state".into(), word.into()));
    if let State::Deleted(deletion) = state {
        attributes.extend(deletion_times(deletion));
    }
    if let Some(content_type) = &version.content_type {
        attributes.push(("content-type".into(), content_type.clone()));
    }
    if let Some(expires) = version.expires {
        attributes.push(("expires".into(), expires.to_string()));
    }
    Entry { name: name.into(), attributes }
}
