//! Builds the bundled plugins into `plugins/bundled/`, the guests of tests below it, and installs what
//! that needs.
//!
//! Nothing is done when nothing has changed: the folder says which inputs it was made from.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::shell::{Done, Project};

/// Files and folders that decide what the bundle is: the contract, the plugins, what builds them,
/// and what compiles them ahead of time.
const INPUTS: [&str; 10] = [
    "wit",
    "plugins",
    "host/builder",
    "host/sandbox",
    "host/core",
    "host/egress",
    "host/process",
    "Cargo.lock",
    "Cargo.toml",
    "rust-toolchain.toml",
];

/// The guests that only tests run: the folder of their sources, their names, and what decides what
/// they are, beside the contract, the SDK and the builder.
const GUESTS: [(&str, &str, &[&str]); 2] =
    [("examples", "examples/providers", &["vault-kv"]), ("tests", "tests/hostile", &["auth", "greedy", "guest"])];

const BUNDLED: &[&str] = &include!("../../plugins/bundled.rs");

const TARGET: &str = "wasm32-unknown-unknown";

/// Builds the bundle, if it is not there or its inputs have changed.
pub fn plugins(project: &Project) -> Done {
    let bundle = project.root.join("plugins/bundled");
    build(project, &bundle, &INPUTS, &files(BUNDLED, &["wasm", "cwasm", "digest"]), "plugins", &[])
}

/// Builds the guests that only tests run, below `plugins/bundled/`, in the same way.
pub fn guests(project: &Project) -> Done {
    for (folder, sources, names) in GUESTS {
        let out = project.root.join("plugins/bundled").join(folder);
        let inputs =
            ["wit", "plugins/sdk", "plugins/Cargo.toml", "host/builder", "host/core", "rust-toolchain.toml", sources];
        build(project, &out, &inputs, &files(names, &["wasm"]), sources, names)?;
    }
    Ok(())
}

fn files(names: &[&str], endings: &[&str]) -> Vec<String> {
    names.iter().flat_map(|name| endings.iter().map(move |ending| format!("{name}.{ending}"))).collect()
}

/// Builds the sources in the folder `from` into `out`, where `made` are the files that come of it.
fn build(project: &Project, out: &Path, from_inputs: &[&str], made: &[String], from: &str, names: &[&str]) -> Done {
    let stamp = out.join(".inputs");
    let inputs = inputs(&project.root, from_inputs)
        .map_err(|error| format!("the sources of the plugins cannot be read: {error}"))?;
    let complete = made.iter().all(|name| out.join(name).is_file());
    if complete && fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == inputs) {
        return Ok(());
    }
    // While it is being made, it is not what the stamp says.
    let _ = fs::remove_file(&stamp);
    std_for_plugins(project)?;
    // All of the workspace chooses the features, as in every other build: nothing is compiled twice.
    project.cargo(&["build", "--locked", "--release", "--workspace", "--bin", "strongroom-bundle"]).run()?;
    let guests = project.target.join("guests");
    let program = project.target.join("release/strongroom-bundle");
    let paths = [&project.root.join(from), out, &guests].map(|path| path.to_string_lossy().into_owned());
    let arguments: Vec<&str> = paths.iter().map(String::as_str).chain(names.iter().copied()).collect();
    project.program(program, &arguments).run()?;
    fs::write(&stamp, inputs).map_err(|error| format!("{} cannot be written: {error}", stamp.display()))
}

/// The digest of all inputs, names and contents.
fn inputs(root: &Path, of: &[&str]) -> std::io::Result<String> {
    let mut files = Vec::new();
    for input in of {
        collect(&root.join(input), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let contents = fs::read(&file)?;
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        digest.update(format!("{name}\0{}\0", contents.len()));
        digest.update(contents);
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let made = path.ends_with("plugins/bundled") || path.ends_with("target");
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !made && !hidden {
            collect(&path, files)?;
        }
    }
    Ok(())
}

/// Makes sure that plugins can be compiled: rustup's target, or Debian's compiler and its sources.
/// The builder looks for the same two.
fn std_for_plugins(project: &Project) -> Done {
    if has_rustup_std(project) || has_debian_std() {
        return Ok(());
    }
    println!("plugins need a standard library for {TARGET}; trying rustup");
    if project.program("rustup", &["target", "add", TARGET]).run().is_ok() && has_rustup_std(project) {
        return Ok(());
    }
    if project.program("apt-get", &["--version"]).output().is_none() {
        let advice = "install it with rustup, or a Rust toolchain that brings it";
        return Err(format!("there is no standard library for {TARGET}: {advice}"));
    }
    println!("rustup cannot fetch it; installing Debian's packages rustc-web and rust-web-src instead");
    let root = project.program("id", &["-u"]).output().is_some_and(|id| id.trim() == "0");
    let apt = |args: &[&str]| {
        let step = if root {
            project.program("apt-get", args)
        } else {
            project.program("sudo", &[&["apt-get"], args].concat())
        };
        step.env("DEBIAN_FRONTEND", "noninteractive").run()
    };
    apt(&["update"])?;
    apt(&["install", "-y", "--no-install-recommends", "rustc-web", "rust-web-src"])?;
    if has_debian_std() { Ok(()) } else { Err("Debian's packages did not bring the compiler and its sources".into()) }
}

fn has_rustup_std(project: &Project) -> bool {
    let Some(sysroot) = project.program("rustc", &["--print", "sysroot"]).output() else { return false };
    Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir()
}

fn has_debian_std() -> bool {
    Path::new("/usr/bin/rustc").is_file() && Path::new("/usr/lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
}
