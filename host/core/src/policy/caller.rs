//! Callers: what a front door proves of somebody, and the names of the config that it fits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::config::callers::{Account, CallerEntry, Claimed, Proof, certificate_name};
use crate::{Digest, Failure, Kind, Name, Text};

/// The caller that exists without being written: the user that the server runs as, over a Unix socket.
pub const OWNER: &str = "owner";

/// What a front door has proved of somebody. Nothing in it is what they only said.
#[derive(Debug, Clone, PartialEq)]
pub enum Identity {
    /// The peer of a Unix socket, as the kernel tells.
    Unix {
        /// Its user.
        uid: u32,
        /// Its groups, the primary one included.
        gids: Vec<u32>,
    },
    /// A client certificate that was verified.
    Tls {
        /// Its DNS and URI names.
        names: Vec<String>,
    },
    /// A bearer token that is no JWT.
    Token {
        /// Its SHA-256.
        digest: [u8; 32],
    },
    /// A JWT that was verified.
    Jwt {
        /// Who signed it: a name of the config's issuers.
        issuer: Name,
        /// Its `sub`; empty if it has none.
        subject: String,
        /// Its further claims: scalars, and lists of scalars.
        claims: BTreeMap<String, Value>,
    },
}

/// Knows the accounts of this machine. The core asks nobody itself.
pub trait Accounts {
    /// The number of a user.
    fn uid(&self, user: &str) -> Option<u32>;
    /// The number of a group.
    fn gid(&self, group: &str) -> Option<u32>;
}

/// Somebody who asks, and the callers of the config that they are. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller(Arc<Inner>);

#[derive(Debug, PartialEq)]
struct Inner {
    kind: &'static str,
    names: BTreeSet<Name>,
    shown: Text,
}

/// A caller of the config.
#[derive(Debug, Clone)]
pub(super) struct Known {
    prover: Prover,
    /// Who fits this one and no other, as most do: made once, not with each request.
    alone: Caller,
}

/// How one caller of the config is told.
#[derive(Debug, Clone)]
enum Prover {
    Uid(u32),
    Gid(u32),
    Tls(BTreeSet<String>),
    Token(Digest),
    Jwt(Claimed),
}

impl Identity {
    /// The word for how it was proved: `unix`, `tls`, `token`, `jwt`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unix { .. } => "unix",
            Self::Tls { .. } => "tls",
            Self::Token { .. } => "token",
            Self::Jwt { .. } => "jwt",
        }
    }

    /// Whether it is the user `own`, over a Unix socket.
    pub(super) fn is_of(&self, own: Option<u32>) -> bool {
        matches!(self, Self::Unix { uid, .. } if Some(*uid) == own)
    }

    /// What to call somebody whom no caller fits.
    fn shown(&self) -> Text {
        match self {
            Self::Unix { uid, .. } => Text::new(format!("uid {uid}")),
            Self::Tls { names } => Text::new(format!("certificate of {}", names.join(", "))),
            Self::Token { .. } => Text::new("unknown token"),
            Self::Jwt { issuer, subject, .. } => Text::new(format!("{subject} of {issuer}")),
        }
    }
}

impl Caller {
    pub(super) fn new(identity: &Identity, mut names: BTreeSet<Name>, own_uid: Option<u32>) -> Self {
        if identity.is_of(own_uid) {
            names.extend(Name::parse(OWNER));
        }
        let shown = match names.is_empty() {
            true => identity.shown(),
            false => Text::new(names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")),
        };
        Self(Arc::new(Inner { kind: identity.kind(), names, shown }))
    }

    /// As [`Policy::supposed`](super::Policy::supposed), without a look at the policy.
    pub(super) fn supposed(name: &Name) -> Self {
        Self::one("supposed", name)
    }

    fn one(kind: &'static str, name: &Name) -> Self {
        Self(Arc::new(Inner { kind, names: BTreeSet::from([name.clone()]), shown: Text::new(name.as_str()) }))
    }

    /// The callers of the config that it is, sorted; none for a stranger.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.names.iter()
    }

    /// Whether the config knows it at all.
    pub fn is_known(&self) -> bool {
        !self.0.names.is_empty()
    }

    /// Whether it is the user that the server runs as, over a Unix socket.
    pub fn is_owner(&self) -> bool {
        self.0.names.contains(OWNER)
    }

    /// How it was proved: `unix`, `tls`, `token`, `jwt`; `supposed` in a test of the policy.
    pub fn kind(&self) -> &'static str {
        self.0.kind
    }

    /// What to call it in the audit: its names, or what was proved of a stranger. Never a token.
    pub fn shown(&self) -> &Text {
        &self.0.shown
    }
}

impl Known {
    pub(super) fn new(name: &Name, entry: &CallerEntry, accounts: &dyn Accounts) -> Result<Self, Failure> {
        let prover = Prover::new(name, entry, accounts)?;
        Ok(Self { alone: Caller::one(prover.kind(), name), prover })
    }

    pub(super) fn fits(&self, identity: &Identity) -> bool {
        self.prover.fits(identity)
    }

    /// Who is this caller of the config and no other.
    pub(super) fn alone(&self) -> &Caller {
        &self.alone
    }
}

impl Prover {
    fn new(name: &Name, entry: &CallerEntry, accounts: &dyn Accounts) -> Result<Self, Failure> {
        let unknown = |what: &str, account: &str| {
            let message =
                format!("the caller {name} is the {what} {}, whom this machine does not know", Text::new(account));
            Failure::new(Kind::InvalidConfig, "config.account", message).at(entry.source.place(name))
        };
        Ok(match &entry.proof {
            Proof::Unix(Account::Uid(uid)) => Self::Uid(*uid),
            Proof::Unix(Account::Gid(gid)) => Self::Gid(*gid),
            Proof::Unix(Account::User(user)) => Self::Uid(accounts.uid(user).ok_or_else(|| unknown("user", user))?),
            Proof::Unix(Account::Group(group)) => {
                Self::Gid(accounts.gid(group).ok_or_else(|| unknown("group", group))?)
            }
            Proof::Tls(names) => Self::Tls(names.clone()),
            Proof::Token(digest) => Self::Token(*digest),
            Proof::Jwt(claimed) => Self::Jwt(claimed.clone()),
        })
    }

    /// As [`Identity::kind`].
    fn kind(&self) -> &'static str {
        match self {
            Self::Uid(_) | Self::Gid(_) => "unix",
            Self::Tls(_) => "tls",
            Self::Token(_) => "token",
            Self::Jwt(_) => "jwt",
        }
    }

    fn fits(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::Uid(own), Identity::Unix { uid, .. }) => own == uid,
            (Self::Gid(own), Identity::Unix { gids, .. }) => gids.contains(own),
            (Self::Tls(own), Identity::Tls { names }) => names.iter().any(|name| own.contains(&certificate_name(name))),
            (Self::Token(own), Identity::Token { digest }) => own.as_bytes().ct_eq(digest).into(),
            (Self::Jwt(own), Identity::Jwt { issuer, subject, claims }) => own.fits(issuer, subject, claims),
            _ => false,
        }
    }
}

impl Claimed {
    fn fits(&self, issuer: &Name, subject: &str, claims: &BTreeMap<String, Value>) -> bool {
        let element = |patterns: &[crate::policy::SubjectPattern], value: &Value| match value {
            Value::String(text) => patterns.iter().any(|pattern| pattern.matches(text)),
            Value::Bool(_) | Value::Number(_) => {
                let text = value.to_string();
                patterns.iter().any(|pattern| pattern.matches(&text))
            }
            _ => false,
        };
        let claim = |(name, patterns): (&String, &Vec<_>)| match claims.get(name) {
            Some(Value::Array(values)) => values.iter().any(|value| element(patterns, value)),
            Some(value) => element(patterns, value),
            None => false,
        };
        self.issuer == *issuer
            && self.subject.as_ref().is_none_or(|pattern| !subject.is_empty() && pattern.matches(subject))
            && self.claims.iter().all(claim)
    }
}
