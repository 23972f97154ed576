//! Lists the workspace's connections, page by page. The answers have no secrets.

use serde::Deserialize;
use strongroom_azure::{next, turned};
use strongroom_plugin::http::Method;
use strongroom_plugin::{Entry, Failure, Page, Reference};

use crate::place::{Workspace, other_mount};
use crate::refusal::{Operation, refused};

/// What a link of the service turns the page with.
const TURN: [&str; 2] = ["$skip", "$skipToken"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    value: Option<Vec<Connection>>,
    next_link: Option<String>,
}

#[derive(Deserialize)]
struct Connection {
    name: Option<String>,
    properties: Option<Properties>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    auth_type: Option<String>,
    category: Option<String>,
    expiry_time: Option<String>,
}

/// A page of the connections. It may be empty and not the last.
///
/// # Errors
/// What the service says; kind invalid-reference for a scope that is not the workspace.
pub fn names(workspace: &Workspace, scope: &Reference, prefix: &str, cursor: Option<&str>) -> Result<Page, Failure> {
    if scope.selector("state").is_some() {
        let message = "connections have no soft delete: what is deleted is gone";
        return Err(Failure::unsupported("azureml.no-soft-delete", message));
    }
    scope.only_selectors(&[])?;
    let words: Vec<&str> = scope.path.iter().map(String::as_str).collect();
    let before = match *words.as_slice() {
        [] => "connections/",
        ["connections"] => "",
        ["keyvault", ..] => return Err(other_mount()),
        _ => {
            let message = "names are listed of the workspace: azureml://connections";
            return Err(Failure::invalid_reference("azureml.scope", message));
        }
    };
    let response = turned(workspace.request(Method::Get, &[]), cursor)?.send()?;
    if response.status() != 200 {
        return Err(refused(workspace, None, Operation::List, &response));
    }
    let listed: Listed = response.json()?;
    let next = next(listed.next_link.as_deref(), workspace.origin, &workspace.path(), &TURN, cursor)?;
    let entries = listed.value.into_iter().flatten().filter_map(|connection| {
        let name = format!("{before}{}", connection.name?);
        let properties = connection.properties;
        let mut entry = Entry::new(name);
        if let Some(Properties { auth_type, category, expiry_time }) = properties {
            for (name, text) in [("auth-type", auth_type), ("category", category), ("expiry-time", expiry_time)] {
                entry.attributes.extend(text.map(|text| (name.to_owned(), text)));
            }
        }
        entry.name.starts_with(prefix).then_some(entry)
    });
    Ok(Page { entries: entries.collect(), next })
}
