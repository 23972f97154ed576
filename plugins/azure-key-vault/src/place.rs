//! What a reference means here: a vault, and a secret in it.
//!
//! The host has parsed it, and its rules bound the request to it. What is checked here again is what
//! only Azure knows: which names a vault and a secret can have, so that a mistake is told before
//! anything is asked.

use strongroom_azure::{CLOUDS, check_secret_name};
use strongroom_plugin::http::{self, Method, Request};
use strongroom_plugin::{Failure, Reference};

/// The version of the data plane. Later ones change nothing of what is used here.
const API_VERSION: &str = "7.4";

/// A vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vault {
    /// Its name: the first label of its host.
    pub name: String,
    /// `https://{name}.vault.azure.net`, or that of another cloud.
    pub origin: String,
}

/// A secret in a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The vault.
    pub vault: Vault,
    /// The secret's name.
    pub name: String,
    /// The version; none: the current one.
    pub version: Option<String>,
}

/// What is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The vault.
    pub vault: Vault,
    /// What was soft-deleted, in place of what is there.
    pub deleted: bool,
    /// What comes before a name to make a path of it: `secrets/`, where the scope is the vault itself.
    pub before: &'static str,
}

impl Vault {
    /// The vault that `reference` names.
    ///
    /// # Errors
    /// Kind invalid-reference: the host is no vault's.
    pub fn of(reference: &Reference) -> Result<Self, Failure> {
        let wrong = |code: &str, message: String| Err(Failure::invalid_reference(code, message));
        let Some(host) = reference.authority.as_deref() else {
            return wrong(
                "keyvault.host",
                "a reference names a vault: `keyvault:https://{vault}.vault.azure.net/`".into(),
            );
        };
        if host.contains(':') {
            let message = format!("`{host}` has a port, and a vault is asked on the port of https alone");
            return wrong("keyvault.port", message);
        }
        if CLOUDS.iter().any(|cloud| host.ends_with(cloud.hsms)) {
            let message =
                format!("`{host}` is a managed HSM, which holds keys and no secrets; a vault's host is another");
            return wrong("keyvault.managed-hsm", message);
        }
        let Some(name) = CLOUDS.iter().find_map(|cloud| host.strip_suffix(cloud.vaults)) else {
            let known = CLOUDS.map(|cloud| format!("*{}", cloud.vaults)).join(", ");
            return wrong("keyvault.host", format!("`{host}` is no vault's host: those are {known}"));
        };
        if !is_vault_name(name) {
            let message = format!(
                "`{name}` is not the name of a vault: it is 3 to 24 of a-z, 0-9 and -, begins with a letter, ends with a letter \
                 or digit, and has no dot and no two hyphens in a row"
            );
            return wrong("keyvault.vault-name", message);
        }
        Ok(Self { name: name.to_owned(), origin: format!("https://{host}") })
    }

    /// A request to this vault.
    pub fn request<'s>(&self, method: Method, path: impl IntoIterator<Item = &'s str>) -> Request {
        http::request(method, &self.origin)
            .path(path)
            .query("api-version", API_VERSION)
            .header("accept", "application/json")
    }
}

/// `^[A-Za-z][0-9A-Za-z-]{1,22}[0-9A-Za-z]$`, without `--`.
fn is_vault_name(name: &str) -> bool {
    (3..=24).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.contains("--")
}

impl Place {
    /// Reads a reference.
    ///
    /// # Errors
    /// Kind invalid-reference: it names nothing that a vault can have.
    pub fn of(reference: &Reference) -> Result<Self, Failure> {
        reference.only_selectors(&["version"])?;
        let vault = Vault::of(reference)?;
        let [word, name] = reference.path.as_slice() else { return Err(form()) };
        if word != "secrets" {
            return Err(form());
        }
        check_secret_name(name)?;
        let version = reference.selector("version").map(str::to_owned);
        // `/secrets/{name}/versions` is a list, and no version.
        if let Some(version) = &version
            && (version.is_empty() || version == "versions" || !version.bytes().all(|b| b.is_ascii_alphanumeric()))
        {
            let message = format!("`{version}` is not the version of a secret: those are 32 of 0-9 and a-f");
            return Err(Failure::invalid_reference("keyvault.version", message));
        }
        Ok(Self { vault, name: name.clone(), version })
    }

    /// A request for this secret below `collection`: without its version.
    pub fn request(&self, method: Method, collection: &str) -> Request {
        self.vault.request(method, [collection, self.name.as_str()])
    }

    /// A request for this very version, or the current one.
    pub fn versioned(&self, method: Method) -> Request {
        self.request(method, "secrets").path(self.version.as_deref())
    }

    /// That the reference names no version.
    ///
    /// # Errors
    /// `keyvault.one-version`, kind unsupported, with `why`.
    pub fn only_as_a_whole(&self, why: &str) -> Result<(), Failure> {
        match self.version {
            None => Ok(()),
            Some(_) => Err(Failure::unsupported("keyvault.one-version", why)),
        }
    }

    /// For messages.
    #[must_use]
    pub fn shown(&self) -> String {
        let Self { vault, name, version } = self;
        match version {
            Some(version) => format!("version {version} of `{name}` in the vault `{}`", vault.name),
            None => format!("`{name}` in the vault `{}`", vault.name),
        }
    }
}

impl Scope {
    /// Reads the scope of a listing.
    ///
    /// # Errors
    /// Kind invalid-reference: it is no vault's.
    pub fn of(reference: &Reference) -> Result<Self, Failure> {
        reference.only_selectors(&["state"])?;
        let deleted = match reference.selector("state") {
            None => false,
            Some("deleted") => true,
            Some(_) => {
                let message = "what is listed is there, or has the state `deleted`; there is no other";
                return Err(Failure::invalid_reference("keyvault.state", message));
            }
        };
        let before = match reference.path.as_slice() {
            [] => "secrets/",
            [word] if word == "secrets" => "",
            _ => {
                let message = "names are listed of a vault: `keyvault:https://{vault}.vault.azure.net/secrets`";
                return Err(Failure::invalid_reference("keyvault.scope", message));
            }
        };
        Ok(Self { vault: Vault::of(reference)?, deleted, before })
    }
}

fn form() -> Failure {
    let message = "a reference is `keyvault:https://{vault}.vault.azure.net/secrets/{name}`, and a version may follow";
    Failure::invalid_reference("keyvault.form", message)
}
