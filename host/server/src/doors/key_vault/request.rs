//! What a request is about: the vault, the version of the interface, the page, the name; and its body.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Uri};
use serde::Deserialize;
use strongroom::{Entry, Failure, Kind, Reference, Text};
use zeroize::Zeroizing;

use crate::doors::body;
use crate::doors::query::Query;
use crate::gate::Call;
use crate::listener::Peer;

/// The versions of the interface whose secrets are alike. There is no default.
const API_VERSIONS: [&str; 10] =
    ["7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2016-10-01", "2025-07-01", "2026-04-01"];

/// The most that a client may ask for on a page, as in Azure.
const MAX_PAGE: usize = 25;

/// What is on a page where the client does not say. Azure has 25; each page here asks the mount for all names.
const PAGE: usize = 500;

/// The longest name and version, in characters.
const MAX_NAME: usize = 127;

/// A request, as far as its address tells.
pub(super) struct Asked<'c> {
    pub(super) call: &'c Call,
    /// What stands behind the vault.
    pub(super) scope: Cow<'c, Reference>,
    /// How the client reaches the vault: `https://host[:port]`.
    base: String,
    api_version: String,
    page: usize,
    asked_page: bool,
    /// The last of the page before.
    pub(super) after: Option<String>,
}

fn bad(message: impl Into<Text>) -> Failure {
    Failure::new(Kind::InvalidReference, "request.parameter", message)
}

impl<'c> Asked<'c> {
    /// # Errors
    /// `keyvault.vault` for a host that is none of the config; `request.*`.
    pub(super) fn read(call: &'c Call, peer: &Peer, uri: &Uri, headers: &HeaderMap) -> Result<Self, Failure> {
        let host = host(uri, headers)?;
        let host = host.strip_suffix(":443").unwrap_or(&host);
        let bare = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let bare = bare.map_or(host, |(name, _)| name);
        let unknown = || Failure::new(Kind::NotFound, "keyvault.vault", "there is no such vault here");
        let scope = match call.doors().vaults.find(&[host, bare]) {
            Some(scope) => Cow::Borrowed(scope),
            None if call.doors().vaults_themselves => {
                let itself = call.parse_scope(&format!("keyvault:https://{host}/secrets"));
                Cow::Owned(itself.map_err(|_| unknown())?)
            }
            None => return Err(unknown()),
        };
        let query = Query::parse(uri.query(), &["api-version", "maxresults", "$skiptoken", "outContentType"])?;
        let api_version = match query.get("api-version") {
            Some(version) if API_VERSIONS.contains(&version) => version.to_owned(),
            Some(_) => return Err(bad(format!("the api-version must be one of {}", API_VERSIONS.join(", ")))),
            None => return Err(bad("api-version must be specified")),
        };
        let page = match query.get("maxresults") {
            None => PAGE,
            Some(text) => {
                let number = text.parse().ok().filter(|number| (1..=MAX_PAGE).contains(number));
                number.ok_or_else(|| bad(format!("maxresults is 1 to {MAX_PAGE}")))?
            }
        };
        let after = match query.get("$skiptoken") {
            None => None,
            Some(token) => {
                let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                Some(text.filter(|text| is_name(text)).ok_or_else(|| bad("the $skiptoken is none of ours"))?)
            }
        };
        // Without TLS there is only this machine.
        let scheme = if matches!(peer, Peer::Loopback | Peer::Unix { .. }) { "http" } else { "https" };
        let base = format!("{scheme}://{host}");
        Ok(Self { call, scope, base, api_version, page, asked_page: query.get("maxresults").is_some(), after })
    }

    /// The secret that a client calls so. Names are Key Vault's, and may hold `_` and `.` besides: those of variables
    /// and files do.
    ///
    /// # Errors
    /// `request.name`.
    pub(super) fn secret(&self, name: &str) -> Result<Reference, Failure> {
        let wrong = || {
            let message = format!("The request URI contains an invalid name: {}", Text::capped(name, MAX_NAME));
            Failure::new(Kind::InvalidReference, "request.name", message)
        };
        if !is_name(name) {
            return Err(wrong());
        }
        self.call.below(&self.scope, name).map_err(|_| wrong())
    }

    /// That version of a secret.
    ///
    /// # Errors
    /// As [`Asked::secret`]; `keyvault.version` where there can be no such version.
    pub(super) fn version(&self, name: &str, version: Option<&str>) -> Result<Reference, Failure> {
        let reference = self.secret(name)?;
        let Some(version) = version else { return Ok(reference) };
        let found = Some(version).filter(|version| is_version(version));
        found.and_then(|version| self.call.at_version(&reference, version)).ok_or_else(|| missing(name, Some(version)))
    }

    /// An address of this vault, as its client calls it.
    pub(super) fn id(&self, collection: &str, name: &str, version: Option<&str>) -> String {
        let base = &self.base;
        match version.filter(|version| is_version(version)) {
            Some(version) => format!("{base}/{collection}/{name}/{version}"),
            None => format!("{base}/{collection}/{name}"),
        }
    }

    /// What of `rest`, the entries after [`Asked::after`], is on the page, and where the next one is.
    pub(super) fn page<'e>(&self, rest: &'e [Entry], path: &str) -> (&'e [Entry], Option<String>) {
        let (shown, more) = rest.split_at_checked(self.page).unwrap_or((rest, &[]));
        let next = shown.last().filter(|_| !more.is_empty()).map(|last| {
            let Self { base, api_version, page, asked_page, .. } = self;
            let token = URL_SAFE_NO_PAD.encode(&last.name);
            let size = if *asked_page { format!("&maxresults={page}") } else { String::new() };
            format!("{base}/{path}?api-version={api_version}&$skiptoken={token}{size}")
        });
        (shown, next)
    }
}

/// The host that the client means: one, whichever way it says so.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<String, Failure> {
    let wrong = || Failure::new(Kind::InvalidReference, "request.host", "the Host is none, or more than one");
    let told = headers.get(HOST).and_then(|host| host.to_str().ok()).ok_or_else(wrong)?;
    let told: Authority = told.parse().map_err(|_| wrong())?;
    let same = uri.authority().is_none_or(|target| target.as_str().eq_ignore_ascii_case(told.as_str()));
    if !same || told.as_str().contains('@') || told.host().is_empty() {
        return Err(wrong());
    }
    Ok(told.as_str().to_ascii_lowercase())
}

/// Whether a text can be a name here: in addresses it is what it is.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(plain) && text != "." && text != ".."
}

/// Whether a provider's version can stand in an address where it is taken for nothing else.
pub(super) fn is_version(text: &str) -> bool {
    is_name(text) && !["versions", "backup"].contains(&text)
}

/// There is no such secret, in Key Vault's own words.
pub(super) fn missing(name: &str, version: Option<&str>) -> Failure {
    let id = version.map_or_else(|| name.to_owned(), |version| format!("{name}/{version}"));
    let id = Text::capped(id, 2 * MAX_NAME + 1);
    let message = format!(
        "A secret with (name/id) {id} was not found in this key vault. If you recently deleted this secret you may be able \
         to recover it using the correct recovery command"
    );
    Failure::new(Kind::NotFound, "keyvault.secret", message)
}

/// The body of a set, and of an update, which has no value. What is absent, or null, keeps its state.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct New {
    pub(super) value: Option<Zeroizing<String>>,
    pub(super) content_type: Option<String>,
    pub(super) tags: Option<BTreeMap<String, String>>,
    pub(super) attributes: Option<State>,
}

/// What a client may set of a secret's state. The rest of it is the vault's, and is passed over as in Azure.
#[derive(Deserialize, Default, Clone, Copy)]
pub(super) struct State {
    pub(super) enabled: Option<bool>,
    pub(super) nbf: Option<u64>,
    pub(super) exp: Option<u64>,
}

impl New {
    /// # Errors
    /// `request.*`.
    pub(super) async fn read(headers: &HeaderMap, body: Body, with_value: bool) -> Result<Self, Failure> {
        let new: Self = body::json(headers, body).await?;
        if new.value.is_some() != with_value {
            return Err(bad(if with_value { "Property value is missing" } else { "Property value cannot be updated" }));
        }
        Ok(new)
    }

    /// The state that is to be.
    pub(super) fn state(&self) -> State {
        self.attributes.unwrap_or_default()
    }

    /// As the mounts' plugins call it.
    pub(super) fn attributes(&self) -> Vec<(String, String)> {
        let State { enabled, nbf, exp } = self.state();
        let known = [
            ("content-type", self.content_type.clone()),
            // A new version is enabled anyway, also where a mount cannot disable one.
            ("enabled", enabled.filter(|enabled| self.value.is_none() || !enabled).map(|enabled| enabled.to_string())),
            ("not-before", nbf.map(|time| time.to_string())),
            ("expires", exp.map(|time| time.to_string())),
        ];
        let known = known.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?)));
        let tags = self.tags.iter().flatten().map(|(tag, text)| (format!("tags.{tag}"), text.clone()));
        known.chain(tags).collect()
    }
}
