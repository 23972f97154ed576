//! `run`: all references first; if one fails, nothing starts. Then the program, with its output
//! masked and its own exit status.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom::{Compiler, Failure, Kind};
use strongroom_core::{LiveMasks, LiveStream, Masks, environment};
use strongroom_process::{Child, Filter, Io, MonitorCommand, Stream};
use strongroom_server::{AsAzure, Bundle, as_azure};
use tokio::runtime::Runtime;

use crate::args;
use crate::session::{Answer, Outcome, Session, Stop};
use crate::variables::{self, Resolved};

/// Threads that serve a child with `--as-azure`: it is one program.
const WORKERS: usize = 2;

pub fn run(session: &Session, options: args::Run) -> Answer {
    let prepared = prepare(session, &options)?;
    let masks = prepared.masks.clone();
    let azure = if options.as_azure { Some(Azure::start(session, &masks)?) } else { None };
    let (child, _bundle) = child_of(session, &options, prepared, azure.as_ref())?;
    if options.no_mask && child.files.is_empty() && azure.is_none() {
        return Err(strongroom_process::exec(&child).into());
    }
    let io =
        Io::standard(MonitorCommand { program: Compiler::this_program().program, args: vec![crate::MONITOR.into()] });
    let exit = if options.no_mask {
        strongroom_process::run(child, &io, None)?
    } else {
        let mut filter = |stream| {
            let early = match stream {
                Stream::Output | Stream::Both => std::io::stdout().is_terminal(),
                Stream::Errors => std::io::stderr().is_terminal(),
            };
            Box::new(MaskFilter { stream: masks.stream(), early }) as Box<dyn Filter>
        };
        strongroom_process::run(child, &io, Some(&mut filter))?
    };
    Ok(Outcome::Exit(exit.status()))
}

/// What a child gets, before it is one.
struct Prepared {
    sealed: BTreeSet<String>,
    variables: Vec<Resolved>,
    files: Vec<Resolved>,
    masks: LiveMasks,
}

/// Resolves everything, and drops all of Strongroom but the values that the child gets.
fn prepare(session: &Session, options: &args::Run) -> Result<Prepared, Stop> {
    let strongroom = session.open()?;
    let mut allow_names = options.variables.allow_name.clone();
    allow_names.extend(strongroom.run_config().allow_names.iter().cloned());
    let mut problems = Vec::new();
    let mut take = |result: Result<Vec<variables::Wanted>, Vec<Failure>>| match result {
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
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let mut resolved = session.block_on(variables::resolve(&strongroom, wanted, enforced))??;
    let files = resolved.split_off(variables_count);
    let problems: Vec<Failure> =
        resolved.iter().filter_map(|one| environment::check_value(&one.name, &one.value).err()).collect();
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let sealed = strongroom.sealed_variables().clone();
    strongroom.forget();
    drop(strongroom);
    let mut masks = Masks::new();
    for one in resolved.iter().chain(&files) {
        one.secrets.iter().for_each(|secret| masks.add(&one.name, secret.expose()));
    }
    if !options.no_mask {
        for warning in masks.warnings() {
            session.reporter.warning(&Failure::new(Kind::LimitExceeded, "mask.too-short", warning.to_string()));
        }
    }
    Ok(Prepared { sealed, variables: resolved, files, masks: LiveMasks::new(masks) })
}

/// Azure, as the child sees it, for as long as it runs.
struct Azure {
    azure: Option<AsAzure>,
    runtime: Option<Runtime>,
}

impl Azure {
    /// Starts to serve. What the child is given is masked in what it prints.
    fn start(session: &Session, masks: &LiveMasks) -> Result<Self, Failure> {
        let mut setup = session.setup();
        // What the child asks for comes through a door, and is written down there.
        setup.audited = None;
        setup.elsewhere = None;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Kind::Internal, "runtime", format!("cannot start: {error}")))?;
        let known = masks.clone();
        let azure = runtime.block_on(as_azure(setup, Arc::new(move |secret| known.add(secret.expose()))))?;
        azure.secrets().for_each(|secret| masks.add(secret.as_bytes()));
        Ok(Self { azure: Some(azure), runtime: Some(runtime) })
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        drop(self.azure.take());
        // What still runs for a child that has ended must not keep the process.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn child_of(
    session: &Session,
    options: &args::Run,
    prepared: Prepared,
    azure: Option<&Azure>,
) -> Result<(Child, Option<Bundle>), Failure> {
    let Prepared { sealed, variables: resolved, files, .. } = prepared;
    let mut env: Vec<(OsString, OsString)> =
        if options.no_inherit_env { Vec::new() } else { session.environment.for_child(&sealed, &options.keep_env) };
    env.retain(|(name, _)| !options.clean_env.iter().any(|cleaned| name == cleaned.as_str()));
    // What the command line sets outright is set last: it is meant.
    let bundle = azure.and_then(|azure| azure.azure.as_ref()).map(|azure| azure.lead(&mut env)).transpose()?;
    env.retain(|(name, _)| !resolved.iter().chain(&files).any(|one| name == one.name.as_str()));
    env.extend(resolved.into_iter().map(|mut one| (one.name.into(), os_string(std::mem::take(&mut *one.value)))));
    let mut command = options.command.iter().cloned();
    let program = command.next().unwrap_or_default();
    // Without an inherited environment the child has no PATH to be found by; ours is then used.
    let program = if options.no_inherit_env { found(session, program) } else { program };
    let files = files.into_iter().map(|one| (one.name.into(), one.value)).collect();
    Ok((Child { program, args: command.collect(), env, files }, bundle))
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

struct MaskFilter {
    stream: LiveStream,
    /// Whether somebody may be waiting to see what they type. Into a pipe nothing of a secret is
    /// ever shown early.
    early: bool,
}

impl Filter for MaskFilter {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.stream.push(chunk, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.stream.finish(out);
    }

    fn pending(&self) -> bool {
        self.early && self.stream.has_pending()
    }

    fn idle(&mut self, out: &mut Vec<u8>) {
        self.stream.show_early(out);
    }
}
