//! JSON Web Tokens and key sets: nothing is accepted but what the issuer's key signed, for us and for now.
//!
//! Input: lines. The first chooses; then the header and the claims of a token that is signed with the good key, and
//! all that follows is a token that is not, and a key set.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use strongroom_callers::{Fetch, Verifier};
use strongroom_core::config::{Access, Config, Layer};
use strongroom_core::policy::Identity;
use strongroom_core::{Failure, Text};

const NOW: u64 = 1_767_225_600;
const ISSUER: &str = "https://i.example";

struct Fixed {
    key: Ed25519KeyPair,
    public: String,
    access: Access,
    /// With the good key.
    verifier: Verifier,
    runtime: tokio::runtime::Runtime,
}

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = URL_SAFE_NO_PAD.encode(key.public_key());
    let text = format!(
        "[issuers.i]\nissuer = \"{ISSUER}\"\njwks = \"https://keys.example/i\"\naudiences = [\"strongroom\"]\n\
         algorithms = [\"EdDSA\", \"RS256\", \"ES256\"]\n"
    );
    let access = Config::parse(&text, Text::new("strongroom.toml"), Layer::User).unwrap().access;
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": public}]}).to_string();
    let verifier = of(&access, set.into_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Fixed { key, public, access, verifier, runtime }
});

fn of(access: &Access, set: Vec<u8>) -> Verifier {
    let fetch: Fetch = Arc::new(move |_| {
        let set = set.clone();
        Box::pin(async move { Ok(set) })
    });
    Verifier::new(&access.issuers, fetch)
}

fn signed(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = FIXED.key.sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn verify(verifier: &Verifier, token: &str) -> Result<Identity, Failure> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    FIXED.runtime.block_on(verifier.verify(token, now))
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(4, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (choice, header, claims, rest) = (next(), next(), next(), next());
    let token = signed(header, claims);
    let told = verify(&FIXED.verifier, &token);
    match &told {
        Ok(identity) => accepted(header, claims, identity),
        Err(failure) => assert!(failure.code().starts_with("token."), "{failure}"),
    }
    assert_eq!(told.is_ok(), verify(&FIXED.verifier, &token).is_ok());
    if told.is_ok() {
        let at = choice.bytes().fold(0_usize, |at, byte| at.wrapping_mul(31).wrapping_add(byte.into())) % token.len();
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(verify(&FIXED.verifier, &changed).is_err(), "changed at {at}: {changed}");
    }
    // Only what was signed above can be good, and this was not.
    assert!(verify(&FIXED.verifier, rest).is_err(), "{rest}");

    // A key set that does not hold the key lets nothing in.
    let verifier = of(&FIXED.access, rest.as_bytes().to_vec());
    let claims = json!({"iss": ISSUER, "aud": "strongroom", "exp": NOW + 60}).to_string();
    let good = signed("{\"alg\":\"EdDSA\",\"kid\":\"k\"}", &claims);
    let told = verify(&verifier, &good);
    // Written as it is, or with escapes of JSON.
    assert!(told.is_err() || rest.contains(&FIXED.public) || rest.contains('\\'), "{rest}");
    if serde_json::from_str::<Value>(rest).is_err() {
        assert!(told.is_err(), "{rest}");
    }
}

fn accepted(header: &str, claims: &str, identity: &Identity) {
    let header: Value = serde_json::from_str(header).unwrap();
    let claims: Value = serde_json::from_str(claims).unwrap();
    assert_eq!(header["alg"], "EdDSA");
    assert!(header.get("kid").is_none_or(|id| id == "k"));
    for brought in ["jku", "x5u", "jwk", "x5c", "crit", "b64", "enc", "zip", "cty"] {
        assert!(header.get(brought).is_none(), "{header}");
    }
    assert_eq!(claims["iss"], ISSUER);
    let ours = |audience: &Value| audience == "strongroom";
    assert!(ours(&claims["aud"]) || claims["aud"].as_array().is_some_and(|all| all.iter().any(ours)), "{claims}");
    assert!(claims["exp"].as_f64().unwrap() > (NOW - 60) as f64);
    assert!(claims.get("nbf").is_none_or(|time| time.as_f64().unwrap() <= (NOW + 60) as f64));
    assert!(claims.get("cnf").is_none());
    let Identity::Jwt { issuer, subject, claims: told } = identity else { panic!("{identity:?}") };
    assert_eq!((issuer.as_str(), subject.as_str()), ("i", claims["sub"].as_str().unwrap_or_default()));
    for (name, value) in told {
        assert_eq!(Some(value), claims.get(name), "{name}");
    }
}
