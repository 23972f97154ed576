//! The operations, each as the gate's own and in Key Vault's words.

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use strongroom::{Entry, Failure, Kind, Text, Value};
use strongroom_core::policy::Operation;

use super::answer::{self, About, Bundle};
use super::request::{Asked, New, State, is_name, is_version, missing};
use crate::doors::answer::{is_stale, mark_stale};
use crate::gate::Change;

/// A failure about a name: that it is not there is said in Key Vault's words.
fn about(name: &str, version: Option<&str>) -> impl Fn(Failure) -> Failure {
    move |failure| match failure.kind() {
        Kind::NotFound => missing(name, version),
        _ => failure,
    }
}

/// As [`about`], of a deleted secret.
fn about_deleted(name: &str) -> impl Fn(Failure) -> Failure {
    move |failure| match failure.kind() {
        Kind::NotFound => no_deleted(name),
        _ => failure,
    }
}

fn no_deleted(name: &str) -> Failure {
    Failure::new(Kind::NotFound, "keyvault.secret", format!("Deleted Secret not found: {name}"))
}

pub(super) async fn get(asked: &Asked<'_>, name: &str, version: Option<&str>) -> Result<Response, Failure> {
    let reference = asked.version(name, version)?;
    let secret = asked.call.resolve_one(&reference).await.map_err(about(name, version))?;
    let Some(value) = secret.expose_text() else {
        let message = "the value is not text, and a vault has no other; other doors give it";
        return Err(Failure::new(Kind::Unsupported, "keyvault.binary", message));
    };
    let known = &secret.metadata;
    let mut about = About::of(&known.attributes);
    about.content_type = known.content_type.as_ref().map(Text::as_str).or(about.content_type);
    about.attributes.exp = known.expires_at.or(about.attributes.exp);
    let id = asked.id("secrets", name, known.version.as_ref().map(Text::as_str).or(version));
    let mut response = answer::bundle(&Bundle { value: Some(value), ..Bundle::new(id, about) });
    if is_stale(known) {
        mark_stale(&mut response);
    }
    Ok(response)
}

pub(super) async fn set(asked: &Asked<'_>, name: &str, headers: &HeaderMap, body: Body) -> Result<Response, Failure> {
    let reference = asked.secret(name)?;
    let new = New::read(headers, body, true).await?;
    let value = new.value.as_ref().map(|value| value.as_str()).unwrap_or_default();
    let change = Change::Set { value: Value::text(value), attributes: new.attributes(), expected: None };
    let receipt = asked.call.change(&reference, change).await?;
    let about = written(&receipt.attributes, &new);
    let id = asked.id("secrets", name, receipt.version.as_ref().map(Text::as_str));
    Ok(answer::bundle(&Bundle { value: Some(value), ..Bundle::new(id, about) }))
}

/// What is known of what was just written: what the mount tells, or else what was asked for.
fn written<'a>(told: &'a [(Text, Text)], new: &'a New) -> About<'a> {
    let mut about = About::of(told);
    if told.is_empty() {
        let State { enabled, nbf, exp } = new.state();
        about.content_type = new.content_type.as_deref();
        about.tags = new.tags.iter().flatten().map(|(tag, text)| (tag.as_str(), text.as_str())).collect();
        about.attributes.enabled = enabled.unwrap_or(true);
        about.attributes.nbf = nbf;
        about.attributes.exp = exp;
    }
    about
}

/// What is absent keeps its state, but tags are replaced as a whole: the mounts change them one by one.
pub(super) async fn update(
    asked: &Asked<'_>,
    name: &str,
    version: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let reference = asked.version(name, version)?;
    let new = New::read(headers, body, false).await?;
    // Tags must not stay behind unseen: who may not ask for them is refused before anything is changed.
    if new.tags.is_some() && !asked.call.may(&reference, Operation::Metadata) {
        let message = "to replace tags, the operation `metadata` is needed, too";
        return Err(Failure::new(Kind::PolicyDenied, "policy.denied", message));
    }
    let change = Change::Annotate { attributes: new.attributes() };
    let mut receipt = asked.call.change(&reference, change).await.map_err(about(name, version))?;
    if receipt.attributes.is_empty() {
        match look_up(asked, name, receipt.version.as_ref()).await {
            Ok(attributes) => receipt.attributes = attributes,
            // Who may write and not ask is told what they wrote.
            Err(failure) if new.tags.is_some() => return Err(about(name, version)(failure)),
            Err(_) => {}
        }
    }
    if let Some(tags) = &new.tags {
        let stays = |key: &Text| key.as_str().strip_prefix("tags.").is_none_or(|tag| tags.contains_key(tag));
        let left: Vec<(String, String)> = receipt
            .attributes
            .iter()
            .filter(|(key, _)| !stays(key))
            .map(|(key, _)| (key.as_str().to_owned(), String::new()))
            .collect();
        receipt.attributes.retain(|(key, _)| stays(key));
        if !left.is_empty() {
            let change = Change::Annotate { attributes: left };
            asked.call.change(&reference, change).await.map_err(about(name, version))?;
        }
    }
    let id = asked.id("secrets", name, receipt.version.as_ref().map(Text::as_str).or(version));
    Ok(answer::bundle(&Bundle::new(id, written(&receipt.attributes, &new))))
}

/// What is known of a version, from the list of them.
async fn look_up(asked: &Asked<'_>, name: &str, version: Option<&Text>) -> Result<Vec<(Text, Text)>, Failure> {
    let versions = asked.call.versions(&asked.secret(name)?).await?;
    let same = |entry: &&Entry| version.is_some_and(|version| entry.name == version.as_str());
    let found = versions.entries.iter().find(same);
    found.map(|entry| entry.attributes.clone()).ok_or_else(|| missing(name, version.map(Text::as_str)))
}

pub(super) async fn versions(asked: &Asked<'_>, name: &str) -> Result<Response, Failure> {
    let versions = asked.call.versions(&asked.secret(name)?).await.map_err(about(name, None))?;
    let there = |entry: &Entry| is_version(&entry.name) && About::of(&entry.attributes).is_there();
    let all: Vec<_> = versions.entries.into_iter().filter(there).collect();
    // In the mount's own order. A version that is gone meanwhile was the last that is told.
    let start = match &asked.after {
        None => 0,
        Some(last) => all.iter().position(|entry| entry.name == *last).map_or(all.len(), |at| at + 1),
    };
    let (shown, next) = asked.page(all.get(start..).unwrap_or_default(), &format!("secrets/{name}/versions"));
    let shown: Vec<_> = shown
        .iter()
        .map(|entry| Bundle::new(asked.id("secrets", name, Some(&entry.name)), About::of(&entry.attributes)))
        .collect();
    Ok(answer::page(&shown, next))
}

/// All names that can be told, in order.
async fn names(asked: &Asked<'_>, deleted: bool) -> Result<Vec<Entry>, Failure> {
    let mut names = match asked.call.list(&asked.scope, deleted).await {
        Ok(page) => page.entries,
        // A vault in which nothing is yet is an empty one; what stands behind it may only come with its first secret.
        Err(failure) if failure.kind() == Kind::NotFound => Vec::new(),
        Err(failure) => return Err(failure),
    };
    names.retain(|entry| is_name(&entry.name) && (deleted || About::of(&entry.attributes).is_there()));
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

pub(super) async fn list(asked: &Asked<'_>, deleted: bool) -> Result<Response, Failure> {
    let all = names(asked, deleted).await?;
    let collection = if deleted { "deletedsecrets" } else { "secrets" };
    let start = asked.after.as_ref().map_or(0, |last| all.partition_point(|entry| entry.name <= *last));
    let (shown, next) = asked.page(all.get(start..).unwrap_or_default(), collection);
    let shown: Vec<_> = shown.iter().map(|entry| listed(asked, entry, deleted)).collect();
    Ok(answer::page(&shown, next))
}

fn listed<'a>(asked: &Asked<'_>, entry: &'a Entry, deleted: bool) -> Bundle<'a> {
    let id = asked.id("secrets", &entry.name, None);
    let recovery_id = deleted.then(|| asked.id("deletedsecrets", &entry.name, None));
    Bundle { recovery_id, ..Bundle::new(id, About::of(&entry.attributes)) }
}

pub(super) async fn delete(asked: &Asked<'_>, name: &str) -> Result<Response, Failure> {
    let receipt = asked.call.change(&asked.secret(name)?, Change::Delete).await.map_err(about(name, None))?;
    let about = About::of(&receipt.attributes);
    // Without it the client knows that this was the end.
    let recovery_id = about.is_recoverable().then(|| asked.id("deletedsecrets", name, None));
    let id = asked.id("secrets", name, receipt.version.as_ref().map(Text::as_str));
    Ok(answer::bundle(&Bundle { recovery_id, ..Bundle::new(id, about) }))
}

pub(super) async fn deleted(asked: &Asked<'_>, name: &str) -> Result<Response, Failure> {
    asked.secret(name)?;
    let all = names(asked, true).await?;
    let entry = all.iter().find(|entry| entry.name == name).ok_or_else(|| no_deleted(name))?;
    Ok(answer::bundle(&listed(asked, entry, true)))
}

pub(super) async fn recover(asked: &Asked<'_>, name: &str) -> Result<Response, Failure> {
    let receipt = asked.call.change(&asked.secret(name)?, Change::Recover).await.map_err(about_deleted(name))?;
    let id = asked.id("secrets", name, receipt.version.as_ref().map(Text::as_str));
    Ok(answer::bundle(&Bundle::new(id, About::of(&receipt.attributes))))
}

pub(super) async fn purge(asked: &Asked<'_>, name: &str) -> Result<Response, Failure> {
    asked.call.change(&asked.secret(name)?, Change::Purge).await.map_err(about_deleted(name))?;
    Ok(answer::nothing())
}
