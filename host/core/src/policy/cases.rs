//! A table of cases: what somebody wants the policy to say, for `strongroom policy test`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde_json::Value;

use super::{Accounts, Caller, Identity, Operation, Policy};
use crate::strict::{Codes, Sheet};
use crate::{Digest, Failure, Kind, Name, Origin, Place, Text};

/// The largest table, in bytes: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;

const CODES: Codes = Codes {
    syntax: "cases.syntax",
    too_large: "cases.too-large",
    duplicate_key: "cases.duplicate-key",
    unknown_key: "cases.unknown-key",
    missing_key: "cases.missing-key",
    value: "cases.value",
};

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    asker: Asker,
    /// What it is about.
    pub about: About,
    /// What is asked for.
    pub operation: Operation,
    /// Whether it is to be allowed.
    pub allow: bool,
    /// Where it is written.
    pub place: Option<Place>,
}

/// What a case is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The text of a reference, which is routed as a server routes it.
    Reference(String),
    /// A mount, a host if it has one, and a joined path.
    Path {
        /// The mount.
        mount: Name,
        /// The host.
        host: Option<String>,
        /// The joined path; of a listing its scope, which may be empty.
        path: String,
    },
    /// No mount at all: `plugins`.
    Nothing,
}

#[derive(Debug, Clone)]
enum Asker {
    Named(Name),
    Proves(Box<Proves>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawCases {
    case: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawCase {
    #[serde(rename = "as")]
    asker: Asker,
    reference: Option<String>,
    mount: Option<Name>,
    host: Option<String>,
    path: Option<String>,
    operation: Operation,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expect {
    Allow,
    Deny,
}

/// What somebody proves, one of these.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Proves {
    unix: Option<Peer>,
    tls: Option<Vec<String>>,
    token: Option<Digest>,
    jwt: Option<Signed>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Peer {
    uid: Option<u32>,
    user: Option<String>,
    #[serde(default)]
    gids: BTreeSet<u32>,
    #[serde(default)]
    groups: BTreeSet<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Signed {
    issuer: Name,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    claims: BTreeMap<String, Value>,
}

impl Case {
    /// Reads a table: `[[case]]`, each with `as`, an operation, what it is about, and `expect`.
    ///
    /// # Errors
    /// `invalid-config` with a code `cases.*`, and where.
    pub fn parse(text: &str, origin: Text) -> Result<Vec<Self>, Failure> {
        let sheet = Sheet::parse(text, origin, &CODES, MAX_BYTES)?;
        let raw: RawCases = sheet.read()?;
        let mut cases = Vec::with_capacity(raw.case.len());
        for (index, case) in raw.case.into_iter().enumerate() {
            let index = index.to_string();
            let wrong = |key: &str, why: &str| sheet.wrong(CODES.value, &["case", &index, key], why);
            if let Asker::Proves(proves) = &case.asker {
                let kinds = [proves.unix.is_some(), proves.tls.is_some(), proves.token.is_some(), proves.jwt.is_some()];
                if kinds.into_iter().filter(|there| *there).count() != 1 {
                    return Err(wrong("as", "is a caller's name, or exactly one of `unix`, `tls`, `token` and `jwt`"));
                }
                if proves.unix.as_ref().is_some_and(|peer| peer.uid.is_some() == peer.user.is_some()) {
                    return Err(wrong("as", "has exactly one of `uid` and `user`"));
                }
            }
            let about = match (case.reference, case.mount, case.operation) {
                (None, None, Operation::Plugins) if case.host.is_none() && case.path.is_none() => About::Nothing,
                (None, Some(mount), Operation::Plugins) if case.host.is_none() && case.path.is_none() => {
                    About::Path { mount, host: None, path: String::new() }
                }
                (_, _, Operation::Plugins) => {
                    return Err(wrong("operation", "is about mounts as a whole: it goes with `mount`, or nothing"));
                }
                (Some(reference), None, _) if case.host.is_none() && case.path.is_none() => About::Reference(reference),
                (None, Some(mount), _) => {
                    // As references have it.
                    let host = case.host.map(|host| Origin::of_authority(true, &host).map(|origin| origin.authority()));
                    let host = host.transpose().map_err(|_| wrong("host", "is a host, as a reference has it"))?;
                    About::Path { mount, host, path: case.path.unwrap_or_default() }
                }
                _ => return Err(wrong("as", "goes with either `reference`, or `mount`, `host` and `path`")),
            };
            cases.push(Self {
                asker: case.asker,
                about,
                operation: case.operation,
                allow: matches!(case.expect, Expect::Allow),
                place: sheet.place(&["case", &index, "as"]),
            });
        }
        Ok(cases)
    }

    /// The issuer whose token the asker shows, if any.
    pub fn issuer(&self) -> Option<&Name> {
        match &self.asker {
            Asker::Named(_) => None,
            Asker::Proves(proves) => proves.jwt.as_ref().map(|signed| &signed.issuer),
        }
    }

    /// Who asks a server that runs as the user `own`, under this policy.
    ///
    /// # Errors
    /// `policy.no-such-caller` for a name that no caller has; `config.account` for an account that there is not.
    pub fn caller(&self, policy: &Policy, accounts: &dyn Accounts, own: u32) -> Result<Caller, Failure> {
        let proves = match &self.asker {
            Asker::Named(name) => return policy.supposed(name),
            Asker::Proves(proves) => proves.as_ref().clone(),
        };
        let unknown = |account: &str| {
            let message = format!("this machine does not know the account {}", Text::new(account));
            Failure::new(Kind::InvalidConfig, "config.account", message)
        };
        let identity = match proves {
            Proves { unix: Some(peer), .. } => {
                let uid = match (peer.uid, peer.user) {
                    (Some(uid), _) => uid,
                    (None, user) => {
                        let user = user.unwrap_or_default();
                        accounts.uid(&user).ok_or_else(|| unknown(&user))?
                    }
                };
                let mut gids: Vec<u32> = peer.gids.into_iter().collect();
                for group in &peer.groups {
                    gids.push(accounts.gid(group).ok_or_else(|| unknown(group))?);
                }
                Identity::Unix { uid, gids }
            }
            Proves { tls: Some(names), .. } => Identity::Tls { names },
            Proves { token: Some(digest), .. } => Identity::Token { digest: *digest.as_bytes() },
            Proves { jwt, .. } => {
                let Some(Signed { issuer, subject, claims }) = jwt else {
                    return Err(Failure::new(Kind::Internal, "cases.asker", "a case has nobody who asks"));
                };
                Identity::Jwt { issuer, subject, claims }
            }
        };
        Ok(policy.identify(&identity, Some(own)))
    }
}

impl<'de> Deserialize<'de> for Asker {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AskerVisitor;

        impl<'de> Visitor<'de> for AskerVisitor {
            type Value = Asker;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a caller's name, or what somebody proves: { unix = ... }, { tls = ... }, { token = ... }, { jwt = ... }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Asker, E> {
                Name::parse(text).map(Asker::Named).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Asker, A::Error> {
                Proves::deserialize(MapAccessDeserializer::new(map)).map(|proves| Asker::Proves(Box::new(proves)))
            }
        }

        deserializer.deserialize_any(AskerVisitor)
    }
}
