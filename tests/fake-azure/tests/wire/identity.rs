//! The identity endpoints want their own header and name their own errors.

use fake_azure::defaults;
use serde_json::{Value, json};

use crate::client::World;

const IMDS: &str =
    "http://127.0.0.1/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";

#[test]
fn imds_wants_its_header_and_knows_its_identities() {
    let world = World::new();
    let ask = |url: &str| world.ask("GET", url, &[("metadata", "true")], b"");
    assert_eq!(world.ask("GET", IMDS, &[], b"").code(), "bad_request_102");
    let got = ask(IMDS).json();
    assert_eq!((&got["resource"], &got["expires_in"]), (&json!("https://vault.azure.net"), &json!("86399")));
    assert_eq!(ask(&format!("{IMDS}&client_id=nobody")).json()["error_description"], "Identity not found");
    assert_eq!(ask("http://127.0.0.1/metadata/other").code(), "unknown_source");
    assert_eq!(ask(&IMDS.replace("vault", "nosuch")).code(), "invalid_resource");
}

#[test]
fn each_endpoint_refuses_what_lacks_its_own_header() {
    let world = World::new();
    let resource = "resource=https%3A%2F%2Fvault.azure.net";
    let app_service = format!("http://127.0.0.1/app-service/token?api-version=2019-08-01&{resource}");
    assert_eq!(world.ask("GET", &app_service, &[("x-identity-header", "wrong")], b"").status, 401);
    assert_eq!(
        world.ask("GET", &app_service, &[("x-identity-header", &world.file("identity-header"))], b"").status,
        200
    );
    let ml = format!("http://127.0.0.1/azure-ml/token?api-version=2017-09-01&{resource}");
    assert_eq!(world.ask("GET", &ml, &[("secret", "wrong")], b"").status, 401);
    let shell = "http://127.0.0.1/cloud-shell/token";
    assert_eq!(world.ask("POST", shell, &[], resource.as_bytes()).status, 400);
    assert_eq!(world.ask("POST", shell, &[("metadata", "true")], resource.as_bytes()).status, 200);
    assert_eq!(world.ask("GET", &format!("http://127.0.0.1/obo/token?{resource}"), &[], b"").status, 200);
    for url in [
        "https://pipelines.actions.githubusercontent.com/x/idtoken?api-version=2.0",
        "http://127.0.0.1/github/idtoken?x=y",
    ] {
        assert_eq!(world.ask("GET", url, &[("authorization", "Bearer wrong")], b"").status, 401);
        let got = world.get(&format!("{url}&audience=api://AzureADTokenExchange"), &world.file("job-token"));
        assert!(got.json()["value"].as_str().unwrap().starts_with("eyJ"));
    }
}

#[test]
fn azure_ml_writes_the_expiry_in_every_known_way() {
    let world = World::new();
    let url = "http://127.0.0.1/azure-ml/token?api-version=2017-09-01&resource=https%3A%2F%2Fvault.azure.net";
    let expiry = |way: &str| {
        world.control("PATCH", "/machine", json!({"expiry": way}));
        world.ask("GET", url, &[("secret", &world.file("msi-secret"))], b"").json()["expires_on"].clone()
    };
    assert!(expiry("number").is_u64());
    assert!(expiry("text").as_str().unwrap().parse::<u64>().is_ok());
    let text = expiry("month-first");
    assert!(text.as_str().unwrap().ends_with(" +00:00") && text.as_str().unwrap().len() == 26, "{text}");
    let text = expiry("month-first12h");
    assert!(text.as_str().unwrap().contains("M +00:00"), "{text}");
}

#[test]
fn arc_gives_a_token_for_the_key_of_its_challenge_once() {
    let world = World::new();
    let url = "http://127.0.0.1/arc/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https%3A%2F%2Fvault.azure.net";
    let challenge = world.ask("GET", url, &[("metadata", "true")], b"");
    assert_eq!(challenge.status, 401);
    let file = challenge.header("www-authenticate").strip_prefix("Basic realm=").unwrap().to_owned();
    assert!(file.starts_with(world.fake.folder().join("arc-tokens").to_str().unwrap()) && file.ends_with(".key"));
    let key = format!("Basic {}", std::fs::read_to_string(&file).unwrap());
    let proved = [("metadata", "true"), ("authorization", key.as_str())];
    let answer = world.ask("GET", &format!("{url}&client_id={}", defaults::WORKER_CLIENT), &proved, b"").json();
    assert_eq!(answer["object_id"], defaults::WORKER_OBJECT);
    assert!(!std::path::Path::new(&file).exists());
    assert_eq!(world.ask("GET", url, &proved, b"").status, 401);
    world.control("PATCH", "/machine", json!({"arc_realm": "/etc/passwd"}));
    let astray = world.ask("GET", url, &[("metadata", "true")], b"");
    assert_eq!(astray.header("www-authenticate"), "Basic realm=/etc/passwd");
}

#[test]
fn a_machine_can_have_one_identity_many_or_none() {
    let world = World::new();
    let ask = || world.ask("GET", IMDS, &[("metadata", "true")], b"").json();
    world.control("POST", "/remove", json!({"identities": [defaults::SYSTEM_OBJECT]}));
    assert_eq!(ask()["client_id"], defaults::WORKER_CLIENT);
    world.control(
        "POST",
        "/seed",
        json!({"identities": [
        {"client_id": "c", "object_id": "o", "tenant": defaults::TENANT, "resource_id": "/second"}]}),
    );
    assert!(ask()["error_description"].as_str().unwrap().starts_with("Multiple user assigned identities exist"));
    world.control("POST", "/remove", json!({"identities": ["o", defaults::WORKER_OBJECT]}));
    assert_eq!(ask()["error_description"], "Identity not found");
    assert_eq!(world.control("GET", "", Value::Null)["identities"], json!([]));
}
