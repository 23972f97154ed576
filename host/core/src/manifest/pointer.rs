//! Places in a JSON document that a rule speaks of: `/secrets/*/name`.
//!
//! A [`Pointer`] is a JSON pointer (RFC 6901) in which a `*` stands for every element or member. It reads
//! a document as its receiver might, and refuses what two receivers could read in two ways: a key that
//! stands twice, or a second time in other letters, because many services do not tell those apart. It
//! keeps nothing of a document but the texts at its place.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The longest pointer, in bytes, and the most steps of one.
const MAX_BYTES: usize = 256;
const MAX_STEPS: usize = 8;

/// A place in a JSON document.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    /// A member's name, or an element's place.
    Named(String),
    /// `*`: every member or element.
    Every,
}

/// Why a text is no [`Pointer`]. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a JSON pointer begins with / and has 1 to 8 steps, printable and not empty; * is every element or member")]
pub struct InvalidPointer;

/// Why a document has nothing at the place, in words that follow "the body" or "the answer". Never
/// repeats a text of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Not strictly JSON (RFC 8259) in UTF-8, or nested too deep.
    #[error("is no JSON")]
    Json,
    /// A key twice, perhaps in other letters.
    #[error(
        "has a key twice, or one that differs from another, or from what the rule names, in the case of letters alone"
    )]
    Ambiguous,
    /// Nothing is there, or nothing in one of the places that a `*` stands for.
    #[error("has no text there")]
    Absent,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// [`InvalidPointer`]
    pub fn parse(text: &str) -> Result<Self, InvalidPointer> {
        let steps = text.strip_prefix('/').ok_or(InvalidPointer)?.split('/').map(|step| match step {
            "*" => Some(Step::Every),
            _ => unescaped(step).map(Step::Named),
        });
        let steps: Vec<Step> = steps.collect::<Option<_>>().ok_or(InvalidPointer)?;
        if text.len() > MAX_BYTES || steps.len() > MAX_STEPS {
            return Err(InvalidPointer);
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// Whether there may be more than one place: it holds a `*`.
    pub fn is_many(&self) -> bool {
        self.steps.contains(&Step::Every)
    }

    /// The texts at the place in the document `json`, each once: at least one, and one in each place
    /// that a `*` stands for.
    ///
    /// # Errors
    /// [`Unread`]
    pub fn find(&self, json: &[u8]) -> Result<BTreeSet<String>, Unread> {
        let mut walk = Walk { found: BTreeSet::new(), wrong: None };
        let mut document = serde_json::Deserializer::from_slice(json);
        let read = Part { walk: &mut walk, steps: Some(&self.steps) }.deserialize(&mut document);
        match (read.and_then(|()| document.end()), walk.wrong) {
            (_, Some(wrong)) => Err(wrong),
            (Err(_), None) => Err(Unread::Json),
            (Ok(()), None) if walk.found.is_empty() => Err(Unread::Absent),
            (Ok(()), None) => Ok(walk.found),
        }
    }

    /// The pointer as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A step as RFC 6901 writes it. A text that is `*` alone cannot be named.
fn unescaped(step: &str) -> Option<String> {
    let mut plain = String::with_capacity(step.len());
    let mut chars = step.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return None,
            },
            c if c.is_control() => return None,
            c => c,
        });
    }
    (!plain.is_empty()).then_some(plain)
}

/// What is the same to a receiver that does not tell cases apart, whichever way it does that.
fn folded(key: &str) -> String {
    key.to_uppercase().to_lowercase()
}

struct Walk {
    found: BTreeSet<String>,
    wrong: Option<Unread>,
}

/// A value of the document: on the way to the place, or (`None`) beside it.
struct Part<'w, 'p> {
    walk: &'w mut Walk,
    steps: Option<&'p [Step]>,
}

impl Part<'_, '_> {
    fn wrong<E: de::Error>(self, why: Unread) -> E {
        self.walk.wrong.get_or_insert(why);
        E::custom("")
    }

    /// A value that holds nothing further.
    fn ends<E: de::Error>(self) -> Result<(), E> {
        if self.steps.is_some() { Err(self.wrong(Unread::Absent)) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.ends()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.ends()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.ends()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.ends()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.ends()
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        match self.steps {
            Some([]) => {
                self.walk.found.insert(text.to_owned());
                Ok(())
            }
            _ => self.ends(),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { walk, steps } = self;
        let mut index = 0_usize;
        let mut met = false;
        loop {
            let inner = match steps {
                Some([Step::Every, rest @ ..]) => Some(rest),
                Some([Step::Named(name), rest @ ..]) if *name == index.to_string() => Some(rest),
                _ => None,
            };
            let on_the_way = inner.is_some();
            if items.next_element_seed(Part { walk: &mut *walk, steps: inner })?.is_none() {
                break;
            }
            met |= on_the_way;
            index += 1;
        }
        if met { Ok(()) } else { Part { walk, steps }.ends() }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { walk, steps } = self;
        let mut keys = BTreeSet::new();
        let mut met = false;
        while let Some(key) = members.next_key::<String>()? {
            let like = folded(&key);
            let inner = match steps {
                Some([Step::Every, rest @ ..]) => Some(rest),
                Some([Step::Named(name), rest @ ..]) if *name == key => Some(rest),
                Some([Step::Named(name), ..]) if folded(name) == like => {
                    return Err(Part { walk, steps }.wrong(Unread::Ambiguous));
                }
                _ => None,
            };
            if !keys.insert(like) {
                return Err(Part { walk, steps }.wrong(Unread::Ambiguous));
            }
            met |= inner.is_some();
            members.next_value_seed(Part { walk: &mut *walk, steps: inner })?;
        }
        if met { Ok(()) } else { Part { walk, steps }.ends() }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pointer: &str, json: &str) -> Result<Vec<String>, Unread> {
        Pointer::parse(pointer).unwrap().find(json.as_bytes()).map(|found| found.into_iter().collect())
    }

    #[test]
    fn every_text_at_the_place_is_found() {
        for (pointer, json, found) in [
            ("/name", r#"{"name":"a"}"#, &["a"][..]),
            ("/name", r#" { "value" : {"name":"b"}, "name" : "\u0061" } "#, &["a"]),
            ("/secrets/*/name", r#"{"secrets":[{"name":"a"},{"name":"b","x":[1]},{"name":"a"}]}"#, &["a", "b"]),
            ("/secrets/*/name", r#"{"secrets":{"x":{"name":"a"},"y":{"name":"b"}}}"#, &["a", "b"]),
            ("/*", r#"["a","b"]"#, &["a", "b"]),
            ("/1/n", r#"[{"n":"a"},{"n":"b"}]"#, &["b"]),
            ("/a~1b/~0", r#"{"a/b":{"~":"x"}}"#, &["x"]),
        ] {
            assert_eq!(
                find(pointer, json).as_deref(),
                Ok(&found.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..]),
                "{pointer} in {json}"
            );
        }
    }

    #[test]
    fn what_has_no_text_there_or_in_one_of_the_places_is_refused() {
        for (pointer, json) in [
            ("/name", r#"{}"#),
            ("/name", r#"{"name":null}"#),
            ("/name", r#"{"name":7}"#),
            ("/name", r#"{"name":["a"]}"#),
            ("/name", r#"{"name":{"name":"a"}}"#),
            ("/name", r#""a""#),
            ("/secrets/*/name", r#"{"secrets":[]}"#),
            ("/secrets/*/name", r#"{"secrets":[{"name":"a"},{"id":"b"}]}"#),
            ("/secrets/*/name", r#"{"secrets":[{"name":"a"},"b"]}"#),
            ("/secrets/*/name", r#"{"secrets":[{"name":"a"},[]]}"#),
            ("/secrets/*/name", r#"{"secrets":"a"}"#),
            ("/1", r#"["a"]"#),
            ("/01", r#"["a","b"]"#),
        ] {
            assert_eq!(find(pointer, json), Err(Unread::Absent), "{pointer} in {json}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for json in [
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","Name":"b"}"#,
            r#"{"Name":"b","name":"a"}"#,
            r#"{"NAME":"a"}"#,
            r#"{"name":"a","\u004eame":"b"}"#,
            r#"{"name":"a","x":{"y":1,"y":2}}"#,
            r#"{"name":"a","x":[{"\u212aey":1,"key":2}]}"#,
            r#"{"name":"a","x":[{"i":1,"\u0131":2}]}"#,
        ] {
            assert_eq!(find("/name", json), Err(Unread::Ambiguous), "{json}");
        }
        let deep = format!("{{\"name\":\"a\",\"x\":{}{}}}", "[".repeat(500), "]".repeat(500));
        for json in [
            "",
            r#"{"name":"a"} {"name":"b"}"#,
            r#"{"name":"a"}]"#,
            r#"{"name":"a",}"#,
            r#"{'name':'a'}"#,
            r#"{"name":"a"/* , */}"#,
            "\u{feff}{\"name\":\"a\"}",
            r#"{"name":"\ud800"}"#,
            &deep,
        ] {
            assert_eq!(find("/name", json), Err(Unread::Json), "{json}");
        }
        assert_eq!(Pointer::parse("/name").unwrap().find(b"{\"name\":\"\xff\"}"), Err(Unread::Json));
    }

    #[test]
    fn a_pointer_has_one_form() {
        for bad in ["", "name", "/", "//a", "/a/", "/a~2", "/a~", "/a\n", "/1/2/3/4/5/6/7/8/9"] {
            assert!(Pointer::parse(bad).is_err(), "{bad}");
        }
        assert!(Pointer::parse(&format!("/{}", "a".repeat(MAX_BYTES))).is_err());
        assert!(Pointer::parse("/a/*").unwrap().is_many() && !Pointer::parse("/a/*b").unwrap().is_many());
    }
}
