//! What stands behind the doors: the scopes of the config, read once with the mounts that answer them.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderValue;
use strongroom::{Failure, Kind, Reference, Strongroom};
use strongroom_core::config::doors::{ANY, RESOURCE, WrittenScope};
use strongroom_core::config::listeners::Door;

/// Where a run's child is sent for a token, if nothing else is said. It asks the run's managed identity, which minds no tenant;
/// but its clients read one there, and some end if there is none.
const A_TENANT: &str = "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000";

/// The doors of one config.
#[derive(Debug)]
pub(crate) struct InForce {
    /// The vaults, by host.
    pub(crate) vaults: Scopes,
    /// How clients of the Key Vault door are sent for a token.
    pub(crate) challenge: HeaderValue,
    /// Whether a vault that is not among them stands for itself: its names are references of the host's own.
    pub(crate) vaults_themselves: bool,
    /// What the tokens of vaults' clients are for.
    pub(crate) resource: String,
    /// The workspaces, by subscription, group and name.
    pub(crate) workspaces: Scopes,
}

/// Scopes by what their clients call them.
#[derive(Debug, Default)]
pub(crate) struct Scopes(BTreeMap<String, Reference>);

impl InForce {
    /// # Errors
    /// `config.door` for a scope that is none, that no mount answers, or that is missing for a door that a listener
    /// has.
    pub(crate) fn read(strongroom: &Strongroom) -> Result<Self, Failure> {
        let doors = strongroom.doors();
        let listened: BTreeSet<Door> =
            strongroom.listeners().flat_map(|(_, (listener, _))| listener.doors.iter().copied()).collect();
        for (door, there, key) in [
            (Door::KeyVault, doors.key_vault.is_some(), "vaults"),
            (Door::Azureml, doors.azureml.is_some(), "workspaces"),
        ] {
            if listened.contains(&door) && !there {
                let name = door.name();
                let message = format!("a listener has the door `{name}`, and nothing says what stands behind it");
                return Err(Failure::new(Kind::InvalidConfig, "config.door", message)
                    .help(format!("write [doors.{name}] {key} = {{ \"*\" = \"keys://team\" }}")));
            }
        }
        let read = Self::new(strongroom)?;
        let authority = doors.key_vault.as_ref().map(|door| door.authority.is_some());
        if listened.contains(&Door::KeyVault) && authority == Some(false) {
            let message = "a listener has the door `key-vault`, and nothing says where its clients get their tokens";
            return Err(Failure::new(Kind::InvalidConfig, "config.door", message)
                .help("write [doors.key-vault] authority = \"https://login.microsoftonline.com/TENANT\", your tenant's id at the end"));
        }
        Ok(read)
    }

    /// As one run's child comes to them, which needs no listener. Without `[doors.key-vault]` each vault stands for
    /// itself.
    ///
    /// # Errors
    /// `config.door` for a scope that is none, or that no mount answers.
    pub(crate) fn of_a_run(strongroom: &Strongroom) -> Result<Self, Failure> {
        let vaults_themselves = strongroom.doors().key_vault.is_none();
        Ok(Self { vaults_themselves, ..Self::new(strongroom)? })
    }

    fn new(strongroom: &Strongroom) -> Result<Self, Failure> {
        let doors = strongroom.doors();
        let (mut vaults, mut workspaces) = (Scopes::default(), Scopes::default());
        let (mut authority, mut resource) = (A_TENANT, RESOURCE);
        if let Some(door) = &doors.key_vault {
            vaults = Scopes::read(strongroom, &door.vaults)?;
            (authority, resource) = (door.authority.as_deref().unwrap_or(authority), &door.resource);
        }
        if let Some(door) = &doors.azureml {
            workspaces = Scopes::read(strongroom, &door.workspaces)?;
        }
        // The config lets nothing through that a header cannot hold.
        let challenge =
            HeaderValue::from_str(&format!("Bearer authorization=\"{authority}\", resource=\"{resource}\""))
                .unwrap_or(HeaderValue::from_static("Bearer"));
        Ok(Self { vaults, vaults_themselves: false, challenge, resource: resource.to_owned(), workspaces })
    }
}

impl Scopes {
    fn read(strongroom: &Strongroom, written: &BTreeMap<String, WrittenScope>) -> Result<Self, Failure> {
        let read = |(name, written): (&String, &WrittenScope)| {
            let scope = read(strongroom, &written.text).map_err(|failure| {
                let message = format!("what stands behind `{name}` is no scope of a mount: {failure}");
                let mut told = Failure::new(Kind::InvalidConfig, "config.door", message);
                for help in failure.helps() {
                    told = told.help(help.clone());
                }
                match &written.place {
                    Some(place) => told.at(place.clone()),
                    None => told,
                }
            });
            Ok((name.clone(), scope?))
        };
        written.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The first that is there, of these and then of [`ANY`].
    pub(crate) fn find(&self, names: &[&str]) -> Option<&Reference> {
        names.iter().find_map(|name| self.0.get(*name)).or_else(|| self.0.get(ANY))
    }
}

/// A scope below which names can be put, and for which there is a mount.
fn read(strongroom: &Strongroom, text: &str) -> Result<Reference, Failure> {
    let scope = strongroom.parse_scope(text)?;
    // What a mount answers may depend on the name: it is enough that it answers the scope or some name.
    let some = strongroom.below(&scope, "name").map_err(|failure| {
        failure.help("a scope ends where the name comes: keys://team, env:, keyvault:https://v.vault.azure.net/secrets")
    })?;
    match strongroom.routed(&scope) {
        Ok(_) => {}
        Err(_) => drop(strongroom.routed(&some)?),
    }
    Ok(scope)
}
