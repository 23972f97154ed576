//! The vocabulary: what a plugin is asked, and what it answers.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::Failure;

/// Open data: names and texts. Never a value.
pub type Attributes = Vec<(String, String)>;

/// What is asked for. The host has parsed, normalised and authorised it: a plugin never parses a
/// URI, and never decodes anything again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reference {
    /// The host it names, in lower case, if the manifest's references name one.
    pub authority: Option<String>,
    /// The decoded path segments, such as `["secret", "app", "db"]`. None holds a `/`.
    pub path: Vec<String>,
    /// What narrows it, such as `("version", "7")`.
    pub selectors: Attributes,
}

impl Reference {
    /// A reference to `path`; for tests, as the host makes the real ones.
    pub fn new<S: Into<String>>(path: impl IntoIterator<Item = S>) -> Self {
        Self { authority: None, path: path.into_iter().map(Into::into).collect(), selectors: Vec::new() }
    }

    /// The same with one more selector.
    #[must_use]
    pub fn with_selector(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.selectors.push((name.into(), value.into()));
        self
    }

    /// The selector `name`, the first of them if there are several.
    #[must_use]
    pub fn selector(&self, name: &str) -> Option<&str> {
        self.selectors.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// That every selector is one of `known`. A provider that ignores one answers another question
    /// than was asked.
    ///
    /// # Errors
    /// `reference.selector` names the first that is not.
    pub fn only_selectors(&self, known: &[&str]) -> Result<(), Failure> {
        match self.selectors.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                let message = format!("references of this provider have no selector `{name}`");
                Err(Failure::invalid_reference("reference.selector", message))
            }
            None => Ok(()),
        }
    }
}

/// What every call is told besides its reference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// The mount's config as JSON, valid under the manifest's schema. [`Context::config`] reads it.
    pub config: String,
    /// What is left for this call, in milliseconds. The host ends the call then.
    pub deadline_ms: u32,
    /// Open data from the host. Never a reference or a value.
    pub attributes: Attributes,
}

impl Context {
    /// A context with that JSON config and ten seconds; for tests.
    pub fn new(config: impl Into<String>) -> Self {
        Self { config: config.into(), deadline_ms: 10_000, attributes: Vec::new() }
    }

    /// The config as `T`.
    ///
    /// # Errors
    /// `config.invalid`, kind invalid-config, saying what does not fit.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.config).map_err(|error| {
            let text = error.to_string();
            // A place in the host's JSON means nothing to who wrote TOML.
            let place = format!(" at line {} column {}", error.line(), error.column());
            let what = text.strip_suffix(&place).unwrap_or(&text);
            Failure::invalid_config("config.invalid", format!("the mount's config does not fit: {what}"))
        })
    }
}

/// The bytes of a secret. Its `Debug` shows only how many there are.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Valid UTF-8.
    Text(String),
    /// Anything else.
    Binary(Vec<u8>),
}

impl Value {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Its text, if it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.as_bytes().len())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

/// An answer.
///
/// ```
/// use strongroom_plugin::Secret;
///
/// let secret = Secret::text("s3cret").version("7").attribute("created", "2026-01-31");
/// assert!(!format!("{secret:?}").contains("s3cret"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The value.
    pub value: Value,
    /// Which version this is, in the backend's words.
    pub version: Option<String>,
    /// The media type, if the backend knows one.
    pub content_type: Option<String>,
    /// When the value ends, in seconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// How long the host may keep it, in milliseconds.
    pub max_age_ms: Option<u32>,
    /// Tags, times, state. Never a value.
    pub attributes: Attributes,
}

impl Secret {
    /// A secret of that value.
    pub fn new(value: impl Into<Value>) -> Self {
        let value = value.into();
        Self { value, version: None, content_type: None, expires_at: None, max_age_ms: None, attributes: Vec::new() }
    }

    /// A text.
    pub fn text(value: impl Into<String>) -> Self {
        Self::new(Value::Text(value.into()))
    }

    /// Bytes that need not be text.
    pub fn binary(value: impl Into<Vec<u8>>) -> Self {
        Self::new(Value::Binary(value.into()))
    }

    /// The same, of that version.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The same, of that media type.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// The same, ending at `seconds` since the Unix epoch.
    #[must_use]
    pub fn expires_at(mut self, seconds: u64) -> Self {
        self.expires_at = Some(seconds);
        self
    }

    /// The same, to be kept for at most so many milliseconds.
    #[must_use]
    pub fn max_age_ms(mut self, milliseconds: u32) -> Self {
        self.max_age_ms = Some(milliseconds);
        self
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }
}

/// A name in a backend. Never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What is known about it.
    pub attributes: Attributes,
}

impl Entry {
    /// An entry of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), attributes: Vec::new() }
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }
}

/// A page of names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The names, in the backend's order.
    pub entries: Vec<Entry>,
    /// The cursor of the next page, if there is one. It comes back as it is.
    pub next: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// The version that is there now, if the backend has versions.
    pub version: Option<String>,
    /// What the backend says about it.
    pub attributes: Attributes,
}

impl Receipt {
    /// A receipt for that version.
    pub fn version(version: impl Into<String>) -> Self {
        Self { version: Some(version.into()), attributes: Vec::new() }
    }
}
