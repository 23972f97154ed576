//! A host with a hostile plugin in it, and what every case asserts besides its own.
//!
//! A [`World`] is one opened [`Strongroom`] under one way of allocation. Every call through it ends in
//! bounded time; every failure is typed and searched for the test's secrets; when the world ends, so
//! is the log, and a good plugin answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use strongroom::{
    Allocation, Compiler, Environment, Failure, Keys, Kind, Paths, Receipt, Secret, Setup, Strongroom, Value,
};
use strongroom_core::lock::Locked;
use strongroom_core::{Digest, Lock, Manifest, Rights};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::backend::{Names, authority};
use crate::canary::{Canary, hex};
use crate::sections::without_manifest;

/// The program under test, which also is the compile child.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_strongroom");

/// Where `cargo xtask test` puts the guests of the tests, and the examples.
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/tests");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/examples");

/// How long anything may take before it counts as hanging: far above every limit of a call here.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const POOLED: Allocation = Allocation::Pooled { slots: 80, memory_bytes: 64 << 20 };

/// Runs `test` with instances allocated each way.
pub fn under_both(test: impl AsyncFn(Allocation)) {
    for allocation in [Allocation::OnDemand, POOLED] {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test(allocation));
    }
}

/// What the hostile provider asks for: everything a provider can get. `more` are its rules.
pub fn manifest(more: &str) -> String {
    format!(
        r#"
name = "hostile"
version = "0.1.0"
schemes = ["hostile"]
wants = ["clock", "env", "http", "log", "random", "store", "store-and-http"]

[reference]
path = ["name", "more?"]

[env]
names = ["HOSTILE_{{ref.path.0}}"]

[store]
prefix = "{{ref.path.0}}/"

{more}

[config]
type = "object"
[config.properties.plain]
type = "string"
[config.properties.secure]
type = "string"
[config.properties.space]
type = "string"
"#
    )
}

/// The rules that most cases are about: a backend in the clear, and one that takes a credential.
pub const RULES: &str = r#"
[[http]]
on = ["resolve"]
origin = "{config.plain}"
allow = ["GET /open/{ref.path.0}", "HEAD /open/{ref.path.0}", "POST /open/{ref.path.0}"]
query = { "api-version" = ["7.4"], "page" = ["{ref.path.0}"] }
headers = ["x-space: {config.space}", "x-free"]
answers = ["x-page"]

[[http]]
on = ["put"]
origin = "{config.plain}"
allow = ["PUT /open/{ref.path.0}", "DELETE /open/{ref.path.0}"]

[[http]]
on = ["resolve"]
origin = "{config.secure}"
allow = ["GET /v1/{ref.path.0}", "POST /v1/{ref.path.0}"]
answers = ["x-page"]
credential = { audience = "{config.secure}", header = "X-Vault-Token", format = "{token}" }

[[http]]
on = ["names"]
origin = "{config.secure}"
allow = ["GET /names"]
credential = { audience = "{config.secure}" }
"#;

/// A world that is being made.
pub struct Plan {
    allocation: Allocation,
    manifest: String,
    auth: Option<(String, String)>,
    plain: String,
    secure: String,
    mount: String,
    config: String,
    variables: Vec<(String, String)>,
    canaries: Vec<Canary>,
    tokens: Vec<Canary>,
    store: Option<PathBuf>,
    others: Vec<(String, String)>,
}

impl Plan {
    pub fn new(allocation: Allocation) -> Self {
        Self {
            allocation,
            manifest: manifest(RULES),
            auth: None,
            plain: "http://plain.test:1".into(),
            secure: "https://vault.test:1".into(),
            mount: "network = \"loopback\"\n".into(),
            config: String::new(),
            variables: vec![("GOOD".into(), "good".into()), ("STRONGROOM_MARK".into(), "own".into())],
            canaries: Vec::new(),
            tokens: Vec::new(),
            store: None,
            others: Vec::new(),
        }
    }

    /// Keeps the store in this folder, for what outlives a world.
    pub fn store(mut self, folder: &Path) -> Self {
        self.store = Some(folder.to_owned());
        self
    }

    /// Another guest with its manifest; in the config `$NAME` is the plugin.
    pub fn guest(mut self, name: &str, manifest: &str) -> Self {
        self.others.push((name.into(), manifest.into()));
        self
    }

    pub fn manifest(mut self, manifest: impl Into<String>) -> Self {
        self.manifest = manifest.into();
        self
    }

    /// Where the rules' `{config.plain}` and `{config.secure}` are.
    pub fn plain(mut self, origin: String) -> Self {
        self.plain = origin;
        self
    }

    pub fn secure(mut self, origin: String) -> Self {
        self.secure = origin;
        self
    }

    /// The keys of the mount beside plugin and config.
    pub fn mount(mut self, keys: &str) -> Self {
        self.mount = keys.to_owned();
        self
    }

    /// More of the config file.
    pub fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self
    }

    /// A variable that no text may show.
    pub fn variable(mut self, name: &str, value: &Canary) -> Self {
        self.variables.push((name.into(), value.text().into()));
        self.canaries.push(value.clone());
        self
    }

    pub fn plain_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Gives the mount a credential whose token is `token`, by the bundled auth plugin. No provider may
    /// ever see it.
    pub fn token(mut self, token: &Canary) -> Self {
        self.variables.push(("TOKEN".into(), token.text().into()));
        self.tokens.push(token.clone());
        self.mount.push_str("credential = \"c\"\n");
        self
    }

    /// Has the hostile auth plugin get the tokens, with this attack.
    pub fn auth(mut self, attack: &str, url: &str) -> Self {
        self.auth = Some((attack.into(), url.into()));
        self
    }

    pub fn open(self) -> World {
        listen();
        let folder = tempfile::tempdir().unwrap();
        let names = Arc::new(Names::default());
        let environment = Environment::from_iter(self.variables.iter().map(|(n, v)| (n.into(), v.into())));
        let mut setup = Setup::from_toml("", folder.path());
        setup.environment = environment;
        setup.paths = shared_paths();
        setup.allocation = self.allocation;
        setup.keys = Keys { no_keyring: true, ..Keys::default() };
        setup.compiler = Some(Compiler { program: PROGRAM.into(), args: vec![Compiler::ARGUMENT.into()] });
        setup.resolver = names.clone();
        let mut lock = Lock::default();
        let hostile = accept(&setup, &mut lock, folder.path(), "guest", &self.manifest);
        let others: Vec<(String, String)> = self
            .others
            .iter()
            .map(|(name, manifest)| {
                (format!("${}", name.to_uppercase()), accept(&setup, &mut lock, folder.path(), name, manifest))
            })
            .collect();
        let audience = &self.secure;
        let credential = match &self.auth {
            _ if self.tokens.is_empty() => String::new(),
            None => format!(
                "[credentials.c]\nplugin = \"auth-token\"\nsealed = {{ token = \"${{{{env:TOKEN}}}}\" }}\naudiences = [\"{audience}\"]\n"
            ),
            Some((attack, url)) => {
                let plugin = accept(&setup, &mut lock, folder.path(), "auth", AUTH);
                format!(
                    "[credentials.c]\nplugin = {plugin}\nsealed = {{ token = \"${{{{env:TOKEN}}}}\" }}\naudiences = [\"{audience}\"]\n\
                     config = {{ attack = \"{attack}\", url = \"{url}\" }}\nnetwork = \"loopback\"\nlimits.deadline = \"3s\"\n"
                )
            }
        };
        std::fs::write(folder.path().join("strongroom.lock"), lock.to_toml().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority().pem()).unwrap();
        let Self { mount, config, plain, secure, .. } = &self;
        let authority = secure.split_once("://").unwrap().1;
        let store = self.store.clone().unwrap_or_else(|| folder.path().to_owned()).join("store.db");
        let store = store.display();
        let text = format!(
            "[mounts.hostile]\nplugin = {hostile}\nconfig = {{ plain = \"{plain}\", secure = \"{secure}\", space = \"own\" }}\n{mount}\n\
             {credential}\n[ca.test]\nfile = \"ca.pem\"\nhosts = [\"{authority}\"]\n[store]\npath = \"{store}\"\nkey = \"file\"\n{config}\n"
        );
        let text =
            others.iter().fold(text.replace("$HOSTILE", &hostile), |text, (name, plugin)| text.replace(name, plugin));
        setup.source = strongroom::Source::Text { text: text.clone(), folder: folder.path().to_owned() };
        let strongroom = Strongroom::open(setup).unwrap_or_else(|failure| panic!("{}\n{text}", told(&failure)));
        World { strongroom, config: text, names, folder, canaries: self.canaries, tokens: self.tokens, checked: false }
    }
}

const AUTH: &str = r#"
name = "hostile-auth"
version = "0.1.0"
auth = true
wants = ["clock", "env", "http", "log", "sealed"]
sealed = ["token"]

[env]
names = ["AUTH_ALLOWED"]

[[http]]
origin = "{config.url}"
allow = ["GET /never"]

[[browser]]
origin = "https://{config.login}"
hosts = ["login.test"]
path = "/{config.tenant}/authorize"

[config]
type = "object"
[config.properties.attack]
type = "string"
[config.properties.url]
type = "string"
[config.properties.login]
type = "string"
default = "login.test"
[config.properties.tenant]
type = "string"
default = "ours"
"#;

/// Code that was compiled is shared between tests and runs, as its digest and seal allow.
pub fn shared_paths() -> Paths {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    Paths { config: None, state: Some(folder.join("state")), cache: Some(folder.join("cache")), ..Paths::default() }
}

/// Puts the guest `name` with this manifest into `folder` and `lock`, as `plugin add` would, and
/// gives what names it in a config.
fn accept(setup: &Setup, lock: &mut Lock, folder: &Path, name: &str, manifest: &str) -> String {
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, plugin_file(name, manifest)).unwrap();
    // One at a time: two compile children of one component would be work for nothing.
    static COMPILING: Mutex<()> = Mutex::new(());
    let looked = {
        let _one = COMPILING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        looker(setup).look_at_plugin(&path)
    };
    let (manifest, digest, rights): (Manifest, Digest, Rights) =
        looked.unwrap_or_else(|failure| panic!("{}", told(&failure)));
    let (name, version) = (manifest.name.clone(), manifest.version.clone());
    lock.insert(Locked { name: name.clone(), version, digest, rights });
    format!("{{ path = \"{}\", digest = \"{digest}\" }}", path.display())
}

fn looker(setup: &Setup) -> Strongroom {
    let mut setup = setup.clone();
    setup.source = strongroom::Source::Nothing;
    Strongroom::open(setup).unwrap()
}

/// The manifest of the example provider for KV version 2.
pub fn vault_manifest() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/providers/vault-kv/plugin.toml");
    std::fs::read_to_string(path).unwrap()
}

/// The guest `name` of `tests/hostile`, or of the examples, with another manifest.
pub fn plugin_file(name: &str, manifest: &str) -> Vec<u8> {
    strongroom_builder::build::assemble(&component(name), manifest.as_bytes())
        .unwrap_or_else(|failure| panic!("{}", told(&failure)))
}

/// The guest without its manifest: the component as the compiler made it.
pub fn component(name: &str) -> Vec<u8> {
    let read = |folder: &str| std::fs::read(Path::new(folder).join(format!("{name}.wasm")));
    let bytes = read(GUESTS).or_else(|_| read(EXAMPLES)).expect("the guests are built by `cargo xtask test`");
    without_manifest(&bytes)
}

/// What a hostile plugin is to do.
#[derive(Clone, Default)]
pub struct Script {
    steps: Vec<Json>,
    fails: bool,
}

pub fn script(step: Json) -> Script {
    Script::default().then(step)
}

impl Script {
    pub fn then(mut self, step: Json) -> Self {
        self.steps.push(step);
        self
    }

    /// The plugin gives up at the first step that does not work.
    pub fn or_fail(mut self) -> Self {
        self.fails = true;
        self
    }

    /// A reference to `path` that carries the script.
    pub fn at(&self, path: &str) -> String {
        let fails = if self.fails { "&then=fail" } else { "" };
        format!("hostile://{path}?do={}{fails}", hex(Json::from(self.steps.clone()).to_string().as_bytes()))
    }
}

/// An opened host, and what must not be seen.
pub struct World {
    pub strongroom: Strongroom,
    /// What it was opened with.
    pub config: String,
    pub names: Arc<Names>,
    pub folder: tempfile::TempDir,
    canaries: Vec<Canary>,
    tokens: Vec<Canary>,
    checked: bool,
}

impl World {
    /// Resolves a reference, in bounded time. A failure is searched for every secret; an answer only
    /// for tokens, since a value may be what the plugin was asked for.
    pub async fn resolve(&self, reference: &str) -> Result<Secret, Failure> {
        let resolved = tokio::time::timeout(PATIENCE, self.strongroom.resolve(reference)).await.expect("it hangs");
        match &resolved {
            Ok(secret) => self.tokens.iter().for_each(|token| token.not_in("an answer", secret.expose())),
            Err(failure) => self.check_failure(failure),
        }
        resolved
    }

    /// As [`World::resolve`], of many at once.
    pub async fn resolve_all(&self, references: &[String]) -> Vec<Result<Secret, Failure>> {
        let parsed: Vec<_> = references.iter().map(|text| self.strongroom.parse(text).unwrap()).collect();
        let all = tokio::time::timeout(PATIENCE, self.strongroom.resolve_all(&parsed)).await.expect("it hangs");
        all.iter().filter_map(|answer| answer.as_ref().err()).for_each(|failure| self.check_failure(failure));
        all
    }

    /// What the steps of a script came to, as the plugin saw it.
    #[track_caller]
    pub fn report<'a>(&'a self, path: &'a str, script: &'a Script) -> impl Future<Output = Vec<Json>> + 'a {
        let reference = script.at(path);
        async move {
            let secret = self.resolve(&reference).await.unwrap_or_else(|failure| panic!("{}", told(&failure)));
            serde_json::from_slice(secret.expose()).unwrap()
        }
    }

    /// The typed failure that the script ends in.
    pub async fn failure(&self, path: &str, script: &Script) -> Failure {
        match self.resolve(&script.at(path)).await {
            Ok(secret) => panic!("it answered: {}", String::from_utf8_lossy(secret.expose())),
            Err(failure) => failure,
        }
    }

    /// Sets a value through the hostile plugin, which runs the script with it.
    pub async fn put(&self, path: &str, script: &Script, value: &str) -> Result<Receipt, Failure> {
        let reference = self.strongroom.parse(&script.at(path)).unwrap();
        let value = Value::text(value);
        let set = self.strongroom.set(&reference, &value, &[], None);
        let done = tokio::time::timeout(PATIENCE, set).await.expect("it hangs");
        if let Err(failure) = &done {
            self.check_failure(failure);
        }
        done
    }

    /// Lists through the hostile plugin, which runs the script.
    pub async fn names_of(&self, path: &str, script: &Script) -> Result<Json, Failure> {
        let reference = self.strongroom.parse(&script.at(path)).unwrap();
        let page = tokio::time::timeout(PATIENCE, self.strongroom.list(&reference)).await.expect("it hangs");
        if let Err(failure) = &page {
            self.check_failure(failure);
        }
        page.map(|page| serde_json::from_str(&page.entries[0].name).unwrap())
    }

    pub fn check_failure(&self, failure: &Failure) {
        assert!(!failure.code().is_empty() && !failure.message().as_str().is_empty(), "{failure:?}");
        self.secrets().for_each(|secret| secret.not_in("a failure", told(failure)));
    }

    fn secrets(&self) -> impl Iterator<Item = &Canary> {
        self.canaries.iter().chain(&self.tokens)
    }

    /// The bundled environment plugin answers, in the same engine.
    pub async fn still_answers(&self) {
        let good = self.resolve("env:GOOD").await.unwrap_or_else(|failure| panic!("{}", told(&failure)));
        assert_eq!(good.expose_text(), Some("good"));
    }

    /// What must hold after every case.
    pub async fn end(mut self) {
        self.still_answers().await;
        bounded_memory();
        let log = LOG.lock().unwrap().clone();
        self.secrets().for_each(|secret| secret.not_in("the log", &log));
        self.checked = true;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        assert!(self.checked || std::thread::panicking(), "a case ends with `end`");
    }
}

/// All that a failure says, in every way it can be shown.
pub fn told(failure: &Failure) -> String {
    let mut told = format!("{failure} {failure:?} {} {}", failure.code(), failure.message());
    failure.helps().iter().for_each(|help| write!(told, " {help}").unwrap());
    failure.attributes().iter().for_each(|(key, value)| write!(told, " {key}={value}").unwrap());
    for text in [failure.subject(), failure.plugin()].into_iter().flatten() {
        write!(told, " {text}").unwrap();
    }
    told
}

#[track_caller]
pub fn is(failure: &Failure, kind: Kind, code: &str) {
    assert_eq!((failure.kind(), failure.code()), (kind, code), "{}", told(failure));
}

/// Everything that the log of `--verbose` would show, of all tests of this process.
static LOG: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(Mutex::default);

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log's lines that hold `mark`.
pub fn logged(mark: &str) -> Vec<String> {
    let log = String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
    log.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect()
}

/// The filter is the one of the command line at its widest.
fn listen() {
    static ONCE: LazyLock<()> = LazyLock::new(|| {
        let own = Targets::new().with_default(LevelFilter::WARN).with_target("strongroom", LevelFilter::TRACE);
        let lines = tracing_subscriber::fmt::layer().with_writer(|| Sink).with_ansi(false);
        tracing_subscriber::registry().with(lines).with(own).init();
    });
    *ONCE;
}

/// A request of the hostile plugin to `origin`.
pub fn get(origin: &str, target: &str) -> Json {
    request(origin, target, json!({}))
}

/// The same, with more to say of it.
pub fn request(origin: &str, target: &str, more: Json) -> Json {
    let (scheme, authority) = origin.split_once("://").unwrap();
    let mut wanted: BTreeMap<String, Json> =
        [("scheme", scheme), ("authority", authority), ("target", target)].map(|(k, v)| (k.into(), v.into())).into();
    wanted.extend(more.as_object().unwrap().clone());
    json!({ "http": wanted })
}

/// Whatever was tried, in all tests of this process together.
#[cfg(target_os = "linux")]
fn bounded_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes < 1 << 20, "{kibibytes} KiB");
}

#[cfg(not(target_os = "linux"))]
fn bounded_memory() {}

/// How long `future` takes, which must be less than `most`.
pub async fn within<T>(most: Duration, future: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = future.await;
    assert!(begun.elapsed() < most, "it took {:?}", begun.elapsed());
    done
}
