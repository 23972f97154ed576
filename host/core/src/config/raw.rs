//! The config file as it is written. The JSON Schema is derived from these very types, so that it
//! cannot drift from what is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Visitor};
use serde_json::{Map, Value};

use super::KeyHolder;
use super::audit::{OnFailure, Output};
use super::callers::{RawCaller, RawIssuer};
use super::doors::RawDoors;
use super::listeners::{RawListener, RawServer};
use super::policy::RawRule;
use super::units::{DurationText, SizeText};
use crate::manifest::Grant;
use crate::{Digest, HostPattern, Name, Network, Pattern};

/// Strongroom's config: which mounts there are, which plugin answers each, and how far it reaches.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(title = "strongroom.toml")]
pub(super) struct RawConfig {
    /// The mounts by name. `env` and `keys` exist without being written.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawMount>")]
    pub(super) mounts: BTreeMap<Name, RawMount>,
    /// The credentials by name: what the host adds to a provider's requests.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawCredential>")]
    pub(super) credentials: BTreeMap<Name, RawCredential>,
    /// Certificate authorities beyond the system's, by name. Not in a project's file.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawCa>")]
    pub(super) ca: BTreeMap<Name, RawCa>,
    /// Where hosts are, in place of what DNS says: private endpoints, tests. `host` or `host:port` to an IP address and
    /// port. Not in a project's file.
    #[serde(default)]
    pub(super) addresses: BTreeMap<String, String>,
    /// Programs of this machine that auth plugins may have run, by name. Not in a project's file.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawTool>")]
    pub(super) tools: BTreeMap<Name, RawTool>,
    /// The encrypted store. Not in a project's file.
    pub(super) store: Option<RawStore>,
    /// What `strongroom run` lets a file set. Not in a project's file.
    pub(super) run: Option<RawRun>,
    /// Where `strongroom serve` is reached, by name. Not in a project's file.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawListener>")]
    pub(super) listeners: BTreeMap<Name, RawListener>,
    /// How much `strongroom serve` takes on. Not in a project's file.
    pub(super) server: Option<RawServer>,
    /// What stands behind the front doors that clients of other backends come to. Not in a project's file.
    pub(super) doors: Option<RawDoors>,
    /// Who may ask a server, by name. `owner` exists without being written. Not in a project's file.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawCaller>")]
    pub(super) callers: BTreeMap<Name, RawCaller>,
    /// Who signs the tokens that callers bring, by name. Not in a project's file.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawIssuer>")]
    pub(super) issuers: BTreeMap<Name, RawIssuer>,
    /// What callers may do. Without any rule `owner` may do everything over a Unix socket, and nobody else anything;
    /// with one, what no rule permits is denied. Not in a project's file.
    #[serde(default)]
    pub(super) policy: Vec<RawRule>,
    /// The log of who read and wrote which secrets. By default there is none. Not in a project's file.
    pub(super) audit: Option<RawAudit>,
}

/// A name and a scheme, bound to one plugin.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawMount {
    /// A bundled plugin's name, or a file and its digest.
    pub(super) plugin: RawPlugin,
    /// The scheme it answers; by default the first of the plugin's manifest.
    #[schemars(regex(pattern = "^[a-z][a-z0-9.-]*$"))]
    pub(super) scheme: Option<String>,
    /// The hosts it answers, and no others. `*` is exactly one label: `*.vault.azure.net`.
    #[schemars(with = "Option<Vec<String>>", length(min = 1))]
    pub(super) hosts: Option<Vec<HostPattern>>,
    /// Patterns of the paths it answers: `*` within one segment, `**` across.
    #[serde(rename = "match")]
    #[schemars(with = "Option<Vec<String>>", length(min = 1))]
    pub(super) matches: Option<Vec<Pattern>>,
    /// Whether it answers the references of its scheme that no other mount names.
    #[serde(default)]
    pub(super) default: bool,
    /// Patterns of the paths it may answer at all; anything else is denied. By default every path.
    #[schemars(with = "Option<Vec<String>>", length(min = 1))]
    pub(super) allow: Option<Vec<Pattern>>,
    /// Whether secrets may be set and deleted through it. By default it is read-only.
    #[serde(default)]
    pub(super) write: bool,
    /// Fewer grants than the plugin's manifest wants. Never more.
    pub(super) grants: Option<BTreeSet<Grant>>,
    /// What the plugin is told, valid under its manifest's schema. No secrets and no references.
    #[serde(default)]
    pub(super) config: Map<String, Value>,
    /// The credential that the host adds to the plugin's requests: a name of `credentials`.
    #[schemars(with = "Option<String>")]
    pub(super) credential: Option<Name>,
    /// The credential of the person who runs Strongroom, a name of `credentials`: where an endpoint's file enforces access
    /// to the default secret stores, what `credential` reads is asked for with this one, too.
    #[schemars(with = "Option<String>")]
    pub(super) person: Option<Name>,
    /// What addresses its backend has, in place of what the plugin's rules say: "private", "loopback", or CIDRs. Not in
    /// a project's file.
    pub(super) network: Option<Network>,
    /// How long a value may be kept in memory. By default it is not.
    pub(super) ttl: Option<DurationText>,
    /// How long it may be remembered that a secret does not exist. By default it is not.
    pub(super) neg_ttl: Option<DurationText>,
    /// How much longer than `ttl` a value may be served when its backend cannot be reached.
    pub(super) stale_ttl: Option<DurationText>,
    /// How long a value may stay in the store, sealed: within `ttl` it serves later runs, and until then `--offline`. By
    /// default it does not. Not in a project's file.
    pub(super) keep: Option<DurationText>,
    /// Whether callers of a server are told what the plugin and its backend say in their own words when they fail. By
    /// default they are told the kind of failure; its words are the server's owner's.
    #[serde(default)]
    pub(super) show_failures: bool,
    /// What one call may use.
    #[serde(default)]
    pub(super) limits: RawLimits,
}

/// A bundled plugin's name, or a file.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum RawPlugin {
    /// The name of a plugin that is part of this release: env, file, keys.
    Bundled(#[schemars(with = "String", regex(pattern = "^[a-z][a-z0-9-]{0,62}$"))] Name),
    /// A plugin's file. Written by `strongroom plugin add`.
    File(RawPluginFile),
}

/// A plugin's file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawPluginFile {
    /// The component, relative to the folder of the config file.
    #[schemars(length(min = 1))]
    pub(super) path: String,
    /// SHA-256 of the file.
    #[schemars(with = "String", regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub(super) digest: Digest,
}

/// A named use of an auth plugin.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawCredential {
    /// A bundled auth plugin's name, or a file and its digest.
    pub(super) plugin: RawPlugin,
    /// What the plugin is told, valid under its manifest's schema. No secrets and no references.
    #[serde(default)]
    pub(super) config: Map<String, Value>,
    /// The sealed inputs by name: each a reference, which is resolved when a token is needed.
    #[serde(default)]
    pub(super) sealed: BTreeMap<String, String>,
    /// The resources that its tokens may be used for: what providers' rules name as their audience.
    #[schemars(length(min = 1))]
    pub(super) audiences: Vec<String>,
    /// The tenants that a backend may ask for beside the credential's own: GUIDs or domains, or "*". By default none.
    #[serde(default)]
    pub(super) tenants: Vec<String>,
    /// The folders of the projects whose mounts may use it, absolute. By default none.
    #[serde(default)]
    pub(super) projects: Vec<String>,
    /// Fewer grants than the plugin's manifest wants. Never more.
    pub(super) grants: Option<BTreeSet<Grant>>,
    /// What addresses its identity provider has, in place of what the plugin's rules say. Not in a project's file.
    pub(super) network: Option<Network>,
    /// What one call may use.
    #[serde(default)]
    pub(super) limits: RawLimits,
}

/// A file of certificate authorities, and the hosts that it counts for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawCa {
    /// A PEM file, relative to the folder of the config file.
    #[schemars(length(min = 1))]
    pub(super) file: String,
    /// The hosts whose certificates it may sign. `*` is exactly one label.
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub(super) hosts: Vec<HostPattern>,
}

/// A program that an auth plugin may have run. What it does is outside the sandbox's wall.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawTool {
    /// The program's absolute path. It must belong to you or to root, and be writable by nobody else.
    #[schemars(length(min = 1))]
    pub(super) program: String,
    /// Its arguments. One may end in a hole, which the plugin fills: {name}, or {name?} for one that may be left out with
    /// its argument.
    #[serde(default)]
    pub(super) args: Vec<String>,
    /// What each hole may be filled with: a regular expression for the whole of it.
    #[serde(default)]
    pub(super) holes: BTreeMap<String, String>,
    /// Variables of its environment.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// The variables that it inherits. By default none, and so no PATH and no HOME.
    #[serde(default)]
    pub(super) inherit: BTreeSet<String>,
    /// How long it may run. 10s.
    pub(super) timeout: Option<DurationText>,
}

/// What one call of a mount may use.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct RawLimits {
    /// Wall time, from the request's arrival. 10s.
    pub(super) deadline: Option<DurationText>,
    /// Time that the plugin's own code may run. 200ms.
    pub(super) cpu: Option<DurationText>,
    /// Memory of the sandbox. 32MiB; plugins written in JavaScript and Python need 128MiB.
    pub(super) memory: Option<SizeText>,
    /// What plugin and host may copy to each other. 2MiB.
    pub(super) hostcall_fuel: Option<SizeText>,
    /// Resource handles that are alive at once. 256.
    pub(super) handles: Option<u32>,
    /// The largest value. 1MiB.
    pub(super) value: Option<SizeText>,
    /// The mount's part of the store. 64MiB.
    pub(super) store: Option<SizeText>,
    /// Calls of the mount side by side. 32.
    pub(super) parallel: Option<u32>,
    /// HTTP requests of one call. 16.
    pub(super) requests: Option<u32>,
    /// What one call may send in the bodies of its requests. 1MiB.
    pub(super) sent: Option<SizeText>,
    /// The largest body of an HTTP answer. 1MiB.
    pub(super) response: Option<SizeText>,
}

/// The encrypted store.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawStore {
    /// The store's file, relative to the folder of the config file. By default in the user's state folder.
    #[schemars(length(min = 1))]
    pub(super) path: Option<String>,
    /// Who holds the key of a store that is created; an existing store remembers it.
    pub(super) key: Option<KeyHolder>,
}

/// What `strongroom run` lets a file set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRun {
    /// Names of environment variables that change how programs load or connect (such as HTTPS_PROXY), which a file
    /// may set nevertheless.
    #[serde(default)]
    pub(super) allow_names: Vec<String>,
}

/// The log of who read and wrote which secrets: `file`, or `output`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawAudit {
    /// The log's file, relative to the folder of the config file.
    #[schemars(length(min = 1))]
    pub(super) file: Option<String>,
    /// Standard output instead of a file; for `serve` alone.
    pub(super) output: Option<Output>,
    /// Whether names are written beside their keyed hashes.
    #[serde(default)]
    pub(super) names: bool,
    /// The size above which a new file is begun. 64MiB.
    pub(super) rotate: Option<SizeText>,
    /// How many older files are kept. 10.
    pub(super) keep: Option<u32>,
    /// What happens to an operation that cannot be recorded: it fails, or it goes on with a warning. "refuse".
    pub(super) on_failure: Option<OnFailure>,
    /// The file of the log's key, relative to the folder of the config file. By default audit.key in the user's state
    /// folder. It is made when it is not there.
    #[schemars(length(min = 1))]
    pub(super) key_file: Option<String>,
}

impl<'de> Deserialize<'de> for RawPlugin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PluginVisitor;

        impl<'de> Visitor<'de> for PluginVisitor {
            type Value = RawPlugin;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bundled plugin's name, or { path = \"...\", digest = \"sha256:...\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawPlugin, E> {
                Name::parse(text).map(RawPlugin::Bundled).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawPlugin, A::Error> {
                RawPluginFile::deserialize(MapAccessDeserializer::new(map)).map(RawPlugin::File)
            }
        }

        deserializer.deserialize_any(PluginVisitor)
    }
}
