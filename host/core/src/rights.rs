//! What a plugin may do, in one canonical form: for the lock, for differences, for people.
//!
//! Each [`Right`] is a permission: a set with fewer of them is a narrower set, and nothing else is.
//! That is why "all of the store" is a right of its own and not the absence of a prefix. Words for
//! people are made from the parsed rights, never from the manifest's prose.

use std::collections::BTreeSet;
use std::fmt;

use crate::manifest::{Batch, BrowserRule, ConfigFrom, Grant, HttpRule, Manifest, RefField, Templated};
use crate::reference::is_scheme;
use crate::{Shape, Text};

/// One permission that a manifest asks for.
///
/// Its `Display` is the lock's line, which [`Right::parse`] reads back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// `scheme env`: answers references of this scheme.
    Scheme(String),
    /// `reference host/group/name`: how its references read.
    Reference {
        /// Whether the first word is a host.
        authority: bool,
        /// The path's words, as in the manifest.
        path: Vec<String>,
    },
    /// `batch all`: sees all references of a request together.
    BatchAll,
    /// `batch by path.0, selector.version`: sees those together that agree in these fields.
    BatchBy(Vec<RefField>),
    /// `env {ref.path.0}`: reads variables of this name.
    Env(Templated),
    /// `store all`: the whole of the mount's part of the store, for any reference.
    StoreAll,
    /// `store under {ref.path.0}/`: what lies under this prefix.
    StoreUnder(Templated),
    /// `http { on = "resolve", allow = "GET /x", ... }`: one function, one route, and all that its
    /// rule says of it. A rule is a product, so any change of it is another right.
    Http(Box<HttpRule>),
    /// `sealed token`: takes a sealed input of this name from its credential.
    Sealed(String),
    /// `tool az`: has the tool of this name run.
    Tool(Templated),
    /// May send a person to this page.
    Prompt(String),
    /// `browser { origin = "...", path = "..." }`: may have this page opened in a person's browser.
    Browser(Box<BrowserRule>),
    /// `config-from { env = { key = "NAME" } }`: is told what its mount's config leaves out.
    ConfigFrom(ConfigFrom),
    /// `want log`: the interfaces of a grant.
    Want(Grant),
}

/// All rights of one plugin, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// The interfaces that the component imports.
    pub imports: BTreeSet<String>,
    /// The interfaces that the component exports.
    pub exports: BTreeSet<String>,
    /// What its manifest asks for.
    pub rights: BTreeSet<Right>,
}

/// How two [`Rights`] differ, in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RightsDiff {
    /// What the newer may do and the older may not.
    pub added: Vec<Text>,
    /// What the older may do and the newer may not.
    pub removed: Vec<Text>,
}

impl Rights {
    /// The rights of a component with these imports and exports and this manifest.
    pub fn new<I, E>(manifest: &Manifest, imports: I, exports: E) -> Self
    where
        I: IntoIterator<Item = String>,
        E: IntoIterator<Item = String>,
    {
        let mut rights: BTreeSet<Right> = manifest.schemes.iter().cloned().map(Right::Scheme).collect();
        rights.extend(manifest.wants.iter().copied().map(Right::Want));
        rights.extend(manifest.env.iter().cloned().map(Right::Env));
        rights.extend(manifest.http.iter().flat_map(HttpRule::apart).map(|rule| Right::Http(Box::new(rule))));
        rights.extend(manifest.sealed.keys().cloned().map(Right::Sealed));
        rights.extend(manifest.tools.iter().cloned().map(Right::Tool));
        rights.extend(manifest.prompts.iter().cloned().map(Right::Prompt));
        rights.extend(manifest.browser.iter().cloned().map(|rule| Right::Browser(Box::new(rule))));
        rights.extend(manifest.config_from.iter().cloned().map(Right::ConfigFrom));
        if let Some(rule) = &manifest.reference {
            rights.insert(Right::Reference { authority: rule.authority, path: rule.path.clone() });
        }
        match &manifest.batch {
            Batch::None => {}
            Batch::All => drop(rights.insert(Right::BatchAll)),
            Batch::By(fields) => {
                let mut fields = fields.clone();
                fields.sort();
                rights.insert(Right::BatchBy(fields));
            }
        }
        if manifest.wants.contains(&Grant::Store) {
            rights.insert(manifest.store.clone().map_or(Right::StoreAll, Right::StoreUnder));
        }
        Self { imports: imports.into_iter().collect(), exports: exports.into_iter().collect(), rights }
    }

    /// What the plugin may do, a line each, for `plugin add` and `explain`.
    pub fn in_words(&self) -> Vec<Text> {
        // What these two reach is told by rights of their own.
        let told =
            |right: &&Right| !matches!(right, Right::Want(Grant::Env | Grant::Store | Grant::Http | Grant::Tool));
        let mut words: Vec<Text> = self.rights.iter().filter(told).map(|right| Text::new(right.in_words())).collect();
        words.extend(self.exports.iter().filter_map(|export| ability(export)).map(Text::from));
        words
    }

    /// How `self` differs from the `older` rights.
    pub fn since(&self, older: &Self) -> RightsDiff {
        let mut diff = RightsDiff::default();
        let mut compare = |new: &BTreeSet<String>, old: &BTreeSet<String>, verb: &str| {
            diff.added.extend(new.difference(old).map(|i| Text::new(format!("{verb} {i}"))));
            diff.removed.extend(old.difference(new).map(|i| Text::new(format!("{verb} {i}"))));
        };
        compare(&self.imports, &older.imports, "may import");
        compare(&self.exports, &older.exports, "offers");
        diff.added.extend(self.rights.difference(&older.rights).map(|r| Text::new(r.in_words())));
        diff.removed.extend(older.rights.difference(&self.rights).map(|r| Text::new(r.in_words())));
        diff
    }
}

impl RightsDiff {
    /// Whether nothing was added: such a change needs nobody's consent.
    pub fn is_narrowing(&self) -> bool {
        self.added.is_empty()
    }

    /// The difference for people: `+ may import wasi:http/outgoing-handler@0.2.12`.
    pub fn lines(&self) -> Vec<Text> {
        let added = self.added.iter().map(|line| Text::new(format!("+ {line}")));
        added.chain(self.removed.iter().map(|line| Text::new(format!("- {line}")))).collect()
    }
}

impl Right {
    /// Reads a line of the lock. `None` for anything that [`Right`]'s `Display` would not write.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        let right = match word {
            "scheme" => is_scheme(rest).then(|| Self::Scheme(rest.to_owned()))?,
            "reference" => {
                let (authority, words) = match rest.strip_prefix("host/") {
                    Some(words) => (true, words),
                    None => (false, rest.strip_prefix('/')?),
                };
                let path: Vec<String> = words.split('/').map(str::to_owned).collect();
                Shape::uri(authority, &path).ok()?;
                Self::Reference { authority, path }
            }
            "batch" => match rest.strip_prefix("by ") {
                Some(fields) => Self::BatchBy(fields.split(", ").map(RefField::parse).collect::<Option<_>>()?),
                None => (rest == "all").then_some(Self::BatchAll)?,
            },
            "env" => Self::Env(Templated::parse(rest).ok()?),
            "store" => match rest.strip_prefix("under ") {
                Some(prefix) => Self::StoreUnder(Templated::parse(prefix).ok()?),
                None => (rest == "all").then_some(Self::StoreAll)?,
            },
            "http" => Self::Http(Box::new(HttpRule::of_line(rest)?)),
            "sealed" => Self::Sealed(rest.to_owned()),
            "tool" => Self::Tool(Templated::parse(rest).ok()?),
            "prompt" => Self::Prompt(rest.to_owned()),
            "browser" => Self::Browser(Box::new(BrowserRule::of_line(rest)?)),
            "config-from" => Self::ConfigFrom(ConfigFrom::parse(rest)?),
            "want" => Self::Want(*Grant::ALL.iter().find(|grant| grant.name() == rest)?),
            _ => return None,
        };
        (right.to_string() == line).then_some(right)
    }

    /// The right in plain words, to follow "it".
    pub fn in_words(&self) -> String {
        match self {
            Self::Scheme(scheme) => format!("answers references that begin with {scheme}:"),
            Self::Reference { authority, path } => {
                let host = if *authority { "{host}/" } else { "" };
                let words: Vec<String> = path.iter().map(|w| format!("{{{w}}}")).collect();
                format!("reads its references as scheme://{host}{}", words.join("/"))
            }
            Self::BatchAll => "sees several secrets at once: all that one request asks of its mount".to_owned(),
            Self::BatchBy(fields) => {
                let fields: Vec<String> = fields.iter().map(in_words).collect();
                format!("sees several secrets at once: those of one request that agree in {}", fields.join(" and "))
            }
            Self::Env(name) => match name.as_str() {
                "{ref.path.0}" => "may read the environment variable that a reference names, and no other".to_owned(),
                other => format!("may read the environment variable {other}"),
            },
            Self::StoreAll => {
                "keeps data in its part of the encrypted store, all of it within reach of every reference".to_owned()
            }
            Self::StoreUnder(prefix) => {
                let place = match prefix.as_str() {
                    "{ref.path.0}/" => "the reference's first path word".to_owned(),
                    other => other.to_owned(),
                };
                format!("keeps data in its part of the encrypted store, under {place}")
            }
            Self::Http(rule) => rule.in_words(),
            Self::Sealed(name) => format!("takes the sealed input {name} of its credential"),
            Self::Tool(name) => format!("may have the tool {name} run, whose own reach is outside the sandbox's wall"),
            Self::Prompt(uri) => format!("may send a person who signs in to {uri}"),
            Self::Browser(rule) => rule.in_words(),
            Self::ConfigFrom(from) => from.in_words(),
            Self::Want(grant) => match grant {
                Grant::Log => "writes log lines",
                Grant::Env => "uses the environment interface",
                Grant::Store => "uses the store interface",
                Grant::Signer => "has the host sign assertions with its credential's keys",
                Grant::Sealed => "reads its credential's sealed inputs itself",
                Grant::Tool => "runs tools that the operator declared; their own network is outside the wall",
                Grant::Token => "reads access tokens itself",
                Grant::Http => "makes HTTP requests within its egress rules",
                Grant::StoreAndHttp => {
                    "both keeps data and makes requests: what it kept of one reference it can send when it answers another"
                }
                Grant::Clock => "reads the clock",
                Grant::Random => "gets random bytes",
                Grant::WasiStub => "imports stand-ins for what its language runtime expects",
            }
            .to_owned(),
        }
    }
}

fn in_words(field: &RefField) -> String {
    match field {
        RefField::Authority => "their host".to_owned(),
        RefField::Path(index) => format!("path word {}", index + 1),
        RefField::Selector(name) => format!("?{name}="),
    }
}

/// What an export of the plugin contract lets callers do. `provider` goes without saying.
fn ability(export: &str) -> Option<&'static str> {
    let interface = export.strip_prefix("strongroom:plugin/")?;
    Some(match interface.split('@').next()? {
        "catalog" => "lists names",
        "writer" => "sets and deletes secrets, where the mount says `write = true`",
        "annotator" => "changes what is known about a secret, where the mount says `write = true`",
        "lifecycle" => "lists versions, and recovers and purges secrets, where the mount says `write = true`",
        "credential" => "gets access tokens",
        _ => return None,
    })
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => write!(f, "scheme {scheme}"),
            Self::Reference { authority, path } => {
                write!(f, "reference {}/{}", if *authority { "host" } else { "" }, path.join("/"))
            }
            Self::BatchAll => f.write_str("batch all"),
            Self::BatchBy(fields) => {
                let fields: Vec<String> = fields.iter().map(RefField::to_string).collect();
                write!(f, "batch by {}", fields.join(", "))
            }
            Self::Env(name) => write!(f, "env {name}"),
            Self::StoreAll => f.write_str("store all"),
            Self::StoreUnder(prefix) => write!(f, "store under {prefix}"),
            Self::Http(rule) => write!(f, "http {}", rule.line()),
            Self::Sealed(name) => write!(f, "sealed {name}"),
            Self::Tool(name) => write!(f, "tool {name}"),
            Self::Prompt(uri) => write!(f, "prompt {uri}"),
            Self::Browser(rule) => write!(f, "browser {}", rule.line()),
            Self::ConfigFrom(from) => write!(f, "config-from {from}"),
            Self::Want(grant) => write!(f, "want {grant}"),
        }
    }
}
