//! Mints tokens and checks them where they are used: JWTs under a key of this fake alone, so that none
//! is worth anything elsewhere. Clients treat them as opaque.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::random;

/// Signs and verifies.
#[derive(Debug)]
pub struct Signer(hmac::Key);

/// For whom a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Object id.
    pub object_id: String,
    /// Application id.
    pub app_id: String,
    /// Tenant id.
    pub tenant: String,
    /// A person's sign-in name.
    pub name: Option<String>,
}

/// A token that the fake itself signed; nothing is said about whether it is still good.
#[derive(Debug, Clone)]
pub struct Claims(pub Value);

impl Claims {
    /// A text claim; empty if absent.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A date claim in whole seconds, which may come as a fraction (RFC 7519); 0 if absent.
    pub fn number(&self, name: &str) -> i64 {
        let value = self.0.get(name);
        let fraction = || value.and_then(Value::as_f64).map(|seconds| seconds as i64);
        value.and_then(Value::as_i64).or_else(fraction).unwrap_or_default()
    }

    /// `appid=...;oid=...;iss=...`, as Key Vault names a caller.
    pub fn caller(&self) -> String {
        format!("appid={};oid={};iss={}", self.text("appid"), self.text("oid"), self.text("iss"))
    }

    /// How messages of the resource manager name a caller.
    pub fn client(&self) -> &str {
        if self.text("upn").is_empty() { self.text("appid") } else { self.text("upn") }
    }
}

impl Default for Signer {
    fn default() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>()))
    }
}

impl Signer {
    /// Signs claims as a JWT.
    pub fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "HS256"})), part(claims));
        let tag = hmac::sign(&self.0, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The claims of a token of this fake.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let (text, tag) = token.rsplit_once('.')?;
        hmac::verify(&self.0, text.as_bytes(), &URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        let (_, payload) = text.split_once('.')?;
        Some(Claims(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?))
    }
}

/// A JWT of anyone, taken apart.
#[derive(Debug)]
pub struct Jwt<'text> {
    /// The header.
    pub header: Value,
    /// The claims.
    pub claims: Claims,
    /// What is signed.
    pub signed: &'text str,
    /// The signature.
    pub signature: Vec<u8>,
}

impl<'text> Jwt<'text> {
    /// Takes a JWT apart; nothing is verified.
    pub fn parse(token: &'text str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part: &str| serde_json::from_slice(&unpadded(part)?).ok();
        Some(Self { header: json(header)?, claims: Claims(json(claims)?), signed, signature: unpadded(signature)? })
    }
}

/// Decodes base64url with or without padding.
pub fn unpadded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_tokens_verify() {
        let (own, other) = (Signer::default(), Signer::default());
        let token = own.sign(&json!({"oid": "o"}));
        assert_eq!(own.verify(&token).unwrap().text("oid"), "o");
        assert!(other.verify(&token).is_none());
        assert!(own.verify(&token.replacen("eyJ", "eyK", 1)).is_none());
        assert!(own.verify("a.b.c").is_none());
    }
}
