//! What a plugin says about itself: `plugin.toml`, in the component as a custom section.
//!
//! A manifest is untrusted. It proposes; the operator's config and the lock decide. Nothing here may
//! show a text of it other than as [`Text`], or let a field pass that this release does not enforce:
//! a key that is not known is an error. `docs/formats.md` writes the format down.

mod browser;
mod config_from;
mod grant;
pub mod http;
mod inject;
mod placeholder;
mod pointer;
mod raw;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use browser::BrowserRule;
pub use config_from::ConfigFrom;
pub use grant::Grant;
pub use http::{Function, HttpRule};
pub use inject::{Filling, Held, Injection, InvalidFilling};
pub use placeholder::{InvalidTemplated, Placeholder, RefField, TENANT, Templated, env_key};
pub use pointer::{InvalidPointer, Pointer, Unread};
pub use raw::Batch;
pub(crate) use raw::is_version;
use serde_json::{Map, Value};

use self::schema::ConfigSchema;
use crate::strict::{Codes, Sheet};
use crate::{Failure, Kind, Name, Reference, Shape, Shapes, Text};

/// The name of the component's one custom section that holds the manifest, the TOML bytes as they are.
pub const SECTION: &str = "strongroom:manifest@1";

/// The largest manifest, in bytes: 64 KiB.
pub const MAX_BYTES: usize = 64 * 1024;

/// The longest version, in bytes.
pub const MAX_VERSION_BYTES: usize = 64;

const CODES: Codes = Codes {
    syntax: "manifest.syntax",
    too_large: "manifest.too-large",
    duplicate_key: "manifest.duplicate-key",
    unknown_key: "manifest.unknown-key",
    missing_key: "manifest.missing-key",
    value: "manifest.value",
};

/// A manifest that parsed: every field is valid by itself and fits the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The plugin's name.
    pub name: Name,
    /// `major.minor.patch`, with SemVer 2.0's pre-release and build parts.
    pub version: String,
    /// The author's own words. Shown last, and quoted.
    pub description: Option<Text>,
    /// The schemes it answers, the mount's default first. None: it is an auth plugin.
    pub schemes: Vec<String>,
    /// What it wants to be granted.
    pub wants: BTreeSet<Grant>,
    /// Which references of one request may share a sandbox.
    pub batch: Batch,
    /// How its references read; absent for the schemes whose shape the host fixes.
    pub reference: Option<ReferenceRule>,
    /// The environment variables that a call may read, bound to its references.
    pub env: Vec<Templated>,
    /// The part of the mount's store that a call may use; absent: all of it.
    pub store: Option<Templated>,
    /// What it may ask of the network.
    pub http: Vec<HttpRule>,
    /// The names of the sealed inputs that an auth plugin takes, and whether it can do without.
    pub sealed: BTreeMap<String, Presence>,
    /// The names of the tools that an auth plugin may have run.
    pub tools: Vec<Templated>,
    /// The pages that an auth plugin may send a person to.
    pub prompts: BTreeSet<String>,
    /// The pages that an auth plugin may have opened in a person's browser.
    pub browser: BTreeSet<BrowserRule>,
    /// Where a mount's config may come from beside the operator's file, the first to be asked first.
    pub config_from: Vec<ConfigFrom>,
    config: Option<ConfigSchema>,
}

/// Whether a sealed input must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// A credential without it is an error.
    Required,
    /// `name?`: rules that inject it are then not in force.
    Optional,
}

/// The manifest's `[reference]`: how a third-party scheme reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceRule {
    /// Whether the first word is a host.
    pub authority: bool,
    /// The words of the path; see [`Shape::uri`].
    pub path: Vec<String>,
}

/// What references must share to share a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(Vec<Option<String>>);

impl Manifest {
    /// Reads the bytes of `plugin.toml`. `origin` is what to call it in messages.
    ///
    /// The schema in `[config]` is not compiled; [`Manifest::check`] does that.
    ///
    /// # Errors
    /// `invalid-config` with a code `manifest.*`, the line, the column and the key, never a value.
    pub fn parse(bytes: &[u8], origin: Text) -> Result<Self, Failure> {
        if bytes.len() > MAX_BYTES {
            let message = format!("a manifest has at most {} KiB", MAX_BYTES / 1024);
            return Err(Failure::new(Kind::InvalidConfig, CODES.too_large, message));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Failure::new(Kind::InvalidConfig, "manifest.utf8", "a manifest is UTF-8 text"))?;
        let sheet = Sheet::parse(text, origin, &CODES, MAX_BYTES)?;
        raw::build(&sheet)
    }

    /// Compiles what [`Manifest::parse`] leaves for later: for `plugin check` and `plugin add`.
    ///
    /// # Errors
    /// `manifest.schema` if `[config]` is no schema that the host reads, or does not name a key that
    /// a placeholder speaks of.
    pub fn check(&self) -> Result<(), Failure> {
        if let Some(schema) = &self.config {
            schema.check_defaults()?;
        }
        for key in self.config_from.iter().flat_map(ConfigFrom::keys) {
            let schema = self.config.as_ref();
            if schema.is_none_or(|schema| !schema.names(key) || schema.defaults().any(|(name, _)| name == key)) {
                let message =
                    format!("`{key}` of [[config-from]] is no key that [config] describes, without a default");
                return Err(Failure::new(Kind::InvalidConfig, "manifest.schema", message)
                    .help(format!("add [config.properties.{key}], or take its `default` away")));
            }
        }
        let holes = self.env.iter().chain(&self.store).chain(&self.tools).flat_map(Templated::placeholders);
        let texts = holes.filter_map(Placeholder::config_key);
        let rules = self.http.iter().flat_map(HttpRule::config_keys);
        for key in texts.chain(rules).chain(self.browser.iter().flat_map(BrowserRule::config_keys)) {
            if !self.config.as_ref().is_some_and(|schema| schema.names(key)) {
                let message = format!("the manifest speaks of {{config.{key}}}, which its [config] does not describe");
                return Err(Failure::new(Kind::InvalidConfig, "manifest.schema", message)
                    .help(format!("add [config.properties.{key}]")));
            }
        }
        Ok(())
    }

    /// Checks a mount's config against the schema and gives it as canonical JSON (RFC 8259; keys
    /// sorted, no blanks), as the plugin is told and as caches compare it. Without `[config]` the
    /// plugin takes none, and only `{}` passes.
    ///
    /// # Errors
    /// `config.plugin-config` with JSON pointers and what is expected there, never a value;
    /// `manifest.schema` if the schema itself is broken.
    pub fn check_config(&self, config: &Value) -> Result<String, Failure> {
        let empty = config.as_object().is_some_and(Map::is_empty);
        match &self.config {
            Some(schema) => schema.check(config)?,
            None if empty => {}
            None => {
                let message = format!("the plugin {} takes no `config`", self.name);
                return Err(Failure::new(Kind::InvalidConfig, "config.plugin-config", message)
                    .help("remove the mount's `config`"));
            }
        }
        Ok(canonical_json(config))
    }

    /// A mount's config with what the schema gives by `default` at its top, where the config says nothing.
    pub fn with_defaults(&self, config: &Value) -> Value {
        let mut filled = config.clone();
        if let (Some(schema), Some(object)) = (&self.config, filled.as_object_mut()) {
            for (key, default) in schema.defaults() {
                object.entry(key).or_insert_with(|| default.clone());
            }
        }
        filled
    }

    /// The keys that a mount's config lacks, must have, and could be told by one of [`Manifest::config_from`].
    pub fn untold(&self, config: &Value) -> BTreeSet<&str> {
        let required = |key: &&str| self.config.as_ref().is_some_and(|schema| schema.requires(key));
        let keys = self.config_from.iter().flat_map(ConfigFrom::keys);
        keys.filter(|key| config.get(*key).is_none()).filter(required).collect()
    }

    /// Whether it is an auth plugin's: it answers no references.
    pub fn is_auth(&self) -> bool {
        self.schemes.is_empty()
    }

    /// How its references read, for schemes that the host does not know by itself.
    pub fn shape(&self) -> Option<Shape> {
        let rule = self.reference.as_ref()?;
        Shape::uri(rule.authority, &rule.path).ok()
    }

    /// The first of its schemes that the host reserves for its own providers.
    pub fn reserved_scheme(&self) -> Option<&str> {
        let builtin = Shapes::builtin();
        self.schemes.iter().map(String::as_str).find(|scheme| builtin.get(scheme).is_some())
    }

    /// The environment variables that a call for `reference` may read. A name that cannot be bound,
    /// or is no variable's name, is left out: the guest finds nothing there.
    pub fn env_names(&self, reference: &Reference, config: &Value) -> BTreeSet<String> {
        let valid = |name: &String| !name.contains('=');
        self.env.iter().filter_map(|name| name.bind(reference, config)).filter(valid).collect()
    }

    /// The environment variables that an auth plugin may read: no reference has a say in them.
    pub fn own_env_names(&self, config: &Value) -> BTreeSet<String> {
        let valid = |name: &String| !name.contains('=');
        self.env.iter().filter_map(|name| name.bind_for(None, config)).filter(valid).collect()
    }

    /// The names of the tools that an auth plugin may have run under this config.
    pub fn tool_names(&self, config: &Value) -> BTreeSet<String> {
        self.tools.iter().filter_map(|name| name.bind_for(None, config)).collect()
    }

    /// The prefix of all keys that a call for `reference` may touch in the mount's part of the store;
    /// empty if the manifest binds none.
    ///
    /// # Errors
    /// `reference.store-prefix` if the reference lacks a field that the prefix needs: such a call must
    /// not see the store at all.
    pub fn store_prefix(&self, reference: &Reference, config: &Value) -> Result<String, Failure> {
        let Some(prefix) = &self.store else { return Ok(String::new()) };
        prefix.bind(reference, config).ok_or_else(|| self.unbound_prefix(reference, prefix))
    }

    /// As [`Manifest::store_prefix`], for the scope of a listing (`keys://`): the prefix ends before
    /// the first placeholder whose field the scope does not have.
    ///
    /// # Errors
    /// As [`Manifest::store_prefix`], if the prefix cannot be bound for another reason.
    pub fn store_prefix_of_scope(&self, scope: &Reference, config: &Value) -> Result<String, Failure> {
        let Some(prefix) = &self.store else { return Ok(String::new()) };
        prefix.bind_scope(scope, config).ok_or_else(|| self.unbound_prefix(scope, prefix))
    }

    /// What references must share to share a sandbox with this one; `None`: it has one to itself.
    /// References that differ in a field of the store's prefix, or of an origin, never share one.
    pub fn group_key(&self, reference: &Reference) -> Option<GroupKey> {
        let declared: &[RefField] = match &self.batch {
            Batch::None => return None,
            Batch::All => &[],
            Batch::By(fields) => fields,
        };
        let origins = self.http.iter().filter(|rule| rule.origin.follows_reference());
        let authority = origins.map(|_| &RefField::Authority).take(1);
        let bound = self.store.iter().flat_map(Templated::ref_fields).chain(authority);
        Some(GroupKey(declared.iter().chain(bound).map(|field| field.of(reference).map(str::to_owned)).collect()))
    }

    fn unbound_prefix(&self, reference: &Reference, prefix: &Templated) -> Failure {
        let message = format!("this reference does not fill the store's prefix `{prefix}` of the plugin {}", self.name);
        Failure::new(Kind::InvalidReference, "reference.store-prefix", message).about(reference.to_string())
    }
}

/// JSON (RFC 8259) without blanks and with the keys of every object sorted by their bytes.
pub fn canonical_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, inner)| format!("{}:{}", Value::from(key.as_str()), canonical_json(inner)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical_json).collect();
            format!("[{}]", items.join(","))
        }
        scalar => scalar.to_string(),
    }
}
