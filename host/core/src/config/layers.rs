//! Several config files become one.
//!
//! A mount comes whole from one file; entries are never merged. The user's own file cannot be
//! overruled by a project's, because somebody else writes that. A file named with `--config` takes the
//! project's place and may overrule, because the person who runs it named it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::doors::Doors;
use super::listeners::{Listener, ServerConfig};
use super::{Access, AuditConfig, Ca, Config, Credential, Layer, Mount, RunConfig, Source, StoreConfig, Tool};
use crate::{Failure, Kind, Name, Text};

/// The files that were found.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The user's own.
    pub user: Option<Config>,
    /// The nearest one up to the repository's root, once it is trusted.
    pub project: Option<Config>,
    /// The one that was named. The project's is then not looked at.
    pub explicit: Option<Config>,
}

/// What is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// All mounts, each with its source.
    pub mounts: BTreeMap<Name, Mount>,
    /// All credentials, each with its source.
    pub credentials: BTreeMap<Name, Credential>,
    /// All certificate authorities.
    pub ca: BTreeMap<Name, Ca>,
    /// Where hosts are, by authority.
    pub addresses: BTreeMap<String, SocketAddr>,
    /// What auth plugins may have run, by name.
    pub tools: BTreeMap<String, Tool>,
    /// `[store]` of the file that was named, else of the user's.
    pub store: StoreConfig,
    /// `[run]` of the file that was named, else of the user's.
    pub run: RunConfig,
    /// The listeners of the file that was named, else of the user's; without any, the built-in one, named `local`.
    pub listeners: BTreeMap<Name, Listener>,
    /// `[server]` of the file that was named, else of the user's.
    pub server: ServerConfig,
    /// `[doors]` of the file that was named, else of the user's.
    pub doors: Doors,
    /// `[callers]`, `[issuers]` and `[[policy]]`, all of the file that was named if it has any of them, else of
    /// the user's.
    pub access: Access,
    /// `[audit]` of the file that was named, else of the user's.
    pub audit: Option<AuditConfig>,
    /// The files that were used, the strongest first.
    pub origins: Vec<(Layer, Text)>,
}

impl Layers {
    /// Puts them together with the mounts that exist without any file.
    ///
    /// # Errors
    /// `config.project-redefines` if the project's file has a mount that the user's has too, or one
    /// named `keys`, whose data are the user's; `config.policy` for a rule about a mount that there is not.
    pub fn merge(self) -> Result<Effective, Failure> {
        let Self { user, project, explicit } = self;
        let named = explicit.is_some();
        let strong = explicit.or(project);
        let mut mounts: BTreeMap<Name, Mount> = BTreeMap::new();
        for (plugin, write) in [("env", false), ("keys", true)] {
            if let Ok(name) = Name::parse(plugin) {
                mounts.insert(name.clone(), Mount::builtin(name, write));
            }
        }
        let mut origins = Vec::new();
        let mut credentials: BTreeMap<Name, Credential> = BTreeMap::new();
        let mut ca = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        let mut tools = BTreeMap::new();
        let mut store = None;
        let mut run = None;
        let mut listeners = BTreeMap::new();
        let mut server = None;
        let mut doors = Doors::default();
        let mut access = Access::default();
        let mut audit = None;
        if let Some(user) = user {
            origins.push((user.layer, user.origin));
            mounts.extend(user.mounts);
            credentials = user.credentials;
            ca = user.ca;
            addresses = user.addresses;
            tools = user.tools;
            store = user.store;
            run = user.run;
            listeners = user.listeners;
            server = user.server;
            doors = user.doors;
            access = user.access;
            audit = user.audit;
        }
        if let Some(strong) = strong {
            origins.insert(0, (strong.layer, strong.origin));
            for (name, mount) in strong.mounts {
                if let Some(own) = mounts.get(&name).filter(|own| !named && belongs_to_user(&name, &own.source)) {
                    return Err(redefined("mount", &name, &own.source, &mount.source).on_mount(&name));
                }
                mounts.insert(name, mount);
            }
            for (name, credential) in strong.credentials {
                if let Some(own) = credentials.get(&name).filter(|_| !named) {
                    return Err(redefined("credential", &name, &own.source, &credential.source));
                }
                credentials.insert(name, credential);
            }
            // Only the user's own file and one that was named can have any.
            ca.extend(strong.ca);
            addresses.extend(strong.addresses);
            tools.extend(strong.tools);
            store = strong.store.or(store);
            run = strong.run.or(run);
            // Not added to each other: a file that is named says where its server is reached, and nobody else does.
            if !strong.listeners.is_empty() {
                listeners = strong.listeners;
            }
            server = strong.server.or(server);
            if !strong.doors.is_empty() {
                doors = strong.doors;
            }
            if !strong.access.is_empty() {
                access = strong.access;
            }
            audit = strong.audit.or(audit);
        }
        if listeners.is_empty()
            && let Ok(name) = Name::parse("local")
        {
            listeners.insert(name, Listener::built_in());
        }
        access.check_mounts(&mounts)?;
        Ok(Effective {
            mounts,
            credentials,
            ca,
            addresses,
            tools,
            store: store.unwrap_or_default(),
            run: run.unwrap_or_default(),
            listeners,
            server: server.unwrap_or_default(),
            doors,
            access,
            audit,
            origins,
        })
    }
}

/// The built-in `env` holds nothing of the user's, so a project may narrow it; `keys` does.
fn belongs_to_user(name: &Name, source: &Source) -> bool {
    source.layer == Layer::User || name.as_str() == "keys"
}

fn redefined(what: &str, name: &Name, own: &Source, project: &Source) -> Failure {
    let message = match own.position {
        Some((line, _)) => {
            format!("the project's file redefines the {what} {name}, which is yours ({}, line {line})", own.origin)
        }
        None => format!("the project's file redefines the {what} {name}, which holds your own keys"),
    };
    Failure::new(Kind::InvalidConfig, "config.project-redefines", message)
        .at(project.place(name))
        .help("give the project's own another name, or name the file with --config if it is yours")
}
