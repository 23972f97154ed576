//! `run`: all references first; if one fails, nothing starts. Then the program, with its output
//! masked and its own exit status. With `--watch`, again when a value has changed.

mod azure;
mod hiding;
mod pace;
mod watching;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use strongroom::{Compiler, Failure, Kind, Strongroom};
use strongroom_process::{Child, Filter, Io, MonitorCommand, Stream, Watched};
use tokio::runtime::Runtime;

use self::azure::Azure;
use self::hiding::Hidden;
use self::watching::{Values, Watcher};
use crate::args;
use crate::session::{Answer, Outcome, Session, Stop};
use crate::variables::{self, Wanted};

pub fn run(session: &Session, options: args::Run) -> Answer {
    let Prepared { values, sealed, watcher } = prepare(session, &options)?;
    let hidden = Hidden::new(!options.no_mask, options.watch || options.as_azure);
    let inherited = || inherited(session, &options, &sealed);
    let azure = if options.as_azure { Some(Azure::start(session, hidden.masks(), inherited())?) } else { None };
    let make = |values| {
        let variables = azure.as_ref().map_or_else(inherited, |azure| azure.variables().clone());
        child_of(session, &options, variables, values)
    };
    if watcher.is_none() && azure.is_none() && options.no_mask && values.files.is_empty() {
        return Err(strongroom_process::exec(&make(values)).into());
    }
    for warning in hidden.add(&values) {
        session.reporter.warning(&warning);
    }
    let io =
        Io::standard(MonitorCommand { program: Compiler::this_program().program, args: vec![crate::MONITOR.into()] });
    let mut filter = |stream| {
        let early = match stream {
            Stream::Output | Stream::Both => std::io::stdout().is_terminal(),
            Stream::Errors => std::io::stderr().is_terminal(),
        };
        Box::new(hidden.filter(early)) as Box<dyn Filter + '_>
    };
    let filters: Option<strongroom_process::Filters<'_, '_>> = if options.no_mask { None } else { Some(&mut filter) };
    let exit = match watcher {
        None => strongroom_process::run(make(values), &io, filters)?,
        Some(watcher) => {
            let mut changes = watcher.start(values.clone(), &hidden, options.signal, &make)?;
            let watched = Watched { changes: &mut changes, grace: options.grace };
            strongroom_process::run_watched(make(values), &io, filters, watched)?
        }
    };
    Ok(Outcome::Exit(exit.status()))
}

/// What is there before the program starts.
struct Prepared {
    values: Values,
    /// The variables that feed a credential.
    sealed: BTreeSet<String>,
    watcher: Option<Watcher>,
}

/// Resolves everything, and drops all of Strongroom but the values that the child gets, and what is needed to look them
/// up again if they are watched.
fn prepare(session: &Session, options: &args::Run) -> Result<Prepared, Stop> {
    let strongroom = session.open()?;
    let mut allow_names = options.variables.allow_name.clone();
    allow_names.extend(strongroom.run_config().allow_names.iter().cloned());
    let mut problems = Vec::new();
    let mut take = |result: Result<Vec<Wanted>, Vec<Failure>>| match result {
        Ok(wanted) => wanted,
        Err(failures) => {
            problems.extend(failures);
            Vec::new()
        }
    };
    let mut wanted = take(variables::wanted(&options.variables, &allow_names, strongroom.shapes()));
    let variables_count = wanted.len();
    let keep_unknown = variables::unknown(options.variables.keep_unknown);
    for argument in &options.as_file {
        wanted.extend(take(
            variables::argument_of("--as-file", argument, strongroom.shapes(), keep_unknown).map(|one| vec![one]),
        ));
    }
    let enforced = variables::enforces(options.variables.endpoint.as_deref()).unwrap_or_else(|failures| {
        problems.extend(failures);
        false
    });
    if problems.is_empty() && options.watch {
        problems.extend(unwatchable(options, &wanted, variables_count));
    }
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let kept = if options.watch { wanted.clone() } else { Vec::new() };
    let runtime = session.runtime()?;
    let resolved = runtime.block_on(variables::resolve(&strongroom, wanted, enforced))?;
    let values = Values::of(resolved, variables_count)?;
    let sealed = strongroom.sealed_variables().clone();
    let watcher = if options.watch {
        let reporter = session.reporter.beside_a_program();
        let (every, only_files) = (options.watch_every, options.signal.is_some());
        let variables = variables_count;
        Some(Watcher { runtime, strongroom, wanted: kept, variables, enforced, every, only_files, reporter })
    } else {
        forget(strongroom, runtime);
        None
    };
    Ok(Prepared { values, sealed, watcher })
}

fn forget(strongroom: Strongroom, runtime: Runtime) {
    // A write that nobody waits for must not keep the process.
    runtime.shutdown_background();
    strongroom.forget();
}

/// Why there would be nothing to do when a value changes.
fn unwatchable(options: &args::Run, wanted: &[Wanted], variables: usize) -> Option<Failure> {
    let has_reference = |one: &Wanted| one.template.references().next().is_some();
    let refused = |message: &str| Failure::new(Kind::Unsupported, "usage.watch", message);
    if !wanted.iter().any(has_reference) {
        let message = "--watch has nothing to watch: no variable and no file of the program has a reference";
        return Some(refused(message).help("give the program a value with -e, -f or --as-file"));
    }
    if options.signal.is_some() && !wanted.iter().skip(variables).any(has_reference) {
        let message = "--signal would tell the program nothing: a program that runs cannot be given other variables";
        return Some(
            refused(message)
                .help("give it the values that may change with --as-file, and have it read them again on the signal")
                .help("or leave --signal out: then the program is started again"),
        );
    }
    None
}

/// What the program has of our own environment.
fn inherited(session: &Session, options: &args::Run, sealed: &BTreeSet<String>) -> Vec<(OsString, OsString)> {
    let mut env =
        if options.no_inherit_env { Vec::new() } else { session.environment.for_child(sealed, &options.keep_env) };
    env.retain(|(name, _)| !options.clean_env.iter().any(|cleaned| name == cleaned.as_str()));
    env
}

fn child_of(session: &Session, options: &args::Run, mut env: Vec<(OsString, OsString)>, values: Values) -> Child {
    let Values { variables, files } = values;
    // What the command line sets outright is set last: it is meant.
    env.retain(|(name, _)| !variables.iter().chain(&files).any(|one| name == one.name.as_str()));
    env.extend(variables.into_iter().map(|mut one| (one.name.into(), os_string(std::mem::take(&mut *one.value)))));
    let mut command = options.command.iter().cloned();
    let program = command.next().unwrap_or_default();
    // Without an inherited environment the child has no PATH to be found by; ours is then used.
    let program = if options.no_inherit_env { found(session, program) } else { program };
    let files = files.into_iter().map(|one| (one.name.into(), one.value)).collect();
    Child { program, args: command.collect(), env, files }
}

fn found(session: &Session, program: OsString) -> OsString {
    if program.as_encoded_bytes().contains(&b'/') {
        return program;
    }
    let path = session.environment.get("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(path).map(|folder| folder.join(Path::new(&program)));
    candidates.find(|candidate| candidate.is_file()).map_or(program, PathBuf::into_os_string)
}

fn os_string(bytes: Vec<u8>) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(bytes)
}
