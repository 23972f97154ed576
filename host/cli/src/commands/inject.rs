//! `inject`: any text with its references replaced. Refuses binary; OUT is complete or not there.

use std::io::Read;

use strongroom::{Failure, Kind, Reference, Template, Text};
use strongroom_core::template::line_and_column;
use strongroom_core::{Part, Place, document};
use zeroize::Zeroizing;

use crate::args;
use crate::session::{self, Answer, Outcome, Session};
use crate::variables::unknown;

/// The largest text, in bytes.
const MAX_BYTES: u64 = 16 << 20;

pub fn run(session: &Session, options: &args::Inject) -> Answer {
    let strongroom = session.open()?;
    let (bytes, origin) = match &options.input {
        Some(path) if path.as_os_str() != "-" => (session::read_file(path, MAX_BYTES)?, session::origin(path)),
        _ => (standard_input()?, Text::new("standard input")),
    };
    let text = document::text_of(&bytes, origin.clone())?;
    let template = Template::parse(text, strongroom.shapes(), unknown(options.keep_unknown)).map_err(|errors| {
        let place = |offset| Some(line_and_column(text, offset));
        errors
            .into_iter()
            .map(|error| {
                let position = place(error.shown.start);
                error.into_failure(text, origin.clone(), position)
            })
            .collect::<Vec<_>>()
    })?;
    let references: Vec<Reference> = template.references().cloned().collect();
    let mut answers = session.block_on(strongroom.resolve_all(&references))?.into_iter();
    let mut failures = Vec::new();
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() * 2));
    for part in &template.parts {
        match part {
            Part::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
            Part::Reference(reference, span) => match answers.next() {
                Some(Ok(secret)) => append(&mut out, secret.expose()),
                Some(Err(failure)) => {
                    let excerpt = Text::new(reference.to_string());
                    let shown = 0..excerpt.as_str().len();
                    let position = Some(line_and_column(text, span.start));
                    failures.push(failure.at(Place { origin: origin.clone(), position, excerpt, span: shown }));
                }
                None => failures.push(Failure::new(Kind::Internal, "resolve.unanswered", "there was no answer")),
            },
        }
    }
    if !failures.is_empty() {
        return Err(failures.into());
    }
    match &options.output {
        Some(path) if path.as_os_str() != "-" => strongroom_process::write_secret_file(path, &out, options.force)?,
        _ => session::print(&out)?,
    }
    Ok(Outcome::Done)
}

/// Appends without letting the vector move and leave its old contents behind unwiped.
fn append(out: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if out.capacity() - out.len() < bytes.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((out.capacity() + bytes.len()) * 2));
        larger.extend_from_slice(out);
        *out = larger;
    }
    out.extend_from_slice(bytes);
}

fn standard_input() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::io::stdin()
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Kind::Unavailable, "inject.input", format!("cannot read the text: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::new(Kind::LimitExceeded, "inject.too-large", "the text is larger than 16 MiB"));
    }
    Ok(bytes)
}
