//! `audit`: does the log hold, and how far does it go? Reads with the log's key; writes nothing.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use strongroom::audit::{self, Anchor, Head, Problem, Report, What};
use strongroom::{Failure, Kind, Paths, Strongroom, Text};
use strongroom_core::Place;

use crate::args;
use crate::report;
use crate::session::{self, Answer, Outcome, Session};

pub fn run(session: &Session, command: &args::Audit) -> Answer {
    match command {
        args::Audit::Verify(options) => verify(session, options),
        args::Audit::Head(options) => head(session, options),
    }
}

fn verify(session: &Session, options: &args::AuditVerify) -> Answer {
    let (files, key) = if options.files.is_empty() {
        let (newest, key) = place(session, None, options.key.as_deref())?;
        (audit::Files::of_log(&newest)?, key)
    } else {
        let key = key(session, options.key.as_deref())?;
        (audit::Files::open(options.files.iter().map(|file| session.folder.join(file)).collect())?, key)
    };
    let mut report = audit::verify(&files, &key, options.head)?;
    if options.files.is_empty() {
        // The config's log is a file, in which nothing begins anew.
        let restarts = std::mem::take(&mut report.restarts).into_iter();
        report.problems.extend(restarts.map(|(file, line)| Problem { file, line, seq: Some(1), what: What::Restart }));
    }
    let files: Vec<PathBuf> = files.paths().map(Path::to_owned).collect();
    let problems = problems(&report, &files, options.head);
    let notes = notes(&report, &files, options.head);
    if options.json {
        session::print_json(json!({
            "ok": problems.is_empty(),
            "files": files,
            "lines": report.lines,
            "first": report.first,
            "head": report.head.map(|head| head.to_string()),
            "notes": notes,
            "problems": problems.iter().map(report::to_json).collect::<Vec<_>>(),
        }))?;
        let status = problems.first().map(|failure| failure.kind().meaning().exit);
        return Ok(status.map_or(Outcome::Done, Outcome::Exit));
    }
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let mut out = String::new();
    match (report.first, report.head) {
        (Some(first), Some(head)) => {
            let _ = writeln!(out, "{} lines hold, {first} to {}", report.lines, head.seq);
            let _ = writeln!(out, "head {head}");
        }
        _ => out.push_str("there are no lines yet\n"),
    }
    session::print(out.as_bytes())?;
    notes.iter().for_each(|note| session.reporter.note(note));
    Ok(Outcome::Done)
}

fn head(session: &Session, options: &args::AuditHead) -> Answer {
    let (file, key) = place(session, options.file.as_deref(), options.key.as_deref())?;
    let head = audit::head(&file, &key)?.ok_or_else(|| {
        Failure::new(Kind::NotFound, "audit.empty", format!("the audit log {} has no line yet", file.display()))
    })?;
    if options.json {
        let mac = head.to_string().split_once(':').map(|(_, mac)| mac.to_owned());
        session::print_json(json!({ "file": file, "seq": head.seq, "mac": mac }))?;
    } else {
        session::print(format!("{head}\n").as_bytes())?;
    }
    Ok(Outcome::Done)
}

/// The newest file and the key: those that were named, else those of the config.
fn place(session: &Session, file: Option<&Path>, named: Option<&Path>) -> Result<(PathBuf, PathBuf), Failure> {
    if let Some(file) = file {
        return Ok((session.folder.join(file), key(session, named)?));
    }
    let no_log = |message: &str| {
        Failure::new(Kind::InvalidReference, "usage.audit", message.to_owned())
            .help("name its files, the oldest first: strongroom audit verify FILE...")
    };
    let place =
        config(session)?.audit_place()?.ok_or_else(|| no_log("the config has no [audit], so there is no log"))?;
    let file = place.file.ok_or_else(|| no_log("the log goes to standard output, so it is where that went"))?;
    Ok((file, named.map_or(place.key, |key| session.folder.join(key))))
}

/// The key: the one that was named, else the config's, else the user's.
fn key(session: &Session, named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return Ok(session.folder.join(named));
    }
    if let Some(place) = config(session)?.audit_place()? {
        return Ok(place.key);
    }
    Paths::from_environment(&session.environment).audit_key().ok_or_else(|| {
        Failure::new(Kind::Unsupported, "state.none", "there is no folder for Strongroom's own files")
            .help("name the log's key: --key FILE")
    })
}

/// The config, whether or not the plugins that it names are there.
fn config(session: &Session) -> Result<Strongroom, Failure> {
    let mut setup = session.setup();
    setup.only_bundled = true;
    Strongroom::open(setup)
}

fn problems(report: &Report, files: &[PathBuf], anchor: Option<Head>) -> Vec<Failure> {
    let mut problems: Vec<Failure> = report.problems.iter().map(|problem| told(problem, files)).collect();
    if report.more > 0 {
        let message = format!("{} more problems of this kind are not listed", report.more);
        problems.push(Failure::new(Kind::Integrity, "audit.more", message));
    }
    if report.lines == 0
        && let Some(first) = problems.first_mut()
    {
        *first = first.clone().help("no line here was written with this key: is it the right one? --key FILE");
    }
    let seq = anchor.map(|anchor| anchor.seq).unwrap_or_default();
    let head = |message: String| Failure::new(Kind::Integrity, "audit.head", message);
    problems.extend(match report.anchor {
        Anchor::None | Anchor::Holds => None,
        Anchor::Missing => {
            Some(head(format!("the log ends before line {seq}, which it once had: newest lines are missing")))
        }
        Anchor::Other => Some(
            head(format!("line {seq} is not the one that it was when the head was taken"))
                .help("the log was cut back and went on from there, or this is another log"),
        ),
        Anchor::Older => Some(
            head(format!("the log begins after line {seq}, so the head shows nothing"))
                .help("give the older files, too, or a newer head"),
        ),
    });
    problems
}

fn told(problem: &Problem, files: &[PathBuf]) -> Failure {
    let (code, message) = match problem.what {
        What::Changed => {
            ("audit.changed", "this is not what was written here: it was changed, or put in without the key".into())
        }
        What::Inserted => ("audit.inserted", "this was put in: it was not written with the key".into()),
        What::Missing { from, to } if from == to => {
            ("audit.missing", format!("line {from} is missing before this one"))
        }
        What::Missing { from, to } => ("audit.missing", format!("lines {from} to {to} are missing before this one")),
        What::Order => ("audit.order", "this line was written, but stands in the wrong place, or once more".into()),
        What::Fork => ("audit.fork", "this line was written after another one than now stands before it".into()),
        What::Restart => ("audit.restart", "another log begins here".into()),
        What::Torn => {
            ("audit.torn", "this line tells of a torn one before it, which is not there, or not as it was".into())
        }
    };
    let excerpt = Text::new(problem.seq.map_or_else(|| "a line".to_owned(), |seq| format!("\"seq\":{seq}")));
    let span = 0..excerpt.as_str().len();
    let origin = files.get(problem.file).map(|file| session::origin(file)).unwrap_or_default();
    let position = Some((usize::try_from(problem.line).unwrap_or(usize::MAX), 1));
    Failure::new(Kind::Integrity, code, message).at(Place { origin, position, excerpt, span })
}

/// What is no problem and must be known.
fn notes(report: &Report, files: &[PathBuf], anchor: Option<Head>) -> Vec<String> {
    let name = |file: usize| files.get(file).map(|file| session::origin(file)).unwrap_or_default();
    let mut notes = Vec::new();
    if let Some(first) = report.first.filter(|first| *first > 1) {
        notes.push(format!("lines before {first} are not here: they are in older files, or were taken away with them"));
    }
    for (file, line) in &report.torn {
        notes.push(format!("{}:{line} was torn by a crash, and the log says so", name(*file)));
    }
    if let Some((file, line)) = report.torn_end {
        notes.push(format!(
            "{}:{line} is no whole line: a crash, or somebody, cut it; it counts as missing",
            name(file)
        ));
    }
    for (file, line) in &report.restarts {
        notes.push(format!(
            "{}:{line} begins a new chain, as each start of a program does on standard output: whether the chain before it lost its end, or a \
             whole chain is missing, does not show",
            name(*file)
        ));
    }
    if anchor.is_none() {
        notes.push(
            "whether newest lines are missing shows only against a head that was kept elsewhere: --head".to_owned(),
        );
    }
    notes
}
