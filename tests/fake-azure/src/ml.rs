//! Azure ML's own services: discovery, the credential service of the v1 SDK, and what a job asks about
//! itself. It must never let a run's token reach another workspace.

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock;
use crate::cloud::Cloud;
use crate::http::{Answer, Call};
use crate::random;
use crate::token::Claims;
use crate::vault::{NewSecret, Vault};
use crate::world::World;

const PROVIDER: &str = "microsoft.machinelearningservices";
const NOT_PROVIDED: &str = "application/NotProvided";
/// Audience of a run's token: nothing but these services takes it.
const RUN_AUDIENCE: &str = "azureml-run";

/// A job that runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Its experiment's name.
    pub experiment: String,
    /// Its experiment's id.
    pub experiment_id: String,
    /// Its workspace's name.
    pub workspace: String,
}

/// A token for a run.
pub fn run_token(world: &World, run: &Run, lifetime: i64) -> String {
    let now = world.clock.now();
    world.signer.sign(&json!({
        "aud": RUN_AUDIENCE, "role": "Contributor", "runid": run.id, "scope": run.workspace, "oid": run.id,
        "iat": now, "nbf": now, "exp": now.saturating_add(lifetime), "jti": random::uuid(),
    }))
}

/// Answers as one of the services.
pub fn answer(world: &mut World, call: &Call) -> Answer {
    let answer = respond(world, call).unwrap_or_else(|refused| refused);
    let id = call.header("x-ms-client-request-id").map_or_else(random::uuid, str::to_owned);
    answer.with("x-ms-client-request-id", &id).with("x-ms-request-id", &random::uuid())
}

fn respond(world: &mut World, call: &Call) -> Result<Answer, Answer> {
    let route = call.route();
    match route.as_slice() {
        ["discovery", ..] => Ok(discovery(world, call)),
        [
            service,
            version,
            "subscriptions",
            subscription,
            groups,
            group,
            "providers",
            provider,
            "workspaces",
            name,
            rest @ ..,
        ] if groups.eq_ignore_ascii_case("resourcegroups") && provider.eq_ignore_ascii_case(PROVIDER) => {
            match (*service, *version) {
                ("credential", "v2.0") => credential(world, call, [subscription, group, name], rest),
                ("history", "v1.0") => history(world, call, [subscription, group, name], rest),
                _ => Err(no_route()),
            }
        }
        _ => Err(no_route()),
    }
}

fn no_route() -> Answer {
    failure(404, "NotFound", "There is no such route.")
}

/// The envelope of Azure ML's own services.
fn failure(status: u16, reason: &str, message: &str) -> Answer {
    let code = if status >= 500 { "ServiceError" } else { "UserError" };
    Answer::json(
        status,
        &json!({
            "error": {
                "code": code, "severity": null, "message": message, "messageFormat": message, "messageParameters": {},
                "referenceCode": null, "detailsUri": null, "target": null, "details": [],
                "innerError": {"code": reason, "innerError": null},
                "debugInfo": {"type": "Exception", "message": message, "stackTrace": "   at Fake.Stack.Trace()"},
            },
            "correlation": {"operation": random::hex(), "request": random::hex()},
            "environment": "centralus", "location": "centralus", "time": clock::arm(0), "componentName": "credential",
        }),
    )
}

/// Where the services are: at the names of the workspace's region, or where they were asked on loopback.
fn discovery(world: &World, call: &Call) -> Answer {
    let at = |host: &str| format!("https://{host}");
    let hosts = world.workspaces.iter().map(super::arm::Workspace::hosts).find(|hosts| hosts.contains(&call.host));
    let (api, experiments) = match hosts {
        Some([api, experiments]) => (at(&api), at(&experiments)),
        None => {
            let own = format!("http://{}", call.header("host").unwrap_or(&call.host));
            (own.clone(), own)
        }
    };
    Answer::json(
        200,
        &json!({
            "api": api, "catalog": api, "experimentation": experiments, "history": experiments, "hyperdrive": experiments,
            "labeling": experiments, "modelmanagement": api, "pipelines": api, "studio": "https://ml.azure.com",
        }),
    )
}

/// The workspace's place in the world, and the caller, who may do this to it.
fn enter(world: &World, call: &Call, place: [&str; 3], action: &str) -> Result<(usize, Claims), Answer> {
    let [subscription, group, name] = place;
    let at = world.workspaces.iter().position(|workspace| workspace.is(subscription, group, name));
    let unauthorized = |message: &str| failure(401, "Unauthorized", message).with("WWW-Authenticate", "Bearer");
    let token = call.bearer().ok_or_else(|| unauthorized("Authorization header is missing."))?;
    let claims = world.live(token).map_err(|_| unauthorized("Token is invalid or expired."))?;
    let found = at.and_then(|at| Some((at, world.workspaces.get(at)?)));
    let (at, workspace) = found.ok_or_else(|| failure(404, "WorkspaceNotFound", "The workspace was not found."))?;
    let audience = claims.text("aud").trim_end_matches('/');
    if audience == RUN_AUDIENCE {
        if claims.text("scope") != workspace.name {
            return Err(failure(403, "Forbidden", "The run's token is for another workspace."));
        }
        return Ok((at, claims));
    }
    let known = crate::cloud::CLOUDS
        .iter()
        .any(|cloud: &Cloud| cloud.ml == audience || cloud.arm_audiences.contains(&audience));
    if !known || claims.text("tid") != workspace.tenant {
        return Err(unauthorized("The token's audience or tenant is not this workspace's."));
    }
    if !world.directory.allows(claims.text("oid"), action, false, &workspace.id()) {
        return Err(failure(
            403,
            "AuthorizationFailed",
            &format!("The client '{}' does not have authorization to perform action '{action}'.", claims.client()),
        ));
    }
    Ok((at, claims))
}

fn credential(world: &mut World, call: &Call, place: [&str; 3], rest: &[&str]) -> Result<Answer, Answer> {
    let what = match (&call.method, rest) {
        (&Method::GET, _) => "read",
        (&Method::POST, ["secrets:getbatch"]) => "read",
        (&Method::DELETE, _) | (&Method::POST, ["secrets:deletebatch"]) => "delete",
        _ => "write",
    };
    let action = format!("Microsoft.MachineLearningServices/workspaces/metadata/secrets/{what}");
    let (at, _) = enter(world, call, place, &action)?;
    let now = world.clock.now();
    let host = world.workspaces.get(at).map(|workspace| workspace.vault.clone()).unwrap_or_default();
    let vault =
        world.vaults.get_mut(&host).ok_or_else(|| failure(500, "VaultNotFound", "The workspace has no vault."))?;
    match (call.method.as_str(), rest) {
        ("PUT", ["secrets"]) => set(vault, &body(call)?, now),
        ("PUT", ["secrets:putbatch"]) => {
            let mut done = Vec::new();
            for secret in entries(call)? {
                done.push(set(vault, &secret, now)?.value());
            }
            Ok(Answer::json(200, &json!({"secrets": done, "notFoundSecrets": []})))
        }
        ("GET", ["secrets"]) => Ok(list(vault, call)),
        ("GET", ["secrets", name]) => {
            let found = item(vault, name, true).ok_or_else(|| missing(name))?;
            Ok(Answer::json(200, &found))
        }
        ("POST", ["secrets:getbatch"]) => {
            let (mut found, mut absent) = (Vec::new(), Vec::new());
            for entry in entries(call)? {
                let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
                match item(vault, name, true) {
                    Some(item) => found.push(item),
                    None => absent.push(name.to_owned()),
                }
            }
            Ok(Answer::json(200, &json!({"secrets": found, "notFoundSecrets": absent})))
        }
        ("DELETE", ["secrets", name]) => {
            vault.delete(name, now).ok_or_else(|| missing(name))?;
            Ok(Answer::json(200, &json!({})))
        }
        ("POST", ["secrets:deletebatch"]) => {
            for entry in entries(call)? {
                vault.delete(entry.get("name").and_then(Value::as_str).unwrap_or_default(), now);
            }
            Ok(Answer::json(200, &json!({})))
        }
        _ => Err(failure(404, "NotFound", "There is no such route.")),
    }
}

fn missing(name: &str) -> Answer {
    failure(404, "SecretNotFound", &format!("Secret not found in keyvault with name: {name}"))
}

fn body(call: &Call) -> Result<Value, Answer> {
    call.json().ok_or_else(|| failure(400, "BadArgument", "The body is no JSON."))
}

fn entries(call: &Call) -> Result<Vec<Value>, Answer> {
    let body = body(call)?;
    let list = body.get("secrets").and_then(Value::as_array).cloned();
    list.ok_or_else(|| failure(400, "BadArgument", "The body has no secrets."))
}

fn set(vault: &mut Vault, secret: &Value, now: i64) -> Result<Answer, Answer> {
    let text = |name: &str| secret.get(name).and_then(Value::as_str);
    let (Some(name), Some(value)) = (text("name"), text("value")) else {
        return Err(failure(400, "BadArgument", "A secret needs a name and a value."));
    };
    let fits =
        !name.is_empty() && name.len() <= 127 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !fits {
        return Err(failure(400, "BadArgument", &format!("The name {name} does not match ^[0-9a-zA-Z-]+$.")));
    }
    if vault.reserved(name) {
        let message =
            format!("Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused.");
        return Err(failure(409, "Conflict", &message));
    }
    let new = NewSecret {
        value: Some(value.to_owned()),
        content_type: Some(text("contentType").unwrap_or(NOT_PROVIDED).to_owned()),
        through_ml: true,
        ..NewSecret::default()
    };
    vault.add(name, new, now);
    Ok(Answer::json(200, &item(vault, name, false).unwrap_or_default()))
}

fn item(vault: &Vault, name: &str, with_value: bool) -> Option<Value> {
    let (value, kind, created, updated) = vault.read(name)?;
    let mut item = json!({"name": name});
    let members = item.as_object_mut()?;
    if with_value {
        members.insert("value".into(), json!(value));
    }
    members.insert("createdTime".into(), json!(clock::arm(created)));
    members.insert("modifiedTime".into(), json!(clock::arm(updated)));
    members.insert("contentType".into(), json!(kind.unwrap_or(NOT_PROVIDED)));
    Some(item)
}

/// Names only, in pages of the vault's size.
fn list(vault: &Vault, call: &Call) -> Answer {
    let most = vault.page_size.unwrap_or(25).max(1);
    let start: usize = call.parameter("continuationToken").and_then(|token| token.parse().ok()).unwrap_or_default();
    let end = start.saturating_add(most);
    let names: Vec<&str> = vault.through_ml().collect();
    let next = (end < names.len()).then(|| end.to_string());
    let page: Vec<Value> = names.into_iter().skip(start).take(most).map(|name| json!({"name": name})).collect();
    Answer::json(200, &json!({"value": page, "continuationToken": next}))
}

fn history(world: &World, call: &Call, place: [&str; 3], rest: &[&str]) -> Result<Answer, Answer> {
    enter(world, call, place, "Microsoft.MachineLearningServices/workspaces/experiments/runs/read")?;
    let (id, token) = match rest {
        ["experimentids" | "experiments", _, "runs", id] => (id, false),
        ["experimentids" | "experiments", _, "runs", id, "token"] => (id, true),
        _ => return Err(failure(404, "NotFound", "There is no such route.")),
    };
    let run = world.runs.iter().find(|run| run.id == *id);
    let run = run.ok_or_else(|| failure(404, "RunNotFound", &format!("Run {id} was not found.")))?;
    if token {
        let lifetime = world.settings.identity_token_lifetime;
        let expires = clock::arm(world.clock.now().saturating_add(lifetime));
        return Ok(Answer::json(200, &json!({"token": run_token(world, run, lifetime), "expiryTimeUtc": expires})));
    }
    Ok(Answer::json(
        200,
        &json!({
            "runNumber": 1, "rootRunId": run.id, "runId": run.id, "experimentId": run.experiment_id, "status": "Running",
            "runType": "azureml.scriptrun", "parentRunId": null, "createdUtc": clock::arm(world.clock.now()), "tags": {},
            "properties": {}, "hidden": false, "target": "local", "dataContainerId": format!("dcid.{}", run.id),
        }),
    ))
}
