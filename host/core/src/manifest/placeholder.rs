//! Texts with holes that the host fills before a call: `{ref.path.0}/`.
//!
//! A [`Templated`] is parsed once. What fills a hole comes from one parsed reference of the call or
//! from the mount's config (for an auth plugin: from the request for a token), and is always one
//! segment: a value with a slash or a control character fills nothing, so no reference can reach beyond
//! the place that its hole stands for.

use std::fmt;

use crate::Reference;

/// The longest text with placeholders, in bytes.
pub const MAX_BYTES: usize = 512;

/// A part of a reference that a manifest may speak of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefField {
    /// `authority`
    Authority,
    /// `path.N`, counted from 0.
    Path(usize),
    /// `selector.NAME`
    Selector(String),
}

impl RefField {
    /// Reads `authority`, `path.N` or `selector.NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "authority" {
            return Some(Self::Authority);
        }
        if let Some(digits) = text.strip_prefix("path.") {
            let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
            return digits.parse().ok().filter(|_| canonical && digits.len() <= 2).map(Self::Path);
        }
        text.strip_prefix("selector.").filter(|name| is_word(name)).map(|name| Self::Selector(name.to_owned()))
    }

    /// The field of `reference`, if it has it.
    pub fn of<'r>(&self, reference: &'r Reference) -> Option<&'r str> {
        match self {
            Self::Authority => reference.authority.as_deref(),
            Self::Path(index) => reference.path.get(*index).map(String::as_str),
            Self::Selector(name) => reference.selector(name),
        }
    }
}

impl fmt::Display for RefField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority => f.write_str("authority"),
            Self::Path(index) => write!(f, "path.{index}"),
            Self::Selector(name) => write!(f, "selector.{name}"),
        }
    }
}

/// One hole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placeholder {
    /// `{ref.*}`
    Ref(RefField),
    /// `{config.NAME}`: a string, number or boolean at the top of the mount's config.
    Config(String),
    /// `{request.tenant}`, for auth plugins: the tenant that a token is wanted from.
    Tenant,
    /// `{env.NAME}`, for auth plugins: a variable of the environment.
    Env(String),
}

impl Placeholder {
    /// The key of the config that it is filled from, if it is one.
    pub(super) fn config_key(&self) -> Option<&str> {
        match self {
            Self::Config(key) => Some(key),
            Self::Ref(_) | Self::Tenant | Self::Env(_) => None,
        }
    }

    /// Whether only auth plugins' calls can fill it.
    pub(super) fn is_of_acquiring(&self) -> bool {
        matches!(self, Self::Tenant | Self::Env(_))
    }
}

/// Where the tenant of a request for a token stands among what holes are filled from. No config has
/// such a key, for `{config.NAME}` cannot speak of it.
pub const TENANT: &str = "request.tenant";

/// Where a variable stands among what holes are filled from. No config has such a key.
pub fn env_key(variable: &str) -> String {
    format!("env.{variable}")
}

/// A text with holes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Templated {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Literal(String),
    Hole(Placeholder),
}

/// Why a text is no [`Templated`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplated {
    /// Nothing, or too much.
    #[error("it has 1 to 512 bytes")]
    Length,
    /// Control characters.
    #[error("it holds no control characters")]
    Control,
    /// Braces around something else, or alone.
    #[error(
        "braces hold one of ref.authority, ref.path.N, ref.selector.NAME, config.NAME; a literal brace cannot be written"
    )]
    Placeholder,
}

impl Templated {
    /// Reads a text with placeholders.
    ///
    /// # Errors
    /// [`InvalidTemplated`]; its message never repeats the text.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplated> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(InvalidTemplated::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidTemplated::Control);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        loop {
            let (literal, after) = match rest.split_once('{') {
                Some((literal, after)) => (literal, Some(after)),
                None => (rest, None),
            };
            if literal.contains('}') {
                return Err(InvalidTemplated::Placeholder);
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let Some(after) = after else { break };
            let (name, tail) = after.split_once('}').ok_or(InvalidTemplated::Placeholder)?;
            let hole = match name.split_once('.') {
                Some(("ref", field)) => RefField::parse(field).map(Placeholder::Ref),
                Some(("config", key)) if is_word(key) => Some(Placeholder::Config(key.to_owned())),
                Some(("request", "tenant")) => Some(Placeholder::Tenant),
                Some(("env", name)) if is_word(name) => Some(Placeholder::Env(name.to_owned())),
                _ => None,
            };
            parts.push(Part::Hole(hole.ok_or(InvalidTemplated::Placeholder)?));
            rest = tail;
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The text with every hole filled. `None` if something is missing, empty, or more than one
    /// segment: then the text must not be used at all.
    pub fn bind(&self, reference: &Reference, config: &serde_json::Value) -> Option<String> {
        self.fill(Some(reference), config, segment)
    }

    /// As [`Templated::bind`], where there may be no reference: a hole of it is then not filled.
    pub fn bind_for(&self, reference: Option<&Reference>, config: &serde_json::Value) -> Option<String> {
        self.fill(reference, config, segment)
    }

    /// As [`Templated::bind_for`], for a text that is no path: what fills a hole may hold slashes.
    pub fn bind_text(&self, reference: Option<&Reference>, config: &serde_json::Value) -> Option<String> {
        self.fill(reference, config, printable)
    }

    fn fill(
        &self,
        reference: Option<&Reference>,
        config: &serde_json::Value,
        fits: impl Fn(String) -> Option<String>,
    ) -> Option<String> {
        let mut bound = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => bound += text,
                Part::Hole(hole) => bound += &fits(value_of(hole, reference, config)?)?,
            }
        }
        Some(bound)
    }

    /// As [`Templated::bind`], for the scope of a listing: ends before the first hole whose field the
    /// scope does not have. Only an absent field of the reference shortens it; whatever else is wrong
    /// gives `None`.
    pub fn bind_scope(&self, scope: &Reference, config: &serde_json::Value) -> Option<String> {
        let mut bound = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => bound += text,
                Part::Hole(Placeholder::Ref(field)) if field.of(scope).is_none() => break,
                Part::Hole(hole) => bound += &segment(value_of(hole, Some(scope), config)?)?,
            }
        }
        Some(bound)
    }

    /// The holes, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Literal(_) => None,
        })
    }

    /// The fields of a reference that it speaks of.
    pub fn ref_fields(&self) -> impl Iterator<Item = &RefField> {
        self.placeholders().filter_map(|hole| match hole {
            Placeholder::Ref(field) => Some(field),
            Placeholder::Config(_) | Placeholder::Tenant | Placeholder::Env(_) => None,
        })
    }

    /// Whether every hole is a whole segment between slashes, and the text ends in one: only then do
    /// two different references never share a prefix.
    pub fn is_prefix_of_whole_segments(&self) -> bool {
        let mut before = '/';
        let mut open = false;
        for part in &self.parts {
            match part {
                Part::Literal(text) => {
                    if (open && !text.starts_with('/'))
                        || text.contains("//")
                        || (before == '/' && text.starts_with('/') && !open)
                    {
                        return false;
                    }
                    before = text.chars().next_back().unwrap_or(before);
                    open = false;
                }
                Part::Hole(_) => {
                    if open || before != '/' {
                        return false;
                    }
                    open = true;
                }
            }
        }
        !open && before == '/'
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn value_of(hole: &Placeholder, reference: Option<&Reference>, config: &serde_json::Value) -> Option<String> {
    match hole {
        Placeholder::Ref(field) => field.of(reference?).map(str::to_owned),
        Placeholder::Env(name) => config.get(env_key(name))?.as_str().map(str::to_owned),
        Placeholder::Tenant => config.get(TENANT)?.as_str().map(str::to_owned),
        Placeholder::Config(key) => match config.get(key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        },
    }
}

fn segment(value: String) -> Option<String> {
    printable(value).filter(|value| !value.contains('/'))
}

fn printable(value: String) -> Option<String> {
    let fits = !value.is_empty() && !value.chars().any(char::is_control);
    fits.then_some(value)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for Templated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Templated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Templated {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Shapes;

    fn reference(text: &str) -> Reference {
        Reference::parse_scope(text, &Shapes::builtin()).unwrap()
    }

    #[test]
    fn holes_are_filled_from_the_reference_and_the_config() {
        let config = json!({"team": "red", "n": 7, "list": [], "path": "a/b", "empty": ""});
        let table = [
            ("{ref.path.0}/", "keys://g/k", Some("g/")),
            ("{ref.path.0}/{ref.path.1}/", "keys://g/k", Some("g/k/")),
            ("{ref.path.1}/", "keys://g", None),
            ("{config.team}-{config.n}/{ref.path.0}", "keys://g", Some("red-7/g")),
            ("{ref.selector.version}", "keys://g?version=3", Some("3")),
            ("{ref.selector.version}", "keys://g", None),
            ("{ref.authority}", "keyvault:https://V.x/secrets/n", Some("v.x")),
            ("{ref.authority}", "keys://g", None),
            ("{config.list}", "keys://g", None),
            ("{config.missing}", "keys://g", None),
            ("{config.path}", "keys://g", None),
            ("{config.empty}", "keys://g", None),
            ("{ref.path.0}", "file:/run/secrets/x", None),
            ("plain", "keys://g", Some("plain")),
        ];
        for (text, from, bound) in table {
            let templated = Templated::parse(text).unwrap();
            assert_eq!(templated.bind(&reference(from), &config).as_deref(), bound, "{text} from {from}");
        }
    }

    #[test]
    fn a_scope_shortens_the_text_only_where_its_own_field_is_absent() {
        let config = json!({"path": "a/b"});
        let table = [
            ("{ref.path.0}/", "keys://", Some("")),
            ("{ref.path.0}/", "keys://g", Some("g/")),
            ("x/{ref.path.0}/{ref.path.1}/", "keys://g", Some("x/g/")),
            ("{config.missing}/", "keys://", None),
            ("{config.path}/", "keys://", None),
        ];
        for (text, from, bound) in table {
            let templated = Templated::parse(text).unwrap();
            assert_eq!(templated.bind_scope(&reference(from), &config).as_deref(), bound, "{text} from {from}");
        }
    }

    #[test]
    fn only_the_written_placeholders_exist() {
        for bad in [
            "",
            "{",
            "}",
            "{}",
            "{{ref.path.0}}",
            "{ref}",
            "{ref.path}",
            "{ref.path.}",
            "{ref.path.+1}",
            "{ref.path.01}",
            "{ref.path.100}",
            "{ref.path.-1}",
            "{ref.selector.}",
            "{ref.selector.a b}",
            "{config.}",
            "{config.a.b}",
            "{env.}",
            "{request.audience}",
            "{any}",
            "{ ref.path.0 }",
            "a\u{0}",
            "a}b",
            "{ref.path.0",
        ] {
            assert!(Templated::parse(bad).is_err(), "{bad}");
        }
        assert!(Templated::parse(&"x".repeat(MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn prefixes_keep_references_apart() {
        for (text, apart) in [
            ("{ref.path.0}/", true),
            ("a/{ref.path.0}/{ref.path.1}/", true),
            ("a/", true),
            ("{ref.path.0}", false),
            ("{ref.path.0}{ref.path.1}/", false),
            ("a{ref.path.0}/", false),
            ("{ref.path.0}a/", false),
            ("/{ref.path.0}/", false),
            ("{ref.path.0}//", false),
            ("a", false),
        ] {
            assert_eq!(Templated::parse(text).unwrap().is_prefix_of_whole_segments(), apart, "{text}");
        }
    }
}
