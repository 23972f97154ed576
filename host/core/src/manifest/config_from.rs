//! Where a mount's config may come from beside the operator's file: a manifest's `[[config-from]]`.
//!
//! Tools of a cloud leave on a machine what its plugins need to know: variables of a run, a file in the
//! project. A table names config keys and where each of them is kept there. All keys of one table come
//! from one source, never some from here and some from there. What is found is checked by the schema
//! like any config. Finding it, and whose word it is, is the broker's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::Pointer;
use super::raw::MAX_ITEMS;

/// One `[[config-from]]`, checked. Its `Display` is what the lock says of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigFrom {
    /// Config keys, and the variable of the environment that holds each.
    Env(BTreeMap<String, String>),
    /// Files of JSON, relative to a folder, the first that is there from the working folder upwards; and
    /// config keys with their places in it.
    Files {
        /// Relative paths, in the order in which they are sought.
        files: Vec<String>,
        /// Config keys, and the place of each in the file.
        keys: BTreeMap<String, Pointer>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawConfigFrom {
    env: Option<BTreeMap<String, String>>,
    files: Option<Vec<String>>,
    keys: Option<BTreeMap<String, Pointer>>,
}

impl RawConfigFrom {
    /// Checks one table. Gives why it is none.
    pub(super) fn check(self) -> Result<ConfigFrom, &'static str> {
        let from = match (self.env, self.files, self.keys) {
            (Some(env), None, None) => {
                if !env.values().all(|name| is_variable(name)) {
                    return Err("holds something that is no variable's name");
                }
                ConfigFrom::Env(env)
            }
            (None, Some(files), Some(keys)) => {
                if files.is_empty() || files.len() > MAX_ITEMS || !files.iter().all(|file| is_below(file)) {
                    return Err("must have 1 to 32 `files`: relative paths that end in .json, without `..`");
                }
                if files.iter().collect::<BTreeSet<_>>().len() != files.len() || keys.values().any(Pointer::is_many) {
                    return Err("names a file twice, or has a place with a `*`");
                }
                ConfigFrom::Files { files, keys }
            }
            _ => return Err("has `env`, or `files` and `keys`"),
        };
        let keys: Vec<&str> = from.keys().collect();
        if keys.is_empty() || keys.len() > MAX_ITEMS || !keys.iter().all(|key| is_key(key)) {
            return Err("must name 1 to 32 keys of the config");
        }
        Ok(from)
    }
}

impl ConfigFrom {
    /// The config keys that it tells.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let (env, keys) = match self {
            Self::Env(env) => (Some(env.keys()), None),
            Self::Files { keys, .. } => (None, Some(keys.keys())),
        };
        env.into_iter().flatten().chain(keys.into_iter().flatten()).map(String::as_str)
    }

    /// Where the operator may say the same, in words: `the variables A and B`.
    pub fn place(&self) -> String {
        let list = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
        match self {
            Self::Env(env) => format!("the environment variables {}", list(&mut env.values().map(String::as_str))),
            Self::Files { files, keys } => format!(
                "a file {} with {}, in the working folder or above",
                list(&mut files.iter().map(String::as_str)),
                list(&mut keys.values().map(Pointer::as_str)),
            ),
        }
    }

    /// What it means, to follow "it".
    pub fn in_words(&self) -> String {
        let keys = self.keys().collect::<Vec<_>>().join(", ");
        format!("takes what its mount's config leaves out ({keys}) from {}", self.place())
    }

    /// Reads what `Display` writes.
    pub fn parse(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line {
            from: RawConfigFrom,
        }
        let Line { from } = toml::from_str(&format!("from = {line}")).ok()?;
        from.check().ok()
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_variable(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A relative path of at most four plain segments.
fn is_below(text: &str) -> bool {
    let plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    text.ends_with(".json") && text.len() <= 128 && text.split('/').count() <= 4 && text.split('/').all(plain)
}

impl fmt::Display for ConfigFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| Value::from(text).to_string();
        let table = |pairs: &mut dyn Iterator<Item = (&String, &str)>| {
            pairs.map(|(key, value)| format!("{key} = {}", quoted(value))).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Env(env) => write!(f, "{{ env = {{ {} }} }}", table(&mut env.iter().map(|(k, v)| (k, v.as_str())))),
            Self::Files { files, keys } => {
                let files = files.iter().map(|file| quoted(file)).collect::<Vec<_>>().join(", ");
                let keys = table(&mut keys.iter().map(|(k, v)| (k, v.as_str())));
                write!(f, "{{ files = [{files}], keys = {{ {keys} }} }}")
            }
        }
    }
}
