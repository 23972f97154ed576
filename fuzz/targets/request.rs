//! The target of a request: a path and a query are read in one way, or refused; what is read is written as something
//! that reads the same.
//!
//! Input: a line with the target; then a line with the names of the parameters that are known.

use crate::doors::path::parts;
use crate::doors::query::Query;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (target, names) = text.split_once('\n').unwrap_or((text, "reference deleted"));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    read_path(path);
    let names: Vec<&str> = names.split(' ').take(4).collect();
    read_query(query, &names);
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02x}") })
        .collect()
}

fn read_path(path: &str) {
    let parts = match parts(path) {
        Ok(parts) => parts,
        Err(failure) => return assert_eq!(failure.code(), "request.path"),
    };
    assert!(!parts.is_empty());
    for part in &parts {
        let strange = |c: char| c == '/' || c == '\\' || c.is_control();
        assert!(!part.is_empty() && part != "." && part != ".." && !part.contains(strange), "{part:?} in {path:?}");
    }
    // No part more or less than anybody else would count.
    assert_eq!(parts.len(), path.trim_start_matches('/').trim_end_matches('/').split('/').count(), "{path:?}");
    let written: String = parts.iter().map(|part| format!("/{}", escaped(part))).collect();
    assert_eq!(self::parts(&written).unwrap(), parts, "{path:?} as {written:?}");
}

fn read_query(query: Option<&str>, names: &[&str]) {
    let read = match Query::parse(query, names) {
        Ok(read) => read,
        Err(failure) => return assert_eq!(failure.code(), "request.query"),
    };
    let mut written = Vec::new();
    for name in names {
        let Some(value) = read.get(name) else {
            assert!(read.need(name).is_err() && read.flag(name) == Ok(false), "{name}");
            continue;
        };
        assert_eq!(read.need(name), Ok(value));
        assert_eq!(read.flag(name).is_ok(), value == "true" || value == "false");
        assert!(!value.contains('\u{fffd}'));
        if written.iter().all(|(there, _)| there != name) {
            written.push((*name, value));
        }
    }
    // Each of them stood there once: as many as there are, in whatever order.
    let there = query.unwrap_or_default().split('&').filter(|part| !part.is_empty()).count();
    assert_eq!(there, written.len(), "{query:?}");
    let text: Vec<String> =
        written.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    let text = text.join("&");
    let again = Query::parse(Some(&text), names).unwrap();
    for name in names {
        assert_eq!(again.get(name), read.get(name), "{query:?}");
    }
}
