//! Failures for people, on standard error: what, where, why, what to do next.
//!
//! Only this module renders a [`Failure`]. It prints [`Text`] and nothing rawer, and of a file only
//! the excerpt that the parser chose, because the rest of a line may be somebody's secret.

use std::io::{IsTerminal, Write};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::json;
use strongroom_core::{Failure, Place, Text};

use crate::args::When;

/// Writes failures and notes.
#[derive(Debug, Clone, Copy)]
pub struct Reporter {
    styled: bool,
    quiet: bool,
    /// Standard error may be a terminal that is raw by now, where a line's end alone does not go back to the left.
    returns: bool,
}

impl Reporter {
    pub fn new(color: When, quiet: bool, no_color: bool) -> Self {
        let styled = match color {
            When::Always => true,
            When::Never => false,
            When::Auto => !no_color && std::io::stderr().is_terminal(),
        };
        Self { styled, quiet, returns: false }
    }

    /// For what is said beside a program that has the terminal.
    pub fn beside_a_program(self) -> Self {
        Self { returns: std::io::stderr().is_terminal(), ..self }
    }

    /// Several failures. Of those that say the same the first is shown whole, and where the others are:
    /// a server that is gone is one trouble, however many secrets it has.
    pub fn failures(&self, failures: &[Failure]) {
        self.alike(failures, Level::ERROR, "error");
    }

    /// Several things that were dealt with, told as [`Reporter::failures`] tells failures.
    pub fn warnings(&self, warnings: &[Failure]) {
        if !self.quiet {
            self.alike(warnings, Level::WARNING, "warning");
        }
    }

    fn alike(&self, failures: &[Failure], level: Level<'static>, word: &str) {
        let mut alike: Vec<(&Failure, Vec<&Failure>)> = Vec::new();
        for failure in failures {
            let same = |(first, _): &&mut (&Failure, Vec<&Failure>)| {
                (first.code(), first.message()) == (failure.code(), failure.message())
                    && first.mount() == failure.mount()
            };
            match alike.iter_mut().find(same) {
                Some((_, others)) => others.push(failure),
                None => alike.push((failure, Vec::new())),
            }
        }
        for (first, others) in alike {
            self.write(&self.render(first, level.clone()));
            if !others.is_empty() {
                self.write(&also(&others, word));
            }
        }
    }

    /// Something that was dealt with.
    pub fn warning(&self, failure: &Failure) {
        if !self.quiet {
            self.write(&self.render(failure, Level::WARNING));
        }
    }

    /// A line for people that is no failure.
    pub fn note(&self, line: impl AsRef<str>) {
        if !self.quiet {
            self.write(line.as_ref());
        }
    }

    /// What a person is asked to do: without it nothing goes on, so it is said to the quiet, too.
    pub fn ask(&self, line: impl AsRef<str>) {
        self.write(line.as_ref());
    }

    fn write(&self, text: &str) {
        // Standard error that is gone has nobody to be told so.
        let _ = if self.returns {
            write!(std::io::stderr(), "{}\r\n", text.replace('\n', "\r\n"))
        } else {
            writeln!(std::io::stderr(), "{text}")
        };
    }

    fn render(&self, failure: &Failure, level: Level<'static>) -> String {
        let renderer = if self.styled { Renderer::styled() } else { Renderer::plain() };
        let title = format!("{} [{}]", failure.message(), failure.code());
        let mut notes: Vec<String> = Vec::new();
        if let Some(subject) = failure.subject().filter(|s| failure.place().is_none_or(|p| p.excerpt != **s)) {
            notes.push(format!("reference: {subject}"));
        }
        if let Some(mount) = failure.mount() {
            let plugin = failure.plugin().map(|plugin| format!(", plugin {plugin}")).unwrap_or_default();
            notes.push(format!("mount: {mount}{plugin}"));
        }
        for (key, value) in failure.attributes() {
            notes.push(format!("{key}: {value}"));
        }
        if let Some(ms) = failure.retry_after() {
            notes.push(format!("the backend asks to wait {ms} ms"));
        }
        let mut group = Group::with_title(level.primary_title(title.as_str()));
        let shown = failure.place().map(|place| (place, place.origin.to_string()));
        if let Some((place, path)) = &shown {
            let (line, column) = place.position.unzip();
            let mut origin = Origin::path(path.as_str());
            if let (Some(line), Some(column)) = (line, column) {
                origin = origin.line(line).char_column(column);
            }
            group = group.element(origin);
            // Syntax errors have no excerpt: what stands there may be anything.
            let source = place.excerpt.as_str();
            if !source.is_empty() {
                let snippet = Snippet::source(source)
                    .line_start(line.unwrap_or(1))
                    .annotation(AnnotationKind::Primary.span(span_in(source, place)));
                group = group.element(snippet);
            }
        }
        for note in &notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        for help in failure.helps() {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

/// Where else it failed in the same way.
fn also(others: &[&Failure], word: &str) -> String {
    const SHOWN: usize = 5;
    let line = |failure: &Failure| {
        let position = failure.place().and_then(|place| place.position).map(|(line, _)| format!("line {line}"));
        position.or_else(|| failure.subject().map(Text::to_string))
    };
    let places: Vec<String> = others.iter().filter_map(|failure| line(failure)).take(SHOWN).collect();
    let more = if others.len() > places.len() { ", ..." } else { "" };
    let places = if places.is_empty() { String::new() } else { format!(": {}{more}", places.join(", ")) };
    let did = if word == "error" { "failed in the same way" } else { "are alike" };
    format!("{word}: {} more {did}{places}", others.len())
}

/// The span of a place, moved to where its excerpt's characters are whole.
fn span_in(source: &str, place: &Place) -> std::ops::Range<usize> {
    let inside = |at: usize| {
        let mut at = at.min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (inside(place.span.start), inside(place.span.end));
    if start < end || source.is_empty() { start..end } else { start..inside(start + 1).max(start) }
}

/// Attributes as a JSON object.
pub fn attributes(pairs: &[(Text, Text)]) -> serde_json::Map<String, serde_json::Value> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string().into())).collect()
}

/// A failure as JSON: the same facts, with stable keys.
pub fn to_json(failure: &Failure) -> serde_json::Value {
    let texts = |texts: &[Text]| texts.iter().map(Text::to_string).collect::<Vec<_>>();
    json!({
        "kind": failure.kind().name(),
        "code": failure.code(),
        "message": failure.message(),
        "help": texts(failure.helps()),
        "reference": failure.subject(),
        "mount": failure.mount(),
        "plugin": failure.plugin(),
        "file": failure.place().map(|place| place.origin.to_string()),
        "line": failure.place().and_then(|place| place.position).map(|(line, _)| line),
        "column": failure.place().and_then(|place| place.position).map(|(_, column)| column),
        "retry_after_ms": failure.retry_after(),
        "attributes": attributes(failure.attributes()),
    })
}
