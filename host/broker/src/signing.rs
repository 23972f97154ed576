//! Signing for an auth plugin with a sealed key, which never leaves this module.
//!
//! What is signed is a client assertion (RFC 7523) and nothing else: the times and the id are set here, it
//! lives for ten minutes, and its audience must be an address that the plugin's own rules go to, so a plugin
//! cannot have something signed for anybody else.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::{Map, Value, json};
use strongroom_core::{Failure, Kind, Origin};
use strongroom_sandbox::capability::signer::{Pairs, Signer};
use zeroize::Zeroizing;

use crate::acquiring::Inputs;
use crate::unix_now;

/// How long an assertion is good, in seconds.
const LIFE_SECONDS: u64 = 600;

/// A key and the certificates beside it.
struct Pair {
    key: RsaKeyPair,
    certificates: Vec<Vec<u8>>,
}

fn wrong(name: &str, why: &str) -> Failure {
    Failure::new(Kind::InvalidConfig, "signer.key", format!("the sealed input `{name}` {why}"))
}

impl Inputs {
    /// The sealed input `name`, read as PEM with a key and its certificates.
    fn pair(&self, name: &str) -> Result<Pair, Failure> {
        let secret = self.secrets.get(name).ok_or_else(|| {
            Failure::new(Kind::NotConfigured, "signer.none", format!("the credential has no sealed input `{name}`"))
        })?;
        let (mut key, mut certificates) = (None, Vec::new());
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(secret.expose()) {
            let Ok((kind, der)) = section else { return Err(wrong(name, "is no well-formed PEM")) };
            let der = Zeroizing::new(der);
            match kind {
                SectionKind::Certificate => certificates.push(der.to_vec()),
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                    key = Some((kind, der));
                }
                _ => {}
            }
        }
        let text = String::from_utf8_lossy(secret.expose());
        let Some((kind, der)) = key else {
            if text.contains("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
                return Err(wrong(name, "holds a key that is locked with a password")
                    .help("take the password off: openssl pkcs8 -in LOCKED.pem -out KEY.pem"));
            }
            if !certificates.is_empty() {
                return Err(wrong(name, "holds a certificate and no private key")
                    .help("put both into one PEM file: cat key.pem certificate.pem"));
            }
            return Err(wrong(name, "holds no PEM with a private key and its certificate")
                .help("from PKCS#12: openssl pkcs12 -in FILE.pfx -nodes -out FILE.pem"));
        };
        let key = match kind {
            SectionKind::PrivateKey => RsaKeyPair::from_pkcs8(&der),
            SectionKind::RsaPrivateKey => RsaKeyPair::from_der(&der),
            _ => return Err(wrong(name, "holds a key that is not RSA, which Entra does not take")),
        };
        // ring says of an EC key in PKCS#8 that its algorithm is wrong, and of a short one that it is small.
        let key = key.map_err(|error| {
            wrong(
                name,
                &format!("holds a private key that cannot be used ({error}); it must be RSA of 2048 bits or more"),
            )
        })?;
        if certificates.is_empty() {
            return Err(wrong(name, "holds a private key and no certificate")
                .help("put both into one PEM file: cat key.pem certificate.pem"));
        }
        Ok(Pair { key, certificates })
    }
}

impl Signer for Inputs {
    fn assertion(&self, name: &str, algorithm: &str, header: &Pairs, claims: &Pairs) -> Result<String, Failure> {
        let refused = |why: &str| {
            Failure::new(Kind::PolicyDenied, "signer.refused", format!("the plugin wants signed what {why}"))
        };
        let padding: &'static dyn RsaEncoding = match algorithm {
            "PS256" => &RSA_PSS_SHA256,
            "RS256" => &RSA_PKCS1_SHA256,
            _ => return Err(refused("has an algorithm other than PS256 and RS256")),
        };
        let Pair { key, certificates } = self.pair(name)?;
        let leaf = certificates.first().map(Vec::as_slice).unwrap_or_default();
        let mut head = Map::from_iter([("typ".to_owned(), json!("JWT")), ("alg".to_owned(), json!(algorithm))]);
        for (field, value) in header {
            let filled = match field.as_str() {
                "x5t" if value.is_empty() => json!(URL_SAFE.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, leaf))),
                "x5t#S256" if value.is_empty() => json!(URL_SAFE.encode(digest(&SHA256, leaf))),
                "x5c" if value.is_empty() => {
                    certificates.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>().into()
                }
                "typ" if value == "JWT" => json!(value),
                "alg" if value == algorithm => json!(value),
                "kid" => json!(value),
                _ => return Err(refused("has a header that is not x5t, x5t#S256, x5c or kid")),
            };
            head.insert(field.clone(), filled);
        }
        let mut body = Map::new();
        for (claim, value) in claims {
            match claim.as_str() {
                "aud" => {
                    if !Origin::of_url(value).is_ok_and(|(origin, _)| self.origins.contains(&origin)) {
                        return Err(refused("is for an address that none of its rules goes to"));
                    }
                }
                "iss" | "sub" => {}
                _ => return Err(refused("has a claim other than aud, iss and sub")),
            }
            body.insert(claim.clone(), json!(value));
        }
        let now = unix_now().as_secs();
        let mut id = [0; 16];
        getrandom::fill(&mut id)
            .map_err(|_| Failure::new(Kind::Internal, "signer.random", "no random number can be had"))?;
        body.insert("jti".to_owned(), json!(uuid(id)));
        body.insert("iat".to_owned(), json!(now));
        body.insert("nbf".to_owned(), json!(now));
        body.insert("exp".to_owned(), json!(now + LIFE_SECONDS));
        let part = |map: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(map).to_string());
        let signed = format!("{}.{}", part(head), part(body));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| Failure::new(Kind::Internal, "signer.sign", "the signature could not be made"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn certificates(&self, name: &str) -> Result<Vec<Vec<u8>>, Failure> {
        Ok(self.pair(name)?.certificates)
    }
}

/// A random UUID (RFC 9562, version 4).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}
