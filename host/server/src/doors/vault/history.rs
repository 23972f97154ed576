//! The versions of a secret as KV has them: numbers, which count up.
//!
//! Where the provider's own versions are numbers, those are they. Where they are not, as Azure Key Vault's, they are
//! counted in the order in which they were made. What a caller may not be told (`metadata`), is not made up.

use std::collections::BTreeMap;

use serde::Serialize;
use strongroom::{Failure, Kind, Page, Reference, Text};

use super::answer;
use crate::gate::Call;

/// One version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// The provider's word for it.
    pub(super) id: String,
    /// KV's.
    pub(super) number: u64,
    /// When it was made, in seconds since the Unix epoch.
    pub(super) created: Option<u64>,
    /// When what is known about it last changed.
    pub(super) updated: Option<u64>,
    /// When it was deleted, if it can be recovered; an unknown time is 0.
    pub(super) deleted: Option<u64>,
    /// Whether its value is gone for good.
    pub(super) destroyed: bool,
    /// Its tags.
    pub(super) tags: BTreeMap<String, String>,
}

/// What is known of a secret's versions.
#[derive(Debug)]
pub(super) enum History {
    /// All of them, the oldest first. At least one.
    Known(Vec<Version>),
    /// The provider keeps none.
    Unversioned,
    /// There is no such secret.
    Missing,
    /// The policy does not let the caller know.
    Untold,
}

/// The version of a custom key that is still to come, in the mount's words.
pub(super) const NEXT: &str = "next";

/// Whether a secret behind that reference can have custom metadata before it has a version.
pub(super) fn can_await(reference: &Reference) -> bool {
    &*reference.scheme == "keys"
}

/// The custom metadata of a secret that has no version yet.
pub(super) async fn awaited(call: &Call, reference: &Reference) -> Result<BTreeMap<String, String>, Failure> {
    let Some(next) = call.at_version(reference, NEXT).filter(|_| can_await(reference)) else {
        return Ok(BTreeMap::new());
    };
    match call.versions(&next).await {
        Ok(page) => Ok(page.entries.first().map(|entry| answer::tags(&entry.attributes)).unwrap_or_default()),
        Err(failure) if failure.kind() == Kind::NotFound => Ok(BTreeMap::new()),
        Err(failure) => Err(failure),
    }
}

/// A version as KV tells it beside data.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) created_time: String,
    pub(super) custom_metadata: Option<BTreeMap<String, String>>,
    pub(super) deletion_time: String,
    pub(super) destroyed: bool,
    pub(super) version: u64,
}

impl History {
    pub(super) async fn of(call: &Call, reference: &Reference) -> Result<Self, Failure> {
        match call.versions(reference).await {
            Ok(page) => match numbered(&page) {
                versions if versions.is_empty() => Ok(Self::Missing),
                versions => Ok(Self::Known(versions)),
            },
            Err(failure) => match (failure.kind(), failure.code()) {
                (Kind::Unsupported, _) => Ok(Self::Unversioned),
                (Kind::NotFound, _) => Ok(Self::Missing),
                (Kind::PolicyDenied, "policy.denied") => Ok(Self::Untold),
                _ => Err(failure),
            },
        }
    }

    /// The version with that number.
    pub(super) fn version(&self, number: u64) -> Option<&Version> {
        self.all().iter().find(|version| version.number == number)
    }

    /// The newest version.
    pub(super) fn newest(&self) -> Option<&Version> {
        self.all().last()
    }

    /// The number of the version that the provider calls `id`.
    pub(super) fn number_of(&self, id: &str) -> Option<u64> {
        self.all().iter().find(|version| version.id == id).map(|version| version.number)
    }

    fn all(&self) -> &[Version] {
        match self {
            Self::Known(versions) => versions,
            Self::Unversioned | Self::Missing | Self::Untold => &[],
        }
    }
}

impl Version {
    pub(super) fn shown(&self) -> Shown {
        Shown {
            created_time: answer::time(self.created),
            custom_metadata: Some(self.tags.clone()).filter(|tags| !tags.is_empty()),
            deletion_time: self.deletion_time(),
            destroyed: self.destroyed,
            version: self.number,
        }
    }

    /// Empty for a version that is not deleted.
    pub(super) fn deletion_time(&self) -> String {
        self.deleted.map(|time| answer::time(Some(time).filter(|time| *time > 0))).unwrap_or_default()
    }
}

/// A provider's word for a version as a number, if it is one.
pub(super) fn as_number(id: &str) -> Option<u64> {
    let plain = (1..=18).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit()) && !id.starts_with('0');
    plain.then(|| id.parse().ok()).flatten()
}

/// The version that a value or a receipt names, as a number. Without any there is but one.
pub(super) fn number_of(version: Option<&Text>) -> Option<u64> {
    version.map_or(Some(1), |id| as_number(id.as_str()))
}

/// The versions of a page, the oldest first.
fn numbered(page: &Page) -> Vec<Version> {
    let mut versions: Vec<Version> = page
        .entries
        .iter()
        .map(|entry| {
            let state = entry.attributes.iter().find(|(key, _)| key.as_str() == "state").map(|(_, word)| word.as_str());
            let time = |name| answer::number(&entry.attributes, name);
            Version {
                id: entry.name.clone(),
                number: as_number(&entry.name).unwrap_or_default(),
                created: time("created"),
                updated: time("updated"),
                deleted: (state == Some("deleted")).then(|| time("deleted").unwrap_or_default()),
                destroyed: state == Some("destroyed"),
                tags: answer::tags(&entry.attributes),
            }
        })
        .collect();
    if versions.iter().all(|version| version.number > 0) {
        versions.sort_by_key(|version| version.number);
    } else {
        // Of those of one second the provider's word decides, so that it is the same each time.
        versions.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        for (number, version) in (1..).zip(&mut versions) {
            version.number = number;
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(entries: &[(&str, &[(&str, &str)])]) -> Page {
        let entry = |(name, attributes): &(&str, &[(&str, &str)])| strongroom::Entry {
            name: (*name).to_owned(),
            attributes: attributes.iter().map(|(key, value)| (Text::new(*key), Text::new(*value))).collect(),
        };
        Page { entries: entries.iter().map(entry).collect(), next: None }
    }

    fn shown(page: &Page) -> Vec<(u64, String)> {
        numbered(page).into_iter().map(|version| (version.number, version.id)).collect()
    }

    #[test]
    fn numbers_are_taken_as_they_are_and_other_words_are_counted() {
        let numbers = page(&[("12", &[("created", "1")]), ("9", &[("created", "7")]), ("3", &[])]);
        assert_eq!(shown(&numbers), [(3, "3".into()), (9, "9".into()), (12, "12".into())]);
        let words = page(&[("ff", &[("created", "20")]), ("10", &[("created", "30")]), ("0a", &[("created", "20")])]);
        assert_eq!(shown(&words), [(1, "0a".into()), (2, "ff".into()), (3, "10".into())]);
    }

    #[test]
    fn only_plain_numbers_count() {
        for (id, number) in [
            ("7", Some(7)),
            ("0", None),
            ("07", None),
            ("+7", None),
            ("", None),
            ("1234567890123456789", None),
            ("\u{661}", None),
        ] {
            assert_eq!(as_number(id), number, "{id}");
        }
    }

    #[test]
    fn what_became_of_a_version_is_told() {
        let page = page(&[
            ("1", &[("state", "destroyed"), ("created", "5")]),
            ("2", &[("state", "deleted"), ("deleted", "60"), ("tags.team", "a")]),
            ("3", &[("state", "enabled")]),
        ]);
        let versions = numbered(&page);
        let shown: Vec<_> = versions.iter().map(|v| (v.destroyed, v.deletion_time())).collect();
        let deleted = "1970-01-01T00:01:00.000Z".to_owned();
        assert_eq!(shown, [(true, String::new()), (false, deleted), (false, String::new())]);
        assert_eq!(versions[1].shown().custom_metadata.unwrap()["team"], "a");
    }
}
