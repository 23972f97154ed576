//! Data: the values of a secret's versions, read, written, changed in part, and deleted for a while.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strongroom::{Failure, Kind, Reference, Secret, Text, Value};
use strongroom_core::policy::Operation;

use super::answer::{self, Answered, Refused, bad};
use super::history::{self, History, Shown, Version};
use super::value;
use crate::doors::answer::{is_stale, mark_stale};
use crate::doors::{body, query::Query};
use crate::gate::{Call, Change};

/// What Vault says of a version that is not the one a client expects.
const NOT_CURRENT: &str = "check-and-set parameter did not match the current version";

/// The most versions that one request names.
const MAX_VERSIONS: usize = 128;

/// Data and what is known of them.
#[derive(Serialize)]
struct Data {
    data: Option<Box<RawValue>>,
    metadata: Shown,
}

/// The body of a write. Vault passes over what it does not know, and so do we.
#[derive(Deserialize)]
struct Written {
    data: Option<Box<RawValue>>,
    /// A map, also where a client writes an empty one as a list.
    options: Option<serde_json::Value>,
}

/// A number, which some clients send as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Named {
    versions: Option<Versions>,
}

/// A list, one, or several in a text with commas.
#[derive(Deserialize)]
#[serde(untagged)]
enum Versions {
    Many(Vec<Number>),
    One(Number),
}

/// What is done to versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Delete,
    Undelete,
    Destroy,
}

impl Number {
    fn read(&self) -> Result<u64, Refused> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => text.trim().parse().map_err(|_| bad("a version is a whole number")),
        }
    }
}

/// Whether a reference is a whole group of custom keys, which is read as the map of its keys.
pub(super) fn is_group(reference: &Reference) -> bool {
    &*reference.scheme == "keys" && reference.path.len() == 1
}

fn refuse_group(reference: &Reference) -> Result<(), Refused> {
    match is_group(reference) {
        false => Ok(()),
        true => Err(bad(format!(
            "{reference} is a group of keys, and writing it as one would take away its other keys: write its keys one by one, one \
             part further down, or have a mount of this door lead to the group itself"
        ))),
    }
}

/// Reads the newest version, or the one that the query names.
pub(super) async fn read(call: &Call, reference: &Reference, query: Option<&str>) -> Answered {
    let query = Query::of_known(query, &["version"])?;
    let wanted = match query.get("version") {
        None | Some("") => None,
        Some(text) => Some(text.parse::<u64>().map_err(|_| bad("`version` is a whole number"))?).filter(|n| *n > 0),
    };
    let answer = match wanted {
        None => call.resolve_one(reference).await,
        Some(number) => match at(call, reference, number).await? {
            Some(reference) => call.resolve_one(&reference).await,
            None => return Ok(answer::nothing()),
        },
    };
    match answer {
        Ok(secret) => shown(call, reference, &secret, wanted).await,
        // A version that was named, and that is another word for the provider.
        Err(failure) if matches!(failure.kind(), Kind::NotFound | Kind::InvalidReference) && !is_group(reference) => {
            let history = History::of(call, reference).await?;
            match wanted.map_or_else(|| history.newest(), |number| history.version(number)) {
                Some(version) if version.deleted.is_some() || version.destroyed => Ok(gone(call, version)),
                Some(version) if wanted.is_some_and(|number| number.to_string() != version.id) => {
                    let Some(reference) = call.at_version(reference, &version.id) else { return Err(failure.into()) };
                    let secret = call.resolve_one(&reference).await?;
                    shown(call, &reference, &secret, wanted).await
                }
                _ => Err(failure.into()),
            }
        }
        Err(failure) => Err(failure.into()),
    }
}

/// The reference of a version; `None` if there is none like that.
async fn at(call: &Call, reference: &Reference, number: u64) -> Result<Option<Reference>, Refused> {
    // Most providers count; and one request is enough for them.
    if &*reference.scheme != "keyvault"
        && let Some(reference) = call.at_version(reference, &number.to_string())
    {
        return Ok(Some(reference));
    }
    match History::of(call, reference).await? {
        History::Unversioned => Ok(Some(reference.clone()).filter(|_| number == 1)),
        History::Untold => Err(untold("read a version by its number")),
        history => Ok(history.version(number).and_then(|version| call.at_version(reference, &version.id))),
    }
}

/// Versions are not told to this caller, and without them nothing can be said.
fn untold(what: &str) -> Refused {
    let message = format!("permission denied: to {what}, a caller needs the operation `metadata` here too");
    Refused::Said(StatusCode::FORBIDDEN, message)
}

/// A value as KV answers it.
async fn shown(call: &Call, reference: &Reference, secret: &Secret, wanted: Option<u64>) -> Answered {
    let Some(text) = secret.expose_text() else {
        return Err(bad("the value is no text, and so has no form in KV: read it through Strongroom's own interface"));
    };
    let unreadable = || Failure::new(Kind::Protocol, "vault.value", "the value cannot be written as JSON");
    let attributes = &secret.metadata.attributes;
    let mut custom = answer::tags(attributes);
    let data = if is_group(reference) {
        let group = Group::read(text).ok_or_else(unreadable)?;
        custom = group.metadata;
        group.keys
    } else {
        value::to_map(text).ok_or_else(unreadable)?
    };
    let mut warnings = Vec::new();
    let number = match wanted.or_else(|| history::number_of(secret.metadata.version.as_ref())) {
        Some(number) => number,
        None => {
            let number = number_told(call, reference, secret.metadata.version.as_ref()).await;
            if number == 0 {
                warnings.push("the number of the version is not known: a caller needs the operation `metadata` for it");
            }
            number
        }
    };
    let stale = is_stale(&secret.metadata);
    if stale {
        warnings.push("the backend cannot be reached: the value may be older than its own");
    }
    let metadata = Shown {
        created_time: answer::time(answer::number(attributes, "created")),
        custom_metadata: Some(custom).filter(|custom| !custom.is_empty()),
        deletion_time: String::new(),
        destroyed: false,
        version: number,
    };
    let mut response = answer::data(call, StatusCode::OK, Data { data: Some(data), metadata }, &warnings);
    if stale {
        mark_stale(&mut response);
    }
    Ok(response)
}

/// KV's number of a version that the provider has a word for; 0 where the caller may not know it.
async fn number_told(call: &Call, reference: &Reference, id: Option<&Text>) -> u64 {
    let Some(id) = id else { return 1 };
    if !call.may(reference, Operation::Metadata) {
        return 0;
    }
    let mut whole = reference.clone();
    whole.selectors.retain(|(key, _)| key != "version");
    let history = History::of(call, &whole).await;
    history.ok().and_then(|history| history.number_of(id.as_str())).unwrap_or_default()
}

/// A version that is deleted or destroyed, as Vault answers it.
fn gone(call: &Call, version: &Version) -> Response {
    answer::data(call, StatusCode::NOT_FOUND, Data { data: None, metadata: version.shown() }, &[])
}

/// A group of custom keys, in the document that `docs/keys.md` has of it.
struct Group {
    keys: Box<RawValue>,
    metadata: std::collections::BTreeMap<String, String>,
}

impl Group {
    fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Document {
            properties: Properties,
        }
        #[derive(Deserialize)]
        struct Properties {
            credentials: Credentials,
            #[serde(default)]
            metadata: std::collections::BTreeMap<String, String>,
        }
        #[derive(Deserialize)]
        struct Credentials {
            keys: Box<RawValue>,
        }
        let document: Document = serde_json::from_str(text).ok()?;
        Some(Self { keys: document.properties.credentials.keys, metadata: document.properties.metadata })
    }
}

/// Reads the body of a write: the map, and the version that it is to replace.
async fn written(headers: &HeaderMap, body: Body) -> Result<(Box<RawValue>, Option<u64>), Refused> {
    // Vault asks no client for a content type, and few send one.
    let written: Written = body::parse(&body::read(headers, body).await?)?;
    let data = written.data.filter(|data| data.get() != "null").ok_or_else(|| bad("no data provided"))?;
    let cas = written.options.as_ref().and_then(|options| options.get("cas"));
    let cas = match cas {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(text)) if text.is_empty() => None,
        Some(cas) => Some(Number::deserialize(cas).map_err(|_| bad("`cas` is a whole number"))?.read()?),
    };
    Ok((data, cas))
}

/// What is to be stored of a map.
fn stored(data: &RawValue) -> Result<Value, Refused> {
    let stored = value::to_store(data);
    let mut stored =
        stored.ok_or_else(|| bad("`data` must be a map in which no name stands twice, nested at most 100 deep"))?;
    Ok(Value::text(std::mem::take(&mut *stored)))
}

/// Writes a new version.
pub(super) async fn write(call: &Call, reference: &Reference, headers: &HeaderMap, body: Body) -> Answered {
    refuse_group(reference)?;
    let (data, cas) = written(headers, body).await?;
    let value = stored(&data)?;
    // Custom metadata belong to the secret in KV, and to a version behind it.
    let history = match call.may(reference, Operation::Metadata) {
        true => History::of(call, reference).await?,
        false => History::Untold,
    };
    let expected = match (cas, &history) {
        (None, _) => None,
        (Some(0), _) => Some(String::new()),
        (Some(number), History::Untold | History::Unversioned) => Some(number.to_string()),
        (Some(number), history) => match history.newest() {
            Some(newest) if newest.number == number => Some(newest.id.clone()),
            _ => return Err(bad(NOT_CURRENT)),
        },
    };
    let tags = match &history {
        History::Missing => history::awaited(call, reference).await?,
        history => history.newest().map(|newest| newest.tags.clone()).unwrap_or_default(),
    };
    set(call, reference, value, tags, expected, cas.is_some()).await
}

async fn set(
    call: &Call,
    reference: &Reference,
    value: Value,
    tags: std::collections::BTreeMap<String, String>,
    expected: Option<String>,
    conditional: bool,
) -> Answered {
    let attributes = tags.iter().map(|(tag, text)| (format!("tags.{tag}"), text.clone())).collect();
    let receipt = call.change(reference, Change::Set { value, attributes, expected }).await.map_err(|failure| {
        match failure.kind() {
            Kind::Conflict if conditional => bad(NOT_CURRENT),
            _ => failure.into(),
        }
    })?;
    let number = match history::number_of(receipt.version.as_ref()) {
        Some(number) => number,
        None => number_told(call, reference, receipt.version.as_ref()).await,
    };
    let shown = Shown {
        created_time: answer::now(),
        custom_metadata: Some(tags).filter(|tags| !tags.is_empty()),
        deletion_time: String::new(),
        destroyed: false,
        version: number,
    };
    Ok(answer::data(call, StatusCode::OK, shown, &[]))
}

/// Changes members of the newest version, as a JSON merge patch: a new version, if nobody else made one meanwhile.
pub(super) async fn patch(call: &Call, reference: &Reference, headers: &HeaderMap, body: Body) -> Answered {
    refuse_group(reference)?;
    let (data, cas) = written(headers, body).await?;
    let current = match call.resolve_one(reference).await {
        Ok(current) => current,
        Err(failure) if failure.kind() == Kind::NotFound => return Ok(answer::nothing()),
        Err(failure) => return Err(failure.into()),
    };
    let id = current.metadata.version.as_ref();
    if let Some(cas) = cas {
        let number = match history::number_of(id) {
            Some(number) => number,
            None => number_told(call, reference, id).await,
        };
        if number != cas {
            return Err(bad(NOT_CURRENT));
        }
    }
    let Some(id) = id else {
        // Nothing tells whether somebody else wrote meanwhile. Clients then read and write by themselves.
        return Err(super::answer::wrong_method());
    };
    let map = current.expose_text().and_then(value::to_map).ok_or_else(|| bad("the value is no text"))?;
    let changed = value::merged(&map, &data).ok_or_else(|| bad("`data` must be a map, nested at most 100 deep"))?;
    let tags = answer::tags(&current.metadata.attributes);
    match set(call, reference, stored(&changed)?, tags, Some(id.as_str().to_owned()), true).await {
        Err(Refused::Failure(failure)) if failure.kind() == Kind::Unsupported => Err(super::answer::wrong_method()),
        answered => answered,
    }
}

/// Deletes the newest version.
pub(super) async fn delete(call: &Call, reference: &Reference) -> Answered {
    refuse_group(reference)?;
    let history = History::of(call, reference).await?;
    match &history {
        History::Missing => Ok(answer::done()),
        History::Untold => Err(untold("delete the newest version")),
        History::Unversioned => end(call, reference, Fate::Delete).await,
        History::Known(_) => {
            let newest = history.newest().map(|version| version.number);
            decide(call, reference, &history, &newest.into_iter().collect::<Vec<_>>(), Fate::Delete).await
        }
    }
}

/// Deletes, undeletes or destroys the versions that the body names.
pub(super) async fn versions(
    call: &Call,
    reference: &Reference,
    headers: &HeaderMap,
    body: Body,
    fate: Fate,
) -> Answered {
    refuse_group(reference)?;
    let Named { versions } = body::parse(&body::read(headers, body).await?)?;
    let versions = match versions {
        None => Vec::new(),
        Some(Versions::Many(versions)) => versions,
        Some(Versions::One(Number::Text(text))) => text.split(',').map(|one| Number::Text(one.to_owned())).collect(),
        Some(Versions::One(number)) => vec![number],
    };
    if versions.is_empty() {
        return Err(bad("no version number provided"));
    }
    if versions.len() > MAX_VERSIONS {
        return Err(bad(format!("more than {MAX_VERSIONS} versions are named")));
    }
    let mut numbers = versions.iter().map(Number::read).collect::<Result<Vec<_>, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    let history = History::of(call, reference).await?;
    match &history {
        // A secret that is deleted as a whole comes back as a whole.
        History::Missing if fate == Fate::Undelete => end(call, reference, fate).await,
        History::Missing => Ok(answer::done()),
        History::Untold => Err(untold("name versions")),
        History::Unversioned if numbers == [1] => end(call, reference, fate).await,
        History::Unversioned => Ok(answer::done()),
        History::Known(_) => decide(call, reference, &history, &numbers, fate).await,
    }
}

/// Decides over versions one by one. As in Vault, those that there are not, or that need nothing, are passed over.
async fn decide(call: &Call, reference: &Reference, history: &History, numbers: &[u64], fate: Fate) -> Answered {
    let mut final_ones = false;
    for number in numbers {
        let Some(version) = history.version(*number) else { continue };
        let needed = match fate {
            Fate::Delete => version.deleted.is_none() && !version.destroyed,
            Fate::Undelete => version.deleted.is_some() && !version.destroyed,
            Fate::Destroy => !version.destroyed,
        };
        let Some(one) = call.at_version(reference, &version.id).filter(|_| needed) else { continue };
        match call.change(&one, fate.change()).await {
            Ok(receipt) => final_ones |= fate == Fate::Delete && receipt.state().is_none(),
            Err(failure) if failure.kind() == Kind::NotFound => {}
            // A backend that deletes a secret with all its versions, if that is the only thing that was meant.
            Err(failure) if failure.kind() == Kind::Unsupported => {
                let newest = history.newest().map(|version| version.number);
                return match fate {
                    Fate::Delete if numbers == newest.as_slice() => end(call, reference, fate).await,
                    _ => Err(failure.into()),
                };
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(finished(call, final_ones))
}

/// Decides over a whole secret.
async fn end(call: &Call, reference: &Reference, fate: Fate) -> Answered {
    match call.change(reference, fate.change()).await {
        Ok(receipt) => Ok(finished(call, fate == Fate::Delete && receipt.state().is_none())),
        Err(failure) if failure.kind() == Kind::NotFound => Ok(answer::done()),
        Err(failure) => Err(failure.into()),
    }
}

/// Says so where what Vault's clients expect to be able to undo is gone for good.
fn finished(call: &Call, for_good: bool) -> Response {
    match for_good {
        false => answer::done(),
        true => answer::warned(call, &["this mount keeps nothing of what is deleted: it cannot be undeleted"]),
    }
}

impl Fate {
    fn change(self) -> Change {
        match self {
            Self::Delete => Change::Delete,
            Self::Undelete => Change::Recover,
            Self::Destroy => Change::Purge,
        }
    }
}
