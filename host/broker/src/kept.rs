//! Values that outlive the process, sealed in the store, where a mount's `keep` says so: within `ttl` they
//! save a later run the way to the backend, and until `keep` is over they are all that `--offline` has.
//!
//! A value is bound to the mount, the plugin and its grants, its config, its credential as the config
//! defines it, where the operator says that hosts are, and the reference: whatever of these changes, the
//! value is not found any more. It must never be served after the backend said no: that forgets it, and so
//! does every write to the mount. No plugin reaches it. Whatever goes wrong with keeping is a warning:
//! then the value is merely not kept.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_core::config::units::show_duration;
use strongroom_core::config::{Effective, Layer};
use strongroom_core::manifest::{Grant, canonical_json};
use strongroom_core::secret::Metadata;
use strongroom_core::{Digest, Failure, Kind, Name, Reference, Secret, Text, Value};
use strongroom_store::Space;
use zeroize::Zeroizing;

use crate::cache::{STALE, says_no};
use crate::mounts::{Mounted, Provided, Provider};
use crate::{Inner, unix_now};

/// The attribute that tells when a value that was kept was got: seconds since the Unix epoch.
pub const KEPT: &str = "strongroom-kept";

/// What the names of values in the space begin with.
const VALUES: &str = "value/";

/// Where it stands when the space was last swept of what is over.
const SWEPT: &str = "swept";

/// What is another with each time that the values of the space are forgotten: what was asked before is not kept after.
const GENERATION: &str = "generation";

/// How often that is done, in seconds: it reads every value of the mount.
const SWEEP: u64 = 24 * 3600;

/// How far ahead of ours another process's clock may have been, in seconds. What was got later than that
/// was got by a clock that cannot be believed.
const SKEW: u64 = 60;

/// What is known of a value; its bytes follow in the store.
#[derive(Serialize, Deserialize)]
struct Head {
    got_at: u64,
    binary: bool,
    version: Option<String>,
    content_type: Option<String>,
    expires_at: Option<u64>,
    max_age_ms: Option<u32>,
    attributes: Vec<(String, String)>,
}

/// What all kept values of a process depend on.
pub(crate) struct Keeping {
    /// Nothing is asked over the network.
    pub(crate) offline: bool,
    /// Where hosts are and who vouches for them.
    world: String,
}

/// What was served from the store instead of by a backend, to be told once for each mount.
#[derive(Default)]
pub(crate) struct Served(BTreeMap<Name, (usize, u64)>);

/// What becomes of the values of one mount: each name, and its new bytes or nothing.
type Changes = Vec<(String, Option<Zeroizing<Vec<u8>>>)>;

/// What is known of a mount's space before its backend is asked; `None`: nothing of it is to be kept.
pub(crate) type Generation = Option<Option<Zeroizing<Vec<u8>>>>;

impl Keeping {
    pub(crate) fn new(effective: &Effective, offline: bool) -> Self {
        let cas: Vec<_> = effective.ca.values().map(|ca| (&ca.source.origin, &ca.file, &ca.hosts)).collect();
        Self { offline, world: format!("{:?}\n{cas:?}", effective.addresses) }
    }

    /// Refuses a plugin that could reach beyond this machine, if nothing may.
    pub(crate) fn permits(&self, provided: &Provided) -> Result<(), Failure> {
        if reaches_out(provided) { self.online() } else { Ok(()) }
    }

    /// Refuses whatever needs the network, if nothing may be asked over it.
    pub(crate) fn online(&self) -> Result<(), Failure> {
        match self.offline {
            true => Err(Failure::new(Kind::Unavailable, "offline", "nothing is asked over the network")
                .help("leave --offline out")),
            false => Ok(()),
        }
    }
}

/// Whether the plugin can reach beyond this machine: by itself, by a token that is got for it, or by a program.
fn reaches_out(provided: &Provided) -> bool {
    [Grant::Http, Grant::Token, Grant::Tool].iter().any(|grant| provided.grants.contains(grant))
}

/// Refuses `keep` where nothing is gained by it: what is on this machine need not be kept a second time.
pub(crate) fn check(provided: &Provided) -> Result<(), Failure> {
    if reaches_out(provided) {
        return Ok(());
    }
    let message = format!("`keep` has no effect: the plugin {} asks no backend", provided.manifest.name);
    Err(Failure::new(Kind::InvalidConfig, "config.keep", message))
}

impl Inner {
    /// The answer to a reference that need not go, or may not go, to the mount's backend.
    pub(crate) fn instead(
        &self,
        mounted: &Mounted,
        reference: &Reference,
        served: &mut Served,
    ) -> Option<Result<Secret, Failure>> {
        let Provider::Plugin(provided) = &mounted.provider else { return None };
        let offline = self.keeping.offline && reaches_out(provided);
        let within = if offline { mounted.mount.keep } else { mounted.mount.keep.and(mounted.mount.ttl) };
        let kept = within.and_then(|within| self.kept_value(mounted, provided, reference, within));
        match kept {
            Some((secret, age)) => {
                if offline {
                    let (count, oldest) = served.0.entry(mounted.name.clone()).or_default();
                    *count += 1;
                    *oldest = age.max(*oldest);
                }
                Some(Ok(secret))
            }
            None if offline => Some(Err(nothing_kept(mounted))),
            None => None,
        }
    }

    /// Says which values are not the backend's of now.
    pub(crate) fn tell(&self, served: Served) {
        for (name, (count, oldest)) in served.0 {
            let age = show_duration(Duration::from_secs(oldest));
            let (values, were) = if count == 1 { ("value", "it was") } else { ("values", "the oldest was") };
            let message = format!("{count} {values} of the mount {name} may have changed since: {were} got {age} ago");
            (self.plugins.warn)(Failure::new(Kind::Unavailable, "offline.kept", message));
        }
    }

    /// What [`Inner::keep_answers`] is told later, for a mount that keeps values and whose backend is to be asked.
    pub(crate) fn generation(&self, name: &Name) -> Generation {
        let (mounted, _) = self.keeper(name)?;
        let read = self.kept_space(mounted, false).and_then(|space| match space {
            Some(space) => space.get(GENERATION),
            None => Ok(None),
        });
        read.map_err(|failure| (self.plugins.warn)(failure.on_mount(name).help("what is asked now is not kept"))).ok()
    }

    /// Keeps what backends answered, and forgets what they refused. `asked` are those that were asked since `generations` were
    /// read; of a mount whose values were forgotten meanwhile nothing is kept.
    pub(crate) async fn keep_answers(
        &self,
        asked: &[(&Name, &Reference, &Result<Secret, Failure>)],
        mut generations: BTreeMap<Name, Generation>,
    ) {
        let mut all: BTreeMap<&Name, Changes> = BTreeMap::new();
        for &(name, reference, answer) in asked {
            let Some((mounted, provided)) = self.keeper(name) else { continue };
            let change = match answer {
                // One from memory that stands in for a backend's silence is as old as it was.
                Ok(secret) if secret.metadata.attributes.iter().any(|(key, _)| key.as_str() == STALE) => continue,
                Ok(secret) if lifetime(mounted, secret).is_zero() => None,
                Ok(secret) => match sealed(secret) {
                    Some(bytes) => Some(bytes),
                    None => continue,
                },
                Err(failure) if says_no(failure, name) => None,
                Err(_) => continue,
            };
            all.entry(name).or_default().push((self.key_of(mounted, provided, reference), change));
        }
        for (name, changes) in all {
            let Some((mounted, _)) = self.keeper(name) else { continue };
            let Some(generation) = generations.remove(name).flatten() else { continue };
            let help = "the values are served, and what is kept of this mount may be out of date";
            let done = match self.kept_space(mounted, true) {
                Ok(Some(space)) => {
                    let keep = mounted.mount.keep.unwrap_or_default();
                    self.vault.writing().run(move || write(&space, generation, changes, keep)).await
                }
                Ok(None) => Ok(()),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = done {
                (self.plugins.warn)(failure.on_mount(name).help(help));
            }
        }
    }

    /// Forgets every value that is kept of a mount.
    ///
    /// # Errors
    /// What the store says; then they may still be there.
    pub(crate) async fn forget_values(&self, mounted: &Mounted) -> Result<(), Failure> {
        if mounted.mount.keep.is_none() {
            return Ok(());
        }
        // Made if it is not there: a call that is under way may be about to keep the first value.
        match self.kept_space(mounted, true)? {
            Some(space) => {
                let cleared = self.vault.writing().run(move || clear(&space).map(drop)).await;
                cleared.map_err(|failure| failure.on_mount(&mounted.name))
            }
            None => Ok(()),
        }
    }

    /// Forgets the values of all mounts that use a credential, whether or not they keep any now.
    ///
    /// # Errors
    /// As [`Inner::forget_values`].
    pub(crate) fn forget_values_of(&self, credential: &Name) -> Result<usize, Failure> {
        let mut forgotten = 0;
        for mounted in self.mounts.all.values().filter(|m| m.mount.credential.as_ref() == Some(credential)) {
            if let Some(space) = self.kept_space(mounted, false)? {
                forgotten += clear(&space).map_err(|failure| failure.on_mount(&mounted.name))?;
            }
        }
        Ok(forgotten)
    }

    /// A mount that keeps values.
    fn keeper(&self, name: &Name) -> Option<(&Mounted, &Provided)> {
        let mounted = self.mounts.all.get(name)?;
        match &mounted.provider {
            Provider::Plugin(provided) if mounted.mount.keep.is_some() => Some((mounted, provided)),
            _ => None,
        }
    }

    /// The part of the store that is the mount's and the host's, and no plugin's.
    fn kept_space(&self, mounted: &Mounted, create: bool) -> Result<Option<Space>, Failure> {
        let Provider::Plugin(provided) = &mounted.provider else { return Ok(None) };
        let lineage = provided.origin.lineage(&provided.manifest.name, mounted.project.as_ref());
        self.vault.space(&mounted.name, &format!("kept {lineage}"), mounted.mount.limits.store, create)
    }

    /// A value that was got no longer than `within` ago, and how many seconds ago that was.
    fn kept_value(
        &self,
        mounted: &Mounted,
        provided: &Provided,
        reference: &Reference,
        within: Duration,
    ) -> Option<(Secret, u64)> {
        let read = || {
            let Some(space) = self.kept_space(mounted, false)? else { return Ok(None) };
            space.get(&self.key_of(mounted, provided, reference))
        };
        let bytes = read()
            .map_err(|failure: Failure| {
                (self.plugins.warn)(failure.on_mount(&mounted.name).help("what is kept of this mount is not used"));
            })
            .ok()??;
        let (head, value) = opened(&bytes)?;
        let now = unix_now().as_secs();
        let age = age_of(&head, now)?;
        if age >= head.lifetime(within).as_secs() || head.expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        Some((head.into_secret(value), age))
    }

    /// The name of a reference's value. It says nothing to whoever does not know all that it is made of.
    fn key_of(&self, mounted: &Mounted, provided: &Provided, reference: &Reference) -> String {
        let Mounted { mount, .. } = mounted;
        let credentials: Vec<String> = mount
            .credential
            .iter()
            .flat_map(|name| self.mounts.meant(name))
            .map(|used| {
                let defined = &used.credential;
                let from: (Layer, &Text) = (defined.source.layer, &defined.source.origin);
                let config = canonical_json(&defined.config);
                format!("{}\n{}\n{from:?}\n{:?}\n{config}", used.name, used.provided.digest, defined.sealed)
            })
            .collect();
        let Reference { mount: _, scheme, authority, path, selectors, field: _ } = reference;
        let parts = [
            provided.digest.to_string(),
            format!("{:?}", provided.grants),
            format!("{:?}\n{:?}\n{:?}", mount.source.layer, mount.source.origin, mount.network),
            canonical_json(&mount.config),
            format!("{credentials:?}"),
            self.keeping.world.clone(),
            format!("{scheme:?}\n{authority:?}\n{path:?}\n{selectors:?}"),
        ];
        // Each part is as long as it says, so that no two lists of parts are one text.
        let text: String = parts.iter().map(|part| format!("{}\n{part}\n", part.len())).collect();
        format!("{VALUES}{}", Digest::of(text.as_bytes()))
    }
}

fn nothing_kept(mounted: &Mounted) -> Failure {
    let (message, help) = match mounted.mount.keep {
        Some(_) => (
            "no value of it is kept, or it is over, and nothing is asked over the network",
            "resolve it once without --offline".to_owned(),
        ),
        None => (
            "its mount keeps no values, and nothing is asked over the network",
            format!("to have values offline: keep = \"7d\" under [mounts.{}], in your own config", mounted.name),
        ),
    };
    Failure::new(Kind::Unavailable, "offline.not-kept", message).on_mount(&mounted.name).help(help)
}

/// How long a value may be used, from now.
fn lifetime(mounted: &Mounted, secret: &Secret) -> Duration {
    let keep = mounted.mount.keep.unwrap_or_default();
    let max_age = secret.metadata.max_age_ms.map(|ms| Duration::from_millis(u64::from(ms)));
    let left = secret.metadata.expires_at.map(|end| Duration::from_secs(end).saturating_sub(unix_now()));
    [max_age, left].into_iter().flatten().fold(keep, Duration::min)
}

impl Head {
    /// How long after it was got the value may be used, `within` being what the config allows.
    fn lifetime(&self, within: Duration) -> Duration {
        self.max_age_ms.map_or(within, |ms| within.min(Duration::from_millis(u64::from(ms))))
    }

    fn into_secret(self, value: &[u8]) -> Secret {
        let value = value.to_vec();
        let value = if self.binary { Value::Binary(Zeroizing::new(value)) } else { Value::from_bytes(value) };
        let mut attributes: Vec<_> =
            self.attributes.iter().map(|(key, value)| (Text::new(key), Text::new(value))).collect();
        attributes.push((Text::new(KEPT), Text::new(self.got_at.to_string())));
        let metadata = Metadata {
            version: self.version.map(Text::new),
            content_type: self.content_type.map(Text::new),
            expires_at: self.expires_at,
            max_age_ms: self.max_age_ms,
            attributes,
        };
        Secret::new(value, metadata)
    }
}

/// Seconds since it was got; `None` if that is yet to come.
fn age_of(head: &Head, now: u64) -> Option<u64> {
    (head.got_at <= now.saturating_add(SKEW)).then(|| now.saturating_sub(head.got_at))
}

/// The head's length in four bytes, the head, the value.
fn sealed(secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let Metadata { version, content_type, expires_at, max_age_ms, attributes } = &secret.metadata;
    let head = Head {
        got_at: unix_now().as_secs(),
        binary: secret.expose_text().is_none(),
        version: version.as_ref().map(ToString::to_string),
        content_type: content_type.as_ref().map(ToString::to_string),
        expires_at: *expires_at,
        max_age_ms: *max_age_ms,
        attributes: attributes.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    };
    let head = serde_json::to_vec(&head).ok()?;
    let length = u32::try_from(head.len()).ok()?.to_le_bytes();
    // Room from the start: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.len() + head.len() + secret.expose().len()));
    [&length[..], &head, secret.expose()].iter().for_each(|part| bytes.extend_from_slice(part));
    Some(bytes)
}

fn opened(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (head, value) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some((serde_json::from_slice(head).ok()?, value))
}

/// Writes what changed, and once a day takes away what is over, whatever it was kept for. If what was kept has been forgotten since
/// `generation`, it only forgets.
fn write(
    space: &Space,
    generation: Option<Zeroizing<Vec<u8>>>,
    mut changes: Changes,
    keep: Duration,
) -> Result<(), Failure> {
    let now = unix_now().as_secs();
    let last = space.get(SWEPT)?.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse::<u64>().ok());
    if last.is_none_or(|last| now.abs_diff(last) >= SWEEP) {
        for key in names(space)? {
            let over = match space.get(&key)?.as_ref().and_then(|bytes| opened(bytes)) {
                Some((head, _)) => age_of(&head, now).is_none_or(|age| {
                    age >= head.lifetime(keep).as_secs() || head.expires_at.is_some_and(|end| end <= now)
                }),
                None => true,
            };
            if over && !changes.iter().any(|(changed, _)| *changed == key) {
                changes.push((key, None));
            }
        }
        changes.push((SWEPT.to_owned(), Some(Zeroizing::new(now.to_string().into_bytes()))));
    }
    let generation = generation.as_ref().map(|bytes| bytes.as_slice());
    let changes = changes.iter().map(|(key, value)| (key.as_str(), value.as_ref().map(|value| value.as_slice())));
    if !space.set_all_where(GENERATION, generation, changes.clone())? {
        // A no is a no, whatever was written meanwhile.
        space.set_all(changes.filter(|(_, value)| value.is_none()))?;
    }
    Ok(())
}

fn another() -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; 16]);
    // Should there be no randomness, the time is another one, too.
    if getrandom::fill(&mut bytes).is_err() {
        bytes.copy_from_slice(&unix_now().as_nanos().to_le_bytes());
    }
    bytes
}

fn names(space: &Space) -> Result<Vec<String>, Failure> {
    let mut page = space.keys(VALUES, None)?;
    let mut all = std::mem::take(&mut page.keys);
    while let Some(next) = page.next.take() {
        page = space.keys(VALUES, Some(&next))?;
        all.append(&mut page.keys);
    }
    Ok(all)
}

/// Removes every value, at once; how many those were.
fn clear(space: &Space) -> Result<usize, Failure> {
    let (names, another) = (names(space)?, another());
    let gone = names.iter().map(|name| (name.as_str(), None));
    space.set_all(gone.chain(std::iter::once((GENERATION, Some(another.as_slice())))))?;
    Ok(names.len())
}
