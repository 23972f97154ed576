//! The project's own commands: `cargo xtask quickstart`, `test`, `plugins`, `bench`, `soak` and `fake-azure`.
//!
//! Each says what it runs and stops at the first thing that fails. It must never need anything but
//! rustup's Rust, git, a C compiler and, where rustup can fetch no target, apt.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever builds")]

mod fake_azure;
mod plugins;
mod quickstart;
mod shell;

use std::process::ExitCode;

use shell::{Done, Project};

const USAGE: &str = "usage: cargo xtask COMMAND

  quickstart  build everything and run the main job on examples/pipeline
  test        build the plugins and run all tests
  plugins     build the bundled plugins, installing what that needs
  bench       measure everything that docs/performance.md tells; minutes, on an idle machine
  soak [--minutes 10] [--seed N]
              mixed load on the fake Azure with every fault switched on at random: no wrong value, no leak
  soak --server [--minutes 15] [--seed N]
              the same of `strongroom serve`: a config that changes every second, clients that vanish, plugins that trap
  fake-azure  start an Azure on this machine, to try everything without a subscription";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let project = Project::here();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["quickstart"] => quickstart::quickstart(&project),
        ["test"] => test(&project),
        ["bench"] => bench(&project),
        ["soak", options @ ..] => soak(&project, options),
        ["plugins"] => plugins::plugins(&project),
        ["fake-azure"] => fake_azure::fake_azure(&project),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Every figure, as tables on standard output.
fn bench(project: &Project) -> Done {
    plugins::plugins(project)?;
    plugins::guests(project)?;
    project.cargo(&["build", "--locked", "--release", "--workspace", "--bins"]).run()?;
    let programs = project.target.join("release");
    project.program(programs.join("strongroom-bench"), &[]).run()?;
    project.cargo(&["bench", "--locked", "--workspace", "--bench", "bounds"]).run()?;
    project.cargo(&["bench", "--locked", "--workspace", "--bench", "mask"]).run()?;
    project.cargo(&["bench", "--locked", "--workspace", "--bench", "audit"]).run()?;
    let processes = project.root.join("tests/bench/processes");
    project.program(processes, &[]).arg(&programs.join("strongroom"), "--program").run()?;
    let serve = project.root.join("tests/bench/serve");
    project.program(serve, &[]).arg(&programs, "--programs").run()
}

/// The library under load and faults, or the server, for as long as the options say.
fn soak(project: &Project, options: &[&str]) -> Done {
    let (what, options) = match options {
        ["--server", rest @ ..] => ("soak-server", rest),
        all => ("soak", all),
    };
    plugins::plugins(project)?;
    if what == "soak-server" {
        plugins::guests(project)?;
    }
    project.cargo(&["build", "--locked", "--release", "--workspace", "--bins"]).run()?;
    let arguments: Vec<&str> = [what].iter().chain(options).copied().collect();
    project.program(project.target.join("release/strongroom-bench"), &arguments).run()
}

/// All tests. The host's need the bundled plugins.
fn test(project: &Project) -> Done {
    plugins::plugins(project)?;
    plugins::guests(project)?;
    // Cheap things first.
    let target = project.target.join("plugins");
    project
        .cargo(&["test", "--locked", "--release", "--manifest-path", "plugins/Cargo.toml"])
        .arg(&target, "--target-dir")
        .run()?;
    project.cargo(&["test", "--locked", "--release", "--workspace"]).run()
}
