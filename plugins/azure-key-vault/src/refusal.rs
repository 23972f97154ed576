//! What the vault's failures mean, each reason by itself.
//!
//! They are told apart by status and code. A vault's own text names identities, tenants and addresses;
//! none of it gets into a failure.

use strongroom_azure::{Fault, retold};
use strongroom_plugin::http::Response;
use strongroom_plugin::{Failure, Kind};

use crate::place::{Place, Vault};

/// What was asked of the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the data plane's operations")]
pub enum Operation {
    Get,
    Set,
    Update,
    List,
    Delete,
    Recover,
    Purge,
}

/// The role that may read values and names.
const USER: &str = "Key Vault Secrets User (4633458b-17de-408a-b874-0445c86b69e6)";
/// The role that may do all with secrets.
const OFFICER: &str = "Key Vault Secrets Officer (b86a8fe4-44ce-4948-aee5-eccb2c155cd7)";

impl Operation {
    /// The permission of an access policy, the action below `Microsoft.KeyVault/vaults/secrets/`, and
    /// the least role that has it.
    const fn needs(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Get => ("get", "getSecret/action", USER),
            Self::List => ("list", "readMetadata/action", USER),
            Self::Set => ("set", "setSecret/action", OFFICER),
            Self::Update => ("set", "update/action", OFFICER),
            Self::Delete => ("delete", "delete", OFFICER),
            Self::Recover => ("recover", "recover/action", OFFICER),
            Self::Purge => ("purge", "purge/action", OFFICER),
        }
    }
}

/// Why `operation` on `place`, or on all of `vault`, was answered with `response`, which is no success.
#[must_use]
pub fn refused(vault: &Vault, place: Option<&Place>, operation: Operation, response: &Response) -> Failure {
    let fault = Fault::of(response);
    let name = &vault.name;
    let what = place.map_or_else(|| format!("the vault `{name}`"), Place::shown);
    let tell = |kind, code: &str, message: String| retold(response, kind, code, message);
    let (permission, action, role) = operation.needs();
    match response.status() {
        401 => unauthenticated(name, response, &fault),
        403 if fault.is("ForbiddenByRbac") => {
            let message = format!(
                "the identity may not do this to {what}: it lacks Microsoft.KeyVault/vaults/secrets/{action}; assign it the role \
                 {role} on the vault or the secret, which takes minutes to act"
            );
            tell(Kind::Denied, "ForbiddenByRbac", message).attribute("role", role)
        }
        403 if fault.is("AccessDenied") => {
            let message = format!(
                "no access policy of the vault `{name}` gives the identity the permission to {permission} secrets; add one, or \
                 move the vault to roles and assign {role}"
            );
            tell(Kind::Denied, "AccessDenied", message).attribute("permission", permission)
        }
        403 if fault.is("ForbiddenByFirewall") => {
            let message = format!(
                "the firewall of the vault `{name}` does not let this machine's address in; add the address, or the network, to \
                 the vault's networking rules"
            );
            tell(Kind::Denied, "ForbiddenByFirewall", message)
        }
        403 if fault.is("ForbiddenByConnection") => {
            let message = format!(
                "the vault `{name}` is reached over its private link alone, and this request did not come that way; its name has \
                 to lead to the private endpoint, and the mount needs network = \"private\""
            );
            tell(Kind::Denied, "ForbiddenByConnection", message)
        }
        403 if fault.is("SecretDisabled") => {
            let message = format!("{what} is disabled; enable it, or name another version");
            tell(Kind::Denied, "SecretDisabled", message)
        }
        403 => {
            let code = fault.word().unwrap_or("http.403");
            let protected =
                if operation == Operation::Purge { "; a vault with purge protection lets nobody purge" } else { "" };
            tell(Kind::Denied, code, format!("the vault `{name}` refuses to {permission} this{protected}"))
        }
        404 if matches!(operation, Operation::Recover | Operation::Purge) => {
            let message =
                format!("{what} is not among the deleted secrets; one that was just deleted is there in a while");
            tell(Kind::NotFound, fault.word().unwrap_or("http.404"), message)
        }
        404 => {
            let code = fault.word().unwrap_or("http.404");
            tell(Kind::NotFound, code, format!("{what} is not there"))
        }
        409 if fault.is("ObjectIsDeletedButRecoverable") => {
            let message = format!(
                "{what} was deleted and keeps its name: recover it (strongroom recover), or purge it (strongroom purge), before it \
                 is set again"
            );
            tell(Kind::Conflict, "ObjectIsDeletedButRecoverable", message)
        }
        409 if fault.is("ObjectIsBeingDeleted") => {
            let message = format!("{what} is being deleted or purged just now; try again in a while");
            tell(Kind::Unavailable, "ObjectIsBeingDeleted", message)
        }
        409 => {
            let code = fault.word().unwrap_or("http.409");
            tell(Kind::Conflict, code, format!("the vault `{name}` says that this is in conflict with what is there"))
        }
        400 => {
            let message = format!(
                "the vault `{name}` does not take the request for {what}: a name, an attribute, a tag or the value is not one that \
                 it accepts"
            );
            tell(Kind::InvalidReference, fault.word().unwrap_or("http.400"), message)
        }
        429 => {
            let message =
                format!("the vault `{name}` is asked too much: about 4000 times in 10 s are served, for all who ask");
            tell(Kind::Throttled, fault.word().unwrap_or("http.429"), message)
        }
        status @ (408 | 500..=599) => {
            let code = fault.word().map_or_else(|| format!("http.{status}"), str::to_owned);
            tell(Kind::Unavailable, &code, format!("the vault `{name}` could not answer ({status})"))
        }
        _ => response.failure(),
    }
}

/// The host has answered the vault's challenge already: this is final.
fn unauthenticated(name: &str, response: &Response, fault: &Fault) -> Failure {
    let (code, why) = match fault.akv.as_deref() {
        Some("AKV10032") => (
            "keyvault.wrong-tenant",
            "the token is of another tenant than the vault's; give the credential the tenant of the vault",
        ),
        Some("AKV10022") => (
            "keyvault.wrong-audience",
            "the token is for another resource; the credential has to get one for the vaults of this cloud",
        ),
        _ => ("keyvault.unauthenticated", "it takes no token that the mount's credential gives; sign in anew"),
    };
    retold(response, Kind::Unauthenticated, code, format!("the vault `{name}` does not accept the token: {why}"))
}

/// Why a request did not get to the vault. A vault that does not exist has no address.
#[must_use]
pub fn unsent(vault: &Vault, failure: Failure) -> Failure {
    if failure.code != "http.dns" {
        return failure;
    }
    let name = &vault.name;
    let message = format!("there is no vault `{name}`, or names cannot be looked up: {} has no address", vault.origin);
    Failure { code: "keyvault.no-vault".into(), message, ..failure }
}
