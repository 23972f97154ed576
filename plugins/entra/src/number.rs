//! Numbers that some services write as texts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Seconds, as a number or as a text of digits: `3599` or `"3599"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

/// A number or a text, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberOrText {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = NumberOrText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number that is not negative, or a text")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<NumberOrText, E> {
                Ok(NumberOrText::Number(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<NumberOrText, E> {
                Ok(NumberOrText::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => Ok(Self(number)),
            // What was there is not repeated: it may be anything.
            NumberOrText::Text(text) => {
                digits(&text).map(Self).ok_or_else(|| Error::custom("a text that is no number of seconds"))
            }
        }
    }
}

/// A number of digits alone.
#[must_use]
pub fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let read = |text| serde_json::from_str::<Seconds>(text).ok().map(|Seconds(seconds)| seconds);
        assert_eq!(read("3599"), Some(3599));
        assert_eq!(read("\"3599\""), Some(3599));
        for text in ["-1", "\"-1\"", "\"\"", "\"1.5\"", "1.5", "null", "\" 1\"", "\"99999999999999999999\""] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
