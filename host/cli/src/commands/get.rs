//! `get`: one value.

use std::io::IsTerminal;

use serde_json::json;
use strongroom::{Failure, Secret};
use zeroize::Zeroizing;

use crate::args;
use crate::report;
use crate::session::{self, Answer, Outcome, Session};
use crate::variables::reference_of;

pub fn run(session: &Session, options: &args::Get) -> Answer {
    let strongroom = session.open()?;
    let reference = reference_of(&options.reference, strongroom.shapes())?;
    let mut answers = session.block_on(strongroom.resolve_all(std::slice::from_ref(&reference)))?;
    let secret = answers.pop().unwrap_or_else(|| {
        Err(Failure::new(strongroom::Kind::Internal, "resolve.unanswered", "there was no answer"))
    })?;
    let bytes = if options.json { as_json(&reference, &secret)? } else { Zeroizing::new(secret.expose().to_vec()) };
    if let Some(path) = &options.out {
        strongroom_process::write_secret_file(path, &bytes, options.force)?;
        return Ok(Outcome::Done);
    }
    let terminal = std::io::stdout().is_terminal();
    if terminal && !options.json {
        session::print(escaped(&bytes).as_bytes())?;
        session::print(b"\n")?;
    } else {
        session::print(&bytes)?;
    }
    Ok(Outcome::Done)
}

/// The value for a terminal: what would move the cursor or change colours is escaped. Line ends and
/// tabs stay.
fn escaped(bytes: &[u8]) -> Zeroizing<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = Zeroizing::new(String::with_capacity(text.len() + 16));
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

fn as_json(reference: &strongroom::Reference, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use base64::Engine;
    let metadata = &secret.metadata;
    let mut document = json!({
        "schema_version": 1,
        "reference": reference.to_string(),
        "version": metadata.version,
        "content_type": metadata.content_type,
        "expires_at": metadata.expires_at,
        "attributes": report::attributes(&metadata.attributes),
    });
    if let Some(object) = document.as_object_mut() {
        match secret.expose_text() {
            Some(text) => object.insert("value".to_owned(), text.into()),
            None => object.insert(
                "value_base64".to_owned(),
                base64::engine::general_purpose::STANDARD.encode(secret.expose()).into(),
            ),
        };
    }
    Ok(Zeroizing::new(std::mem::take(&mut *session::json_text(&document)?).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_no_control_characters() {
        assert_eq!(&*escaped(b"a\x1b[31mb\nc\td\x07"), "a\\u{1b}[31mb\nc\td\\u{7}");
    }
}
