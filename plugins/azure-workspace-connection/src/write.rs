//! Setting and deleting connections and their fields.
//!
//! The service replaces a connection as a whole and cannot compare before it does. So a field is
//! changed by reading all, and putting all with the one change; what somebody else puts in between is
//! lost.

use serde_json::Value as Json;
use strongroom_plugin::http::Method;
use strongroom_plugin::{Failure, Receipt, Value};

use crate::document::Document;
use crate::place::{Part, Place, Workspace};
use crate::read::document;
use crate::refusal::{NO_CONNECTION, Operation, refused};

/// Sets a connection to a document, or a field of it to a text. A connection that is not there is made:
/// of a document as it says, of a credential as one with custom keys.
///
/// # Errors
/// Kind unsupported for what a connection cannot have, for attributes and for `expected`; what the
/// service says.
pub fn put(
    workspace: &Workspace,
    place: &Place,
    value: &Value,
    attributes: &[(String, String)],
    expected: Option<&str>,
) -> Result<Receipt, Failure> {
    if expected.is_some() {
        let message = "connections have no versions: the service cannot compare before it sets";
        return Err(Failure::unsupported("azureml.expected", message));
    }
    if let Some((name, _)) = attributes.first() {
        let message = format!("a connection takes no attribute `{name}`; its metadata are fields: /metadata/{{key}}");
        return Err(Failure::unsupported("azureml.attribute", message));
    }
    let Some(text) = value.as_text() else {
        let message = "a connection holds text; encode these bytes first, as base64 for example";
        return Err(Failure::unsupported("azureml.binary", message));
    };
    let Place { connection, part } = place;
    let changed = match part {
        Part::Document => given(connection, text)?,
        _ => match (document(workspace, connection), part) {
            (Ok(mut document), _) => {
                document.set(part, text)?;
                document
            }
            (Err(failure), Part::Credential(key)) if failure.code == NO_CONNECTION => {
                Document::custom(connection, key, text)
            }
            (Err(failure), _) => return Err(failure),
        },
    };
    replace(workspace, connection, changed)
}

/// Deletes a connection, a custom key or a metadata field.
///
/// # Errors
/// Kind not-found if it is not there; unsupported for what a connection must have; what the service
/// says.
pub fn remove(workspace: &Workspace, place: &Place) -> Result<Receipt, Failure> {
    let Place { connection, part } = place;
    if *part != Part::Document {
        let mut changed = document(workspace, connection)?;
        changed.unset(part)?;
        return replace(workspace, connection, changed);
    }
    let response = workspace.request(Method::Delete, &[connection]).send()?;
    match response.status() {
        200 | 202 => Ok(Receipt::default()),
        // Deleted, or never there: the service does not mind, who asks may have misspelt it.
        204 => {
            let message = format!("the workspace `{}` has no connection `{connection}`", workspace.name);
            Err(Failure::not_found(NO_CONNECTION, message))
        }
        _ => Err(refused(workspace, Some(connection), Operation::Delete, &response)),
    }
}

fn replace(workspace: &Workspace, connection: &str, document: Document) -> Result<Receipt, Failure> {
    let response = workspace.request(Method::Put, &[connection]).json(&document.into_body()).send()?;
    match response.status() {
        200 | 201 => Ok(Receipt::default()),
        _ => Err(refused(workspace, Some(connection), Operation::Write, &response)),
    }
}

/// A document that somebody gives. Of what it lacks, nothing is shown: it is full of secrets.
fn given(connection: &str, text: &str) -> Result<Document, Failure> {
    const FORM: &str =
        r#"{"properties":{"authType":"...","category":"...","target":"...","credentials":{...},"metadata":{...}}}"#;
    let wrong = |why: String| Err(Failure::invalid_reference("azureml.document", why));
    let mut json: Json = match serde_json::from_str(text) {
        Ok(json) => json,
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            return wrong(format!(
                "a connection is set to a JSON document, {FORM}; this is none at line {line}, column {column}"
            ));
        }
    };
    // A document of another connection may be the model of this one.
    if let Some(members) = json.as_object_mut() {
        members.remove("name");
    }
    let Ok(document) = Document::read(connection, json) else {
        return wrong(format!("a connection is set to a JSON document, {FORM}; this one has no `properties`"));
    };
    for member in ["authType", "category"] {
        if document.text(member).is_none_or(str::is_empty) {
            return wrong(format!("the document has no `properties.{member}`"));
        }
    }
    if document.lacks_credentials() {
        let auth_type = document.auth_type();
        return wrong(format!(
            "the document has no `properties.credentials`, so that the connection would be left without its secrets; one of the \
             auth type {auth_type} has some"
        ));
    }
    Ok(document)
}
