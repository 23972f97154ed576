//! Metadata: names, and what is known of a secret's versions. Never a value.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use strongroom::{Failure, Kind, Reference};
use strongroom_core::policy::Operation;

use super::answer::{self, Answered, Refused, bad};
use super::data::is_group;
use super::history::{History, Version};
use crate::doors::body;
use crate::doors::query::Query;
use crate::gate::{Call, Change};

/// The body of a change. What cannot be kept is refused where it asks for more than there is.
#[derive(Deserialize)]
struct Settings {
    custom_metadata: Option<BTreeMap<String, Option<String>>>,
    max_versions: Option<serde_json::Value>,
    cas_required: Option<bool>,
    delete_version_after: Option<String>,
}

/// Whether a request for metadata asks for names.
pub(super) fn is_listing(query: Option<&str>) -> bool {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(name, value)| name == "list" && value == "true")
}

/// The names at a scope. A name that ends in a slash has names below it.
pub(super) async fn list(call: &Call, scope: &Reference, query: Option<&str>) -> Answered {
    let query = Query::parse(query, &["list", "after", "limit"])?;
    let limit = match query.get("limit") {
        None | Some("") => None,
        Some(text) => Some(text.parse::<i64>().map_err(|_| bad("`limit` is a whole number"))?),
    };
    let page = match call.list(scope, false).await {
        Ok(page) => page,
        Err(failure) if failure.kind() == Kind::NotFound => return Ok(answer::nothing()),
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
pub(super) async fn read(call: &Call, reference: &Reference, query: Option<&str>) -> Answered {
    Query::parse(query, &["list"])?;
    let versions = match History::of(call, reference).await? {
        History::Known(versions) => versions,
        History::Missing => return Ok(answer::nothing()),
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
        "current_version": newest.map(|version| version.number),
        "custom_metadata": newest.map(|version| &version.tags).filter(|tags| !tags.is_empty()),
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
    let zero = |value: &serde_json::Value| value.as_u64() == Some(0) || value.as_str() == Some("0");
    if settings.max_versions.is_some_and(|value| !zero(&value))
        || settings.cas_required == Some(true)
        || settings.delete_version_after.is_some_and(|time| !matches!(time.as_str(), "" | "0" | "0s"))
    {
        return Err(bad(
            "max_versions, cas_required and delete_version_after cannot be set here: the mount's config decides",
        ));
    }
    let Some(custom) = settings.custom_metadata else { return Ok(answer::done()) };
    if is_group(reference) {
        return Err(bad("a group of keys has metadata of its own: keys://{group}/metadata/{name}"));
    }
    let mut attributes: BTreeMap<String, String> =
        custom.into_iter().map(|(tag, text)| (format!("tags.{tag}"), text.unwrap_or_default())).collect();
    if !merge {
        // What is not named any more goes.
        let known = match History::of(call, reference).await? {
            History::Known(versions) => versions.last().map(|newest| newest.tags.clone()).unwrap_or_default(),
            History::Unversioned => only(call, reference).await?.tags,
            History::Missing => return Ok(answer::nothing()),
            History::Untold => return Err(denied()),
        };
        for tag in known.into_keys() {
            attributes.entry(format!("tags.{tag}")).or_default();
        }
    }
    call.change(reference, Change::Annotate { attributes: attributes.into_iter().collect() }).await?;
    Ok(answer::done())
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
