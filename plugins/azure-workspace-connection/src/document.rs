//! A connection as the service tells it, and what it holds by its auth type.
//!
//! It is read leniently: auth types, categories and members that nobody knows yet survive, and nulls
//! appear anywhere.

use serde_json::{Map, Value, json};
use strongroom_plugin::Failure;

use crate::place::Part;

/// The auth types with a documented credential object, and its members. Those of `CustomKeys` have any
/// names.
pub const AUTH_TYPES: [(&str, &[&str]); 12] = [
    ("ApiKey", &["key"]),
    (CUSTOM_KEYS, &[]),
    ("AccountKey", &["key"]),
    ("PAT", &["pat"]),
    ("SAS", &["sas"]),
    ("UsernamePassword", &["username", "password", "securityToken"]),
    ("ServicePrincipal", &["clientId", "clientSecret", "tenantId"]),
    ("AccessKey", &["accessKeyId", "secretAccessKey"]),
    ("ManagedIdentity", &["clientId", "resourceId"]),
    (
        "OAuth2",
        &["authUrl", "clientId", "clientSecret", "developerToken", "password", "refreshToken", "tenantId", "username"],
    ),
    ("AAD", &[]),
    ("None", &[]),
];

/// The auth type whose credentials have names of the user's choice, one level deeper.
pub const CUSTOM_KEYS: &str = "CustomKeys";

/// What the target of custom keys is, which have none.
const NO_TARGET: &str = "_";

/// Members that only the service writes.
const READ_ONLY: [&str; 2] = ["createdByWorkspaceArmId", "group"];

/// How much of a list of names is told, in bytes: a message has room for so much.
const MAX_NAMES: usize = 240;

/// A connection with its secrets. It has no `Debug`.
pub struct Document {
    connection: String,
    tags: Value,
    properties: Map<String, Value>,
}

/// What a name found in a map.
enum Found<'m> {
    Here(&'m str),
    Nowhere,
    /// Several that differ only in case.
    Several,
}

impl Document {
    /// Takes the answer for `connection`.
    ///
    /// # Errors
    /// Kind protocol: it is none, or one for another connection.
    pub fn read(connection: &str, mut answer: Value) -> Result<Self, Failure> {
        let named = answer.get("name").and_then(Value::as_str);
        if named.is_some_and(|named| !named.eq_ignore_ascii_case(connection)) {
            let message = format!("the service answered for another connection than `{connection}`");
            return Err(Failure::protocol("azureml.other-connection", message));
        }
        let tags = answer.get_mut("tags").map(Value::take).unwrap_or_default();
        match answer.get_mut("properties").map(Value::take) {
            Some(Value::Object(properties)) => Ok(Self { connection: connection.to_owned(), tags, properties }),
            _ => {
                let message = format!("the service's answer for the connection `{connection}` has no properties");
                Err(Failure::protocol("azureml.no-properties", message))
            }
        }
    }

    /// A new connection with one custom key.
    #[must_use]
    pub fn custom(connection: &str, key: &str, text: &str) -> Self {
        let mut properties = Map::new();
        for (member, value) in [
            ("authType", json!(CUSTOM_KEYS)),
            ("category", json!(CUSTOM_KEYS)),
            ("target", json!(NO_TARGET)),
            ("credentials", json!({ "keys": { key: text } })),
            ("metadata", json!({})),
        ] {
            properties.insert(member.to_owned(), value);
        }
        Self { connection: connection.to_owned(), tags: Value::Null, properties }
    }

    /// The auth type; empty if there is none.
    #[must_use]
    pub fn auth_type(&self) -> &str {
        self.text("authType").unwrap_or_default()
    }

    /// A property that is text.
    #[must_use]
    pub fn text(&self, member: &str) -> Option<&str> {
        self.properties.get(member).and_then(Value::as_str)
    }

    /// The map in which `part` stands, as far as it is there.
    fn map(&self, part: &Part) -> Option<&Map<String, Value>> {
        let map = match part {
            Part::Credential(_) => self.properties.get("credentials"),
            _ => self.properties.get("metadata"),
        };
        match part {
            Part::Credential(_) if self.auth_type() == CUSTOM_KEYS => map?.get("keys")?.as_object(),
            _ => map?.as_object(),
        }
    }

    /// The same, made where there is none.
    fn map_mut(&mut self, part: &Part) -> Option<&mut Map<String, Value>> {
        let custom = self.auth_type() == CUSTOM_KEYS;
        match part {
            Part::Credential(_) if custom => object(object(&mut self.properties, "credentials")?, "keys"),
            Part::Credential(_) => object(&mut self.properties, "credentials"),
            _ => object(&mut self.properties, "metadata"),
        }
    }

    /// The text of a field.
    ///
    /// # Errors
    /// Kind not-found, with the names that there are; `azureml.ambiguous` for a name that several
    /// could be.
    pub fn field(&self, part: &Part) -> Result<String, Failure> {
        let (what, key) = match part {
            Part::Credential(key) => ("credential", key),
            Part::Metadata(key) => ("metadata field", key),
            Part::Target | Part::Document => {
                let target = self.text("target").map(str::to_owned);
                let message = format!("the connection `{}` has no target", self.connection);
                return target.ok_or_else(|| Failure::not_found("azureml.no-target", message));
            }
        };
        let map = self.map(part);
        match find(map, key) {
            Found::Here(name) => {
                let text = map.and_then(|map| map.get(name)).map(text_of);
                text.ok_or_else(|| self.absent(part, what, key))
            }
            Found::Nowhere => Err(self.absent(part, what, key)),
            Found::Several => Err(self.ambiguous(what, key)),
        }
    }

    /// Sets a field, whether it is there or not.
    ///
    /// # Errors
    /// Kind unsupported: a connection of this auth type has no such field.
    pub fn set(&mut self, part: &Part, text: &str) -> Result<(), Failure> {
        let (what, key) = match part {
            Part::Credential(key) => ("credential", key),
            Part::Metadata(key) => ("metadata field", key),
            Part::Target | Part::Document => {
                self.properties.insert("target".into(), text.into());
                return Ok(());
            }
        };
        let name = match find(self.map(part), key) {
            Found::Here(name) => name.to_owned(),
            Found::Several => return Err(self.ambiguous(what, key)),
            Found::Nowhere if matches!(part, Part::Metadata(_)) || self.auth_type() == CUSTOM_KEYS => key.clone(),
            Found::Nowhere => match self.members().iter().find(|member| member.eq_ignore_ascii_case(key)) {
                Some(member) => (*member).to_owned(),
                None => return Err(self.no_member(key)),
            },
        };
        if let Some(map) = self.map_mut(part) {
            map.insert(name, text.into());
        }
        Ok(())
    }

    /// Takes a custom key or a metadata field away.
    ///
    /// # Errors
    /// Kind not-found if it is not there; unsupported for what a connection must have.
    pub fn unset(&mut self, part: &Part) -> Result<(), Failure> {
        let (Part::Credential(key) | Part::Metadata(key)) = part else { return Err(self.needed()) };
        if matches!(part, Part::Credential(_)) && self.auth_type() != CUSTOM_KEYS {
            return Err(self.needed());
        }
        self.field(part)?;
        let Found::Here(name) = find(self.map(part), key) else { return Ok(()) };
        let name = name.to_owned();
        if let Some(map) = self.map_mut(part) {
            map.remove(&name);
        }
        Ok(())
    }

    /// The body of a PUT: all that the service does not write itself.
    #[must_use]
    pub fn into_body(mut self) -> Value {
        self.properties.retain(|member, _| !READ_ONLY.contains(&member.as_str()));
        let mut body = json!({ "properties": self.properties });
        if let (Some(body), false) = (body.as_object_mut(), self.tags.is_null()) {
            body.insert("tags".into(), self.tags);
        }
        body
    }

    /// Whether a PUT of it would leave a connection without the secrets that its auth type has.
    #[must_use]
    pub fn lacks_credentials(&self) -> bool {
        // What a managed identity has is no secret, and the system's own has nothing.
        let has_some = match self.auth_type() {
            CUSTOM_KEYS => true,
            "ManagedIdentity" => false,
            _ => !self.members().is_empty(),
        };
        has_some && self.properties.get("credentials").is_none_or(Value::is_null)
    }

    fn members(&self) -> &'static [&'static str] {
        AUTH_TYPES.iter().find(|(name, _)| *name == self.auth_type()).map(|(_, members)| *members).unwrap_or_default()
    }

    /// The names that there are, nulls left out.
    fn names(&self, part: &Part) -> String {
        let map = self.map(part).into_iter().flatten();
        let names: Vec<&str> = map.filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str()).collect();
        let mut told = String::new();
        for (index, name) in names.iter().enumerate() {
            if told.len() + name.len() > MAX_NAMES {
                return format!("{told} and {} more", names.len() - index);
            }
            told += if index == 0 { "" } else { ", " };
            told += name;
        }
        told
    }

    fn absent(&self, part: &Part, what: &str, key: &str) -> Failure {
        let Self { connection, .. } = self;
        let names = self.names(part);
        let credential = matches!(part, Part::Credential(_));
        let code = if credential { "azureml.no-credential" } else { "azureml.no-metadata" };
        let message = match (credential, names.is_empty()) {
            (true, true) if self.auth_type() == CUSTOM_KEYS => format!("the connection `{connection}` has no keys"),
            (true, true) => {
                let auth_type = self.auth_type();
                format!(
                    "the connection `{connection}` has no `{key}`: its auth type is {auth_type}, and it holds no credentials"
                )
            }
            (false, true) => format!("the connection `{connection}` has no metadata"),
            (_, false) => format!("the connection `{connection}` has no {what} `{key}`; it has {names}"),
        };
        Failure::not_found(code, message)
    }

    fn needed(&self) -> Failure {
        let connection = &self.connection;
        let message = format!(
            "the connection `{connection}` cannot be without that: set it anew, or delete the whole connection"
        );
        Failure::unsupported("azureml.needed", message)
    }

    fn ambiguous(&self, what: &str, key: &str) -> Failure {
        let connection = &self.connection;
        let message = format!(
            "`{key}` could be several {what}s of the connection `{connection}`, which differ in case; write one as it is"
        );
        Failure::invalid_reference("azureml.ambiguous", message)
    }

    fn no_member(&self, key: &str) -> Failure {
        let (connection, auth_type, members) = (&self.connection, self.auth_type(), self.members().join(", "));
        let has = if members.is_empty() { "it has none that can be set".into() } else { format!("it has {members}") };
        let message =
            format!("the connection `{connection}` of the auth type {auth_type} takes no credential `{key}`; {has}");
        Failure::unsupported("azureml.no-credential", message)
    }
}

/// The name as it stands in `map`: exactly, else the only one that differs in case. Null is absent.
fn find<'m>(map: Option<&'m Map<String, Value>>, key: &str) -> Found<'m> {
    let present = || map.into_iter().flatten().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str());
    if let Some(name) = present().find(|name| *name == key) {
        return Found::Here(name);
    }
    let mut alike = present().filter(|name| name.eq_ignore_ascii_case(key));
    match (alike.next(), alike.next()) {
        (Some(name), None) => Found::Here(name),
        (None, _) => Found::Nowhere,
        (Some(_), Some(_)) => Found::Several,
    }
}

/// Text as it is; anything else as compact JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The object at `member`, made if there is none.
fn object<'m>(map: &'m mut Map<String, Value>, member: &str) -> Option<&'m mut Map<String, Value>> {
    let value = map.entry(member).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}
