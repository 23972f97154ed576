//! `plugin`: from source to an accepted plugin, and back.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use strongroom::{Failure, Kind, Strongroom, Text, accept, bundled};
use strongroom_builder::build::{Source, attach, build};
use strongroom_builder::{Built, CommandLine, Inspection, inspect};
use strongroom_core::manifest::Grant;
use strongroom_core::{Manifest, Name, Rights};
use strongroom_process::Exit;
use strongroom_process::tool::{Destination, Limits, Tool, run_limited};

use crate::args;
use crate::session::{self, Answer, Outcome, Session, origin};

pub fn run(session: &Session, command: args::Plugin) -> Answer {
    match command {
        args::Plugin::Build(options) => make(session, &options),
        args::Plugin::Inspect(options) => show(&options),
        args::Plugin::Check(options) => check(session, &options),
        args::Plugin::Add(options) => add(session, &options),
        args::Plugin::Run(options) => run_one(session, &options),
        args::Plugin::List(options) => list(session, &options),
        args::Plugin::Remove(options) => remove(session, &options),
    }
}

fn make(session: &Session, options: &args::PluginBuild) -> Answer {
    let folder = session.folder.join(&options.folder);
    // Before anything is built or written, and with its own name in the failure.
    let manifest = match &options.manifest {
        Some(manifest) => manifest_at(manifest)?,
        None => manifest_at(&options.folder.join("plugin.toml"))?,
    };
    let built = match (&options.component, &options.manifest) {
        (Some(component), Some(manifest)) => {
            let out = options.out.clone().unwrap_or_else(|| component.with_extension("plugin.wasm"));
            attach(&session.folder.join(component), &session.folder.join(manifest), &session.folder.join(out))?
        }
        _ => {
            let out = match &options.out {
                Some(out) => session.folder.join(out),
                None => folder.join(format!("{}.wasm", manifest.name)),
            };
            let locked = folder.join("Cargo.lock").exists();
            let source = Source { folder, profile: "release".into(), locked, target: None };
            build(&|line| run_tool(session, line), &source, &out)?
        }
    };
    // Built is not yet right: say at once what `plugin add` would refuse.
    let (manifest, _) = examine(&built.path)?;
    session.reporter.note(report_of(&built, &manifest));
    Ok(Outcome::Done)
}

fn report_of(built: &Built, manifest: &Manifest) -> String {
    let path = built.path.display();
    format!(
        "built {} {}: {path}, {} bytes\n{}\nnext: strongroom plugin add {path}",
        manifest.name, manifest.version, built.size, built.digest
    )
}

fn manifest_at(path: &Path) -> Result<Manifest, Failure> {
    let bytes = session::read_file(path, strongroom_core::manifest::MAX_BYTES as u64)?;
    let manifest = Manifest::parse(&bytes, origin(path))?;
    manifest.check()?;
    Ok(manifest)
}

/// Runs cargo and its like with the user's own environment: building is as trusted as the source.
fn run_tool(session: &Session, line: &CommandLine) -> Result<Vec<u8>, Failure> {
    let mut env: Vec<(OsString, OsString)> = session.environment.for_child(&Default::default(), &[]);
    env.retain(|(name, _)| !line.env.iter().any(|(set, _)| set == name));
    env.extend(line.env.iter().cloned());
    let tool = Tool {
        program: PathBuf::from(&line.program),
        args: line.args.clone(),
        env,
        folder: line.folder.clone(),
        input: None,
        output: if line.captured { Destination::Captured } else { Destination::Shown },
        limits: Limits { wall: Duration::from_secs(3600), output_bytes: 64 << 20 },
    };
    let mut done = run_limited(&tool)?;
    if done.exit == Exit::Code(0) {
        return Ok(std::mem::take(&mut *done.output));
    }
    let program = Text::new(line.program.to_string_lossy());
    Err(Failure::new(Kind::InvalidConfig, "build.run", format!("{program} ended with status {}", done.exit.status())))
}

/// The manifest and the inspection of a component, checked as far as that is possible without an
/// engine.
fn examine(path: &Path) -> Result<(Manifest, Inspection), Failure> {
    let inspection = inspected(path)?;
    let bytes = inspection.manifest.as_deref().ok_or_else(|| {
        Failure::new(Kind::InvalidConfig, "plugin.no-manifest", format!("{} has no manifest in it", path.display()))
            .help("strongroom plugin build --component FILE --manifest plugin.toml adds one")
    })?;
    let manifest = Manifest::parse(bytes, origin(path))?;
    manifest.check()?;
    Ok((manifest, inspection))
}

fn inspected(path: &Path) -> Result<Inspection, Failure> {
    inspect(&session::read_file(path, strongroom::MAX_COMPONENT_BYTES)?)
}

fn rights_of(manifest: &Manifest, inspection: &Inspection) -> Rights {
    let names =
        |items: &[strongroom_builder::inspect::Item]| items.iter().map(|item| item.name.clone()).collect::<Vec<_>>();
    Rights::new(manifest, names(&inspection.imports), names(&inspection.exports))
}

fn show(options: &args::PluginInspect) -> Answer {
    let inspection = inspected(&options.file)?;
    let manifest = inspection.manifest.as_deref().map(|bytes| Manifest::parse(bytes, origin(&options.file)));
    let rights = match &manifest {
        Some(Ok(manifest)) => Some(rights_of(manifest, &inspection)),
        _ => None,
    };
    if options.json {
        let items = |items: &[strongroom_builder::inspect::Item]| {
            items
                .iter()
                .map(|item| json!({ "name": Text::new(&item.name), "functions": item.functions }))
                .collect::<Vec<_>>()
        };
        session::print_json(json!({
            "size": inspection.size,
            "digest": inspection.digest,
            "imports": items(&inspection.imports),
            "exports": items(&inspection.exports),
            "name": manifest.as_ref().and_then(|m| m.as_ref().ok()).map(|m| m.name.clone()),
            "version": manifest.as_ref().and_then(|m| m.as_ref().ok()).map(|m| m.version.clone()),
            "schemes": manifest.as_ref().and_then(|m| m.as_ref().ok()).map(|m| m.schemes.clone()),
            "wants": manifest.as_ref().and_then(|m| m.as_ref().ok()).map(|m| m.wants.iter().map(|g| g.name()).collect::<Vec<_>>()),
            "may": rights.as_ref().map(Rights::in_words),
            "producers": inspection.producers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }))?;
        return Ok(Outcome::Done);
    }
    let mut out = String::new();
    let _ = writeln!(out, "file      {}, {} bytes", origin(&options.file), inspection.size);
    let _ = writeln!(out, "digest    {}", inspection.digest);
    items_in_words(&mut out, "imports", &inspection.imports);
    items_in_words(&mut out, "exports", &inspection.exports);
    let made: Vec<String> = inspection.producers.iter().map(ToString::to_string).collect();
    if !made.is_empty() {
        let _ = writeln!(out, "made by   {}", made.join(", "));
    }
    match &manifest {
        None => out.push_str("manifest  none: this is a component, but no plugin yet\n"),
        Some(Err(failure)) => {
            let _ = writeln!(out, "manifest  broken: {failure}");
        }
        Some(Ok(manifest)) => describe(&mut out, manifest, rights.as_ref()),
    }
    session::print(out.as_bytes())?;
    Ok(Outcome::Done)
}

fn items_in_words(out: &mut String, title: &str, items: &[strongroom_builder::inspect::Item]) {
    if items.is_empty() {
        let _ = writeln!(out, "{title:9} nothing");
    }
    for (index, item) in items.iter().enumerate() {
        let title = if index == 0 { title } else { "" };
        let functions: Vec<String> = item.functions.iter().map(|name| Text::new(name).to_string()).collect();
        let what = if functions.is_empty() { "types only".to_owned() } else { functions.join(", ") };
        let _ = writeln!(out, "{title:9} {} ({what})", Text::new(&item.name));
    }
}

fn describe(out: &mut String, manifest: &Manifest, rights: Option<&Rights>) {
    let _ = writeln!(out, "plugin    {} {}", manifest.name, manifest.version);
    let _ =
        writeln!(out, "answers   {}", manifest.schemes.iter().map(|s| format!("{s}:")).collect::<Vec<_>>().join(" "));
    for (index, line) in rights.map(Rights::in_words).unwrap_or_default().iter().enumerate() {
        let title = if index == 0 { "may" } else { "" };
        let _ = writeln!(out, "{title:9} {line}");
    }
    if let Some(description) = &manifest.description {
        let _ = writeln!(out, "it says   \"{description}\"");
    }
}

/// Everything that `add` and the first call would find, told at once.
fn check(session: &Session, options: &args::PluginCheck) -> Answer {
    let (manifest, inspection) = examine(&options.file)?;
    let mut failures = Vec::new();
    let mut needed = std::collections::BTreeSet::<Grant>::new();
    for item in &inspection.imports {
        match strongroom::grants_of_import(&item.name) {
            Ok(grants) => {
                needed.extend(grants);
                if !grants.is_empty() && !grants.iter().any(|grant| manifest.wants.contains(grant)) {
                    let words = grants.iter().map(Grant::to_string).collect::<Vec<_>>().join(" or ");
                    failures.push(
                        Failure::new(
                            Kind::InvalidConfig,
                            "plugin.import-not-wanted",
                            format!("it imports {}, and its manifest does not want {words}", Text::new(&item.name)),
                        )
                        .help(format!("add {words} to `wants` in plugin.toml, or do not use it")),
                    );
                }
            }
            Err(unknown) => failures.push(
                Failure::new(
                    Kind::Unsupported,
                    "plugin.import-unknown",
                    format!("it imports {}, which nothing in this release provides", Text::new(&item.name)),
                )
                .help(unknown.help),
            ),
        }
    }
    let (exported, help) = match manifest.is_auth() {
        true => ("credential", "an auth plugin exports `acquire`"),
        false => (
            "provider",
            "a provider exports `resolve`: func(ctx: context, refs: list<reference>) -> list<result<secret, failure>>",
        ),
    };
    if !inspection.exports.iter().any(|item| item.name.starts_with(&format!("strongroom:plugin/{exported}@"))) {
        let message = format!("it exports no strongroom:plugin/{exported}");
        failures.push(Failure::new(Kind::Unsupported, "plugin.no-provider", message).help(help));
    }
    for grant in &manifest.wants {
        if !needed.contains(grant) {
            session.reporter.note(format!("note: the manifest wants `{grant}`, and the component does not import it"));
        }
    }
    if !failures.is_empty() {
        return Err(failures.into());
    }
    // Last, because it takes longest: does it link?
    session.open()?.try_plugin(&session.folder.join(&options.file))?;
    session.reporter.note(format!("{} {} fits its manifest and this release", manifest.name, manifest.version));
    Ok(Outcome::Done)
}

/// One resolve, and all that the plugins behind it asked of the network. The value is not shown.
fn run_one(session: &Session, options: &args::PluginRun) -> Answer {
    let mut setup = session.setup();
    let lines: Arc<Mutex<String>> = Arc::default();
    let told = Arc::clone(&lines);
    setup.trace = Some(Arc::new(move |name, plugin, event| {
        let mut lines = told.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(lines, "{name} ({plugin}): {} {}", event.method, event.to);
        match event.rule {
            Some(rule) => {
                let added = event.audience.as_ref().map(|audience| format!(", a token for {audience} added"));
                let _ = writeln!(lines, "  allowed by rule {} of its manifest{}", rule + 1, added.unwrap_or_default());
            }
            None => lines.push_str("  not sent\n"),
        }
        match &event.outcome {
            Ok((status, bytes)) => {
                let _ = writeln!(lines, "  answered {status}, {bytes} bytes, in {} ms", event.took.as_millis());
            }
            Err(failure) => {
                let _ = writeln!(lines, "  {} [{}]", failure.message(), failure.code());
                for help in failure.helps() {
                    let _ = writeln!(lines, "  {help}");
                }
            }
        }
    }));
    let strongroom = Strongroom::open(setup)?;
    let started = std::time::Instant::now();
    let answer = session.block_on(strongroom.resolve(&options.reference))?;
    let took = started.elapsed().as_millis();
    session.reporter.note(lines.lock().unwrap_or_else(PoisonError::into_inner).trim_end());
    let secret = answer?;
    session.reporter.note(format!("a value of {} bytes, in {took} ms; it is not shown", secret.expose().len()));
    Ok(Outcome::Done)
}

fn add(session: &Session, options: &args::PluginAdd) -> Answer {
    let paths = strongroom::Paths::from_environment(&session.environment);
    // What needs no engine first: it tells better what is wrong.
    examine(&options.file)?;
    let strongroom = session.open_without_plugins()?;
    strongroom.try_plugin(&session.folder.join(&options.file))?;
    let proposal = strongroom.propose(&session.folder.join(&options.file), options.mount.as_deref(), &paths)?;
    let mut words = String::new();
    let _ = writeln!(words, "{} {}, {}", proposal.manifest.name, proposal.manifest.version, proposal.digest);
    match &proposal.difference {
        Some(difference) if difference.lines().is_empty() => words.push_str("  may do what the accepted version may\n"),
        Some(difference) => {
            words.push_str("compared with what was accepted, it\n");
            for line in difference.lines() {
                let _ = writeln!(words, "  {line}");
            }
        }
        None => {
            for line in proposal.rights.in_words() {
                let _ = writeln!(words, "  {line}");
            }
        }
    }
    if let Some(description) = &proposal.manifest.description {
        let _ = writeln!(words, "it says of itself: \"{description}\"");
    }
    let _ = match proposal.manifest.is_auth() {
        true => write!(words, "it would get the tokens of credentials that name it, in {}", proposal.config.display()),
        false => write!(
            words,
            "it would answer {}: on the mount {}, in {}",
            proposal.manifest.schemes.join(": "),
            proposal.mount,
            proposal.config.display()
        ),
    };
    session.reporter.note(&words);
    if !options.yes && !session::confirm("Accept it?")? {
        session.reporter.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let config = proposal.config.clone();
    let credential = proposal.credential();
    let manifest = proposal.manifest.clone();
    let mount = proposal.mount.clone();
    proposal.accept(&paths)?;
    session.reporter.note(format!("accepted; {} and its lock were written", config.display()));
    if let Some(credential) = credential {
        session.reporter.note(format!("what it is for is yours to say there:\n\n{credential}"));
    }
    // What the config still lacks is better told now than by the first call.
    if let Err(failure) = manifest.check_config(&json!({}))
        && !manifest.is_auth()
    {
        session.reporter.note(format!("next, `config` of [mounts.{mount}]: {}", failure.message()));
    }
    if manifest.http.iter().any(|rule| rule.credential.is_some()) {
        session
            .reporter
            .note(format!("next, `credential` of [mounts.{mount}]: the host adds it to the plugin's requests"));
    }
    Ok(Outcome::Done)
}

fn list(session: &Session, options: &args::PluginList) -> Answer {
    let strongroom = session.open()?;
    let mut rows = Vec::new();
    for bundled in bundled::ALL {
        let manifest = bundled.manifest()?;
        rows.push((manifest.name, manifest.version, bundled.digest()?.to_string(), "bundled".to_owned()));
    }
    for (_, config) in strongroom.config_files() {
        for locked in accept::read_lock(config)?.iter() {
            let place = config.with_file_name(strongroom::discover::LOCK_NAME).display().to_string();
            rows.push((locked.name.clone(), locked.version.clone(), locked.digest.to_string(), place));
        }
    }
    if options.json {
        let plugins: Vec<_> = rows
            .iter()
            .map(|(name, version, digest, source)| json!({ "name": name, "version": version, "digest": digest, "source": source }))
            .collect();
        session::print_json(json!({ "plugins": plugins }))?;
        return Ok(Outcome::Done);
    }
    let mut out = String::new();
    for (name, version, digest, source) in &rows {
        let _ = writeln!(out, "{name:20} {version:10} {} {source}", digest.get(..19).unwrap_or(digest));
    }
    session::print(out.as_bytes())?;
    Ok(Outcome::Done)
}

fn remove(session: &Session, options: &args::PluginRemove) -> Answer {
    let name = Name::parse(&options.name).map_err(|error| {
        Failure::new(Kind::InvalidReference, "usage.plugin", format!("this is no plugin's name: {error}"))
    })?;
    let paths = strongroom::Paths::from_environment(&session.environment);
    let config = accept::target(&session.config_files()?, &paths)?;
    if !options.yes
        && !session::confirm(&format!("Remove the plugin {name} and its mounts from {}?", config.display()))?
    {
        session.reporter.note("nothing was changed");
        return Ok(Outcome::Done);
    }
    let mounts = accept::remove(&name, &config, &paths)?;
    let with = if mounts.is_empty() { String::new() } else { format!(" and the mounts {}", mounts.join(", ")) };
    session.reporter.note(format!("removed {name}{with}"));
    Ok(Outcome::Done)
}

impl Session {
    /// For commands that mend a config whose plugins cannot be opened: its mounts are left out.
    fn open_without_plugins(&self) -> Result<Strongroom, Failure> {
        let mut setup = self.setup();
        setup.only_bundled = true;
        Strongroom::open(setup)
    }

    fn config_files(&self) -> Result<Vec<(strongroom_core::config::Layer, PathBuf)>, Failure> {
        Ok(self.open_without_plugins()?.config_files().to_vec())
    }
}
