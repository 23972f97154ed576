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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    fn rights(body: &str, imports: &[&str], exports: &[&str]) -> Rights {
        let text = format!("name = \"p\"\nversion = \"1.0.0\"\n{body}");
        let manifest = Manifest::parse(text.as_bytes(), Text::new("p")).unwrap();
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Rights::new(&manifest, owned(imports), owned(exports))
    }

    const KEYS: &str = "schemes = [\"keys\"]\nwants = [\"store\"]\n[store]\nprefix = \"{ref.path.0}/\"";

    fn lock() -> Lock {
        let mut lock = Lock::default();
        lock.insert(Locked {
            name: Name::parse("p").unwrap(),
            version: "1.0.0".to_owned(),
            digest: Digest::of(b"p"),
            rights: rights(KEYS, &["strongroom:plugin/store@0.1.0"], &["strongroom:plugin/provider@0.1.0"]),
        });
        lock
    }

    #[test]
    fn a_lock_survives_its_file_byte_for_byte() {
        let text = lock().to_toml().unwrap();
        let read = Lock::parse(&text, Text::new("strongroom.lock")).unwrap();
        assert_eq!(read, lock());
        assert_eq!(read.to_toml().unwrap(), text);
        assert_eq!(Lock::parse("", Text::new("l")).unwrap(), Lock::default());
        let empty = Lock::default().to_toml().unwrap();
        assert_eq!(Lock::parse(&empty, Text::new("l")).unwrap(), Lock::default());
    }

    #[test]
    fn odd_locks_are_refused() {
        let text = lock().to_toml().unwrap();
        let twice = format!("{text}\n{}", &text[text.find("[[plugin]]").unwrap()..]);
        let table = [
            (twice, "lock.duplicate-plugin"),
            (text.replace("sha256:", "sha1:"), "lock.value"),
            (text.replace("\"1.0.0\"", "\"1\""), "lock.value"),
            (text.replace("name = \"p\"", "name = \"P\""), "lock.value"),
            (text.replace("want store", "want everything"), "lock.right"),
            (text.replace("want store", "want  store"), "lock.right"),
            (text.replace("store under {ref.path.0}/", "store under {any}/"), "lock.right"),
            (text.replace("strongroom:plugin/store@0.1.0", "a b"), "lock.value"),
            (text.replace("version =", "versoin ="), "lock.unknown-key"),
            (text.replace("version = \"1.0.0\"\n", ""), "lock.missing-key"),
            ("x = 1".to_owned(), "lock.unknown-key"),
        ];
        for (bad, code) in table {
            assert_eq!(Lock::parse(&bad, Text::new("l")).unwrap_err().code(), code, "{bad}");
        }
    }

    #[test]
    fn only_the_accepted_file_with_no_more_rights_runs() {
        let name = Name::parse("p").unwrap();
        let (imports, exports) = (["strongroom:plugin/store@0.1.0"], ["strongroom:plugin/provider@0.1.0"]);
        let same = rights(KEYS, &imports, &exports);
        let code = |name: &Name, digest: &[u8], rights: &Rights| {
            lock().verify(name, &Digest::of(digest), rights).map_err(|f| (f.code().to_owned(), f.kind()))
        };
        assert_eq!(code(&name, b"p", &same), Ok(()));
        assert_eq!(code(&name, b"p", &rights("schemes = [\"keys\"]", &[], &exports)), Ok(()), "less is allowed");
        assert_eq!(code(&name, b"q", &same), Err(("lock.digest".to_owned(), Kind::Integrity)));
        let other = Name::parse("q").unwrap();
        assert_eq!(code(&other, b"p", &same), Err(("lock.missing".to_owned(), Kind::PolicyDenied)));
        let grown = rights(KEYS, &["strongroom:plugin/store@0.1.0", "wasi:http/outgoing-handler@0.2.12"], &exports);
        assert_eq!(code(&name, b"p", &grown), Err(("lock.rights-grew".to_owned(), Kind::PolicyDenied)));
    }

    #[test]
    fn every_kind_of_growth_stops_and_reads_well() {
        let base = rights(KEYS, &["a:b/c"], &["strongroom:plugin/provider@0.1.0"]);
        let lines = |new: &Rights| -> Vec<String> {
            let diff = difference(&base, new);
            assert!(!diff.is_narrowing(), "{diff:?}");
            diff.lines().iter().map(ToString::to_string).collect()
        };
        let grown = |body: &str| lines(&rights(body, &["a:b/c"], &["strongroom:plugin/provider@0.1.0"]));
        assert_eq!(
            lines(&rights(KEYS, &["wasi:http/outgoing-handler"], &["strongroom:plugin/provider@0.1.0"])),
            ["+ may import wasi:http/outgoing-handler", "- may import a:b/c"]
        );
        assert_eq!(
            lines(&rights(KEYS, &["a:b/c"], &["strongroom:plugin/provider@0.1.0", "strongroom:plugin/writer@0.1.0"])),
            ["+ offers strongroom:plugin/writer@0.1.0"]
        );
        assert_eq!(
            grown("schemes = [\"keys\"]\nwants = [\"store\"]"),
            [
                "+ keeps data in its part of the encrypted store, all of it within reach of every reference",
                "- keeps data in its part of the encrypted store, under the reference's first path word",
            ],
            "dropping the prefix is growth"
        );
        for (more, line) in [
            ("batch = \"all\"", "+ sees several secrets at once: all that one request asks of its mount"),
            ("batch = [\"path.0\"]", "+ sees several secrets at once: those of one request that agree in path word 1"),
        ] {
            assert_eq!(grown(&format!("{more}\n{KEYS}")), [line]);
        }
        assert_eq!(grown(&KEYS.replace("[\"store\"]", "[\"store\", \"log\"]")), ["+ writes log lines"]);
    }

    #[test]
    fn rights_are_told_in_plain_words() {
        let env = rights(
            "schemes = [\"env\"]\nwants = [\"env\", \"log\"]\n[env]\nnames = [\"{ref.path.0}\"]",
            &[],
            &["strongroom:plugin/provider@0.1.0", "strongroom:plugin/writer@0.1.0"],
        );
        let words: Vec<String> = env.in_words().iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "answers references that begin with env:",
                "may read the environment variable that a reference names, and no other",
                "writes log lines",
                "sets and deletes secrets, where the mount says `write = true`",
            ]
        );
    }

    #[test]
    fn every_right_reads_back_from_its_line() {
        let all = rights(
            "schemes = [\"acme\"]\nbatch = [\"selector.v\", \"authority\"]\nwants = [\"env\", \"store\", \"wasi-stub\"]\n\
             [env]\nnames = [\"A\"]\n[store]\nprefix = \"a/\"\n[reference]\nauthority = true\npath = [\"a\", \"b*\"]",
            &[],
            &[],
        );
        let more =
            [Right::BatchAll, Right::StoreAll, Right::Reference { authority: false, path: vec!["a?".to_owned()] }];
        for right in all.rights.into_iter().chain(more) {
            assert_eq!(Right::parse(&right.to_string()), Some(right));
        }
        for bad in [
            "",
            "scheme",
            "scheme A",
            "scheme a b",
            "batch",
            "batch none",
            "batch by ",
            "reference a/b",
            "store under {",
            "want",
            "http x",
            "browser { origin = \"http://x.example\", path = \"/a\" }",
            "browser { path = \"/a\", origin = \"https://x.example\" }",
        ] {
            assert_eq!(Right::parse(bad), None, "{bad}");
        }
    }
}
