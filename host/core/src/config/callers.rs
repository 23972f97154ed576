//! `[callers]` and `[issuers]`: who may ask a server, and who vouches for those that bring a JWT.
//!
//! A caller is told by one thing that it proves: an account of this machine, a name in its certificate, a
//! random token, or what an issuer says of it. What would let in more than its reader thinks is refused when
//! the file is read, above all an issuer that signs for strangers too.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Visitor};

use super::units::DurationText;
use super::{Layer, MAX_PATTERNS, Source, tenancy};
use crate::policy::{OWNER, SubjectPattern};
use crate::strict::Sheet;
use crate::{Digest, Failure, Name, Network, Origin, Text};

/// The longest name of an account, a certificate or an audience, in bytes.
const MAX_TEXT_BYTES: usize = 512;

/// How long an issuer's keys are used before they are asked for again, where its entry does not say: an hour, as
/// issuers announce a new key a day or more before they sign with it.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The shortest and longest `max_age`.
const MAX_AGE_RANGE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(24 * 3600)];

/// What every token holds and the host checks itself, so that a caller cannot ask for it again.
const CHECKED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// Somebody who may ask, by what they prove. Exactly one of the keys.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawCaller {
    /// An account of this machine, over a Unix socket.
    unix: Option<RawUnix>,
    /// DNS or URI names, one of which stands in its client certificate. Whole, without patterns.
    #[schemars(length(min = 1))]
    tls: Option<Vec<String>>,
    /// The SHA-256 of its token, as `strongroom token new` prints it.
    #[schemars(with = "Option<String>", regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    token: Option<Digest>,
    /// What an issuer says of it.
    jwt: Option<RawJwt>,
}

/// An account of this machine. Exactly one of the keys.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawUnix {
    /// A user, by number.
    uid: Option<u32>,
    /// A user, by name.
    user: Option<String>,
    /// A group, by number.
    gid: Option<u32>,
    /// A group, by name.
    group: Option<String>,
}

/// What an issuer says of a caller.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawJwt {
    /// A name of `issuers`.
    #[schemars(with = "String")]
    issuer: Name,
    /// A pattern of its `sub`: whole, `*` crosses no `:` and no `/`.
    #[schemars(with = "Option<String>")]
    subject: Option<SubjectPattern>,
    /// Patterns of further claims, or lists of them: each claim must fit one. Of a claim that is a list, any element.
    #[serde(default)]
    claims: BTreeMap<String, RawClaim>,
}

/// A pattern, or several of which one fits.
struct RawClaim(Vec<SubjectPattern>);

/// Who signs tokens, and where its keys are.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawIssuer {
    /// The tokens' `iss`, character by character: an https address.
    #[schemars(regex(pattern = "^https://"))]
    issuer: String,
    /// Where its keys are (a JSON Web Key Set), and nowhere else: an https address.
    #[schemars(regex(pattern = "^https://"))]
    jwks: String,
    /// The `aud` that its tokens are for, one of which each must have.
    #[schemars(length(min = 1))]
    audiences: Vec<String>,
    /// What it signs with.
    #[schemars(length(min = 1))]
    algorithms: BTreeSet<Algorithm>,
    /// What addresses its keys are at: "public", "private", "loopback", or CIDRs. Public by default.
    network: Option<Network>,
    /// How long its keys are used before they are asked for again: 1m to 24h. 1h.
    max_age: Option<DurationText>,
}

/// How a token may be signed (RFC 7518, RFC 8037). Neither shared secrets nor `none` are among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// RSA PKCS#1 1.5 with SHA-256.
    RS256,
    /// RSA PKCS#1 1.5 with SHA-384.
    RS384,
    /// RSA PKCS#1 1.5 with SHA-512.
    RS512,
    /// RSA PSS with SHA-256.
    PS256,
    /// RSA PSS with SHA-384.
    PS384,
    /// RSA PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

/// A caller as written.
#[derive(Debug, Clone, PartialEq)]
pub struct CallerEntry {
    /// What it proves.
    pub proof: Proof,
    /// Where it is written.
    pub source: Source,
}

/// What a caller is told by.
#[derive(Debug, Clone, PartialEq)]
pub enum Proof {
    /// An account, over a Unix socket.
    Unix(Account),
    /// Names, one of which stands in its certificate: DNS names in lower case, and URIs.
    Tls(BTreeSet<String>),
    /// The SHA-256 of its token.
    Token(Digest),
    /// What an issuer says of it.
    Jwt(Claimed),
}

/// An account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// A user, by number.
    Uid(u32),
    /// A user, by name.
    User(String),
    /// A group, by number.
    Gid(u32),
    /// A group, by name.
    Group(String),
}

/// What a token must say. All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Who signed it: a name of the issuers.
    pub issuer: Name,
    /// Its subject.
    pub subject: Option<SubjectPattern>,
    /// Further claims, each with the patterns of which it must fit one.
    pub claims: BTreeMap<String, Vec<SubjectPattern>>,
}

/// Who signs tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// The tokens' `iss`.
    pub issuer: String,
    /// The origin of its keys. Always https.
    pub origin: Origin,
    /// Path and query of its keys. Begins with a slash.
    pub target: String,
    /// The audiences, at least one.
    pub audiences: BTreeSet<String>,
    /// What it signs with, at least one.
    pub algorithms: BTreeSet<Algorithm>,
    /// What addresses its keys are at.
    pub network: Network,
    /// How long its keys are used before they are asked for again.
    pub max_age: Duration,
    /// Where it is written.
    pub source: Source,
}

impl Issuer {
    /// Whether both verify the same tokens with the same keys, wherever they are written.
    pub fn verifies_as(&self, other: &Self) -> bool {
        Self { source: other.source.clone(), ..self.clone() } == *other
    }
}

impl Algorithm {
    /// As it stands in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// Checks the callers of a file against its issuers.
pub(super) fn check(
    sheet: &Sheet<'_>,
    raw: BTreeMap<Name, RawCaller>,
    issuers: &BTreeMap<Name, Issuer>,
    source: &Written<'_>,
) -> Result<BTreeMap<Name, CallerEntry>, Failure> {
    let mut tokens = BTreeMap::new();
    let mut callers = BTreeMap::new();
    for (name, caller) in raw {
        let wrong = |keys: &[&str], message: &str| {
            let path: Vec<&str> = ["callers", name.as_str()].iter().chain(keys).copied().collect();
            sheet.wrong("config.caller", &path, message)
        };
        if name.as_str() == OWNER {
            return Err(wrong(&[], "exists without being written: it is the user that the server runs as"));
        }
        let RawCaller { unix, tls, token, jwt } = caller;
        let proof = match (unix, tls, token, jwt) {
            (Some(unix), None, None, None) => Proof::Unix(account(unix, &wrong)?),
            (None, Some(names), None, None) => Proof::Tls(certificate_names(&names, &wrong)?),
            (None, None, Some(digest), None) => {
                if let Some(other) = tokens.insert(digest, name.clone()) {
                    return Err(wrong(&["token"], &format!("is the token of {other}, too"))
                        .help("give each caller its own: strongroom token new"));
                }
                Proof::Token(digest)
            }
            (None, None, None, Some(jwt)) => Proof::Jwt(claimed(jwt, issuers, &wrong)?),
            _ => return Err(wrong(&[], "has exactly one of `unix`, `tls`, `token` and `jwt`")),
        };
        let source = source.of(sheet, &["callers", name.as_str()]);
        callers.insert(name, CallerEntry { proof, source });
    }
    Ok(callers)
}

/// Checks the issuers of a file.
pub(super) fn check_issuers(
    sheet: &Sheet<'_>,
    raw: BTreeMap<Name, RawIssuer>,
    source: &Written<'_>,
) -> Result<BTreeMap<Name, Issuer>, Failure> {
    let mut issuers: BTreeMap<Name, Issuer> = BTreeMap::new();
    for (name, raw) in raw {
        let wrong = |key: &str, message: &str| sheet.wrong("config.issuer", &["issuers", name.as_str(), key], message);
        let Some((origin, behind)) = secure_url(&raw.issuer) else {
            return Err(wrong("issuer", "must be an https address, as the tokens' `iss` has it"));
        };
        tenancy::check_issuer(&origin, behind).map_err(|why| {
            wrong("issuer", why).help("an issuer is one tenant's: https://login.microsoftonline.com/TENANT-ID/v2.0")
        })?;
        if let Some((other, _)) = issuers.iter().find(|(_, other)| other.issuer == raw.issuer) {
            return Err(wrong("issuer", &format!("is that of {other}, too")));
        }
        let Some((origin, target)) = secure_url(&raw.jwks) else {
            return Err(wrong("jwks", "must be the https address of its keys"));
        };
        let target = if target.is_empty() { "/" } else { target };
        if !target.starts_with('/') || target.contains('#') {
            return Err(wrong("jwks", "must be the https address of its keys, with a path and no fragment"));
        }
        let audience = |text: &String| !text.is_empty() && text.len() <= MAX_TEXT_BYTES && text != "*";
        if raw.audiences.is_empty() || raw.audiences.len() > MAX_PATTERNS || !raw.audiences.iter().all(audience) {
            return Err(wrong("audiences", "must hold 1 to 256 audiences, each as the tokens' `aud` has it"));
        }
        if raw.algorithms.is_empty() {
            return Err(wrong("algorithms", "must name what the issuer signs with, such as [\"RS256\"]"));
        }
        super::check_network(raw.network.as_ref(), source.layer, |_, keys, message| {
            wrong(keys.first().copied().unwrap_or_default(), message)
        })?;
        let max_age = raw.max_age.map_or(MAX_AGE, |age| age.0);
        if max_age < MAX_AGE_RANGE[0] || max_age > MAX_AGE_RANGE[1] {
            return Err(wrong("max_age", "must be from 1m to 24h"));
        }
        let issuer = Issuer {
            issuer: raw.issuer,
            origin,
            target: target.to_owned(),
            audiences: raw.audiences.into_iter().collect(),
            algorithms: raw.algorithms,
            network: raw.network.unwrap_or_default(),
            max_age,
            source: source.of(sheet, &["issuers", name.as_str()]),
        };
        issuers.insert(name, issuer);
    }
    Ok(issuers)
}

/// An https address of printable ASCII: its origin, and what stands behind it.
fn secure_url(url: &str) -> Option<(Origin, &str)> {
    let plain = url.len() <= MAX_TEXT_BYTES && url.bytes().all(|b| b.is_ascii_graphic());
    Origin::of_url(url).ok().filter(|(origin, _)| origin.secure && plain)
}

/// Where entries of one file are written.
pub(super) struct Written<'a> {
    pub(super) layer: Layer,
    pub(super) origin: &'a Text,
}

impl Written<'_> {
    pub(super) fn of(&self, sheet: &Sheet<'_>, path: &[&str]) -> Source {
        let position = sheet.place(path).and_then(|place| place.position);
        Source { layer: self.layer, origin: self.origin.clone(), position }
    }
}

type Wrong<'a> = dyn Fn(&[&str], &str) -> Failure + 'a;

fn account(raw: RawUnix, wrong: &Wrong<'_>) -> Result<Account, Failure> {
    let name = |text: &String| !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    if ![&raw.user, &raw.group].into_iter().flatten().all(name) {
        return Err(wrong(&["unix"], "must name an account of this machine"));
    }
    match (raw.uid, raw.user, raw.gid, raw.group) {
        (Some(uid), None, None, None) => Ok(Account::Uid(uid)),
        (None, Some(user), None, None) => Ok(Account::User(user)),
        (None, None, Some(gid), None) => Ok(Account::Gid(gid)),
        (None, None, None, Some(group)) => Ok(Account::Group(group)),
        _ => Err(wrong(&["unix"], "has exactly one of `uid`, `user`, `gid` and `group`")),
    }
}

fn certificate_names(names: &[String], wrong: &Wrong<'_>) -> Result<BTreeSet<String>, Failure> {
    let message = "must hold 1 to 256 DNS names or URIs, whole, without patterns";
    let fits = |name: &String| {
        !name.is_empty() && name.len() <= MAX_TEXT_BYTES && name.bytes().all(|b| b.is_ascii_graphic() && b != b'*')
    };
    if names.is_empty() || names.len() > MAX_PATTERNS || !names.iter().all(fits) {
        return Err(wrong(&["tls"], message));
    }
    Ok(names.iter().map(|name| certificate_name(name)).collect())
}

/// A name as it is compared: DNS knows no case, a URI does.
pub(crate) fn certificate_name(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { name.to_ascii_lowercase() }
}

fn claimed(raw: RawJwt, issuers: &BTreeMap<Name, Issuer>, wrong: &Wrong<'_>) -> Result<Claimed, Failure> {
    let Some(issuer) = issuers.get(&raw.issuer) else {
        let known: Vec<&str> = issuers.keys().map(Name::as_str).collect();
        let help = match known.is_empty() {
            true => "write [issuers.NAME] into this file".to_owned(),
            false => format!("the issuers of this file are {}", known.join(", ")),
        };
        return Err(wrong(&["jwt", "issuer"], "names no issuer of this file").help(help));
    };
    let mut claims = BTreeMap::new();
    for (claim, RawClaim(patterns)) in raw.claims {
        let keys = ["jwt", "claims", claim.as_str()];
        if CHECKED.contains(&claim.as_str()) {
            let help = if claim == "sub" { "write it as `subject`" } else { "the issuer's entry decides on it" };
            return Err(wrong(&keys, "is checked for every token").help(help));
        }
        if claim.is_empty() || patterns.is_empty() || patterns.len() > MAX_PATTERNS {
            return Err(wrong(&keys, "must hold 1 to 256 patterns"));
        }
        claims.insert(claim, patterns);
    }
    let claimed = Claimed { issuer: raw.issuer, subject: raw.subject, claims };
    tenancy::check_caller(&issuer.origin_of_tokens(), &claimed)
        .map_err(|(why, help)| wrong(&["jwt"], why).help(help))?;
    Ok(claimed)
}

impl Issuer {
    /// The host of `iss`, by which issuers are known.
    fn origin_of_tokens(&self) -> String {
        Origin::of_url(&self.issuer).map(|(origin, _)| origin.authority()).unwrap_or_default()
    }
}

impl JsonSchema for RawClaim {
    fn schema_name() -> Cow<'static, str> {
        "Claim".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A pattern, or several of which one fits: `*` crosses no `:` and no `/`",
            "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
        })
    }
}

impl<'de> Deserialize<'de> for RawClaim {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Patterns;

        impl<'de> Visitor<'de> for Patterns {
            type Value = RawClaim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pattern, or a list of patterns")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawClaim, E> {
                SubjectPattern::parse(text).map(|pattern| RawClaim(vec![pattern])).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<RawClaim, A::Error> {
                let mut patterns = Vec::new();
                while let Some(pattern) = items.next_element()? {
                    patterns.push(pattern);
                }
                Ok(RawClaim(patterns))
            }
        }

        deserializer.deserialize_any(Patterns)
    }
}
