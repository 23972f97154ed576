//! Sets secrets, and changes what is known about them.

use std::collections::BTreeMap;

use serde::Serialize;
use strongroom_azure::check_value;
use strongroom_plugin::http::{Method, Request};
use strongroom_plugin::{Failure, Receipt, Value};

use crate::bundle::Bundle;
use crate::place::Place;
use crate::refusal::{Operation, refused, unsent};

/// The most tags of a secret, and the longest name or text of one, in characters.
const MAX_TAGS: usize = 15;
const MAX_TAG: usize = 512;

/// The longest content type, in characters.
const MAX_CONTENT_TYPE: usize = 255;

/// The body of a set, and of an update, which has no value. What is absent keeps its state.
#[derive(Serialize, Default)]
struct Body<'b> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'b str>,
    #[serde(rename = "contentType", skip_serializing_if = "Option::is_none")]
    content_type: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'b BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "State::is_empty")]
    attributes: State,
}

#[derive(Debug, Serialize, Default, Clone, Copy, PartialEq, Eq)]
struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
}

impl State {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is to be known about a secret.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    content_type: Option<String>,
    state: State,
    /// Texts to set, and names to take away.
    tags: BTreeMap<String, Option<String>>,
}

impl Change {
    /// Reads `content-type`, `enabled`, `expires`, `not-before` (seconds since the Unix epoch) and
    /// `tags.{name}`; `exp`, `nbf` and `tag.{name}`, Azure's own words, are the same. An empty text
    /// takes a tag away.
    fn of(attributes: &[(String, String)]) -> Result<Self, Failure> {
        let refused = |message: String| Failure::unsupported("keyvault.attribute", message);
        let time = |key: &str, text: &str| {
            text.parse().map(Some).map_err(|_| refused(format!("`{key}` is in seconds since the Unix epoch")))
        };
        let mut change = Self::default();
        for (key, text) in attributes {
            match key.as_str() {
                "content-type" if text.chars().count() > MAX_CONTENT_TYPE => {
                    return Err(refused(format!("a content type has at most {MAX_CONTENT_TYPE} characters")));
                }
                "content-type" => change.content_type = Some(text.clone()),
                "enabled" => match text.parse() {
                    Ok(enabled) => change.state.enabled = Some(enabled),
                    Err(_) => return Err(refused("`enabled` is true or false".into())),
                },
                "expires" | "exp" => change.state.exp = time(key, text)?,
                "not-before" | "nbf" => change.state.nbf = time(key, text)?,
                _ => {
                    let Some(tag) = key.strip_prefix("tags.").or_else(|| key.strip_prefix("tag.")) else {
                        let known = "there are content-type, enabled, expires, not-before and tags";
                        return Err(refused(format!("a vault's secret has no attribute `{key}`: {known}")));
                    };
                    if tag.is_empty() || tag.chars().count() > MAX_TAG || text.chars().count() > MAX_TAG {
                        return Err(refused(format!("name and text of a tag have 1 to {MAX_TAG} characters")));
                    }
                    change.tags.insert(tag.to_owned(), Some(text.clone()).filter(|text| !text.is_empty()));
                }
            }
        }
        Ok(change)
    }

    /// `tags` with these set and taken away.
    fn tagged(&self, mut tags: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Failure> {
        for (name, text) in &self.tags {
            match text {
                Some(text) => tags.insert(name.clone(), text.clone()),
                None => tags.remove(name),
            };
        }
        if tags.len() > MAX_TAGS {
            let message = format!("a vault's secret has at most {MAX_TAGS} tags");
            return Err(Failure::unsupported("keyvault.attribute", message));
        }
        Ok(tags)
    }
}

/// Sets a secret: a new version, which has the attributes that are given and no others.
///
/// # Errors
/// Kind unsupported for what a vault cannot hold, and for `expected`; what the vault says.
pub fn put(
    place: &Place,
    value: &Value,
    attributes: &[(String, String)],
    expected: Option<&str>,
) -> Result<Receipt, Failure> {
    place.only_as_a_whole("a version is never set anew: leave it out, and a new one is made")?;
    if expected.is_some() {
        let message = "Key Vault cannot compare and set: it makes a new version whatever the current one is";
        return Err(Failure::unsupported("keyvault.expected", message));
    }
    let Some(text) = value.as_text() else {
        let message = "a vault's secret is text; encode these bytes first, as base64 for example";
        return Err(Failure::unsupported("keyvault.binary", message));
    };
    check_value(text)?;
    let change = Change::of(attributes)?;
    let tags = change.tagged(BTreeMap::new())?;
    let body = Body {
        value: Some(text),
        content_type: change.content_type.as_deref(),
        tags: (!tags.is_empty()).then_some(&tags),
        attributes: change.state,
    };
    send(place, place.request(Method::Put, "secrets").json(&body), Operation::Set).map(|bundle| receipt(&bundle))
}

/// Changes what is known about a version, by default the current one, also of a disabled secret.
///
/// Tags are changed one by one; the service replaces them all. So they are read first, by an update that
/// changes the rest, whose answer has them and no value. A tag that somebody else sets in between is
/// lost.
///
/// # Errors
/// Kind unsupported for an attribute that there is not; what the vault says.
pub fn annotate(place: &Place, attributes: &[(String, String)]) -> Result<Receipt, Failure> {
    let change = Change::of(attributes)?;
    let body = Body { content_type: change.content_type.as_deref(), attributes: change.state, ..Body::default() };
    let bundle = send(place, place.versioned(Method::Patch).json(&body), Operation::Update)?;
    if change.tags.is_empty() {
        return Ok(receipt(&bundle));
    }
    let tags = change.tagged(bundle.tags())?;
    let body = Body { tags: Some(&tags), ..Body::default() };
    send(place, place.versioned(Method::Patch).json(&body), Operation::Update).map(|bundle| receipt(&bundle))
}

fn send(place: &Place, request: Request, operation: Operation) -> Result<Bundle, Failure> {
    let response = request.send().map_err(|failure| unsent(&place.vault, failure))?;
    if response.status() != 200 {
        return Err(refused(&place.vault, Some(place), operation, &response));
    }
    let bundle: Bundle = response.json()?;
    bundle.check(place)?;
    Ok(bundle)
}

fn receipt(bundle: &Bundle) -> Receipt {
    Receipt { version: bundle.version().map(str::to_owned), attributes: bundle.all_details() }
}
