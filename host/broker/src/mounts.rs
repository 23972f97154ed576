//! Mounts, with their plugins as far as they are needed.
//!
//! Opening a config reads what routing needs and nothing more: manifests of bundled plugins are part
//! of the binary, those of others are noted beside their compiled code. A plugin's code is loaded by
//! the first call on its mount.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use strongroom_core::config::route::{Routed, Router};
use strongroom_core::config::{Credential, Effective, Folders, Layer, Mount, PluginSource};
use strongroom_core::manifest::{Grant, HttpRule};
use strongroom_core::{Digest, Failure, Kind, Lock, Manifest, Name, Network, Shapes};
use strongroom_sandbox::Plugin;
use tokio::sync::OnceCell;

use crate::bundled::{self, Bundled};
use crate::chain::{self, Chain, Made};
use crate::config_from::Filled;
use crate::credentials::{self, Credentialed};
use crate::discover::Found;
use crate::environment::Environment;
use crate::paths;
use crate::plugins::Plugins;
use crate::turns::Turns;

/// The name of the provider that is built into the host: files below allow-listed folders.
pub(crate) const FILE_PROVIDER: &str = "file";

/// One mount, checked against its plugin's manifest.
pub(crate) struct Mounted {
    pub(crate) name: Name,
    pub(crate) mount: Mount,
    pub(crate) scheme: String,
    /// For a project's mount, the digest of the project's folder: what it keeps is that project's.
    pub(crate) project: Option<Digest>,
    pub(crate) provider: Provider,
    /// The same mount as the person sees it: with the credential `person`, and nothing kept of its answers.
    pub(crate) person: Option<Box<Mounted>>,
    /// What of its config came from beside the operator's file.
    pub(crate) filled: Filled,
    /// Its `limits.parallel`, for what callers ask. What a credential asks has places of its own, or two mounts
    /// could wait for each other.
    pub(crate) turns: Turns,
}

impl Mounted {
    /// Its config as the plugin is told it.
    ///
    /// # Errors
    /// As [`Filled::check`].
    pub(crate) fn check_config(&self, provided: &Provided) -> Result<String, Failure> {
        self.filled.check(&format!("mount {}", self.name), &provided.manifest, &self.mount.config)
    }
}

/// What answers a mount.
pub(crate) enum Provider {
    /// Files, read by the host: there is nothing in it that a sandbox could contain.
    Files(Folders),
    /// A plugin.
    Plugin(Box<Provided>),
}

/// A mount's plugin.
pub(crate) struct Provided {
    pub(crate) manifest: Manifest,
    pub(crate) digest: Digest,
    pub(crate) grants: BTreeSet<Grant>,
    pub(crate) origin: Origin,
    /// The mount's config as the plugin is told it; checked by the first call.
    pub(crate) config: std::sync::OnceLock<String>,
    /// The same, as the egress rules read it.
    pub(crate) shared_config: std::sync::OnceLock<Arc<serde_json::Value>>,
    pub(crate) rules: Arc<[HttpRule]>,
    /// What keeps the connections of each rule apart from all others.
    pub(crate) partitions: std::sync::OnceLock<Arc<[[u8; 32]]>>,
    pub(crate) loaded: OnceCell<Arc<Plugin>>,
}

/// Where a plugin's code comes from.
#[derive(Clone)]
pub(crate) enum Origin {
    Bundled(&'static Bundled),
    File { path: PathBuf, lock: Arc<Lock> },
}

impl Origin {
    /// Whose data a plugin finds on its mount: another plugin of the same name, from elsewhere, is
    /// another lineage and sees nothing. Nor does one that another project mounts under that name.
    pub(crate) fn lineage(&self, name: &Name, project: Option<&Digest>) -> String {
        let of = match self {
            Self::Bundled(_) => "bundled",
            Self::File { .. } => "file",
        };
        match project {
            None => format!("{of}/{name}"),
            Some(project) => format!("{of}/{name}/project-{}", project.short()),
        }
    }
}

/// All mounts, and the way to them.
pub(crate) struct Mounts {
    pub(crate) all: BTreeMap<Name, Mounted>,
    pub(crate) router: Router,
    pub(crate) shapes: Shapes,
    pub(crate) credentials: BTreeMap<Name, Credentialed>,
    /// The credentials that try others.
    pub(crate) chains: BTreeMap<Name, Chain>,
    /// The variables that feed a sealed input.
    pub(crate) sealed_variables: BTreeSet<String>,
}

/// Finds what a config names as a plugin.
struct Finder<'a> {
    found: &'a Found,
    plugins: &'a Plugins,
    locks: BTreeMap<Layer, Arc<Lock>>,
}

impl Finder<'_> {
    fn find(&mut self, plugin: &PluginSource, layer: Layer) -> Result<(Manifest, Digest, Origin), Failure> {
        match plugin {
            PluginSource::Bundled(plugin) => {
                let bundled = bundled::find(plugin.as_str()).ok_or_else(|| no_such_plugin(plugin))?;
                Ok((bundled.manifest()?, bundled.digest()?, Origin::Bundled(bundled)))
            }
            PluginSource::File { path, digest } => {
                let home = self.found.homes.get(&layer);
                let folder = home.map(|home| home.folder.clone()).unwrap_or_default();
                let lock = self
                    .locks
                    .entry(layer)
                    .or_insert_with(|| Arc::new(home.map(|home| home.lock.clone()).unwrap_or_default()));
                let path = paths::beside(&folder, path);
                let manifest = self.plugins.manifest_of(&path, digest, lock)?;
                check_names(&manifest)?;
                Ok((manifest, *digest, Origin::File { path, lock: Arc::clone(lock) }))
            }
        }
    }

    /// Checks a credential against its plugin's manifest. `files` are the sealed inputs that the
    /// environment names.
    fn credentialed(
        &mut self,
        name: &Name,
        mut credential: Credential,
        files: BTreeMap<String, String>,
        shapes: &Shapes,
    ) -> Result<Credentialed, Failure> {
        let place = credential.source.place(name);
        let annotate = |failure: Failure| failure.at(place.clone());
        let (manifest, digest, origin) = self.find(&credential.plugin, credential.source.layer).map_err(annotate)?;
        if !manifest.is_auth() {
            let message = format!("{} is a provider: it gets no tokens", manifest.name);
            return Err(annotate(Failure::new(Kind::InvalidConfig, "config.auth-plugin", message)));
        }
        let grants = credential.granted(name, &manifest)?;
        let provided = Provided::new(manifest, digest, grants, origin);
        if credential.network.is_some() && provided.rules.is_empty() {
            let message = "`network` has no effect: the plugin makes no requests";
            return Err(annotate(Failure::new(Kind::InvalidConfig, "config.network", message)));
        }
        let sealed = credentials::sealed_inputs(name, &credential, &provided, shapes)?;
        credential.config = provided.manifest.with_defaults(&credential.config);
        Ok(Credentialed { name: name.clone(), credential, provided, sealed, files, filled: Filled::default() })
    }
}

impl Mounts {
    /// What the config says of a credential, or of a chain of them.
    pub(crate) fn credential(&self, name: &Name) -> Option<&Credential> {
        let one = self.credentials.get(name).map(|credential| &credential.credential);
        one.or_else(|| self.chains.get(name).map(|chain| &chain.credential))
    }

    /// The credential `name`, or the links of that chain; nothing if there is none.
    pub(crate) fn meant(&self, name: &Name) -> Vec<&Credentialed> {
        match self.chains.get(name) {
            Some(chain) => chain.names().filter_map(|link| self.credentials.get(link)).collect(),
            None => self.credentials.get(name).into_iter().collect(),
        }
    }

    /// The names of all credentials and chains.
    pub(crate) fn credential_names(&self) -> impl Iterator<Item = &Name> {
        self.credentials.keys().chain(self.chains.keys())
    }

    pub(crate) fn build(found: &Found, plugins: &Plugins, environment: &Environment) -> Result<Self, Failure> {
        let Effective { mounts, credentials, .. } = &found.effective;
        let mut shapes = Shapes::builtin();
        let mut all = BTreeMap::new();
        let mut finder = Finder { found, plugins, locks: BTreeMap::new() };
        for (name, mount) in mounts {
            let annotate = |failure: Failure| failure.on_mount(name).at(mount.source.place(name));
            let provider = match &mount.plugin {
                PluginSource::Bundled(plugin) if plugin.as_str() == FILE_PROVIDER => {
                    refuse_for_files(mount).map_err(annotate)?;
                    Provider::Files(Folders::from_config(&mount.config).map_err(annotate)?)
                }
                plugin => {
                    let (manifest, digest, origin) = finder.find(plugin, mount.source.layer).map_err(annotate)?;
                    if manifest.is_auth() {
                        let message = format!("{} is an auth plugin: it answers no references", manifest.name);
                        return Err(annotate(
                            Failure::new(Kind::InvalidConfig, "config.auth-plugin", message)
                                .help("name it in a [credentials.NAME], and that in the mount's `credential`"),
                        ));
                    }
                    let grants = mount.granted(name, &manifest)?;
                    let provided = Box::new(Provided::new(manifest, digest, grants, origin));
                    if mount.keep.is_some() {
                        crate::kept::check(&provided).map_err(annotate)?;
                    }
                    Provider::Plugin(provided)
                }
            };
            let scheme = match &provider {
                Provider::Files(_) => mount.scheme.clone().unwrap_or_else(|| FILE_PROVIDER.to_owned()),
                Provider::Plugin(provided) => scheme_of(mount, &provided.manifest).map_err(annotate)?,
            };
            if let Provider::Plugin(provided) = &provider
                && let Some(shape) = provided.manifest.shape()
                && !shapes.insert(&scheme, shape)
            {
                let message = format!("the plugins of two mounts read `{scheme}:` references differently");
                return Err(annotate(
                    Failure::new(Kind::InvalidConfig, "config.scheme", message)
                        .help("give one of the mounts another `scheme`"),
                ));
            }
            let project = match mount.source.layer {
                Layer::Project => found.homes.get(&Layer::Project).map(|home| folder_digest(&home.folder)),
                _ => None,
            };
            let mut mount = mount.clone();
            if let Provider::Plugin(provided) = &provider {
                mount.config = provided.manifest.with_defaults(&mount.config);
            }
            let turns = |mount: &Mount| Turns::new(usize::try_from(mount.limits.parallel).unwrap_or(1));
            let person = match (&mount.person, &provider) {
                (Some(_), Provider::Plugin(provided)) => {
                    let Provided { manifest, digest, grants, origin, .. } = &**provided;
                    let provided = Provided::new(manifest.clone(), *digest, grants.clone(), origin.clone());
                    Some(Box::new(Mounted {
                        name: name.clone(),
                        mount: as_person(&mount),
                        scheme: scheme.clone(),
                        project,
                        provider: Provider::Plugin(Box::new(provided)),
                        person: None,
                        filled: Filled::default(),
                        turns: turns(&mount),
                    }))
                }
                _ => None,
            };
            let filled = Filled::default();
            let turns = turns(&mount);
            let entry = Mounted { name: name.clone(), mount, scheme, project, provider, person, filled, turns };
            all.insert(name.clone(), entry);
        }
        let routed = all.values().map(|mounted| Routed {
            name: mounted.name.clone(),
            scheme: mounted.scheme.clone(),
            hosts: mounted.mount.hosts.clone(),
            matches: mounted.mount.matches.clone(),
            default: mounted.mount.default,
        });
        let router = Router::new(routed, &shapes)?;
        let (mut read, mut chains) = (BTreeMap::new(), BTreeMap::new());
        for (name, credential) in credentials {
            if !chain::is_chain(credential) {
                let entry = finder.credentialed(name, credential.clone(), BTreeMap::new(), &shapes)?;
                read.insert(name.clone(), entry);
                continue;
            }
            let (chain, made) = chain::read(name, credential, environment)?;
            for Made { name, credential, files } in made {
                if credentials.contains_key(&name) {
                    let message = format!("the credential {name} has the name of a link of {}", chain.name);
                    return Err(Failure::new(Kind::InvalidConfig, "config.chain", message)
                        .at(credential.source.place(&chain.name))
                        .help("give it another name"));
                }
                let entry = finder.credentialed(&name, credential, files, &shapes)?;
                read.insert(name, entry);
            }
            chains.insert(name.clone(), chain);
        }
        let sealed_variables = credentials::sealed_variables(&read);
        let mounts = Self { all, router, shapes, credentials: read, chains, sealed_variables };
        let project = found.homes.get(&Layer::Project).and_then(|home| std::fs::canonicalize(&home.folder).ok());
        credentials::check(&mounts, project.as_deref())?;
        Ok(mounts)
    }
}

/// The mount with the person's credential: one of its own, so that neither connections nor values of the two
/// identities ever meet.
fn as_person(mount: &Mount) -> Mount {
    Mount {
        credential: mount.person.clone(),
        person: None,
        write: false,
        ttl: None,
        neg_ttl: None,
        stale_ttl: None,
        keep: None,
        ..mount.clone()
    }
}

fn folder_digest(folder: &std::path::Path) -> Digest {
    let resolved = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    Digest::of(resolved.as_os_str().as_encoded_bytes())
}

impl Provided {
    fn new(manifest: Manifest, digest: Digest, grants: BTreeSet<Grant>, origin: Origin) -> Self {
        let rules = manifest.http.as_slice().into();
        Self {
            manifest,
            digest,
            grants,
            origin,
            config: std::sync::OnceLock::new(),
            shared_config: std::sync::OnceLock::new(),
            rules,
            partitions: std::sync::OnceLock::new(),
            loaded: OnceCell::new(),
        }
    }
}

/// The host-built provider reads and nothing else; what has no effect is refused.
fn refuse_for_files(mount: &Mount) -> Result<(), Failure> {
    let refused = [
        ("write", mount.write, "files are only read"),
        ("grants", mount.grants.is_some(), "there is no plugin to grant anything to"),
        ("credential", mount.credential.is_some(), "files need none"),
        ("person", mount.person.is_some(), "files need no credential"),
        ("keep", mount.keep.is_some(), "files are read where they are"),
    ];
    match refused.into_iter().find(|(_, there, _)| *there) {
        Some((key, _, why)) => {
            Err(Failure::new(Kind::InvalidConfig, "config.file-provider", format!("`{key}` has no effect here: {why}")))
        }
        None => Ok(()),
    }
}

fn scheme_of(mount: &Mount, manifest: &Manifest) -> Result<String, Failure> {
    let Some(scheme) = &mount.scheme else {
        return Ok(manifest.schemes.first().cloned().unwrap_or_default());
    };
    // A mount may answer a scheme of its own under a third-party plugin, because its shape comes
    // from the same manifest; the fixed shapes are only for the plugins that claim them.
    let reserved = Shapes::builtin().get(scheme).is_some();
    if manifest.schemes.contains(scheme) || (!reserved && manifest.shape().is_some()) {
        return Ok(scheme.clone());
    }
    let message = format!("the plugin {} does not answer `{scheme}:`", manifest.name);
    Err(Failure::new(Kind::InvalidConfig, "config.scheme", message)
        .help(format!("it answers: {}", manifest.schemes.join(", "))))
}

/// Bundled names and the host's schemes are reserved: a file that claims one wants to be mistaken.
pub(crate) fn check_names(manifest: &Manifest) -> Result<(), Failure> {
    let name = manifest.name.as_str();
    if name == FILE_PROVIDER || bundled::find(name).is_some() {
        return Err(Failure::new(
            Kind::PolicyDenied,
            "plugin.reserved-name",
            format!("`{name}` is the name of a bundled plugin"),
        )
        .help("change `name` in its plugin.toml and build it again"));
    }
    if manifest.http.iter().any(|rule| matches!(rule.network, Network::Imds | Network::Identity)) {
        let message = format!("the plugin {name} wants to ask the clouds' metadata service, which no plugin file may");
        return Err(Failure::new(Kind::PolicyDenied, "plugin.imds", message)
            .help("change `network` in its plugin.toml and build it again"));
    }
    if let Some(scheme) = manifest.reserved_scheme() {
        return Err(Failure::new(
            Kind::PolicyDenied,
            "plugin.reserved-scheme",
            format!("the plugin {name} claims the scheme `{scheme}`, which is Strongroom's own"),
        )
        .help("change `schemes` in its plugin.toml and build it again"));
    }
    Ok(())
}

fn no_such_plugin(plugin: &Name) -> Failure {
    let names: Vec<&str> = bundled::ALL.iter().map(|b| b.name).chain([FILE_PROVIDER]).collect();
    Failure::new(Kind::InvalidConfig, "config.no-such-plugin", format!("there is no bundled plugin {plugin}"))
        .help(format!("bundled are {}; a file is added with strongroom plugin add FILE", names.join(", ")))
}
