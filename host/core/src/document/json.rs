//! JSON, read by `serde_json`, which hands out the source text of keys and values as it finds them.
//!
//! Its own error texts can quote values, so only those about syntax are shown.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{Format, Pair, Problems, Raw};

/// The members of an object, in order, duplicates included.
struct Members<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// The members at the top of `text`; `None` after an error.
pub(super) fn read<'t>(text: &'t str, problems: &mut Problems<'t>) -> Option<Vec<Pair<'t>>> {
    object(text, text, true, problems)
}

fn object<'t>(text: &'t str, part: &'t str, top: bool, problems: &mut Problems<'t>) -> Option<Vec<Pair<'t>>> {
    let base = offset(text, part);
    let members: Members<'t> = decode(part, base, problems)?;
    let mut pairs = Vec::with_capacity(members.0.len());
    for (key, value) in members.0 {
        let name_at = offset(text, key.get());
        let value_at = offset(text, value.get());
        let name: String = decode(key.get(), name_at, problems)?;
        let source = value.get();
        let value = match source.as_bytes().first() {
            Some(b'"') => {
                Raw::Scalar(decode::<String>(source, value_at, problems)?.into(), value_at..value_at + source.len())
            }
            Some(b'{') if top && name == problems.wrapper => Raw::Map(object(text, source, false, problems)?),
            Some(b'{') => Raw::Nested("an object"),
            Some(b'[') => Raw::Nested("an array"),
            Some(b'n') => Raw::Missing,
            _ => Raw::Scalar(source.into(), value_at..value_at + source.len()),
        };
        pairs.push(Pair { name: Cow::Owned(name), name_at, is_key: true, value, value_at });
    }
    Some(pairs)
}

/// Where `part`, a piece of `text`, begins in it.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(text.as_ptr().addr()).min(text.len())
}

/// Decodes `part`, which stands at byte `base` of the file.
fn decode<'t, T: Deserialize<'t>>(part: &'t str, base: usize, problems: &mut Problems<'_>) -> Option<T> {
    let error = match serde_json::from_str(part) {
        Ok(decoded) => return Some(decoded),
        Err(error) => error,
    };
    if error.classify() == Category::Data {
        problems.syntax(Format::Json, "the file must be one object of names and values", base);
        return None;
    }
    // serde_json counts bytes in a line, from one, and zero for the end of the line before.
    let line_start = part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    let mut at = (line_start + error.column().saturating_sub(1)).min(part.len());
    while !part.is_char_boundary(at) {
        at -= 1;
    }
    // Its message ends in its own line and column, which count from `part`.
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    problems.syntax(Format::Json, message, base + at);
    None
}
