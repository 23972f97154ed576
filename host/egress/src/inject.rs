//! What the host adds to a request, after the decision and before the bytes leave.
//!
//! A token lives here and in the broker's cache, and nowhere a guest could reach: it is put into the
//! request's headers, marked as sensitive, and searched for in the answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use strongroom_core::manifest::http::CredentialUse;
use strongroom_core::manifest::{Filling, Held, Injection};
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

    /// What finds it: plain, percent-encoded, in base64 at any alignment, in hex, or as a JSON text.
    pub(crate) fn finder(&self) -> Masker {
        self.finder.clone()
    }

    /// Its text, and its scheme: for a program that an operator lets have the tokens of a credential.
    pub fn expose(&self) -> (&Zeroizing<String>, &str) {
        (&self.value, &self.scheme)
    }

    /// Whether both are the same token.
    pub fn is(&self, other: &Self) -> bool {
        self.value == other.value && self.scheme == other.scheme
    }
}

/// What a backend wants of another token, in the words of its 401.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Challenge {
    /// The tenant that it wants the token from.
    pub tenant: Option<String>,
    /// Claims that it wants in the token, as JSON.
    pub claims: Option<String>,
}

/// What only the host knows and may add to one call's requests: sealed inputs, variables, what was kept.
/// Overwritten when it is dropped.
#[derive(Default)]
pub struct Holdings {
    held: BTreeMap<Held, Zeroizing<String>>,
    key: Option<ChallengeKey>,
}

/// Reads the key that a challenge of Azure Arc's agent names by the path of its file, or says why that is
/// none of the agent's.
pub type ChallengeKey = Arc<dyn Fn(&str) -> Result<Zeroizing<String>, Failure> + Send + Sync>;

impl std::fmt::Debug for Holdings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.held.keys()).finish()
    }
}

impl Holdings {
    /// Takes in a value. An empty one counts as absent.
    pub fn insert(&mut self, held: Held, value: Zeroizing<String>) {
        if !value.is_empty() {
            self.held.insert(held, value);
        }
    }

    /// Takes in who reads the key that Azure Arc's agent asks for.
    pub fn answer_with(&mut self, key: ChallengeKey) {
        self.key = Some(key);
    }

    /// What is there, by the names that manifests use: `sealed.NAME`, `env.NAME`, `kept`.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.held.keys().map(|held| match held {
            Held::Sealed(name) => format!("sealed.{name}"),
            Held::Env(name) => format!("env.{name}"),
            Held::Kept => "kept".to_owned(),
        })
    }

    /// Whether everything that `injection` adds is there.
    pub fn fill(&self, injection: &Injection) -> bool {
        injection.holes().all(|held| self.held.contains_key(held))
    }

    fn text(&self, filling: &Filling) -> Option<Zeroizing<String>> {
        let length =
            filling.parts().map(|part| part.map_or_else(|held| self.held.get(held).map_or(0, |v| v.len()), str::len));
        // Room from the start: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(length.sum()));
        for part in filling.parts() {
            match part {
                Ok(literal) => text.push_str(literal),
                Err(held) => text.push_str(self.held.get(held)?),
            }
        }
        Some(text)
    }
}

/// Adds what `injection` says to headers and body, and gives what finds it in the answer. What the plugin
/// itself gave to be kept is no secret to it, so that is not searched for.
pub(crate) fn add(
    headers: &mut HeaderMap,
    body: &mut Zeroizing<Vec<u8>>,
    injection: &Injection,
    holdings: &Holdings,
) -> Result<Vec<Masker>, Failure> {
    let unfit = |why: &str| Failure::new(Kind::InvalidConfig, "inject.form", format!("what the host is to add {why}"));
    let mut finders = Vec::new();
    let mut filled = |filling: &Filling| {
        let text = holdings.text(filling).ok_or_else(|| unfit("is not there"))?;
        for (held, value) in filling.holes().filter_map(|held| holdings.held.get_key_value(held)) {
            if *held == Held::Kept {
                continue;
            }
            if value.len() < MIN_BYTES {
                return Err(unfit("is too short to be told from ordinary text in an answer"));
            }
            let mut masks = Masks::new();
            masks.add("injected", value.as_bytes());
            finders.push(masks.build());
        }
        Ok(text)
    };
    if let Some((name, filling)) = &injection.header {
        let text = filled(filling)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit("has no header to go to"))?;
        let mut value = HeaderValue::from_str(&text).map_err(|_| unfit("cannot stand in a header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if !injection.form.is_empty() {
        let form = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if form.split(';').next().unwrap_or_default().trim() != "application/x-www-form-urlencoded" {
            return Err(unfit("goes into a form, and the plugin sends none"));
        }
        for (name, filling) in &injection.form {
            let given = body.split(|byte| *byte == b'&').any(|field| {
                let key = field.split(|byte| *byte == b'=').next().unwrap_or_default();
                decoded(key) == name.as_bytes()
            });
            if given {
                return Err(unfit("is a field that the plugin itself sends"));
            }
            let text = filled(filling)?;
            *body = with_field(body, name, &text);
        }
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(finders)
}

/// The header that answers a challenge of Azure Arc's agent, which named the file of a key, and what finds
/// that key in the answer.
pub(crate) fn proof(holdings: &Holdings, realm: &str) -> Result<(HeaderValue, Masker), Failure> {
    let wrong = |why: &str| Failure::new(Kind::Protocol, "arc.key", format!("the key of Azure Arc's agent {why}"));
    let key = holdings.key.as_ref().ok_or_else(|| wrong("cannot be read for this call"))?(realm)?;
    if key.len() < MIN_BYTES {
        return Err(wrong("is too short to be told from ordinary text in an answer"));
    }
    let text = Zeroizing::new(format!("Basic {}", *key));
    let mut value = HeaderValue::from_str(&text).map_err(|_| wrong("cannot stand in a header"))?;
    value.set_sensitive(true);
    let mut masks = Masks::new();
    masks.add("key", key.as_bytes());
    Ok((value, masks.build()))
}

/// The form with one more field (the serialisation of the URL standard, section 5.2).
fn with_field(body: &[u8], name: &str, value: &str) -> Zeroizing<Vec<u8>> {
    let mut form = Zeroizing::new(Vec::with_capacity(body.len() + name.len() + 3 * value.len() + 2));
    form.extend_from_slice(body);
    if !form.is_empty() {
        form.push(b'&');
    }
    form.extend_from_slice(name.as_bytes());
    form.push(b'=');
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => form.push(byte),
            _ => {
                let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
                form.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    form
}

/// A key of a form as its receiver reads it.
fn decoded(key: &[u8]) -> Vec<u8> {
    let mut bytes = key.iter();
    let mut plain = Vec::with_capacity(key.len());
    while let Some(byte) = bytes.next() {
        let digits = bytes.as_slice().first_chunk::<2>().and_then(|pair| std::str::from_utf8(pair).ok());
        match (byte, digits.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(decoded)) => {
                plain.push(decoded);
                bytes.nth(1);
            }
            (b'+', _) => plain.push(b' '),
            _ => plain.push(*byte),
        }
    }
    plain
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
    /// A token for `audience`, which the credential must allow; after a 401, one that meets the challenge.
    fn token<'a>(&'a self, audience: &'a str, challenge: Option<&'a Challenge>) -> Getting<'a>;
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
