//! Entra's proofs: what is checked, and that nothing is issued without it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use fake_azure::defaults;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::client::{LOGIN, World};

const SCOPE: &str = "https://vault.azure.net/.default";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const CLI: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const USER_SCOPE: &str = "https://vault.azure.net/.default offline_access openid profile";

fn number(got: &crate::client::Got) -> u64 {
    let body = got.json();
    assert!(body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{}: ", body["error_codes"][0])));
    body["error_codes"][0].as_u64().unwrap()
}

/// An assertion, signed with the default certificate's key.
struct Assertion {
    encoding: &'static dyn RsaEncoding,
    header: Value,
    claims: Value,
}

impl Assertion {
    /// One that is accepted.
    fn good(world: &World, pss: bool) -> Self {
        let certificate = CertificateDer::from_pem_slice(defaults::CLIENT_CERTIFICATE.as_bytes()).unwrap();
        let now = world.control("GET", "/clock", Value::Null)["now"].as_i64().unwrap();
        let (sha1, sha256) = (digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate), digest(&SHA256, &certificate));
        // With padding and without: both are taken.
        let header = if pss {
            json!({"typ": "JWT", "alg": "PS256", "x5t#S256": URL_SAFE_NO_PAD.encode(sha256)})
        } else {
            json!({"typ": "JWT", "alg": "RS256", "x5t": URL_SAFE.encode(sha1)})
        };
        let claims = json!({"aud": format!("{LOGIN}/{}/oauth2/v2.0/token", defaults::TENANT), "iss": defaults::CLIENT,
            "sub": defaults::CLIENT, "jti": "one", "iat": now, "nbf": now, "exp": now + 600});
        Self { encoding: if pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 }, header, claims }
    }

    fn jwt(&self) -> String {
        let key = PrivatePkcs8KeyDer::from_pem_slice(defaults::CLIENT_CERTIFICATE.as_bytes()).unwrap();
        let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&self.header), part(&self.claims));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(self.encoding, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn present(world: &World, jwt: &str) -> crate::client::Got {
    world.form(
        "token",
        &[
            ("client_id", defaults::CLIENT),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", jwt),
            ("grant_type", "client_credentials"),
            ("scope", SCOPE),
        ],
    )
}

#[test]
fn a_certificate_serves_with_both_signatures() {
    let world = World::new();
    for pss in [true, false] {
        let got = present(&world, &Assertion::good(&world, pss).jwt());
        assert_eq!(got.status, 200, "{}", got.text());
    }
}

#[test]
fn an_assertion_that_is_not_what_it_says_is_refused() {
    let world = World::new();
    let refused = |change: &dyn Fn(&mut Assertion)| {
        let mut assertion = Assertion::good(&world, true);
        change(&mut assertion);
        number(&present(&world, &assertion.jwt()))
    };
    assert_eq!(refused(&|assertion| assertion.claims["aud"] = json!("https://evil.example/token")), 50027);
    assert_eq!(refused(&|assertion| assertion.claims["exp"] = json!(1_700_000_000)), 700_024);
    assert_eq!(refused(&|assertion| assertion.claims["nbf"] = json!(4_000_000_000_u64)), 700_024);
    assert_eq!(refused(&|assertion| assertion.claims["sub"] = json!("someone else")), 700_027);
    assert_eq!(refused(&|assertion| assertion.claims["jti"] = json!("")), 700_027);
    assert_eq!(refused(&|assertion| assertion.header["x5t#S256"] = json!("AAAA")), 700_027);
    assert_eq!(refused(&|assertion| assertion.header["alg"] = json!("none")), 700_027);
    // The right claims under the other signature.
    assert_eq!(refused(&|assertion| assertion.encoding = &RSA_PKCS1_SHA256), 700_027);
    assert_eq!(refused(&|assertion| assertion.header["x5c"] = json!(["AAAA"])), 700_027);
    let good = Assertion::good(&world, true).jwt();
    let (text, _) = good.rsplit_once('.').unwrap();
    assert_eq!(number(&present(&world, &format!("{text}.AAAA"))), 700_027);
    assert_eq!(number(&present(&world, "no.jwt")), 50027);
}

#[test]
fn an_application_can_ask_for_the_chain() {
    let world = World::new();
    world.control(
        "POST",
        "/seed",
        json!({"apps": [{"client_id": defaults::CLIENT, "object_id": "o", "tenant": defaults::TENANT,
        "certificates": [defaults::CLIENT_CERTIFICATE], "require_chain": true}]}),
    );
    let mut assertion = Assertion::good(&world, true);
    assert_eq!(number(&present(&world, &assertion.jwt())), 700_027);
    let certificate = CertificateDer::from_pem_slice(defaults::CLIENT_CERTIFICATE.as_bytes()).unwrap();
    assertion.header["x5c"] = json!([STANDARD.encode(certificate)]);
    assert_eq!(present(&world, &assertion.jwt()).status, 200);
}

#[test]
fn an_assertion_from_outside_must_be_signed_by_its_issuer() {
    let world = World::new();
    let good = world.file("federated-token");
    assert_eq!(present(&world, &good).status, 200);
    let (text, _) = good.rsplit_once('.').unwrap();
    assert_eq!(number(&present(&world, &format!("{text}.AAAA"))), 700_027);
}

#[test]
fn a_request_without_a_proof_or_a_field_is_refused() {
    let world = World::new();
    let ask = |fields: &[(&str, &str)]| {
        let mut all = vec![("client_id", defaults::CLIENT), ("grant_type", "client_credentials"), ("scope", SCOPE)];
        all.retain(|(name, _)| !fields.iter().any(|(other, _)| other == name));
        all.extend(fields.iter().filter(|(_, value)| !value.is_empty()));
        let got = world.form("token", &all);
        (got.status, number(&got))
    };
    assert_eq!(ask(&[]), (401, 7_000_216));
    assert_eq!(ask(&[("client_id", "")]), (400, 900_144));
    assert_eq!(ask(&[("grant_type", "")]), (400, 900_144));
    assert_eq!(ask(&[("grant_type", "password")]), (400, 70_003));
    assert_eq!(ask(&[("client_secret", "wrong")]), (401, 7_000_215));
    let secret = world.file("client-secret");
    assert_eq!(ask(&[("client_secret", &secret), ("scope", "")]), (400, 900_144));
    assert_eq!(
        ask(&[
            ("client_secret", &secret),
            ("scope", "https://vault.azure.net/.default https://management.azure.com/.default")
        ]),
        (400, 70_011)
    );
}

#[test]
fn the_older_endpoint_takes_a_resource_and_writes_numbers_as_text() {
    let world = World::new();
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", defaults::CLIENT),
            ("client_secret", &world.file("client-secret")),
            ("grant_type", "client_credentials"),
            ("resource", "https://vault.azure.net"),
        ])
        .finish();
    let url = format!("{LOGIN}/{}/oauth2/token", defaults::TENANT);
    let got = world.ask("POST", &url, &[("content-type", "application/x-www-form-urlencoded")], body.as_bytes()).json();
    assert_eq!(got["expires_in"], "3599");
    assert!(got["expires_on"].as_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000);
}

fn authorize(world: &World, change: &[(&str, &str)]) -> crate::client::Got {
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
    let mut fields = vec![
        ("client_id", CLI),
        ("response_type", "code"),
        ("redirect_uri", "http://localhost:8400"),
        ("scope", USER_SCOPE),
        ("state", "s t&te"),
        ("nonce", "n"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    fields.retain(|(name, _)| !change.iter().any(|(other, _)| other == name));
    fields.extend(change.iter().filter(|(_, value)| !value.is_empty()));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    world.ask("GET", &format!("{LOGIN}/organizations/oauth2/v2.0/authorize?{query}"), &[], b"")
}

const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyz0123456789-._~ABCDEFG";

/// The fields of a redirect.
fn landed(got: &crate::client::Got) -> Vec<(String, String)> {
    assert_eq!(got.status, 302, "{}", got.text());
    let (address, query) = got.header("location").split_once('?').unwrap();
    assert_eq!(address, "http://localhost:8400");
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn field<'pairs>(fields: &'pairs [(String, String)], name: &str) -> &'pairs str {
    fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

#[test]
fn a_code_is_redeemed_once_with_its_verifier() {
    let world = World::new();
    let redeem = |code: &str, verifier: &str, redirect: &str| {
        world.form(
            "token",
            &[
                ("client_id", CLI),
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", redirect),
                ("code_verifier", verifier),
                ("scope", USER_SCOPE),
            ],
        )
    };
    let fields = landed(&authorize(&world, &[]));
    assert_eq!(field(&fields, "state"), "s t&te");
    let code = field(&fields, "code");
    let got = redeem(code, VERIFIER, "http://localhost:8400").json();
    let claims = got["id_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!((&claims["nonce"], &claims["aud"]), (&json!("n"), &json!(CLI)));
    assert_eq!(number(&redeem(code, VERIFIER, "http://localhost:8400")), 54_005);

    let fresh = || field(&landed(&authorize(&world, &[])), "code").to_owned();
    assert_eq!(number(&redeem(&fresh(), &VERIFIER.replace('a', "b"), "http://localhost:8400")), 501_481);
    assert_eq!(number(&redeem(&fresh(), "short", "http://localhost:8400")), 501_481);
    assert_eq!(number(&redeem(&fresh(), VERIFIER, "http://localhost:8401")), 500_112);
    assert_eq!(redeem("nosuchcode", VERIFIER, "http://localhost:8400").code(), "invalid_grant");
    let late = fresh();
    world.control("POST", "/clock", json!({"advance_seconds": 700}));
    assert_eq!(number(&redeem(&late, VERIFIER, "http://localhost:8400")), 70_008);
}

#[test]
fn the_page_sends_a_browser_nowhere_but_to_loopback() {
    let world = World::new();
    for redirect in [
        "https://evil.example/",
        "http://evil.example",
        "http://localhost.evil.example:80",
        "http://localhost:80@evil.example",
    ] {
        let got = authorize(&world, &[("redirect_uri", redirect)]);
        assert_eq!(got.status, 400, "{redirect}");
        assert!(got.text().contains("AADSTS50011"), "{}", got.text());
    }
}

#[test]
fn the_page_says_what_went_wrong_to_the_application() {
    let world = World::new();
    let fields = landed(&authorize(&world, &[("code_challenge", "")]));
    assert_eq!((field(&fields, "error"), field(&fields, "state")), ("invalid_request", "s t&te"));
    let fields = landed(&authorize(&world, &[("scope", "https://evil.example/.default")]));
    assert_eq!(field(&fields, "error"), "invalid_resource");
    world.control("PATCH", "/settings", json!({"refuse_browser": true}));
    assert_eq!(field(&landed(&authorize(&world, &[])), "error"), "access_denied");
    world.control("PATCH", "/settings", json!({"refuse_browser": false}));
    let form = authorize(&world, &[("response_mode", "form_post")]);
    assert_eq!(form.status, 200);
    assert!(
        form.text().contains("action=\"http://localhost:8400\"") && form.text().contains("value=\"s t&amp;te\""),
        "{}",
        form.text()
    );
}

#[test]
fn a_device_code_is_pending_slowed_down_and_used_once() {
    let world = World::new();
    let begin = world.form("devicecode", &[("client_id", CLI), ("scope", USER_SCOPE)]).json();
    assert_eq!((&begin["interval"], &begin["expires_in"]), (&json!(5), &json!(900)));
    let device = begin["device_code"].as_str().unwrap();
    let code = begin["user_code"].as_str().unwrap();
    let poll = || {
        world.control("POST", "/clock", json!({"advance_seconds": 20}));
        world.form(
            "token",
            &[
                ("client_id", CLI),
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("device_code", device),
            ],
        )
    };
    assert_eq!(poll().code(), "authorization_pending");
    // Again at once.
    let hasty = world.form("token", &[("client_id", CLI), ("grant_type", "device_code"), ("device_code", device)]);
    assert_eq!(hasty.code(), "slow_down");
    world.control("POST", &format!("/device-codes/{code}/slow-down"), json!({"times": 1}));
    assert_eq!(poll().code(), "slow_down");
    world.control("POST", &format!("/device-codes/{code}/approve"), json!({"user": defaults::READER}));
    let got = poll();
    assert_eq!(got.status, 200, "{}", got.text());
    assert!(got.json()["refresh_token"].is_string());
    assert_eq!(poll().code(), "invalid_grant");
    let unknown = world.form("token", &[("client_id", CLI), ("grant_type", "device_code"), ("device_code", "x")]);
    assert_eq!(unknown.code(), "bad_verification_code");
    let listed = world.control("GET", "/device-codes", Value::Null);
    assert!(!listed.to_string().contains(device), "{listed}");
}

#[test]
fn a_refresh_token_is_renewed_and_can_be_revoked() {
    let world = World::new();
    world.control("PATCH", "/settings", json!({"device_auto_approve": 0, "refresh_in": 1800}));
    let begin = world.form("devicecode", &[("client_id", CLI), ("scope", USER_SCOPE)]).json();
    let device = begin["device_code"].as_str().unwrap();
    let first =
        world.form("token", &[("client_id", CLI), ("grant_type", "device_code"), ("device_code", device)]).json();
    assert_eq!(first["refresh_in"], 1800);
    let refresh = |token: &Value, client: &str| {
        let token = token["refresh_token"].as_str().unwrap();
        world.form(
            "token",
            &[("client_id", client), ("grant_type", "refresh_token"), ("refresh_token", token), ("scope", USER_SCOPE)],
        )
    };
    let second = refresh(&first, CLI).json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    // Another application's.
    assert_ne!(refresh(&second, defaults::CLIENT).status, 200);
    world.control("POST", "/refresh-tokens/revoke", json!({}));
    assert_eq!(number(&refresh(&second, CLI)), 50_173);
}

#[test]
fn instance_discovery_knows_the_authorities_of_all_clouds() {
    let world = World::new();
    let ask = |host: &str| {
        let url = format!(
            "{LOGIN}/common/discovery/instance?api-version=1.1&authorization_endpoint=https://{host}/t/oauth2/v2.0/authorize"
        );
        world.ask("GET", &url, &[], b"")
    };
    assert_eq!(ask("login.microsoftonline.us").json()["metadata"].as_array().unwrap().len(), 3);
    assert_eq!(ask("evil.example").code(), "invalid_instance");
}
