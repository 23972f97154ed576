//! Reading: one secret by its path, or many in a batch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_plugin::http::Method;
use strongroom_plugin::{Failure, Reference, Secret};

use crate::place::{Workspace, name_of};
use crate::refusal::{Operation, missing, refused, unsent};

/// What the service gives where nobody said a content type.
pub const NOT_PROVIDED: &str = "application/NotProvided";

/// Secrets in one batch: all of the largest size still fit into one answer of 1 MiB.
const BATCH: usize = 32;

/// The most batches of one call, which makes at most 16 requests. Beyond, batches are larger.
const MAX_BATCHES: usize = 15;

/// A secret as the service tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Its name.
    pub name: Option<String>,
    /// Its value.
    pub value: Option<String>,
    content_type: Option<String>,
    created_time: Option<String>,
    modified_time: Option<String>,
}

impl Item {
    fn into_secret(self, name: &str) -> Result<Secret, Failure> {
        let Some(value) = self.value else {
            let message = format!("the service's answer for `{name}` has no value");
            return Err(Failure::protocol("azureml.no-value", message));
        };
        let mut secret = Secret::text(value);
        secret.content_type = self.content_type.filter(|content_type| content_type != NOT_PROVIDED);
        for (name, text) in [("created-time", self.created_time), ("modified-time", self.modified_time)] {
            secret.attributes.extend(text.map(|text| (name.to_owned(), text)));
        }
        Ok(secret)
    }
}

#[derive(Serialize)]
struct Wanted<'n> {
    secrets: Vec<Name<'n>>,
}

#[derive(Serialize)]
struct Name<'n> {
    name: &'n str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    secrets: Option<Vec<Item>>,
    not_found_secrets: Option<Vec<String>>,
}

/// What is known of each name that was asked for.
type Answers<'n> = BTreeMap<&'n str, Result<Secret, Failure>>;

/// The secret `name`.
///
/// # Errors
/// What the service says.
pub fn one(workspace: &Workspace, name: &str) -> Result<Secret, Failure> {
    let request = workspace.request(Method::Get, &["secrets", name]);
    let response = request.send().map_err(|failure| unsent(workspace, failure))?;
    if response.status() != 200 {
        return Err(refused(workspace, Some(name), Operation::Read, &response));
    }
    let item: Item = response.json()?;
    if item.name.as_deref().is_some_and(|given| !given.eq_ignore_ascii_case(name)) {
        let message = format!("the service answered for another secret than `{name}`");
        return Err(Failure::protocol("azureml.other-secret", message));
    }
    item.into_secret(name)
}

/// Several references: a batch, unless they all mean one secret.
#[must_use]
pub fn all(workspace: &Workspace, references: &[Reference]) -> Vec<Result<Secret, Failure>> {
    let names: Vec<Result<&str, Failure>> = references.iter().map(name_of).collect();
    let mut answers = Answers::new();
    let mut wanted: Vec<&str> = names.iter().filter_map(|name| name.as_deref().ok()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if let [name] = *wanted.as_slice() {
        answers.insert(name, one(workspace, name));
    } else {
        for batch in wanted.chunks(wanted.len().div_ceil(MAX_BATCHES).max(BATCH)) {
            if let Err(failure) = many(workspace, batch, &mut answers) {
                answers.extend(batch.iter().map(|name| (*name, Err(failure.clone()))));
            }
        }
    }
    let answer = |name: &Result<&str, Failure>| {
        let name = name.as_ref().map_err(Clone::clone)?;
        answers.get(name).cloned().unwrap_or_else(|| {
            let message = format!("the service said nothing of `{name}`");
            Err(Failure::protocol("azureml.no-answer", message))
        })
    };
    names.iter().map(answer).collect()
}

fn many<'n>(workspace: &Workspace, names: &[&'n str], answers: &mut Answers<'n>) -> Result<(), Failure> {
    let wanted = Wanted { secrets: names.iter().map(|name| Name { name }).collect() };
    let request = workspace.request(Method::Post, &["secrets:getbatch"]).json(&wanted);
    let response = request.send().map_err(|failure| unsent(workspace, failure))?;
    if response.status() != 200 {
        return Err(refused(workspace, None, Operation::Read, &response));
    }
    let Batch { secrets, not_found_secrets } = response.json()?;
    let asked = |given: &str| {
        let exact = names.iter().find(|name| **name == given);
        exact.or_else(|| names.iter().find(|name| name.eq_ignore_ascii_case(given))).copied()
    };
    for item in secrets.into_iter().flatten() {
        let Some(name) = item.name.as_deref().and_then(asked) else { continue };
        answers.insert(name, item.into_secret(name));
    }
    let absent = not_found_secrets.iter().flatten().filter_map(|given| asked(given));
    answers.extend(absent.map(|name| (name, Err(missing(workspace, name)))));
    Ok(())
}
