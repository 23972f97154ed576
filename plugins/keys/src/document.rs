//! A whole group as one JSON text, in the shape of Azure ML's answer with a connection's secrets.
//!
//! Members and their order are those of the recorded answers; a program that reads
//! `.properties.credentials.keys` there reads it here. What of it is taken when a document is put
//! is strict: a misspelt member must not silently delete keys.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::head::{Head, NO_TARGET};
use crate::place::{check_key, check_name};
use crate::{Failure, Kind, failure};

const CUSTOM_KEYS: &str = "CustomKeys";

#[derive(Serialize)]
struct Out<'a> {
    tags: (),
    location: (),
    id: (),
    name: &'a str,
    r#type: &'static str,
    properties: OutProperties<'a>,
    #[serde(rename = "systemData")]
    system_data: (),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutProperties<'a> {
    auth_type: &'static str,
    credentials: OutCredentials<'a>,
    category: &'static str,
    expiry_time: (),
    target: &'a str,
    is_shared_to_all: bool,
    shared_user_list: [(); 0],
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct OutCredentials<'a> {
    keys: &'a BTreeMap<&'a str, String>,
}

/// The document of `group`, with the values in `keys`.
///
/// # Errors
/// None in practice: it is all text.
pub fn write(group: &str, head: &Head, keys: &BTreeMap<&str, String>) -> Result<String, Failure> {
    let document = Out {
        tags: (),
        location: (),
        id: (),
        name: group,
        r#type: "Microsoft.MachineLearningServices/workspaces/connections",
        properties: OutProperties {
            auth_type: CUSTOM_KEYS,
            credentials: OutCredentials { keys },
            category: CUSTOM_KEYS,
            expiry_time: (),
            target: &head.target,
            is_shared_to_all: false,
            shared_user_list: [],
            metadata: &head.metadata,
        },
        system_data: (),
    };
    serde_json::to_string(&document)
        .map_err(|_| failure(Kind::Internal, "keys.document", "the group cannot be written as JSON"))
}

/// What a document that is put says about its group.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    /// Values by key.
    pub keys: BTreeMap<String, String>,
    /// All metadata.
    pub metadata: BTreeMap<String, String>,
    /// The target.
    pub target: String,
}

/// What Azure ML's answers hold besides is read and not kept; anything else is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "members that are accepted and not kept")]
struct In {
    properties: InProperties,
    #[serde(default)]
    tags: IgnoredAny,
    #[serde(default)]
    location: IgnoredAny,
    #[serde(default)]
    id: IgnoredAny,
    #[serde(default)]
    name: IgnoredAny,
    #[serde(default)]
    r#type: IgnoredAny,
    #[serde(default, rename = "systemData")]
    system_data: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[allow(dead_code, reason = "members that are accepted and not kept")]
struct InProperties {
    credentials: Option<InCredentials>,
    #[serde(default)]
    auth_type: Option<String>,
    #[serde(default)]
    metadata: Option<Unique<String>>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    category: IgnoredAny,
    #[serde(default)]
    group: IgnoredAny,
    #[serde(default)]
    expiry_time: IgnoredAny,
    #[serde(default)]
    is_shared_to_all: IgnoredAny,
    #[serde(default)]
    shared_user_list: IgnoredAny,
    #[serde(default)]
    created_by_workspace_arm_id: IgnoredAny,
    #[serde(default)]
    use_workspace_managed_identity: IgnoredAny,
    #[serde(default)]
    error: IgnoredAny,
    #[serde(default)]
    pe_requirement: IgnoredAny,
    #[serde(default)]
    pe_status: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InCredentials {
    keys: Unique<String>,
}

/// A JSON object in which no name stands twice.
struct Unique<T>(BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<T>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Unique(members))
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Reads a document that is put.
///
/// # Errors
/// `invalid-reference` if it is no custom keys connection with its secrets. The failure says where,
/// by line and column, and shows nothing of the text: it is full of secrets.
pub fn read(text: &str) -> Result<Content, Failure> {
    let document: In = serde_json::from_str(text).map_err(|error| {
        invalid(format!(
            "a group is put as a JSON document, {FORM}; this one is not of that form at line {}, column {}",
            error.line(),
            error.column()
        ))
    })?;
    let properties = document.properties;
    if properties.auth_type.is_some_and(|auth_type| auth_type != CUSTOM_KEYS) {
        return Err(invalid("the document is a connection of another kind: its `authType` is not `CustomKeys`"));
    }
    // Azure ML writes `null` where an answer is without secrets: putting it would delete every key.
    let Some(credentials) = properties.credentials else {
        return Err(invalid("the document has no `properties.credentials.keys`, so it would delete every key"));
    };
    let content = Content {
        keys: credentials.keys.0,
        metadata: properties.metadata.map(|metadata| metadata.0).unwrap_or_default(),
        target: properties.target.unwrap_or_else(|| NO_TARGET.into()),
    };
    content.keys.keys().try_for_each(|name| check_key(name))?;
    content.metadata.keys().try_for_each(|name| check_name("metadata field", name))?;
    Ok(content)
}

const FORM: &str = r#"{"properties":{"credentials":{"keys":{...}},"metadata":{...},"target":"..."}}"#;

fn invalid(message: impl Into<String>) -> Failure {
    failure(Kind::InvalidReference, "keys.document", message)
}
