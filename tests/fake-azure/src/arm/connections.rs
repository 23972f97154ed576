//! Workspace connections of every auth type.

use serde_json::{Map, Value, json};

use super::{PROVIDER, Workspace, action, authorize};
use crate::clock;
use crate::http::{Answer, Call};
use crate::token::Claims;
use crate::world::World;

/// Auth types with a documented credential object, and its members; `keys` of `CustomKeys` is a map.
const AUTH_TYPES: [(&str, &[&str]); 12] = [
    ("ApiKey", &["key"]),
    ("CustomKeys", &["keys"]),
    // `sas`: azure-ai-ml's own entity writes an account key under that name.
    ("AccountKey", &["key", "sas"]),
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

/// Auth types that a connection may have without a credential object.
const NEWER: [&str; 7] = [
    "DelegatedSAS",
    "ProjectManagedIdentity",
    "AccountManagedIdentity",
    "UserEntraToken",
    "AgentUserImpersonation",
    "AgenticIdentityToken",
    "AgenticUser",
];

/// A connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    name: String,
    properties: Map<String, Value>,
    created: (i64, String),
    modified: (i64, String),
}

impl Connection {
    pub(super) fn new(name: &str, properties: Map<String, Value>, by: &str, now: i64) -> Self {
        let stamp = (now, by.to_owned());
        Self { name: name.to_owned(), properties, created: stamp.clone(), modified: stamp }
    }

    fn text(&self, name: &str) -> &str {
        self.properties.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The resource, as recorded from the service: with its credentials, or with null.
    fn resource(&self, workspace: &Workspace, with_credentials: bool) -> Value {
        let given = |name: &str, otherwise: Value| self.properties.get(name).cloned().unwrap_or(otherwise);
        let mut properties = json!({
            "authType": self.text("authType"),
            "credentials": if with_credentials { given("credentials", Value::Null) } else { Value::Null },
            "group": given("group", json!(group(self.text("category")))), "category": self.text("category"),
            "expiryTime": given("expiryTime", Value::Null), "target": given("target", Value::Null),
            "createdByWorkspaceArmId": workspace.id(),
            "useWorkspaceManagedIdentity": given("useWorkspaceManagedIdentity", json!(false)),
            "isSharedToAll": given("isSharedToAll", json!(false)), "sharedUserList": given("sharedUserList", json!([])),
            "metadata": given("metadata", json!({})),
        });
        if let Some(members) = properties.as_object_mut() {
            for (name, value) in &self.properties {
                if !members.contains_key(name) && name != "credentials" {
                    members.insert(name.clone(), value.clone());
                }
            }
        }
        let ((created, creator), (modified, modifier)) = (&self.created, &self.modified);
        json!({
            "tags": null, "location": null, "id": format!("{}/connections/{}", workspace.id(), self.name), "name": self.name,
            "type": format!("{PROVIDER}/workspaces/connections"), "properties": properties,
            "systemData": {
                "createdAt": clock::arm(*created), "createdBy": creator, "createdByType": "User",
                "lastModifiedAt": clock::arm(*modified), "lastModifiedBy": modifier, "lastModifiedByType": "User",
            },
        })
    }
}

fn group(category: &str) -> &'static str {
    match category {
        "AzureOpenAI" | "CognitiveSearch" | "CognitiveService" | "AIServices" | "Serverless" | "ApiKey" => "AzureAI",
        "AzureBlob" | "ContainerRegistry" | "AzureKeyVault" | "ADLSGen2" => "Azure",
        "AzureSqlDb" | "Snowflake" => "Database",
        "S3" | "Git" | "PythonFeed" => "File",
        "GenericHttp" => "GenericProtocol",
        _ => "ServicesAndApps",
    }
}

/// Answers under `connections`, for the workspace at that place.
pub(super) fn answer(
    world: &mut World,
    call: &Call,
    claims: &Claims,
    at: usize,
    rest: &[&str],
) -> Result<Answer, Answer> {
    let now = world.clock.now();
    let workspace = world.workspaces.get(at).ok_or_else(|| Answer::empty(404))?;
    let base = workspace.id();
    // The name as the caller wrote it: routes are in lower case.
    let name = call.segments.get(9).map(String::as_str).unwrap_or_default();
    let scope = format!("{base}/connections/{name}");
    let may =
        |what: &str, scope: &str| authorize(world, claims, &action(&format!("workspaces/connections/{what}")), scope);
    let find = || {
        workspace.connections.get(&name.to_lowercase()).ok_or_else(|| {
            Answer::error(404, "UserError", &format!("Connection {name} can't be found in this workspace"))
        })
    };
    match (call.method.as_str(), rest) {
        ("GET", []) => {
            may("read", &base)?;
            Ok(list(workspace, call))
        }
        ("GET", [_]) => {
            may("read", &scope)?;
            Ok(Answer::json(200, &find()?.resource(workspace, false)))
        }
        ("POST", [_, "listsecrets"]) => {
            may("listsecrets/action", &scope)?;
            Ok(Answer::json(200, &find()?.resource(workspace, true)))
        }
        ("PUT", [_]) => {
            may("write", &scope)?;
            let properties = checked(name, body(call)?)?;
            let mut new = Connection::new(name, properties, claims.client(), now);
            if let Ok(old) = find() {
                new.created = old.created.clone();
            }
            put(world, at, new)
        }
        ("PATCH", [_]) => {
            may("write", &scope)?;
            let mut changed = find()?.clone();
            changed.properties.extend(body(call)?);
            changed.properties = checked(name, changed.properties)?;
            changed.modified = (now, claims.client().to_owned());
            put(world, at, changed)
        }
        ("DELETE", [_]) => {
            may("delete", &scope)?;
            let key = name.to_lowercase();
            let gone = world.workspaces.get_mut(at).and_then(|workspace| workspace.connections.remove(&key));
            Ok(Answer::empty(if gone.is_some() { 200 } else { 204 }))
        }
        (_, [_] | []) => Err(Answer::error(405, "MethodNotAllowed", "The HTTP method is not supported.")),
        _ => Err(Answer::error(404, "InvalidResourceType", "The fake's connections have nothing of that name.")),
    }
}

fn put(world: &mut World, at: usize, connection: Connection) -> Result<Answer, Answer> {
    let workspace = world.workspaces.get_mut(at).ok_or_else(|| Answer::empty(404))?;
    let key = connection.name.to_lowercase();
    let answer = connection.resource(workspace, false);
    workspace.connections.insert(key, connection);
    Ok(Answer::json(200, &answer))
}

fn body(call: &Call) -> Result<Map<String, Value>, Answer> {
    match call.json().and_then(|mut body| body.get_mut("properties").map(Value::take)) {
        Some(Value::Object(properties)) => Ok(properties),
        _ => Err(invalid("The request body has no properties.")),
    }
}

fn invalid(message: &str) -> Answer {
    Answer::error(400, "ValidationError", message)
}

/// The properties of a new connection, which the service keeps as they are if they fit.
fn checked(name: &str, properties: Map<String, Value>) -> Result<Map<String, Value>, Answer> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !(3..=33).contains(&name.len()) || !first || !name.bytes().all(known) {
        return Err(invalid(&format!("The connection name {name} is invalid.")));
    }
    let text = |member: &str| properties.get(member).and_then(Value::as_str);
    let auth_type = text("authType").ok_or_else(|| invalid("authType is missing."))?;
    if text("category").is_none() {
        return Err(invalid("category is missing."));
    }
    let documented = AUTH_TYPES.iter().find(|(name, _)| *name == auth_type);
    if documented.is_none() && !NEWER.contains(&auth_type) {
        return Err(invalid(&format!("The auth type {auth_type} is not known.")));
    }
    let members = documented.map(|(_, members)| *members).unwrap_or_default();
    if let Some(credentials) = properties.get("credentials").filter(|credentials| !credentials.is_null()) {
        let credentials = credentials.as_object().ok_or_else(|| invalid("credentials is no object."))?;
        for (member, value) in credentials {
            let fits = match value {
                Value::Null | Value::String(_) => member != "keys",
                Value::Object(keys) => member == "keys" && keys.values().all(Value::is_string),
                _ => false,
            };
            if !fits || !members.contains(&member.as_str()) {
                return Err(invalid(&format!("{member} is no credential of the auth type {auth_type}.")));
            }
        }
    }
    Ok(properties)
}

fn list(workspace: &Workspace, call: &Call) -> Answer {
    let is = |name: &str, connection: &Connection, member: &str| {
        call.parameter(name).is_none_or(|wanted| connection.text(member).eq_ignore_ascii_case(wanted))
    };
    let found: Vec<Value> = workspace
        .connections
        .values()
        .filter(|connection| is("target", connection, "target") && is("category", connection, "category"))
        .map(|connection| connection.resource(workspace, false))
        .collect();
    let start: usize = call.parameter("$skip").and_then(|skip| skip.parse().ok()).unwrap_or_default();
    let most = workspace.page_size.unwrap_or(usize::MAX);
    let end = start.saturating_add(most);
    let link = (end < found.len()).then(|| {
        let kept: Vec<_> = call.query.iter().filter(|(name, _)| name != "$skip").collect();
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish();
        format!("https://{}{}?{query}&$skip={end}", call.host, call.path)
    });
    let page: Vec<Value> = found.into_iter().skip(start).take(most).collect();
    Answer::json(200, &json!({"value": page, "nextLink": link}))
}
