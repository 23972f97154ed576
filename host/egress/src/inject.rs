//! What the host adds to a request, after the decision and before the bytes leave.
//!
//! A token lives here and in the broker's cache, and nowhere a guest could reach: it is put into the
//! request's headers, marked as sensitive, and searched for in the answer.

use std::future::Future;
use std::pin::Pin;

use http::header::{ACCEPT_ENCODING, HeaderName};
use http::{HeaderMap, HeaderValue};
use strongroom_core::manifest::http::CredentialUse;
use strongroom_core::mask::{MIN_BYTES, Masker, Masks};
use strongroom_core::{Failure, Kind};
use zeroize::Zeroizing;

/// The longest token, in bytes: above what any server takes in a header.
const MAX_TOKEN_BYTES: usize = 64 << 10;

/// A token, and what finds it again.
#[derive(Clone)]
pub struct Token {
    value: Zeroizing<String>,
    scheme: String,
    finder: Masker,
}

impl Token {
    /// Takes a token as its auth plugin gave it. `scheme` is `Bearer` in nearly every case.
    ///
    /// # Errors
    /// `protocol` if it is too short to be searched for in answers, too long, or cannot stand in a header.
    pub fn new(value: Zeroizing<String>, scheme: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Err(Failure::new(Kind::Protocol, "token.form", format!("the token {why}")));
        if value.len() < MIN_BYTES {
            return wrong("is too short to be told from ordinary text in an answer");
        }
        if value.len() > MAX_TOKEN_BYTES {
            return wrong("is longer than 64 KiB");
        }
        if !value.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
            return wrong("holds blanks or other characters that cannot stand in a header");
        }
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if scheme.is_empty() || scheme.len() > 64 || !scheme.bytes().all(token) {
            return wrong("has a scheme that is no word");
        }
        let mut masks = Masks::new();
        masks.add("token", value.as_bytes());
        Ok(Self { value, scheme: scheme.to_owned(), finder: masks.build() })
    }

    /// Whether `bytes` hold the token: plain, percent-encoded, in base64 at any alignment, in hex, or
    /// as a JSON text.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.finder.finds(bytes)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What getting a token comes to.
pub type Getting<'a> = Pin<Box<dyn Future<Output = Result<Token, Failure>> + Send + 'a>>;

/// Where the tokens of one mount's credential come from. The broker has them.
pub trait Tokens: Send + Sync {
    /// A token for `audience`, which the credential must allow.
    fn token<'a>(&'a self, audience: &'a str) -> Getting<'a>;
}

/// Puts the token where the rule says, and asks for an answer that can be searched.
pub(crate) fn inject(headers: &mut HeaderMap, used: &CredentialUse, token: &Token) -> Result<(), Failure> {
    let unfit =
        || Failure::new(Kind::Protocol, "token.form", "the token cannot stand in the header that the rule names");
    let name = HeaderName::from_bytes(used.header.as_bytes()).map_err(|_| unfit())?;
    let text = Zeroizing::new(used.value(&token.scheme, &token.value));
    let mut value = HeaderValue::from_str(&text).map_err(|_| unfit())?;
    value.set_sensitive(true);
    headers.insert(name, value);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(())
}
