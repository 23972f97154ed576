//! Lists of secrets and versions, in pages. A page may be empty and still have one after it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Vault, missing};
use crate::http::{Answer, Call};

/// The most entries of a page, and how many there are if nobody says.
const PAGE_MOST: usize = 25;

pub(super) fn secrets(vault: &Vault, call: &Call, deleted: bool) -> Result<Answer, Answer> {
    let entry = |secret: &super::model::Secret| {
        let mut item = vault.item(secret, secret.latest()?, false);
        if deleted {
            vault.mark_deleted(secret, &mut item);
        }
        Some(item)
    };
    page(vault, call, vault.listed(deleted).into_iter().filter_map(entry).collect())
}

pub(super) fn versions(vault: &Vault, call: &Call, name: &str) -> Result<Answer, Answer> {
    let (secret, _) = vault.live(name, None).ok_or_else(|| missing(name, None))?;
    page(vault, call, secret.versions().iter().map(|version| vault.item(secret, version, true)).collect())
}

fn page(vault: &Vault, call: &Call, entries: Vec<Value>) -> Result<Answer, Answer> {
    let asked = call.parameter("maxresults");
    let most = match asked.map(str::parse::<usize>) {
        None => vault.page_size.unwrap_or(PAGE_MOST).clamp(1, PAGE_MOST),
        Some(Ok(most @ 1..=PAGE_MOST)) => most,
        Some(_) => return Err(Answer::error(400, "BadParameter", "Invalid maxresults: it is from 1 to 25.")),
    };
    let (start, gap) = match call.parameter("$skiptoken") {
        None => (0, vault.empty_pages),
        Some(token) => read(token)
            .ok_or_else(|| Answer::error(400, "BadParameter", "The skiptoken parameter is malformed or invalid."))?,
    };
    let (shown, next) = if gap {
        (Vec::new(), Some((start, false)))
    } else {
        let end = start.saturating_add(most);
        let rest = entries.len() > end;
        (entries.into_iter().skip(start).take(most).collect::<Vec<_>>(), rest.then_some((end, vault.empty_pages)))
    };
    let link = next.map(|(start, gap)| {
        let version = call.parameter("api-version").unwrap_or_default();
        let token = STANDARD.encode(format!("2!{start}!{}", u8::from(gap)));
        let token = utf8_percent_encode(&token, NON_ALPHANUMERIC);
        let most = asked.map(|most| format!("&maxresults={most}")).unwrap_or_default();
        format!("https://{}:443{}?api-version={version}&$skiptoken={token}{most}", call.host, call.path)
    });
    Ok(Answer::json(200, &json!({"value": shown, "nextLink": link})))
}

/// Where a page starts, and whether an empty one comes first.
fn read(token: &str) -> Option<(usize, bool)> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (start, gap) = text.strip_prefix("2!")?.split_once('!')?;
    Some((start.parse().ok()?, gap == "1"))
}
