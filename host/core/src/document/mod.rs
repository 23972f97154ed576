//! Files that give variables their values: `strongroom run -f FILE`, `check -f`, `export -f`.
//!
//! A [`Document`] is the ordered list of a file's variables, each value taken apart as a
//! [`Template`], with its place in the file. All that is wrong in a file is reported at once. A
//! failure shows a reference or a variable's name and never what stands around it, because a file
//! may hold secrets in clear. Nothing is read from disk here, nothing resolved, nothing expanded.
//!
//! # What is read
//!
//! YAML, JSON and TOML have two forms. A file with `environment_variables` at its top (an Azure ML
//! deployment file) gives that map, and the rest of the file is ignored; any other file is one flat
//! map of names to scalars. dotenv ([`Format::Dotenv`]) is `NAME=value` lines.
//!
//! - Scalars keep their source text: `1.10` stays `1.10`, `0x10`, `yes`, `1e3`, a TOML date. Quoted
//!   and block scalars are decoded as their format says.
//! - No value (`NAME:`, `~`, `null` in YAML, `null` in JSON) is an error: Azure ML takes it for an
//!   empty text, other tools for "unset" or "as outside", and more often it is a value somebody
//!   forgot. `""` is the empty text. A whole `environment_variables` without a value is an empty map.
//! - YAML aliases of scalars are followed (all of them together give at most [`MAX_FILE_BYTES`]);
//!   merge keys, aliases of maps, and tags that change a value (`!!binary`) are refused.
//! - A name that stands twice is an error, and so is a second YAML document.
//!
//! # Limits
//!
//! [`MAX_FILE_BYTES`] a file, [`MAX_DEPTH`] levels of nesting in YAML (TOML's parser stops at 80, and
//! JSON that is ignored needs no stack), [`MAX_FAILURES`] failures reported of one file.

mod dotenv;
pub mod endpoint;
mod json;
#[cfg(test)]
mod tests;
mod toml;
mod yaml;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use memchr::memmem;

use zeroize::Zeroizing;

use crate::azureml::{self, Beyond};
use crate::template::{TemplateError, Unknown};
use crate::{Failure, Kind, Place, Shapes, Template, Text, environment};

/// The largest file, in bytes: 1 MiB. A process's whole environment is rarely allowed more.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// The largest text for `inject`, in bytes: 16 MiB.
pub const MAX_TEXT_BYTES: usize = 16 << 20;

/// How deep YAML may nest, also in the parts of a file that are ignored.
pub const MAX_DEPTH: usize = 64;

/// How many failures of one file are reported; one more says how many were left out.
pub const MAX_FAILURES: usize = 200;

/// The key of the map in Azure ML's deployment files.
const WRAPPER: &str = "environment_variables";

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// YAML 1.2, one document.
    Yaml,
    /// JSON (RFC 8259), one object.
    Json,
    /// TOML 1.1.
    Toml,
    /// `NAME=value` lines:
    ///
    /// - Blank lines, and lines that begin with `#`, are skipped; `export` before a name is allowed.
    /// - `'...'` is literal. In `"..."`, `\n \r \t \" \\ \$` are escapes and any other backslash
    ///   stays. Both may span lines, and a line's end in them is one `\n`, also in a CRLF file.
    /// - Without quotes a value ends at the line's end or before ` #`, and is trimmed.
    /// - Nothing is expanded: `$HOME` and `$(id)` stay as they are.
    Dotenv,
}

impl Format {
    /// Every format, in the order of messages.
    pub const ALL: [Self; 4] = [Self::Yaml, Self::Json, Self::Toml, Self::Dotenv];

    /// The format's word, as `--file-format` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Toml => "toml",
            Self::Dotenv => "env",
        }
    }

    /// The format of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format of the file at `path`: `given` if somebody said so, else by the file's name:
    /// `*.yaml`, `*.yml`, `*.json`, `*.toml`, `*.env`, `.env` and `.env.*`.
    ///
    /// (`.envrc` is a shell script of direnv, so it is none of these.)
    ///
    /// # Errors
    /// `document.format`, with the formats to choose from.
    pub fn of(path: &Path, given: Option<Self>) -> Result<Self, Failure> {
        if let Some(format) = given {
            return Ok(format);
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match file.rsplit_once('.').map(|(_, extension)| extension) {
            Some("yaml" | "yml") => return Ok(Self::Yaml),
            Some("json") => return Ok(Self::Json),
            Some("toml") => return Ok(Self::Toml),
            Some("env") => return Ok(Self::Dotenv),
            _ if file.starts_with(".env.") => return Ok(Self::Dotenv),
            _ => {}
        }
        let message = format!("the name of {} does not tell its format", path.display());
        let names = Self::ALL.map(Self::name).join(", ");
        Err(Failure::new(Kind::InvalidConfig, "document.format", message)
            .help(format!("say it with --file-format FORMAT, which is one of {names}")))
    }
}

/// One variable of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The variable's name; matches [`environment::is_name`].
    pub name: String,
    /// 1-based line and column (in characters) of the name.
    pub name_position: (usize, usize),
    /// The value, with its references still in it.
    pub template: Template,
    /// 1-based line and column (in characters) of the value: of its quote, if it has one, and of the
    /// first line of a YAML block.
    pub position: (usize, usize),
    /// What of the value Azure ML does not take.
    pub beyond: Vec<Beyond>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} at {}:{}, ..)", Text::new(&self.name), self.position.0, self.position.1)
    }
}

/// One entry of [`Document::pairs`].
pub struct KeyValue {
    /// The key, decoded.
    pub key: String,
    /// 1-based line and column (in characters) of the key.
    pub key_position: (usize, usize),
    /// The value, decoded, and overwritten when dropped.
    pub value: Zeroizing<String>,
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyValue(.. at {}:{})", self.key_position.0, self.key_position.1)
    }
}

/// The variables of one file, in the file's order; no name twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The variables.
    pub entries: Vec<Entry>,
    /// Whether they stood under `environment_variables`, as in a deployment file of Azure ML.
    pub deployment: bool,
    origin: Text,
}

impl Document {
    /// Reads the file `text`, which failures call `origin`.
    ///
    /// # Errors
    /// Everything that is wrong, in the order in which it was found; after an error of the format's own
    /// syntax in YAML, JSON or TOML nothing else is looked for. Codes: `document.*` for the file,
    /// `environment.name` and `environment.nul`, and `reference.*` as [`Template::parse`] gives them. The
    /// place of a failure is exact, except that a reference written with escapes, or across the
    /// lines of a scalar, is reported where its scalar begins.
    pub fn parse(
        text: &str,
        format: Format,
        origin: Text,
        shapes: &Shapes,
        unknown: Unknown,
    ) -> Result<Self, Vec<Failure>> {
        if text.len() > MAX_FILE_BYTES {
            return Err(vec![too_large(&origin, text.len(), MAX_FILE_BYTES)]);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut problems = Problems::new(text, origin);
        let entries = match format {
            Format::Yaml => yaml::read(text, &mut problems).map(|pairs| unwrap(pairs, &mut problems)),
            Format::Json => json::read(text, &mut problems).map(|pairs| unwrap(pairs, &mut problems)),
            Format::Toml => toml::read(text, &mut problems).map(|pairs| unwrap(pairs, &mut problems)),
            Format::Dotenv => Some((dotenv::read(text, &mut problems), false)),
        }
        .map(|(pairs, wrapped)| (collect(pairs, wrapped, shapes, unknown, &mut problems), wrapped));
        match (problems.finish(), entries) {
            (Ok(origin), Some((entries, deployment))) => Ok(Self { entries, deployment, origin }),
            (Ok(origin), None) => {
                Err(vec![Failure::new(Kind::Internal, "document.unread", format!("{origin} could not be read"))])
            }
            (Err(failures), _) => Err(failures),
        }
    }

    /// Reads a flat map of any keys to values, for batches of references. Keys are not names of
    /// variables, and values are not searched for references.
    ///
    /// # Errors
    /// As [`Document::parse`], without what concerns names and references. A dotenv file has no such
    /// map: `document.format`.
    pub fn pairs(text: &str, format: Format, origin: Text) -> Result<Vec<KeyValue>, Vec<Failure>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut problems = Problems::new(text, origin);
        let pairs = match format {
            Format::Yaml => yaml::read(text, &mut problems),
            Format::Json => json::read(text, &mut problems),
            Format::Toml => toml::read(text, &mut problems),
            Format::Dotenv => {
                let message = "a map of references is YAML, JSON or TOML: dotenv has names of variables only";
                return Err(vec![Failure::new(Kind::InvalidConfig, "document.format", message)]);
            }
        };
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut entries = Vec::new();
        for pair in pairs.unwrap_or_default() {
            let key_position = problems.lines.position(pair.name_at);
            if let Some(line) = seen.insert(pair.name.to_string(), key_position.0) {
                let help = format!("it stands first on line {line}");
                problems.name(&pair, "document.duplicate", "this stands here twice", Some(&help));
                continue;
            }
            match &pair.value {
                Raw::Scalar(value, _) => {
                    let value = Zeroizing::new(value.to_string());
                    entries.push(KeyValue { key: pair.name.into_owned(), key_position, value });
                }
                Raw::Missing | Raw::Nested(_) | Raw::Map(_) => {
                    problems.name(&pair, "document.nested", "this needs one scalar as its value", None);
                }
            }
        }
        problems.finish().map(|_| entries)
    }

    /// What [`Failure`]s call the file.
    pub fn origin(&self) -> &Text {
        &self.origin
    }

    /// Refuses the names that change how programs load or connect, except those in `allowed`, which
    /// are compared as they are.
    ///
    /// # Errors
    /// It gives one `environment.dangerous-name` ([`Kind::PolicyDenied`]) for each, and none if all is well.
    pub fn check_names(&self, allowed: &[String]) -> Vec<Failure> {
        let refused = self.entries.iter().filter(|e| environment::is_dangerous(&e.name) && !allowed.contains(&e.name));
        refused
            .map(|entry| {
                let name = &entry.name;
                let message =
                    format!("{name}: a file may not set this variable: it changes what programs load or trust");
                let place = name_place(self.origin.clone(), Some(entry.name_position), name);
                Failure::new(Kind::PolicyDenied, "environment.dangerous-name", message)
                    .help(format!(
                        "if the file is yours and means it, pass --allow-name {name}, or write allow_names = \
                         [\"{name}\"] under [run] in a trusted config"
                    ))
                    .at(place)
            })
            .collect()
    }
}

/// The text of a file in which references are replaced (`inject`), or that [`Document::parse`] reads.
///
/// # Errors
/// `document.too-large` above [`MAX_TEXT_BYTES`], `document.binary` where there is a NUL byte or
/// something that is not UTF-8, with its place.
pub fn text_of(bytes: &[u8], origin: Text) -> Result<&str, Failure> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(too_large(&origin, bytes.len(), MAX_TEXT_BYTES));
    }
    let (valid, whole) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(error) => (bytes.get(..error.valid_up_to()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or(""), false),
    };
    let (at, what) = match memchr::memchr(0, valid.as_bytes()) {
        None if whole => return Ok(valid),
        None => (valid.len(), "bytes that are not UTF-8"),
        Some(at) => (at, "a NUL byte"),
    };
    let position = Some(crate::template::line_and_column(valid, at));
    let message = format!("this is no text file: it holds {what} at byte {at}");
    Err(Failure::new(Kind::InvalidConfig, "document.binary", message)
        .help("references are replaced in text only; convert the file to UTF-8, or get the secret with --out FILE")
        .at(Place { origin, position, excerpt: Text::default(), span: 0..0 }))
}

fn too_large(origin: &Text, bytes: usize, most: usize) -> Failure {
    let message = format!("{origin} has {bytes} bytes, and at most {most} are read");
    Failure::new(Kind::LimitExceeded, "document.too-large", message)
}

fn name_place(origin: Text, position: Option<(usize, usize)>, name: &str) -> Place {
    let excerpt = Text::capped(name, MAX_SHOWN);
    let span = 0..excerpt.as_str().len();
    Place { origin, position, excerpt, span }
}

/// The most characters of a name in a message.
const MAX_SHOWN: usize = 80;

/// A key with its value, as a format's reader gives it. Offsets are bytes of the file.
#[derive(Clone)]
struct Pair<'t> {
    name: Cow<'t, str>,
    name_at: usize,
    /// Whether this surely is a name, so that it may be shown even if it is no good one.
    is_key: bool,
    value: Raw<'t>,
    value_at: usize,
}

/// What stands in a value's place.
#[derive(Clone)]
enum Raw<'t> {
    /// The decoded text, and the bytes of the file it was decoded from.
    Scalar(Cow<'t, str>, Range<usize>),
    /// No value.
    Missing,
    /// Something with an inside, in the format's word.
    Nested(&'static str),
    /// The inside of the map under [`Problems::wrapper`]. Readers look into no other.
    Map(Vec<Pair<'t>>),
}

/// Decides between the two forms. True where the variables stood under [`WRAPPER`].
fn unwrap<'t>(pairs: Vec<Pair<'t>>, problems: &mut Problems<'_>) -> (Vec<Pair<'t>>, bool) {
    let (mut wrappers, others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|pair| pair.name == WRAPPER);
    for second in wrappers.iter().skip(1) {
        problems.name(second, "document.duplicate", "this name stands here twice", None);
    }
    wrappers.truncate(1);
    let Some(wrapper) = wrappers.pop() else { return (others, false) };
    let inner = match wrapper.value {
        Raw::Map(inner) => inner,
        Raw::Missing => Vec::new(),
        Raw::Scalar(..) | Raw::Nested(_) => {
            let help = "a list of name and value pairs is not read: write one NAME and its value a line";
            problems.name(&wrapper, "document.form", "this must be a map of names to values", Some(help));
            Vec::new()
        }
    };
    (inner, true)
}

fn collect(
    pairs: Vec<Pair<'_>>,
    wrapped: bool,
    shapes: &Shapes,
    unknown: Unknown,
    problems: &mut Problems<'_>,
) -> Vec<Entry> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut entries = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let name_position = problems.lines.position(pair.name_at);
        if let Err(failure) = environment::check_name(&pair.name) {
            let shown = if pair.is_key { &*pair.name } else { "" };
            problems.push(failure, pair.name_at, shown);
            continue;
        }
        if let Some(line) = seen.get(&*pair.name) {
            let help = format!("it stands first on line {line}");
            problems.name(&pair, "document.duplicate", "this name stands here twice", Some(&help));
            continue;
        }
        seen.insert(pair.name.to_string(), name_position.0);
        let (text, source) = match &pair.value {
            Raw::Scalar(text, source) => (text, source.clone()),
            Raw::Missing => {
                let help = "write \"\" for an empty text, or \"null\" if the word is meant";
                problems.name(&pair, "document.no-value", "this variable has no value", Some(help));
                continue;
            }
            Raw::Nested(what) => {
                let help =
                    (!wrapped).then_some("in a file with other things, put the variables under environment_variables");
                let message = format!("a variable's value is one scalar, and this is {what}");
                problems.name(&pair, "document.nested", &message, help);
                continue;
            }
            Raw::Map(_) => continue,
        };
        if let Err(failure) = environment::check_nul(&pair.name, text.as_bytes()) {
            problems.push(failure, pair.value_at, &pair.name);
            continue;
        }
        match Template::parse(text, shapes, unknown) {
            Ok(template) => {
                let position = problems.lines.position(pair.value_at);
                let beyond = azureml::beyond(text, &template);
                entries.push(Entry { name: pair.name.into_owned(), name_position, template, position, beyond });
            }
            Err(errors) => problems.templates(&pair.name, errors, text, source),
        }
    }
    entries
}

/// What is wrong in a file so far.
struct Problems<'t> {
    text: &'t str,
    /// The name of the one map at the top that is looked into.
    wrapper: &'static str,
    lines: Lines<'t>,
    origin: Text,
    failures: Vec<Failure>,
    left_out: usize,
}

impl<'t> Problems<'t> {
    fn new(text: &'t str, origin: Text) -> Self {
        Self::within(WRAPPER, text, origin)
    }

    fn within(wrapper: &'static str, text: &'t str, origin: Text) -> Self {
        let lines = Lines { text, at: 0, line: 1, column: 1 };
        Self { text, wrapper, lines, origin, failures: Vec::new(), left_out: 0 }
    }

    /// Counts a failure; false once there are so many that the next one will not be reported.
    fn has_room(&mut self) -> bool {
        let room = self.failures.len() < MAX_FAILURES;
        self.left_out += usize::from(!room);
        room
    }

    /// Adds a failure at a byte of the file. `shown` is a reference or a name, or nothing.
    fn push(&mut self, failure: Failure, at: usize, shown: &str) {
        if self.has_room() {
            let place = name_place(self.origin.clone(), Some(self.lines.position(at)), shown);
            self.failures.push(failure.at(place));
        }
    }

    /// Adds an error of the format itself, and shows nothing of the file.
    fn syntax(&mut self, format: Format, message: impl fmt::Display, at: usize) {
        let message = format!("this is not {}: {message}", format.name());
        self.push(Failure::new(Kind::InvalidConfig, "document.syntax", message), at, "");
    }

    /// Adds a failure about one variable.
    fn name(&mut self, pair: &Pair<'_>, code: &'static str, message: &str, help: Option<&str>) {
        let name = Text::capped(&pair.name, MAX_SHOWN);
        let failure = Failure::new(Kind::InvalidConfig, code, format!("{name}: {message}"));
        let failure = match help {
            Some(help) => failure.help(help),
            None => failure,
        };
        self.push(failure, pair.name_at, &pair.name);
    }

    /// Adds the errors in the value of `name`, which was decoded from the bytes `source` of the file.
    fn templates(&mut self, name: &str, errors: Vec<TemplateError>, decoded: &str, source: Range<usize>) {
        let places = Openings::new(decoded, self.text, source);
        for mut error in errors {
            if !self.has_room() {
                continue;
            }
            let shown = decoded.get(error.shown.clone()).unwrap_or_default();
            let position = self.lines.position(places.offset(error.shown.start, shown));
            error.error.message = format!("{}: {}", Text::capped(name, MAX_SHOWN), error.error.message);
            self.failures.push(error.into_failure(decoded, self.origin.clone(), Some(position)));
        }
    }

    fn finish(mut self) -> Result<Text, Vec<Failure>> {
        if self.failures.is_empty() {
            return Ok(self.origin);
        }
        if self.left_out > 0 {
            let message = format!("and {} more in {}", self.left_out, self.origin);
            self.failures.push(Failure::new(Kind::InvalidConfig, "document.more", message));
        }
        Err(self.failures)
    }
}

/// Where in the file the references of one decoded scalar stand.
///
/// The n-th `${{` of the decoded text is the n-th one of its source, as long as there are equally
/// many: decoding reorders nothing, and an escape or a fold that makes one or hides one changes
/// the number, unless it does both, which the last look at the source finds.
struct Openings<'t> {
    text: &'t str,
    source: Range<usize>,
    decoded: Vec<usize>,
    encoded: Vec<usize>,
}

impl<'t> Openings<'t> {
    fn new(decoded: &str, text: &'t str, source: Range<usize>) -> Self {
        let encoded = text.get(source.clone()).unwrap_or_default();
        let find = |text: &str| memmem::find_iter(text.as_bytes(), b"${{").collect::<Vec<_>>();
        Self { text, source, decoded: find(decoded), encoded: find(encoded) }
    }

    /// The byte of the file where the reference `shown` stands that begins at byte `start` of the
    /// decoded text; where its scalar begins, if that cannot be told.
    fn offset(&self, start: usize, shown: &str) -> usize {
        let source = self.text.get(self.source.clone()).unwrap_or_default();
        let found = if shown.starts_with("${{") {
            let index = self.decoded.binary_search(&start).ok();
            index
                .filter(|_| self.decoded.len() == self.encoded.len())
                .and_then(|index| self.encoded.get(index).copied())
                .filter(|at| source.get(*at..).is_some_and(|rest| rest.starts_with(shown)))
        } else {
            source.find(shown)
        };
        self.source.start + found.unwrap_or(0)
    }
}

/// Turns bytes of a text into lines and columns. Cheap as long as the bytes mostly grow, also in a
/// text that is one long line.
struct Lines<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    column: usize,
}

impl Lines<'_> {
    fn position(&mut self, offset: usize) -> (usize, usize) {
        if offset < self.at {
            (self.at, self.line, self.column) = (0, 1, 1);
        }
        let between = self.text.get(self.at..offset).unwrap_or_default();
        match between.rsplit_once('\n') {
            Some((before, last)) => {
                self.line += memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
                self.column = last.chars().count() + 1;
            }
            None => self.column += between.chars().count(),
        }
        self.at += between.len();
        (self.line, self.column)
    }
}
