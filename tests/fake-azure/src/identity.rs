//! The identity endpoints of machines, and those of build services that give out assertions. It must
//! never give a token to a request that lacks the endpoint's own header.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock;
use crate::cloud::{CLOUDS, Cloud};
use crate::directory::Identity;
use crate::entra::access_token;
use crate::http::{Answer, Call, find};
use crate::random;
use crate::token::Subject;
use crate::world::World;

/// How `expires_on` of Azure ML's endpoint is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    /// A number as text.
    #[default]
    Text,
    /// A number.
    Number,
    /// `06/20/2019 02:57:58 +00:00`.
    MonthFirst,
    /// `1/16/2020 5:24:12 AM +00:00`.
    MonthFirst12h,
}

/// What a test may set of the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachineSettings {
    /// How Azure ML's endpoint writes `expires_on`.
    pub expiry: Expiry,
    /// Where Arc's challenge files are written.
    pub arc_folder: PathBuf,
    /// What Arc's challenge names instead of the file.
    pub arc_realm: Option<String>,
    /// An old Arc agent: it ignores which identity was asked for.
    pub arc_old: bool,
    /// `sub` of GitHub's assertions.
    pub github_subject: String,
    /// `sub` of Azure Pipelines' assertions.
    pub pipelines_subject: String,
}

impl Default for MachineSettings {
    fn default() -> Self {
        Self {
            expiry: Expiry::Text,
            arc_folder: PathBuf::from("/var/opt/azcmagent/tokens"),
            arc_realm: None,
            arc_old: false,
            github_subject: "repo:contoso/pipeline:ref:refs/heads/main".into(),
            pipelines_subject: "sc://contoso/project/connection".into(),
        }
    }
}

/// The one machine.
#[derive(Debug)]
pub struct Machine {
    /// What a test may set.
    pub settings: MachineSettings,
    /// `IDENTITY_HEADER`.
    pub app_service_header: String,
    /// `MSI_SECRET`.
    pub ml_secret: String,
    /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN` and `SYSTEM_ACCESSTOKEN`.
    pub job_token: String,
    /// Arc's keys that wait for an answer, with their files.
    arc_keys: BTreeMap<String, PathBuf>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            settings: MachineSettings::default(),
            app_service_header: random::uuid(),
            ml_secret: random::hex(),
            job_token: random::hex(),
            arc_keys: BTreeMap::new(),
        }
    }
}

/// Issuer of GitHub's assertions.
pub const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";
/// Issuer of Azure Pipelines' assertions.
pub const PIPELINES_ISSUER: &str = "https://vstoken.dev.azure.com/contoso";

/// Which endpoint a path of a local address means, or a name of a build service.
pub fn service_of(host: &str, path: &str) -> Option<&'static str> {
    match host {
        "pipelines.actions.githubusercontent.com" => Some("github"),
        "dev.azure.com" => Some("pipelines"),
        "127.0.0.1" | "localhost" | "[::1]" | "169.254.169.254" => {
            let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
            let known = [
                "metadata",
                "app-service",
                "azure-ml",
                "arc",
                "cloud-shell",
                "obo",
                "github",
                "pipelines",
                "credential",
                "history",
                "discovery",
            ];
            known.iter().find(|known| **known == first).map(|known| match *known {
                "metadata" => "imds",
                "credential" | "history" | "discovery" => "ml",
                other => other,
            })
        }
        _ => None,
    }
}

/// Answers as one of the endpoints.
pub fn answer(world: &mut World, service: &str, call: &Call) -> Answer {
    let post = match service {
        "cloud-shell" | "pipelines" => Method::POST,
        _ => Method::GET,
    };
    if call.method != post {
        return Answer::empty(405);
    }
    match service {
        "imds" => imds(world, call),
        "app-service" => app_service(world, call),
        "azure-ml" => azure_ml(world, call),
        "arc" => arc(world, call),
        "cloud-shell" => cloud_shell(world, call),
        "obo" => on_behalf(world, call),
        "github" => github(world, call),
        "pipelines" => pipelines(world, call),
        _ => Answer::empty(404),
    }
}

/// An error as IMDS words it.
fn oauth(status: u16, error: &str, text: &str) -> Answer {
    Answer::json(status, &json!({"error": error, "error_description": text}))
}

/// The identity that a request selects by one of three parameters.
fn select(world: &World, call: &Call, names: [&str; 3]) -> Result<Identity, &'static str> {
    let [client, object, resource] = names.map(|name| call.parameter(name));
    let identities = &world.directory.identities;
    let is = |given: Option<&str>, own: &str| given.is_some_and(|given| given.eq_ignore_ascii_case(own));
    if client.or(object).or(resource).is_some() {
        let fits = |identity: &&Identity| {
            is(client, &identity.client_id)
                || is(object, &identity.object_id)
                || identity.resource_id.as_deref().is_some_and(|own| is(resource, own))
        };
        return identities.iter().find(fits).cloned().ok_or("Identity not found");
    }
    if let Some(own) = identities.iter().find(|identity| identity.resource_id.is_none()) {
        return Ok(own.clone());
    }
    match identities.as_slice() {
        [] => Err("Identity not found"),
        [only] => Ok(only.clone()),
        _ => Err(
            "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request",
        ),
    }
}

/// The cloud that knows a resource.
fn cloud_of(resource: &str) -> Option<&'static Cloud> {
    CLOUDS.iter().find(|cloud| cloud.knows(resource))
}

/// A token for an identity, and when it expires.
fn token_for(world: &World, identity: &Identity, resource: &str) -> Option<(String, i64)> {
    let subject = Subject {
        object_id: identity.object_id.clone(),
        app_id: identity.client_id.clone(),
        tenant: identity.tenant.clone(),
        name: None,
    };
    let lifetime = world.settings.identity_token_lifetime;
    let token = access_token(world, cloud_of(resource)?, &subject, resource, None, lifetime);
    Some((token, world.clock.now().saturating_add(lifetime)))
}

/// A token for the person at the machine.
pub fn person_token(world: &World, resource: &str) -> Option<(String, i64)> {
    let user = world
        .settings
        .person
        .as_deref()
        .map_or_else(|| world.directory.users.first(), |name| world.directory.user(name))?;
    let subject = Subject {
        object_id: user.object_id.clone(),
        app_id: crate::directory::CLI_APP.to_owned(),
        tenant: user.tenant.clone(),
        name: Some(user.name.clone()),
    };
    let lifetime = world.settings.token_lifetime;
    let token = access_token(world, cloud_of(resource)?, &subject, resource, None, lifetime);
    Some((token, world.clock.now().saturating_add(lifetime)))
}

/// What most endpoints answer; all numbers are text.
fn granted(world: &World, token: &str, expires: i64, resource: &str, client_id: &str) -> Value {
    let (now, lasts) = (world.clock.now(), world.settings.identity_token_lifetime.to_string());
    json!({
        "access_token": token, "client_id": client_id, "expires_in": lasts, "expires_on": expires.to_string(),
        "ext_expires_in": lasts, "not_before": now.to_string(), "resource": resource, "token_type": "Bearer",
    })
}

fn imds(world: &World, call: &Call) -> Answer {
    if call.segments != ["metadata", "identity", "oauth2", "token"] {
        return oauth(401, "unknown_source", "Unknown Source");
    }
    if !call.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return oauth(400, "bad_request_102", "Required metadata header not specified");
    }
    if call.parameter("api-version").is_none() {
        return oauth(400, "invalid_request", "Required query variable 'api-version' is missing");
    }
    let Some(resource) = call.parameter("resource") else {
        return oauth(400, "invalid_request", "Required query variable 'resource' is missing");
    };
    let identity = match select(world, call, ["client_id", "object_id", "msi_res_id"]) {
        Ok(identity) => identity,
        Err(why) => return oauth(400, "invalid_request", why),
    };
    match token_for(world, &identity, resource) {
        Some((token, expires)) => Answer::json(200, &granted(world, &token, expires, resource, &identity.client_id)),
        None => oauth(400, "invalid_resource", &unknown_resource(resource)),
    }
}

fn unknown_resource(resource: &str) -> String {
    format!("AADSTS500011: The resource principal named {resource} was not found in the tenant named contoso.")
}

fn app_service(world: &World, call: &Call) -> Answer {
    let refuse = |status: u16, message: &str| Answer::json(status, &json!({"statusCode": status, "message": message}));
    if call.header("x-identity-header") != Some(&world.machine.app_service_header) {
        return refuse(401, "Unauthorized: X-IDENTITY-HEADER is missing or wrong.");
    }
    let (Some(resource), Some("2019-08-01")) = (call.parameter("resource"), call.parameter("api-version")) else {
        return refuse(400, "resource and api-version=2019-08-01 are needed.");
    };
    let identity = match select(world, call, ["client_id", "object_id", "mi_res_id"]) {
        Ok(identity) => identity,
        Err(_) => {
            return refuse(
                400,
                "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.",
            );
        }
    };
    let Some((token, expires)) = token_for(world, &identity, resource) else {
        return refuse(500, "An unexpected error occurred while fetching the AAD Token.");
    };
    Answer::json(
        200,
        &json!({"access_token": token, "expires_on": expires.to_string(), "resource": resource, "token_type": "Bearer",
            "client_id": identity.client_id}),
    )
}

fn azure_ml(world: &World, call: &Call) -> Answer {
    let refuse = |status: u16, message: &str| {
        Answer::json(status, &json!({"error": {"code": "BadRequest", "message": message}}))
    };
    if call.header("secret") != Some(&world.machine.ml_secret) {
        return refuse(401, "The secret header is missing or wrong.");
    }
    let (Some(resource), Some("2017-09-01")) = (call.parameter("resource"), call.parameter("api-version")) else {
        return refuse(400, "resource and api-version=2017-09-01 are needed.");
    };
    let identity = match select(world, call, ["clientid", "object_id", "msi_res_id"]) {
        Ok(identity) => identity,
        Err(why) => return refuse(400, why),
    };
    let Some((token, expires)) = token_for(world, &identity, resource) else {
        // Old hosts say it with status 200.
        return Answer::json(200, &json!({"ExceptionMessage": unknown_resource(resource)}));
    };
    let expires = match world.machine.settings.expiry {
        Expiry::Text => json!(expires.to_string()),
        Expiry::Number => json!(expires),
        Expiry::MonthFirst => json!(clock::month_first(expires)),
        Expiry::MonthFirst12h => json!(clock::month_first_12h(expires)),
    };
    Answer::json(
        200,
        &json!({"access_token": token, "expires_on": expires, "resource": resource, "token_type": "Bearer"}),
    )
}

fn arc(world: &mut World, call: &Call) -> Answer {
    if !call.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return oauth(400, "bad_request_102", "Required metadata header not specified");
    }
    let Some(resource) = call.parameter("resource") else {
        return oauth(400, "invalid_request", "Required query variable 'resource' is missing");
    };
    let machine = &mut world.machine;
    let proof = call.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    let file = proof.and_then(|key| machine.arc_keys.remove(key));
    let Some(file) = file else {
        let (key, file) = (random::hex(), machine.settings.arc_folder.join(format!("{}.key", random::uuid())));
        if let Err(error) = fs::write(&file, &key) {
            return oauth(500, "unknown", &format!("the challenge file cannot be written: {error}"));
        }
        let realm = machine.settings.arc_realm.clone().unwrap_or_else(|| file.display().to_string());
        machine.arc_keys.insert(key, file);
        return oauth(401, "unauthorized_client", "Unauthorized access")
            .with("WWW-Authenticate", &format!("Basic realm={realm}"));
    };
    let _ = fs::remove_file(file);
    let own =
        |world: &World| world.directory.identities.iter().find(|identity| identity.resource_id.is_none()).cloned();
    let selected = if world.machine.settings.arc_old {
        own(world).ok_or("Identity not found")
    } else {
        select(world, call, ["client_id", "object_id", "msi_res_id"])
    };
    let identity = match selected {
        Ok(identity) => identity,
        Err(why) => return oauth(400, "invalid_request", why),
    };
    let Some((token, expires)) = token_for(world, &identity, resource) else {
        return oauth(400, "invalid_resource", &unknown_resource(resource));
    };
    let mut answer = granted(world, &token, expires, resource, &identity.client_id);
    if let (false, Some(members)) = (world.machine.settings.arc_old, answer.as_object_mut()) {
        members.insert("object_id".into(), json!(identity.object_id));
        if let Some(id) = &identity.resource_id {
            members.insert("msi_res_id".into(), json!(id));
        }
    }
    Answer::json(200, &answer)
}

fn cloud_shell(world: &World, call: &Call) -> Answer {
    let refuse = |message: &str| Answer::json(400, &json!({"error": {"code": "BadRequest", "message": message}}));
    if !call.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return refuse("Required metadata header not specified");
    }
    let form = call.form();
    let Some(resource) = find(&form, "resource") else { return refuse("resource is missing") };
    match person_token(world, resource) {
        Some((token, expires)) => {
            Answer::json(200, &granted(world, &token, expires, resource, crate::directory::CLI_APP))
        }
        None => refuse(&unknown_resource(resource)),
    }
}

fn on_behalf(world: &World, call: &Call) -> Answer {
    let Some(resource) = call.parameter("resource") else {
        return oauth(400, "invalid_request", "resource is missing");
    };
    match person_token(world, resource) {
        Some((token, expires)) => Answer::json(
            200,
            &json!({"token": token, "access_token": token, "expires_on": expires, "resource": resource, "token_type": "Bearer"}),
        ),
        None => oauth(400, "invalid_resource", &unknown_resource(resource)),
    }
}

/// An assertion that this fake's Entra can check.
pub fn assertion(world: &World, issuer: &str, subject: &str, audience: &str, lifetime: i64) -> String {
    let now = world.clock.now();
    let claims = json!({"iss": issuer, "sub": subject, "aud": audience, "iat": now, "nbf": now,
        "exp": now.saturating_add(lifetime), "jti": random::uuid()});
    world.signer.sign(&claims)
}

fn github(world: &World, call: &Call) -> Answer {
    if call.bearer() != Some(&world.machine.job_token) {
        return Answer::json(401, &json!({"message": "The request token is missing or wrong."}));
    }
    let audience = call.parameter("audience").unwrap_or("https://github.com/contoso");
    let value = assertion(world, GITHUB_ISSUER, &world.machine.settings.github_subject, audience, 300);
    Answer::json(200, &json!({"count": value.len(), "value": value}))
}

fn pipelines(world: &World, call: &Call) -> Answer {
    if call.bearer() != Some(&world.machine.job_token) {
        return Answer::json(401, &json!({"message": "The access token is missing or wrong."}));
    }
    if call.parameter("serviceConnectionId").is_none() || call.parameter("api-version").is_none() {
        return Answer::json(400, &json!({"message": "serviceConnectionId and api-version are needed."}));
    }
    let subject = &world.machine.settings.pipelines_subject;
    let token = assertion(world, PIPELINES_ISSUER, subject, "api://AzureADTokenExchange", 600);
    Answer::json(200, &json!({"oidcToken": token}))
}
