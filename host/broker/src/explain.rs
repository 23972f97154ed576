//! What would happen to a reference, without resolving it. Never a value.

use serde::Serialize;
use strongroom_core::config::{Layer, Mount, units};
use strongroom_core::manifest::HttpRule;
use strongroom_core::{Failure, Reference, Text};
use strongroom_egress::net::Client;

use crate::Inner;
use crate::mounts::{Mounted, Origin, Provider};

/// How a reference reads and who would answer it.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The reference, normalised.
    pub reference: String,
    /// Its scheme.
    pub scheme: String,
    /// The host it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Its decoded path.
    pub path: Vec<String>,
    /// What narrows it.
    pub selectors: Vec<(String, String)>,
    /// The way into a JSON value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Vec<String>>,
    /// The mount that answers it.
    pub mount: MountExplanation,
    /// Why it would be refused before any plugin runs, if it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// A refusal by policy.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// The failure's stable code.
    pub code: String,
    /// What is refused and why.
    pub message: Text,
    /// What to do.
    pub help: Vec<Text>,
}

/// One mount, as it is in force.
#[derive(Debug, Clone, Serialize)]
pub struct MountExplanation {
    /// Its name.
    pub name: String,
    /// The scheme it answers.
    pub scheme: String,
    /// Where it is written: a file and its line, or `built in`.
    pub source: String,
    /// The layer of that file.
    pub layer: &'static str,
    /// What of its config came from beside that file, and from where.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
    /// The plugin and its version.
    pub plugin: String,
    /// The digest of the plugin's component; absent for the host's own provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whether the plugin is part of this binary.
    pub bundled: bool,
    /// What it may import.
    pub grants: Vec<&'static str>,
    /// The variables that this reference lets it read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<String>,
    /// The part of the store that this reference lets it use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_prefix: Option<String>,
    /// The only paths it answers; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// The only hosts it answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Whether it may be written to.
    pub write: bool,
    /// The requests that this reference would let it make; of a mount, its rules.
    pub egress: Vec<String>,
    /// The credential it would use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The person's credential, asked too where access to the default secret stores is enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// How long values are kept.
    pub cache: String,
    /// How long a request may take.
    pub deadline: String,
}

impl Inner {
    pub(crate) fn explain(&self, reference: &Reference) -> Result<Explanation, Failure> {
        let name = self.mounts.router.route(reference)?;
        let mounted = self.mounts.all.get(name).ok_or_else(|| {
            Failure::new(strongroom_core::Kind::Internal, "route.mount", "the router names a mount that is not there")
        })?;
        let refused = self.route(reference).err().or_else(|| match &mounted.provider {
            Provider::Files(folders) => crate::files::holding(folders, reference).err(),
            Provider::Plugin(_) => None,
        });
        let refused = refused.map(|failure| Refusal {
            code: failure.code().to_owned(),
            message: failure.message().clone(),
            help: failure.helps().to_vec(),
        });
        Ok(Explanation {
            reference: reference.to_string(),
            scheme: reference.scheme.to_string(),
            authority: reference.authority.clone(),
            path: reference.path.clone(),
            selectors: reference.selectors.clone(),
            field: reference.field.as_ref().map(|field| field.0.clone()),
            mount: self.explain_mount(mounted, Some(reference)),
            refused,
        })
    }

    pub(crate) fn explain_mount(&self, mounted: &Mounted, reference: Option<&Reference>) -> MountExplanation {
        let mount = &mounted.mount;
        let source = match mount.source.position {
            Some((line, _)) => format!("{}:{line}", mount.source.origin),
            None => mount.source.origin.to_string(),
        };
        let layer = match mount.source.layer {
            Layer::BuiltIn => "built in",
            Layer::User => "user",
            Layer::Project => "project",
            Layer::Explicit => "explicit",
        };
        let mut explained = MountExplanation {
            name: mounted.name.to_string(),
            scheme: mounted.scheme.clone(),
            source,
            layer,
            told: mounted.filled.told.clone(),
            plugin: crate::mounts::FILE_PROVIDER.to_owned(),
            digest: None,
            bundled: true,
            grants: Vec::new(),
            variables: Vec::new(),
            store_prefix: None,
            allow: mount.allow.as_ref().map(|allow| allow.iter().map(|p| p.as_str().to_owned()).collect()),
            hosts: mount.hosts.iter().map(|p| p.as_str().to_owned()).collect(),
            write: mount.write,
            egress: Vec::new(),
            credential: mount.credential.as_ref().map(ToString::to_string),
            person: mount.person.as_ref().map(ToString::to_string),
            cache: {
                let memory = mount.ttl.map_or("off".to_owned(), units::show_duration);
                let sealed = |keep| format!("{memory}, sealed in the store for {}", units::show_duration(keep));
                mount.keep.map_or_else(|| memory.clone(), sealed)
            },
            deadline: units::show_duration(mount.limits.deadline),
        };
        if let Provider::Plugin(provided) = &mounted.provider {
            explained.plugin = format!("{} {}", provided.manifest.name, provided.manifest.version);
            explained.digest = Some(provided.digest.to_string());
            explained.bundled = matches!(provided.origin, Origin::Bundled(_));
            explained.grants = provided.grants.iter().map(|grant| grant.name()).collect();
            if provided.grants.contains(&strongroom_core::manifest::Grant::Http) {
                let rules = provided.manifest.http.iter();
                explained.egress = rules.flat_map(|rule| egress(rule, reference, mount, &self.client)).collect();
            }
            if let Some(reference) = reference {
                explained.variables = provided.manifest.env_names(reference, &mount.config).into_iter().collect();
                if provided.grants.contains(&strongroom_core::manifest::Grant::Store) {
                    explained.store_prefix = provided.manifest.store_prefix(reference, &mount.config).ok();
                }
            }
        }
        explained
    }
}

/// What a rule lets through, a line for each route; filled from the reference, if there is one.
fn egress(rule: &HttpRule, reference: Option<&Reference>, mount: &Mount, client: &Client) -> Vec<String> {
    let functions = rule.on.iter().map(|on| on.name()).collect::<Vec<_>>().join(", ");
    let bound = rule.origin.bind(reference, &mount.config);
    // A rule for other hosts, such as another cloud's, says nothing of this reference.
    if bound.as_ref().is_some_and(|origin| !rule.admits_host(&origin.authority())) {
        return Vec::new();
    }
    let address = bound.as_ref().and_then(|origin| client.told_address(&origin.authority()));
    let origin = bound.map_or_else(|| rule.origin.as_str().to_owned(), |origin| origin.to_string());
    let network = rule.network_under(mount.network.as_ref());
    let line = |route: &strongroom_core::manifest::http::Route| {
        let path = route.path.shown(reference, &mount.config);
        let mut line = format!("{functions}: {} {origin}{path}, ", route.method.name());
        line += &match address {
            Some(address) => format!("at {address} as [addresses] says"),
            None => format!("{network} addresses"),
        };
        if let Some(used) = &rule.credential {
            let audience = used.audience.bind_text(reference, &mount.config);
            let audience = audience.unwrap_or_else(|| used.audience.as_str().to_owned());
            line += &format!(", with a token for {audience} as {}", used.header);
        }
        line
    };
    rule.allow.iter().map(line).collect()
}
