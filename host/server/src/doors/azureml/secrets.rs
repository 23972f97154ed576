//! The service's operations. Batches are not atomic: each name is an operation of its own, as in Azure.

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom::{Failure, Kind, Reference, Text, Value};
use strongroom_core::secret::Metadata;
use zeroize::Zeroizing;

use super::Asked;
use super::run::time;
use crate::doors::answer::json as document;
use crate::doors::body;
use crate::gate::Change;

/// What the SDK says, and is told, where nobody said a content type.
const NOT_PROVIDED: &str = "application/NotProvided";

/// The longest name, in characters.
const MAX_NAME: usize = 127;

/// The most names of one batch.
const MAX_BATCH: usize = 1024;

/// Names on one page.
const PAGE: usize = 500;

/// A secret to set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct New {
    name: String,
    value: Zeroizing<String>,
    content_type: Option<String>,
}

/// A secret that is asked for.
#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<T> {
    secrets: Vec<T>,
}

/// A secret as the service tells it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    created_time: String,
    modified_time: String,
    content_type: &'a str,
}

fn bad(message: impl Into<Text>) -> Failure {
    Failure::new(Kind::InvalidReference, "request.parameter", message)
}

/// Reads a body. The SDK calls some of its JSON a JSON patch.
async fn read<T: serde::de::DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Failure> {
    let essence = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json-patch+json") {
        return body::parse(&body::read(headers, body).await?);
    }
    body::json(headers, body).await
}

async fn batch<T: serde::de::DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<Vec<T>, Failure> {
    let Batch { secrets } = read(headers, body).await?;
    match secrets.len() {
        0..=MAX_BATCH => Ok(secrets),
        _ => Err(bad(format!("a batch has at most {MAX_BATCH} secrets"))),
    }
}

impl Asked<'_> {
    /// The secret of that name. Names are Key Vault's, and may hold `_` and `.` besides.
    fn secret(&self, name: &str) -> Result<Reference, Failure> {
        let wrong = || bad(format!("The name {} does not match ^[0-9a-zA-Z-]+$", Text::capped(name, MAX_NAME)));
        if !is_name(name) {
            return Err(wrong());
        }
        self.call.below(self.scope, name).map_err(|_| wrong())
    }
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) && name != "." && name != ".."
}

/// That a secret is not there is said in the service's words.
fn about(name: &str) -> impl Fn(Failure) -> Failure {
    move |failure| match failure.kind() {
        Kind::NotFound => {
            let message = format!("Secret not found in keyvault with name: {name}");
            Failure::new(Kind::NotFound, "azureml.secret", message)
        }
        _ => failure,
    }
}

fn told_at(attributes: &[(Text, Text)], key: &str) -> Option<u64> {
    attributes.iter().find(|(name, _)| name.as_str() == key).and_then(|(_, text)| text.as_str().parse().ok())
}

fn item<'a>(name: &'a str, value: Option<&'a str>, known: &'a Metadata) -> Item<'a> {
    let created = told_at(&known.attributes, "created");
    Item {
        name,
        value,
        created_time: time(created),
        modified_time: time(told_at(&known.attributes, "updated").or(created)),
        content_type: known.content_type.as_ref().map_or(NOT_PROVIDED, Text::as_str),
    }
}

fn binary() -> Failure {
    let message = "the value is not text, and this service has no other; other doors give it";
    Failure::new(Kind::Unsupported, "azureml.binary", message)
}

async fn set_one(asked: &Asked<'_>, new: &New) -> Result<Metadata, Failure> {
    let reference = asked.secret(&new.name)?;
    let content_type = new.content_type.clone().filter(|content_type| content_type != NOT_PROVIDED);
    let attributes = content_type.iter().map(|text| ("content-type".to_owned(), text.clone())).collect();
    let change = Change::Set { value: Value::text(new.value.as_str()), attributes, expected: None };
    let receipt = asked.call.change(&reference, change).await?;
    let content_type = content_type.map(Text::new);
    Ok(Metadata { content_type, attributes: receipt.attributes, ..Metadata::default() })
}

pub(super) async fn set(asked: &Asked<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Failure> {
    let new: New = read(headers, body).await?;
    let known = set_one(asked, &new).await?;
    Ok(document(StatusCode::OK, &item(&new.name, None, &known)))
}

pub(super) async fn set_all(asked: &Asked<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Failure> {
    let all: Vec<New> = batch(headers, body).await?;
    // A name that cannot be is found before anything is set.
    for new in &all {
        asked.secret(&new.name)?;
    }
    let mut done = Vec::with_capacity(all.len());
    for new in &all {
        done.push(set_one(asked, new).await?);
    }
    let items: Vec<_> = all.iter().zip(&done).map(|(new, known)| item(&new.name, None, known)).collect();
    Ok(document(StatusCode::OK, &json!({ "secrets": items, "notFoundSecrets": [] })))
}

pub(super) async fn get(asked: &Asked<'_>, name: &str) -> Result<Response, Failure> {
    let reference = asked.secret(name)?;
    let secret = asked.call.resolve_one(&reference).await.map_err(about(name))?;
    let value = secret.expose_text().ok_or_else(binary)?;
    Ok(document(StatusCode::OK, &item(name, Some(value), &secret.metadata)))
}

/// Those that are there. What the caller may not have is as if it were not there, whether it is or not.
pub(super) async fn get_all(asked: &Asked<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Failure> {
    let named: Vec<Named> = batch(headers, body).await?;
    let references: Vec<Reference> = named.iter().map(|named| asked.secret(&named.name)).collect::<Result<_, _>>()?;
    let mut secrets = Vec::with_capacity(named.len());
    let mut absent = Vec::new();
    for (Named { name }, answer) in named.iter().zip(asked.call.resolve(&references).await) {
        match answer {
            Ok(secret) => secrets.push((name, secret)),
            Err(failure) if matches!(failure.kind(), Kind::NotFound | Kind::PolicyDenied) => absent.push(name),
            Err(failure) => return Err(failure),
        }
    }
    let mut items = Vec::with_capacity(secrets.len());
    for (name, secret) in &secrets {
        items.push(item(name, Some(secret.expose_text().ok_or_else(binary)?), &secret.metadata));
    }
    let document_of = Got { secrets: items, not_found_secrets: absent };
    Ok(document(StatusCode::OK, &document_of))
}

/// Not put together as a JSON value: that would leave copies of the secrets behind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Got<'a> {
    secrets: Vec<Item<'a>>,
    not_found_secrets: Vec<&'a String>,
}

/// Names only, in order.
pub(super) async fn list(asked: &Asked<'_>) -> Result<Response, Failure> {
    let after = match asked.query.get("continuationToken") {
        None => None,
        Some(token) => {
            let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            Some(text.filter(|text| is_name(text)).ok_or_else(|| bad("the continuationToken is none of ours"))?)
        }
    };
    let entries = match asked.call.list(asked.scope, false).await {
        Ok(page) => page.entries,
        // What stands behind a workspace may only come with its first secret.
        Err(failure) if failure.kind() == Kind::NotFound => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).filter(|name| is_name(name)).collect();
    names.sort_unstable();
    let start = after.map_or(0, |last| names.partition_point(|name| *name <= last.as_str()));
    let rest = names.get(start..).unwrap_or_default();
    let (shown, more) = rest.split_at_checked(PAGE).unwrap_or((rest, &[]));
    let next = shown.last().filter(|_| !more.is_empty()).map(|last| URL_SAFE_NO_PAD.encode(last));
    let shown: Vec<_> = shown.iter().map(|name| json!({ "name": name })).collect();
    Ok(document(StatusCode::OK, &json!({ "value": shown, "continuationToken": next })))
}

pub(super) async fn delete(asked: &Asked<'_>, name: &str) -> Result<Response, Failure> {
    asked.call.change(&asked.secret(name)?, Change::Delete).await.map_err(about(name))?;
    Ok(document(StatusCode::OK, &json!({})))
}

pub(super) async fn delete_all(asked: &Asked<'_>, headers: &HeaderMap, body: Body) -> Result<Response, Failure> {
    let named: Vec<Named> = batch(headers, body).await?;
    let references: Vec<Reference> = named.iter().map(|named| asked.secret(&named.name)).collect::<Result<_, _>>()?;
    for reference in &references {
        match asked.call.change(reference, Change::Delete).await {
            Err(failure) if failure.kind() != Kind::NotFound => return Err(failure),
            _ => {}
        }
    }
    Ok(document(StatusCode::OK, &json!({})))
}
