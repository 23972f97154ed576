//! `[doors]`: what stands behind the front doors that clients of other backends come to.
//!
//! A door leads to scopes: references that end early (`keys://team`), to which the door adds the name that its client
//! asks for, as one more part of the path. Whether a scope is one, only the mounts can tell: that is checked when
//! they are known.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::CODES;
use crate::strict::Sheet;
use crate::{Failure, Name, Origin, Place};

/// For every vault and every workspace that is not named.
pub const ANY: &str = "*";

/// What that token is for.
pub const RESOURCE: &str = "https://vault.azure.net";

/// `[doors]`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Doors {
    /// `[doors.key-vault]`
    pub key_vault: Option<KeyVaultDoor>,
    /// `[doors.azureml]`
    pub azureml: Option<AzuremlDoor>,
    /// `[doors.vault]`
    pub vault: Option<VaultDoor>,
    /// `[doors.managed-identity]`
    pub managed_identity: Option<ManagedIdentityDoor>,
}

/// `[doors.key-vault]`
#[derive(Debug, Clone, PartialEq)]
pub struct KeyVaultDoor {
    /// The vaults by the host that their clients ask, in lower case: with a port only that port; [`ANY`]: every other.
    pub vaults: BTreeMap<String, WrittenScope>,
    /// Where clients get tokens, their tenant at the end. A listener needs it.
    pub authority: Option<String>,
    /// What their tokens are for.
    pub resource: String,
}

/// `[doors.azureml]`
#[derive(Debug, Clone, PartialEq)]
pub struct AzuremlDoor {
    /// The workspaces by `subscription/group/name` in lower case; [`ANY`]: every other.
    pub workspaces: BTreeMap<String, WrittenScope>,
}

/// `[doors.vault]`
#[derive(Debug, Clone, PartialEq)]
pub struct VaultDoor {
    /// The mounts by the path at which clients find them, without slashes around it. None is below another one.
    pub mounts: BTreeMap<String, WrittenScope>,
    /// The namespace that clients may name, without slashes around it.
    pub namespace: Option<String>,
}

/// `[doors.managed-identity]`
#[derive(Debug, Clone, PartialEq)]
pub struct ManagedIdentityDoor {
    /// What the tokens of credentials are handed out for: the audience, without slashes at its end, to the credential.
    pub audiences: BTreeMap<String, LentCredential>,
}

/// A credential whose tokens are handed out.
#[derive(Debug, Clone, PartialEq)]
pub struct LentCredential {
    /// Its name.
    pub credential: Name,
    /// The audience, as it is written: so the credential has it, too.
    pub audience: String,
    /// Where its key stands.
    pub place: Option<Place>,
}

/// A scope as written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenScope {
    /// The text.
    pub text: String,
    /// Where its key stands.
    pub place: Option<Place>,
}

/// What stands behind the front doors.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub(super) struct RawDoors {
    /// The door for clients of Azure Key Vault.
    key_vault: Option<RawKeyVault>,
    /// The door for the first SDK of Azure ML.
    azureml: Option<RawAzureml>,
    /// The door for clients of HashiCorp Vault's and OpenBao's KV version 2.
    vault: Option<RawVault>,
    /// The door for programs that take their tokens from a managed identity. Only the program of `run --as-azure` comes to it.
    managed_identity: Option<RawManagedIdentity>,
}

/// The door for clients of Azure Key Vault.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawKeyVault {
    /// The vaults: the host that clients ask (or host:port, or "*" for every other) to a scope, such as "keys://team".
    #[schemars(extend("minProperties" = 1))]
    vaults: BTreeMap<String, String>,
    /// Where clients get a token, their tenant at the end: https://login.microsoftonline.com/TENANT. A listener with this door needs it.
    #[schemars(regex(pattern = "^https://[^/]+/."))]
    authority: Option<String>,
    /// What the token is for. https://vault.azure.net.
    #[schemars(regex(pattern = "^https://"))]
    resource: Option<String>,
}

/// The door for the first SDK of Azure ML.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawAzureml {
    /// The workspaces: "subscription/resource group/workspace" (or "*" for every other) to a scope, such as "keys://team".
    #[schemars(extend("minProperties" = 1))]
    workspaces: BTreeMap<String, String>,
}

/// The door for clients of HashiCorp Vault's and OpenBao's KV version 2.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawVault {
    /// The mounts: the path at which clients find one, such as "secret", to a scope, such as "keys://".
    #[schemars(extend("minProperties" = 1))]
    mounts: BTreeMap<String, String>,
    /// The namespace that clients may name in X-Vault-Namespace. By default they may name none.
    #[schemars(length(min = 1))]
    namespace: Option<String>,
}

/// The door for programs that take their tokens from a managed identity.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawManagedIdentity {
    /// What real tokens may be handed out for: an audience, such as "https://storage.azure.com", to the credential that gets them.
    #[schemars(extend("minProperties" = 1))]
    audiences: BTreeMap<String, String>,
}

impl Doors {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(sheet: &Sheet<'_>, raw: RawDoors) -> Result<Self, Failure> {
        let key_vault = raw.key_vault.map(|raw| raw.check(sheet)).transpose()?;
        let azureml = raw.azureml.map(|raw| raw.check(sheet)).transpose()?;
        let vault = raw.vault.map(|raw| raw.check(sheet)).transpose()?;
        let managed_identity = raw.managed_identity.map(|raw| raw.check(sheet)).transpose()?;
        Ok(Self { key_vault, azureml, vault, managed_identity })
    }
}

impl RawKeyVault {
    fn check(self, sheet: &Sheet<'_>) -> Result<KeyVaultDoor, Failure> {
        let path = ["doors", "key-vault"];
        for (key, address) in [("authority", &self.authority), ("resource", &self.resource)] {
            if address.as_deref().is_some_and(|address| !is_address(address)) {
                let message = "must be an https address, without a query and without a slash at its end";
                return Err(sheet.wrong(CODES.value, &[path[0], path[1], key], message));
            }
        }
        // Half of Microsoft's clients end at a challenge without a tenant.
        if self.authority.as_deref().is_some_and(|address| address.matches('/').count() < 3) {
            let message = "must have the tenant at its end: https://login.microsoftonline.com/TENANT";
            return Err(sheet.wrong(CODES.value, &[path[0], path[1], "authority"], message));
        }
        let vaults = scopes(sheet, [path[0], path[1], "vaults"], self.vaults, |host| {
            let known = Origin::of_authority(true, host).is_ok_and(|origin| origin.authority() == *host);
            match known {
                true => Ok(host.to_owned()),
                false => Err("must name hosts in lower case, with a port only where it is not 443, or \"*\""),
            }
        })?;
        Ok(KeyVaultDoor {
            vaults,
            authority: self.authority,
            resource: self.resource.unwrap_or_else(|| RESOURCE.to_owned()),
        })
    }
}

impl RawAzureml {
    fn check(self, sheet: &Sheet<'_>) -> Result<AzuremlDoor, Failure> {
        let path = ["doors", "azureml", "workspaces"];
        let workspaces = scopes(sheet, path, self.workspaces, |name| {
            let parts: Vec<&str> = name.split('/').collect();
            let plain = |part: &&str| !part.is_empty() && !part.chars().any(|c| c.is_control() || c.is_whitespace());
            match parts.len() == 3 && parts.iter().all(plain) {
                // As the resource manager compares them.
                true => Ok(name.to_lowercase()),
                false => Err("must name workspaces as \"subscription/resource group/workspace\", or \"*\""),
            }
        })?;
        Ok(AzuremlDoor { workspaces })
    }
}

impl RawVault {
    fn check(self, sheet: &Sheet<'_>) -> Result<VaultDoor, Failure> {
        let path = ["doors", "vault", "mounts"];
        if self.namespace.as_deref().is_some_and(|namespace| !is_path(namespace)) {
            let message = "must be a path of letters, digits, `-`, `_` and `.`, without slashes around it";
            return Err(sheet.wrong(CODES.value, &["doors", "vault", "namespace"], message));
        }
        let mounts = scopes(sheet, path, self.mounts, |name| match name.split('/').next() {
            Some("sys" | "auth" | "identity" | "cubbyhole") => Err("begins like a path that Vault keeps for itself"),
            _ if !is_path(name) => {
                Err("must be a path of letters, digits, `-`, `_` and `.`, without slashes around it")
            }
            _ => Ok(name.to_owned()),
        })?;
        let below = |name: &&String| mounts.keys().any(|other| name.starts_with(&format!("{other}/")));
        if let Some(name) = mounts.keys().find(below) {
            return Err(sheet.wrong(CODES.value, &[path[0], path[1], path[2], name], "is below another mount"));
        }
        Ok(VaultDoor { mounts, namespace: self.namespace })
    }
}

impl RawManagedIdentity {
    fn check(self, sheet: &Sheet<'_>) -> Result<ManagedIdentityDoor, Failure> {
        let path = ["doors", "managed-identity", "audiences"];
        if self.audiences.is_empty() {
            return Err(sheet.wrong(CODES.value, &path, "must hold at least one entry"));
        }
        let mut audiences = BTreeMap::new();
        for (audience, credential) in self.audiences {
            let at = [path[0], path[1], path[2], &audience];
            let plain = audience.bytes().all(|b| b.is_ascii_graphic());
            let shortened = audience.trim_end_matches('/');
            if shortened.is_empty() || !plain || shortened.ends_with("/.default") {
                let message = "must name audiences as credentials do, without /.default at their end";
                return Err(sheet.wrong(CODES.value, &at, message));
            }
            let name = Name::parse(&credential)
                .map_err(|_| sheet.wrong(CODES.value, &at, "must name a credential of [credentials]"))?;
            let lent = LentCredential { credential: name, place: sheet.place(&at), audience: audience.clone() };
            if audiences.insert(shortened.to_owned(), lent).is_some() {
                return Err(sheet.wrong(CODES.value, &at, "stands twice: a slash at the end makes no difference"));
            }
        }
        Ok(ManagedIdentityDoor { audiences })
    }
}

/// Whether a text is a path that a client's URL shows as it is.
fn is_path(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(plain))
}

/// Checks the keys of a table of scopes; `key` gives the one that is looked up, or what is wrong with it.
fn scopes(
    sheet: &Sheet<'_>,
    path: [&str; 3],
    written: BTreeMap<String, String>,
    key: impl Fn(&str) -> Result<String, &'static str>,
) -> Result<BTreeMap<String, WrittenScope>, Failure> {
    if written.is_empty() {
        return Err(sheet.wrong(CODES.value, &path, "must hold at least one entry"));
    }
    let mut scopes = BTreeMap::new();
    for (name, text) in written {
        let at = [path[0], path[1], path[2], &name];
        let looked_up = match name.as_str() {
            ANY if path[1] != "vault" => name.clone(),
            _ => key(&name).map_err(|message| sheet.wrong(CODES.value, &at, message))?,
        };
        let scope = WrittenScope { text, place: sheet.place(&at) };
        if scopes.insert(looked_up, scope).is_some() {
            return Err(sheet.wrong(CODES.value, &at, "stands twice: upper and lower case are the same here"));
        }
    }
    Ok(scopes)
}

/// Whether a text is an https address that can stand in a header between quotes.
fn is_address(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    // Clients put something behind it, or take all behind the host for a tenant.
    Origin::of_authority(true, host).is_ok() && path.bytes().all(plain) && !text.ends_with('/')
}
