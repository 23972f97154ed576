//! Text with references in it.
//!
//! `postgres://app:${{keys://db/password}}@host/db` keeps what stands around the reference.
//! `$${{` is a literal `${{`. A resolved value is never searched for references again.

use std::ops::Range;

use crate::reference::{self, ReferenceError};
use crate::{Failure, Reference, Shapes, Text};

/// A text taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The pieces, in order. No two literals stand side by side.
    pub parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that is kept.
    Literal(String),
    /// A reference and the bytes of the source it stands in, braces included.
    Reference(Box<Reference>, Range<usize>),
}

/// What to do with `${{...}}` that is no reference, such as Azure ML's own `${{inputs.lr}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// An error that names the escape.
    #[default]
    Refuse,
    /// Keep it as it is.
    Keep,
}

/// One thing that is wrong in a text, and which bytes of the whole text to show for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// What is wrong; its span counts from the start of `shown`.
    pub error: ReferenceError,
    /// The bytes of the text that make up the reference. Never more: what stands around it may be
    /// somebody's secret.
    pub shown: Range<usize>,
}

impl TemplateError {
    /// The failure to report, for a text that stands in `origin`; `position` is where `shown` begins.
    pub fn into_failure(self, text: &str, origin: Text, position: Option<(usize, usize)>) -> Failure {
        let shown = text.get(self.shown).unwrap_or_default();
        self.error.into_failure(shown, origin, position)
    }
}

impl Template {
    /// Takes `text` apart. All errors are reported, not only the first.
    ///
    /// # Errors
    /// Every malformed reference in it.
    pub fn parse(text: &str, shapes: &Shapes, unknown: Unknown) -> Result<Self, Vec<TemplateError>> {
        let mut template = Self { parts: Vec::new() };
        let mut errors = Vec::new();
        if text.starts_with("@Microsoft.KeyVault(") {
            let all = 0..text.len();
            return match Reference::parse(text, shapes) {
                Ok(reference) => Ok(Self { parts: vec![Part::Reference(Box::new(reference), all)] }),
                Err(error) => Err(vec![TemplateError { error, shown: all }]),
            };
        }
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|r| !r.is_empty()) {
            let Some(dollar) = memchr::memchr(b'$', rest.as_bytes()) else {
                template.push_literal(rest);
                break;
            };
            template.push_literal(rest.get(..dollar).unwrap_or_default());
            at += dollar;
            let rest = text.get(at..).unwrap_or_default();
            if rest.starts_with("$${{") {
                template.push_literal("${{");
                at += 4;
            } else if rest.starts_with("${{") {
                at += template.read_reference(rest, at, shapes, unknown, &mut errors);
            } else {
                template.push_literal("$");
                at += 1;
            }
        }
        if errors.is_empty() { Ok(template) } else { Err(errors) }
    }

    /// Reads the reference that `rest` begins with; gives how many bytes it took.
    fn read_reference(
        &mut self,
        rest: &str,
        at: usize,
        shapes: &Shapes,
        unknown: Unknown,
        errors: &mut Vec<TemplateError>,
    ) -> usize {
        let after = rest.get(3..).unwrap_or_default();
        // A second opening before the close is a forgotten `}}` or a nested reference; either way
        // what is wrong begins here.
        let Some(close) = after.find("}}") else {
            return self.refuse_unterminated(rest, at, unknown, errors);
        };
        let inner = after.get(..close).unwrap_or_default();
        let taken = close + 5;
        let shown = at..at + taken;
        if !reference::begins_like_reference(inner) {
            if unknown == Unknown::Keep {
                self.push_literal(rest.get(..taken).unwrap_or_default());
            } else {
                let error = ReferenceError {
                    kind: crate::Kind::InvalidReference,
                    code: "reference.unknown-form",
                    message: "this is no secret reference".to_owned(),
                    help: Some(
                        "write $${{ for a literal ${{, or pass --keep-unknown to leave such text as it is".to_owned(),
                    ),
                    span: 0..taken,
                };
                errors.push(TemplateError { error, shown });
            }
            return taken;
        }
        let (blanks, bare) = reference::trim_blanks(inner);
        match Reference::parse_bare(bare, shapes, false) {
            Ok(reference) => self.parts.push(Part::Reference(Box::new(reference), shown)),
            Err(mut error) => {
                error.span = error.span.start + 3 + blanks..error.span.end + 3 + blanks;
                errors.push(TemplateError { error, shown });
            }
        }
        taken
    }

    fn refuse_unterminated(
        &mut self,
        rest: &str,
        at: usize,
        unknown: Unknown,
        errors: &mut Vec<TemplateError>,
    ) -> usize {
        if unknown == Unknown::Keep && !reference::begins_like_reference(rest.get(3..).unwrap_or_default()) {
            self.push_literal("${{");
            return 3;
        }
        // Show no more than the scheme: without a close, nobody knows where the reference ends and
        // somebody's password begins.
        let end = rest.find(':').map_or(3, |colon| colon + 1).min(64);
        let shown =
            if rest.get(..end).is_some_and(|s| !s.contains(char::is_whitespace)) { at..at + end } else { at..at + 3 };
        errors.push(TemplateError { error: reference::unterminated(0..shown.len()), shown });
        rest.len()
    }

    fn push_literal(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Literal(literal)) => literal.push_str(text),
            _ => self.parts.push(Part::Literal(text.to_owned())),
        }
    }

    /// The references in it, in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference, _) => Some(&**reference),
            Part::Literal(_) => None,
        })
    }

    /// The text, if there is no reference in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The reference, if the whole text is one.
    pub fn as_reference(&self) -> Option<&Reference> {
        match self.parts.as_slice() {
            [Part::Reference(reference, _)] => Some(reference),
            _ => None,
        }
    }
}

/// 1-based line and column (in characters) of a byte offset.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, unknown: Unknown) -> Result<Vec<String>, Vec<(&'static str, String)>> {
        match Template::parse(text, &Shapes::builtin(), unknown) {
            Ok(template) => Ok(template
                .parts
                .into_iter()
                .map(|part| match part {
                    Part::Literal(text) => format!("'{text}'"),
                    Part::Reference(reference, span) => format!("{reference} @{}", &text[span]),
                })
                .collect()),
            Err(errors) => Err(errors.into_iter().map(|e| (e.error.code, text[e.shown].to_owned())).collect()),
        }
    }

    #[test]
    fn text_around_references_is_kept() {
        assert_eq!(
            parse("postgres://a:${{ env:P }}@h/${{keys://g/k}}", Unknown::Refuse).unwrap(),
            ["'postgres://a:'", "env:P @${{ env:P }}", "'@h/'", "keys://g/k @${{keys://g/k}}"]
        );
        assert_eq!(parse("plain $HOME ${x} $", Unknown::Refuse).unwrap(), ["'plain $HOME ${x} $'"]);
        assert_eq!(parse("", Unknown::Refuse).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_doubled_dollar_is_a_literal() {
        assert_eq!(parse("$${{env:X}}", Unknown::Refuse).unwrap(), ["'${{env:X}}'"]);
        assert_eq!(parse("$$${{env:X}}", Unknown::Refuse).unwrap(), ["'$${{env:X}}'"]);
    }

    #[test]
    fn unknown_forms_are_errors_unless_kept() {
        assert_eq!(
            parse("a ${{inputs.lr}}", Unknown::Refuse).unwrap_err(),
            [("reference.unknown-form", "${{inputs.lr}}".to_owned())]
        );
        assert_eq!(parse("a ${{inputs.lr}}", Unknown::Keep).unwrap(), ["'a ${{inputs.lr}}'"]);
        assert_eq!(
            parse("${{nope:x}}", Unknown::Keep).unwrap_err()[0].0,
            "reference.unknown-scheme",
            "what looks like a reference is one"
        );
    }

    #[test]
    fn all_errors_are_reported_and_only_references_are_shown() {
        let errors = parse("hunter2 ${{env:A/B}} hunter3 ${{inputs.x}} ${{env:X hunter4", Unknown::Refuse).unwrap_err();
        assert_eq!(
            errors,
            [
                ("reference.name", "${{env:A/B}}".to_owned()),
                ("reference.unknown-form", "${{inputs.x}}".to_owned()),
                ("reference.unterminated", "${{env:".to_owned()),
            ]
        );
    }

    #[test]
    fn app_service_values_are_whole_values() {
        assert_eq!(
            parse("@Microsoft.KeyVault(VaultName=v;SecretName=n)", Unknown::Refuse).unwrap(),
            ["keyvault:https://v.vault.azure.net/secrets/n @@Microsoft.KeyVault(VaultName=v;SecretName=n)"]
        );
    }

    #[test]
    fn positions_count_characters() {
        assert_eq!(line_and_column("ä\nöx", 5), (2, 2));
        assert_eq!(line_and_column("abc", 0), (1, 1));
    }
}
