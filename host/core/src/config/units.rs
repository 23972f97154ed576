//! Durations (`1h30m`) and sizes (`32MiB`) as people write them in a config.
//!
//! A number without a unit is refused: nobody can tell seconds from milliseconds.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Unexpected, Visitor};

/// Units of time, longest first, in milliseconds.
const TIME: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of size, in bytes (IEC 80000-13).
const SIZE: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a duration: whole numbers, each with one of the units `d`, `h`, `m`, `s`, `ms`, from the
/// longest to the shortest, each at most once: `30s`, `1h30m`, `200ms`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut units = TIME.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, tail) = after.split_at_checked(end)?;
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// Writes a duration as [`parse_duration`] reads it, cut to milliseconds.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut shown = String::new();
    for (unit, factor) in TIME {
        if rest >= factor {
            shown += &format!("{}{unit}", rest / factor);
            rest %= factor;
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

/// Reads a size in bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let (_, factor) = SIZE.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// Writes a size as [`parse_size`] reads it, in the largest unit that leaves it whole.
pub fn show_size(bytes: u64) -> String {
    let (unit, factor) = SIZE.into_iter().find(|(_, f)| bytes > 0 && bytes.is_multiple_of(*f)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

/// A duration in a config.
#[derive(Debug, Clone, Copy)]
pub(super) struct DurationText(pub(super) Duration);

/// A size in a config.
#[derive(Debug, Clone, Copy)]
pub(super) struct SizeText(pub(super) u64);

macro_rules! from_text {
    ($type:ident, $parse:ident, $expecting:literal, $name:literal, $pattern:literal, $example:literal) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextVisitor;

                impl Visitor<'_> for TextVisitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        $parse(text).map($type).ok_or_else(|| E::invalid_value(Unexpected::Other("text"), &self))
                    }
                }

                deserializer.deserialize_str(TextVisitor)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}

from_text!(
    DurationText,
    parse_duration,
    "a duration in quotes, such as \"30s\", \"1h30m\" or \"200ms\"",
    "Duration",
    r"^(\d+(ms|[smhd]))+$",
    "1h30m"
);
from_text!(
    SizeText,
    parse_size,
    "a size in quotes, such as \"32MiB\", with the unit B, KiB, MiB or GiB",
    "Size",
    r"^\d+(B|KiB|MiB|GiB)$",
    "32MiB"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("200ms", 200),
            ("1d", 86_400_000),
            ("1m5ms", 60_005),
            ("0s", 0),
            ("90s", 90_000),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration), "{text}");
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "1m30s");
        for bad in [
            "",
            "30",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            "30m1h",
            "1s1s",
            "1w",
            "1S",
            "99999999999999999999s",
            "300000000000d",
            "1sx",
            "1ms2",
            "ä",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("32MiB", 33_554_432), ("1B", 1), ("64KiB", 65_536), ("4GiB", 4_294_967_296), ("0B", 0)] {
            assert_eq!(parse_size(text), Some(bytes));
            assert_eq!(show_size(bytes), text);
        }
        assert_eq!(show_size(1025), "1025B");
        for bad in ["", "32", "32MB", "32 MiB", "1.5MiB", "-1B", "MiB", "99999999999GiB", "1BB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
