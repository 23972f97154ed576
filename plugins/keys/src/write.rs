//! Sets and annotates.

use std::collections::BTreeMap;

use crate::change::{Claims, Settings, change};
use crate::deletion::{delete_key, name_taken};
use crate::document::{self, Content};
use crate::head::{Head, Version};
use crate::place::{NEXT, Part, Place};
use crate::read::{absent, alive, find, find_key, pick};
use crate::store::Store;
use crate::{Attributes, Failure, Kind, Receipt, Value, failure};

/// The longest content type, tag name or tag text, in characters: Key Vault's own limit.
const MAX_ATTRIBUTE: usize = 512;

/// The most tags of one version: as many as Vault has custom metadata. Key Vault has 15.
const MAX_TAGS: usize = 64;

/// Sets a key, a metadata field, the target, or all of a group. A group that is not there is made.
/// `expected` is the newest version of the key, whatever became of it; for all else, that of the group.
/// An empty one says that there is none yet.
///
/// # Errors
/// `conflict` if `expected` is not the current version, and for what is deleted and can be recovered; `invalid-reference` and `unsupported` for
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
            untaken(head, settings, &place.group, [name])?;
            let current = head.keys.get(name).and_then(|key| key.newest()).map(|v| v.version);
            check_expected(expected, current, "key")?;
            let version = claims.claim(head, name, &bytes)?;
            let mut new = Version { version, binary, ..template.clone() };
            for (tag, text) in awaited(head, name) {
                new.tags.entry(tag).or_insert(text);
            }
            check_tags(&new)?;
            head.keys.entry(name.clone()).or_default().versions.push(new);
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
        untaken(head, settings, &place.group, content.iter().flat_map(|content| content.keys.keys()))?;
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

/// That neither the group nor any of the keys `names` is deleted and could come back.
fn untaken<'a>(
    head: &Head,
    settings: &Settings,
    group: &str,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), Failure> {
    if let Some(deletion) = head.deletion {
        return Err(name_taken(&format!("group `{group}`"), deletion, settings.now));
    }
    for name in names {
        if let Some(gone) = head.deleted.get(name) {
            let what = format!("key `{name}` of group `{group}`");
            return Err(name_taken(&what, gone.deletion, settings.now));
        }
    }
    Ok(())
}

/// Makes the group show exactly `content`. A key whose value stays keeps its version; one that was not
/// shown, because its newest version is deleted or disabled, stays as it is.
fn replace<S: Store>(
    head: &mut Head,
    claims: &mut Claims<'_, S>,
    content: &Content,
    settings: &Settings,
) -> Result<(), Failure> {
    let unnamed = head.keys.iter().filter(|(name, key)| key.shown().is_some() && !content.keys.contains_key(*name));
    for name in unnamed.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
        delete_key(head, claims, settings, &name)?;
    }
    for (name, text) in &content.keys {
        if let Some(shown) = head.keys.get(name).and_then(|key| key.shown())
            && !shown.binary
            && claims.value(name, shown.version)?.as_deref() == Some(text.as_bytes())
        {
            continue;
        }
        let version = claims.claim(head, name, text.as_bytes())?;
        let tags = awaited(head, name);
        let version = Version { version, created: settings.now, tags, ..Version::default() };
        head.keys.entry(name.clone()).or_default().versions.push(version);
    }
    head.metadata.clone_from(&content.metadata);
    head.target.clone_from(&content.target);
    Ok(())
}

/// The tags that wait for the first version of a key.
fn awaited(head: &mut Head, name: &str) -> BTreeMap<String, String> {
    head.awaited.remove(name).unwrap_or_default()
}

/// Changes what is known about a version of a key, by default the newest. A version that is named may be deleted or destroyed, and
/// [`NEXT`] is the first of a key that is not there yet: that one can be given tags.
///
/// # Errors
/// `not-found`; `unsupported` for what has no attributes; `invalid-reference` for an attribute that there is not.
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
    if place.version.as_deref() == Some(NEXT) {
        change(store, settings, group, |head, _| {
            untaken(head, settings, group, [name])?;
            await_tags(head, group, name, attributes)
        })?;
        return Ok(receipt(None));
    }
    let (number, _) = change(store, settings, group, |head, _| {
        alive(head, settings.now, group)?;
        let number = match &place.version {
            Some(version) => pick(find_key(head, settings.now, group, name)?, group, name, Some(version))?,
            // No other version stands in for the newest one.
            None => find(head, settings.now, group, name, None)?,
        };
        let number = number.version;
        let versions = head.keys.get_mut(name).map(|key| key.versions.as_mut_slice()).unwrap_or_default();
        for version in versions.iter_mut().filter(|v| v.version == number) {
            *version = annotated(Version { updated: settings.now, ..version.clone() }, attributes)?;
        }
        Ok(number)
    })?;
    Ok(receipt(Some(number)))
}

/// Changes the tags of a key that is not there yet. With the last of them the key is forgotten.
fn await_tags(head: &mut Head, group: &str, name: &str, attributes: &Attributes) -> Result<(), Failure> {
    if let Some(newest) = head.keys.get(name).and_then(|key| key.newest()) {
        let message = format!(
            "key `{name}` of group `{group}` is there, at version `{}`: only the first version of a key can be given tags before",
            newest.version
        );
        return Err(failure(Kind::Conflict, "keys.not-current", message));
    }
    if let Some((key, _)) = attributes.iter().find(|(key, _)| !key.starts_with("tags.")) {
        let message = format!("`{key}` is set with the value: before there is one, a key has tags only");
        return Err(failure(Kind::InvalidReference, "keys.attribute", message));
    }
    let before = awaited(head, name);
    let there = !before.is_empty();
    let tags = annotated(Version { tags: before, ..Version::default() }, attributes)?.tags;
    match tags.is_empty() {
        false => {
            head.awaited.insert(name.into(), tags);
            head.removed = false;
        }
        true if !there => return Err(absent(group, "key", name, head.keys.keys())),
        // With the last of it the group is gone; the numbers that it has given are kept.
        true if head.is_empty() => head.clear(),
        true => {}
    }
    Ok(())
}

/// `version` with `attributes` set: `content-type`, `enabled`, `expires` and `not-before` (seconds
/// since the Unix epoch), and `tags.{name}`. An empty text takes an attribute away.
fn annotated(mut version: Version, attributes: &Attributes) -> Result<Version, Failure> {
    fn refused<T>(message: String) -> Result<T, Failure> {
        Err(failure(Kind::InvalidReference, "keys.attribute", message))
    }
    for (key, text) in attributes {
        let long = |text: &str| text.chars().count() > MAX_ATTRIBUTE;
        if long(key.strip_prefix("tags.").unwrap_or(key)) || long(text) || text.chars().any(char::is_control) {
            return refused(format!(
                "an attribute is at most {MAX_ATTRIBUTE} characters, none of them a control character"
            ));
        }
        let given = Some(text.clone()).filter(|text| !text.is_empty());
        let time = || match given.as_ref().map(|text| text.parse()).transpose() {
            Ok(time) => Ok(time),
            Err(_) => refused(format!("`{key}` is in seconds since the Unix epoch")),
        };
        match (key.as_str(), key.strip_prefix("tags.")) {
            ("content-type", _) => version.content_type = given,
            ("expires", _) => version.expires = time()?,
            ("not-before", _) => version.not_before = time()?,
            ("enabled", _) => match text.as_str() {
                "true" | "" => version.disabled = false,
                "false" => version.disabled = true,
                _ => return refused("`enabled` is true or false".into()),
            },
            (_, Some(tag)) => {
                if tag.is_empty() || tag.chars().any(char::is_control) {
                    return refused("the name of a tag has at least one character, and no control characters".into());
                }
                match given {
                    Some(text) => version.tags.insert(tag.into(), text),
                    None => version.tags.remove(tag),
                };
            }
            _ => {
                let known = "there are content-type, enabled, expires, not-before and tags";
                return refused(format!("a key has no attribute `{key}`: {known}"));
            }
        }
    }
    check_tags(&version)?;
    Ok(version)
}

fn check_tags(version: &Version) -> Result<(), Failure> {
    if version.tags.len() > MAX_TAGS {
        let message = format!("a key has at most {MAX_TAGS} tags");
        return Err(failure(Kind::InvalidReference, "keys.attribute", message));
    }
    Ok(())
}

fn check_expected(expected: Option<&str>, current: Option<u64>, what: &str) -> Result<(), Failure> {
    let Some(expected) = expected else { return Ok(()) };
    let current = current.map(|number| number.to_string());
    if current.as_deref().unwrap_or_default() == expected {
        return Ok(());
    }
    let message = match current {
        Some(current) if expected.is_empty() => {
            format!("the {what} is there, at version `{current}`, and was to be new")
        }
        Some(current) => format!("the current version of the {what} is `{current}`, not the expected `{expected}`"),
        None => format!("the {what} is not there, and its version was expected to be `{expected}`"),
    };
    Err(failure(Kind::Conflict, "keys.not-current", message))
}

fn receipt(version: Option<u64>) -> Receipt {
    Receipt { version: version.map(|number| number.to_string()), attributes: Vec::new() }
}
