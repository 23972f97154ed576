//! The one reader of TOML: config, manifests, locks, trust records.
//!
//! It gives serde's derived types strict reading with errors fit to show: the file, line and column,
//! the key's path, what was expected, and a near key where one was mistyped. It must never put a
//! value into an error: a value may be a password that somebody typed into the wrong place. That is
//! held by type: [`ReadError`] drops whatever serde tells about what it found.

use std::fmt;
use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::reference::edit_distance;
use crate::template::line_and_column;
use crate::{Failure, Kind, Place, Text};

/// The codes of one kind of file.
#[derive(Debug)]
pub(crate) struct Codes {
    pub(crate) syntax: &'static str,
    pub(crate) too_large: &'static str,
    pub(crate) duplicate_key: &'static str,
    pub(crate) unknown_key: &'static str,
    pub(crate) missing_key: &'static str,
    pub(crate) value: &'static str,
}

/// A parsed file: its tree, and where everything stands.
#[derive(Debug)]
pub(crate) struct Sheet<'t> {
    text: &'t str,
    origin: Text,
    codes: &'static Codes,
    root: DeTable<'t>,
}

impl<'t> Sheet<'t> {
    /// Parses `text`, at most `max_bytes` of it.
    pub(crate) fn parse(text: &'t str, origin: Text, codes: &'static Codes, max_bytes: usize) -> Result<Self, Failure> {
        if text.len() > max_bytes {
            let message = format!("{origin} has more than {} KiB", max_bytes / 1024);
            return Err(Failure::new(Kind::InvalidConfig, codes.too_large, message));
        }
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { text, origin, codes, root: root.into_inner() }),
            Err(error) => {
                // The parser's own words are fixed sentences; its `Display` would print the line.
                let duplicate = error.message() == "duplicate key";
                let span = error.span().unwrap_or(0..0);
                let excerpt = if duplicate { text.get(span.clone()).unwrap_or_default() } else { "" };
                let place = place(text, &origin, span.start, excerpt);
                Err(if duplicate {
                    let message = format!("the key `{excerpt}` stands twice");
                    Failure::new(Kind::InvalidConfig, codes.duplicate_key, message)
                        .help("keep one of them; a table is written in one place")
                } else {
                    let message = format!("this is not TOML: {}", error.message());
                    Failure::new(Kind::InvalidConfig, codes.syntax, message)
                }
                .at(place))
            }
        }
    }

    /// Reads the whole of it into `T`.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(TableReader(&self.root)).map_err(|error| self.explain(error))
    }

    /// The failure for something that is wrong at a key. `message` follows the key's path and must
    /// hold no value: "`mounts.a.hosts` {message}".
    pub(crate) fn wrong(&self, code: &'static str, path: &[&str], message: impl fmt::Display) -> Failure {
        let failure = Failure::new(Kind::InvalidConfig, code, format!("`{}` {message}", path.join(".")));
        match self.place(path) {
            Some(place) => failure.at(place),
            None => failure,
        }
    }

    /// Where the last key of `path` stands that exists. Steps into lists are decimal numbers.
    pub(crate) fn place(&self, path: &[&str]) -> Option<Place> {
        let mut span = None;
        let mut table = Some(&self.root);
        let mut list = None;
        for step in path {
            let value = if let Some(entries) = table {
                let (key, value) = entries.get_key_value(*step)?;
                span = Some(key.span());
                value
            } else {
                list.and_then(|items: &toml::de::DeArray<'t>| items.get(step.parse::<usize>().ok()?))?
            };
            table = value.get_ref().as_table();
            list = value.get_ref().as_array();
        }
        span.map(|span| self.at(span))
    }

    fn at(&self, key: Range<usize>) -> Place {
        place(self.text, &self.origin, key.start, self.text.get(key).unwrap_or_default())
    }

    fn explain(&self, error: ReadError) -> Failure {
        let ReadError { problem, mut path, span } = error;
        path.reverse();
        let shown = |path: &[Step]| path.iter().map(Step::to_string).collect::<String>();
        let path = shown(&path);
        let path = path.trim_start_matches('.');
        let subject = if path.is_empty() { format!("{}", self.origin) } else { format!("`{path}`") };
        let failure = match problem {
            Problem::UnknownKey { key, known } => {
                let full = if path.is_empty() { key.clone() } else { path.to_owned() };
                let near = known.iter().min_by_key(|k| edit_distance(k, &key));
                let help = match near.filter(|k| edit_distance(k, &key) <= 2.min(key.chars().count() / 2)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => "no key may stand here".to_owned(),
                    None => format!("the keys here are {}", known.join(", ")),
                };
                Failure::new(Kind::InvalidConfig, self.codes.unknown_key, format!("this release knows no key `{full}`"))
                    .help(help)
            }
            Problem::Missing(key) => {
                Failure::new(Kind::InvalidConfig, self.codes.missing_key, format!("{subject} lacks the key `{key}`"))
            }
            Problem::Expected(what) => {
                Failure::new(Kind::InvalidConfig, self.codes.value, format!("{subject} must be {what}"))
            }
            Problem::Because(why) => {
                Failure::new(Kind::InvalidConfig, self.codes.value, format!("{subject} is not valid: {why}"))
            }
        };
        match span {
            Some(span) => failure.at(self.at(span)),
            None => {
                failure.at(Place { origin: self.origin.clone(), position: None, excerpt: Text::default(), span: 0..0 })
            }
        }
    }
}

fn place(text: &str, origin: &Text, offset: usize, excerpt: &str) -> Place {
    let excerpt = Text::new(excerpt);
    let span = 0..excerpt.as_str().len();
    Place { origin: origin.clone(), position: Some(line_and_column(text, offset)), excerpt, span }
}

/// Why a tree does not fit a type. Holds keys and expectations, and by construction no values.
#[derive(Debug)]
struct ReadError {
    problem: Problem,
    /// From the inside out.
    path: Vec<Step>,
    /// Of the innermost key.
    span: Option<Range<usize>>,
}

#[derive(Debug)]
enum Problem {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    Expected(String),
    /// A message of one of our own types, which never repeat what they were given.
    Because(String),
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, ".{key}"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl ReadError {
    fn new(problem: Problem) -> Self {
        Self { problem, path: Vec::new(), span: None }
    }

    fn expected(what: impl Into<String>) -> Self {
        Self::new(Problem::Expected(what.into()))
    }

    fn inside(mut self, step: Step, key: Option<Range<usize>>) -> Self {
        self.path.push(step);
        if self.span.is_none() {
            self.span = key;
        }
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text does not fit")
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Because(message.to_string()))
    }

    fn invalid_type(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(plain_words(&expected.to_string()))
    }

    fn invalid_value(_found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(plain_words(&expected.to_string()))
    }

    fn invalid_length(_found: usize, expected: &dyn Expected) -> Self {
        Self::expected(plain_words(&expected.to_string()))
    }

    fn unknown_variant(_found: &str, known: &'static [&'static str]) -> Self {
        Self::expected(format!("one of {}", known.join(", ")))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { key: key.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Problem::Missing(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::new(Problem::Because(format!("the key {key} stands twice")))
    }
}

/// Serde's words for its data model in those of a person who writes TOML.
fn plain_words(expected: &str) -> String {
    match expected {
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if ["u8", "u16", "u32", "u64", "usize"].contains(&other) => "a whole number, not negative".to_owned(),
        other => other.to_owned(),
    }
}

struct TableReader<'a, 't>(&'a DeTable<'t>);

impl<'de> Deserializer<'de> for TableReader<'_, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_map(Entries { entries: self.0.iter(), value: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct ValueReader<'a, 't>(&'a DeValue<'t>);

impl<'de> Deserializer<'de> for ValueReader<'_, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Boolean(value) => visitor.visit_bool(*value),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => Err(ReadError::expected("a whole number of at most 64 bits")),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => visitor.visit_f64(number),
                _ => Err(ReadError::expected("a finite number")),
            },
            DeValue::Datetime(_) => Err(ReadError::expected("no TOML date; write a date as a string, in quotes")),
            DeValue::Array(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            DeValue::Table(table) => TableReader(table).deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    /// A list is no struct, although serde's derived visitors would take one by position.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.0 {
            DeValue::Table(table) => TableReader(table).deserialize_any(visitor),
            _ => Err(ReadError::expected("a table")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.0 {
            DeValue::String(text) => visitor.visit_enum(IntoDeserializer::<ReadError>::into_deserializer(&**text)),
            _ => Err(ReadError::expected(format!("one of {}", variants.join(", ")))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Entries<'a, 't, I> {
    entries: I,
    value: Option<(&'a Spanned<std::borrow::Cow<'t, str>>, &'a Spanned<DeValue<'t>>)>,
}

impl<'de, 'a, 't: 'a, I> de::MapAccess<'de> for Entries<'a, 't, I>
where
    I: Iterator<Item = (&'a Spanned<std::borrow::Cow<'t, str>>, &'a Spanned<DeValue<'t>>)>,
{
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, value));
        let text: StrDeserializer<'_, ReadError> = key.get_ref().as_ref().into_deserializer();
        let step = || Step::Key(key.get_ref().to_string());
        seed.deserialize(text).map(Some).map_err(|e| e.inside(step(), Some(key.span())))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let Some((key, value)) = self.value.take() else {
            return Err(ReadError::expected("a value after its key"));
        };
        seed.deserialize(ValueReader(value.get_ref()))
            .map_err(|e| e.inside(Step::Key(key.get_ref().to_string()), Some(key.span())))
    }
}

struct Items<I> {
    items: I,
}

impl<'de, 'a, 't: 'a, I> de::SeqAccess<'de> for Items<I>
where
    I: Iterator<Item = (usize, &'a Spanned<DeValue<'t>>)>,
{
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        seed.deserialize(ValueReader(value.get_ref())).map(Some).map_err(|e| e.inside(Step::Index(index), None))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    static CODES: Codes = Codes {
        syntax: "t.syntax",
        too_large: "t.too-large",
        duplicate_key: "t.duplicate-key",
        unknown_key: "t.unknown-key",
        missing_key: "t.missing-key",
        value: "t.value",
    };

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Root {
        #[serde(default)]
        number: u32,
        #[serde(default)]
        flag: bool,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        named: BTreeMap<crate::Name, Inner>,
        #[serde(default)]
        any: serde_json::Map<String, serde_json::Value>,
        #[serde(default)]
        choice: Option<Choice>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        text: String,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Choice {
        ThisOne,
        ThatOne,
    }

    fn read(text: &str) -> Result<Root, Failure> {
        Sheet::parse(text, Text::new("x.toml"), &CODES, 4096)?.read()
    }

    #[test]
    fn errors_name_place_path_and_expectation_and_never_the_value() {
        let table = [
            ("number = \"canary\"", "t.value", (1, 1), "`number` must be a whole number, not negative"),
            ("number = -77777", "t.value", (1, 1), "`number` must be a whole number, not negative"),
            ("number = 777777777777777777777", "t.value", (1, 1), "`number` must be a whole number of at most 64 bits"),
            ("\n flag = \"canary\"", "t.value", (2, 2), "`flag` must be true or false"),
            ("flag = { canary = 1 }", "t.value", (1, 1), "`flag` must be true or false"),
            ("list = \"canary\"", "t.value", (1, 1), "`list` must be a list"),
            ("list = [\"canary\"]", "t.value", (1, 1), "`list[0]` must be a table"),
            ("list = [[\"canary\"]]", "t.value", (1, 1), "`list[0]` must be a table"),
            ("[[list]]\ntext = \"a\"\n[[list]]\ntext = 77777", "t.value", (4, 1), "`list[1].text` must be a string"),
            ("[[list]]\n", "t.missing-key", (1, 3), "`list[0]` lacks the key `text`"),
            ("[named.a]\ntxet = \"canary\"", "t.unknown-key", (2, 1), "this release knows no key `named.a.txet`"),
            (
                "[named.A]\ntext = \"canary\"",
                "t.value",
                (1, 8),
                "`named.A` is not valid: a name is 1 to 63 of a-z, 0-9 and -, and begins with a letter",
            ),
            ("nmber = \"canary\"", "t.unknown-key", (1, 1), "this release knows no key `nmber`"),
            ("choice = \"canary\"", "t.value", (1, 1), "`choice` must be one of this-one, that-one"),
            ("choice = { this-one = \"canary\" }", "t.value", (1, 1), "`choice` must be one of this-one, that-one"),
            (
                "any.when = 1979-05-27",
                "t.value",
                (1, 5),
                "`any.when` must be no TOML date; write a date as a string, in quotes",
            ),
            ("any.x = nan", "t.value", (1, 5), "`any.x` must be a finite number"),
            ("number = 1\nnumber = 77777", "t.duplicate-key", (2, 1), "the key `number` stands twice"),
            ("[named.a]\ntext = \"x\"\n[named.a]\n", "t.duplicate-key", (3, 8), "the key `a` stands twice"),
            ("any = { a = 1, a = 77777 }", "t.duplicate-key", (1, 16), "the key `a` stands twice"),
            (
                "number = canary",
                "t.syntax",
                (1, 10),
                "this is not TOML: string values must be quoted, expected literal string",
            ),
            ("flag = \"canary", "t.syntax", (1, 15), "this is not TOML: invalid basic string, expected `\"`"),
        ];
        for (text, code, position, message) in table {
            let failure = read(text).unwrap_err();
            let place = failure.place().unwrap();
            assert_eq!(
                (failure.code(), place.position, failure.message().as_str()),
                (code, Some(position), message),
                "{text}"
            );
            let all = format!("{failure:?}{failure}{place:?}{:?}", failure.helps());
            assert!(!all.contains("canary") && !all.contains("77777"), "{text}: {all}");
        }
    }

    #[test]
    fn a_near_key_is_suggested_and_others_listed() {
        let help = |text: &str| read(text).unwrap_err().helps()[0].to_string();
        assert_eq!(help("nmber = 1"), "did you mean `number`?");
        assert_eq!(help("zzz = 1"), "the keys here are number, flag, list, named, any, choice");
    }

    #[test]
    fn size_and_depth_are_limited() {
        assert_eq!(read(&"#".repeat(4097)).unwrap_err().code(), "t.too-large");
        let deep = format!("any.x = {}1{}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(read(&deep).unwrap_err().code(), "t.syntax");
    }

    #[test]
    fn what_fits_is_read() {
        let root =
            read("number = 0xff\nflag = true\nchoice = \"that-one\"\n[any]\na = [1, 2.5, \"x\", { b = true }]\n")
                .unwrap();
        assert_eq!((root.number, root.flag), (255, true));
        assert!(matches!(root.choice, Some(Choice::ThatOne)));
        assert_eq!(serde_json::Value::from(root.any), serde_json::json!({"a": [1, 2.5, "x", {"b": true}]}));
    }
}
