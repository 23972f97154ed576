//! Key Vault's secrets: challenge, permissions and every operation of the data plane. It must never look
//! at a secret before it has checked the token, the network rule and the permission, in that order.

mod model;
mod pages;

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::http::{Answer, Call};
use crate::random;
use crate::token::Claims;
use crate::world::{Stale, World};

use model::{Access, Network, Settled, VALUE_MOST};
pub use model::{NewSecret, Vault};

const API_VERSIONS: [&str; 10] =
    ["2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"];

/// What an operation needs: the policy's word, the action, whether it is about one secret.
struct Needed {
    permission: &'static str,
    action: &'static str,
}

/// An operation, taken from method and path.
#[derive(Debug, Clone, Copy)]
enum Operation<'call> {
    Set(&'call str),
    Get(&'call str, Option<&'call str>),
    Update(&'call str, Option<&'call str>),
    List,
    Versions(&'call str),
    Delete(&'call str),
    ListDeleted,
    GetDeleted(&'call str),
    Recover(&'call str),
    Purge(&'call str),
    Backup(&'call str),
    Restore,
}

impl<'call> Operation<'call> {
    fn parse(method: &Method, route: &[&'call str]) -> Option<Self> {
        Some(match (method.as_str(), route) {
            ("GET", ["secrets"]) => Self::List,
            ("POST", ["secrets", "restore"]) => Self::Restore,
            ("GET", ["secrets", name, "versions"]) => Self::Versions(name),
            ("POST", ["secrets", name, "backup"]) => Self::Backup(name),
            ("PUT", ["secrets", name]) => Self::Set(name),
            ("GET", ["secrets", name]) => Self::Get(name, None),
            ("GET", ["secrets", name, version]) => Self::Get(name, Some(version)),
            ("PATCH", ["secrets", name]) => Self::Update(name, None),
            ("PATCH", ["secrets", name, version]) => Self::Update(name, Some(version)),
            ("DELETE", ["secrets", name]) => Self::Delete(name),
            ("GET", ["deletedsecrets"]) => Self::ListDeleted,
            ("GET", ["deletedsecrets", name]) => Self::GetDeleted(name),
            ("POST", ["deletedsecrets", name, "recover"]) => Self::Recover(name),
            ("DELETE", ["deletedsecrets", name]) => Self::Purge(name),
            _ => return None,
        })
    }

    fn needed(self) -> Needed {
        let (permission, action) = match self {
            Self::Set(_) => ("set", "setSecret/action"),
            Self::Get(..) => ("get", "getSecret/action"),
            Self::Update(..) => ("set", "update/action"),
            Self::List | Self::Versions(_) | Self::ListDeleted => ("list", "readMetadata/action"),
            Self::Delete(_) => ("delete", "delete"),
            Self::GetDeleted(_) => ("get", "readMetadata/action"),
            Self::Recover(_) => ("recover", "recover/action"),
            Self::Purge(_) => ("purge", "purge/action"),
            Self::Backup(_) => ("backup", "backup/action"),
            Self::Restore => ("restore", "restore/action"),
        };
        Needed { permission, action }
    }

    fn name(self) -> Option<&'call str> {
        match self {
            Self::List | Self::ListDeleted | Self::Restore => None,
            Self::Set(name)
            | Self::Get(name, _)
            | Self::Update(name, _)
            | Self::Versions(name)
            | Self::Delete(name)
            | Self::GetDeleted(name)
            | Self::Recover(name)
            | Self::Purge(name)
            | Self::Backup(name) => Some(name),
        }
    }
}

/// Answers as a vault.
pub fn answer(world: &mut World, call: &Call) -> Answer {
    let answer = respond(world, call).unwrap_or_else(|refused| refused);
    let id = call.header("x-ms-client-request-id").map_or_else(random::uuid, str::to_owned);
    let location = world.vaults.get(&call.host).map(|vault| vault.location.clone()).unwrap_or_default();
    answer
        .with("x-ms-keyvault-region", &location)
        .with("x-ms-client-request-id", &id)
        .with("x-ms-request-id", &random::uuid())
        .with("x-ms-keyvault-service-version", "1.9.2784.1")
        .with("x-ms-keyvault-network-info", "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;")
        .with("Cache-Control", "no-cache")
        .with("Pragma", "no-cache")
}

/// Both sides are answers: `Err` is one that ended the checks.
fn respond(world: &mut World, call: &Call) -> Result<Answer, Answer> {
    let now = world.clock.now();
    let route = call.route();
    let operation = Operation::parse(&call.method, &route)
        .ok_or_else(|| Answer::error(404, "NotFound", "The request URI is not one of a vault's secrets."))?;
    let claims = authenticate(world, call)?;
    let directory = &world.directory;
    let vault = world.vaults.get_mut(&call.host).ok_or_else(|| Answer::empty(404))?;
    if !call.parameter("api-version").is_some_and(|version| API_VERSIONS.contains(&version)) {
        return Err(Answer::error(400, "BadParameter", "api-version must be specified"));
    }
    network(vault, &claims)?;
    if let Some(name) = operation.name() {
        let fits = name.len() <= 127 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !fits {
            let message = format!("The request URI contains an invalid name: {name}");
            return Err(Answer::error(400, "BadParameter", &message));
        }
    }
    let needed = operation.needed();
    let resource = match operation.name() {
        Some(name) => format!("{}/secrets/{name}", vault.resource_id()),
        None => vault.resource_id(),
    };
    let action = format!("Microsoft.KeyVault/vaults/secrets/{}", needed.action);
    match vault.authorization {
        Access::Rbac if !directory.allows(claims.text("oid"), &action, true, &resource) => {
            return Err(denied_by_role(vault, &claims, &action, &resource));
        }
        Access::Policies if !vault.policy_allows(claims.text("oid"), needed.permission) => {
            return Err(denied_by_policy(vault, &claims, needed.permission));
        }
        _ => {}
    }
    vault.finish(now);
    perform(vault, call, operation, now)
}

fn perform(vault: &mut Vault, call: &Call, operation: Operation<'_>, now: i64) -> Result<Answer, Answer> {
    let ok = |body: Value| Answer::json(200, &body);
    match operation {
        Operation::List => pages::secrets(vault, call, false),
        Operation::ListDeleted => pages::secrets(vault, call, true),
        Operation::Versions(name) => pages::versions(vault, call, name),
        Operation::Get(name, version) => {
            if vault.still_recovering(name) {
                return Err(missing(name, version));
            }
            let (secret, found) = vault.live(name, version).ok_or_else(|| missing(name, version))?;
            if !found.enabled {
                return Err(disabled("get"));
            }
            Ok(ok(vault.bundle(secret, found, true)))
        }
        Operation::Set(name) => {
            free(vault, name)?;
            let new = body(call, true)?;
            vault.add(name, new, now);
            let (secret, version) = vault.live(name, None).ok_or_else(|| missing(name, None))?;
            Ok(ok(vault.bundle(secret, version, true)))
        }
        Operation::Update(name, version) => {
            let change = body(call, false)?;
            vault.update(name, version, change, now).ok_or_else(|| missing(name, version))?;
            let (secret, version) = vault.live(name, version).ok_or_else(|| missing(name, version))?;
            Ok(ok(vault.bundle(secret, version, false)))
        }
        Operation::Delete(name) => {
            let deleted = vault.delete(name, now).ok_or_else(|| missing(name, None))?;
            Ok(ok(deleted))
        }
        Operation::GetDeleted(name) => match vault.deleted(name) {
            Some((Settled::Yes, secret)) => {
                if secret.latest().is_some_and(|version| !version.enabled) {
                    return Err(disabled("get"));
                }
                Ok(ok(vault.deleted_bundle(secret)))
            }
            Some((Settled::NotYet, _)) => {
                vault.step(name);
                Err(no_deleted(name))
            }
            _ => Err(no_deleted(name)),
        },
        Operation::Recover(name) => match vault.deleted(name) {
            Some((Settled::Yes, _)) => vault.recover(name).map(ok).ok_or_else(|| no_deleted(name)),
            Some((Settled::NotYet, _)) => {
                vault.step(name);
                Err(no_deleted(name))
            }
            _ => Err(no_deleted(name)),
        },
        Operation::Purge(name) => match vault.deleted(name) {
            Some((Settled::Yes, _)) if vault.purge_protection => Err(Answer::json(
                403,
                &json!({"error": {"code": "Forbidden",
                    "message": "Operation \"purge\" is not allowed on this secret: purge protection is enabled on the vault.",
                    "innererror": {"code": "PurgeProtectionEnabled"}}}),
            )),
            Some((Settled::Yes, _)) => {
                vault.purge(name);
                Ok(Answer::empty(204))
            }
            Some((Settled::NotYet, _)) => {
                vault.step(name);
                Err(conflict("ObjectIsBeingDeleted", name))
            }
            _ => Err(no_deleted(name)),
        },
        Operation::Backup(name) => {
            let blob = vault.backup(name).ok_or_else(|| missing(name, None))?;
            Ok(ok(json!({"value": blob})))
        }
        Operation::Restore => {
            let invalid = || Answer::error(400, "BadParameter", "Backup blob is not valid.");
            let sent = call.json().ok_or_else(invalid)?;
            let (name, secret) = Vault::read_backup(sent.get("value").and_then(Value::as_str).ok_or_else(invalid)?)
                .ok_or_else(invalid)?;
            free(vault, &name)?;
            if vault.live(&name, None).is_some() {
                return Err(Answer::error(409, "Conflict", &format!("A secret with the name {name} already exists.")));
            }
            vault.put_back(secret);
            let (secret, version) = vault.live(&name, None).ok_or_else(|| missing(&name, None))?;
            Ok(ok(vault.bundle(secret, version, false)))
        }
    }
}

/// The body of a set or an update.
fn body(call: &Call, with_value: bool) -> Result<NewSecret, Answer> {
    let invalid = || Answer::error(400, "BadParameter", "Property  has invalid value\r\n");
    let new: NewSecret = call.json().and_then(|json| serde_json::from_value(json).ok()).ok_or_else(invalid)?;
    if with_value != new.value.is_some() {
        return Err(invalid());
    }
    if new.value.as_ref().is_some_and(|value| value.len() > VALUE_MOST) {
        let message = "Secret is beyond the maximum permitted length of 25600 characters.";
        return Err(Answer::error(400, "BadParameter", message));
    }
    let long = |text: &String, most: usize| text.chars().count() > most;
    let tags = new.tags.as_ref();
    if new.content_type.as_ref().is_some_and(|text| long(text, 255))
        || tags
            .is_some_and(|tags| tags.len() > 15 || tags.iter().any(|(name, value)| long(name, 512) || long(value, 512)))
    {
        return Err(invalid());
    }
    Ok(new)
}

/// Whether a name may be given to a new secret.
fn free(vault: &mut Vault, name: &str) -> Result<(), Answer> {
    match vault.deleted(name).map(|(settled, _)| settled) {
        Some(Settled::Yes) => Err(conflict("ObjectIsDeletedButRecoverable", name)),
        Some(Settled::NotYet | Settled::Purging) => {
            vault.step(name);
            Err(conflict("ObjectIsBeingDeleted", name))
        }
        None => Ok(()),
    }
}

/// The caller, whose token is good for this vault.
fn authenticate(world: &World, call: &Call) -> Result<Claims, Answer> {
    let vault = world.vaults.get(&call.host).ok_or_else(|| Answer::empty(404))?;
    let cloud = Cloud::of_vault(&call.host).ok_or_else(|| Answer::empty(404))?;
    let authority = if cloud.vault_suffix == "vault.azure.net" { "login.windows.net" } else { cloud.authority() };
    let challenge =
        format!("Bearer authorization=\"https://{authority}/{}\", resource=\"{}\"", vault.tenant, cloud.vault);
    let refuse = |message: &str, extra: &str| {
        Answer::error(401, "Unauthorized", message).with("WWW-Authenticate", &format!("{challenge}{extra}"))
    };
    let token = call.bearer().ok_or_else(|| refuse("AKV10000: Request is missing a Bearer or PoP token.", ""))?;
    let claims = world.live(token).map_err(|stale| match stale {
        Stale::Expired => refuse("[TokenExpired] Error validating token: 'S2S12086'.", ""),
        Stale::Invalid => refuse("AKV10001: Error validating token: 'S2S17001'.", ""),
    })?;
    if claims.text("aud").trim_end_matches('/') != cloud.vault {
        return Err(refuse(
            &format!("AKV10022: Invalid audience. Expected {}, found: {}.", cloud.vault, claims.text("aud")),
            "",
        ));
    }
    if claims.text("tid") != vault.tenant {
        return Err(refuse(
            &format!(
                "AKV10032: Invalid issuer. Expected one of {}/{}/, found {}.",
                cloud.issuer,
                vault.tenant,
                claims.text("iss")
            ),
            "",
        ));
    }
    if let Some(wanted) = world.demanded("key-vault", &claims) {
        let claims = STANDARD.encode(wanted.to_string());
        let extra = format!(", error=\"insufficient_claims\", claims=\"{claims}\"");
        return Err(refuse(
            "AKV10142: Access token does not meet one or more claims requirements to access key vault.",
            &extra,
        ));
    }
    Ok(claims)
}

fn network(vault: &Vault, claims: &Claims) -> Result<(), Answer> {
    let (inner, message) = match vault.network {
        Network::Open => return Ok(()),
        Network::Firewall => (
            "ForbiddenByFirewall",
            format!(
                "Client address is not authorized and caller is not a trusted service.\r\nClient address: 127.0.0.1\r\nCaller: \
                 {}\r\nVault: {};location={}",
                claims.caller(),
                vault.name,
                vault.location
            ),
        ),
        Network::Private => (
            "ForbiddenByConnection",
            format!(
                "Public network access is disabled and request is not from a trusted service nor via an approved private \
                 link.\r\nCaller: {}",
                claims.caller()
            ),
        ),
    };
    Err(forbidden(inner, &message))
}

fn forbidden(inner: &str, message: &str) -> Answer {
    Answer::json(403, &json!({"error": {"code": "Forbidden", "message": message, "innererror": {"code": inner}}}))
}

fn denied_by_role(vault: &Vault, claims: &Claims, action: &str, resource: &str) -> Answer {
    let message = format!(
        "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions \
         were changed recently, please observe propagation time.\r\nCaller: {}\r\nAction: '{action}'\r\nResource: \
         '{resource}'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \
         \r\nVault: {};location={}\r\n",
        claims.caller(),
        vault.name,
        vault.location
    );
    forbidden("ForbiddenByRbac", &message)
}

fn denied_by_policy(vault: &Vault, claims: &Claims, permission: &str) -> Answer {
    let message = format!(
        "The user, group or application '{}' does not have secrets {permission} permission on key vault '{};location={}'. For \
         help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287",
        claims.caller(),
        vault.name,
        vault.location
    );
    forbidden("AccessDenied", &message)
}

fn disabled(operation: &str) -> Answer {
    forbidden("SecretDisabled", &format!("Operation {operation} is not allowed on a disabled secret."))
}

fn missing(name: &str, version: Option<&str>) -> Answer {
    let id = version.map_or_else(|| name.to_owned(), |version| format!("{name}/{version}"));
    let message = format!(
        "A secret with (name/id) {id} was not found in this key vault. If you recently deleted this secret you may be able to \
         recover it using the correct recovery command. For help resolving this issue, please see \
         https://go.microsoft.com/fwlink/?linkid=2125182"
    );
    Answer::error(404, "SecretNotFound", &message)
}

fn no_deleted(name: &str) -> Answer {
    Answer::error(404, "SecretNotFound", &format!("Deleted Secret not found: {name}"))
}

fn conflict(inner: &str, name: &str) -> Answer {
    let message = if inner == "ObjectIsBeingDeleted" {
        format!("Secret {name} is currently being deleted and cannot be re-created; retry later.")
    } else {
        format!(
            "Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the \
             secret can only be recovered or purged."
        )
    };
    Answer::json(409, &json!({"error": {"code": "Conflict", "message": message, "innererror": {"code": inner}}}))
}
