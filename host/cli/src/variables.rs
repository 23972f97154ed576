//! From files and `-e` to variables: read, select, resolve all at once, put together.
//!
//! Nothing is given out unless everything resolved. Failures carry the place in the user's own file.

use std::collections::HashMap;
use std::path::Path;

use globset::{Glob, GlobSet, GlobSetBuilder};
use strongroom::{Failure, Kind, Reference, Secret, Strongroom, Template, Text};
use strongroom_core::document::{Document, Format, endpoint};
use strongroom_core::template::Unknown;
use strongroom_core::{Part, Place, Shapes, environment};
use zeroize::Zeroizing;

use crate::args::Variables;
use crate::session::{self, origin};

/// The largest file, in bytes; the parser's own limit.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// One variable that is wanted, its references still in it.
#[derive(Clone)]
pub struct Wanted {
    pub name: String,
    pub template: Template,
    origin: Text,
    position: Option<(usize, usize)>,
}

/// One variable, resolved.
#[derive(Clone)]
pub struct Resolved {
    pub name: String,
    pub value: Zeroizing<Vec<u8>>,
    /// The secrets in it, each to be masked by itself.
    pub secrets: Vec<Secret>,
}

pub fn unknown(keep: bool) -> Unknown {
    if keep { Unknown::Keep } else { Unknown::Refuse }
}

pub fn format_of(word: Option<&str>) -> Option<Format> {
    word.and_then(Format::from_name)
}

/// Reads one file into its document.
pub fn read_document(
    path: &Path,
    format: Option<Format>,
    shapes: &Shapes,
    unknown: Unknown,
) -> Result<Document, Vec<Failure>> {
    let format = Format::of(path, format).map_err(|failure| vec![failure])?;
    let bytes = session::read_file(path, MAX_FILE_BYTES).map_err(|failure| vec![failure])?;
    let text = strongroom_core::document::text_of(&bytes, origin(path)).map_err(|failure| vec![failure])?;
    Document::parse(text, format, origin(path), shapes, unknown)
}

/// Whether the endpoint's file, if there is one, says that the person's own permission is verified too.
pub fn enforces(endpoint: Option<&Path>) -> Result<bool, Vec<Failure>> {
    let Some(path) = endpoint else { return Ok(false) };
    let one = |failure| vec![failure];
    let format = Format::of(path, None).map_err(one)?;
    let bytes = session::read_file(path, MAX_FILE_BYTES).map_err(one)?;
    let text = strongroom_core::document::text_of(&bytes, origin(path)).map_err(one)?;
    endpoint::enforces(text, format, origin(path))
}

/// Resolves what can be in one file: the variables that did resolve, and every failure of the others. `enforced`: as
/// [`resolve`].
pub async fn resolve_document(
    strongroom: &Strongroom,
    document: Document,
    enforced: bool,
) -> (Vec<Resolved>, Vec<Failure>) {
    let origin = document.origin().clone();
    let wanted = document.entries.into_iter().map(|entry| Wanted {
        name: entry.name,
        template: entry.template,
        origin: origin.clone(),
        position: Some(entry.position),
    });
    resolve_each(strongroom, wanted.collect(), enforced).await
}

/// All variables that the options ask for. A later file wins over an earlier one, `-e` over all.
pub fn wanted(options: &Variables, allow_names: &[String], shapes: &Shapes) -> Result<Vec<Wanted>, Vec<Failure>> {
    let mut failures = Vec::new();
    let mut wanted: Vec<Wanted> = Vec::new();
    let selected = Selection::new(&options.only, &options.except).map_err(|failure| vec![failure])?;
    for path in &options.files {
        match read_document(path, format_of(options.file_format.as_deref()), shapes, unknown(options.keep_unknown)) {
            Err(problems) => failures.extend(problems),
            Ok(document) => {
                let document_origin = document.origin().clone();
                failures.extend(document.check_names(allow_names));
                for entry in document.entries.into_iter().filter(|entry| selected.takes(&entry.name)) {
                    let position = Some(entry.position);
                    put(
                        &mut wanted,
                        Wanted {
                            name: entry.name,
                            template: entry.template,
                            origin: document_origin.clone(),
                            position,
                        },
                    );
                }
            }
        }
    }
    for argument in &options.env {
        match argument_of("-e", argument, shapes, unknown(options.keep_unknown)) {
            Ok(variable) if selected.takes(&variable.name) => put(&mut wanted, variable),
            Ok(_) => {}
            Err(problems) => failures.extend(problems),
        }
    }
    if failures.is_empty() { Ok(wanted) } else { Err(failures) }
}

fn put(wanted: &mut Vec<Wanted>, variable: Wanted) {
    wanted.retain(|other| other.name != variable.name);
    wanted.push(variable);
}

/// Reads `NAME=REF`: a bare reference, or a text with references in it.
pub fn argument_of(option: &str, argument: &str, shapes: &Shapes, unknown: Unknown) -> Result<Wanted, Vec<Failure>> {
    let usage = |message: String| vec![Failure::new(Kind::InvalidReference, "usage.assignment", message)];
    let Some((name, text)) = argument.split_once('=') else {
        return Err(usage(format!("{option} takes NAME=REF, and there is no `=`")));
    };
    environment::check_name(name).map_err(|failure| vec![failure])?;
    let origin = Text::new(format!("{option} {name}"));
    let template = if text.contains("${{") || text.starts_with("@Microsoft.KeyVault(") {
        Template::parse(text, shapes, unknown).map_err(|errors| {
            errors.into_iter().map(|error| error.into_failure(text, origin.clone(), None)).collect::<Vec<_>>()
        })?
    } else {
        let reference =
            Reference::parse(text, shapes).map_err(|error| vec![shown_reference(error, text, origin.clone())])?;
        Template { parts: vec![Part::Reference(Box::new(reference), 0..text.len())] }
    };
    Ok(Wanted { name: name.to_owned(), template, origin, position: None })
}

/// Reads a bare reference that is an argument by itself.
pub fn reference_of(text: &str, shapes: &Shapes) -> Result<Reference, Failure> {
    Reference::parse(text, shapes).map_err(|error| shown_reference(error, text, Text::new("the reference")))
}

/// The failure for a text that should have been a reference. If it does not look like one at all, it
/// may be a value that was typed by mistake, and is not repeated.
fn shown_reference(error: strongroom_core::reference::ReferenceError, text: &str, origin: Text) -> Failure {
    if error.code == "reference.no-scheme" {
        let failure = Failure::new(error.kind, error.code, format!("{origin}: {}", error.message));
        return match error.help {
            Some(help) => failure.help(help),
            None => failure,
        };
    }
    error.into_failure(text, origin, None)
}

/// Resolves everything that is wanted, side by side. With `enforced` the person must be allowed to read it, too.
pub async fn resolve(
    strongroom: &Strongroom,
    wanted: Vec<Wanted>,
    enforced: bool,
) -> Result<Vec<Resolved>, Vec<Failure>> {
    let (resolved, failures) = resolve_each(strongroom, wanted, enforced).await;
    if failures.is_empty() { Ok(resolved) } else { Err(failures) }
}

async fn resolve_each(strongroom: &Strongroom, wanted: Vec<Wanted>, enforced: bool) -> (Vec<Resolved>, Vec<Failure>) {
    let references: Vec<Reference> =
        wanted.iter().flat_map(|variable| variable.template.references().cloned()).collect();
    let mut answers = strongroom.resolve_all(&references).await.into_iter();
    let mut verdicts = if enforced { strongroom.ask_as_person(&references).await } else { Vec::new() }.into_iter();
    let mut failures: Vec<Failure> = Vec::new();
    let mut resolved = Vec::with_capacity(wanted.len());
    for variable in wanted {
        let mut parts = Vec::with_capacity(variable.template.parts.len());
        let mut complete = true;
        for part in &variable.template.parts {
            match part {
                Part::Literal(text) => parts.push(Piece::Text(text)),
                Part::Reference(reference, _) => {
                    if let Some(Err(failure)) = verdicts.next() {
                        complete = false;
                        failures.push(placed(failure, reference, &variable));
                    }
                    match answers.next() {
                        Some(Ok(secret)) => parts.push(Piece::Secret(secret)),
                        Some(Err(failure)) => {
                            complete = false;
                            failures.push(placed(failure, reference, &variable));
                        }
                        None => complete = false,
                    }
                }
            }
        }
        if complete {
            resolved.push(compose(variable.name, parts));
        }
    }
    (resolved, merged(failures))
}

enum Piece<'a> {
    Text(&'a str),
    Secret(Secret),
}

fn compose(name: String, pieces: Vec<Piece<'_>>) -> Resolved {
    let size = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.len(),
        Piece::Secret(secret) => secret.expose().len(),
    });
    // Grown once: a vector that moves leaves copies of the value behind.
    let mut value = Zeroizing::new(Vec::with_capacity(size.sum()));
    let mut secrets = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => value.extend_from_slice(text.as_bytes()),
            Piece::Secret(secret) => {
                value.extend_from_slice(secret.expose());
                secrets.push(secret);
            }
        }
    }
    Resolved { name, value, secrets }
}

fn placed(failure: Failure, reference: &Reference, variable: &Wanted) -> Failure {
    let excerpt = Text::new(reference.to_string());
    let span = 0..excerpt.as_str().len();
    let place = Place { origin: variable.origin.clone(), position: variable.position, excerpt, span };
    if failure.place().is_some() { failure } else { failure.at(place) }
}

/// A group that failed as a whole is told once for each place it is used in, but not twice for one.
fn merged(failures: Vec<Failure>) -> Vec<Failure> {
    let mut seen: HashMap<String, ()> = HashMap::new();
    let told = |failure: &Failure| {
        format!(
            "{:?}{:?}{:?}{:?}",
            failure.code(),
            failure.message(),
            failure.subject(),
            failure.place().map(|p| (p.origin.clone(), p.position))
        )
    };
    failures.into_iter().filter(|failure| seen.insert(told(failure), ()).is_none()).collect()
}

/// `--only` and `--except`.
struct Selection {
    only: Option<GlobSet>,
    except: GlobSet,
}

impl Selection {
    fn new(only: &[String], except: &[String]) -> Result<Self, Failure> {
        let only = if only.is_empty() { None } else { Some(globs(only)?) };
        Ok(Self { only, except: globs(except)? })
    }

    fn takes(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.is_match(name)) && !self.except.is_match(name)
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern).map_err(|error| {
            Failure::new(
                Kind::InvalidReference,
                "usage.glob",
                format!("`{}` is no pattern: {}", Text::new(pattern), error.kind()),
            )
        })?;
        set.add(glob);
    }
    set.build().map_err(|_| Failure::new(Kind::InvalidReference, "usage.glob", "these patterns are too large"))
}
