//! The `strongroom` command.
//!
//! `main` does what must come first (the two hidden roles of this program, making the process
//! undumpable), reads the arguments, and turns a command's outcome into an exit status. Each command
//! is a file in `commands/`.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program has no public items")]

mod args;
mod commands;
mod logging;
mod report;
mod session;
mod variables;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches};
use strongroom::Environment;
use strongroom_core::failure::EXIT_USAGE;

use crate::args::{Cli, Command};
use crate::session::{Answer, Outcome, Session, Stop};

/// Overwrites whatever is freed: HTTP, TLS, JSON and the component bindings hand values through memory
/// that is theirs, where nobody else could wipe them (decision 0013).
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<mimalloc::MiMalloc> = zeroizing_alloc::ZeroAlloc(mimalloc::MiMalloc);

/// The hidden argument that makes this program the monitor of `run`'s child.
pub const MONITOR: &str = "__strongroom-monitor";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|argument| argument == MONITOR) {
        return ExitCode::from(strongroom_process::monitor_main(arguments));
    }
    if let Some(status) = strongroom::compile_child(std::env::args_os()) {
        return ExitCode::from(status);
    }
    ExitCode::from(run(std::env::args_os().collect()))
}

fn run(arguments: Vec<OsString>) -> u8 {
    let environment = Environment::capture();
    // Not every system can, and a secret is then no less safe than in any other program.
    let _ = strongroom_process::harden();
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE } else { 0 };
        }
    };
    logging::start(cli.global.verbose);
    let session = Session::new(cli.global, environment);
    // In `run` the exit status belongs to the program, so our own are 100 more.
    let base = if matches!(cli.command, Command::Run(_)) { 100 } else { 0 };
    let answer = dispatch(&session, cli.command);
    match answer {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Exit(status)) => status,
        Err(Stop::OutputClosed) => 0,
        Err(Stop::Failed(failures)) => {
            session.reporter.failures(&failures);
            let Some(first) = failures.first() else { return base };
            if failures.iter().all(|failure| failure.code().starts_with("usage.")) {
                return EXIT_USAGE;
            }
            if base == 0 { first.kind().meaning().exit } else { strongroom_process::exit_status(first) }
        }
    }
}

/// As `Cli::try_parse_from`, but the tree of commands is left where it is: taking it apart again costs
/// a tenth of a whole start.
fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    if let Some(run) = parse_run(&arguments) {
        return Ok(run);
    }
    let command = Box::leak(Box::new(Cli::command()));
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(command))
}

/// `run` by itself, which a pipeline starts again and again: the tree of all other commands costs a tenth of a whole start,
/// too. Whatever it does not take, the whole tree is there to tell of.
fn parse_run(arguments: &[OsString]) -> Option<Cli> {
    arguments.get(1).filter(|name| *name == "run")?;
    let run = args::Run::augment_args(clap::Command::new("run"));
    let command = args::Global::augment_args(clap::Command::new("strongroom")).subcommand(run);
    let mut matches = Box::leak(Box::new(command)).try_get_matches_from_mut(arguments).ok()?;
    Cli::from_arg_matches_mut(&mut matches).ok()
}

fn dispatch(session: &Session, command: Command) -> Answer {
    match command {
        Command::Run(options) => commands::run::run(session, options),
        Command::Get(options) => commands::get::run(session, &options),
        Command::Set(options) => commands::set::run(session, &options),
        Command::List(options) => commands::list::run(session, &options),
        Command::Delete(options) => commands::delete::run(session, &options),
        Command::Recover(options) => commands::recover::run(session, &options),
        Command::Purge(options) => commands::purge::run(session, &options),
        Command::Inject(options) => commands::inject::run(session, &options),
        Command::Check(options) => commands::check::run(session, &options),
        Command::Explain(options) => commands::explain::run(session, &options),
        Command::Export(options) => commands::export::run(session, &options),
        Command::Plugin(options) => commands::plugin::run(session, options),
        Command::Store(options) => commands::store::run(session, options),
        Command::Audit(options) => commands::audit::run(session, &options),
        Command::Policy(options) => commands::policy::run(session, &options),
        Command::Token(options) => commands::token::run(session, &options),
        Command::Trust(options) => commands::trust::run(session, &options),
        Command::Login(options) => commands::login::login(session, &options),
        Command::Logout(options) => commands::login::logout(session, &options),
        Command::Whoami(options) => commands::login::whoami(session, &options),
        Command::Init(options) => commands::init::run(session, &options),
        Command::Serve(options) => commands::serve::run(session, &options),
        Command::Doctor(options) => commands::doctor::run(session, &options),
        Command::Schema => commands::reference::schema(),
        Command::Completions(options) => commands::reference::completions(&options),
        Command::Man(options) => commands::reference::man(&options),
    }
}
