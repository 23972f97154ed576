//! `set`: a value from a prompt, standard input, a file or a variable; never from an argument.

use std::io::{IsTerminal, Read};
use std::path::Path;

use strongroom::{Failure, Kind, Reference, Strongroom, Text, Value};
use strongroom_core::document::{Document, Format};
use strongroom_core::secret::MAX_VALUE_BYTES;
use zeroize::Zeroizing;

use crate::args;
use crate::session::{self, Answer, Outcome, Session, Stop};
use crate::variables::reference_of;

pub fn run(session: &Session, options: &args::Set) -> Answer {
    let strongroom = session.open()?;
    let attributes = attributes(options)?;
    if let Some(path) = &options.batch {
        return batch(session, &strongroom, path, &attributes);
    }
    let text = options.reference.as_deref().unwrap_or_default();
    let reference = reference_of(text, strongroom.shapes())?;
    let value = value(session, options)?;
    let expected = options.expected.as_deref();
    let receipt = session.block_on(strongroom.set(&reference, &value, &attributes, expected))??;
    let version = receipt.version.map(|version| format!(", version {version}")).unwrap_or_default();
    session.reporter.note(format!("set {reference}{version}"));
    Ok(Outcome::Done)
}

fn value(session: &Session, options: &args::Set) -> Result<Value, Failure> {
    let limit = MAX_VALUE_BYTES as u64;
    if let Some(path) = &options.from_file {
        let mut bytes = session::read_file(path, limit)?;
        return Ok(Value::from_bytes(std::mem::take(&mut *bytes)));
    }
    if let Some(name) = &options.from_env {
        let value = session.environment.get(name).ok_or_else(|| {
            Failure::new(Kind::NotFound, "env.not-set", format!("the variable {} is not set", Text::new(name)))
        })?;
        return Ok(Value::from_bytes(value.as_encoded_bytes().to_vec()));
    }
    if std::io::stdin().is_terminal() {
        let typed = rpassword::prompt_password("Value (not shown): ").map_err(|error| {
            Failure::new(Kind::Unavailable, "set.prompt", format!("cannot ask for the value: {error}"))
        })?;
        if typed.is_empty() {
            return Err(Failure::new(Kind::InvalidReference, "set.empty", "no value was typed, and nothing was set")
                .help("for an empty value: strongroom set REF --from-file /dev/null"));
        }
        return Ok(Value::text(typed));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_VALUE_BYTES + 2));
    std::io::stdin()
        .take(limit + 2)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Kind::Unavailable, "set.input", format!("cannot read the value: {error}")))?;
    if !options.keep_newline && bytes.last() == Some(&b'\n') {
        // `echo value | strongroom set` means the value, not the line.
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.len() > MAX_VALUE_BYTES {
        return Err(Failure::new(
            Kind::LimitExceeded,
            "value.too-large",
            format!("the value is larger than {limit} bytes"),
        )
        .help("a secret has at most 1 MiB; keep larger data elsewhere and its key here"));
    }
    Ok(Value::from_bytes(std::mem::take(&mut *bytes)))
}

/// Sets many. Everything is checked before the first is set; each is set by itself, and what failed
/// is told at the end.
fn batch(session: &Session, strongroom: &Strongroom, path: &Path, attributes: &[(String, String)]) -> Answer {
    let entries = read_batch(path, strongroom)?;
    let count = entries.len();
    let mut failures = Vec::new();
    session.block_on(async {
        for (reference, value) in &entries {
            if let Err(failure) = strongroom.set(reference, value, attributes, None).await {
                failures.push(failure);
            }
        }
    })?;
    session.reporter.note(format!("set {} of {count}", count - failures.len()));
    if failures.is_empty() { Ok(Outcome::Done) } else { Err(failures.into()) }
}

fn read_batch(path: &Path, strongroom: &Strongroom) -> Result<Vec<(Reference, Value)>, Stop> {
    let format = Format::of(path, None)?;
    if format == Format::Dotenv {
        return Err(Failure::new(
            Kind::InvalidConfig,
            "set.batch-format",
            "a batch is YAML, JSON or TOML: references are its keys",
        )
        .into());
    }
    let bytes = session::read_file(path, 16 << 20)?;
    let text = strongroom_core::document::text_of(&bytes, session::origin(path))?;
    let pairs = Document::pairs(text, format, session::origin(path)).map_err(Stop::Failed)?;
    let mut failures = Vec::new();
    let mut entries = Vec::new();
    for pair in pairs {
        match Reference::parse(&pair.key, strongroom.shapes()) {
            Ok(reference) => entries.push((reference, Value::text(pair.value.to_string()))),
            Err(error) => failures.push(error.into_failure(&pair.key, session::origin(path), Some(pair.key_position))),
        }
    }
    if failures.is_empty() { Ok(entries) } else { Err(failures.into()) }
}

fn attributes(options: &args::Set) -> Result<Vec<(String, String)>, Failure> {
    let usage = |message: String| Failure::new(Kind::InvalidReference, "usage.attribute", message);
    let mut attributes = Vec::new();
    if let Some(content_type) = &options.content_type {
        attributes.push(("content-type".to_owned(), content_type.clone()));
    }
    if let Some(time) = &options.expires {
        let seconds = seconds_of(time).ok_or_else(|| {
            usage(format!(
                "--expires takes seconds since 1970, or a time such as 2027-01-31T12:00:00Z, not `{}`",
                Text::new(time)
            ))
        })?;
        attributes.push(("expires".to_owned(), seconds.to_string()));
    }
    for tag in &options.tags {
        let Some((key, value)) = tag.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(usage(format!("--tag takes K=V, not `{}`", Text::new(tag))));
        };
        attributes.push((format!("tags.{key}"), value.to_owned()));
    }
    Ok(attributes)
}

/// Seconds since the Unix epoch: as a number, or an RFC 3339 time in UTC.
fn seconds_of(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let numbers = |text: &str, separator| -> Option<Vec<i64>> {
        text.split(separator).map(|part| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?).collect()
    };
    let (&[year, month, day], &[hour, minute, second]) =
        (numbers(date, '-')?.as_slice(), numbers(time, ':')?.as_slice())
    else {
        return None;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    };
    let valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=length).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    // Days from civil, Howard Hinnant: years that begin in March have their leap day last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_or_rfc_3339() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("1800000000", Some(1_800_000_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:59Z", Some(951_868_799)),
            ("2027-01-31T12:00:00Z", Some(1_801_396_800)),
            ("2026-11-21T22:50:35Z", Some(1_795_301_435)),
            ("2027-02-29T00:00:00Z", None),
            ("2027-13-01T00:00:00Z", None),
            ("2027-01-01T24:00:00Z", None),
            ("2027-01-01", None),
            ("tomorrow", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(seconds_of(text).filter(|_| !text.is_empty()), seconds, "{text}");
        }
    }
}
