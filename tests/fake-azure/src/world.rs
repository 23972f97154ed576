//! All that the fake knows: one value behind one lock, filled by seed documents. It must never wait.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::arm::Workspace;
use crate::clock::Clock;
use crate::cloud::Cloud;
use crate::directory::{App, Assignment, Directory, Identity, Tenant, User};
use crate::entra::SignIns;
use crate::faults::Faults;
use crate::http::{Answer, Call};
use crate::identity::{self, Machine};
use crate::ml::Run;
use crate::record::Record;
use crate::token::{Claims, Signer};
use crate::vault::{NewSecret, Vault};

/// What a test may set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Milliseconds that each answer of a service takes.
    pub latency_ms: u64,
    /// Seconds that Entra's access tokens last.
    pub token_lifetime: i64,
    /// Seconds that managed identities' tokens last.
    pub identity_token_lifetime: i64,
    /// `refresh_in` of Entra's answers.
    pub refresh_in: Option<i64>,
    /// Seconds between two polls of a device code.
    pub device_interval: i64,
    /// Seconds that a device code lasts.
    pub device_expires_in: i64,
    /// Polls after which a device code approves itself.
    pub device_auto_approve: Option<u32>,
    /// The browser's person says no.
    pub refuse_browser: bool,
    /// Who signs in when nobody is named: a name or an object id.
    pub person: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            token_lifetime: 3599,
            identity_token_lifetime: 86399,
            refresh_in: None,
            device_interval: 5,
            device_expires_in: 900,
            device_auto_approve: None,
            refuse_browser: false,
            person: None,
        }
    }
}

/// A demand of a resource for more claims (continuous access evaluation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// `key-vault` or `arm`.
    pub service: String,
    /// The JSON that the token request has to repeat.
    pub claims: Value,
    /// Only tokens whose request said that its client knows such demands.
    #[serde(default)]
    pub able_only: bool,
}

/// Everything.
#[derive(Default)]
pub struct World {
    /// The time.
    pub clock: Clock,
    /// What a test may set.
    pub settings: Settings,
    /// Who there is.
    pub directory: Directory,
    /// Signs and checks tokens.
    pub signer: Signer,
    /// Tokens issued before this second are refused everywhere.
    pub revoked_before: i64,
    /// Sign-ins under way, and refresh tokens.
    pub sign_ins: SignIns,
    /// The machine's own identity endpoints.
    pub machine: Machine,
    /// Vaults by host.
    pub vaults: BTreeMap<String, Vault>,
    /// Workspaces.
    pub workspaces: Vec<Workspace>,
    /// Jobs that run.
    pub runs: Vec<Run>,
    /// Claims that resources demand.
    pub demands: Vec<Demand>,
    /// Faults switched on.
    pub faults: Faults,
    /// What was asked.
    pub record: Record,
}

/// What to add or replace. Each list is by the entry's own key.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seed {
    tenants: Vec<Tenant>,
    apps: Vec<App>,
    users: Vec<User>,
    identities: Vec<Identity>,
    assignments: Vec<Assignment>,
    vaults: Vec<Vault>,
    secrets: Vec<SeedSecret>,
    workspaces: Vec<Workspace>,
    connections: Vec<SeedConnection>,
    runs: Vec<Run>,
}

/// A secret with its place.
#[derive(Deserialize)]
struct SeedSecret {
    /// The vault's host.
    vault: String,
    name: String,
    #[serde(flatten)]
    secret: NewSecret,
}

/// A connection with its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedConnection {
    /// The workspace's name.
    workspace: String,
    name: String,
    /// As in a PUT, with credentials.
    properties: serde_json::Map<String, Value>,
}

/// What to take away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Removal {
    /// Client ids.
    apps: Vec<String>,
    /// Names.
    users: Vec<String>,
    /// Object ids.
    identities: Vec<String>,
    /// Object ids whose roles all go.
    assignments: Vec<String>,
    /// Hosts.
    vaults: Vec<String>,
    /// `host/name`: gone without soft delete.
    secrets: Vec<String>,
    /// Names.
    workspaces: Vec<String>,
    /// `workspace/name`.
    connections: Vec<String>,
}

impl World {
    /// Adds or replaces what the seed names.
    ///
    /// # Errors
    ///
    /// Says which entry is wrong; those before it are in place.
    pub fn seed(&mut self, seed: Seed) -> Result<(), String> {
        let now = self.clock.now();
        let directory = &mut self.directory;
        for tenant in seed.tenants {
            upsert(&mut directory.tenants, tenant, |tenant| tenant.id.clone());
        }
        for app in seed.apps {
            crate::entra::check_certificates(&app)?;
            upsert(&mut directory.apps, app, |app| app.client_id.clone());
        }
        for user in seed.users {
            upsert(&mut directory.users, user, |user| user.object_id.clone());
        }
        for identity in seed.identities {
            upsert(&mut directory.identities, identity, |identity| identity.object_id.clone());
        }
        for assignment in seed.assignments {
            if !assignment.is_known() {
                return Err(format!("the fake knows no role {:?}", assignment.role));
            }
            if !directory.assignments.contains(&assignment) {
                directory.assignments.push(assignment);
            }
        }
        for mut vault in seed.vaults {
            let host = vault.host();
            if let Some(old) = self.vaults.remove(&host) {
                vault.take_secrets(old);
            }
            self.vaults.insert(host, vault);
        }
        for SeedSecret { vault, name, secret } in seed.secrets {
            let vault = self.vaults.get_mut(&vault).ok_or_else(|| format!("there is no vault {vault:?}"))?;
            if secret.value.is_none() {
                return Err(format!("the secret {name:?} has no value"));
            }
            vault.add(&name, secret, now);
        }
        for mut workspace in seed.workspaces {
            if let Some(at) = self.workspaces.iter().position(|known| known.name == workspace.name) {
                workspace.take_connections(self.workspaces.swap_remove(at));
            }
            self.workspaces.push(workspace);
        }
        for SeedConnection { workspace, name, properties } in seed.connections {
            let found = self.workspaces.iter_mut().find(|known| known.name == workspace);
            found.ok_or_else(|| format!("there is no workspace {workspace:?}"))?.add(&name, properties, now);
        }
        for run in seed.runs {
            upsert(&mut self.runs, run, |run| run.id.clone());
        }
        Ok(())
    }

    /// Takes away what is named; what is not there is no error.
    pub fn remove(&mut self, removal: &Removal) {
        let gone = |list: &[String], key: &str| list.iter().any(|name| name == key);
        self.directory.apps.retain(|app| !gone(&removal.apps, &app.client_id));
        self.directory.users.retain(|user| !gone(&removal.users, &user.name));
        self.directory.identities.retain(|identity| !gone(&removal.identities, &identity.object_id));
        self.directory.assignments.retain(|given| !gone(&removal.assignments, &given.principal));
        self.vaults.retain(|host, _| !gone(&removal.vaults, host));
        for (host, vault) in &mut self.vaults {
            vault.retain(|name| !gone(&removal.secrets, &format!("{host}/{name}")));
        }
        self.workspaces.retain(|workspace| !gone(&removal.workspaces, &workspace.name));
        for workspace in &mut self.workspaces {
            let place = workspace.name.clone();
            workspace.retain(|name| !gone(&removal.connections, &format!("{place}/{name}")));
        }
    }

    /// The claims of a token that is signed, not over and not revoked.
    pub fn live(&self, token: &str) -> Result<Claims, Stale> {
        let claims = self.signer.verify(token).ok_or(Stale::Invalid)?;
        if claims.number("exp") <= self.clock.now() {
            return Err(Stale::Expired);
        }
        if claims.number("iat") < self.revoked_before {
            return Err(Stale::Invalid);
        }
        Ok(claims)
    }

    /// What a service still demands of this token: the claims to ask for.
    pub fn demanded(&self, service: &str, claims: &Claims) -> Option<&Value> {
        let satisfied = claims.0.get("satisfied").and_then(|satisfied| satisfied.get("access_token"));
        self.demands
            .iter()
            .filter(|demand| demand.service == service)
            .filter(|demand| !demand.able_only || claims.0.get("xms_cc").is_some())
            .map(|demand| &demand.claims)
            .find(|wanted| {
                let wanted = wanted.get("access_token").and_then(Value::as_object);
                wanted.is_some_and(|wanted| {
                    wanted.iter().any(|(name, value)| satisfied.and_then(|given| given.get(name)) != Some(value))
                })
            })
    }

    /// Which service a name belongs to; none if there is no such name.
    pub fn service_of(&self, host: &str, path: &str) -> Option<&'static str> {
        if Cloud::of_authority(host).is_some() {
            Some("entra")
        } else if Cloud::of_arm(host).is_some() {
            Some("arm")
        } else if self.vaults.contains_key(host) {
            Some("key-vault")
        } else if self.workspaces.iter().any(|workspace| workspace.hosts().iter().any(|known| known == host)) {
            Some("ml")
        } else {
            identity::service_of(host, path)
        }
    }

    /// Answers for one service.
    pub fn answer(&mut self, service: &str, call: &Call) -> Answer {
        match service {
            "entra" => crate::entra::answer(self, call),
            "arm" => crate::arm::answer(self, call),
            "key-vault" => crate::vault::answer(self, call),
            "ml" => crate::ml::answer(self, call),
            _ => identity::answer(self, service, call),
        }
    }
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Not signed by this fake, or revoked.
    Invalid,
    /// Over.
    Expired,
}

fn upsert<T>(list: &mut Vec<T>, entry: T, key: impl Fn(&T) -> String) {
    match list.iter_mut().find(|known| key(known).eq_ignore_ascii_case(&key(&entry))) {
        Some(known) => *known = entry,
        None => list.push(entry),
    }
}
