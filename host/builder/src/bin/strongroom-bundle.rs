//! Builds the plugins that every release brings: `strongroom-bundle PLUGINS OUT TARGET`; or the guests
//! of the tests, which are named: `strongroom-bundle SOURCES OUT TARGET NAME...`.
//!
//! PLUGINS is the folder of their sources, OUT the folder for the plugin files, TARGET cargo's. It is
//! a step of this repository's own build, is never installed, and never sees a secret.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a build step that runs cargo, like xtask")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever builds")]

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use strongroom_builder::build::{Source, build};
use strongroom_builder::inspect::Item;
use strongroom_builder::{Built, CommandLine, inspect};
use strongroom_core::{Digest, Failure, Kind};
use strongroom_sandbox::{Allocation, Runtime};

const BUNDLED: &[&str] = &include!("../../../../plugins/bundled.rs");

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [plugins, out, target, names @ ..] = arguments.as_slice() else {
        eprintln!("usage: strongroom-bundle PLUGINS OUT TARGET [NAME...]");
        return ExitCode::from(64);
    };
    match bundle(Path::new(plugins), Path::new(out), Path::new(target), names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure} ({})", failure.code());
            for line in failure.helps() {
                eprintln!("  {line}");
            }
            ExitCode::from(failure.kind().meaning().exit)
        }
    }
}

fn bundle(plugins: &Path, out: &Path, target: &Path, names: &[OsString]) -> Result<(), Failure> {
    std::fs::create_dir_all(out).map_err(|error| {
        Failure::new(Kind::Internal, "build.io", format!("the folder for the plugins cannot be made: {error}"))
    })?;
    let bundled: Vec<OsString> = BUNDLED.iter().map(OsString::from).collect();
    for name in if names.is_empty() { &bundled } else { names } {
        let source = Source {
            folder: plugins.join(name),
            profile: "release".into(),
            locked: true,
            target: Some(target.to_owned()),
        };
        let name = name.to_string_lossy();
        let built = build(&run, &source, &out.join(format!("{name}.wasm")))?;
        // The tests compile theirs as any plugin file is compiled.
        if names.is_empty() {
            compile_ahead(&built)?;
        }
        println!("{name}: {} bytes, {}", built.size, built.digest);
        // What it can reach, for whoever reads the log of a release.
        for item in imports(&built)? {
            println!("  imports {} ({})", item.name, item.functions.join(", "));
        }
    }
    Ok(())
}

/// Puts the ahead-of-time code and the digest of a bundled plugin beside it: what the release embeds.
fn compile_ahead(built: &Built) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Kind::Internal, "build.io", format!("the bundle cannot be written: {error}"))
    };
    let component = std::fs::read(&built.path).map_err(failed)?;
    let code = Runtime::new(Allocation::OnDemand)?.compile(&component)?;
    std::fs::write(built.path.with_extension("cwasm"), code).map_err(failed)?;
    std::fs::write(built.path.with_extension("digest"), format!("{}\n", Digest::of(&component))).map_err(failed)
}

fn imports(built: &Built) -> Result<Vec<Item>, Failure> {
    let file = std::fs::read(&built.path).map_err(|error| {
        Failure::new(Kind::Internal, "build.io", format!("a plugin that was just built cannot be read: {error}"))
    })?;
    Ok(inspect(&file)?.imports)
}

fn run(line: &CommandLine) -> Result<Vec<u8>, Failure> {
    let mut command = Command::new(&line.program);
    command.args(&line.args).envs(line.env.iter().cloned()).current_dir(&line.folder).stdin(Stdio::null());
    let failed = |why: String| Failure::new(Kind::Internal, "build.run", why);
    let program = line.program.to_string_lossy();
    if line.captured {
        command.stderr(Stdio::inherit());
        let output = command.output().map_err(|error| failed(format!("{program} cannot be started: {error}")))?;
        return if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(failed(format!("{program}: {}", output.status)))
        };
    }
    let status = command.status().map_err(|error| failed(format!("{program} cannot be started: {error}")))?;
    if status.success() { Ok(Vec::new()) } else { Err(failed(format!("{program}: {status}"))) }
}
