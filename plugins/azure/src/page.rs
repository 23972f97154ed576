//! Pages: what `nextLink` may say, and asking for the page after.
//!
//! A link is never followed as it stands. It must name the list that was asked, on the server that was
//! asked; of its query only the keys that turn a page are taken, and the next request is made anew
//! with them. Those pairs, encoded, are the cursor.

use strongroom_plugin::Failure;
use strongroom_plugin::http::Request;

/// Keys of a link that the next request has anyway.
const OURS: [&str; 2] = ["api-version", "maxresults"];

/// The cursor of the page after this one; `None` at the end: the link is absent, null or empty.
///
/// `origin` and `path` are the list that was asked, `keys` what a link of this service turns the page
/// with, `cursor` the one that this page was asked with.
///
/// # Errors
/// `azure.next-link`, kind protocol: it leads to another server or another list, has a key that is
/// none of `keys`, or leads to this very page.
pub fn next(
    link: Option<&str>,
    origin: &str,
    path: &[&str],
    keys: &[&str],
    cursor: Option<&str>,
) -> Result<Option<String>, Failure> {
    let Some(link) = link.filter(|link| !link.is_empty()) else { return Ok(None) };
    let wrong = |why: &str| Failure::protocol("azure.next-link", format!("the link to the list's next page {why}"));
    let (address, query) = link.split_once('?').unwrap_or((link, ""));
    let rest = address.strip_prefix("https://").ok_or_else(|| wrong("is no https address"))?;
    let (authority, list) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |authority: &str| authority.strip_suffix(":443").unwrap_or(authority).to_ascii_lowercase();
    if plain(authority) != plain(origin.strip_prefix("https://").unwrap_or(origin)) {
        return Err(wrong("leads to another server, where no token is sent"));
    }
    let list: Option<Vec<String>> = list.trim_end_matches('/').split('/').map(decode).collect();
    let same = |list: Vec<String>| {
        list.len() == path.len() && list.iter().zip(path).all(|(given, asked)| given.eq_ignore_ascii_case(asked))
    };
    if !list.is_some_and(same) {
        return Err(wrong("leads to another list"));
    }
    let mut found: Vec<&str> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let key = decode(pair.split('=').next().unwrap_or_default()).ok_or_else(|| wrong("cannot be read"))?;
        if keys.contains(&key.as_str()) {
            found.push(pair);
        } else if !OURS.contains(&key.as_str()) {
            return Err(wrong("has a parameter that is not known, so that it cannot be followed"));
        }
    }
    let next = found.join("&");
    if next.is_empty() || Some(next.as_str()) == cursor {
        return Err(wrong("leads to the page that holds it"));
    }
    Ok(Some(next))
}

/// `request` for the page of `cursor`.
///
/// # Errors
/// `azure.cursor`, kind invalid-reference: no cursor of ours.
pub fn turned(request: Request, cursor: Option<&str>) -> Result<Request, Failure> {
    let pairs = cursor.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.into_iter().try_fold(request, |request, pair| {
        let pair = pair.split_once('=').and_then(|(key, value)| Some((decode(key)?, decode(value)?)));
        let (key, value) = pair.ok_or_else(|| Failure::invalid_reference("azure.cursor", "that is no cursor"))?;
        Ok(request.query(&key, value.as_str()))
    })
}

/// Percent-decodes once. `None` if it is not UTF-8, or a percent sign stands alone.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_plugin::http::{self, Response};
    use strongroom_plugin::testing::Host;

    const ORIGIN: &str = "https://myvault.vault.azure.net";

    fn after(link: &str) -> Result<Option<String>, Failure> {
        next(Some(link), ORIGIN, &["secrets"], &["$skiptoken"], Some("$skiptoken=0"))
    }

    #[test]
    fn a_link_of_the_same_list_turns_the_page() {
        assert_eq!(next(None, ORIGIN, &["secrets"], &["$skiptoken"], None).unwrap(), None);
        assert_eq!(after("").unwrap(), None);
        for (link, cursor) in [
            (
                "https://myvault.vault.azure.net:443/secrets?api-version=7.4&$skiptoken=eyJO%3D%3D&maxresults=2",
                "$skiptoken=eyJO%3D%3D",
            ),
            ("https://MyVault.vault.azure.net/Secrets/?%24skiptoken=1", "%24skiptoken=1"),
            ("https://myvault.vault.azure.net/secrets?$skiptoken=a=b", "$skiptoken=a=b"),
        ] {
            assert_eq!(after(link).unwrap().as_deref(), Some(cursor), "{link}");
        }
    }

    #[test]
    fn a_link_to_anywhere_else_is_refused() {
        for link in [
            "http://myvault.vault.azure.net/secrets?$skiptoken=1",
            "//myvault.vault.azure.net/secrets?$skiptoken=1",
            "/secrets?$skiptoken=1",
            "https://evil.example/secrets?$skiptoken=1",
            "https://myvault.vault.azure.net.evil.example/secrets?$skiptoken=1",
            "https://myvault.vault.azure.net@evil.example/secrets?$skiptoken=1",
            "https://x@myvault.vault.azure.net/secrets?$skiptoken=1",
            "https://myvault.vault.azure.net:444/secrets?$skiptoken=1",
            "https://myvault.vault.azure.net/deletedsecrets?$skiptoken=1",
            "https://myvault.vault.azure.net/secrets/x?$skiptoken=1",
            "https://myvault.vault.azure.net?$skiptoken=1",
            // No way on, or none that is known.
            "https://myvault.vault.azure.net/secrets",
            "https://myvault.vault.azure.net/secrets?api-version=7.4",
            "https://myvault.vault.azure.net/secrets?$skiptoken=1&filter=x",
            "https://myvault.vault.azure.net/secrets?$skiptoken=1&%zz=x",
            // This very page.
            "https://myvault.vault.azure.net/secrets?$skiptoken=0",
        ] {
            assert_eq!(after(link).unwrap_err().code, "azure.next-link", "{link}");
        }
    }

    #[test]
    fn a_cursor_is_sent_as_it_was_meant() {
        let host = Host::new().answer(Response::new(200, [], "")).answer(Response::new(200, [], ""));
        let request = || http::get(ORIGIN).path(["secrets"]);
        turned(request(), Some("$skiptoken=eyJO%3D%3D&%24skip=1")).unwrap().send().unwrap();
        turned(request(), None).unwrap().send().unwrap();
        assert_eq!(
            host.asked(),
            [
                "GET https://myvault.vault.azure.net/secrets?%24skiptoken=eyJO%3D%3D&%24skip=1",
                "GET https://myvault.vault.azure.net/secrets"
            ]
        );
        for cursor in ["x", "a=%", "%f=1", "a=%ff"] {
            assert_eq!(turned(request(), Some(cursor)).unwrap_err().code, "azure.cursor", "{cursor}");
        }
    }
}
