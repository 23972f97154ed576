//! Values as KV version 2 has them: a secret is a map.
//!
//! A stored text that is a JSON object is that map; any other text is the map `{"value": text}`. What is written goes
//! the way back, so that a map that was written is the map that is read, and a plain text stays one. Numbers and the order
//! of members stay as they were written: nothing passes through a float.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// How deep a map that is written may be nested. Readers of JSON begin to refuse at about as much.
const MAX_DEPTH: usize = 100;

/// The name under which a plain text is read.
const PLAIN: &str = "value";

/// The members of a JSON object, none of them twice, each with its value as written.
#[derive(Debug)]
pub(super) struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
                let mut names = HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if !names.insert(name.clone()) {
                        return Err(de::Error::custom("a member stands twice"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// The members of a text that is a JSON object, and one in which no member stands twice.
fn members(text: &str) -> Option<Members> {
    // Nearly every secret is no JSON, and needs no parser to tell.
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The map of a stored text, as JSON.
pub(super) fn to_map(stored: &str) -> Option<Box<RawValue>> {
    match members(stored) {
        Some(_) => RawValue::from_string(stored.trim().to_owned()).ok(),
        None => {
            let mut map = String::with_capacity(stored.len() + 32);
            map.push('{');
            push_string(&mut map, PLAIN);
            map.push(':');
            push_string(&mut map, stored);
            map.push('}');
            RawValue::from_string(map).ok()
        }
    }
}

/// The text to store of a map; `None` for one that is nested too deeply, or is none.
pub(super) fn to_store(map: &RawValue) -> Option<Zeroizing<String>> {
    let Members(members) = serde_json::from_str(map.get()).ok()?;
    if let [(name, value)] = members.as_slice()
        && name == PLAIN
        && let Ok(text) = serde_json::from_str::<String>(value.get())
        && self::members(&text).is_none()
    {
        return Some(Zeroizing::new(text));
    }
    let mut stored = Zeroizing::new(String::with_capacity(map.get().len()));
    push_members(&mut stored, &members)?;
    Some(stored)
}

/// `map` changed by a JSON merge patch (RFC 7396). `None` for what is nested too deeply, or is no object.
pub(super) fn merged(map: &RawValue, patch: &RawValue) -> Option<Box<RawValue>> {
    let mut changed = String::with_capacity(map.get().len() + patch.get().len());
    merge(&mut changed, Some(map.get()), patch.get(), 0)?;
    RawValue::from_string(changed).ok()
}

/// Writes what `patch` makes of `target`. Anything but an object takes its place.
fn merge(out: &mut String, target: Option<&str>, patch: &str, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    if !patch.starts_with('{') {
        out.push_str(patch);
        return Some(());
    }
    let Members(changes) = serde_json::from_str(patch).ok()?;
    let Members(members) = target.and_then(members).unwrap_or(Members(Vec::new()));
    // Looked up, and not searched for: a body has room for hundreds of thousands.
    let by_name: HashMap<&str, &str> = changes.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
    let there: HashSet<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let kept = members.iter().map(|(name, value)| (name, Some(value.get())));
    let new = changes.iter().filter(|(name, _)| !there.contains(name.as_str()));
    let mut first = true;
    out.push('{');
    for (name, value) in kept.chain(new.map(|(name, _)| (name, None))) {
        let change = by_name.get(name.as_str()).copied();
        if change == Some("null") {
            continue;
        }
        if !first {
            out.push(',');
        }
        first = false;
        push_string(out, name);
        out.push(':');
        match change {
            Some(change) => merge(out, value, change, depth + 1)?,
            None => out.push_str(value.unwrap_or("null")),
        }
    }
    out.push('}');
    Some(())
}

fn push_members(out: &mut String, members: &[(String, Box<RawValue>)]) -> Option<()> {
    out.push('{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        push_compact(out, value.get())?;
    }
    out.push('}');
    Some(())
}

/// Writes JSON without the blanks that mean nothing. `None` if it is nested too deeply.
fn push_compact(out: &mut String, json: &str) -> Option<()> {
    let (mut depth, mut in_string, mut escaped) = (1_usize, false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            match c {
                ' ' | '\t' | '\r' | '\n' => continue,
                '"' => in_string = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                _ => {}
            }
            if depth > MAX_DEPTH {
                return None;
            }
        }
        out.push(c);
    }
    Some(())
}

/// Writes a JSON string, with the escapes that must be and no others.
fn push_string(out: &mut String, text: &str) {
    // A string always has a JSON form.
    out.push_str(&Zeroizing::new(serde_json::to_string(text).unwrap_or_default()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(serde_json::to_string_pretty(value).unwrap()).unwrap()
    }

    fn parsed(raw: &RawValue) -> Value {
        serde_json::from_str(raw.get()).unwrap()
    }

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            texts().prop_map(Value::from),
        ];
        scalar.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((names(), inner), 0..4).prop_map(|all| Value::Object(all.into_iter().collect())),
            ]
        })
    }

    fn names() -> impl Strategy<Value = String> {
        prop_oneof![Just("value".to_owned()), "[a-z\"\\\\\u{e9} ]{0,3}"]
    }

    fn texts() -> impl Strategy<Value = String> {
        let shapes = [
            "",
            "{}",
            " {\"a\":1} ",
            "{\"value\":\"x\"}",
            "{\"a\":1,\"a\":2}",
            "[1]",
            "{",
            "\"x\"",
            "{\"value\":\"{}\"}",
        ];
        prop_oneof![any::<String>(), prop::sample::select(shapes.to_vec()).prop_map(str::to_owned)]
    }

    fn maps() -> impl Strategy<Value = Value> {
        prop::collection::vec((names(), values()), 0..4).prop_map(|all| Value::Object(all.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn a_map_that_was_written_is_read(map in maps()) {
            let stored = to_store(&raw(&map)).unwrap();
            prop_assert_eq!(parsed(&to_map(&stored).unwrap()), map);
        }

        #[test]
        fn a_text_that_was_stored_stays_as_it_was_or_means_the_same(text in texts()) {
            let map = to_map(&text).unwrap();
            let again = to_store(&map).unwrap();
            if members(&text).is_none() {
                prop_assert_eq!(&*again, &text);
            }
            prop_assert_eq!(parsed(&to_map(&again).unwrap()), parsed(&map));
        }

        #[test]
        fn a_patch_is_one_of_rfc_7396(target in maps(), patch in maps()) {
            fn by_the_book(target: Value, patch: &Value) -> Value {
                let Value::Object(changes) = patch else { return patch.clone() };
                let mut members = match target { Value::Object(members) => members, _ => serde_json::Map::new() };
                for (name, change) in changes {
                    match change {
                        Value::Null => drop(members.shift_remove(name)),
                        _ => {
                            let changed = by_the_book(members.get(name).cloned().unwrap_or(Value::Null), change);
                            members.insert(name.clone(), changed);
                        }
                    }
                }
                Value::Object(members)
            }
            let changed = merged(&raw(&target), &raw(&patch)).unwrap();
            prop_assert_eq!(parsed(&changed), by_the_book(target, &patch));
        }
    }

    #[test]
    fn plain_texts_stay_plain_and_numbers_exact() {
        for (map, stored) in [
            (json!({"value": "s3cret"}), "s3cret"),
            (json!({"value": ""}), ""),
            (json!({"value": "[1]"}), "[1]"),
            (json!({"value": "{}"}), "{\"value\":\"{}\"}"),
            (json!({"value": 7}), "{\"value\":7}"),
            (json!({"value": "a", "user": "b"}), "{\"value\":\"a\",\"user\":\"b\"}"),
            (json!({}), "{}"),
        ] {
            assert_eq!(*to_store(&raw(&map)).unwrap(), stored);
        }
        let exact = RawValue::from_string("{ \"n\" : [ 123456789012345678901234567890.10 , \" \\\" \" ] }".to_owned());
        assert_eq!(*to_store(&exact.unwrap()).unwrap(), "{\"n\":[123456789012345678901234567890.10,\" \\\" \"]}");
    }

    #[test]
    fn what_is_no_map_or_too_deep_is_not_stored() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for bad in ["[]", "\"a\"", "null", "{\"a\":1,\"a\":2}", &deep] {
            assert!(to_store(&RawValue::from_string(bad.to_owned()).unwrap()).is_none());
        }
        let patch = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
        let empty = RawValue::from_string("{}".to_owned()).unwrap();
        assert!(merged(&empty, &RawValue::from_string(patch).unwrap()).is_none());
    }

    #[test]
    fn a_patch_with_as_many_names_as_a_body_has_room_for_takes_no_square_of_them() {
        let all: Vec<String> = (0..150_000).map(|n| format!("\"{n}\":1")).collect();
        let map = RawValue::from_string(format!("{{{}}}", all.join(","))).unwrap();
        assert_eq!(merged(&map, &map).unwrap().get(), map.get());
    }
}
