//! The operator's file, `strongroom.toml`, as types.
//!
//! Text goes in, checked types come out; finding, reading and hashing files is the broker's. What
//! parses is what is enforced: an unknown key is an error, and so is a combination that would have
//! no effect. No error repeats a value of the file. `Layers` puts several files together.

mod audit;
pub mod callers;
pub mod doors;
mod file;
mod layers;
mod limits;
pub mod listeners;
pub mod policy;
mod raw;
pub mod route;
mod tenancy;
#[cfg(test)]
mod tests;
mod tool;
pub mod traces;
pub mod trust;
pub mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use schemars::generate::SchemaSettings;
use serde_json::Value;

pub use self::audit::{AuditConfig, AuditSink, OnFailure};
use self::doors::Doors;
pub use self::file::Folders;
pub use self::layers::{Effective, Layers};
pub use self::limits::Limits;
use self::listeners::{Listener, ServerConfig};
pub use self::policy::Access;
use self::raw::{RawConfig, RawCredential, RawLimits, RawMount, RawPlugin};
pub use self::tool::Tool;
use self::units::{DurationText, SizeText};
use crate::manifest::{Grant, Manifest};
use crate::reference::is_scheme;
use crate::strict::{Codes, Sheet};
use crate::{Digest, Failure, HostPattern, Kind, Name, Network, Origin, Pattern, Place, Reference, Text};

/// The largest config file, in bytes: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;

/// The most patterns in one list of a mount.
const MAX_PATTERNS: usize = 256;

const CODES: Codes = Codes {
    syntax: "config.syntax",
    too_large: "config.too-large",
    duplicate_key: "config.duplicate-key",
    unknown_key: "config.unknown-key",
    missing_key: "config.missing-key",
    value: "config.value",
};

/// Where a file stands, and so what it may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// No file: what exists without any.
    BuiltIn,
    /// The user's own file.
    User,
    /// The nearest `strongroom.toml` of a checkout, trusted or not: somebody else may have written it.
    Project,
    /// Named by `--config` or `STRONGROOM_CONFIG`.
    Explicit,
}

/// One config file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What to call the file.
    pub origin: Text,
    /// Where it stands.
    pub layer: Layer,
    /// Its mounts.
    pub mounts: BTreeMap<Name, Mount>,
    /// Its credentials.
    pub credentials: BTreeMap<Name, Credential>,
    /// Its certificate authorities.
    pub ca: BTreeMap<Name, Ca>,
    /// Where it says that hosts are, by their authority (`host`, or `host:port` off the scheme's port).
    pub addresses: BTreeMap<String, SocketAddr>,
    /// Its tools, by name.
    pub tools: BTreeMap<String, Tool>,
    /// Its `[store]`.
    pub store: Option<StoreConfig>,
    /// Its `[run]`.
    pub run: Option<RunConfig>,
    /// Its listeners.
    pub listeners: BTreeMap<Name, Listener>,
    /// Its `[server]`.
    pub server: Option<ServerConfig>,
    /// Its `[doors]`.
    pub doors: Doors,
    /// Its `[callers]`, `[issuers]` and `[[policy]]`.
    pub access: Access,
    /// Its `[audit]`.
    pub audit: Option<AuditConfig>,
}

/// Where an entry comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The layer of its file.
    pub layer: Layer,
    /// What to call the file; `built in` without one.
    pub origin: Text,
    /// 1-based line and column of its name in the file.
    pub position: Option<(usize, usize)>,
}

/// A mount as written, checked as far as that is possible without its plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// What answers it.
    pub plugin: PluginSource,
    /// The scheme; by default the first of the plugin's manifest.
    pub scheme: Option<String>,
    /// The only hosts it answers; empty: no limit, and no routing by host.
    pub hosts: Vec<HostPattern>,
    /// The paths that are routed to it.
    pub matches: Vec<Pattern>,
    /// Whether it answers what no other mount of its scheme does.
    pub default: bool,
    /// The only paths it answers; `None`: all.
    pub allow: Option<Vec<Pattern>>,
    /// Whether it may be written to.
    pub write: bool,
    /// The grants it is narrowed to; `None`: what the manifest wants.
    pub grants: Option<BTreeSet<Grant>>,
    /// An object: what the plugin is told.
    pub config: Value,
    /// What the host adds to its requests: a name of the credentials.
    pub credential: Option<Name>,
    /// The credential of the person, whose own permission is verified where an endpoint's file says so.
    pub person: Option<Name>,
    /// What addresses its backend has, in place of what the plugin's rules say.
    pub network: Option<Network>,
    /// How long a value is kept; `None`: not at all.
    pub ttl: Option<Duration>,
    /// How long "not found" is kept; `None`: not at all.
    pub neg_ttl: Option<Duration>,
    /// How long after `ttl` a value may be served stale; `None`: not at all.
    pub stale_ttl: Option<Duration>,
    /// How long a value stays in the store, sealed, for `ttl` across runs and for `--offline`; `None`: not at all.
    pub keep: Option<Duration>,
    /// Whether callers of a server are told the plugin's own words when it fails.
    pub show_failures: bool,
    /// What one call may use.
    pub limits: Limits,
    /// Where it is written.
    pub source: Source,
}

/// A named use of an auth plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// What gets the tokens.
    pub plugin: PluginSource,
    /// An object: what the plugin is told.
    pub config: Value,
    /// The sealed inputs by name: each the text of one reference.
    pub sealed: BTreeMap<String, String>,
    /// The resources that its tokens may be used for. At least one.
    pub audiences: Vec<String>,
    /// The tenants that a backend's challenge may ask for, beside the credential's own. `*`: any.
    pub tenants: Vec<String>,
    /// The absolute folders of the projects whose mounts may use it.
    pub projects: Vec<String>,
    /// The grants it is narrowed to; `None`: what the manifest wants.
    pub grants: Option<BTreeSet<Grant>>,
    /// What addresses its identity provider has, in place of what the plugin's rules say.
    pub network: Option<Network>,
    /// What one call may use.
    pub limits: Limits,
    /// Where it is written.
    pub source: Source,
}

/// Certificate authorities beyond the system's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ca {
    /// The PEM file as written: relative to the folder of the config file.
    pub file: String,
    /// The only hosts that it counts for.
    pub hosts: Vec<HostPattern>,
    /// Where it is written.
    pub source: Source,
}

/// What answers a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginSource {
    /// A plugin of this release, by name.
    Bundled(Name),
    /// A file, which must have this digest.
    File {
        /// As written: relative to the folder of the config file.
        path: String,
        /// SHA-256 of the file.
        digest: Digest,
    },
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreConfig {
    /// The store's file as written; `None`: the user's state folder.
    pub path: Option<String>,
    /// Who holds the key of a store that is created.
    pub key: Option<KeyHolder>,
}

/// Who holds the store's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyHolder {
    /// The operating system's keyring.
    Keyring,
    /// A passphrase.
    Passphrase,
    /// A file that only the user can read.
    File,
}

/// `[run]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunConfig {
    /// Exact names of variables that a file may set although they change how programs load or connect.
    pub allow_names: BTreeSet<String>,
}

impl Config {
    /// Reads the text of a config file. `origin` is what to call it in messages.
    ///
    /// # Errors
    /// `invalid-config` with a code `config.*`, the line, the column and the key, never a value.
    pub fn parse(text: &str, origin: Text, layer: Layer) -> Result<Self, Failure> {
        let sheet = Sheet::parse(text, origin.clone(), &CODES, MAX_BYTES)?;
        let raw: RawConfig = sheet.read()?;
        if layer == Layer::Project {
            for (key, there) in [
                ("store", raw.store.is_some()),
                ("run", raw.run.is_some()),
                ("audit", raw.audit.is_some()),
                ("ca", !raw.ca.is_empty()),
                ("addresses", !raw.addresses.is_empty()),
                ("tools", !raw.tools.is_empty()),
                ("listeners", !raw.listeners.is_empty()),
                ("server", raw.server.is_some()),
                ("doors", raw.doors.is_some()),
                ("callers", !raw.callers.is_empty()),
                ("issuers", !raw.issuers.is_empty()),
                ("policy", !raw.policy.is_empty()),
            ] {
                if there {
                    return Err(sheet
                        .wrong("config.project", &[key], "cannot be set by a project's file")
                        .help("move it to your own config, or name this file with --config if it is yours"));
                }
            }
        }
        let mut mounts = BTreeMap::new();
        for (name, mount) in raw.mounts {
            let mount = check_mount(&sheet, name.as_str(), mount, &origin, layer)?;
            mounts.insert(name, mount);
        }
        let mut credentials = BTreeMap::new();
        for (name, credential) in raw.credentials {
            let credential = check_credential(&sheet, name.as_str(), credential, &origin, layer)?;
            credentials.insert(name, credential);
        }
        let mut ca = BTreeMap::new();
        for (name, raw) in raw.ca {
            let path = ["ca", name.as_str()];
            if raw.file.is_empty() || raw.file.contains('\0') {
                return Err(sheet.wrong(CODES.value, &[path[0], path[1], "file"], "must be the path of a PEM file"));
            }
            if raw.hosts.is_empty() || raw.hosts.len() > MAX_PATTERNS {
                return Err(sheet.wrong(CODES.value, &[path[0], path[1], "hosts"], "must hold 1 to 256 hosts"));
            }
            let position = sheet.place(&path).and_then(|place| place.position);
            let source = Source { layer, origin: origin.clone(), position };
            ca.insert(name.clone(), Ca { file: raw.file, hosts: raw.hosts, source });
        }
        let mut addresses = BTreeMap::new();
        for (host, address) in &raw.addresses {
            let known = Origin::of_authority(true, host).is_ok_and(|origin| origin.authority() == *host);
            if !known {
                let message = "must name hosts as in an https address: lower case, and a port only where it is not 443";
                return Err(sheet.wrong(CODES.value, &["addresses", host], message));
            }
            let address: SocketAddr = address.parse().map_err(|_| {
                sheet.wrong(CODES.value, &["addresses", host], "must be an IP address and a port: \"10.1.2.3:443\"")
            })?;
            addresses.insert(host.clone(), address);
        }
        let mut tools = BTreeMap::new();
        for (name, raw) in raw.tools {
            let position = sheet.place(&["tools", name.as_str()]).and_then(|place| place.position);
            let source = Source { layer, origin: origin.clone(), position };
            let tool = Tool::check(&sheet, name.as_str(), raw, source, false)?;
            tools.insert(name.to_string(), tool);
        }
        let store = raw.store.map(|store| StoreConfig { path: store.path, key: store.key });
        if store.as_ref().and_then(|s| s.path.as_deref()).is_some_and(|path| path.is_empty() || path.contains('\0')) {
            return Err(sheet.wrong(CODES.value, &["store", "path"], "must be a path"));
        }
        let run = match raw.run {
            None => None,
            Some(run) => {
                if run.allow_names.iter().any(|n| n.is_empty() || n.contains(['=', '\0', '*'])) {
                    let message = "must hold exact names of environment variables, without patterns";
                    return Err(sheet.wrong(CODES.value, &["run", "allow_names"], message));
                }
                Some(RunConfig { allow_names: run.allow_names.into_iter().collect() })
            }
        };
        let mut listeners = BTreeMap::new();
        for (name, raw) in raw.listeners {
            let listener = Listener::check(&sheet, &name, raw, &origin, layer)?;
            listeners.insert(name, listener);
        }
        let server = raw.server.map(|server| server.check(&sheet, layer)).transpose()?;
        let doors = raw.doors.map(|doors| Doors::check(&sheet, doors)).transpose()?.unwrap_or_default();
        let access = {
            let written = callers::Written { layer, origin: &origin };
            let issuers = callers::check_issuers(&sheet, raw.issuers, &written)?;
            let callers = callers::check(&sheet, raw.callers, &issuers, &written)?;
            let rules = policy::check(&sheet, raw.policy, &callers, &written)?;
            Access { callers, issuers, rules }
        };
        let position = sheet.place(&["audit"]).and_then(|place| place.position);
        let source = Source { layer, origin: origin.clone(), position };
        let audit = raw.audit.map(|audit| AuditConfig::check(&sheet, audit, source)).transpose()?;
        Ok(Self {
            origin,
            layer,
            mounts,
            credentials,
            ca,
            addresses,
            tools,
            store,
            run,
            listeners,
            server,
            doors,
            access,
            audit,
        })
    }

    /// The JSON Schema (2020-12) of the file, for editors: made from the types that read it.
    pub fn json_schema() -> Value {
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<RawConfig>().to_value()
    }
}

impl Source {
    /// The place to show for something that is wrong with the entry `name`.
    pub fn place(&self, name: &Name) -> Place {
        let excerpt = Text::new(name.as_str());
        let span = 0..excerpt.as_str().len();
        Place { origin: self.origin.clone(), position: self.position, excerpt, span }
    }
}

impl Mount {
    /// A mount that exists without a file.
    fn builtin(plugin: Name, write: bool) -> Self {
        Self {
            plugin: PluginSource::Bundled(plugin),
            scheme: None,
            hosts: Vec::new(),
            matches: Vec::new(),
            default: false,
            allow: None,
            write,
            grants: None,
            config: Value::Object(serde_json::Map::new()),
            credential: None,
            person: None,
            network: None,
            ttl: None,
            neg_ttl: None,
            stale_ttl: None,
            keep: None,
            show_failures: false,
            limits: Limits::default(),
            source: Source { layer: Layer::BuiltIn, origin: Text::new("built in"), position: None },
        }
    }

    /// Whether the mount called `name` answers `reference` at all: its `hosts` and `allow`.
    ///
    /// # Errors
    /// `policy-denied` with the code `mount.host` or `mount.allow`.
    pub fn authorise(&self, name: &Name, reference: &Reference) -> Result<(), Failure> {
        let denied = |code, message: String, help: &str| {
            Err(Failure::new(Kind::PolicyDenied, code, message).on_mount(name).about(reference.to_string()).help(help))
        };
        if !self.hosts.is_empty() {
            let host = reference.authority.as_deref();
            if !host.is_some_and(|host| self.hosts.iter().any(|pattern| pattern.matches(host))) {
                let message = format!("the mount {name} does not answer for this host");
                return denied("mount.host", message, "add the host to the mount's `hosts`");
            }
        }
        let fits = |allow: &Vec<Pattern>| {
            let path = reference.joined_path();
            allow.iter().any(|pattern| pattern.matches(&path))
        };
        if self.allow.as_ref().is_some_and(|allow| !fits(allow)) {
            let message = format!("the mount {name} does not allow this reference");
            return denied("mount.allow", message, "its `allow` in the config lists what it answers");
        }
        Ok(())
    }

    /// The grants its plugin gets: what the manifest wants, narrowed by the mount's `grants`.
    ///
    /// # Errors
    /// `config.grants` if the mount lists a grant that the manifest does not want.
    pub fn granted(&self, name: &Name, manifest: &Manifest) -> Result<BTreeSet<Grant>, Failure> {
        granted(self.grants.as_ref(), manifest, &format!("mounts.{name}"))
            .map_err(|failure| failure.on_mount(name).at(self.source.place(name)))
    }
}

impl Credential {
    /// The grants its plugin gets, as [`Mount::granted`].
    ///
    /// # Errors
    /// `config.grants` if it lists a grant that the manifest does not want.
    pub fn granted(&self, name: &Name, manifest: &Manifest) -> Result<BTreeSet<Grant>, Failure> {
        granted(self.grants.as_ref(), manifest, &format!("credentials.{name}"))
            .map_err(|failure| failure.at(self.source.place(name)))
    }
}

fn granted(grants: Option<&BTreeSet<Grant>>, manifest: &Manifest, entry: &str) -> Result<BTreeSet<Grant>, Failure> {
    let wrong =
        |message: String, help: String| Err(Failure::new(Kind::InvalidConfig, "config.grants", message).help(help));
    let Some(grants) = grants else { return Ok(manifest.wants.clone()) };
    if let Some(extra) = grants.difference(&manifest.wants).next() {
        let wants: Vec<&str> = manifest.wants.iter().map(|g| g.name()).collect();
        let message = format!("`{entry}.grants` holds {extra}, which the plugin {} does not want", manifest.name);
        return wrong(message, format!("it can only narrow; the plugin wants: {}", wants.join(", ")));
    }
    let both = grants.contains(&Grant::Store) && grants.contains(&Grant::Http);
    if both && !grants.contains(&Grant::StoreAndHttp) {
        let message = format!("`{entry}.grants` holds store and http, which together need store-and-http, too");
        return wrong(
            message,
            "such a plugin could send what it keeps of one reference when it answers another".into(),
        );
    }
    Ok(grants.clone())
}

fn check_mount(sheet: &Sheet<'_>, name: &str, raw: RawMount, origin: &Text, layer: Layer) -> Result<Mount, Failure> {
    let wrong = |code, keys: &[&str], message: &str| {
        let path: Vec<&str> = ["mounts", name].iter().chain(keys).copied().collect();
        sheet.wrong(code, &path, message)
    };
    if raw.scheme.as_deref().is_some_and(|scheme| !is_scheme(scheme)) {
        return Err(wrong(CODES.value, &["scheme"], "must be a scheme: a-z, 0-9, `.` and `-`, without its colon"));
    }
    let lists = [
        ("hosts", raw.hosts.as_ref().map(Vec::len)),
        ("match", raw.matches.as_ref().map(Vec::len)),
        ("allow", raw.allow.as_ref().map(Vec::len)),
    ];
    for (key, length) in lists {
        if length.is_some_and(|length| length == 0 || length > MAX_PATTERNS) {
            return Err(wrong(CODES.value, &[key], "must hold 1 to 256 patterns; leave it out to set no limit"));
        }
    }
    if raw.hosts.is_some() && (raw.matches.is_some() || raw.default) {
        let key = if raw.default { "default" } else { "match" };
        return Err(wrong(
            "config.routing",
            &[key],
            "has no effect beside `hosts`, which alone decides what comes here",
        )
        .help("to limit the paths that the mount answers, write them into `allow`"));
    }
    for (key, ttl) in [("ttl", raw.ttl), ("neg_ttl", raw.neg_ttl), ("stale_ttl", raw.stale_ttl), ("keep", raw.keep)] {
        if ttl.is_some_and(|ttl| ttl.0.is_zero()) {
            return Err(wrong(CODES.value, &[key], "must be more than nothing; leave it out to keep nothing"));
        }
    }
    if raw.stale_ttl.is_some() && raw.ttl.is_none() {
        return Err(wrong("config.ttl", &["stale_ttl"], "has no effect without `ttl`"));
    }
    if raw.person.is_some() && raw.credential.is_none() {
        return Err(wrong("config.person", &["person"], "has no effect without `credential`"));
    }
    if raw.person.is_some() && raw.person == raw.credential {
        return Err(wrong("config.person", &["person"], "has no effect: it is the `credential` itself")
            .help("name the credential that the person signs in with, such as one of device-code or azure-cli"));
    }
    if raw.keep.zip(raw.ttl).is_some_and(|(keep, ttl)| keep.0 < ttl.0) {
        return Err(wrong("config.ttl", &["keep"], "is shorter than `ttl`, which it would cut off"));
    }
    // What lies on a person's disk is for that person to say.
    if raw.keep.is_some() && layer == Layer::Project {
        return Err(wrong("config.project", &["keep"], "cannot be set by a project's file")
            .help("write the mount into your own config, or name this file with --config if it is yours"));
    }
    let config = check_plugin_config(raw.config, |code, keys, message| wrong(code, keys, message))?;
    let plugin = check_plugin(raw.plugin, layer, |code, keys, message| wrong(code, keys, message))?;
    check_network(raw.network.as_ref(), layer, |code, keys, message| wrong(code, keys, message))?;
    let limits = check_limits(&raw.limits, |key, message| wrong("config.limit", &["limits", key], message))?;
    let position = sheet.place(&["mounts", name]).and_then(|place| place.position);
    Ok(Mount {
        plugin,
        scheme: raw.scheme,
        hosts: raw.hosts.unwrap_or_default(),
        matches: raw.matches.unwrap_or_default(),
        default: raw.default,
        allow: raw.allow,
        write: raw.write,
        grants: raw.grants,
        config,
        credential: raw.credential,
        person: raw.person,
        network: raw.network,
        ttl: raw.ttl.map(|t| t.0),
        neg_ttl: raw.neg_ttl.map(|t| t.0),
        stale_ttl: raw.stale_ttl.map(|t| t.0),
        keep: raw.keep.map(|t| t.0),
        show_failures: raw.show_failures,
        limits,
        source: Source { layer, origin: origin.clone(), position },
    })
}

fn check_credential(
    sheet: &Sheet<'_>,
    name: &str,
    raw: RawCredential,
    origin: &Text,
    layer: Layer,
) -> Result<Credential, Failure> {
    let wrong = |code: &'static str, keys: &[&str], message: &str| {
        let path: Vec<&str> = ["credentials", name].iter().chain(keys).copied().collect();
        sheet.wrong(code, &path, message)
    };
    let config = check_plugin_config(raw.config, wrong)?;
    let plugin = check_plugin(raw.plugin, layer, wrong)?;
    check_network(raw.network.as_ref(), layer, wrong)?;
    for (input, text) in &raw.sealed {
        let keys = ["sealed", input];
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if input.is_empty() || !input.bytes().all(word) {
            return Err(wrong(CODES.value, &["sealed"], "names its inputs with a-z, 0-9 and _"));
        }
        // The secret itself must not stand here, and a reference always has a colon or is in braces.
        if !text.trim_start().starts_with("${{") && !text.starts_with('@') && !text.contains(':') {
            return Err(wrong("config.sealed", &keys, "must be a reference, not the secret itself")
                .help("write where it is kept, for example \"${{env:CLIENT_SECRET}}\" or \"keys://team/client\""));
        }
    }
    let audience = |text: &String| !text.is_empty() && text.len() <= 512 && !text.chars().any(char::is_control);
    if raw.audiences.is_empty() || raw.audiences.len() > MAX_PATTERNS || !raw.audiences.iter().all(audience) {
        return Err(wrong(CODES.value, &["audiences"], "must hold 1 to 256 resources that its tokens may be used for"));
    }
    let tenant = |text: &String| {
        text == "*" || !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
    };
    if raw.tenants.len() > MAX_PATTERNS || !raw.tenants.iter().all(tenant) {
        return Err(wrong(CODES.value, &["tenants"], "must hold tenants (GUIDs or domains), or \"*\""));
    }
    if raw.projects.iter().any(|folder| !folder.starts_with('/') || folder.contains('\0')) {
        return Err(wrong(CODES.value, &["projects"], "must hold absolute folders"));
    }
    if layer == Layer::Project && !raw.projects.is_empty() {
        return Err(wrong("config.project", &["projects"], "has no meaning in a project's own file"));
    }
    let limits = check_limits(&raw.limits, |key, message| wrong("config.limit", &["limits", key], message))?;
    for (key, there) in [
        ("parallel", raw.limits.parallel.is_some()),
        ("failures", raw.limits.failures.is_some()),
        ("pause", raw.limits.pause.is_some()),
    ] {
        if there {
            let message = "has no effect on a credential: it counts calls of a mount";
            return Err(wrong("config.limit", &["limits", key], message));
        }
    }
    let position = sheet.place(&["credentials", name]).and_then(|place| place.position);
    Ok(Credential {
        plugin,
        config,
        sealed: raw.sealed,
        audiences: raw.audiences,
        tenants: raw.tenants,
        projects: raw.projects,
        grants: raw.grants,
        network: raw.network,
        limits,
        source: Source { layer, origin: origin.clone(), position },
    })
}

fn check_plugin_config(
    config: serde_json::Map<String, Value>,
    wrong: impl Fn(&'static str, &[&str], &str) -> Failure,
) -> Result<Value, Failure> {
    let config = Value::Object(config);
    if holds_reference(&config) {
        return Err(wrong("config.reference", &["config"], "holds a reference, which is not resolved here")
            .help("a plugin's config is no place for secrets"));
    }
    Ok(config)
}

fn check_plugin(
    plugin: RawPlugin,
    layer: Layer,
    wrong: impl Fn(&'static str, &[&str], &str) -> Failure,
) -> Result<PluginSource, Failure> {
    let file = match plugin {
        RawPlugin::Bundled(name) => return Ok(PluginSource::Bundled(name)),
        RawPlugin::File(file) => file,
    };
    if file.path.is_empty() || file.path.contains('\0') {
        return Err(wrong(CODES.value, &["plugin", "path"], "must be the path of a file"));
    }
    if layer == Layer::Project && leaves_folder(&file.path) {
        return Err(wrong("config.project", &["plugin", "path"], "must stay inside the project's folder")
            .help("a project's file cannot name plugins elsewhere on this machine"));
    }
    Ok(PluginSource::File { path: file.path, digest: file.digest })
}

/// A project's file cannot open this machine's own networks.
fn check_network(
    network: Option<&Network>,
    layer: Layer,
    wrong: impl Fn(&'static str, &[&str], &str) -> Failure,
) -> Result<(), Failure> {
    match network {
        // The metadata service answers whoever asks with the machine's identity: one bundled plugin asks it.
        Some(Network::Imds) => Err(wrong("config.network", &["network"], "cannot be the clouds' metadata service")),
        Some(network) if layer == Layer::Project && *network != Network::Public => {
            Err(wrong("config.project", &["network"], "cannot be opened by a project's file")
                .help("move the mount to your own config, or name this file with --config if it is yours"))
        }
        _ => Ok(()),
    }
}

fn check_limits(raw: &RawLimits, wrong: impl Fn(&str, &str) -> Failure) -> Result<Limits, Failure> {
    let millis = |d: Option<DurationText>| d.map(|d| u64::try_from(d.0.as_millis()).unwrap_or(u64::MAX));
    let bytes = |s: Option<SizeText>| s.map(|s| s.0);
    let given = [
        millis(raw.deadline),
        millis(raw.cpu),
        bytes(raw.memory),
        bytes(raw.hostcall_fuel),
        raw.handles.map(u64::from),
        bytes(raw.value),
        bytes(raw.store),
        raw.parallel.map(u64::from),
        raw.requests.map(u64::from),
        bytes(raw.sent),
        bytes(raw.response),
        raw.failures.map(u64::from),
        millis(raw.pause),
    ];
    for ((key, least, most), value) in Limits::RANGES.into_iter().zip(given) {
        if value.is_some_and(|value| value < least || value > most) {
            let show = |n: u64| match key {
                "deadline" | "cpu" | "pause" => units::show_duration(Duration::from_millis(n)),
                "handles" | "parallel" | "requests" | "failures" => n.to_string(),
                _ => units::show_size(n),
            };
            return Err(wrong(key, &format!("must be from {} to {}", show(least), show(most))));
        }
    }
    let default = Limits::default();
    let limits = Limits {
        deadline: raw.deadline.map_or(default.deadline, |d| d.0),
        cpu: raw.cpu.map_or(default.cpu, |d| d.0),
        memory: bytes(raw.memory).unwrap_or(default.memory),
        hostcall_fuel: bytes(raw.hostcall_fuel).unwrap_or(default.hostcall_fuel),
        handles: raw.handles.unwrap_or(default.handles),
        value: bytes(raw.value).unwrap_or(default.value),
        store: bytes(raw.store).unwrap_or(default.store),
        parallel: raw.parallel.unwrap_or(default.parallel),
        requests: raw.requests.unwrap_or(default.requests),
        sent: bytes(raw.sent).unwrap_or(default.sent),
        response: bytes(raw.response).unwrap_or(default.response),
        failures: raw.failures.unwrap_or(default.failures),
        pause: raw.pause.map_or(default.pause, |d| d.0),
    };
    if limits.value > limits.hostcall_fuel {
        let key = if raw.value.is_some() { "value" } else { "hostcall_fuel" };
        return Err(wrong(key, "leaves no room: a value of the largest size must fit `hostcall_fuel`"));
    }
    Ok(limits)
}

fn holds_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${{") || text.starts_with("@Microsoft.KeyVault("),
        Value::Array(items) => items.iter().any(holds_reference),
        Value::Object(map) => map.values().any(holds_reference),
        _ => false,
    }
}

/// Whether a path of a project's file is absolute or goes up, on any platform.
fn leaves_folder(path: &str) -> bool {
    path.starts_with(['/', '\\', '~'])
        || path.split(['/', '\\']).any(|part| part == "..")
        || path.split(['/', '\\']).next().is_some_and(|first| first.contains(':'))
}
