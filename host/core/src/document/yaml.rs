//! YAML, read by `saphyr-parser`'s events, of which only those of the two maps in question are kept.
//!
//! Nothing is ever expanded but an alias of one scalar, all of them within a fixed size, so a small
//! file stays small. The parser keeps its own stack on the heap; [`MAX_DEPTH`] bounds it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{Format, MAX_DEPTH, MAX_FILE_BYTES, Pair, Problems, Raw};
use crate::{Failure, Kind};

/// The pairs at the top of `text`; `None` after an error that hides the rest.
pub(super) fn read<'t>(text: &'t str, problems: &mut Problems<'t>) -> Option<Vec<Pair<'t>>> {
    let reader = Reader {
        parser: Parser::new_from_str(text),
        offsets: Offsets::new(text),
        text,
        anchors: BTreeMap::new(),
        expanded: 0,
        depth: 0,
        problems,
    };
    reader.document().ok()
}

/// An error was reported and nothing more can be read.
struct Stop;

struct Reader<'t, 'p> {
    parser: Parser<'t, StrInput<'t>>,
    offsets: Offsets,
    text: &'t str,
    /// The scalars with an anchor, whatever part of the file they stand in.
    anchors: BTreeMap<usize, Raw<'t>>,
    /// Bytes that came from aliases.
    expanded: usize,
    depth: usize,
    problems: &'p mut Problems<'t>,
}

impl<'t> Reader<'t, '_> {
    fn document(mut self) -> Result<Vec<Pair<'t>>, Stop> {
        let mut pairs = Vec::new();
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(pairs),
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let message = "a file holds one YAML document, and here begins another";
                        self.fail(Kind::InvalidConfig, "document.form", message, None, span.start);
                        return Err(Stop);
                    }
                }
                Event::MappingStart(..) => pairs = self.map(true)?,
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text.is_empty() => {}
                Event::Scalar(..) | Event::SequenceStart(..) | Event::Alias(_) => {
                    let message = "the file must be one map of names and values";
                    self.fail(Kind::InvalidConfig, "document.form", message, None, span.start);
                    return Err(Stop);
                }
                _ => {}
            }
        }
    }

    /// The next event, and its bytes in the file.
    fn next(&mut self) -> Result<(Event<'t>, Range<usize>), Stop> {
        let (event, span) = match self.parser.next_event() {
            None => return Ok((Event::StreamEnd, self.text.len()..self.text.len())),
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                let at = self.offsets.byte(error.marker().index());
                self.problems.syntax(Format::Yaml, error.info(), at);
                return Err(Stop);
            }
        };
        let span = self.offsets.bytes(span);
        match &event {
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    let message = format!("the file nests deeper than {MAX_DEPTH} levels");
                    self.fail(Kind::LimitExceeded, "document.too-deep", &message, None, span.start);
                    return Err(Stop);
                }
            }
            Event::MappingEnd | Event::SequenceEnd => self.depth = self.depth.saturating_sub(1),
            Event::Scalar(text, style, anchor, tag) if *anchor > 0 => {
                self.anchors.insert(*anchor, scalar(text.clone(), *style, tag.as_deref(), span.clone()));
            }
            _ => {}
        }
        Ok((event, span))
    }

    /// Reads the pairs of the map that has just begun.
    fn map(&mut self, top: bool) -> Result<Vec<Pair<'t>>, Stop> {
        let mut pairs = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let name_at = span.start;
            let name = match event {
                Event::MappingEnd => return Ok(pairs),
                Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<" => {
                    let help = "write the variables out; an alias of one scalar (NAME: *anchor) is read";
                    self.fail(
                        Kind::InvalidConfig,
                        "document.merge-key",
                        "merge keys (<<) are not read",
                        Some(help),
                        name_at,
                    );
                    self.skip()?;
                    continue;
                }
                Event::Scalar(text, ..) => text,
                Event::Nothing | Event::StreamEnd => return Err(Stop),
                key => {
                    self.fail(
                        Kind::InvalidConfig,
                        "document.key",
                        "a key must be a plain or quoted text",
                        None,
                        name_at,
                    );
                    self.skip_rest_of(&key)?;
                    self.skip()?;
                    continue;
                }
            };
            let inside = top && name == self.problems.wrapper;
            let (event, span) = self.next()?;
            let value_at = span.start;
            let value = match event {
                Event::MappingStart(..) if inside => Raw::Map(self.map(false)?),
                Event::Scalar(text, style, _, tag) => scalar(text, style, tag.as_deref(), span),
                Event::Alias(anchor) => self.alias(anchor, value_at)?,
                event => {
                    self.skip_rest_of(&event)?;
                    Raw::Nested(if matches!(event, Event::MappingStart(..)) { "a map" } else { "a list" })
                }
            };
            pairs.push(Pair { name, name_at, is_key: true, value, value_at });
        }
    }

    /// The value that an alias stands for, if it is a scalar.
    fn alias(&mut self, anchor: usize, at: usize) -> Result<Raw<'t>, Stop> {
        let Some(scalar) = self.anchors.get(&anchor).cloned() else {
            return Ok(Raw::Nested("an alias of a map or a list"));
        };
        if let Raw::Scalar(text, _) = &scalar {
            self.expanded += text.len();
        }
        if self.expanded > MAX_FILE_BYTES {
            let message = format!("the aliases of this file give more than {MAX_FILE_BYTES} bytes");
            self.fail(Kind::LimitExceeded, "document.too-large", &message, None, at);
            return Err(Stop);
        }
        Ok(scalar)
    }

    /// Passes over the next node.
    fn skip(&mut self) -> Result<(), Stop> {
        let (event, _) = self.next()?;
        self.skip_rest_of(&event)
    }

    /// Passes over what is left of the node that begins with `event`.
    fn skip_rest_of(&mut self, event: &Event<'t>) -> Result<(), Stop> {
        if matches!(event, Event::MappingStart(..) | Event::SequenceStart(..)) {
            let outside = self.depth.saturating_sub(1);
            while self.depth > outside {
                if matches!(self.next()?.0, Event::StreamEnd) {
                    return Err(Stop);
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, kind: Kind, code: &'static str, message: &str, help: Option<&'static str>, at: usize) {
        let failure = Failure::new(kind, code, message);
        self.problems.push(help.into_iter().fold(failure, Failure::help), at, "");
    }
}

/// A scalar, with the bytes of the file it was decoded from.
fn scalar<'t>(text: Cow<'t, str>, style: ScalarStyle, tag: Option<&Tag>, span: Range<usize>) -> Raw<'t> {
    match tag {
        None if style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => Raw::Missing,
        None => Raw::Scalar(text, span),
        // `!` and the core tags say how to take a text that is kept as it is here.
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Raw::Scalar(text, span),
        Some(tag) if tag.is_yaml_core_schema() && matches!(&*tag.suffix, "str" | "int" | "float" | "bool") => {
            Raw::Scalar(text, span)
        }
        Some(_) => Raw::Nested("a scalar with a tag that changes its value"),
    }
}

/// Turns the parser's indices, which count characters, into bytes.
struct Offsets {
    /// The byte of each character; empty where all have one byte.
    bytes: Vec<usize>,
    len: usize,
}

impl Offsets {
    fn new(text: &str) -> Self {
        let bytes = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self { bytes, len: text.len() }
    }

    fn byte(&self, index: usize) -> usize {
        if self.bytes.is_empty() { index.min(self.len) } else { self.bytes.get(index).copied().unwrap_or(self.len) }
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }
}
