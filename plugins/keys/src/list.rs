//! Lists groups, keys and versions: names and what is known about them, never a value.

use std::collections::BTreeSet;

use crate::head::{Head, Version, group_of, head_key};
use crate::place::{Part, Place};
use crate::read::{details, existing, find, times};
use crate::store::{Store, all_keys};
use crate::{Entry, Failure, Kind, Page, Reference, failure, no_soft_delete};

/// Entries on a page.
pub const PAGE: usize = 100;

/// The groups, or the keys of the group that `scope` names. The cursor is the last name shown.
///
/// # Errors
/// `not-found` if there is no such group, `invalid-reference` if the scope is no group.
pub fn names(store: &impl Store, scope: &Reference, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure> {
    if scope.selectors.iter().any(|(selector, state)| selector == "state" && state == "deleted") {
        return Err(no_soft_delete());
    }
    let shown = |name: &str| name.starts_with(prefix) && cursor.is_none_or(|last| name > last);
    if scope.path.is_empty() {
        let keys = all_keys(store, "")?;
        let groups: BTreeSet<_> = keys.iter().filter_map(|key| group_of(key)).filter(|name| shown(name)).collect();
        return page(groups.into_iter().map(|group| group_entry(store, group)), |entry| entry.name.clone());
    }
    let place = Place::of(scope)?;
    if place.part != Part::Group || place.version.is_some() {
        return Err(failure(Kind::InvalidReference, "keys.scope", "names are listed of a group: keys://{group}"));
    }
    let head = existing(store, &place.group)?;
    let keys = head.keys.iter().filter(|(name, _)| shown(name));
    let entries = keys.filter_map(|(name, key)| {
        let version = key.current()?;
        let mut entry = version_entry(name, version);
        entry.attributes.insert(0, ("version".into(), version.version.to_string()));
        Some(Ok(Some(entry)))
    });
    page(entries, |entry| entry.name.clone())
}

/// The versions of a key, newest first. The cursor is the last version shown.
///
/// # Errors
/// `not-found`; `unsupported` for what has no versions.
pub fn versions(store: &impl Store, place: &Place, cursor: Option<&str>) -> Result<Page, Failure> {
    let Part::Key(name) = &place.part else {
        let message = "only a key has versions; of metadata, target and the whole group the current state is kept";
        return Err(failure(Kind::Unsupported, "keys.no-versions", message));
    };
    let head = existing(store, &place.group)?;
    // Also says whether the version that the reference may name exists.
    let found = find(&head, &place.group, name, place.version.as_deref())?.version;
    let below = match cursor {
        Some(last) => last.parse().map_err(|_| failure(Kind::InvalidReference, "keys.cursor", "no such cursor"))?,
        None => u64::MAX,
    };
    let all = head.keys.get(name).map(|key| key.versions.as_slice()).unwrap_or_default();
    let shown = all.iter().rev().filter(|v| v.version < below && (place.version.is_none() || v.version == found));
    page(shown.map(|v| Ok(Some(version_entry(&v.version.to_string(), v)))), |entry| entry.name.clone())
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

/// `None` if the group is gone.
fn group_entry(store: &impl Store, group: &str) -> Result<Option<Entry>, Failure> {
    let head = Head::read(group, store.get(&head_key(group))?.as_deref())?;
    if head.removed {
        return Ok(None);
    }
    let mut attributes = vec![("version".into(), head.revision.to_string())];
    attributes.extend(times(head.created, head.updated));
    attributes.push(("keys".into(), head.keys.len().to_string()));
    Ok(Some(Entry { name: group.into(), attributes }))
}

fn version_entry(name: &str, version: &Version) -> Entry {
    let mut attributes = details(version);
    if let Some(content_type) = &version.content_type {
        attributes.push(("content-type".into(), content_type.clone()));
    }
    if let Some(expires) = version.expires {
        attributes.push(("expires".into(), expires.to_string()));
    }
    Entry { name: name.into(), attributes }
}
