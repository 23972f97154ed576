//! Metadata: names, and what is known of a secret's versions. Never a value.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use strongroom::{Failure, Kind, Reference, Text};
use strongroom_core::policy::Operation;

use super::answer::{self, Answered, Refused, bad};
use super::data::is_group;
use super::history::{self, History, Version};
use crate::doors::body;
use crate::doors::query::Query;
use crate::gate::{Call, Change};

/// How much of a tag's name is repeated, in characters.
const MAX_TAG: usize = 64;

/// The body of a change. What cannot be kept is refused where it asks for more than there is. Vault reads numbers and truth from
/// text, and text from both.
#[derive(Deserialize)]
struct Settings {
    custom_metadata: Option<BTreeMap<String, serde_json::Value>>,
    max_versions: Option<serde_json::Value>,
    cas_required: Option<serde_json::Value>,
    delete_version_after: Option<serde_json::Value>,
}

/// Whether a request for metadata asks for names, in any of Go's words for that.
pub(super) fn is_listing(query: Option<&str>) -> bool {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "list" && matches!(&*value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// The names at a scope. A name that ends in a slash has names below it.
pub(super) async fn list(call: &Call, scope: &Reference, query: Option<&str>) -> Answered {
    let query = Query::of_known(query, &["after", "limit"])?;
    let limit = match query.get("limit") {
        None | Some("") => None,
        Some(text) => Some(text.parse::<i64>().map_err(|_| bad("`limit` is a whole number"))?),
    };
    let page = match call.list(scope, false).await {
        Ok(page) => page,
        // Nor is anything below what is no folder.
        Err(failure) if matches!(failure.kind(), Kind::NotFound | Kind::InvalidReference) => {
            return Ok(answer::nothing());
        }
        Err(failure) => return Err(failure.into()),
    };
    let mut names: Vec<String> = page
        .entries
        .into_iter()
        .map(|entry| {
            // A scope and a name make a whole reference, or else there is more below.
            let folder = match call.far_below(scope, &[&entry.name], false) {
                Ok(reference) => is_group(&reference),
                Err(_) => call.far_below(scope, &[&entry.name], true).is_ok(),
            };
            if folder && !entry.name.ends_with('/') { format!("{}/", entry.name) } else { entry.name }
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    if let Some(after) = query.get("after").filter(|after| !after.is_empty()) {
        names.retain(|name| name.as_str() > after);
    }
    if let Some(limit) = limit.filter(|limit| *limit > 0) {
        names.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    if names.is_empty() {
        return Ok(answer::nothing());
    }
    Ok(answer::data(call, StatusCode::OK, json!({ "keys": names }), &[]))
}

/// What is known of a secret's versions.
pub(super) async fn read(call: &Call, reference: &Reference) -> Answered {
    let mut awaited = BTreeMap::new();
    let versions = match History::of(call, reference).await? {
        History::Known(versions) => versions,
        History::Missing => {
            awaited = history::awaited(call, reference).await?;
            if awaited.is_empty() {
                return Ok(answer::nothing());
            }
            Vec::new()
        }
        History::Untold => return Err(denied()),
        History::Unversioned => vec![only(call, reference).await?],
    };
    let shown: serde_json::Map<_, _> = versions
        .iter()
        .map(|version| {
            let shown = json!({
                "created_time": answer::time(version.created),
                "deletion_time": version.deletion_time(),
                "destroyed": version.destroyed,
            });
            (version.number.to_string(), shown)
        })
        .collect();
    let (oldest, newest) = (versions.first(), versions.last());
    let updated = versions.iter().filter_map(|version| version.updated.or(version.created)).max();
    let document = json!({
        "cas_required": false,
        "created_time": answer::time(oldest.and_then(|version| version.created)),
        "current_version": newest.map_or(0, |version| version.number),
        "custom_metadata": Some(newest.map_or(&awaited, |version| &version.tags)).filter(|tags| !tags.is_empty()),
        "delete_version_after": "0s",
        "max_versions": 0,
        // KV's 0: nothing was ever left out.
        "oldest_version": oldest.map(|version| version.number).filter(|number| *number > 1).unwrap_or(0),
        "updated_time": answer::time(updated),
        "versions": shown,
    });
    Ok(answer::data(call, StatusCode::OK, document, &[]))
}

fn denied() -> Refused {
    Refused::Said(StatusCode::FORBIDDEN, "permission denied".to_owned())
}

/// The one version of a secret whose provider keeps none.
async fn only(call: &Call, reference: &Reference) -> Result<Version, Failure> {
    let known = call.metadata(reference).await?;
    let number = super::history::number_of(known.version.as_ref()).unwrap_or(1);
    Ok(Version {
        id: String::new(),
        number,
        created: answer::number(&known.attributes, "created"),
        updated: answer::number(&known.attributes, "updated"),
        deleted: None,
        destroyed: false,
        tags: answer::tags(&known.attributes),
    })
}

/// Sets the custom metadata: all of them, or with `merge` those that are named.
pub(super) async fn write(
    call: &Call,
    reference: &Reference,
    headers: &HeaderMap,
    body: Body,
    merge: bool,
) -> Answered {
    let settings: Settings = body::parse(&body::read(headers, body).await?)?;
    // What says no more than what is so anyway.
    let nothing = |value: Option<serde_json::Value>| match value {
        None | Some(serde_json::Value::Null | serde_json::Value::Bool(false)) => true,
        Some(serde_json::Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(serde_json::Value::String(text)) => {
            matches!(text.as_str(), "" | "0" | "0s" | "false" | "f" | "F" | "FALSE" | "False")
        }
        Some(_) => false,
    };
    if !nothing(settings.max_versions) || !nothing(settings.cas_required) || !nothing(settings.delete_version_after) {
        return Err(bad(
            "max_versions, cas_required and delete_version_after cannot be set here: the mount's config decides",
        ));
    }
    let Some(custom) = settings.custom_metadata else { return Ok(answer::done()) };
    if is_group(reference) {
        return Err(bad("a group of keys has metadata of its own: keys://{group}/metadata/{name}"));
    }
    let mut attributes = BTreeMap::new();
    for (tag, text) in custom {
        let text = match text {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text,
            other @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => other.to_string(),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                return Err(bad(format!("the custom metadata {} are no text", Text::capped(&tag, MAX_TAG))));
            }
        };
        attributes.insert(format!("tags.{tag}"), text);
    }
    let history = History::of(call, reference).await?;
    // They belong to the secret, whatever became of its versions, and also before there is any.
    let (known, version) = match &history {
        History::Known(_) => {
            let gone = |version: &&Version| version.deleted.is_some() || version.destroyed;
            let newest = history.newest();
            let version = newest.filter(gone).map(|version| version.id.clone());
            (newest.map(|newest| newest.tags.clone()).unwrap_or_default(), version)
        }
        History::Unversioned => (only(call, reference).await?.tags, None),
        History::Missing if history::can_await(reference) => {
            (history::awaited(call, reference).await?, Some(history::NEXT.to_owned()))
        }
        History::Missing => {
            return Err(bad("this mount keeps custom metadata with a version: write the secret first"));
        }
        History::Untold if merge => (BTreeMap::new(), None),
        History::Untold => return Err(denied()),
    };
    if !merge {
        // What is not named any more goes.
        for tag in known.into_keys() {
            attributes.entry(format!("tags.{tag}")).or_default();
        }
    }
    let at = version.and_then(|version| call.at_version(reference, &version));
    if attributes.values().all(String::is_empty) && matches!(history, History::Missing) && at.is_some() {
        // Nothing is to be kept; what waited is taken away.
        let taken = call.change(at.as_ref().unwrap_or(reference), annotate(attributes)).await;
        return match taken {
            Err(failure) if failure.kind() != Kind::NotFound => Err(failure.into()),
            _ => Ok(answer::done()),
        };
    }
    call.change(at.as_ref().unwrap_or(reference), annotate(attributes)).await?;
    Ok(answer::done())
}

fn annotate(attributes: BTreeMap<String, String>) -> Change {
    Change::Annotate { attributes: attributes.into_iter().collect() }
}

/// Ends a secret with all its versions, for good.
pub(super) async fn delete(call: &Call, reference: &Reference) -> Answered {
    if is_group(reference) {
        return Err(bad(format!(
            "{reference} is a group of keys: end its keys one by one, or the group through Strongroom"
        )));
    }
    if !call.may(reference, Operation::Purge) {
        return Err(denied());
    }
    match call.change(reference, Change::Delete).await {
        // Where nothing is kept of what is deleted, that was the end.
        Ok(receipt) if receipt.state().is_none() => return Ok(answer::done()),
        Ok(_) => {}
        // Perhaps it was deleted before, as a whole.
        Err(failure) if failure.kind() == Kind::NotFound => {}
        Err(failure) => return Err(failure.into()),
    }
    match call.change(reference, Change::Purge).await {
        Err(failure) if !matches!(failure.kind(), Kind::NotFound | Kind::Unsupported) => Err(failure.into()),
        _ => Ok(answer::done()),
    }
}
