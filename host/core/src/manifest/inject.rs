//! What the host adds to an auth plugin's own requests: a rule's `inject`.
//!
//! So an auth plugin mints tokens with a secret that it never sees. A filling is a text with holes
//! for the credential's sealed inputs, for variables of the environment, and for what was kept the last
//! time; its values are the host's and are never shown. A rule whose fillings lack a value is not in
//! force. Only auth plugins have such rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, de};
use serde_json::Value;

use crate::text::is_plain;

/// The most form fields that one rule fills.
const MAX_FIELDS: usize = 8;

/// A rule's `inject`. At least one of the three is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Injection {
    /// Fields of an `application/x-www-form-urlencoded` body.
    pub form: BTreeMap<String, Filling>,
    /// A header, in lower case, and its value.
    pub header: Option<(String, Filling)>,
    /// Whether a 401 of Azure Arc's agent is answered: with the key that lies in the file it names.
    pub arc: bool,
}

/// A text with holes for what only the host knows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filling {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Literal(String),
    Held(Held),
}

/// Something that only the host knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Held {
    /// `{sealed.NAME}`: a sealed input of the credential.
    Sealed(String),
    /// `{env.NAME}`: a variable of the environment.
    Env(String),
    /// `{kept}`: what the plugin gave to be kept.
    Kept,
}

/// Why a text is no [`Filling`]. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a filling is visible ASCII with at least one of {{sealed.NAME}}, {{env.NAME}}, {{kept}}, each once")]
pub struct InvalidFilling;

impl Filling {
    /// Reads a text with holes.
    ///
    /// # Errors
    /// [`InvalidFilling`]
    pub fn parse(text: &str) -> Result<Self, InvalidFilling> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').ok_or(InvalidFilling)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Held(held(name).ok_or(InvalidFilling)?));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        let holes: Vec<&Part> = parts.iter().filter(|part| matches!(part, Part::Held(_))).collect();
        let each_once = holes.iter().collect::<BTreeSet<_>>().len() == holes.len();
        let plain = |part: &Part| match part {
            Part::Literal(text) => is_plain(text) && !text.contains('}'),
            Part::Held(_) => true,
        };
        if holes.is_empty() || !each_once || text.len() > 256 || !parts.iter().all(plain) {
            return Err(InvalidFilling);
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// What it is made of.
    pub fn holes(&self) -> impl Iterator<Item = &Held> {
        self.parts.iter().filter_map(|part| match part {
            Part::Held(held) => Some(held),
            Part::Literal(_) => None,
        })
    }

    /// The literal texts and the holes, in order.
    pub fn parts(&self) -> impl Iterator<Item = Result<&str, &Held>> {
        self.parts.iter().map(|part| match part {
            Part::Literal(text) => Ok(text.as_str()),
            Part::Held(held) => Err(held),
        })
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// What `{name}` stands for.
pub(super) fn held(name: &str) -> Option<Held> {
    let word = |text: &str| {
        !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match name.split_once('.') {
        Some(("sealed", input)) if word(input) => Some(Held::Sealed(input.to_owned())),
        Some(("env", variable)) if word(variable) => Some(Held::Env(variable.to_owned())),
        None if name == "kept" => Some(Held::Kept),
        _ => None,
    }
}

impl Injection {
    /// Everything that it needs to be in force.
    pub fn holes(&self) -> impl Iterator<Item = &Held> {
        self.form.values().chain(self.header.iter().map(|(_, filling)| filling)).flat_map(Filling::holes)
    }

    /// As it stands in the lock.
    pub(super) fn line(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let mut parts = Vec::new();
        if !self.form.is_empty() {
            let fields =
                self.form.iter().map(|(name, filling)| format!("{} = {}", quoted(name), quoted(filling.as_str())));
            parts.push(format!("form = {{ {} }}", fields.collect::<Vec<_>>().join(", ")));
        }
        if let Some((name, filling)) = &self.header {
            parts.push(format!("header = {}, format = {}", quoted(name), quoted(filling.as_str())));
        }
        if self.arc {
            parts.push("challenge = \"arc\"".to_owned());
        }
        format!("{{ {} }}", parts.join(", "))
    }

    /// In plain words, to follow "the host adds".
    pub(super) fn in_words(&self) -> String {
        let fields = self.form.iter().map(|(name, filling)| format!("{} as the form field {name}", filling.as_str()));
        let header = self.header.iter().map(|(name, filling)| format!("{} as {name}", filling.as_str()));
        let arc = self.arc.then(|| "the key of Azure Arc's agent".to_owned());
        fields.chain(header).chain(arc).collect::<Vec<_>>().join(", ")
    }
}

/// `inject` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawInjection {
    #[serde(default)]
    form: BTreeMap<String, Filling>,
    header: Option<String>,
    format: Option<Filling>,
    challenge: Option<String>,
}

impl RawInjection {
    /// Checks what the types alone cannot.
    pub(super) fn check(self) -> Result<Injection, &'static str> {
        let field = |name: &String| {
            !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if self.form.len() > MAX_FIELDS || !self.form.keys().all(field) {
            return Err("has form fields that are no words, or more than 8");
        }
        let header = match (self.header, self.format) {
            (None, None) => None,
            (Some(name), Some(filling)) => {
                let name = name.to_ascii_lowercase();
                if name != "authorization" && !super::http::is_listable(&name) {
                    return Err("must name a header that can carry a credential");
                }
                Some((name, filling))
            }
            _ => return Err("needs both `header` and `format`"),
        };
        let arc = match self.challenge.as_deref() {
            None => false,
            Some("arc") => true,
            Some(_) => return Err("knows the challenge \"arc\" alone"),
        };
        let injection = Injection { form: self.form, header, arc };
        if injection == Injection::default() {
            return Err("adds nothing");
        }
        Ok(injection)
    }
}

impl<'de> Deserialize<'de> for Filling {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl fmt::Debug for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filling_speaks_of_what_the_host_holds_and_of_nothing_else() {
        let good = Filling::parse("Bearer {sealed.token}").unwrap();
        assert_eq!(good.holes().collect::<Vec<_>>(), [&Held::Sealed("token".into())]);
        assert!(Filling::parse("{env.IDENTITY_HEADER}").is_ok() && Filling::parse("{kept}").is_ok());
        for bad in [
            "",
            "plain",
            "{",
            "{}",
            "{sealed.}",
            "{sealed.a}{sealed.a}",
            "{config.x}",
            "{ref.path.0}",
            "{kept",
            "a}{kept}",
            "{kept}\n",
            "{env.A B}",
            "{kept.x}",
        ] {
            assert!(Filling::parse(bad).is_err(), "{bad}");
        }
    }
}
