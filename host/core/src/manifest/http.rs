//! What a plugin may ask of the network: a manifest's `[[http]]`.
//!
//! A rule speaks of the function that runs, and of the reference it runs for: `{ref.*}` and
//! `{config.*}` are bound by the host before the call. Everything is parsed once, here; the decision
//! over a request is `egress::decide`'s. What a rule does not name is refused: no method, no query
//! key, no header and no port is ever implied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::inject::{Held, Injection, RawInjection, held};
use super::placeholder::{Placeholder, RefField, Templated};
use super::pointer::Pointer;
use crate::network::Network;
use crate::origin::{Origin, split_scheme};
use crate::text::is_plain;
use crate::{HostPattern, Reference};

/// The headers that a guest may always set.
pub const ALWAYS: [&str; 5] = ["accept", "content-length", "content-type", "if-match", "if-none-match"];

/// Headers that no rule can name, in a request or an answer: they frame the message, name the host,
/// carry credentials, or make another request of it.
const NEVER: [&str; 27] = [
    "authorization",
    "connection",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// An exported function of a plugin: what a rule serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names of the contract's functions")]
pub enum Function {
    Resolve,
    Names,
    Put,
    Remove,
    Annotate,
    Versions,
    Recover,
    Purge,
    Acquire,
}

/// An HTTP method. There are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names of RFC 9110 and RFC 5789")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

/// One `[[http]]`, checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpRule {
    /// The functions it serves. At least one.
    pub on: BTreeSet<Function>,
    /// Where requests go.
    pub origin: OriginTemplate,
    /// What hosts `origin` may come to; empty: whatever it comes to.
    pub hosts: BTreeSet<HostPattern>,
    /// Methods and paths. At least one.
    pub allow: BTreeSet<Route>,
    /// The query keys and their values.
    pub query: BTreeMap<String, Allowed>,
    /// The headers beyond [`ALWAYS`], in lower case, and their values.
    pub headers: BTreeMap<String, Allowed>,
    /// The headers of the answer that the guest sees beyond the usual ones, in lower case.
    pub answers: BTreeSet<String>,
    /// What the texts at these places of the body may be, which is then JSON; at most one place is many.
    pub body: BTreeMap<Pointer, Allowed>,
    /// The addresses that the answer tells, by the names that `{discovered.NAME}` speaks of.
    pub discovers: BTreeMap<String, Pointer>,
    /// The token that the host adds to the request.
    pub credential: Option<CredentialUse>,
    /// What the host adds to an auth plugin's own request.
    pub inject: Option<Injection>,
    /// What addresses the host's name may have.
    pub network: Network,
    /// Whether to speak HTTP/2.
    pub http2: bool,
}

/// The values that a query key or a header may have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allowed {
    /// Any: the guest's choice.
    Any,
    /// One of these.
    Values(BTreeSet<Templated>),
}

/// A method and a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: PathTemplate,
}

/// A path with holes. Each segment is compared after it was decoded once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Empty,
    Bound(Templated),
    /// `{ref.path.N..}`: all segments of the reference's path from this one on.
    Rest(usize),
    /// `{any}`
    Any,
    /// All of the path that an endpoint of the environment has.
    Endpoint(String),
}

/// An origin with holes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OriginTemplate {
    text: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// `{config.NAME}`: a whole origin, from the mount's config.
    Config(String),
    /// `https://host[:port]`, with holes in it.
    Authority { secure: bool, authority: Templated },
    /// `https://{any}`: one of the rule's hosts, all of which are literal.
    Any { secure: bool },
    /// `{env.NAME}`: the origin of the URL that this variable holds.
    Endpoint(String),
    /// `{discovered.NAME}`: the origin of the https URL that the config holds under this name, else of the
    /// one that an answer of this call told.
    Discovered(String),
}

/// How the path of a rule with an `endpoint` is told: no manifest writes one.
const ENDPOINT_PATH: &str = "{path of the endpoint}";

/// Where the URL of an endpoint stands among what holes are filled from, taken apart by the host once: an
/// object with `origin`, `path` (decoded segments) and `query` (pairs). No config has such a key.
pub fn endpoint_key(variable: &str) -> String {
    format!("endpoint.{variable}")
}

/// Where an address that an answer told stands among what holes are filled from. No config has such a key.
pub fn discovered_key(name: &str) -> String {
    format!("discovered.{name}")
}

/// What the host adds to a request, after the decision and before the bytes leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialUse {
    /// The resource that the token is for.
    pub audience: Templated,
    /// The header, in lower case.
    pub header: String,
    /// The header's value, around `{token}` and `{scheme}`.
    pub format: String,
}

/// Why a part of a rule cannot be read. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// No `METHOD /path`.
    #[error("it is a method (GET, HEAD, POST, PUT, PATCH, DELETE), a blank and a path that begins with /")]
    Route,
    /// A path that could be read in two ways.
    #[error(
        "a path has no empty, `.` or `..` segment, no `%`, `?` or `#`, at most 64 segments, and holes of ref.*, config.*; \
         {{any}} and {{ref.path.N..}} are whole segments"
    )]
    Path,
    /// No origin.
    #[error(
        "an origin is https://host[:port], http://host[:port], {{config.NAME}} or {{discovered.NAME}}; holes are ref.authority, config.NAME or {{any}}"
    )]
    Origin,
    /// No header.
    #[error("a header is `name` or `name: value`, in which values may have holes")]
    Header,
    /// A header that frames the message, names the host or carries credentials.
    #[error("this header is the host's alone")]
    ForbiddenHeader,
    /// A bad list of values.
    #[error("it is \"any\", or a list of 1 to 32 values, which may have holes")]
    Values,
    /// No endpoint.
    #[error("an endpoint is {{env.NAME}}")]
    Endpoint,
    /// A bad injection.
    #[error("a format holds {{token}} once, and {{scheme}} at most once, in visible characters")]
    Format,
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 9] = [
        Self::Resolve,
        Self::Names,
        Self::Put,
        Self::Remove,
        Self::Annotate,
        Self::Versions,
        Self::Recover,
        Self::Purge,
        Self::Acquire,
    ];

    /// The contract's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Names => "names",
            Self::Put => "put",
            Self::Remove => "remove",
            Self::Annotate => "annotate",
            Self::Versions => "versions",
            Self::Recover => "recover",
            Self::Purge => "purge",
            Self::Acquire => "acquire",
        }
    }
}

impl Method {
    const ALL: [Self; 6] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The method's token; methods are case-sensitive (RFC 9110, 9.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The method of that token.
    pub fn parse(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == token)
    }

    /// Whether a body has a meaning in such a request.
    pub const fn may_have_body(self) -> bool {
        !matches!(self, Self::Get | Self::Head)
    }
}

impl Allowed {
    /// Whether `value` is one of them for this reference.
    pub fn admits(&self, value: &str, reference: Option<&Reference>, config: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Values(values) => values.iter().any(|v| v.bind_text(reference, config).as_deref() == Some(value)),
        }
    }

    /// The values that this reference makes of it; of any value, none.
    pub fn bound(&self, reference: Option<&Reference>, config: &Value) -> impl Iterator<Item = String> {
        self.templates().filter_map(move |template| template.bind_text(reference, config))
    }

    fn templates(&self) -> impl Iterator<Item = &Templated> {
        match self {
            Self::Any => None,
            Self::Values(values) => Some(values),
        }
        .into_iter()
        .flatten()
    }
}

impl PathTemplate {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidRule> {
        let inner = text.strip_prefix('/').ok_or(InvalidRule::Route)?;
        let last = inner.split('/').count() - 1;
        let mut segments = Vec::new();
        for (index, part) in inner.split('/').enumerate() {
            segments.push(match part {
                // A path may be `/`, and may end in `/`; then that is part of it.
                "" if index == last => Segment::Empty,
                "" | "." | ".." => return Err(InvalidRule::Path),
                "{any}" => Segment::Any,
                _ if part.contains(['%', '?', '#', '\\']) => return Err(InvalidRule::Path),
                _ => match part.strip_prefix("{ref.path.").and_then(|rest| rest.strip_suffix("..}")) {
                    Some(digits) => match RefField::parse(&format!("path.{digits}")) {
                        Some(RefField::Path(from)) => Segment::Rest(from),
                        _ => return Err(InvalidRule::Path),
                    },
                    None => Segment::Bound(Templated::parse(part).map_err(|_| InvalidRule::Path)?),
                },
            });
        }
        if segments.len() > 64 {
            return Err(InvalidRule::Path);
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// Whether the path of the decoded `segments` is the one that this reference allows.
    pub fn admits(&self, segments: &[String], reference: Option<&Reference>, config: &Value) -> bool {
        let mut asked = segments.iter();
        for segment in &self.segments {
            let fits = match segment {
                Segment::Endpoint(variable) => {
                    let path = config.get(endpoint_key(variable)).and_then(|url| url.get("path")?.as_array());
                    path.is_some_and(|path| path.iter().all(|word| asked.next().map(String::as_str) == word.as_str()))
                }
                Segment::Empty => asked.next().is_some_and(String::is_empty),
                Segment::Any => asked.next().is_some_and(|segment| !segment.is_empty()),
                Segment::Bound(template) => {
                    let bound = template.bind_for(reference, config);
                    bound.is_some_and(|bound| asked.next().is_some_and(|segment| *segment == bound))
                }
                Segment::Rest(from) => {
                    let rest = reference.and_then(|reference| reference.path.get(*from..)).unwrap_or_default();
                    !rest.is_empty() && rest.iter().all(|word| !word.is_empty() && asked.next() == Some(word))
                }
            };
            if !fits {
                return false;
            }
        }
        asked.next().is_none()
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path filled from the reference as far as that goes, for people.
    pub fn shown(&self, reference: Option<&Reference>, config: &Value) -> String {
        let shown = self.segments.iter().map(|segment| match segment {
            Segment::Empty => String::new(),
            Segment::Endpoint(_) => ENDPOINT_PATH.to_owned(),
            Segment::Any => "{any}".to_owned(),
            Segment::Bound(template) => {
                template.bind_for(reference, config).unwrap_or_else(|| template.as_str().to_owned())
            }
            Segment::Rest(from) => match reference.and_then(|reference| reference.path.get(*from..)) {
                Some(rest) => rest.join("/"),
                None => format!("{{ref.path.{from}..}}"),
            },
        });
        shown.map(|segment| format!("/{segment}")).collect()
    }

    /// Whether the guest, a reference or the environment has a say in it.
    pub(super) fn is_open(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Rest(_) | Segment::Any | Segment::Endpoint(_)))
    }

    fn fields(&self) -> impl Iterator<Item = RefField> {
        self.segments.iter().flat_map(|segment| match segment {
            Segment::Bound(template) => template.ref_fields().cloned().collect::<Vec<_>>(),
            Segment::Rest(from) => vec![RefField::Path(*from)],
            Segment::Empty | Segment::Any | Segment::Endpoint(_) => Vec::new(),
        })
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = &Templated> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Bound(template) => Some(template),
            Segment::Empty | Segment::Rest(_) | Segment::Any | Segment::Endpoint(_) => None,
        })
    }
}

impl OriginTemplate {
    fn parse(text: &str) -> Result<Self, InvalidRule> {
        if let Some(name) = text.strip_prefix("{discovered.").and_then(|rest| rest.strip_suffix('}')) {
            let form = Form::Discovered(name.to_owned());
            return if super::raw::is_word(name) {
                Ok(Self { text: text.to_owned(), form })
            } else {
                Err(InvalidRule::Origin)
            };
        }
        let whole = text.strip_prefix("{config.").and_then(|rest| rest.strip_suffix('}'));
        let form = match whole {
            Some(_) => {
                match Templated::parse(text).ok().as_ref().map(|t| t.placeholders().collect::<Vec<_>>()).as_deref() {
                    Some([Placeholder::Config(key)]) => Form::Config(key.clone()),
                    _ => return Err(InvalidRule::Origin),
                }
            }
            None => {
                let (secure, authority) = split_scheme(text).map_err(|_| InvalidRule::Origin)?;
                if authority == "{any}" {
                    Form::Any { secure }
                } else {
                    let template = Templated::parse(authority).map_err(|_| InvalidRule::Origin)?;
                    let holes: Vec<_> = template.placeholders().collect();
                    let speaks_of = |hole: &&Placeholder| {
                        matches!(hole, Placeholder::Config(_) | Placeholder::Ref(RefField::Authority))
                    };
                    // Without holes it must be an origin as it stands; with them, what they come to must be.
                    let literal = holes.is_empty() && Origin::of_authority(secure, authority).is_err();
                    if literal || authority.contains(['/', '?', '#', '@', '\\']) || !holes.iter().all(speaks_of) {
                        return Err(InvalidRule::Origin);
                    }
                    Form::Authority { secure, authority: template }
                }
            }
        };
        Ok(Self { text: text.to_owned(), form })
    }

    /// The origin that this reference and this config make of it. `None` if they make none, or if it
    /// is the guest's choice among the rule's hosts.
    pub fn bind(&self, reference: Option<&Reference>, config: &Value) -> Option<Origin> {
        match &self.form {
            Form::Config(key) => Origin::parse(config.get(key)?.as_str()?).ok(),
            Form::Authority { secure, authority } => {
                Origin::of_authority(*secure, &authority.bind_for(reference, config)?).ok()
            }
            Form::Endpoint(variable) => {
                Origin::parse(config.get(endpoint_key(variable))?.get("origin")?.as_str()?).ok()
            }
            Form::Discovered(name) => {
                let url = config.get(name).or_else(|| config.get(discovered_key(name)))?.as_str()?;
                Origin::of_url(url).ok().map(|(origin, _)| origin).filter(|origin| origin.secure)
            }
            Form::Any { .. } => None,
        }
    }

    /// The name of the address that it is, if an answer may tell it.
    pub fn discovered(&self) -> Option<&str> {
        match &self.form {
            Form::Discovered(name) => Some(name),
            Form::Config(_) | Form::Authority { .. } | Form::Any { .. } | Form::Endpoint(_) => None,
        }
    }

    /// The variable that holds the URL, if the environment says where it goes.
    pub fn endpoint(&self) -> Option<&str> {
        match &self.form {
            Form::Endpoint(variable) => Some(variable),
            Form::Config(_) | Form::Authority { .. } | Form::Any { .. } | Form::Discovered(_) => None,
        }
    }

    fn of_endpoint(text: &str) -> Result<Self, InvalidRule> {
        let hole = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match hole.and_then(held) {
            Some(Held::Env(variable)) => Ok(Self { text: text.to_owned(), form: Form::Endpoint(variable) }),
            _ => Err(InvalidRule::Endpoint),
        }
    }

    /// `Some(secure)` if the guest chooses among the rule's literal hosts.
    pub fn is_any(&self) -> Option<bool> {
        match self.form {
            Form::Any { secure } => Some(secure),
            Form::Config(_) | Form::Authority { .. } | Form::Endpoint(_) | Form::Discovered(_) => None,
        }
    }

    /// Whether whoever writes a reference decides where the request goes.
    pub fn follows_reference(&self) -> bool {
        self.template().is_some_and(|template| template.ref_fields().next().is_some())
    }

    /// Whether a request may go there without TLS.
    pub fn may_be_plain(&self) -> bool {
        match self.form {
            Form::Config(_) | Form::Endpoint(_) => true,
            Form::Authority { secure, .. } | Form::Any { secure } => !secure,
            Form::Discovered(_) => false,
        }
    }

    /// The key of the config that it is taken from as a whole.
    pub fn config_key(&self) -> Option<&str> {
        match &self.form {
            Form::Config(key) => Some(key),
            Form::Authority { .. } | Form::Any { .. } | Form::Endpoint(_) | Form::Discovered(_) => None,
        }
    }

    /// The origin as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn template(&self) -> Option<&Templated> {
        match &self.form {
            Form::Authority { authority, .. } => Some(authority),
            Form::Config(_) | Form::Any { .. } | Form::Endpoint(_) | Form::Discovered(_) => None,
        }
    }
}

impl CredentialUse {
    /// The header's value for a token.
    pub fn value(&self, scheme: &str, token: &str) -> String {
        let (before, after) = self.format.split_once("{token}").unwrap_or((self.format.as_str(), ""));
        // Filled in by parts, so that a token that holds `{scheme}` stays what it is.
        format!("{}{token}{}", before.replace("{scheme}", scheme), after.replace("{scheme}", scheme))
    }
}

impl HttpRule {
    /// Whether `authority`, in the form that [`Origin::authority`] gives, is one of the rule's hosts.
    pub fn admits_host(&self, authority: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(authority))
    }

    /// The addresses that it may reach under a mount or a credential for which the operator said `told`.
    /// That counts for rules that go somewhere by name; an endpoint that the environment names, and the
    /// metadata service, are where they are.
    pub fn network_under<'a>(&'a self, told: Option<&'a Network>) -> &'a Network {
        match (&self.network, told) {
            (Network::Imds | Network::Identity, _) | (_, None) => &self.network,
            (_, Some(told)) => told,
        }
    }

    /// The variable that holds the URL it goes to, if the environment says that.
    pub fn endpoint(&self) -> Option<&str> {
        self.origin.endpoint()
    }

    /// The pairs of the query that the endpoint's own URL has: a request must repeat them.
    pub fn endpoint_query(&self, config: &Value) -> Vec<(String, String)> {
        let pairs = self.endpoint().and_then(|variable| config.get(endpoint_key(variable))?.get("query")?.as_array());
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        pairs.into_iter().flatten().map(|pair| (text(pair.get(0)), text(pair.get(1)))).collect()
    }

    /// Whether it speaks of what only auth plugins' calls have.
    pub(super) fn speaks_of_acquiring(&self) -> bool {
        self.templates().flat_map(Templated::placeholders).any(Placeholder::is_of_acquiring)
    }

    /// The variables of the environment that it is filled with, beside its endpoint and what it injects.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.templates().flat_map(Templated::placeholders).filter_map(|hole| match hole {
            Placeholder::Env(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The fields of a reference that it speaks of.
    pub(super) fn ref_fields(&self) -> impl Iterator<Item = RefField> {
        self.templates()
            .flat_map(|template| template.ref_fields().cloned().collect::<Vec<_>>())
            .chain(self.allow.iter().flat_map(|route| route.path.fields()))
    }

    /// The keys of the config that it speaks of.
    pub(super) fn config_keys(&self) -> impl Iterator<Item = &str> {
        let named = self.templates().flat_map(Templated::placeholders).filter_map(Placeholder::config_key);
        named.chain(self.origin.config_key())
    }

    fn templates(&self) -> impl Iterator<Item = &Templated> {
        let allowed = self.query.values().chain(self.headers.values()).chain(self.body.values());
        let allowed = allowed.flat_map(Allowed::templates);
        let paths = self.allow.iter().flat_map(|route| route.path.templates());
        allowed.chain(paths).chain(self.origin.template()).chain(self.credential.iter().map(|c| &c.audience))
    }
}

/// How a rule stands in the lock, and how it is told.
impl HttpRule {
    /// The rule as one rule for each function and route.
    pub fn apart(&self) -> impl Iterator<Item = Self> {
        let pairs = self.on.iter().flat_map(|on| self.allow.iter().map(move |route| (*on, route.clone())));
        pairs.map(|(on, route)| Self { on: BTreeSet::from([on]), allow: BTreeSet::from([route]), ..self.clone() })
    }

    /// All fields as an inline table of TOML, in one order. The first function and route alone.
    pub fn line(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let list = |items: &mut dyn Iterator<Item = String>| {
            format!("[{}]", items.map(|item| quoted(&item)).collect::<Vec<_>>().join(", "))
        };
        let mut line = String::from("{ ");
        let endpoint = self.endpoint().is_some();
        if let (Some(on), Some(route)) = (self.on.first(), self.allow.first()) {
            let (key, what) = match endpoint {
                true => ("methods", route.method.name().to_owned()),
                false => ("allow", route.to_string()),
            };
            line += &format!("on = [{}], {key} = [{}], ", quoted(on.name()), quoted(&what));
        }
        line += &format!("{} = {}", if endpoint { "endpoint" } else { "origin" }, quoted(self.origin.as_str()));
        if !self.hosts.is_empty() {
            line += &format!(", hosts = {}", list(&mut self.hosts.iter().map(ToString::to_string)));
        }
        let table = |pairs: &mut dyn Iterator<Item = (&str, &Allowed)>| {
            let pairs = pairs.map(|(key, allowed)| match allowed {
                Allowed::Any => format!("{} = \"any\"", quoted(key)),
                Allowed::Values(values) => {
                    format!("{} = {}", quoted(key), list(&mut values.iter().map(ToString::to_string)))
                }
            });
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        };
        if !self.query.is_empty() {
            let pairs = table(&mut self.query.iter().map(|(key, allowed)| (key.as_str(), allowed)));
            line += &format!(", query = {pairs}");
        }
        if !self.headers.is_empty() {
            let mut lines = self.headers.iter().flat_map(|(name, allowed)| match allowed {
                Allowed::Any => vec![name.clone()],
                Allowed::Values(values) => values.iter().map(|value| format!("{name}: {value}")).collect(),
            });
            line += &format!(", headers = {}", list(&mut lines));
        }
        if !self.answers.is_empty() {
            line += &format!(", answers = {}", list(&mut self.answers.iter().cloned()));
        }
        if !self.body.is_empty() {
            let pairs = table(&mut self.body.iter().map(|(place, allowed)| (place.as_str(), allowed)));
            line += &format!(", body = {pairs}");
        }
        if !self.discovers.is_empty() {
            let pairs = self.discovers.iter().map(|(name, place)| format!("{name} = {}", quoted(place.as_str())));
            line += &format!(", discovers = {{ {} }}", pairs.collect::<Vec<_>>().join(", "));
        }
        if let Some(CredentialUse { audience, header, format }) = &self.credential {
            let (audience, header, format) = (quoted(audience.as_str()), quoted(header), quoted(format));
            line += &format!(", credential = {{ audience = {audience}, header = {header}, format = {format} }}");
        }
        if let Some(inject) = &self.inject {
            line += &format!(", inject = {}", inject.line());
        }
        line += &match &self.network {
            Network::Only(ranges) => format!(", network = {}", list(&mut ranges.iter().map(ToString::to_string))),
            class => format!(", network = {}", quoted(&class.to_string())),
        };
        if self.http2 {
            line += ", http2 = true";
        }
        line + " }"
    }

    /// Reads what [`HttpRule::line`] writes.
    pub fn of_line(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line {
            rule: RawRule,
        }
        let Line { rule } = toml::from_str(&format!("rule = {line}")).ok()?;
        let rule = rule.check(Function::Resolve).ok()?;
        (rule.on.len() == 1 && rule.allow.len() == 1).then_some(rule)
    }

    /// What it may do, in plain words, to follow "it".
    pub fn in_words(&self) -> String {
        let what = self.on.iter().map(|on| on.name()).collect::<Vec<_>>().join(" and ");
        let routes = self
            .allow
            .iter()
            .map(|route| format!("{} {}{}", route.method.name(), self.origin.as_str(), route.path.as_str()));
        let mut words = format!("in {what}, may send {}", routes.collect::<Vec<_>>().join(", "));
        if !self.hosts.is_empty() {
            let hosts = self.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            words += &format!(", where the host is {hosts}");
        }
        let of = |(name, allowed): (&String, &Allowed)| match allowed {
            Allowed::Any => format!("{name} of its choice"),
            Allowed::Values(values) => {
                format!("{name}={}", values.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"))
            }
        };
        for (kind, allowed) in [("query", &self.query), ("headers", &self.headers)] {
            if !allowed.is_empty() {
                words += &format!(", with {kind} {}", allowed.iter().map(of).collect::<Vec<_>>().join(", "));
            }
        }
        if !self.answers.is_empty() {
            words += &format!(", and read {}", self.answers.iter().cloned().collect::<Vec<_>>().join(", "));
        }
        if !self.body.is_empty() {
            let bound = self.body.iter().map(|(place, allowed)| of((&place.as_str().to_owned(), allowed)));
            words += &format!(", where the body has {}", bound.collect::<Vec<_>>().join(", "));
        }
        for (name, place) in &self.discovers {
            words += &format!("; where {{discovered.{name}}} is, the answer tells at {place}");
        }
        if let Some(used) = &self.credential {
            words += &format!("; the host adds a token for {} as {}", used.audience, used.header);
        }
        if let Some(inject) = &self.inject {
            words += &format!("; the host adds {}", inject.in_words());
        }
        if self.network != Network::Public {
            words += &format!("; to {} addresses", self.network);
        }
        words
    }
}

/// One `[[http]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRule {
    pub(super) on: Option<BTreeSet<Function>>,
    origin: Option<OriginTemplate>,
    /// In place of `origin` and `allow`: the very URL that a variable holds, and the methods for it.
    endpoint: Option<String>,
    #[serde(default)]
    methods: BTreeSet<MethodName>,
    #[serde(default)]
    hosts: BTreeSet<HostPattern>,
    #[serde(default)]
    allow: BTreeSet<Route>,
    #[serde(default)]
    query: BTreeMap<String, Allowed>,
    #[serde(default)]
    headers: Vec<HeaderText>,
    #[serde(default)]
    answers: BTreeSet<String>,
    #[serde(default)]
    body: BTreeMap<Pointer, Allowed>,
    #[serde(default)]
    discovers: BTreeMap<String, Pointer>,
    credential: Option<RawCredential>,
    inject: Option<RawInjection>,
    network: Option<Network>,
    #[serde(default)]
    http2: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawCredential {
    audience: Templated,
    #[serde(default = "authorization")]
    header: String,
    #[serde(default = "bearer")]
    format: String,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct MethodName(Method);

fn parse_method(text: &str) -> Result<MethodName, InvalidRule> {
    Method::parse(text).map(MethodName).ok_or(InvalidRule::Route)
}

struct HeaderText {
    name: String,
    value: Option<Templated>,
}

fn authorization() -> String {
    "authorization".to_owned()
}

fn bearer() -> String {
    "{scheme} {token}".to_owned()
}

impl RawRule {
    /// Checks what the types alone cannot. Gives the key at fault and why.
    pub(super) fn check(self, default: Function) -> Result<HttpRule, (&'static str, String)> {
        let wrong = |key, why: &dyn fmt::Display| Err((key, why.to_string()));
        let on = self.on.unwrap_or_else(|| BTreeSet::from([default]));
        if on.is_empty() {
            return wrong("on", &"names no function");
        }
        let (origin, allow) = match (self.origin, self.endpoint) {
            (Some(origin), None) if self.methods.is_empty() => (origin, self.allow),
            (Some(_), None) => return wrong("methods", &"goes with `endpoint` alone"),
            (None, Some(text)) => {
                let origin = match OriginTemplate::of_endpoint(&text) {
                    Ok(origin) => origin,
                    Err(why) => return wrong("endpoint", &why),
                };
                if !self.allow.is_empty() || self.credential.is_some() || self.methods.is_empty() {
                    return wrong("endpoint", &"needs `methods`, and goes with neither `allow` nor `credential`");
                }
                let variable = origin.endpoint().unwrap_or_default().to_owned();
                let path = PathTemplate { text: ENDPOINT_PATH.to_owned(), segments: vec![Segment::Endpoint(variable)] };
                let routes = self.methods.into_iter().map(|MethodName(method)| Route { method, path: path.clone() });
                (origin, routes.collect())
            }
            (Some(_), Some(_)) | (None, None) => {
                return wrong("origin", &"is missing, or `endpoint` stands beside it: a rule has one of them");
            }
        };
        if allow.is_empty() || allow.len() > super::raw::MAX_ITEMS {
            return wrong("allow", &"must hold 1 to 32 routes");
        }
        let network = self.network.unwrap_or(match origin.endpoint() {
            Some(_) => Network::Identity,
            None => Network::Public,
        });
        let fits = match origin.endpoint() {
            None => network != Network::Identity,
            // Where the environment says it is on this machine; or anywhere among hosts that are written.
            Some(_) => (network == Network::Identity) == self.hosts.is_empty() && network != Network::Imds,
        };
        if !fits {
            return wrong("network", &"is \"identity\" for an `endpoint` without `hosts`, and for nothing else");
        }
        for (key, length) in [
            ("hosts", self.hosts.len()),
            ("query", self.query.len()),
            ("headers", self.headers.len()),
            ("answers", self.answers.len()),
            ("body", self.body.len()),
            ("discovers", self.discovers.len()),
        ] {
            if length > super::raw::MAX_ITEMS {
                return wrong(key, &"must hold at most 32");
            }
        }
        if origin.is_any().is_some() && (self.hosts.is_empty() || self.hosts.iter().any(HostPattern::is_wild)) {
            return wrong("hosts", &"must be literal hosts, for the plugin chooses among them");
        }
        if origin.follows_reference() && self.hosts.is_empty() {
            return wrong("hosts", &"must say what the reference's host may be");
        }
        if origin.discovered().is_some() && self.hosts.is_empty() {
            return wrong("hosts", &"must say what a host that an answer tells may be");
        }
        if let Err((key, why)) = check_places(&self.body, &self.discovers, &allow) {
            return wrong(key, &why);
        }
        let implied = if origin.may_be_plain() { ":80" } else { ":443" };
        let whole = origin.config_key().is_some() || origin.endpoint().is_some();
        if !whole && self.hosts.iter().any(|host| host.as_str().ends_with(implied)) {
            return wrong("hosts", &"must leave out the port that the scheme means: a host with it is never met");
        }
        if self.query.keys().any(|key| key.is_empty() || key.len() > 128 || key.chars().any(char::is_control)) {
            return wrong("query", &"has a key that is empty, too long or not printable");
        }
        let mut headers: BTreeMap<String, Allowed> = BTreeMap::new();
        for HeaderText { name, value } in self.headers {
            if let Err(why) = guest_header(&name) {
                return wrong("headers", &why);
            }
            match (headers.get_mut(&name), value) {
                (Some(Allowed::Values(values)), Some(value)) if !values.contains(&value) => drop(values.insert(value)),
                (None, Some(value)) => drop(headers.insert(name, Allowed::Values(BTreeSet::from([value])))),
                (None, None) => drop(headers.insert(name, Allowed::Any)),
                (Some(_), _) => return wrong("headers", &"names a header twice"),
            }
        }
        if !self.body.is_empty() && headers.contains_key("content-encoding") {
            return wrong("headers", &"names content-encoding, and `body` speaks of what is sent as it is");
        }
        for name in &self.answers {
            if let Err(why) = guest_header(name) {
                return wrong("answers", &why);
            }
        }
        let credential = match self.credential {
            None => None,
            Some(raw) => {
                let header = raw.header.to_ascii_lowercase();
                let own = header == "authorization" || guest_header(&header).is_ok() && !ALWAYS.contains(&&*header);
                if !own {
                    return wrong("credential", &"must name a header that can carry a credential");
                }
                if headers.contains_key(&header) || self.answers.contains(&header) {
                    return wrong("credential", &"names a header that the plugin could set or read");
                }
                if !is_format(&raw.format) {
                    return wrong("credential", &InvalidRule::Format);
                }
                if matches!(origin.form, Form::Authority { secure: false, .. } | Form::Any { secure: false }) {
                    return wrong("credential", &"is added on https alone");
                }
                let wild = self.hosts.iter().any(HostPattern::is_wild);
                if wild && raw.audience.placeholders().next().is_none() && Origin::parse(raw.audience.as_str()).is_err()
                {
                    return wrong(
                        "credential",
                        &"must have an https origin as its audience, where `hosts` has a wildcard",
                    );
                }
                Some(CredentialUse { audience: raw.audience, header, format: raw.format })
            }
        };
        let inject = match self.inject.map(RawInjection::check) {
            None => None,
            Some(Ok(inject)) => Some(inject),
            Some(Err(why)) => return wrong("inject", &why),
        };
        if let Some(inject) = &inject {
            let header = inject.header.as_ref().map(|(name, _)| name);
            if header.is_some_and(|name| headers.contains_key(name) || self.answers.contains(name)) {
                return wrong("inject", &"names a header that the plugin could set or read");
            }
            if !inject.form.is_empty() && !allow.iter().all(|route| route.method == Method::Post) {
                return wrong("inject", &"fills the form of a POST");
            }
            let plain = matches!(origin.form, Form::Authority { secure: false, .. } | Form::Any { secure: false });
            if plain && !network.is_near() {
                return wrong("inject", &"adds to https alone");
            }
            if !inject.form.is_empty() && !self.body.is_empty() {
                return wrong("inject", &"fills a form, and `body` says that JSON is sent");
            }
            if credential.is_some() {
                return wrong("inject", &"stands beside `credential`: a rule adds one or the other");
            }
        }
        Ok(HttpRule {
            on,
            origin,
            hosts: self.hosts,
            allow,
            query: self.query,
            headers,
            answers: self.answers,
            body: self.body,
            discovers: self.discovers,
            credential,
            inject,
            network,
            http2: self.http2,
        })
    }
}

/// Checks what a rule says of its requests' bodies and of its answers.
fn check_places(
    body: &BTreeMap<Pointer, Allowed>,
    discovers: &BTreeMap<String, Pointer>,
    allow: &BTreeSet<Route>,
) -> Result<(), (&'static str, &'static str)> {
    if body.values().any(|allowed| *allowed == Allowed::Any) {
        return Err(("body", "must list values: what it does not speak of is the plugin's choice"));
    }
    // Two places of many texts each could be paired as no reference pairs them.
    if body.keys().filter(|place| place.is_many()).count() > 1 {
        return Err(("body", "must have at most one place with a `*`"));
    }
    if !body.is_empty() && !allow.iter().all(|route| route.method.may_have_body()) {
        return Err(("body", "goes with methods that have one"));
    }
    if !discovers.keys().all(|name| super::raw::is_word(name)) || discovers.values().any(Pointer::is_many) {
        return Err(("discovers", "must be names (a-z, 0-9, _), each with one place in the answer, without `*`"));
    }
    Ok(())
}

/// Whether a rule can list a header of this name, in lower case, at all.
pub fn is_listable(name: &str) -> bool {
    guest_header(name).is_ok()
}

/// A header that a guest may be let set or read.
fn guest_header(name: &str) -> Result<(), InvalidRule> {
    let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(token) {
        return Err(InvalidRule::Header);
    }
    if NEVER.contains(&name) { Err(InvalidRule::ForbiddenHeader) } else { Ok(()) }
}

fn is_format(format: &str) -> bool {
    let rest = format.replacen("{token}", "", 1).replacen("{scheme}", "", 1);
    format.contains("{token}") && format.len() <= 128 && is_plain(&rest) && !rest.contains(['{', '}'])
}

fn parse_route(text: &str) -> Result<Route, InvalidRule> {
    let (method, path) = text.split_once(' ').ok_or(InvalidRule::Route)?;
    Ok(Route { method: Method::parse(method).ok_or(InvalidRule::Route)?, path: PathTemplate::parse(path)? })
}

fn parse_header(text: &str) -> Result<HeaderText, InvalidRule> {
    let (name, value) = match text.split_once(": ") {
        Some((name, value)) => (name, Some(Templated::parse(value).map_err(|_| InvalidRule::Header)?)),
        None => (text, None),
    };
    Ok(HeaderText { name: name.to_ascii_lowercase(), value })
}

macro_rules! from_text {
    ($($type:ty: $parse:path),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    )*};
}

from_text!(
    Route: parse_route,
    PathTemplate: PathTemplate::parse,
    MethodName: parse_method,
    OriginTemplate: OriginTemplate::parse,
    HeaderText: parse_header
);

impl<'de> Deserialize<'de> for Allowed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AllowedVisitor;

        impl<'de> Visitor<'de> for AllowedVisitor {
            type Value = Allowed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"any\", or a list of values")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Allowed, E> {
                if text == "any" { Ok(Allowed::Any) } else { Err(E::custom(InvalidRule::Values)) }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Allowed, A::Error> {
                let mut values = BTreeSet::new();
                while let Some(value) = items.next_element::<Templated>()? {
                    values.insert(value);
                }
                if values.is_empty() || values.len() > super::raw::MAX_ITEMS {
                    return Err(de::Error::custom(InvalidRule::Values));
                }
                Ok(Allowed::Values(values))
            }
        }

        deserializer.deserialize_any(AllowedVisitor)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.name(), self.path.text)
    }
}
