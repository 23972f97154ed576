//! A value and what is known about it.
//!
//! A [`Secret`] has no `Display`, no `Serialize` and a `Debug` that shows nothing of the value; its
//! memory is overwritten when it is dropped. Whoever wants the bytes says [`Secret::expose`], which
//! is easy to search for.

use std::fmt;

use zeroize::Zeroizing;

use crate::Text;

/// The largest value that is accepted, in bytes: 1 MiB. More is `limit-exceeded`.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// The bytes of a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// UTF-8 text, which nearly every secret is.
    Text(Zeroizing<String>),
    /// Anything else.
    Binary(Zeroizing<Vec<u8>>),
}

impl Value {
    /// A text value. The string is moved, not copied.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Zeroizing::new(text.into()))
    }

    /// Bytes, as text where they are UTF-8. The vector is moved, not copied.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::text(text),
            Err(error) => Self::Binary(Zeroizing::new(error.into_bytes())),
        }
    }

    /// The bytes. The caller keeps them out of logs, arguments and files that others can read.
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The value as text, if it is text.
    pub fn expose_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(..)",
            Self::Binary(_) => "Binary(..)",
        })
    }
}

/// A resolved secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: Value,
    /// What is known about it.
    pub metadata: Metadata,
}

/// What a provider says about a value. None of it is secret; all texts are the provider's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The version that was read.
    pub version: Option<Text>,
    /// A media type, or whatever the backend calls the content type.
    pub content_type: Option<Text>,
    /// Seconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// How long the provider lets the host keep the value, in milliseconds.
    pub max_age_ms: Option<u32>,
    /// Tags, created, updated, enabled and the like.
    pub attributes: Vec<(Text, Text)>,
}

impl Secret {
    /// Puts a value and its metadata together.
    pub fn new(value: Value, metadata: Metadata) -> Self {
        Self { value, metadata }
    }

    /// The bytes. The caller keeps them out of logs, arguments and files that others can read.
    pub fn expose(&self) -> &[u8] {
        self.value.expose()
    }

    /// The value as text, if it is text.
    pub fn expose_text(&self) -> Option<&str> {
        self.value.expose_text()
    }

    /// The value itself.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Takes the value out.
    pub fn into_value(self) -> Value {
        self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        let secret = Secret::new(Value::text("canary-7f"), Metadata::default());
        assert_eq!(format!("{secret:?} {:?}", secret.value()), "Secret(..) Text(..)");
        assert_eq!(format!("{:?}", Value::from_bytes(vec![0xff])), "Binary(..)");
    }
}
