//! dotenv, as [`Format::Dotenv`] describes it. There is no standard; this is what the readers of Node,
//! Python, Ruby and Rust agree on, without any expansion.
//!
//! No message shows a line: in a file that is not what it seems, a line may be a piece of a key.

use std::borrow::Cow;

use super::{Format, Pair, Problems, Raw};

const BLANKS: [char; 2] = [' ', '\t'];

/// The variables of `text`. A line that cannot be read is reported, and the next one is looked at.
pub(super) fn read<'t>(text: &'t str, problems: &mut Problems<'t>) -> Vec<Pair<'t>> {
    let mut reader = Reader { text, at: 0, problems };
    let mut pairs = Vec::new();
    while reader.at < text.len() {
        pairs.extend(reader.line());
    }
    pairs
}

struct Reader<'t, 'p> {
    text: &'t str,
    /// The next byte to read.
    at: usize,
    problems: &'p mut Problems<'t>,
}

impl<'t> Reader<'t, '_> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes what is left of the line, without its end.
    fn rest_of_line(&mut self) -> &'t str {
        let rest = self.rest();
        let (line, taken) = match memchr::memchr(b'\n', rest.as_bytes()) {
            Some(end) => (rest.get(..end).unwrap_or_default(), end + 1),
            None => (rest, rest.len()),
        };
        self.at += taken;
        line.strip_suffix('\r').unwrap_or(line)
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(BLANKS).len();
    }

    /// Reads one line, or as many as its quotes span.
    fn line(&mut self) -> Option<Pair<'t>> {
        self.skip_blanks();
        let start = self.at;
        let line = self.rest_of_line();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let exported = line.strip_prefix("export").filter(|rest| rest.starts_with(BLANKS));
        let assignment = exported.map_or(line, |rest| rest.trim_start_matches(BLANKS));
        let name_at = start + line.len() - assignment.len();
        let Some((name, _)) = assignment.split_once('=') else {
            self.problems.syntax(Format::Dotenv, "a line is NAME=value, and here is no `=`", start);
            return None;
        };
        self.at = name_at + name.len() + 1;
        self.skip_blanks();
        let value_at = self.at;
        let (value, end) = match self.rest().bytes().next() {
            Some(b'\'') => self.quoted('\'')?,
            Some(b'"') => self.quoted('"')?,
            _ => self.plain(name_at + name.len() + 1),
        };
        let name = Cow::Borrowed(name.trim_end_matches(BLANKS));
        Some(Pair { name, name_at, is_key: false, value: Raw::Scalar(value, value_at..end), value_at })
    }

    /// Takes a value without quotes, and gives where it ends. A comment begins at a `#` with a blank
    /// before it, which may be one of those between the `=` before `after_equals` and the value.
    fn plain(&mut self, after_equals: usize) -> (Cow<'t, str>, usize) {
        let start = self.at;
        let line = self.rest_of_line();
        let mut comments = memchr::memchr_iter(b'#', line.as_bytes());
        let comment = comments.find(|&hash| match hash.checked_sub(1) {
            None => start > after_equals,
            Some(before) => matches!(line.as_bytes().get(before), Some(b' ' | b'\t')),
        });
        let value = line.get(..comment.unwrap_or(line.len())).unwrap_or_default().trim_end_matches(BLANKS);
        (value.into(), start + value.len())
    }

    /// Takes a quoted value and the comment that may follow it, and gives where the quotes end.
    fn quoted(&mut self, quote: char) -> Option<(Cow<'t, str>, usize)> {
        let open = self.at;
        self.at += 1;
        let mut value = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let Some(stop) = rest.find(|c| c == quote || c == '\r' || (c == '\\' && quote == '"')) else {
                self.problems.syntax(Format::Dotenv, "this quote is not closed", open);
                self.at = self.text.len();
                return None;
            };
            push(&mut value, rest.get(..stop).unwrap_or_default());
            self.at += stop;
            let (decoded, taken) = match self.rest().as_bytes() {
                [b'\r', b'\n', ..] | [b'\\', b'n', ..] => ("\n", 2),
                [b'\\', b'r', ..] => ("\r", 2),
                [b'\\', b't', ..] => ("\t", 2),
                [b'\\', b'"', ..] => ("\"", 2),
                [b'\\', b'$', ..] => ("$", 2),
                [b'\\', b'\\', ..] => ("\\", 2),
                [b'\\', ..] => ("\\", 1),
                [b'\r', ..] => ("\r", 1),
                _ => break,
            };
            push(&mut value, decoded);
            self.at += taken;
        }
        self.at += 1;
        let end = self.at;
        self.skip_blanks();
        let after = self.at;
        let rest = self.rest_of_line();
        if rest.is_empty() || (rest.starts_with('#') && after > end) {
            return Some((value, end));
        }
        self.problems.syntax(Format::Dotenv, "after the closing quote stands more than a comment", after);
        None
    }
}

fn push<'t>(value: &mut Cow<'t, str>, more: &'t str) {
    if value.is_empty() {
        *value = Cow::Borrowed(more);
    } else {
        value.to_mut().push_str(more);
    }
}
