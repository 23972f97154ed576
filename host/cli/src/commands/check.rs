//! `check`: would it all resolve? Every problem is named with file, line and column; no value is.

use serde_json::json;
use strongroom::{Failure, Shapes};
use strongroom_core::environment;

use crate::args;
use crate::report;
use crate::session::{self, Answer, Outcome, Session};
use crate::variables::{format_of, read_document, resolve_document, unknown};

pub fn run(session: &Session, options: &args::Check) -> Answer {
    let mut failures: Vec<Failure> = Vec::new();
    let mut variables = 0;
    let mut references = 0;
    // With --parse not even a config is read: the built-in schemes are all that is known.
    let strongroom = if options.parse { None } else { Some(session.open()?) };
    let builtin = Shapes::builtin();
    let shapes = strongroom.as_ref().map_or(&builtin, |strongroom| strongroom.shapes());
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
        if let Some(strongroom) = &strongroom {
            let (resolved, problems) = session.block_on(resolve_document(strongroom, document))?;
            failures.extend(problems);
            failures.extend(resolved.iter().filter_map(|one| environment::check_value(&one.name, &one.value).err()));
        }
    }
    let how = if options.parse { "parse" } else { "resolve" };
    if options.json {
        let problems: Vec<_> = failures.iter().map(report::to_json).collect();
        session::print_json(
            json!({ "ok": failures.is_empty(), "mode": how, "variables": variables, "references": references, "problems": problems }),
        )?;
        let status = failures.first().map(|failure| failure.kind().meaning().exit);
        return Ok(status.map_or(Outcome::Done, Outcome::Exit));
    }
    if failures.is_empty() {
        session.reporter.note(format!("{variables} variables with {references} references: all {how}"));
        return Ok(Outcome::Done);
    }
    Err(failures.into())
}
