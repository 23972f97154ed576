//! Where a request leads: from its path to a mount of the door, and from there to a reference.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use strongroom::{Failure, Kind, Reference, Strongroom};

/// The door's mounts, as one config has them.
#[derive(Debug)]
pub(crate) struct Mounts {
    mounts: BTreeMap<String, Reference>,
    namespace: Option<String>,
}

/// A mount that a path leads to, and the words below it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    /// The path at which clients find the mount.
    pub(super) mount: &'a str,
    /// What stands behind it.
    pub(super) scope: &'a Reference,
    /// What is named below it.
    pub(super) rest: &'a [String],
}

impl Mounts {
    /// Reads what the config says of the door.
    ///
    /// # Errors
    /// What is wrong with a scope, and where it stands.
    pub(crate) fn read(strongroom: &Strongroom) -> Result<Option<Self>, Failure> {
        let Some(door) = &strongroom.doors().vault else { return Ok(None) };
        let mut mounts = BTreeMap::new();
        for (name, written) in &door.mounts {
            let scope = strongroom.parse_scope(&written.text).and_then(|scope| {
                // Words of our own schemes, and any other.
                let words = ["x", "secrets", "connections", "keyvault"];
                match words.iter().any(|word| strongroom.far_below(&scope, &[word], true).is_ok()) {
                    true => Ok(scope),
                    false => {
                        let message = format!("`{}` is no scope: no reference is below it", written.text);
                        Err(Failure::new(Kind::InvalidConfig, "config.door", message))
                    }
                }
            });
            let scope = scope.map_err(|failure| {
                let failure = Failure::new(Kind::InvalidConfig, "config.door", failure.message().clone());
                match &written.place {
                    Some(place) => failure.at(place.clone()),
                    None => failure,
                }
                .help("a scope is a reference that ends early: keys://, keys://team, keyvault:https://{vault}/secrets")
            })?;
            mounts.insert(name.clone(), scope);
        }
        Ok(Some(Self { mounts, namespace: door.namespace.clone() }))
    }

    /// The mount that `words` lead to.
    pub(super) fn find<'a>(&'a self, words: &'a [String]) -> Option<Found<'a>> {
        (1..=words.len()).find_map(|count| {
            let (at, rest) = words.split_at_checked(count)?;
            let (mount, scope) = self.mounts.get_key_value(&at.join("/"))?;
            Some(Found { mount, scope, rest })
        })
    }

    /// All mounts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Reference)> {
        self.mounts.iter().map(|(name, scope)| (name.as_str(), scope))
    }

    /// Whether clients may name this namespace.
    pub(super) fn has_namespace(&self, name: &str) -> bool {
        let name = name.trim_matches('/');
        name.is_empty() || name == "root" || self.namespace.as_deref() == Some(name)
    }
}

/// A path of a request, without the slash before it, as words, each decoded once. One slash at the end means nothing.
///
/// # Errors
/// `request.path` for whatever could be read in two ways.
pub(super) fn words(path: &str) -> Result<Vec<String>, Failure> {
    let wrong = |message: &str| Failure::new(Kind::InvalidReference, "request.path", message);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/')
        .map(|part| {
            let bytes = part.as_bytes();
            let escapes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(at, _)| {
                bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            });
            if !escapes {
                return Err(wrong("`%` in the path is followed by two hexadecimal digits"));
            }
            let word = percent_decode_str(part).decode_utf8().map_err(|_| wrong("the path is no UTF-8 text"))?;
            if matches!(&*word, "" | "." | "..") || word.chars().any(|c| matches!(c, '/' | '\\') || c.is_control()) {
                return Err(wrong("a part of the path is empty, `.` or `..`, or holds a slash or a control character"));
            }
            Ok(word.into_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_in_one_way_or_not_at_all() {
        for (path, read) in [
            ("secret/data/a", Some(&["secret", "data", "a"][..])),
            ("secret/metadata/a/", Some(&["secret", "metadata", "a"])),
            ("secret/data/a%20b%2Bc+d", Some(&["secret", "data", "a b+c+d"])),
            ("secret/data/%C3%A9", Some(&["secret", "data", "\u{e9}"])),
            ("secret/data/%2561", Some(&["secret", "data", "%61"])),
            ("secret//a", None),
            ("secret/a//", None),
            ("/secret", None),
            ("secret/./a", None),
            ("secret/../a", None),
            ("secret/%2e%2e/a", None),
            ("secret/a%2fb", None),
            ("secret/a%5Cb", None),
            ("secret/a%00", None),
            ("secret/a%c2%85", None),
            ("secret/%c0%af", None),
            ("secret/%ff", None),
            ("secret/a%", None),
            ("secret/a%2", None),
            ("secret/a%+1", None),
        ] {
            let words = words(path).ok();
            assert_eq!(
                words.as_ref().map(|w| w.iter().map(String::as_str).collect()),
                read.map(<[_]>::to_vec),
                "{path}"
            );
        }
    }
}
