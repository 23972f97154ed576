//! The resource manager: workspaces, their connections, and who may do what. It must never give a
//! credential to anything but `listsecrets`.

mod connections;

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

use crate::cloud::Cloud;
use crate::http::{Answer, Call};
use crate::random;
use crate::token::Claims;
use crate::world::{Stale, World};

use connections::Connection;

const PROVIDER: &str = "Microsoft.MachineLearningServices";

/// A workspace. Its connections are seeded apart.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workspace {
    /// Its name.
    pub name: String,
    /// Its subscription.
    pub subscription: String,
    /// Its resource group.
    pub resource_group: String,
    /// Its tenant's id.
    pub tenant: String,
    /// Its region.
    pub location: String,
    /// Its id.
    pub workspace_id: String,
    /// The host of its own vault.
    pub vault: String,
    /// Connections of a page; all if absent.
    pub page_size: Option<usize>,
    /// By name in lower case.
    #[serde(skip)]
    connections: BTreeMap<String, Connection>,
}

impl Workspace {
    /// Its resource id.
    pub fn id(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/{PROVIDER}/workspaces/{}",
            self.subscription, self.resource_group, self.name
        )
    }

    /// Names that Azure ML's own services have for it: discovery, then experimentation.
    pub fn hosts(&self) -> [String; 2] {
        [format!("{}.api.azureml.ms", self.location), format!("{}.experiments.azureml.net", self.location)]
    }

    /// Whether a path names it.
    pub fn is(&self, subscription: &str, group: &str, name: &str) -> bool {
        self.subscription.eq_ignore_ascii_case(subscription)
            && self.resource_group.eq_ignore_ascii_case(group)
            && self.name.eq_ignore_ascii_case(name)
    }

    /// Takes over the connections of the workspace that it replaces.
    pub fn take_connections(&mut self, old: Self) {
        self.connections = old.connections;
    }

    /// Adds or replaces a connection.
    pub fn add(&mut self, name: &str, properties: Map<String, Value>, now: i64) {
        self.connections.insert(name.to_lowercase(), Connection::new(name, properties, "seed", now));
    }

    /// Keeps the connections whose name fits.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.connections.retain(|name, _| keep(name));
    }

    fn resource(&self, vault: &str) -> Value {
        let [discovery, _] = self.hosts();
        json!({
            "id": self.id(), "name": self.name, "type": format!("{PROVIDER}/workspaces"), "location": self.location, "tags": {},
            "etag": null, "kind": "Default", "sku": {"name": "Basic", "tier": "Basic"},
            "properties": {
                "friendlyName": self.name, "description": "", "workspaceId": self.workspace_id, "tenantId": self.tenant,
                "keyVault": vault, "discoveryUrl": format!("https://{discovery}/discovery"), "provisioningState": "Succeeded",
                "mlFlowTrackingUri": format!("azureml://{discovery}/mlflow/v1.0{}", self.id()),
                "publicNetworkAccess": "Enabled", "hbiWorkspace": false, "creationTime": "2024-01-01T00:00:00.0000000Z",
            },
            "identity": {"type": "SystemAssigned", "principalId": null, "tenantId": self.tenant},
        })
    }
}

/// Answers as the resource manager.
pub fn answer(world: &mut World, call: &Call) -> Answer {
    let answer = respond(world, call).unwrap_or_else(|refused| refused);
    let id = call.header("x-ms-client-request-id").map_or_else(random::uuid, str::to_owned);
    answer
        .with("x-ms-client-request-id", &id)
        .with("x-ms-request-id", &random::uuid())
        .with("x-ms-correlation-request-id", &random::uuid())
        .with("Cache-Control", "no-cache")
}

/// Both sides are answers: `Err` is one that ended the checks.
fn respond(world: &mut World, call: &Call) -> Result<Answer, Answer> {
    let cloud = Cloud::of_arm(&call.host).ok_or_else(|| Answer::empty(404))?;
    // Microsoft's own tools ask it before they have a token: where is what, in this cloud.
    if call.segments.iter().map(String::as_str).eq(["metadata", "endpoints"]) {
        return Ok(endpoints(cloud));
    }
    let claims = authenticate(world, call, cloud)?;
    if call.parameter("api-version").unwrap_or_default().is_empty() {
        return Err(Answer::error(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    }
    let lower: Vec<String> = call.segments.iter().map(|segment| segment.to_lowercase()).collect();
    let route: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (&call.method, route.as_slice()) {
        (&Method::GET, ["tenants"]) => Ok(tenants(world, &claims)),
        (&Method::GET, ["subscriptions"]) => Ok(subscriptions(world, &claims)),
        (&Method::GET, ["subscriptions", subscription]) => one_subscription(world, &claims, subscription),
        (&Method::GET, [scope @ .., "providers", "microsoft.authorization", "permissions"]) => {
            Ok(permissions(world, &claims, &format!("/{}", scope.join("/"))))
        }
        (&Method::GET, [scope @ .., "providers", "microsoft.authorization", "roleassignments"]) => {
            role_assignments(world, call, &claims, &format!("/{}", scope.join("/")))
        }
        (
            _,
            ["subscriptions", subscription, "resourcegroups", group, "providers", provider, "workspaces", rest @ ..],
        ) if provider.eq_ignore_ascii_case(PROVIDER) => workspace(world, call, &claims, &[*subscription, *group], rest),
        _ => Err(Answer::error(404, "InvalidResourceType", "The fake's resource manager has no such resource type.")),
    }
}

fn workspace(
    world: &mut World,
    call: &Call,
    claims: &Claims,
    place: &[&str; 2],
    rest: &[&str],
) -> Result<Answer, Answer> {
    let version = call.parameter("api-version").unwrap_or_default();
    // Versions sort as dates.
    if !("2018-03-01-preview".."2030").contains(&version) {
        return Err(Answer::error(
            400,
            "NoRegisteredProviderFound",
            &format!("No registered resource provider found for location 'eastus' and API version '{version}'."),
        ));
    }
    let [subscription, group] = *place;
    let known = |of: &dyn Fn(&Workspace) -> &str, wanted: &str| {
        world.workspaces.iter().any(|workspace| of(workspace).eq_ignore_ascii_case(wanted))
    };
    if !known(&|workspace| &workspace.subscription, subscription) {
        let message = format!("The subscription '{subscription}' could not be found.");
        return Err(Answer::error(404, "SubscriptionNotFound", &message));
    }
    if !known(&|workspace| &workspace.resource_group, group) {
        let message = format!("Resource group '{group}' could not be found.");
        return Err(Answer::error(404, "ResourceGroupNotFound", &message));
    }
    let Some((name, rest)) = rest.split_first() else {
        let list: Vec<Value> = world
            .workspaces
            .iter()
            .filter(|found| found.subscription.eq_ignore_ascii_case(subscription))
            .filter(|found| world.directory.allows(claims.text("oid"), &action("workspaces/read"), false, &found.id()))
            .map(|found| found.resource(&vault_id(world, found)))
            .collect();
        return Ok(Answer::json(200, &json!({"value": list})));
    };
    let Some(at) = world.workspaces.iter().position(|found| found.is(subscription, group, name)) else {
        let message = format!(
            "The Resource '{PROVIDER}/workspaces/{name}' under resource group '{group}' was not found. For more details please \
             go to https://aka.ms/ARMResourceNotFoundFix"
        );
        return Err(Answer::error(404, "ResourceNotFound", &message));
    };
    match (&call.method, rest) {
        (&Method::GET, []) => {
            let found = world.workspaces.get(at).ok_or_else(|| Answer::empty(404))?;
            authorize(world, claims, &action("workspaces/read"), &found.id())?;
            Ok(Answer::json(200, &found.resource(&vault_id(world, found))))
        }
        (_, ["connections", rest @ ..]) => connections::answer(world, call, claims, at, rest),
        _ => Err(Answer::error(404, "InvalidResourceType", "The fake's workspaces have nothing of that name.")),
    }
}

/// The resource id of a workspace's vault, as the resource manager writes it.
fn vault_id(world: &World, workspace: &Workspace) -> String {
    world.vaults.get(&workspace.vault).map_or_else(String::new, |vault| {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.KeyVault/vaults/{}",
            vault.subscription, vault.resource_group, vault.name
        )
    })
}

fn action(rest: &str) -> String {
    format!("{PROVIDER}/{rest}")
}

/// Whether the caller may do something, else the refusal.
fn authorize(world: &World, claims: &Claims, action: &str, scope: &str) -> Result<(), Answer> {
    if world.directory.allows(claims.text("oid"), action, false, scope) {
        return Ok(());
    }
    let message = format!(
        "The client '{}' with object id '{}' does not have authorization to perform action '{action}' over scope '{scope}' or the \
         scope is invalid. If access was recently granted, please refresh your credentials.",
        claims.client(),
        claims.text("oid")
    );
    Err(Answer::error(403, "AuthorizationFailed", &message))
}

fn authenticate(world: &World, call: &Call, cloud: &Cloud) -> Result<Claims, Answer> {
    let tenant = world.workspaces.first().map(|workspace| workspace.tenant.clone()).unwrap_or_default();
    let refuse = |code: &str, message: &str, error: &str, extra: &str| {
        let challenge = format!(
            "Bearer authorization_uri=\"https://login.windows.net/{tenant}\", error=\"{error}\", error_description=\"{message}\"{extra}"
        );
        Answer::error(401, code, message).with("WWW-Authenticate", &challenge)
    };
    let token = call.bearer().ok_or_else(|| {
        refuse(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
            "invalid_token",
            "",
        )
    })?;
    let claims = world.live(token).map_err(|stale| match stale {
        Stale::Expired => {
            refuse("ExpiredAuthenticationToken", "The access token expiry is in the past.", "invalid_token", "")
        }
        Stale::Invalid => refuse("InvalidAuthenticationToken", "The access token is invalid.", "invalid_token", ""),
    })?;
    let audience = claims.text("aud");
    if !cloud.arm_audiences.contains(&audience.trim_end_matches('/')) {
        let message = format!(
            "The access token has been obtained for wrong audience or resource '{audience}'. It should exactly match with one of \
             the allowed audiences."
        );
        return Err(refuse("InvalidAuthenticationTokenAudience", &message, "invalid_token", ""));
    }
    let subscription = call.segments.iter().skip_while(|part| !part.eq_ignore_ascii_case("subscriptions")).nth(1);
    let home = subscription.and_then(|wanted| {
        world.workspaces.iter().find(|workspace| workspace.subscription.eq_ignore_ascii_case(wanted))
    });
    if let Some(home) = home.filter(|home| home.tenant != claims.text("tid")) {
        let message = format!(
            "The access token is from the wrong issuer '{}'. It must match the tenant '{}/{}/' associated with this \
             subscription.",
            claims.text("iss"),
            cloud.issuer,
            home.tenant
        );
        return Err(refuse("InvalidAuthenticationTokenTenant", &message, "invalid_token", ""));
    }
    if let Some(wanted) = world.demanded("arm", &claims) {
        let wanted = STANDARD.encode(wanted.to_string());
        return Err(refuse(
            "InvalidAuthenticationToken",
            "The access token does not meet one or more claims requirements.",
            "insufficient_claims",
            &format!(", claims=\"{wanted}\""),
        ));
    }
    Ok(claims)
}

fn endpoints(cloud: &Cloud) -> Answer {
    let audiences: Vec<String> = cloud.arm_audiences.iter().rev().map(|audience| format!("{audience}/")).collect();
    Answer::json(
        200,
        &json!([{
            "name": "AzureCloud", "portal": "https://portal.azure.com",
            "authentication": {"loginEndpoint": format!("https://{}", cloud.authority()), "audiences": audiences, "tenant": "common",
                "identityProvider": "AAD"},
            "resourceManager": format!("https://{}/", cloud.arm), "graph": "https://graph.windows.net/",
            "suffixes": {"keyVaultDns": cloud.vault_suffix, "storage": "core.windows.net"},
        }]),
    )
}

fn tenants(world: &World, claims: &Claims) -> Answer {
    let entry = |tenant: &crate::directory::Tenant| {
        json!({"id": format!("/tenants/{}", tenant.id), "tenantId": tenant.id, "defaultDomain": tenant.domain,
            "displayName": tenant.domain, "tenantCategory": "Home"})
    };
    let list: Vec<Value> =
        world.directory.tenants.iter().filter(|tenant| tenant.id == claims.text("tid")).map(entry).collect();
    Answer::json(200, &json!({"value": list}))
}

fn subscription(workspace: &Workspace) -> Value {
    json!({"id": format!("/subscriptions/{}", workspace.subscription), "subscriptionId": workspace.subscription,
        "tenantId": workspace.tenant, "displayName": "Pay-As-You-Go", "state": "Enabled", "managedByTenants": [],
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off"}})
}

/// Subscriptions in which the caller may read anything at all.
fn visible<'world>(world: &'world World, claims: &Claims) -> Vec<&'world Workspace> {
    let mut found: Vec<&Workspace> = Vec::new();
    for workspace in &world.workspaces {
        let prefix = format!("/subscriptions/{}", workspace.subscription).to_lowercase();
        let given = world.directory.assignments.iter().any(|given| {
            let scope = given.scope.to_lowercase();
            given.principal == claims.text("oid") && (scope == "/" || scope.starts_with(&prefix))
        });
        if given
            && workspace.tenant == claims.text("tid")
            && !found.iter().any(|known| known.subscription == workspace.subscription)
        {
            found.push(workspace);
        }
    }
    found
}

fn subscriptions(world: &World, claims: &Claims) -> Answer {
    let list: Vec<Value> = visible(world, claims).into_iter().map(subscription).collect();
    Answer::json(200, &json!({"value": list, "count": {"type": "Total", "value": list.len()}}))
}

fn one_subscription(world: &World, claims: &Claims, wanted: &str) -> Result<Answer, Answer> {
    let found = visible(world, claims).into_iter().find(|known| known.subscription.eq_ignore_ascii_case(wanted));
    let message = format!("The subscription '{wanted}' could not be found.");
    found
        .map(|found| Answer::json(200, &subscription(found)))
        .ok_or_else(|| Answer::error(404, "SubscriptionNotFound", &message))
}

/// What the caller may do at a scope: one entry a role.
fn permissions(world: &World, claims: &Claims, scope: &str) -> Answer {
    let given = world.directory.assignments.iter();
    let given = given.filter(|given| given.principal == claims.text("oid") && given.covers(scope));
    let list: Vec<Value> = given
        .map(|given| {
            let (actions, data) = given.permissions();
            json!({"actions": actions, "notActions": [], "dataActions": data, "notDataActions": []})
        })
        .collect();
    Answer::json(200, &json!({"value": list}))
}

fn role_assignments(world: &World, call: &Call, claims: &Claims, scope: &str) -> Result<Answer, Answer> {
    authorize(world, claims, "Microsoft.Authorization/roleAssignments/read", scope)?;
    let filter = call.parameter("$filter").unwrap_or_default();
    let wanted = filter.split('\'').nth(1);
    let list: Vec<Value> = world
        .directory
        .assignments
        .iter()
        .filter(|given| given.covers(scope) && wanted.is_none_or(|wanted| given.principal == wanted))
        .enumerate()
        .map(|(number, given)| {
            let role = format!("/providers/Microsoft.Authorization/roleDefinitions/{}", given.role_id());
            json!({"id": format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{number:08}-0000-4000-8000-000000000000"),
                "type": "Microsoft.Authorization/roleAssignments",
                "properties": {"roleDefinitionId": role, "principalId": given.principal, "scope": given.scope}})
        })
        .collect();
    Ok(Answer::json(200, &json!({"value": list})))
}
