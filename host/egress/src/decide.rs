//! The decision over one request: pure, total, and the only one there is.
//!
//! It is made from the parts of the request as they were delivered, together with the function that
//! runs and the references it runs for. A request is allowed if one rule of the plugin, filled from
//! one reference of the call, fits all of it. What leaves is built from the decision, not from what
//! the guest wrote. Nothing here may look at the network, the clock or the environment.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;
use strongroom_core::manifest::http::{ALWAYS, Method, is_listable};
use strongroom_core::manifest::{Function, HttpRule};
use strongroom_core::{HostPattern, Network, Origin, Reference, Text};

use crate::body;
use crate::inject::Holdings;
use crate::target::{InvalidTarget, Target};

/// What a call may ask for: made by the host before the call, from what the operator accepted.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The function that runs.
    pub function: Function,
    /// The references it runs for.
    pub references: Arc<[Reference]>,
    /// The mount's config.
    pub config: Arc<Value>,
    /// The rules of the plugin's manifest.
    pub rules: Arc<[HttpRule]>,
    /// The mount's `hosts`: where a credential may be sent, if the reference says where that is.
    pub hosts: Arc<[HostPattern]>,
    /// The mount's `network`, in place of the rules' own.
    pub network: Option<Network>,
    /// What the host may add to an auth plugin's requests. A rule that adds what is not there is not in
    /// force.
    pub holdings: Arc<Holdings>,
}

/// A request as the guest's bindings delivered it. Its `Debug` does not show the body.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The method's token.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port.
    pub authority: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, scheme, authority, target, headers, body } = self;
        let mut shown = f.debug_struct("Asked");
        shown.field("method", method).field("scheme", scheme).field("authority", authority).field("target", target);
        shown.field("headers", headers).field("body", &body.len()).finish()
    }
}

/// A request that may be sent, and by which right.
#[derive(Debug, Clone)]
pub struct Approved {
    /// The rule's place among the rules.
    pub rule: usize,
    /// The reference's place among the references; `None` if the call has none.
    pub reference: Option<usize>,
    /// Where it goes.
    pub origin: Origin,
    /// What addresses that may have.
    pub network: Network,
    /// The method.
    pub method: Method,
    /// Path and query, written anew.
    pub target: String,
    /// The guest's headers. Framing and host are the sender's, the credential is the injector's.
    pub headers: HeaderMap,
    /// The resource that the injected token is for, if the rule has a credential.
    pub audience: Option<String>,
    /// Whether to speak HTTP/2.
    pub http2: bool,
}

/// How far a request came before it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is no request that could be allowed at all.
    Form,
    /// No rule serves this function.
    Function,
    /// No rule goes to this scheme, host and port.
    Origin,
    /// The rule goes there, but its `hosts` do not.
    Host,
    /// No route has this method and path for a reference of this call.
    Route,
    /// The query has a key or a value that the rule does not list.
    Query,
    /// A header, or its value, is not one that the rule lists.
    Header,
    /// The body names something else than the references of this call.
    Body,
    /// The rule's credential may not be sent there.
    Credential,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// How far it came.
    pub stage: Stage,
    /// What is in the way, in words.
    pub why: Text,
    /// The one line that would allow it, and where it belongs; `None` if nothing would.
    pub advice: Option<Text>,
}

impl Refused {
    fn form(why: impl ToString) -> Self {
        Self { stage: Stage::Form, why: Text::new(why.to_string()), advice: None }
    }

    pub(crate) fn at(stage: Stage, why: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { stage, why: Text::new(why.into()), advice: Some(Text::new(advice.into())) }
    }
}

/// The most headers of a request, and the longest value of one, in bytes.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 8 << 10;

/// Decides over one request.
///
/// # Errors
/// [`Refused`], by the rule and reference that came furthest.
pub fn decide(terms: &Terms, asked: &Asked<'_>) -> Result<Approved, Refused> {
    let secure = match asked.scheme {
        "https" => true,
        "http" => false,
        _ => return Err(Refused::form("its scheme is neither http nor https")),
    };
    let origin = Origin::of_authority(secure, asked.authority).map_err(Refused::form)?;
    // With `//` in it, a path can only be the very one that an endpoint of the environment has.
    let (target, doubled) = match Target::parse(asked.target) {
        Ok(target) => (target, None),
        Err(why @ InvalidTarget::EmptySegment) => {
            (Target::parse_endpoint(asked.target).map_err(Refused::form)?, Some(why))
        }
        Err(why) => return Err(Refused::form(why)),
    };
    let method =
        Method::parse(asked.method).ok_or_else(|| Refused::form("its method is none that a rule can allow"))?;
    if !asked.body.is_empty() && !method.may_have_body() {
        return Err(Refused::form("a GET or HEAD request has no body"));
    }
    let headers = plain_headers(asked.headers, &terms.rules)?;
    let mut refused: Option<Refused> = None;
    let serves =
        |rule: &HttpRule| rule.on.contains(&terms.function) && (doubled.is_none() || rule.endpoint().is_some());
    for (index, rule) in terms.rules.iter().enumerate().filter(|(_, rule)| serves(rule)) {
        // A call without references is filled from the config alone.
        let references = terms.references.iter().enumerate().map(|(at, reference)| (Some(at), Some(reference)));
        let none = terms.references.is_empty().then_some((None, None));
        let mut fitting = Vec::new();
        let mut note = |now: Refused| {
            if refused.as_ref().is_none_or(|before| now.stage > before.stage) {
                refused = Some(now);
            }
        };
        for (at, reference) in references.chain(none) {
            let request = Request { origin: &origin, target: &target, method, headers: &headers };
            match fits(terms, rule, reference, &request) {
                // A body may name several of the references that the rest fits, with one token.
                Ok(audience) if fitting.first().is_none_or(|(_, _, first)| *first == audience) => {
                    fitting.push((at, reference, audience));
                }
                Ok(_) => {}
                Err(now) => note(now),
            }
            if !fitting.is_empty() && rule.body.is_empty() {
                break;
            }
        }
        let mut chosen = 0;
        if !fitting.is_empty() && !rule.body.is_empty() {
            let references: Vec<_> = fitting.iter().map(|(_, reference, _)| *reference).collect();
            match body::speaks_of(rule, &references, &terms.config, &headers, asked.body) {
                Ok(first) => chosen = first,
                Err(now) => {
                    note(now);
                    continue;
                }
            }
        }
        if let Some((at, _, audience)) = fitting.into_iter().nth(chosen) {
            return Ok(Approved {
                rule: index,
                reference: at,
                network: rule.network_under(terms.network.as_ref()).clone(),
                method,
                target: target.to_text(),
                headers: headers_of(&headers),
                audience,
                http2: rule.http2,
                origin,
            });
        }
    }
    if let Some(why) = doubled {
        return Err(Refused::form(why));
    }
    Err(refused.unwrap_or_else(|| {
        let function = terms.function.name();
        Refused::at(
            Stage::Function,
            format!("no rule of the plugin serves `{function}`"),
            format!("in plugin.toml, an [[http]] with: on = [\"{function}\"]"),
        )
    }))
}

/// Whether a guest may set a header at all, whatever the rules list: the first of two checks, made
/// as the guest sets it.
pub fn is_reserved(name: &HeaderName, rules: &[HttpRule]) -> bool {
    let listed = |rule: &HttpRule| rule.headers.contains_key(name.as_str());
    is_injected(name, rules) || !(ALWAYS.contains(&name.as_str()) || rules.iter().any(listed))
}

fn is_injected(name: &HeaderName, rules: &[HttpRule]) -> bool {
    rules.iter().any(|rule| {
        let credential = rule.credential.as_ref().map(|used| used.header.as_str());
        let injected = rule.inject.as_ref().and_then(|inject| inject.header.as_ref()).map(|(name, _)| name.as_str());
        credential == Some(name.as_str()) || injected == Some(name.as_str())
    })
}

struct Request<'a> {
    origin: &'a Origin,
    target: &'a Target,
    method: Method,
    headers: &'a [(String, String)],
}

/// Whether `rule`, filled from `reference`, fits the request. Gives the audience of its credential.
fn fits(
    terms: &Terms,
    rule: &HttpRule,
    reference: Option<&Reference>,
    request: &Request<'_>,
) -> Result<Option<String>, Refused> {
    let Request { origin, target, method, headers } = request;
    let config = &*terms.config;
    let authority = origin.authority();
    let there = match rule.origin.is_any() {
        Some(secure) => secure == origin.secure && rule.admits_host(&authority) && !rule.hosts.is_empty(),
        None => rule.origin.bind(reference, config).as_ref() == Some(*origin),
    };
    if !there {
        return Err(Refused::at(
            Stage::Origin,
            format!("no rule for this call goes to {origin}"),
            format!("in plugin.toml, an [[http]] with: origin = \"{origin}\""),
        ));
    }
    if !rule.admits_host(&authority) {
        return Err(Refused::at(
            Stage::Host,
            match rule.origin.discovered() {
                None => format!("{authority} is none of the rule's hosts"),
                Some(name) => format!("the address of {name} is at {authority}, which is none of the rule's hosts"),
            },
            format!("in that rule of plugin.toml: hosts = [\"{authority}\"]"),
        ));
    }
    if rule.origin.follows_reference() && !terms.hosts.is_empty() && !admits(&terms.hosts, &authority) {
        return Err(Refused::at(
            Stage::Host,
            format!("{authority} is none of the mount's hosts"),
            format!("in the mount: hosts = [\"{authority}\"]"),
        ));
    }
    let routed = |route: &strongroom_core::manifest::http::Route| {
        route.method == *method && route.path.admits(&target.segments, reference, config)
    };
    if !rule.allow.iter().any(routed) {
        let path = Target { segments: target.segments.clone(), query: Vec::new() }.to_text();
        let (method, function) = (method.name(), terms.function.name());
        return Err(Refused::at(
            Stage::Route,
            format!("no route of the rule is {method} {path}, in `{function}` and for the references of this call"),
            format!("in that rule of plugin.toml, with the holes it needs: allow = [{}]", route_of(method, target)),
        ));
    }
    let mut own = rule.endpoint_query(config);
    for (key, value) in &target.query {
        if let Some(at) = own.iter().position(|pair| (&pair.0, &pair.1) == (key, value)) {
            own.remove(at);
            continue;
        }
        if !rule.query.get(key).is_some_and(|allowed| allowed.admits(value, reference, config)) {
            return Err(Refused::at(
                Stage::Query,
                format!("the rule does not list this value of the query key {key}"),
                format!("in that rule of plugin.toml: query = {{ {} = [...] }}", Value::from(key.as_str())),
            ));
        }
    }
    if let Some((key, _)) = own.first() {
        return Err(Refused::at(
            Stage::Query,
            format!("the endpoint's own query key {key} is missing"),
            "repeat the whole URL of the endpoint".to_owned(),
        ));
    }
    for (name, value) in *headers {
        let listed = rule.headers.get(name).map(|allowed| allowed.admits(value, reference, config));
        if !listed.unwrap_or_else(|| ALWAYS.contains(&name.as_str())) {
            return Err(Refused::at(
                Stage::Header,
                format!("the rule does not list the header {name} with this value"),
                format!("in that rule of plugin.toml, alone or with its value: headers = [\"{name}\"]"),
            ));
        }
    }
    if let Some(inject) = &rule.inject {
        if !terms.holdings.fill(inject) {
            return Err(Refused::at(
                Stage::Credential,
                "the rule adds what the credential does not have",
                "in the credential, under `sealed`: what plugin.toml says as {sealed.*} in `inject`",
            ));
        }
        if !origin.secure && !rule.network.is_near() {
            return Err(Refused::at(
                Stage::Credential,
                "what the rule adds is sent over https alone",
                "use the https address",
            ));
        }
    }
    let Some(used) = &rule.credential else { return Ok(None) };
    let refuse = |why: String, advice: String| Err(Refused::at(Stage::Credential, why, advice));
    if !origin.secure {
        return refuse(
            "a credential is sent over https alone".to_owned(),
            "use the backend's https address".to_owned(),
        );
    }
    if rule.origin.follows_reference() && !admits(&terms.hosts, &authority) {
        return refuse(
            format!("the mount does not say that its credential may be sent to {authority}"),
            format!("in the mount: hosts = [\"{authority}\"]"),
        );
    }
    let Some(audience) = used.audience.bind_text(reference, config) else {
        return refuse(
            "the audience of the rule's credential lacks what it is made of".to_owned(),
            "in the mount, under `config`: what plugin.toml says as {config.*} in `audience`".to_owned(),
        );
    };
    let by_rule = rule.hosts.iter().any(HostPattern::is_wild);
    let wild = by_rule || terms.hosts.iter().any(HostPattern::is_wild);
    // What an answer tells, neither the reference nor the plugin chooses: there the patterns are enough.
    if wild && rule.origin.discovered().is_none() && !is_suffix(&audience, origin) {
        let place = if by_rule { "in that rule of plugin.toml" } else { "in the mount" };
        return refuse(
            format!("the token is for {audience}, and {authority} is not under it"),
            format!("{place}, without a wildcard: hosts = [\"{authority}\"]"),
        );
    }
    Ok(Some(audience))
}

/// The route of a request as a manifest can hold it, quoted. What a manifest cannot say is `{any}`.
fn route_of(method: &str, target: &Target) -> String {
    let mut route = format!("{method} ");
    for segment in &target.segments {
        let sayable = segment.len() <= 128 && !segment.contains(['{', '}', '%', '?', '#']);
        let whole = Text::new(segment).as_str() == segment;
        route.push('/');
        route += if sayable && whole { segment } else { "{any}" };
    }
    Value::from(route).to_string()
}

fn admits(hosts: &[HostPattern], authority: &str) -> bool {
    hosts.iter().any(|pattern| pattern.matches(authority))
}

/// Whether the host of `audience` is that of `origin`, or a domain above it.
fn is_suffix(audience: &str, origin: &Origin) -> bool {
    let Ok(audience) = Origin::parse(audience) else { return false };
    let (above, host) = (audience.host.to_string(), origin.host.to_string());
    audience.secure && (host == above || host.strip_suffix(&above).is_some_and(|rest| rest.ends_with('.')))
}

/// The headers as names and texts: each once, none that is the host's, all visible ASCII.
fn plain_headers(headers: &HeaderMap, rules: &[HttpRule]) -> Result<Vec<(String, String)>, Refused> {
    if headers.len() > MAX_HEADERS {
        return Err(Refused::form("it has more than 64 headers"));
    }
    let mut plain: Vec<(String, String)> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        if is_reserved(name, rules) {
            let advice = format!("in the rule of plugin.toml, alone or with its value: headers = [\"{name}\"]");
            let why = format!("the header {name} is not the plugin's to set");
            let possible = is_listable(name.as_str()) && !is_injected(name, rules);
            return Err(Refused {
                advice: possible.then(|| Text::new(&advice)),
                ..Refused::at(Stage::Header, why, advice)
            });
        }
        let value = value.to_str().ok().filter(|value| value.len() <= MAX_HEADER_BYTES);
        let Some(value) = value else {
            return Err(Refused::form(format!("its header {name} is too long, or no visible ASCII")));
        };
        if plain.iter().any(|(known, _)| known == name.as_str()) {
            return Err(Refused::form(format!("it has the header {name} twice")));
        }
        plain.push((name.as_str().to_owned(), value.to_owned()));
    }
    Ok(plain)
}

/// What is sent of them: how long the body is, the sender says.
fn headers_of(plain: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(plain.len());
    for (name, value) in plain {
        let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
        if let (Ok(name), Ok(value)) = parsed
            && name != header::CONTENT_LENGTH
        {
            headers.insert(name, value);
        }
    }
    headers
}
