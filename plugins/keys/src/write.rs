//! Sets, deletes and annotates.

use crate::change::{Claims, Settings, change, tidy};
use crate::document::{self, Content};
use crate::head::{Head, NO_TARGET, Version, head_key};
use crate::place::{Part, Place, check_name};
use crate::read::{absent, find, no_group};
use crate::store::Store;
use crate::{Attributes, Failure, Kind, Receipt, Value, failure};

/// The longest content type, tag name or tag text, in bytes.
const MAX_ATTRIBUTE: usize = 256;

/// The most tags of one version.
const MAX_TAGS: usize = 15;

/// Sets a key, a metadata field, the target, or all of a group. A group that is not there is made.
/// `expected` is the current version of the key; for all else, of the group.
///
/// # Errors
/// `conflict` if `expected` is not the current version; `invalid-reference` and `unsupported` for
/// what cannot be set; what the store says. Nothing has changed then, but see [`change`].
pub fn put(
    store: &impl Store,
    settings: &Settings,
    place: &Place,
    value: Value,
    attributes: &Attributes,
    expected: Option<&str>,
) -> Result<Receipt, Failure> {
    if place.version.is_some() {
        return Err(failure(Kind::Unsupported, "keys.version", "a version is never set anew; leave `version` out"));
    }
    if let Part::Key(name) = &place.part {
        let template = annotated(Version { created: settings.now, ..Version::default() }, attributes)?;
        let (bytes, binary) = match value {
            Value::Text(text) => (text.into_bytes(), false),
            Value::Binary(bytes) => (bytes, true),
        };
        let (number, _) = change(store, settings, &place.group, |head, claims| {
            let current = head.keys.get(name).and_then(|key| key.current()).map(|v| v.version);
            check_expected(expected, current, "key")?;
            let version = claims.claim(head, name, &bytes)?;
            let versions = &mut head.keys.entry(name.clone()).or_default().versions;
            versions.push(Version { version, binary, ..template.clone() });
            head.removed = false;
            Ok(version)
        })?;
        return Ok(receipt(Some(number)));
    }
    if let Some((key, _)) = attributes.first() {
        let message = format!("`{key}` can be set on a key only, not on metadata, the target or a whole group");
        return Err(failure(Kind::Unsupported, "keys.attribute", message));
    }
    let Value::Text(text) = value else {
        return Err(failure(Kind::Unsupported, "keys.binary", "only the value of a key can be other than text"));
    };
    let content = if place.part == Part::Group { Some(document::read(&text)?) } else { None };
    let (_, head) = change(store, settings, &place.group, |head, claims| {
        check_expected(expected, (!head.removed).then_some(head.revision), "group")?;
        match (&place.part, &content) {
            (Part::Metadata(name), _) => {
                head.metadata.insert(name.clone(), text.clone());
            }
            (Part::Target, _) => head.target.clone_from(&text),
            (_, Some(content)) => replace(head, claims, content, settings)?,
            _ => {}
        }
        head.removed = false;
        Ok(())
    })?;
    Ok(receipt(Some(head.revision)))
}

/// Makes the group hold exactly `content`. A key whose value stays keeps its version.
fn replace<S: Store>(
    head: &mut Head,
    claims: &mut Claims<'_, S>,
    content: &Content,
    settings: &Settings,
) -> Result<(), Failure> {
    let gone: Vec<_> = head.keys.keys().filter(|name| !content.keys.contains_key(*name)).cloned().collect();
    for name in gone {
        drop_key(head, claims, &name)?;
    }
    for (name, text) in &content.keys {
        if let Some(current) = head.keys.get(name).and_then(|key| key.current())
            && !current.binary
            && claims.value(name, current.version)?.as_deref() == Some(text.as_bytes())
        {
            continue;
        }
        let version = claims.claim(head, name, text.as_bytes())?;
        let version = Version { version, created: settings.now, ..Version::default() };
        head.keys.entry(name.clone()).or_default().versions.push(version);
    }
    head.metadata.clone_from(&content.metadata);
    head.target.clone_from(&content.target);
    Ok(())
}

/// Deletes a key, one version of it, a metadata field, the target, or all of a group. What is left
/// empty is gone too.
///
/// # Errors
/// `not-found` if it is not there; what the store says.
pub fn remove(store: &impl Store, settings: &Settings, place: &Place) -> Result<Receipt, Failure> {
    let group = &place.group;
    if place.version.is_some() && !matches!(place.part, Part::Key(_)) {
        let message = "only a key has versions that can be deleted";
        return Err(failure(Kind::Unsupported, "keys.version", message));
    }
    let done = change(store, settings, group, |head, claims| {
        if head.removed {
            return Err(no_group(group));
        }
        match (&place.part, &place.version) {
            (Part::Group, _) => {}
            (Part::Target, _) if head.target == NO_TARGET => {
                return Err(failure(Kind::NotFound, "keys.no-target", format!("group `{group}` has no target")));
            }
            (Part::Target, _) => head.target = NO_TARGET.into(),
            (Part::Metadata(name), _) => {
                if head.metadata.remove(name).is_none() {
                    return Err(absent(group, "metadata field", name, head.metadata.keys()));
                }
            }
            (Part::Key(name), version) => {
                let number = find(head, group, name, version.as_deref())?.version;
                let count = head.keys.get(name).map_or(0, |key| key.versions.len());
                if version.is_none() || count == 1 {
                    drop_key(head, claims, name)?;
                } else if let Some(key) = head.keys.get_mut(name) {
                    key.versions.retain(|v| v.version != number);
                    if head.last(name) < number {
                        // It was the newest: its number must not be given again.
                        head.floor = number;
                    }
                    head.untidy = true;
                }
            }
        }
        if place.part == Part::Group || head.is_empty() {
            head.clear();
            head.floor = head.floor.max(claims.highest(None)?);
        }
        Ok(())
    });
    match done {
        Ok(_) => Ok(receipt(None)),
        Err(error) => {
            // Whoever deleted the group before may have died before its values were gone.
            let head = Head::read(group, store.get(&head_key(group))?.as_deref())?;
            if head.removed && head.untidy {
                tidy(store, group, &head)?;
            }
            Err(error)
        }
    }
}

/// Takes a key out, and with it every number that anybody may have claimed for it.
fn drop_key<S: Store>(head: &mut Head, claims: &Claims<'_, S>, name: &str) -> Result<(), Failure> {
    head.floor = head.last(name).max(claims.highest(Some(name))?);
    head.keys.remove(name);
    head.untidy = true;
    Ok(())
}

/// Changes what is known about a version of a key, by default the newest.
///
/// # Errors
/// `not-found`; `unsupported` for what has no attributes, or an attribute that there is not.
pub fn annotate(
    store: &impl Store,
    settings: &Settings,
    place: &Place,
    attributes: &Attributes,
) -> Result<Receipt, Failure> {
    let Part::Key(name) = &place.part else {
        let message = "attributes belong to keys; a group has metadata, set as keys://{group}/metadata/{name}";
        return Err(failure(Kind::Unsupported, "keys.attribute", message));
    };
    let group = &place.group;
    let (number, _) = change(store, settings, group, |head, _| {
        if head.removed {
            return Err(no_group(group));
        }
        let number = find(head, group, name, place.version.as_deref())?.version;
        let versions = head.keys.get_mut(name).map(|key| key.versions.as_mut_slice()).unwrap_or_default();
        for version in versions.iter_mut().filter(|v| v.version == number) {
            *version = annotated(Version { updated: settings.now, ..version.clone() }, attributes)?;
        }
        Ok(number)
    })?;
    Ok(receipt(Some(number)))
}

/// `version` with `attributes` set: `content-type`, `expires` (seconds since the Unix epoch) and
/// `tags.{name}`. An empty text takes an attribute away.
fn annotated(mut version: Version, attributes: &Attributes) -> Result<Version, Failure> {
    let refused = |message: String| Err(failure(Kind::Unsupported, "keys.attribute", message));
    for (key, text) in attributes {
        if key.len() > MAX_ATTRIBUTE || text.len() > MAX_ATTRIBUTE || text.chars().any(char::is_control) {
            return refused(format!("an attribute is at most {MAX_ATTRIBUTE} bytes without control characters"));
        }
        let given = Some(text.clone()).filter(|text| !text.is_empty());
        match (key.as_str(), key.strip_prefix("tags.")) {
            ("content-type", _) => version.content_type = given,
            ("expires", _) => {
                version.expires = match given.map(|text| text.parse()).transpose() {
                    Ok(time) => time,
                    Err(_) => return refused("`expires` is in seconds since the Unix epoch".into()),
                }
            }
            (_, Some(tag)) => {
                check_name("tag", tag)?;
                match given {
                    Some(text) => version.tags.insert(tag.into(), text),
                    None => version.tags.remove(tag),
                };
            }
            _ => return refused(format!("a key has no attribute `{key}`: there are content-type, expires and tags")),
        }
    }
    if version.tags.len() > MAX_TAGS {
        return refused(format!("a key has at most {MAX_TAGS} tags"));
    }
    Ok(version)
}

fn check_expected(expected: Option<&str>, current: Option<u64>, what: &str) -> Result<(), Failure> {
    let Some(expected) = expected else { return Ok(()) };
    let current = current.map(|number| number.to_string());
    if current.as_deref() == Some(expected) {
        return Ok(());
    }
    let message = match current {
        Some(current) => format!("the current version of the {what} is `{current}`, not the expected `{expected}`"),
        None => format!("the {what} is not there, and its version was expected to be `{expected}`"),
    };
    Err(failure(Kind::Conflict, "keys.not-current", message))
}

fn receipt(version: Option<u64>) -> Receipt {
    Receipt { version: version.map(|number| number.to_string()), attributes: Vec::new() }
}
