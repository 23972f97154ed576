//! `run`: all references first; if one fails, nothing starts. Then the program, with its output
//! masked and its own exit status.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use strongroom::{Compiler, Failure, Kind};
use strongroom_core::{MaskStream, Masks, environment};
use strongroom_process::{Child, Filter, Io, MonitorCommand, Stream};

use crate::args;
use crate::session::{Answer, Outcome, Session, Stop};
use crate::variables::{self, Resolved};

pub fn run(session: &Session, options: args::Run) -> Answer {
    let (child, masks) = prepare(session, &options)?;
    if options.no_mask && child.files.is_empty() {
        return Err(strongroom_process::exec(&child).into());
    }
    for warning in masks.warnings() {
        session.reporter.warning(&Failure::new(Kind::LimitExceeded, "mask.too-short", warning.to_string()));
    }
    let io =
        Io::standard(MonitorCommand { program: Compiler::this_program().program, args: vec![crate::MONITOR.into()] });
    let exit = if options.no_mask {
        strongroom_process::run(child, &io, None)?
    } else {
        let masker = masks.build();
        let mut filter = |stream| {
            let early = match stream {
                Stream::Output | Stream::Both => std::io::stdout().is_terminal(),
                Stream::Errors => std::io::stderr().is_terminal(),
            };
            Box::new(MaskFilter { stream: masker.stream(), early }) as Box<dyn Filter>
        };
        strongroom_process::run(child, &io, Some(&mut filter))?
    };
    Ok(Outcome::Exit(exit.status()))
}

/// Resolves everything, and drops all of Strongroom but the values that the child gets.
fn prepare(session: &Session, options: &args::Run) -> Result<(Child, Masks), Stop> {
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
    let child = child_of(session, options, &sealed, resolved, files)?;
    Ok((child, masks))
}

fn child_of(
    session: &Session,
    options: &args::Run,
    sealed: &BTreeSet<String>,
    resolved: Vec<Resolved>,
    files: Vec<Resolved>,
) -> Result<Child, Failure> {
    let mut env: Vec<(OsString, OsString)> =
        if options.no_inherit_env { Vec::new() } else { session.environment.for_child(sealed, &options.keep_env) };
    let replaced = |name: &OsString| {
        let set = resolved.iter().chain(&files).any(|one| name == one.name.as_str());
        set || options.clean_env.iter().any(|cleaned| name == cleaned.as_str())
    };
    env.retain(|(name, _)| !replaced(name));
    env.extend(resolved.into_iter().map(|mut one| (one.name.into(), os_string(std::mem::take(&mut *one.value)))));
    let mut command = options.command.iter().cloned();
    let program = command.next().unwrap_or_default();
    // Without an inherited environment the child has no PATH to be found by; ours is then used.
    let program = if options.no_inherit_env { found(session, program) } else { program };
    let files = files.into_iter().map(|one| (one.name.into(), one.value)).collect();
    Ok(Child { program, args: command.collect(), env, files })
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
    stream: MaskStream,
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
