//! Setting, deleting and listing.

use serde::{Deserialize, Serialize};
use strongroom_azure::check_value;
use strongroom_plugin::http::Method;
use strongroom_plugin::{Entry, Failure, Page, Receipt, Reference, Value};

use crate::place::{Workspace, before_names};
use crate::read::{Item, NOT_PROVIDED};
use crate::refusal::{Operation, refused, unsent};

/// What the v1 SDK calls the plain JSON that it sends.
const SET_TYPE: &str = "application/json-patch+json; charset=utf-8";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set<'s> {
    name: &'s str,
    value: &'s str,
    content_type: &'s str,
}

/// Sets `name` to `value`, made or overwritten. The one attribute is `content-type`, one of the
/// service's own words.
///
/// # Errors
/// Kind unsupported for what the service cannot hold, and for `expected`; what the service says.
pub fn put(
    workspace: &Workspace,
    name: &str,
    value: &Value,
    attributes: &[(String, String)],
    expected: Option<&str>,
) -> Result<Receipt, Failure> {
    if expected.is_some() {
        let message = "these secrets have no versions: the service cannot compare before it sets";
        return Err(Failure::unsupported("azureml.expected", message));
    }
    let mut content_type = NOT_PROVIDED;
    for (attribute, text) in attributes {
        if attribute != "content-type" {
            let message = format!("these secrets have no attribute `{attribute}`, only content-type");
            return Err(Failure::unsupported("azureml.attribute", message));
        }
        content_type = text;
    }
    let Some(text) = value.as_text() else {
        let message = "these secrets are text; encode these bytes first, as base64 for example";
        return Err(Failure::unsupported("azureml.binary", message));
    };
    check_value(text)?;
    let body = serde_json::to_vec(&Set { name, value: text, content_type })
        .map_err(|_| Failure::internal("azureml.request", "the request could not be written as JSON"))?;
    let request = workspace.request(Method::Put, &["secrets"]).body(SET_TYPE, body);
    let response = request.send().map_err(|failure| unsent(workspace, failure))?;
    match response.status() {
        200 | 201 => Ok(Receipt::default()),
        _ => Err(refused(workspace, Some(name), Operation::Write, &response)),
    }
}

/// Deletes `name`: in the workspace's vault a soft delete, which keeps the name.
///
/// # Errors
/// What the service says.
pub fn remove(workspace: &Workspace, name: &str) -> Result<Receipt, Failure> {
    let request = workspace.request(Method::Delete, &["secrets", name]);
    let response = request.send().map_err(|failure| unsent(workspace, failure))?;
    match response.status() {
        200 | 202 | 204 => Ok(Receipt::default()),
        _ => Err(refused(workspace, Some(name), Operation::Delete, &response)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    value: Option<Vec<Item>>,
    continuation_token: Option<String>,
}

/// A page of the names that were made through this service; the vault may hold more.
///
/// # Errors
/// `azureml.endless`, kind protocol, if the next page is this one; what the service says.
pub fn names(workspace: &Workspace, scope: &Reference, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure> {
    let before = before_names(scope)?;
    let request = workspace.request(Method::Get, &["secrets"]).query("continuationToken", cursor);
    let response = request.send().map_err(|failure| unsent(workspace, failure))?;
    if response.status() != 200 {
        return Err(refused(workspace, None, Operation::Read, &response));
    }
    let listed: Listed = response.json()?;
    let next = listed.continuation_token.filter(|token| !token.is_empty());
    if next.is_some() && next.as_deref() == cursor {
        return Err(Failure::protocol("azureml.endless", "the list's next page is the page that names it"));
    }
    let names = listed.value.into_iter().flatten().filter_map(|item| item.name);
    let names = names.map(|name| format!("{before}{name}")).filter(|name| name.starts_with(prefix));
    Ok(Page { entries: names.map(Entry::new).collect(), next })
}
