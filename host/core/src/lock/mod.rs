//! `strongroom.lock`: digest and rights of each plugin that a person accepted.
//!
//! No entry, no run. A plugin whose digest is not the locked one, or whose rights grew, stops until
//! the lock is changed by a person or a reviewed commit. `docs/formats.md` writes the format down.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::manifest::is_version;
use crate::rights::{Right, RightsDiff};
use crate::strict::{Codes, Sheet};
use crate::{Digest, Failure, Kind, Name, Rights, Text};

/// The largest lock, in bytes: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;

/// The longest name of an import or export, in bytes.
const MAX_INTERFACE_BYTES: usize = 256;

const CODES: Codes = Codes {
    syntax: "lock.syntax",
    too_large: "lock.too-large",
    duplicate_key: "lock.duplicate-key",
    unknown_key: "lock.unknown-key",
    missing_key: "lock.missing-key",
    value: "lock.value",
};

const HEADER: &str = "# The plugins that may run here: their digests and what they may do. Written by `strongroom plugin`;\n\
                      # keep it under version control. A difference in `rights` is a difference in what a plugin may do.\n";

/// All entries, by the plugin's name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    plugins: BTreeMap<Name, Locked>,
}

/// One accepted plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Its name.
    pub name: Name,
    /// The version its manifest stated.
    pub version: String,
    /// The digest of its file.
    pub digest: Digest,
    /// What it may do.
    pub rights: Rights,
}

impl Lock {
    /// Reads a lock. The order of entries and of the lines in them does not matter.
    ///
    /// # Errors
    /// `invalid-config` with a code `lock.*`, line, column and key.
    pub fn parse(text: &str, origin: Text) -> Result<Self, Failure> {
        let sheet = Sheet::parse(text, origin, &CODES, MAX_BYTES)?;
        let raw: RawLock = sheet.read()?;
        let mut lock = Self::default();
        for (index, plugin) in raw.plugin.into_iter().enumerate() {
            let locked = plugin.check(&sheet, &index.to_string())?;
            let name = locked.name.clone();
            if lock.plugins.insert(name.clone(), locked).is_some() {
                let path = ["plugin", &index.to_string(), "name"];
                return Err(sheet.wrong(
                    "lock.duplicate-plugin",
                    &path,
                    format!("names {name}, which has an entry already"),
                ));
            }
        }
        Ok(lock)
    }

    /// The entry of the plugin `name`.
    pub fn get(&self, name: &Name) -> Option<&Locked> {
        self.plugins.get(name)
    }

    /// All entries, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Locked> {
        self.plugins.values()
    }

    /// Puts an entry in; gives the one it replaces.
    pub fn insert(&mut self, locked: Locked) -> Option<Locked> {
        self.plugins.insert(locked.name.clone(), locked)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, name: &Name) -> Option<Locked> {
        self.plugins.remove(name)
    }

    /// The lock's text: the same entries always give the same bytes.
    ///
    /// # Errors
    /// `internal` if TOML cannot hold an entry, which no parsed entry causes.
    pub fn to_toml(&self) -> Result<String, Failure> {
        let raw = RawLock { plugin: self.plugins.values().map(RawLocked::from).collect() };
        let body = toml::to_string_pretty(&raw)
            .map_err(|_| Failure::new(Kind::Internal, "lock.write", "the lock cannot be written as TOML"))?;
        Ok(format!("{HEADER}\n{body}"))
    }

    /// Whether the plugin `name`, as found, may run.
    ///
    /// # Errors
    /// `lock.missing` without an entry, `lock.rights-grew` with the difference as help lines, and
    /// `lock.digest` (kind `integrity`) if the file is not the accepted one.
    pub fn verify(&self, name: &Name, digest: &Digest, rights: &Rights) -> Result<(), Failure> {
        let Some(locked) = self.get(name) else {
            return Err(Failure::new(
                Kind::PolicyDenied,
                "lock.missing",
                format!("the plugin {name} is not in strongroom.lock, so it does not run"),
            )
            .help("look at it with `strongroom plugin inspect FILE`, accept it with `strongroom plugin add FILE`"));
        };
        let diff = difference(&locked.rights, rights);
        if !diff.is_narrowing() {
            let message = format!("the plugin {name} may do more than strongroom.lock says");
            let failure = Failure::new(Kind::PolicyDenied, "lock.rights-grew", message);
            let failure = diff.lines().into_iter().fold(failure, Failure::help);
            return Err(failure.help("accept that with `strongroom plugin add FILE`, or go back to the locked version"));
        }
        if locked.digest != *digest {
            let message = format!(
                "the plugin {name} is not the file that was accepted: {} is locked, {} was found",
                locked.digest.short(),
                digest.short()
            );
            return Err(Failure::new(Kind::Integrity, "lock.digest", message)
                .help("if the change is yours, accept it with `strongroom plugin add FILE`"));
        }
        Ok(())
    }
}

/// What changes from the `old` rights to the `new` ones. Pure narrowing is allowed; everything else
/// stops and shows the difference.
pub fn difference(old: &Rights, new: &Rights) -> RightsDiff {
    new.since(old)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawLock {
    #[serde(default)]
    plugin: Vec<RawLocked>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawLocked {
    name: Name,
    version: String,
    digest: Digest,
    imports: Vec<String>,
    exports: Vec<String>,
    rights: Vec<String>,
}

impl RawLocked {
    fn check(self, sheet: &Sheet<'_>, index: &str) -> Result<Locked, Failure> {
        let wrong = |key: &str, message: &str| sheet.wrong("lock.value", &["plugin", index, key], message);
        if !is_version(&self.version) {
            return Err(wrong("version", "must be a version such as 1.2.3"));
        }
        let interfaces = |key: &str, list: Vec<String>| -> Result<BTreeSet<String>, Failure> {
            let plain = |name: &String| {
                !name.is_empty() && name.len() <= MAX_INTERFACE_BYTES && name.bytes().all(|b| b.is_ascii_graphic())
            };
            if list.iter().all(plain) {
                Ok(list.into_iter().collect())
            } else {
                Err(wrong(key, "must hold names of interfaces"))
            }
        };
        let imports = interfaces("imports", self.imports)?;
        let exports = interfaces("exports", self.exports)?;
        let rights = self.rights.iter().map(|line| Right::parse(line)).collect::<Option<_>>().ok_or_else(|| {
            sheet
                .wrong("lock.right", &["plugin", index, "rights"], "holds a right that this release does not know")
                .help(
                    "use the release that wrote the lock, or accept the plugin again with `strongroom plugin add FILE`",
                )
        })?;
        Ok(Locked {
            name: self.name,
            version: self.version,
            digest: self.digest,
            rights: Rights { imports, exports, rights },
        })
    }
}

impl From<&Locked> for RawLocked {
    fn from(locked: &Locked) -> Self {
        let mut rights: Vec<String> = locked.rights.rights.iter().map(Right::to_string).collect();
        rights.sort();
        Self {
            name: locked.name.clone(),
            version: locked.version.clone(),
            digest: locked.digest,
            imports: locked.rights.imports.iter().cloned().collect(),
            exports: locked.rights.exports.iter().cloned().collect(),
            rights,
        }
    }
}
