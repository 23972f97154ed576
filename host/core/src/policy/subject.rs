//! Patterns over what a token says of its bearer: its subject and its claims.
//!
//! They are not patterns of paths: identity providers write subjects with colons and slashes between the
//! parts (`repo:acme/train:ref:refs/heads/main`), so `*` crosses neither, and there is no `**`. A pattern
//! that stands for more than its reader thinks lets strangers in.

use std::fmt;

use crate::pattern::{InvalidPattern, MAX_BYTES, Token, plain_text, walk};

/// The characters between the parts of a subject, which no `*` crosses.
const STOPS: [char; 2] = [':', '/'];

/// A pattern over a subject or a claim: matches the whole text or nothing, case-sensitive; `*` is any number of
/// characters but `:` and `/`.
///
/// ```
/// use strongroom_core::policy::SubjectPattern;
/// let pattern = SubjectPattern::parse("repo:acme/train:ref:refs/heads/*")?;
/// assert!(pattern.matches("repo:acme/train:ref:refs/heads/main"));
/// assert!(!pattern.matches("repo:acme/train:ref:refs/heads/a/b"));
/// # Ok::<(), strongroom_core::policy::InvalidSubject>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectPattern {
    text: Box<str>,
    tokens: Box<[Token]>,
}

/// Why a text is no [`SubjectPattern`]. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubject {
    /// Nothing, too much, or control characters.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// `**`.
    #[error("`*` crosses no `:` and no `/` here, and there is no `**`")]
    Stars,
}

impl SubjectPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`InvalidSubject`]
    pub fn parse(text: &str) -> Result<Self, InvalidSubject> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(InvalidPattern::Length.into());
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidPattern::Control.into());
        }
        if text.contains("**") {
            return Err(InvalidSubject::Stars);
        }
        let tokens = text.chars().map(|c| if c == '*' { Token::Star } else { Token::Char(c) }).collect();
        Ok(Self { text: text.into(), tokens })
    }

    /// Whether the whole of `text` fits. Characters are compared as they are: nothing is folded or normalised.
    pub fn matches(&self, text: &str) -> bool {
        walk(&self.tokens, text.chars(), &STOPS).last().copied().unwrap_or_default()
    }

    /// Whether nothing in it tells one bearer from another: only stars, and the characters between parts.
    pub fn is_open(&self) -> bool {
        self.tokens.iter().all(|token| match token {
            Token::Char(c) => STOPS.contains(c),
            Token::Star | Token::Deep => true,
        })
    }

    /// Whether it stands for more than one text.
    pub fn is_wild(&self) -> bool {
        self.tokens.contains(&Token::Star)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

plain_text!(SubjectPattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> SubjectPattern {
        SubjectPattern::parse(text).unwrap()
    }

    #[test]
    fn a_star_crosses_no_colon_and_no_slash() {
        let table = [
            ("repo:acme/train:ref:refs/heads/*", "repo:acme/train:ref:refs/heads/main", true),
            ("repo:acme/train:ref:refs/heads/*", "repo:acme/train:ref:refs/heads/a/b", false),
            ("repo:acme/train:ref:refs/heads/*", "repo:acme/train:ref:refs/heads/a:b", false),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/train:ref:refs/heads/main", true),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/x:ref:refs/heads/y:ref:refs/heads/main", false),
            ("repo:acme/*", "repo:acme/train:ref:refs/heads/main", false),
            ("repo:acme/*", "repo:acme/train", true),
            ("repo:acme/*", "xrepo:acme/train", false),
            ("repo:*/train", "repo:acme/evil/train", false),
            ("system:serviceaccount:ml:*", "system:serviceaccount:ml:trainer", true),
            ("system:serviceaccount:ml:*", "system:serviceaccount:ml:a:b", false),
            ("system:serviceaccount:*:trainer", "system:serviceaccount:ml:trainer", true),
            ("main", "Main", false),
            ("main", "main ", false),
            ("main", "main\u{200b}", false),
            // A Cyrillic letter, and two ways to write one character.
            ("repo:acme/train", "repo:аcme/train", false),
            ("caf\u{e9}", "cafe\u{301}", false),
            ("*", "a", true),
            ("*", "a:b", false),
            ("a*", "a\u{ff1a}b", true),
        ];
        for (text, subject, fits) in table {
            assert_eq!(pattern(text).matches(subject), fits, "{text} on {subject}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "a**", "**", "a\nb", &"a".repeat(MAX_BYTES + 1)] {
            assert!(SubjectPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_fits_everybody_is_open() {
        for open in ["*", "*:*", "*/*", "*:*/*:*"] {
            assert!(pattern(open).is_open(), "{open}");
        }
        for closed in ["a", "a*", "*a", "repo:*"] {
            assert!(!pattern(closed).is_open(), "{closed}");
        }
    }
}
