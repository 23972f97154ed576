//! Mints tokens and checks them where they are used: JWTs under a key that is worth nothing elsewhere, each fake's
//! under a name of its own. Clients treat them as opaque; whoever verifies them finds the key where Entra ID
//! publishes its own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::random;

const KEY: &str = include_str!("signing-key.pem");

/// Signs and verifies.
#[derive(Debug)]
pub struct Signer {
    /// None if the file is no key, which no test would pass with.
    key: Option<RsaKeyPair>,
    id: String,
}

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
        let der = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).ok();
        Self { key: der.and_then(|der| RsaKeyPair::from_pkcs8(der.secret_der()).ok()), id: random::hex() }
    }
}

impl Signer {
    /// Signs claims as a JWT.
    pub fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "RS256", "kid": self.id})), part(claims));
        let Some(key) = &self.key else { return text };
        let mut signature = vec![0; key.public().modulus_len()];
        if key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).is_err() {
            return text;
        }
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a token of this fake.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let jwt = Jwt::parse(token)?;
        let own = jwt.header.get("kid").and_then(Value::as_str) == Some(&self.id);
        let public = self.components()?;
        public.verify(&RSA_PKCS1_2048_8192_SHA256, jwt.signed.as_bytes(), &jwt.signature).ok()?;
        own.then_some(jwt.claims)
    }

    /// The key as Entra ID publishes its own.
    pub fn keys(&self) -> Value {
        let part = |bytes: Option<Vec<u8>>| URL_SAFE_NO_PAD.encode(bytes.unwrap_or_default());
        let public = self.components();
        let (modulus, exponent) = public.map(|public| (public.n, public.e)).unzip();
        json!({"keys": [{
            "kty": "RSA", "use": "sig", "kid": self.id, "x5t": self.id, "n": part(modulus), "e": part(exponent),
        }]})
    }

    fn components(&self) -> Option<ring::rsa::PublicKeyComponents<Vec<u8>>> {
        Some(self.key.as_ref()?.public().into())
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
