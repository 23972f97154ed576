//! What a vault holds, and what happens to it. It must never ask who calls.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::random;

/// The most bytes of a value.
pub(super) const VALUE_MOST: usize = 25_600;

/// How permissions are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// By role.
    #[default]
    Rbac,
    /// By the vault's own policies.
    Policies,
}

/// Who may come near.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Everyone.
    #[default]
    Open,
    /// Not this address.
    Firewall,
    /// Only private links.
    Private,
}

/// A vault. Its secrets are seeded apart.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vault {
    /// Its name.
    pub name: String,
    /// What its host ends in; by default the public cloud's.
    pub suffix: Option<String>,
    /// Its tenant's id.
    pub tenant: String,
    /// Its subscription.
    pub subscription: String,
    /// Its resource group.
    pub resource_group: String,
    /// Its region.
    pub location: String,
    /// How permissions are given.
    pub authorization: Access,
    /// With `policies`: words such as `get`, by object id.
    pub policies: BTreeMap<String, Vec<String>>,
    /// Who may come near.
    pub network: Network,
    /// Deleted secrets cannot be purged.
    pub purge_protection: bool,
    /// Days that a deleted secret is kept; 90 if absent.
    pub retention_days: Option<i64>,
    /// So many looks find a deletion (or a purge) still under way; 1 if absent.
    pub settle_looks: Option<u32>,
    /// Each page is followed by an empty one.
    pub empty_pages: bool,
    /// Entries of a page, at most 25.
    pub page_size: Option<usize>,
    /// By name in lower case.
    #[serde(skip)]
    secrets: BTreeMap<String, Secret>,
    /// Purged names that are not free yet, with looks to go.
    #[serde(skip)]
    purging: BTreeMap<String, u32>,
}

/// A secret with all its versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Secret {
    pub(super) name: String,
    versions: Vec<Version>,
    /// When it was deleted, and looks to go until that shows.
    deleted: Option<(i64, u32)>,
    /// Looks to go until a recovery shows.
    recovering: u32,
    /// It was made through Azure ML's own service.
    through_ml: bool,
}

/// One version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    pub(super) id: String,
    value: String,
    content_type: Option<String>,
    tags: BTreeMap<String, String>,
    pub(super) enabled: bool,
    nbf: Option<i64>,
    exp: Option<i64>,
    created: i64,
    updated: i64,
    kid: Option<String>,
}

/// Attributes of a set or an update.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct NewAttributes {
    enabled: Option<bool>,
    nbf: Option<i64>,
    exp: Option<i64>,
}

/// The body of a set or an update, and a seeded secret.
#[derive(Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NewSecret {
    /// The value; none in an update.
    pub value: Option<String>,
    /// Its type.
    pub content_type: Option<String>,
    /// All its tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// Its attributes.
    pub attributes: NewAttributes,
    /// Only in a seed: the version's id.
    pub version: Option<String>,
    /// Only in a seed: backs a certificate with that key id.
    pub kid: Option<String>,
    /// Only in a seed: made through Azure ML's own service.
    pub through_ml: bool,
}

/// How far a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It shows.
    Yes,
    /// It is under way.
    NotYet,
    /// It is purged, and the name not free yet.
    Purging,
}

impl Secret {
    /// The version that counts.
    pub(super) fn latest(&self) -> Option<&Version> {
        self.versions.last()
    }

    fn version(&self, id: Option<&str>) -> Option<&Version> {
        match id {
            None => self.latest(),
            Some(id) => self.versions.iter().find(|version| version.id.eq_ignore_ascii_case(id)),
        }
    }

    /// All versions, oldest first.
    pub(super) fn versions(&self) -> &[Version] {
        &self.versions
    }
}

impl Vault {
    /// Its full host.
    pub fn host(&self) -> String {
        format!("{}.{}", self.name, self.suffix.as_deref().unwrap_or("vault.azure.net")).to_lowercase()
    }

    /// Its resource id, as Key Vault writes it.
    pub fn resource_id(&self) -> String {
        format!(
            "/subscriptions/{}/resourcegroups/{}/providers/microsoft.keyvault/vaults/{}",
            self.subscription, self.resource_group, self.name
        )
    }

    /// Whether a policy allows an identity something.
    pub fn policy_allows(&self, principal: &str, permission: &str) -> bool {
        let given = self.policies.get(principal);
        given.is_some_and(|given| given.iter().any(|word| word.eq_ignore_ascii_case(permission) || word == "all"))
    }

    /// Takes over what the vault that it replaces held.
    pub fn take_secrets(&mut self, old: Self) {
        self.secrets = old.secrets;
        self.purging = old.purging;
    }

    /// Keeps the secrets whose name fits.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.secrets.retain(|name, _| keep(name));
    }

    /// A secret that is not deleted, at a version or the latest.
    pub fn live(&self, name: &str, version: Option<&str>) -> Option<(&Secret, &Version)> {
        let secret = self.secrets.get(&name.to_lowercase()).filter(|secret| secret.deleted.is_none())?;
        Some((secret, secret.version(version)?))
    }

    /// A value for Azure ML's own service, with the times of its making and change.
    pub fn read(&self, name: &str) -> Option<(&str, Option<&str>, i64, i64)> {
        let (_, version) = self.live(name, None).filter(|(_, version)| version.enabled)?;
        Some((&version.value, version.content_type.as_deref(), version.created, version.updated))
    }

    /// Names made through Azure ML's own service.
    pub fn through_ml(&self) -> impl Iterator<Item = &str> {
        let live = |secret: &&Secret| secret.deleted.is_none() && secret.through_ml;
        self.secrets.values().filter(live).map(|secret| secret.name.as_str())
    }

    /// A deleted secret, or a purged name.
    pub(super) fn deleted(&self, name: &str) -> Option<(Settled, &Secret)> {
        let key = name.to_lowercase();
        let secret = self.secrets.get(&key)?;
        if self.purging.contains_key(&key) {
            return Some((Settled::Purging, secret));
        }
        secret.deleted.map(|(_, looks)| (if looks == 0 { Settled::Yes } else { Settled::NotYet }, secret))
    }

    /// Whether a name is taken by a deleted secret, for Azure ML's own service.
    pub fn reserved(&self, name: &str) -> bool {
        self.deleted(name).is_some()
    }

    /// One look at a deletion under way brings it nearer to its end.
    pub(super) fn step(&mut self, name: &str) {
        let key = name.to_lowercase();
        if let Some(looks) = self.purging.get_mut(&key) {
            *looks = looks.saturating_sub(1);
        } else if let Some((_, looks)) = self.secrets.get_mut(&key).and_then(|secret| secret.deleted.as_mut()) {
            *looks = looks.saturating_sub(1);
        }
    }

    /// Ends purges that were looked at often enough, and deletions that are older than they are kept.
    pub(super) fn finish(&mut self, now: i64) {
        let (secrets, keep) = (&mut self.secrets, self.retention_days.unwrap_or(90).saturating_mul(86_400));
        self.purging.retain(|name, looks| {
            if *looks == 0 {
                secrets.remove(name);
            }
            *looks > 0
        });
        secrets.retain(|_, secret| secret.deleted.is_none_or(|(at, _)| now < at.saturating_add(keep)));
    }

    /// Adds a version, and the secret if there is none.
    pub fn add(&mut self, name: &str, new: NewSecret, now: i64) {
        let version = Version {
            id: new.version.unwrap_or_else(random::hex),
            value: new.value.unwrap_or_default(),
            content_type: new.content_type,
            tags: new.tags.unwrap_or_default(),
            enabled: new.attributes.enabled.unwrap_or(true),
            nbf: new.attributes.nbf,
            exp: new.attributes.exp,
            created: now,
            updated: now,
            kid: new.kid,
        };
        let secret = self.secrets.entry(name.to_lowercase()).or_insert_with(|| Secret {
            name: name.to_owned(),
            versions: Vec::new(),
            deleted: None,
            recovering: 0,
            through_ml: false,
        });
        secret.through_ml |= new.through_ml;
        // The same seed twice is one version.
        secret.versions.retain(|known| known.id != version.id);
        secret.versions.push(version);
    }

    /// Changes attributes; `None` if there is no such secret.
    pub(super) fn update(&mut self, name: &str, version: Option<&str>, new: NewSecret, now: i64) -> Option<()> {
        let secret = self.secrets.get_mut(&name.to_lowercase()).filter(|secret| secret.deleted.is_none())?;
        let version = match version {
            None => secret.versions.last_mut(),
            Some(id) => secret.versions.iter_mut().find(|version| version.id.eq_ignore_ascii_case(id)),
        }?;
        version.updated = now;
        if let Some(tags) = new.tags {
            version.tags = tags;
        }
        version.content_type = new.content_type.or(version.content_type.take());
        version.enabled = new.attributes.enabled.unwrap_or(version.enabled);
        version.nbf = new.attributes.nbf.or(version.nbf);
        version.exp = new.attributes.exp.or(version.exp);
        Some(())
    }

    /// Deletes softly and gives the bundle.
    pub fn delete(&mut self, name: &str, now: i64) -> Option<Value> {
        let looks = self.settle_looks.unwrap_or(1);
        let key = name.to_lowercase();
        let secret = self.secrets.get_mut(&key).filter(|secret| secret.deleted.is_none())?;
        secret.deleted = Some((now, looks));
        self.secrets.get(&key).map(|secret| self.deleted_bundle(secret))
    }

    pub(super) fn recover(&mut self, name: &str) -> Option<Value> {
        let key = name.to_lowercase();
        let looks = self.settle_looks.unwrap_or(1);
        let secret = self.secrets.get_mut(&key)?;
        (secret.deleted, secret.recovering) = (None, looks);
        let secret = self.secrets.get(&key)?;
        Some(self.bundle(secret, secret.latest()?, false))
    }

    /// Whether a recovery does not show yet; each look brings it nearer.
    pub(super) fn still_recovering(&mut self, name: &str) -> bool {
        let Some(secret) = self.secrets.get_mut(&name.to_lowercase()) else { return false };
        let still = secret.recovering > 0;
        secret.recovering = secret.recovering.saturating_sub(1);
        still
    }

    pub(super) fn purge(&mut self, name: &str) {
        self.purging.insert(name.to_lowercase(), self.settle_looks.unwrap_or(1));
    }

    pub(super) fn backup(&self, name: &str) -> Option<String> {
        let (secret, _) = self.live(name, None)?;
        serde_json::to_vec(secret).ok().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn read_backup(blob: &str) -> Option<(String, Secret)> {
        let secret: Secret = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(blob).ok()?).ok()?;
        Some((secret.name.clone(), secret))
    }

    pub(super) fn put_back(&mut self, secret: Secret) {
        self.secrets.insert(secret.name.to_lowercase(), secret);
    }

    /// Secrets in the order of their names.
    pub(super) fn listed(&self, deleted: bool) -> Vec<&Secret> {
        self.secrets
            .values()
            .filter(|secret| match secret.deleted {
                None => !deleted,
                Some((_, looks)) => deleted && looks == 0 && !self.purging.contains_key(&secret.name.to_lowercase()),
            })
            .collect()
    }

    fn level(&self) -> String {
        let purge = if self.purge_protection { "" } else { "+Purgeable" };
        let custom = if self.retention_days.is_some_and(|days| days < 90) { "Customized" } else { "" };
        format!("{custom}Recoverable{purge}")
    }

    fn attributes(&self, version: &Version) -> Value {
        let mut attributes = json!({"enabled": version.enabled});
        if let Some(members) = attributes.as_object_mut() {
            for (name, value) in [("nbf", version.nbf), ("exp", version.exp)] {
                if let Some(value) = value {
                    members.insert(name.into(), json!(value));
                }
            }
            members.insert("created".into(), json!(version.created));
            members.insert("updated".into(), json!(version.updated));
            members.insert("recoveryLevel".into(), json!(self.level()));
            members.insert("recoverableDays".into(), json!(self.retention_days.unwrap_or(90)));
        }
        attributes
    }

    /// An entry of a list.
    pub(super) fn item(&self, secret: &Secret, version: &Version, with_version: bool) -> Value {
        let mut id = format!("https://{}/secrets/{}", self.host(), secret.name);
        if with_version {
            id = format!("{id}/{}", version.id);
        }
        let mut item = json!({"id": id, "attributes": self.attributes(version)});
        if let Some(members) = item.as_object_mut() {
            if let Some(kind) = &version.content_type {
                members.insert("contentType".into(), json!(kind));
            }
            if !version.tags.is_empty() {
                members.insert("tags".into(), json!(version.tags));
            }
            if version.kid.is_some() {
                members.insert("managed".into(), json!(true));
            }
        }
        item
    }

    /// The bundle of one version.
    pub(super) fn bundle(&self, secret: &Secret, version: &Version, with_value: bool) -> Value {
        let mut bundle = self.item(secret, version, true);
        if let Some(members) = bundle.as_object_mut() {
            if with_value {
                members.insert("value".into(), json!(version.value));
            }
            if let Some(kid) = &version.kid {
                members.insert("kid".into(), json!(kid));
            }
        }
        bundle
    }

    /// The bundle of a deleted secret.
    pub(super) fn deleted_bundle(&self, secret: &Secret) -> Value {
        let mut bundle = secret.latest().map(|version| self.bundle(secret, version, false)).unwrap_or_default();
        self.mark_deleted(secret, &mut bundle);
        bundle
    }

    /// Adds what an entry of a deleted secret says more.
    pub(super) fn mark_deleted(&self, secret: &Secret, entry: &mut Value) {
        let days = self.retention_days.unwrap_or(90);
        if let (Some((at, _)), Some(members)) = (secret.deleted, entry.as_object_mut()) {
            members
                .insert("recoveryId".into(), json!(format!("https://{}/deletedsecrets/{}", self.host(), secret.name)));
            members.insert("deletedDate".into(), json!(at));
            members.insert("scheduledPurgeDate".into(), json!(at.saturating_add(days.saturating_mul(86_400))));
        }
    }
}
