//! Makes a plugin file from a Rust crate, or from a finished component.
//!
//! The crate's folder holds `Cargo.toml` with one `cdylib`, and `plugin.toml`. Building runs the
//! crate's build scripts and macros with the rights of whoever builds: that is cargo's nature, and
//! the documentation says so. The same sources and tools give the same bytes on every machine: paths
//! are mapped to fixed ones. Nothing is written but cargo's target folder and, at once, the result.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use strongroom_core::manifest::MAX_BYTES as MAX_MANIFEST;
use strongroom_core::{Digest, Failure, Kind, Text};
use wit_component::ComponentEncoder;

use crate::command::{CommandLine, Run};
use crate::component::{Form, embed, form, validate};
use crate::toolchain::{TARGET, Toolchain, find_std};

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The crate's folder.
    pub folder: PathBuf,
    /// The cargo profile, usually `release`.
    pub profile: String,
    /// Whether `Cargo.lock` must be there and fit.
    pub locked: bool,
    /// Where cargo puts what it makes; by default where it always does.
    pub target: Option<PathBuf>,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The plugin file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: usize,
    /// Its SHA-256, as `sha256:` and hexadecimal digits.
    pub digest: String,
}

/// Compiles a crate and writes the plugin file `out`, at once or not at all.
///
/// # Errors
/// `build.no-rust`, `build.no-std`; `build.source` if the folder is no plugin's; `build.failed` if
/// cargo fails, which has said why; `build.io`; and what [`assemble`] says.
pub fn build(run: Run<'_>, source: &Source, out: &Path) -> Result<Built, Failure> {
    // First what costs nothing.
    let manifest = read_manifest(&source.folder.join("plugin.toml"))?;
    let toolchain = find_std(run, &source.folder)?;
    let crate_ = Crate::find(run, source)?;
    let target = source.target.clone().unwrap_or_else(|| crate_.target.clone());

    let mut cargo = CommandLine::new("cargo", &source.folder).args([
        "build",
        "--lib",
        "--target",
        TARGET,
        "--profile",
        &source.profile,
        "--package",
        &crate_.id,
    ]);
    if source.locked {
        cargo = cargo.args(["--locked"]);
    }
    cargo = cargo.args(["--target-dir".into(), target.clone().into_os_string()]).args(toolchain.args());
    cargo.env = toolchain.env();
    cargo.env.push(("CARGO_ENCODED_RUSTFLAGS".into(), flags(&crate_, &toolchain, &target)));
    // Incremental code is other code: the bytes would depend on who builds.
    cargo.env.push(("CARGO_INCREMENTAL".into(), "0".into()));
    run(&cargo).map_err(|failure| {
        Failure::new(Kind::InvalidConfig, "build.failed", "cargo could not build the plugin")
            .help("what cargo said stands above")
            .help(failure.message().as_str())
    })?;

    // Cargo's one exception: the folder of the profile `dev` is called `debug`.
    let profile = if source.profile == "dev" { "debug" } else { &source.profile };
    let module = target.join(TARGET).join(profile).join(format!("{}.wasm", crate_.library));
    let file = assemble(&read(&module)?, &manifest)?;
    write(&file, out)
}

/// Makes a plugin file of a component that other tools made, and of a `plugin.toml`.
///
/// # Errors
/// `build.io`; what [`assemble`] says.
pub fn attach(component: &Path, manifest: &Path, out: &Path) -> Result<Built, Failure> {
    let manifest = read_manifest(manifest)?;
    write(&assemble(&read(component)?, &manifest)?, out)
}

/// Makes the bytes of a plugin file of a component, or of a core module that wit-bindgen prepared.
///
/// # Errors
/// `plugin.not-a-component`, `plugin.invalid`, `plugin.manifest-*`; `build.encode` if the module
/// cannot be made a component.
pub fn assemble(wasm: &[u8], manifest: &[u8]) -> Result<Vec<u8>, Failure> {
    let encoded;
    let component = if form(wasm) == Form::Module {
        encoded = ComponentEncoder::default()
            .module(wasm)
            .and_then(|encoder| encoder.validate(true).encode())
            .map_err(|error| {
                let message = format!("the module cannot be made a component: {error:#}");
                Failure::new(Kind::InvalidConfig, "build.encode", message)
                    .help("a plugin uses wit-bindgen 0.61 and exports what its world says")
            })?;
        &encoded
    } else {
        wasm
    };
    let file = embed(component, manifest)?;
    validate(&file)?;
    Ok(file)
}

/// What cargo knows about the crate.
#[derive(Debug)]
struct Crate {
    id: String,
    library: String,
    workspace: PathBuf,
    target: PathBuf,
    /// The folders from which dependencies come, and what they are called in the result.
    folders: Vec<(PathBuf, String)>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Crate {
    fn find(run: Run<'_>, source: &Source) -> Result<Self, Failure> {
        let wrong = |message: String| {
            Failure::new(Kind::InvalidConfig, "build.source", message)
                .help("a plugin's folder holds plugin.toml, and Cargo.toml with [lib] crate-type = [\"cdylib\"]")
        };
        let manifest = source.folder.join("Cargo.toml");
        let shown = Text::new(manifest.to_string_lossy());
        let manifest =
            fs::canonicalize(&manifest).map_err(|error| wrong(format!("{shown} cannot be read: {error}")))?;
        let mut asked = CommandLine::new("cargo", &source.folder)
            .args(["metadata", "--format-version", "1", "--filter-platform", TARGET, "--manifest-path"])
            .args([&manifest])
            .captured();
        if source.locked {
            asked = asked.args(["--locked"]);
        }
        let output =
            run(&asked).map_err(|failure| wrong(format!("cargo cannot read {shown}: {}", failure.message())))?;
        let metadata: Metadata = serde_json::from_slice(&output).map_err(|_| {
            Failure::new(Kind::Internal, "build.metadata", "the answer of `cargo metadata` is not known")
        })?;
        let package = metadata.packages.iter().find(|package| package.manifest_path == manifest);
        let package = package.ok_or_else(|| wrong(format!("{shown} is no package")))?;
        let mut libraries = package.targets.iter().filter(|target| target.crate_types.iter().any(|t| t == "cdylib"));
        let library = libraries.next().ok_or_else(|| wrong(format!("{shown} makes no cdylib")))?;

        let mut folders = Vec::new();
        for package in &metadata.packages {
            let Some(folder) = package.manifest_path.parent() else { continue };
            let mapped = match (&package.source, folder.parent()) {
                // All that come from one registry lie side by side, those of the standard library too.
                (Some(_), Some(parent)) => (parent.to_owned(), "/deps".to_owned()),
                _ if folder.starts_with(&metadata.workspace_root) => continue,
                _ => (folder.to_owned(), format!("/src/{}", package.name)),
            };
            if !folders.contains(&mapped) {
                folders.push(mapped);
            }
        }
        Ok(Self {
            id: package.id.clone(),
            library: library.name.replace('-', "_"),
            workspace: metadata.workspace_root,
            target: metadata.target_directory,
            folders,
        })
    }
}

/// A plugin's memory is what the host overwrites after each call, whether the plugin used it or not: a stack of 128 KiB in place of the
/// linker's 1 MiB (one that overflows traps, it lies below everything else), and 64 KiB of heap or what is left of the last page,
/// with which a small call needs no more memory (an allocator has to look for them; the SDK's does).
const MEMORY: [&str; 2] = ["-Clink-arg=-zstack-size=131072", "-Clink-arg=--initial-heap=65536"];

/// The compiler flags: those of [`MEMORY`], and those that keep this machine's paths out of the result. Where two paths fit, the
/// compiler takes the later one.
fn flags(crate_: &Crate, toolchain: &Toolchain, target: &Path) -> OsString {
    let fixed = [(crate_.workspace.clone(), "/src"), (target.to_owned(), "/target"), (toolchain.sources(), "/rust")];
    let fixed = fixed.into_iter().map(|(from, to)| (from, to.to_owned()));
    let mut flags = OsString::from(MEMORY.join("\u{1f}"));
    for (from, to) in fixed.chain(crate_.folders.iter().cloned()) {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    flags
}

fn read_manifest(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = Text::new(path.to_string_lossy());
    let manifest = read(path)?;
    if manifest.len() > MAX_MANIFEST {
        let message = format!("{shown} has {} bytes, and may have {MAX_MANIFEST}", manifest.len());
        return Err(Failure::new(Kind::InvalidConfig, "plugin.manifest-too-large", message));
    }
    let table = std::str::from_utf8(&manifest).ok().and_then(|text| text.parse::<toml::Table>().ok());
    if table.is_none() {
        return Err(Failure::new(Kind::InvalidConfig, "manifest.syntax", format!("{shown} is no TOML")));
    }
    Ok(manifest)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| io("read", path, &error))
}

fn write(file: &[u8], out: &Path) -> Result<Built, Failure> {
    let failed = |error: std::io::Error| io("write", out, &error);
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new()
        .prefix(".strongroom-")
        // A plugin is no secret, and others may run it.
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(failed)?;
    temporary.write_all(file).and_then(|()| temporary.as_file().sync_all()).map_err(failed)?;
    temporary.persist(out).map_err(|error| failed(error.error))?;
    Ok(Built { path: out.to_owned(), size: file.len(), digest: Digest::of(file).to_string() })
}

fn io(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot {what} {}: {error}", Text::new(path.to_string_lossy()));
    Failure::new(Kind::Internal, "build.io", message)
}
