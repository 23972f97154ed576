//! `check`: would it all resolve? Every problem is named with file, line and column; no value is. And would
//! Azure ML take the file as it is?

use serde_json::json;
use strongroom::{Failure, Kind, Shapes, Text};
use strongroom_core::{Document, Place, environment};

use crate::args;
use crate::report;
use crate::session::{self, Answer, Outcome, Session};
use crate::variables::{enforces, format_of, read_document, resolve_document, unknown};

pub fn run(session: &Session, options: &args::Check) -> Answer {
    let mut failures: Vec<Failure> = Vec::new();
    let mut variables = 0;
    let mut references = 0;
    let mut beyond: Option<Vec<Failure>> = None;
    // With --parse not even a config is read: the built-in schemes are all that is known.
    let strongroom = if options.parse { None } else { Some(session.open()?) };
    let builtin = Shapes::builtin();
    let shapes = strongroom.as_ref().map_or(&builtin, |strongroom| strongroom.shapes());
    let enforced = enforces(options.endpoint.as_deref()).unwrap_or_else(|problems| {
        failures.extend(problems);
        false
    });
    for path in &options.files {
        let format = format_of(options.file_format.as_deref());
        let document = match read_document(path, format, shapes, unknown(options.keep_unknown)) {
            Ok(document) => document,
            Err(problems) => {
                failures.extend(problems);
                continue;
            }
        };
        let mut allowed = options.allow_name.clone();
        if let Some(strongroom) = &strongroom {
            allowed.extend(strongroom.run_config().allow_names.iter().cloned());
        }
        failures.extend(document.check_names(&allowed));
        variables += document.entries.len();
        references += document.entries.iter().map(|entry| entry.template.references().count()).sum::<usize>();
        if is_for_azure_ml(&document) {
            beyond.get_or_insert_default().extend(beyond_azure_ml(&document));
        }
        if let Some(strongroom) = &strongroom {
            let (resolved, problems) = session.block_on(resolve_document(strongroom, document, enforced))?;
            failures.extend(problems);
            failures.extend(resolved.iter().filter_map(|one| environment::check_value(&one.name, &one.value).err()));
        }
    }
    let how = if options.parse { "parse" } else { "resolve" };
    if options.json {
        let told = |failures: &[Failure]| failures.iter().map(report::to_json).collect::<Vec<_>>();
        let azure_ml = beyond.as_deref().map(|all| json!({ "accepts": all.is_empty(), "beyond": told(all) }));
        session::print_json(json!({
            "ok": failures.is_empty(),
            "mode": how,
            "variables": variables,
            "references": references,
            "problems": told(&failures),
            "azure_ml": azure_ml,
        }))?;
        let status = failures.first().map(|failure| failure.kind().meaning().exit);
        return Ok(status.map_or(Outcome::Done, Outcome::Exit));
    }
    session.reporter.warnings(beyond.as_deref().unwrap_or_default());
    if failures.is_empty() {
        session.reporter.note(format!("{variables} variables with {references} references: all {how}"));
        return Ok(Outcome::Done);
    }
    Err(failures.into())
}

/// Whether somebody may want to move the file to Azure ML, or has it from there: it is in the form of a deployment, or
/// holds a reference as Azure ML has them.
fn is_for_azure_ml(document: &Document) -> bool {
    let mut references = document.entries.iter().flat_map(|entry| entry.template.references());
    document.deployment || references.any(|reference| matches!(&*reference.scheme, "azureml" | "keyvault"))
}

/// What of the file's values Azure ML does not take. They resolve here none the less.
fn beyond_azure_ml(document: &Document) -> Vec<Failure> {
    let entries = document.entries.iter().flat_map(|entry| entry.beyond.iter().map(move |one| (entry, one)));
    let told = entries.map(|(entry, one)| {
        let excerpt = Text::new(&one.reference);
        let span = 0..excerpt.as_str().len();
        let place = Place { origin: document.origin().clone(), position: Some(entry.position), excerpt, span };
        Failure::new(Kind::Unsupported, one.code, format!("beyond what Azure ML takes: {one}"))
            .about(one.reference.as_str())
            .attribute("variable", entry.name.as_str())
            .at(place)
            .help(one.help)
    });
    told.collect()
}
