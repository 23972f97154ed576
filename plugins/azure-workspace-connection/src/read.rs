//! Reading connections: one request each, however many of its fields are wanted.

use std::collections::BTreeMap;

use serde_json::Value;
use strongroom_plugin::http::Method;
use strongroom_plugin::{Failure, Reference, Secret};

use crate::document::Document;
use crate::place::{Part, Place, Workspace};
use crate::refusal::{Operation, refused};

/// A connection with its secrets, and the answer that it was read from.
pub struct Answer {
    document: Document,
    text: String,
}

/// One reference.
///
/// # Errors
/// What the service says; kind not-found for a field that is not there.
pub fn one(workspace: &Workspace, place: &Place) -> Result<Secret, Failure> {
    secret(&ask(workspace, &place.connection)?, &place.part)
}

/// Several references, each connection asked for once.
#[must_use]
pub fn all(workspace: &Workspace, references: &[Reference]) -> Vec<Result<Secret, Failure>> {
    let mut answers: BTreeMap<String, Result<Answer, Failure>> = BTreeMap::new();
    let mut read = |reference: &Reference| {
        let Place { connection, part } = Place::of(reference)?;
        let answer = answers.entry(connection).or_insert_with_key(|connection| ask(workspace, connection));
        secret(answer.as_ref().map_err(Clone::clone)?, &part)
    };
    references.iter().map(&mut read).collect()
}

/// Asks for a connection with its secrets.
///
/// # Errors
/// What the service says.
pub fn document(workspace: &Workspace, connection: &str) -> Result<Document, Failure> {
    ask(workspace, connection).map(|answer| answer.document)
}

fn ask(workspace: &Workspace, connection: &str) -> Result<Answer, Failure> {
    let response = workspace.request(Method::Post, &[connection, "listsecrets"]).send()?;
    if response.status() != 200 {
        return Err(refused(workspace, Some(connection), Operation::ReadSecrets, &response));
    }
    let document = Document::read(connection, response.json::<Value>()?)?;
    Ok(Answer { document, text: response.into_text()? })
}

fn secret(answer: &Answer, part: &Part) -> Result<Secret, Failure> {
    let secret = match part {
        // As the service wrote it: programs read it with Azure's own classes.
        Part::Document => Secret::text(answer.text.clone()).content_type("application/json"),
        _ => Secret::text(answer.document.field(part)?),
    };
    let known = [("auth-type", "authType"), ("category", "category"), ("expiry-time", "expiryTime")];
    let known = known.into_iter().filter_map(|(name, member)| Some((name, answer.document.text(member)?)));
    Ok(known.fold(secret, |secret, (name, text)| secret.attribute(name, text)))
}
