//! Tokens and key sets made by hand, and what must become of them.

mod attacks;
mod entra;
mod keys;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use strongroom_core::config::{Access, Config, Layer};
use strongroom_core::policy::Identity;
use strongroom_core::{Failure, Kind, Text};
use tokio::sync::Notify;

use super::*;

/// The keys of the tests' own certificate: 2048 bits.
const PEM: &str = include_str!("../../../../tests/fake-azure/src/client-certificate.pem");

/// Runs on a runtime of its own.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The tests' own time: 2026-01-01.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + seconds)
}

const NOW: u64 = 1_767_225_600;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A private key of each kind.
enum Signer {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn rsa() -> Self {
        let key = PrivateKeyDer::from_pem_slice(PEM.as_bytes()).unwrap();
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(key.secret_der()).unwrap()))
    }

    fn ecdsa(algorithm: &'static signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap()
    }

    fn p256() -> Self {
        Self::P256(Self::ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING))
    }

    fn p384() -> Self {
        Self::P384(Self::ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING))
    }

    fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    fn jwk(&self, id: &str) -> Value {
        let point = |crv: &str, public: &[u8]| {
            let (x, y) = public[1..].split_at((public.len() - 1) / 2);
            json!({"kty": "EC", "crv": crv, "kid": id, "x": encode(x), "y": encode(y)})
        };
        match self {
            Self::Rsa(key) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": encode(public.n), "e": encode(public.e)})
            }
            Self::P256(key) => point("P-256", key.public_key().as_ref()),
            Self::P384(key) => point("P-384", key.public_key().as_ref()),
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(key.public_key())})
            }
        }
    }

    fn sign(&self, algorithm: &str, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let encoding: &dyn RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(encoding, &random, text.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::P256(key) | Self::P384(key) => key.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(text.as_bytes()).as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// Of texts that are perhaps no good JSON.
    fn token_of(&self, header: &str, claims: &str) -> String {
        let algorithm = serde_json::from_str::<Value>(header).unwrap_or_default()["alg"].clone();
        let text = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(algorithm.as_str().unwrap_or_default(), &text);
        format!("{text}.{}", encode(signature))
    }
}

/// Claims that are good at [`NOW`].
fn claims() -> Value {
    json!({
        "iss": "https://i.example", "aud": "strongroom", "sub": "repo:acme/train:ref:refs/heads/main",
        "exp": NOW + 600, "nbf": NOW, "iat": NOW, "jti": "1", "environment": "prod", "groups": ["a", "b"],
        "run_attempt": 1, "nested": {"a": 1}, "nothing": null,
    })
}

/// The same with other members; null takes one away.
fn but(mut base: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(base.as_object_mut().unwrap().shift_remove(name)),
            value => base[name] = value.clone(),
        }
    }
    base
}

/// The issuers `i`, with these algorithms, and `j`, with the same keys.
fn access(algorithms: &[&str]) -> Access {
    let issuer = |name: &str| {
        format!(
            "[issuers.{name}]\nissuer = \"https://{name}.example\"\njwks = \"https://keys.example/{name}?v=1\"\n\
             audiences = [\"strongroom\", \"other\"]\nalgorithms = {algorithms:?}\n"
        )
    };
    let text = issuer("i") + &issuer("j");
    Config::parse(&text, Text::new("strongroom.toml"), Layer::User).unwrap().access
}

/// An issuer's key address, as a script: the last answer stays.
#[derive(Default)]
struct Server {
    script: Mutex<VecDeque<Result<Vec<u8>, Failure>>>,
    fetched: AtomicUsize,
    /// Waited for before an answer, if there.
    gate: Option<Notify>,
    begun: Notify,
}

impl Server {
    fn new(script: impl IntoIterator<Item = Result<Vec<u8>, Failure>>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() })
    }

    fn of(keys: &[Value]) -> Arc<Self> {
        Self::new([Ok(set(keys))])
    }

    fn gated(keys: &[Value]) -> Arc<Self> {
        let script = Mutex::new(VecDeque::from([Ok(set(keys))]));
        Arc::new(Self { script, gate: Some(Notify::new()), ..Self::default() })
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }

    fn verifier(self: &Arc<Self>, access: &Access) -> Verifier {
        let server = self.clone();
        let fetch: Fetch = Arc::new(move |issuer| {
            let server = server.clone();
            assert_eq!(issuer.origin.to_string(), "https://keys.example");
            Box::pin(async move {
                server.fetched.fetch_add(1, Ordering::SeqCst);
                server.begun.notify_one();
                if let Some(gate) = &server.gate {
                    gate.notified().await;
                }
                let mut script = server.script.lock().unwrap();
                if script.len() > 1 { script.pop_front().unwrap() } else { script.front().unwrap().clone() }
            })
        });
        Verifier::new(&access.issuers, fetch)
    }
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({"keys": keys}).to_string().into_bytes()
}

fn down() -> Result<Vec<u8>, Failure> {
    Err(Failure::new(Kind::Unavailable, "fetch.answer", "it is down"))
}

/// The code of what became of a token, `ok` for good ones. What its bearer sees is always the same.
async fn outcome(verifier: &Verifier, token: &str, now: SystemTime) -> String {
    let result = verifier.verify(token, now).await;
    if let Err(failure) = &result {
        assert_eq!(failure.kind(), Kind::Unauthenticated, "{failure:?}");
        let shown = verifier.identify(token, now).await.unwrap_err();
        assert_eq!(format!("{shown:?}"), "Failure(unauthenticated, token.refused: the token is not accepted)");
        assert!(shown.helps().is_empty() && shown.subject().is_none() && shown.attributes().is_empty());
    }
    result.err().map_or_else(|| "ok".to_owned(), |failure| failure.code().to_owned())
}
