//! What of an answer a guest may see.
//!
//! Status and body, and few headers. Where the host injected a token, an answer that holds it, or one
//! that cannot be searched for it, ends the call: an echoing backend must not give a token away.

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName};
use strongroom_core::manifest::HttpRule;
use strongroom_core::mask::Masker;

use crate::net::Answer;

/// The headers that every guest sees.
const ALWAYS: [&str; 5] = ["content-length", "content-type", "date", "etag", "retry-after"];

/// Why an answer is given to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Screened {
    /// What the host injected came back.
    #[error("the backend sent back the credential that the host had added to the request")]
    Echo,
    /// It is encoded, although the host asked for it plain.
    #[error("the backend sent an encoded answer, which cannot be searched for the credential")]
    Encoded,
}

/// Whether a guest may see this header of an answer, by any rule of its plugin.
pub(crate) fn is_shown(name: &HeaderName, rules: &[HttpRule]) -> bool {
    ALWAYS.contains(&name.as_str()) || rules.iter().any(|rule| rule.answers.contains(name.as_str()))
}

/// The headers that the guest gets.
///
/// # Errors
/// [`Screened`] if it must get nothing of this answer.
pub(crate) fn screen(rule: &HttpRule, answer: &Answer, added: &[Masker]) -> Result<HeaderMap, Screened> {
    let holds = |bytes: &[u8]| added.iter().any(|finder| finder.finds(bytes));
    if !added.is_empty() {
        let encoded = answer.headers.get_all(CONTENT_ENCODING).iter().any(|value| value.as_bytes() != b"identity");
        if encoded {
            return Err(Screened::Encoded);
        }
        if holds(&answer.body) {
            return Err(Screened::Echo);
        }
    }
    let mut shown = HeaderMap::new();
    for (name, value) in &answer.headers {
        if ALWAYS.contains(&name.as_str()) || rule.answers.contains(name.as_str()) {
            if holds(value.as_bytes()) {
                return Err(Screened::Echo);
            }
            shown.append(name, value.clone());
        }
    }
    Ok(shown)
}
