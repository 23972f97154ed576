//! From a plugin's file to loaded code: digest, lock, cache, and the compile child.
//!
//! What is loaded is either part of this binary or was compiled by this installation from exactly
//! the digest that config and lock name. A plugin without a lock entry is never compiled or run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_core::manifest::Grant;
use strongroom_core::{Digest, Failure, Kind, Lock, Manifest, Name, Rights, Text};
use strongroom_sandbox::aot::{Cache, Code};
use strongroom_sandbox::{Allocation, Plugin, Runtime, plugin};

use crate::mounts::{Origin, Provided};
use crate::paths::Paths;

/// The largest component, in bytes: a Python guest has 18 MB.
pub const MAX_COMPONENT_BYTES: u64 = strongroom_sandbox::section::MAX_COMPONENT as u64;

/// How long compiling one component may take.
const COMPILE_WALL: Duration = Duration::from_secs(120);
/// Address space of the compile child.
const COMPILE_MEMORY: u64 = 4 << 30;
/// CPU time of the compile child, all threads together.
const COMPILE_CPU_SECONDS: u64 = 120;

/// How components are compiled: always in a limited child process, because a hostile one can take
/// minutes and gigabytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// The program: `/proc/self/exe` for one that calls [`compile_child`] itself.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<std::ffi::OsString>,
}

impl Compiler {
    /// The argument that makes a program that calls [`compile_child`] compile.
    pub const ARGUMENT: &str = "__strongroom-compile";

    /// This very program, which must call [`compile_child`] first thing in `main`.
    pub fn this_program() -> Self {
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().unwrap_or_default()
        };
        Self { program, args: vec![Self::ARGUMENT.into()] }
    }
}

/// The compile child's whole work, if this process is one: reads a component from standard input and
/// writes code to standard output. Gives the exit status to leave with; `None` in any other process.
///
/// A program that embeds Strongroom and wants to run plugins that are not bundled calls it first
/// thing in `main`, and passes [`Compiler::this_program`] in its setup.
pub fn compile_child(args: impl IntoIterator<Item = std::ffi::OsString>) -> Option<u8> {
    let mut args = args.into_iter().skip(1);
    if args.next().is_none_or(|argument| argument != Compiler::ARGUMENT) {
        return None;
    }
    let compiled = compile_standard_input();
    Some(match compiled {
        Ok(()) => 0,
        Err(failure) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.kind().meaning().exit
        }
    })
}

fn compile_standard_input() -> Result<(), Failure> {
    use std::io::Write;
    strongroom_process::tool::limit_self(COMPILE_MEMORY, COMPILE_CPU_SECONDS)?;
    let broken = |what: &str| Failure::new(Kind::Internal, "compile.pipe", format!("cannot {what} the component"));
    let mut component = Vec::new();
    std::io::stdin().take(MAX_COMPONENT_BYTES + 1).read_to_end(&mut component).map_err(|_| broken("read"))?;
    let code = Runtime::new(Allocation::OnDemand)?.compile(&component)?;
    std::io::stdout().write_all(&code).map_err(|_| broken("hand back"))
}

/// What is noted beside compiled code, under its MAC: all that routing and the lock need to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Notes {
    manifest: String,
    imports: Vec<String>,
    exports: Vec<String>,
    /// Of the file when it was hashed: if neither changed, it is not hashed again.
    size: u64,
    modified_ns: i64,
    inode: u64,
}

/// Loads plugins.
pub(crate) struct Plugins {
    allocation: Allocation,
    runtime: OnceLock<Runtime>,
    cache: OnceLock<Result<Cache, Failure>>,
    paths: Paths,
    compiler: Option<Compiler>,
    pub(crate) warn: crate::Warn,
    /// What is loaded in the engine.
    loaded: Mutex<BTreeMap<Loadable, Arc<Plugin>>>,
}

/// What makes two loaded plugins the same: code, the name in its failures, and what is linked.
type Loadable = (Digest, Name, BTreeSet<Grant>);

/// What is known of a component that may run.
struct Known {
    manifest: Manifest,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Plugins {
    pub(crate) fn new(allocation: Allocation, paths: Paths, compiler: Option<Compiler>, warn: crate::Warn) -> Self {
        let (runtime, cache, loaded) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        Self { allocation, runtime, cache, paths, compiler, warn, loaded }
    }

    pub(crate) fn runtime(&self) -> Result<&Runtime, Failure> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let runtime = Runtime::new(self.allocation)?;
        Ok(self.runtime.get_or_init(|| runtime))
    }

    /// Runs plugins in the engine of `other`, if that has one of the same kind, where those that it uses are loaded
    /// already. Loaded once more, a plugin is another one to the engine's pool, which then keeps memory of both.
    pub(crate) fn share_engine(&self, other: &Self) {
        let Some(runtime) = other.runtime.get().filter(|_| other.allocation == self.allocation) else { return };
        if self.runtime.set(runtime.clone()).is_ok() {
            let mut loaded = other.loaded().clone();
            // One is in the other's list, one in this.
            loaded.retain(|_, plugin| Arc::strong_count(plugin) > 2);
            *self.loaded() = loaded;
        }
    }

    fn loaded(&self) -> MutexGuard<'_, BTreeMap<Loadable, Arc<Plugin>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> Result<&Cache, Failure> {
        let opened = self.cache.get_or_init(|| match (self.paths.code(), self.paths.code_key()) {
            (Some(folder), Some(key)) => Cache::open(&folder, &key),
            _ => Err(crate::discover::no_state()),
        });
        opened.as_ref().map_err(Clone::clone)
    }

    /// The manifest of the plugin file at `path`, from the notes beside its code, or from the file,
    /// which is then compiled and noted.
    pub(crate) fn manifest_of(&self, path: &Path, digest: &Digest, lock: &Lock) -> Result<Manifest, Failure> {
        match self.noted(path, digest)? {
            Some(known) => Ok(known.manifest),
            // Without an entry in the lock not even its manifest is read.
            None => {
                in_lock(lock, digest, path)?;
                self.prepare(path, digest).map(|(known, _)| known.manifest)
            }
        }
    }

    /// The loaded plugin.
    pub(crate) fn load(&self, provided: &Provided) -> Result<Arc<Plugin>, Failure> {
        let runtime = self.runtime()?;
        let code = match &provided.origin {
            Origin::Bundled(bundled) => Code::embedded(bundled.code),
            Origin::File { path, lock } => {
                let (known, code) = match self.noted(path, &provided.digest)? {
                    Some(known) => match self.cached(&provided.digest)? {
                        Some(code) => (known, code),
                        None => self.prepare(path, &provided.digest)?,
                    },
                    None => self.prepare(path, &provided.digest)?,
                };
                let rights = Rights::new(&known.manifest, known.imports, known.exports);
                lock.verify(&known.manifest.name, &provided.digest, &rights)?;
                code
            }
        };
        let granted = grantable(&provided.grants)?;
        let name = &provided.manifest.name;
        let what = (provided.digest, name.clone(), granted.clone());
        // What it may do was found right above, by the lock of today.
        if let Some(there) = self.loaded().get(&what) {
            return Ok(Arc::clone(there));
        }
        let plugin = Plugin::load(runtime, name, &provided.digest.short(), &code, granted).map(Arc::new)?;
        self.loaded().insert(what, Arc::clone(&plugin));
        Ok(plugin)
    }

    /// What the notes say of the file, if it is still the file that was noted.
    fn noted(&self, path: &Path, digest: &Digest) -> Result<Option<Known>, Failure> {
        let Ok(cache) = self.cache() else { return Ok(None) };
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        let notes = match cache.notes(self.runtime()?, digest.as_bytes()) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(failure) => {
                (self.warn)(failure);
                return Ok(None);
            }
        };
        let Ok(notes) = serde_json::from_slice::<Notes>(&notes) else { return Ok(None) };
        let same = (notes.size, notes.modified_ns, notes.inode) == stamp(&metadata);
        if !same {
            // Touched, copied or exchanged: its bytes decide.
            let bytes = read_component(path)?;
            check_digest(path, &bytes, digest)?;
        }
        let manifest = Manifest::parse(notes.manifest.as_bytes(), Text::new(path.display().to_string()))?;
        Ok(Some(Known { manifest, imports: notes.imports, exports: notes.exports }))
    }

    fn cached(&self, digest: &Digest) -> Result<Option<Code>, Failure> {
        let Ok(cache) = self.cache() else { return Ok(None) };
        match cache.find(self.runtime()?, digest.as_bytes()) {
            Ok(entry) => Ok(entry.map(|entry| entry.code)),
            Err(failure) => {
                (self.warn)(failure.help("the plugin is compiled again"));
                Ok(None)
            }
        }
    }

    /// Reads the file, checks its digest, compiles it and keeps the code.
    fn prepare(&self, path: &Path, digest: &Digest) -> Result<(Known, Code), Failure> {
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        let component = read_component(path)?;
        check_digest(path, &component, digest)?;
        let (known, compiled, manifest_text) = self.examine(path, &component)?;
        let (size, modified_ns, inode) = stamp(&metadata);
        let notes = Notes {
            manifest: manifest_text,
            imports: known.imports.clone(),
            exports: known.exports.clone(),
            size,
            modified_ns,
            inode,
        };
        let noted = serde_json::to_vec(&notes)
            .map_err(|_| Failure::new(Kind::Internal, "plugin.notes", "the plugin's notes cannot be written"))?;
        let kept = self.cache().and_then(|cache| cache.insert(self.runtime()?, digest.as_bytes(), &noted, &compiled));
        if let Err(failure) = kept {
            (self.warn)(failure.help("the plugin was compiled in memory, and will be again by the next run"));
        }
        Ok((known, Code::compiled(compiled)))
    }

    fn examine(&self, path: &Path, component: &[u8]) -> Result<(Known, Vec<u8>, String), Failure> {
        let text = manifest_text(path, component)?;
        let manifest = Manifest::parse(text.as_bytes(), Text::new(path.display().to_string()))?;
        let compiler = self.compiler.as_ref().ok_or_else(|| {
            Failure::new(Kind::Unsupported, "plugin.no-compiler", "this program cannot compile plugins")
                .help("call strongroom::compile_child first thing in main and set the setup's `compiler`")
        })?;
        let compiled = strongroom_process::tool::compile_child(
            compiler.program.clone(),
            compiler.args.clone(),
            component,
            COMPILE_WALL,
        )?;
        let code = Code::compiled(compiled.clone());
        let (imports, exports) = plugin::interfaces(self.runtime()?, &code)?;
        Ok((Known { manifest, imports, exports }, compiled, text))
    }

    /// Links the component at `path` with what its manifest wants.
    pub(crate) fn link(&self, path: &Path) -> Result<(), Failure> {
        let digest = Digest::of(&read_component(path)?);
        let (known, code) = match (self.noted(path, &digest)?, self.cached(&digest)?) {
            (Some(known), Some(code)) => (known, code),
            _ => self.prepare(path, &digest)?,
        };
        let granted = grantable(&known.manifest.wants)?;
        Plugin::load(self.runtime()?, &known.manifest.name, &digest.short(), &code, granted).map(drop)
    }

    /// What the component at `path` is and may do, for `plugin add` and `check`. It is compiled and
    /// kept, and not run.
    pub(crate) fn look_at(&self, path: &Path) -> Result<(Manifest, Digest, Rights), Failure> {
        let component = read_component(path)?;
        let digest = Digest::of(&component);
        let known = match self.noted(path, &digest)? {
            Some(known) => known,
            None => self.prepare(path, &digest)?.0,
        };
        known.manifest.check()?;
        let rights = Rights::new(&known.manifest, known.imports, known.exports);
        Ok((known.manifest, digest, rights))
    }
}

/// Refuses what this release cannot grant.
fn grantable(grants: &BTreeSet<Grant>) -> Result<&BTreeSet<Grant>, Failure> {
    match grants.iter().find(|grant| !plugin::LINKABLE.contains(grant)) {
        None => Ok(grants),
        Some(grant) => {
            let known = plugin::LINKABLE.map(Grant::name);
            Err(Failure::new(Kind::Unsupported, "plugin.grant", format!("this release cannot grant `{grant}`"))
                .help(format!("it can grant: {}", known.join(", "))))
        }
    }
}

fn in_lock(lock: &Lock, digest: &Digest, path: &Path) -> Result<(), Failure> {
    if lock.iter().any(|locked| locked.digest == *digest) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::PolicyDenied,
        "lock.missing",
        format!("the plugin {} is not in strongroom.lock, so it does not run", path.display()),
    )
    .help(format!("look at it: strongroom plugin inspect {0}; accept it: strongroom plugin add {0}", path.display())))
}

fn check_digest(path: &Path, bytes: &[u8], expected: &Digest) -> Result<(), Failure> {
    let found = Digest::of(bytes);
    if found == *expected {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Integrity,
        "plugin.digest",
        format!(
            "{} is not the file that was accepted: {} was, {} is there",
            path.display(),
            expected.short(),
            found.short()
        ),
    )
    .help(format!("if the change is yours, accept it: strongroom plugin add {}", path.display())))
}

fn stamp(metadata: &fs::Metadata) -> (u64, i64, u64) {
    let modified = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    (metadata.len(), modified, metadata.ino())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Kind::InvalidConfig,
        "plugin.unreadable",
        format!("cannot read the plugin {}: {error}", path.display()),
    )
    .help("a path in the config is seen from the folder of the config file")
}

fn read_component(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut bytes = Vec::new();
    file.take(MAX_COMPONENT_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(Failure::new(
            Kind::LimitExceeded,
            "plugin.too-large",
            format!("{} is larger than {} MiB", path.display(), MAX_COMPONENT_BYTES >> 20),
        ));
    }
    Ok(bytes)
}

fn manifest_text(path: &Path, component: &[u8]) -> Result<String, Failure> {
    let bytes = strongroom_sandbox::section::manifest(component)?.ok_or_else(|| {
        Failure::new(Kind::InvalidConfig, "plugin.no-manifest", format!("{} has no manifest in it", path.display()))
            .help("strongroom plugin build --component FILE --manifest plugin.toml adds one")
    })?;
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        Failure::new(Kind::InvalidConfig, "manifest.utf8", format!("the manifest in {} is no UTF-8", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::Provider;
    use crate::{Environment, Setup, Strongroom};

    async fn env(setup: Setup) -> (Strongroom, Arc<Plugin>) {
        let host = Strongroom::open(setup).unwrap();
        let answer = host.resolve_all(&[host.parse("env:NAME").unwrap()]).await.pop().unwrap();
        assert_eq!(answer.unwrap().expose(), b"value");
        let Provider::Plugin(provided) = &host.0.mounts.all.get("env").unwrap().provider else { panic!("a plugin") };
        let plugin = Arc::clone(provided.loaded.get().unwrap());
        (host, plugin)
    }

    #[tokio::test]
    async fn who_goes_on_in_its_place_runs_the_very_plugins_that_are_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let setup = |more: &str| {
            let mut setup = Setup::from_toml(format!("[mounts.env]\nplugin = \"env\"\n{more}"), folder.path());
            setup.environment = Environment::from_iter([("NAME".into(), "value".into())]);
            setup
        };
        let (first, loaded) = env(setup("")).await;
        let (_second, again) = env(Setup { successor_of: Some(first), ..setup("ttl = \"1h\"") }).await;
        assert!(Arc::ptr_eq(&loaded, &again));
        let (_other, another) = env(setup("")).await;
        assert!(!Arc::ptr_eq(&loaded, &another), "in an engine of its own");
    }
}
