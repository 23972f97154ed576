//! A WebAssembly plugin host for secret providers.
//!
//! Strongroom takes a secret reference such as `env:NAME` or `keys://group/name`, routes it to the
//! right plugin, runs that plugin in a fresh sandbox which can reach exactly what it was granted, and
//! hands the value to the program that needs it.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use strongroom::{Environment, Setup, Strongroom};
//!
//! let mut setup = Setup::without_config();
//! setup.environment = Environment::from_iter([("DB_PASSWORD".into(), "hunter2".into())]);
//! let strongroom = Strongroom::open(setup)?;
//!
//! let secret = strongroom.resolve("env:DB_PASSWORD").await?;
//! assert_eq!(secret.expose(), b"hunter2");
//! assert_eq!(format!("{secret:?}"), "Secret(..)");
//! # Ok::<_, strongroom::Failure>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! It runs on any tokio runtime with its timer and its I/O enabled. Plugins that are not bundled are compiled in
//! a child process; see [`compile_child`].
//!
//! Where to start reading: `resolve.rs` is the way of a reference, `mounts.rs` what a config becomes,
//! `plugins.rs` how code comes to be trusted.

#![forbid(unsafe_code)]

pub mod accept;
mod access;
mod accounts;
mod acquiring;
mod arc;
pub mod audit;
mod breaker;
mod browser;
pub mod bundled;
mod cache;
mod capabilities;
mod chain;
mod config_from;
mod credentials;
mod default_chain;
pub mod discover;
pub mod elsewhere;
pub mod environment;
mod explain;
mod files;
mod keeping;
mod kept;
mod lending;
mod login;
mod mounts;
pub mod observe;
pub mod paths;
mod person;
mod plugins;
mod resolve;
mod serving;
mod signing;
mod tokens;
mod tooling;
pub mod turns;
mod vault;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use strongroom_core::config::{Access, Layer, PluginSource, RunConfig, Tool};
use strongroom_core::policy::Operation;
use strongroom_core::{Digest, Manifest, Name, Origin, Rights};
pub use strongroom_core::{Failure, Kind, Reference, Secret, Shapes, Template, Text, Value};
pub use strongroom_egress::net::BUNDLES as SYSTEM_AUTHORITIES;
use strongroom_egress::net::{Cas, Client, OperatorCa};
pub use strongroom_egress::net::{Resolver, Resolving};
pub use strongroom_egress::reach::Event;
pub use strongroom_sandbox::call::Entry;
pub use strongroom_sandbox::plugin::grants_of_import;
pub use strongroom_sandbox::{Allocation, Page, Receipt};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

pub use crate::access::Routed;
pub use crate::accounts::SystemAccounts;
pub use crate::arc::FOLDER as ARC_KEYS;
pub use crate::audit::{Audit, Audited};
pub use crate::cache::STALE;
pub use crate::credentials::is_of_credential;
pub use crate::discover::Source;
use crate::elsewhere::Change;
pub use crate::environment::Environment;
pub use crate::explain::{Explanation, MountExplanation, Refusal};
pub use crate::keeping::Known;
pub use crate::kept::KEPT;
pub use crate::login::{Place as SignInPlace, SignIn};
pub use crate::paths::Paths;
pub use crate::plugins::{Compiler, MAX_COMPONENT_BYTES, compile_child};
pub use crate::vault::{AskPassphrase, Keys};

/// Told of what went wrong and was dealt with: a cache entry that was thrown away, and the like.
pub type Warn = Arc<dyn Fn(Failure) + Send + Sync>;

/// Told of every request that a plugin made: the mount or credential, the plugin, and what became of it.
/// No secret is in what it is told.
pub type Trace = Arc<dyn Fn(&Name, &str, &Event) + Send + Sync>;

/// Sandboxes that run at once. With a pool, fewer than its slots.
const PERMITS: usize = 64;

/// How deep calls wait for one another: a provider, its auth plugin, the provider of that one's sealed
/// input, and so on for [`credentials::MAX_DEPTH`] credentials.
const DEPTHS: usize = 2 * credentials::MAX_DEPTH + 1;

/// How to open a [`Strongroom`].
#[derive(Clone)]
pub struct Setup {
    /// Which config files to read.
    pub source: Source,
    /// The environment that references and settings are read from.
    pub environment: Environment,
    /// The user's own folders.
    pub paths: Paths,
    /// Where instances live.
    pub allocation: Allocation,
    /// What compiles plugins that are not bundled; without it they cannot be used.
    pub compiler: Option<Compiler>,
    /// How the store's key may be asked for.
    pub keys: Keys,
    /// Who is asked for the addresses of a name.
    pub resolver: Arc<dyn Resolver>,
    /// The folder in which Azure Arc's agent puts the keys that it asks for: [`ARC_KEYS`] but in tests.
    pub arc_keys: PathBuf,
    /// Leave out mounts whose plugin is a file: for commands that mend a config which names one that
    /// cannot be used.
    pub only_bundled: bool,
    /// Ask nothing over the network: of mounts that would, only values that their `keep` left in the store
    /// are served.
    pub offline: bool,
    /// As whom operations are written to the log that the config's `[audit]` asks for, before their answers are given.
    /// `None`: they are not, as in a server, which writes that log itself.
    pub audited: Option<Audited>,
    /// Finds who answers in the place of this process, as far as it can: the user's own server.
    pub elsewhere: Option<elsewhere::Find>,
    /// What was opened before in this process, to go on in its place: its engine, its
    /// connections, its store and its audit log are shared.
    pub successor_of: Option<Strongroom>,
    /// Told of what went wrong and was dealt with.
    pub warn: Warn,
    /// Told of every request that a plugin made.
    pub trace: Option<Trace>,
    /// Told of what is to be counted.
    pub observe: Option<Arc<dyn observe::Observe>>,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("source", &self.source).field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Setup {
    /// The config files that the command line would find from `folder`, this process's environment,
    /// the user's own folders.
    pub fn discover(folder: impl Into<PathBuf>) -> Self {
        let source = Source::Discover { folder: folder.into(), explicit: None };
        Self { source, ..Self::of_environment(Environment::capture()) }
    }

    /// No config, but this environment, the folders it names and the passphrase it holds.
    pub fn of_environment(environment: Environment) -> Self {
        let paths = Paths::from_environment(&environment);
        let keys = Keys::from_environment(&environment);
        Self { environment, paths, keys, ..Self::without_config() }
    }

    /// A config given as text; relative paths in it are seen from `folder`.
    pub fn from_toml(text: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Self { source: Source::Text { text: text.into(), folder: folder.into() }, ..Self::discover(".") }
    }

    /// No config, an empty environment, no folders: only what is built in.
    pub fn without_config() -> Self {
        Self {
            source: Source::Nothing,
            environment: Environment::default(),
            paths: Paths::default(),
            allocation: Allocation::OnDemand,
            compiler: None,
            keys: Keys::default(),
            resolver: Arc::new(strongroom_egress::net::System),
            arc_keys: ARC_KEYS.into(),
            only_bundled: false,
            offline: false,
            audited: None,
            elsewhere: None,
            successor_of: None,
            warn: Arc::new(|failure| tracing::warn!(target: "strongroom", code = failure.code(), "{failure}")),
            trace: None,
            observe: None,
        }
    }
}

/// The host: mounts, plugins and the way between them. Cheap to clone.
#[derive(Clone)]
pub struct Strongroom(Arc<Inner>);

impl std::fmt::Debug for Strongroom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Strongroom").field("mounts", &self.0.mounts.all.len()).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    mounts: mounts::Mounts,
    plugins: plugins::Plugins,
    environment: Arc<Environment>,
    vault: vault::Vault,
    cache: cache::Cache,
    breakers: breaker::Breakers,
    tokens: tokens::TokenCache,
    winners: chain::Winners,
    arc_keys: PathBuf,
    /// What the operator declared as tools, by name.
    tools: BTreeMap<String, Tool>,
    keeping: kept::Keeping,
    client: Client,
    ca: Vec<(PathBuf, strongroom_core::config::Ca)>,
    cas: OnceLock<Cas>,
    trace: Option<Trace>,
    observe: Option<Arc<dyn observe::Observe>>,
    permits: [Semaphore; DEPTHS],
    recorder: Option<audit::Recorder>,
    run: RunConfig,
    serving: serving::Serving,
    elsewhere: Option<Arc<dyn elsewhere::Elsewhere>>,
    /// Whether whoever is elsewhere has the same config, and since when that is known.
    same_config: tokio::sync::Mutex<Option<(bool, Instant)>>,
    basis: elsewhere::Basis,
    access: Access,
    files: Vec<(Layer, PathBuf)>,
}

pub(crate) async fn within<P>(
    deadline: Instant,
    acquiring: impl Future<Output = Result<P, AcquireError>>,
) -> Result<P, Failure> {
    let late = || Failure::new(Kind::Deadline, "deadline.queue", "no sandbox became free in time");
    match tokio::time::timeout_at(deadline.into(), acquiring).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(late()),
    }
}

/// The time since the Unix epoch.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

impl Inner {
    /// Waits for the mount's turn and then for a place, until `deadline`: a mount whose backend is slow leaves places
    /// to the others.
    pub(crate) async fn admit_on<'a>(
        &'a self,
        mounted: &'a mounts::Mounted,
        deadline: Instant,
        depth: usize,
    ) -> Result<(Option<turns::Turn<'a>>, SemaphorePermit<'a>), Failure> {
        let turn = match depth {
            0 => Some(mounted.turns.take(deadline).await?),
            _ => None,
        };
        Ok((turn, self.admit(deadline, depth).await?))
    }

    /// Waits for a place, until `deadline`. Each depth has places of its own, so that providers which
    /// wait for a token never starve the plugin that gets it.
    pub(crate) async fn admit(&self, deadline: Instant, depth: usize) -> Result<SemaphorePermit<'_>, Failure> {
        let Some(permits) = self.permits.get(depth) else {
            return Err(Failure::new(
                Kind::InvalidConfig,
                "config.credential-depth",
                "too many calls wait for one another",
            ));
        };
        within(deadline, permits.acquire()).await
    }

    /// Connects to the backends of a mount, as far as they are known without a reference.
    async fn probe(&self, mounted: &mounts::Mounted, provided: &mounts::Provided) -> Result<(), Failure> {
        let mount = &mounted.mount;
        self.keeping.permits(provided)?;
        let mut origins = BTreeMap::new();
        for rule in provided.rules.iter() {
            let network = rule.network_under(mount.network.as_ref());
            let literal = mount.hosts.iter().filter(|host| rule.origin.follows_reference() && !host.is_wild());
            let named = literal.filter_map(|host| Origin::of_authority(true, host.as_str()).ok());
            origins.extend(named.chain(rule.origin.bind(None, &mount.config)).map(|origin| (origin, network)));
        }
        for (origin, network) in origins {
            let deadline = Instant::now() + mount.limits.deadline;
            strongroom_egress::reach::probe(&self.client, &origin, network, self.cas()?, deadline).await?;
        }
        Ok(())
    }

    /// The operator's certificate authorities, read by the first call that could need them.
    pub(crate) fn cas(&self) -> Result<Cas, Failure> {
        if let Some(cas) = self.cas.get() {
            return Ok(cas.clone());
        }
        let read = |(path, ca): &(PathBuf, strongroom_core::config::Ca)| {
            let wrong = |why: String| {
                let message = format!("the certificate authorities in {} cannot be used: {why}", path.display());
                Failure::new(Kind::InvalidConfig, "config.ca", message)
            };
            // Whoever can write it can read every answer, so it is guarded as the config is.
            let text = discover::read_text(path)?.ok_or_else(|| wrong("there is no such file".to_owned()))?;
            OperatorCa::new(text.as_bytes(), ca.hosts.clone()).map_err(|error| wrong(error.to_string()))
        };
        let cas = Cas::new(self.ca.iter().map(read).collect::<Result<_, _>>()?);
        Ok(self.cas.get_or_init(|| cas).clone())
    }
}

impl Strongroom {
    /// Reads the config and makes the mounts. Loads no plugin and opens no store.
    ///
    /// # Errors
    /// What is wrong with a config file, and where.
    pub fn open(setup: Setup) -> Result<Self, Failure> {
        let digests = setup.elsewhere.is_some() || matches!(setup.source, Source::OwnFiles { .. });
        let mut found = discover::find(&setup.source, &setup.environment, &setup.paths, digests)?;
        if setup.only_bundled {
            let bundled = |mount: &strongroom_core::config::Mount| matches!(mount.plugin, PluginSource::Bundled(_));
            found.effective.mounts.retain(|_, mount| bundled(mount) && mount.credential.is_none());
            // Their sealed inputs may be of schemes that are left out now.
            found.effective.credentials.clear();
        }
        let before = setup.successor_of.as_ref().map(|before| &*before.0);
        // What a file said is not over because the file is gone: it may be about to be replaced.
        let gone = before.and_then(|before| before.files.iter().find(|file| !found.files.contains(file)));
        if let Some((_, path)) = gone {
            let message = format!("the config file {} is in force, and is not there any more", path.display());
            let failure = Failure::new(Kind::InvalidConfig, "config.absent", message);
            return Err(failure.help("put it back, empty if nothing is to be in it; or start anew without it"));
        }
        let recorder = found.effective.audit.take().map(|config| {
            let recorded_before = before.and_then(|before| before.recorder.as_ref());
            let folder = found.homes.get(&config.source.layer).map(|home| home.folder.clone()).unwrap_or_default();
            let (paths, warn) = (setup.paths.clone(), setup.warn.clone());
            audit::Recorder::new(config, folder, paths, warn, setup.audited, recorded_before)
        });
        let plugins = plugins::Plugins::new(setup.allocation, setup.paths.clone(), setup.compiler, setup.warn);
        if let Some(before) = before {
            plugins.share_engine(&before.plugins);
        }
        let mut mounts = mounts::Mounts::build(&found, &plugins, &setup.environment)?;
        mounts.fill(&setup.source, &setup.environment, &setup.paths);
        access::check(&found.effective.access, &mounts)?;
        let store_home = [Layer::Explicit, Layer::User].into_iter().find_map(|layer| found.homes.get(&layer));
        let store_folder = store_home.map(|home| home.folder.clone()).unwrap_or_default();
        let serving = serving::Serving::new(&mut found);
        let own_socket = serving.own_socket(&setup.paths);
        found.contents.sort();
        let basis = elsewhere::Basis { files: found.contents, state: setup.paths.state.clone() };
        let vault_before = before.map(|before| &before.vault);
        let vault = vault::Vault::new(&found.effective.store, &store_folder, setup.paths, setup.keys, vault_before);
        let permits = match setup.allocation {
            Allocation::OnDemand => [PERMITS; DEPTHS],
            // A full pool is an error, not a wait: all depths together stay below its slots.
            Allocation::Pooled { slots, .. } => {
                let slots = usize::try_from(slots).unwrap_or(PERMITS).saturating_sub(1);
                let behind = (slots / 16).max(1);
                let mut permits = [behind; DEPTHS];
                permits[0] = slots.saturating_sub(behind * (DEPTHS - 1)).max(1);
                permits
            }
        };
        let settings =
            strongroom_egress::net::Settings { addresses: found.effective.addresses.clone(), ..Default::default() };
        // Connections are kept apart by all that decides where they lead but the addresses that the config tells.
        let client = match before.filter(|before| *before.client.told_addresses() == settings.addresses) {
            Some(before) => before.client.clone(),
            None => Client::new(setup.resolver, settings),
        };
        let cache = cache::Cache::default();
        if let Some(before) = before {
            before.cache.succeeded_by(&cache);
        }
        let elsewhere = setup.elsewhere.and_then(|find| find(own_socket?));
        let ca = found.effective.ca.values().map(|ca| {
            let folder = found.homes.get(&ca.source.layer).map(|home| home.folder.clone()).unwrap_or_default();
            (paths::beside(&folder, &ca.file), ca.clone())
        });
        Ok(Self(Arc::new(Inner {
            mounts,
            plugins,
            environment: Arc::new(setup.environment),
            vault,
            cache,
            breakers: breaker::Breakers::default(),
            tokens: tokens::TokenCache::default(),
            winners: chain::Winners::default(),
            arc_keys: setup.arc_keys,
            keeping: kept::Keeping::new(&found.effective, setup.offline),
            tools: found.effective.tools,
            client,
            ca: ca.collect(),
            cas: OnceLock::new(),
            trace: setup.trace,
            observe: setup.observe,
            permits: permits.map(Semaphore::new),
            recorder,
            run: found.effective.run,
            serving,
            elsewhere,
            same_config: tokio::sync::Mutex::default(),
            basis,
            access: found.effective.access,
            files: found.files,
        })))
    }

    /// How the references of all mounted schemes read.
    pub fn shapes(&self) -> &Shapes {
        &self.0.mounts.shapes
    }

    /// Reads a bare reference, or one in `${{...}}`.
    ///
    /// # Errors
    /// What is wrong with it, and where in it.
    pub fn parse(&self, reference: &str) -> Result<Reference, Failure> {
        Reference::parse(reference, self.shapes())
            .map_err(|error| error.into_failure(reference, Text::new("the reference"), None))
    }

    /// Reads the scope of a listing: a reference that may end early, or a mount's name.
    ///
    /// # Errors
    /// As [`Strongroom::parse`], and `unknown-mount` for a name that no mount has.
    pub fn parse_scope(&self, scope: &str) -> Result<Reference, Failure> {
        if let Ok(name) = Name::parse(scope) {
            let mounted = self.0.mounts.all.get(&name).ok_or_else(|| {
                let names: Vec<&str> = self.0.mounts.all.keys().map(Name::as_str).collect();
                Failure::new(Kind::UnknownMount, "route.no-such-mount", format!("there is no mount {name}"))
                    .help(format!("there are: {}", names.join(", ")))
            })?;
            return Ok(Reference {
                mount: Some(name),
                scheme: mounted.scheme.as_str().into(),
                authority: None,
                path: Vec::new(),
                selectors: Vec::new(),
                field: None,
            });
        }
        Reference::parse_scope(scope, self.shapes())
            .map_err(|error| error.into_failure(scope, Text::new("the reference"), None))
    }

    /// Resolves one reference.
    ///
    /// # Errors
    /// What the parser, the policy, the sandbox or the provider says.
    pub async fn resolve(&self, reference: &str) -> Result<Secret, Failure> {
        let reference = self.parse(reference)?;
        let mut answers = self.resolve_all(std::slice::from_ref(&reference)).await;
        answers.pop().unwrap_or_else(|| Err(Failure::new(Kind::Internal, "resolve.unanswered", "there was no answer")))
    }

    /// What the cache has for one reference and would answer at once. `None` says nothing: ask.
    ///
    /// For a server, which is asked the same again and again: it is what [`Strongroom::resolve_all`] would answer, without
    /// what that does to put many references together.
    pub fn kept(&self, reference: &Reference) -> Option<Result<Arc<Secret>, Failure>> {
        let recorded = self.0.recorder.as_ref().is_some_and(|recorder| recorder.audited.is_some());
        if recorded || self.0.elsewhere.is_some() {
            return None;
        }
        self.0.kept_one(reference)
    }

    /// Resolves many references at once, side by side. One answer each, in order.
    pub async fn resolve_all(&self, references: &[Reference]) -> Vec<Result<Secret, Failure>> {
        let mut answers = self.resolve_elsewhere(references).await;
        let here: Vec<Reference> =
            references.iter().zip(&answers).filter(|(_, a)| a.is_none()).map(|(r, _)| r.clone()).collect();
        if here.len() == references.len() {
            return self.recorded_each(Operation::Resolve, references, self.0.resolve_all(references, false)).await;
        }
        let done = self.recorded_each(Operation::Resolve, &here, self.0.resolve_all(&here, false)).await;
        for (answer, done) in answers.iter_mut().filter(|answer| answer.is_none()).zip(done) {
            *answer = Some(done);
        }
        answers.into_iter().flatten().collect()
    }

    /// Whether the person who runs this may have what the references name: each that is answered with a credential is
    /// also asked for with the one that its mount names as `person`, and the value dropped. One answer each, in order.
    ///
    /// # Errors
    /// `enforce.no-person` for a mount with a `credential` and no `person`; what the backend refuses the person.
    pub async fn ask_as_person(&self, references: &[Reference]) -> Vec<Result<(), Failure>> {
        self.recorded_each(Operation::Resolve, references, self.0.ask_as_person(references)).await
    }

    /// Sets a value. `expected` is the version to replace, an empty one: there is none yet; `None` is
    /// unconditional. Attributes are `content-type`, `expires` and `tags.*`; some providers have more.
    ///
    /// # Errors
    /// `policy-denied` on a mount without `write = true`; else what the provider says.
    pub async fn set(
        &self,
        reference: &Reference,
        value: &Value,
        attributes: &[(String, String)],
        expected: Option<&str>,
    ) -> Result<Receipt, Failure> {
        if let Some(done) = self.change_elsewhere(reference, Change::Set { value, attributes, expected }).await {
            return done;
        }
        self.recorded(Operation::Set, reference, self.0.set(reference, value, attributes, expected)).await
    }

    /// Removes a secret, or the version that the reference selects.
    ///
    /// # Errors
    /// As [`Strongroom::set`].
    pub async fn delete(&self, reference: &Reference) -> Result<Receipt, Failure> {
        if let Some(done) = self.change_elsewhere(reference, Change::Delete).await {
            return done;
        }
        self.recorded(Operation::Delete, reference, self.0.delete(reference)).await
    }

    /// Changes what is known about a secret, not its value.
    ///
    /// # Errors
    /// As [`Strongroom::set`].
    pub async fn annotate(&self, reference: &Reference, attributes: &[(String, String)]) -> Result<Receipt, Failure> {
        if let Some(done) = self.change_elsewhere(reference, Change::Annotate { attributes }).await {
            return done;
        }
        self.recorded(Operation::Set, reference, self.0.annotate(reference, attributes)).await
    }

    /// Brings back a secret that was deleted, where the backend keeps what is deleted for a while. The
    /// receipt's attribute `state` says `recovered`, or `recovering` if the backend was not done when the
    /// mount's deadline came.
    ///
    /// # Errors
    /// As [`Strongroom::set`]; `not-found` for what is not among the deleted; `unsupported` without soft delete.
    pub async fn recover(&self, reference: &Reference) -> Result<Receipt, Failure> {
        if let Some(done) = self.change_elsewhere(reference, Change::Recover).await {
            return done;
        }
        self.recorded(Operation::Recover, reference, self.0.recover(reference)).await
    }

    /// Ends a deleted secret for good. There is no way back.
    ///
    /// # Errors
    /// As [`Strongroom::recover`]; `denied` where the backend protects what is deleted.
    pub async fn purge(&self, reference: &Reference) -> Result<Receipt, Failure> {
        if let Some(done) = self.change_elsewhere(reference, Change::Purge).await {
            return done;
        }
        self.recorded(Operation::Purge, reference, self.0.purge(reference)).await
    }

    /// The names under `scope`. Never a value.
    ///
    /// # Errors
    /// `unsupported` if the provider has no catalog; else what it says.
    pub async fn list(&self, scope: &Reference) -> Result<Page, Failure> {
        self.recorded(Operation::List, scope, self.0.list(scope)).await
    }

    /// The names under `scope` that were deleted and can be recovered. Never a value.
    ///
    /// # Errors
    /// As [`Strongroom::list`]; `unsupported` without soft delete.
    pub async fn list_deleted(&self, scope: &Reference) -> Result<Page, Failure> {
        let mut scope = scope.clone();
        scope.selectors.retain(|(selector, _)| selector != "state");
        scope.selectors.push(("state".to_owned(), "deleted".to_owned()));
        scope.selectors.sort();
        self.list(&scope).await
    }

    /// The versions of a secret.
    ///
    /// # Errors
    /// `unsupported` if the provider keeps none; else what it says.
    pub async fn versions(&self, reference: &Reference) -> Result<Page, Failure> {
        self.recorded(Operation::Metadata, reference, self.0.versions(reference)).await
    }

    /// How a reference parses and who would answer it. Resolves nothing.
    ///
    /// # Errors
    /// `unknown-mount` if nobody would.
    pub fn explain(&self, reference: &Reference) -> Result<Explanation, Failure> {
        self.recorded_now(Operation::Explain, reference, || self.0.explain(reference))
    }

    /// Every mount, as it is in force.
    pub fn mounts(&self) -> Vec<MountExplanation> {
        self.0.mounts.all.values().map(|mounted| self.0.explain_mount(mounted, None)).collect()
    }

    /// Loads the plugin of every mount, checks its config, and connects to the backends that can be told
    /// without a reference: for `doctor`. No request is made and no token is got.
    ///
    /// A mount's name and what is wrong with it, if anything.
    pub async fn check_mounts(&self) -> Vec<(Name, Result<(), Failure>)> {
        let mut checked = Vec::new();
        for mounted in self.0.mounts.all.values() {
            let result = match &mounted.provider {
                mounts::Provider::Files(_) => Ok(()),
                mounts::Provider::Plugin(provided) => {
                    let fits = self.0.plugins.load(provided).and_then(|_| mounted.check_config(provided).map(drop));
                    match fits {
                        Ok(()) => self.0.probe(mounted, provided).await,
                        Err(failure) => Err(failure),
                    }
                }
            };
            checked.push((mounted.name.clone(), result.map_err(|failure| failure.on_mount(&mounted.name))));
        }
        checked
    }

    /// What a plugin file is and may do. It is compiled and kept, and not run.
    ///
    /// # Errors
    /// What is wrong with the component or its manifest.
    pub fn look_at_plugin(&self, path: &std::path::Path) -> Result<(Manifest, Digest, Rights), Failure> {
        let looked = self.0.plugins.look_at(path)?;
        mounts::check_names(&looked.0)?;
        Ok(looked)
    }

    /// Links the plugin file with what its manifest wants, and calls nothing.
    ///
    /// # Errors
    /// As [`Strongroom::look_at_plugin`]; what it imports beyond its grants, or what is missing.
    pub fn try_plugin(&self, path: &std::path::Path) -> Result<(), Failure> {
        self.look_at_plugin(path)?;
        self.0.plugins.link(path)
    }

    /// The log that the config's `[audit]` asks for, if it does; opened once.
    ///
    /// # Errors
    /// As [`Audit::open`].
    pub fn audit(&self) -> Result<Option<Audit>, Failure> {
        self.0.recorder.as_ref().map(audit::Recorder::open).transpose()
    }

    /// Where that log and its key are or would be, if the config asks for one.
    ///
    /// # Errors
    /// `unsupported` without a state folder.
    pub fn audit_place(&self) -> Result<Option<audit::Place>, Failure> {
        let place = |recorder: &audit::Recorder| audit::Place::new(&recorder.config, &recorder.folder, &recorder.paths);
        self.0.recorder.as_ref().map(place).transpose()
    }

    /// `[run]` of the config.
    pub fn run_config(&self) -> &RunConfig {
        &self.0.run
    }

    /// The config files in force, with their layers.
    pub fn config_files(&self) -> &[(Layer, PathBuf)] {
        &self.0.files
    }

    /// Where the store is or would be, and what opens it: for `doctor` and `store` commands.
    ///
    /// # Errors
    /// `unsupported` without a state folder.
    pub fn store_parts(&self) -> Result<(strongroom_store::Options, strongroom_store::Unlock), Failure> {
        Ok((self.0.vault.options()?.clone(), self.0.vault.unlock()?))
    }

    /// The variables that feed a credential: no child inherits them.
    pub fn sealed_variables(&self) -> &std::collections::BTreeSet<String> {
        &self.0.mounts.sealed_variables
    }

    /// Drops what is kept in memory: cached values, tokens, connections and the store's keys. `run`
    /// calls it before its child starts.
    pub fn forget(&self) {
        self.0.cache.clear();
        self.0.tokens.clear();
        self.0.client.close_idle();
        self.0.vault.close();
    }
}
