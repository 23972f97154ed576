//! Which project files the person who runs Strongroom has trusted.
//!
//! A record holds for one absolute path and for exact bytes: of the config, of its lock, and of every
//! further file that the config names and that decides whom to trust (CA files). One changed byte, and
//! the person is asked again. Reading and writing the file, with the right owner and mode, is the
//! broker's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::strict::{Codes, Sheet};
use crate::{Digest, Failure, Kind, Text};

/// The largest file of records, in bytes: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;

const CODES: Codes = Codes {
    syntax: "trust.syntax",
    too_large: "trust.too-large",
    duplicate_key: "trust.duplicate-key",
    unknown_key: "trust.unknown-key",
    missing_key: "trust.missing-key",
    value: "trust.value",
};

/// What was trusted: one project file and all that it stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct TrustRecord {
    /// The config's absolute path, symbolic links resolved.
    pub path: String,
    /// The digest of the config's bytes.
    pub config: Digest,
    /// The digest of the lock beside it; `None` if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Digest>,
    /// The digest of every CA file that the config names, by absolute path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ca: BTreeMap<String, Digest>,
}

/// All records, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustRecords(BTreeMap<String, TrustRecord>);

/// Whether a project file is trusted as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Every byte is as it was when it was trusted.
    Trusted,
    /// It was trusted once, and this has changed since: `config`, `lock`, `CA files`.
    Changed(Vec<&'static str>),
    /// Nobody has trusted it.
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawTrust {
    #[serde(default)]
    trusted: Vec<TrustRecord>,
}

impl TrustRecords {
    /// Reads the file of records.
    ///
    /// # Errors
    /// `invalid-config` with a code `trust.*`.
    pub fn parse(text: &str, origin: Text) -> Result<Self, Failure> {
        let sheet = Sheet::parse(text, origin, &CODES, MAX_BYTES)?;
        let raw: RawTrust = sheet.read()?;
        let mut records = Self::default();
        for (index, record) in raw.trusted.into_iter().enumerate() {
            if !record.path.starts_with('/') || records.0.contains_key(&record.path) {
                let path = ["trusted", &index.to_string(), "path"];
                return Err(sheet.wrong(CODES.value, &path, "must be an absolute path that has no record yet"));
            }
            records.insert(record);
        }
        Ok(records)
    }

    /// The file's text: the same records always give the same bytes.
    ///
    /// # Errors
    /// `internal` if TOML cannot hold a record.
    pub fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string_pretty(&RawTrust { trusted: self.0.values().cloned().collect() })
            .map_err(|_| Failure::new(Kind::Internal, "trust.write", "the trust records cannot be written as TOML"))
    }

    /// Whether what stands at `now.path` is trusted with exactly these digests.
    pub fn look_up(&self, now: &TrustRecord) -> Trust {
        let Some(then) = self.0.get(&now.path) else { return Trust::Unknown };
        let parts =
            [("config", then.config == now.config), ("lock", then.lock == now.lock), ("CA files", then.ca == now.ca)];
        let changed: Vec<&str> = parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect();
        if changed.is_empty() { Trust::Trusted } else { Trust::Changed(changed) }
    }

    /// Adds a record; gives the one it replaces.
    pub fn insert(&mut self, record: TrustRecord) -> Option<TrustRecord> {
        self.0.insert(record.path.clone(), record)
    }

    /// Forgets a path.
    pub fn remove(&mut self, path: &str) -> Option<TrustRecord> {
        self.0.remove(path)
    }

    /// All records, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = &TrustRecord> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> TrustRecord {
        TrustRecord {
            path: "/home/u/app/strongroom.toml".to_owned(),
            config: Digest::of(b"config"),
            lock: Some(Digest::of(b"lock")),
            ca: BTreeMap::from([("/home/u/app/ca.pem".to_owned(), Digest::of(b"ca"))]),
        }
    }

    #[test]
    fn trust_ends_with_the_first_changed_byte() {
        let mut records = TrustRecords::default();
        assert_eq!(records.look_up(&record()), Trust::Unknown);
        records.insert(record());
        assert_eq!(records.look_up(&record()), Trust::Trusted);
        let changed = |change: fn(&mut TrustRecord)| {
            let mut now = record();
            change(&mut now);
            records.look_up(&now)
        };
        assert_eq!(changed(|r| r.config = Digest::of(b"x")), Trust::Changed(vec!["config"]));
        assert_eq!(changed(|r| r.lock = None), Trust::Changed(vec!["lock"]));
        assert_eq!(changed(|r| r.ca.clear()), Trust::Changed(vec!["CA files"]));
        assert_eq!(changed(|r| r.path.push('x')), Trust::Unknown);
        assert_eq!(changed(|r| (r.config, r.lock) = (Digest::of(b"x"), None)), Trust::Changed(vec!["config", "lock"]));
    }

    #[test]
    fn records_survive_the_file() {
        let mut records = TrustRecords::default();
        records.insert(record());
        records.insert(TrustRecord { path: "/b \"q\"/x".to_owned(), lock: None, ca: BTreeMap::new(), ..record() });
        let text = records.to_toml().unwrap();
        assert_eq!(TrustRecords::parse(&text, Text::new("trust.toml")).unwrap(), records);
        assert_eq!(TrustRecords::parse("", Text::new("trust.toml")).unwrap(), TrustRecords::default());
    }

    #[test]
    fn a_record_that_is_odd_is_refused() {
        let digest = Digest::of(b"x");
        for (bad, code) in [
            (format!("[[trusted]]\npath = \"a\"\nconfig = \"{digest}\""), "trust.value"),
            (
                format!(
                    "[[trusted]]\npath = \"/a\"\nconfig = \"{digest}\"\n[[trusted]]\npath = \"/a\"\nconfig = \"{digest}\""
                ),
                "trust.value",
            ),
            (format!("[[trusted]]\npath = \"/a\"\nconfig = \"{digest}\"\nall = true"), "trust.unknown-key"),
            ("[[trusted]]\npath = \"/a\"\nconfig = \"sha256:0\"".to_owned(), "trust.value"),
        ] {
            assert_eq!(TrustRecords::parse(&bad, Text::new("t")).unwrap_err().code(), code, "{bad}");
        }
    }
}
