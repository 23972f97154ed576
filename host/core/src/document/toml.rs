//! TOML, read by the `toml` crate's spanned tables; values that are no strings keep their source text.

use super::{Format, Pair, Problems, Raw};
use ::toml::de::{DeTable, DeValue};

/// The largest file, in bytes, in which the reader goes on after an error. It can make an error of
/// every byte, and keeps them all.
const MAX_RECOVERED_BYTES: usize = 64 << 10;

/// The pairs at the top of `text`; `None` after an error.
pub(super) fn read<'t>(text: &'t str, problems: &mut Problems<'t>) -> Option<Vec<Pair<'t>>> {
    let first = match DeTable::parse(text) {
        Ok(table) => return Some(pairs(text, table.into_inner(), Some(problems.wrapper))),
        Err(first) => first,
    };
    let all = if text.len() > MAX_RECOVERED_BYTES { vec![first] } else { DeTable::parse_recoverable(text).1 };
    for error in all {
        problems.syntax(Format::Toml, error.message(), error.span().unwrap_or_default().start);
    }
    None
}

fn pairs<'t>(text: &'t str, table: DeTable<'t>, wrapper: Option<&str>) -> Vec<Pair<'t>> {
    let mut pairs: Vec<_> = table
        .into_iter()
        .map(|(key, value)| {
            let name_at = key.span().start;
            let name = key.into_inner();
            let span = value.span();
            let value_at = span.start;
            let value = match value.into_inner() {
                DeValue::String(decoded) => Raw::Scalar(decoded, span),
                DeValue::Table(table) if wrapper == Some(&*name) => Raw::Map(self::pairs(text, table, None)),
                DeValue::Table(_) => Raw::Nested("a table"),
                DeValue::Array(_) => Raw::Nested("an array"),
                DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                    Raw::Scalar(text.get(span.clone()).unwrap_or_default().into(), span)
                }
            };
            Pair { name, name_at, is_key: true, value, value_at }
        })
        .collect();
    // The crate sorts its tables by key; a document keeps the file's order.
    pairs.sort_by_key(|pair| pair.name_at);
    pairs
}
