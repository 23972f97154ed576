//! Each fault does what it says, to the requests it names, as often as it says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Got, LOGIN, World, secret, workspace};

fn read(world: &World, token: &str) -> Got {
    world.get(&secret("secrets/secret1/secretversion1"), token)
}

#[test]
fn a_status_comes_with_and_without_retry_after() {
    let world = World::new();
    let token = world.vault_token();
    world.fault(json!({"service": "key-vault", "kind": "status", "status": 429, "times": 1}));
    let got = read(&world, &token);
    assert_eq!((got.status, got.code().as_str(), got.header("retry-after")), (429, "Throttled", ""));
    world.fault(json!({"service": "key-vault", "kind": "status", "status": 503, "retry_after": "7", "times": 1}));
    let got = read(&world, &token);
    assert_eq!((got.status, got.header("retry-after")), (503, "7"));
    world.fault(
        json!({"service": "key-vault", "kind": "status", "status": 429, "retry_after": "http-date:60", "times": 1}),
    );
    assert!(read(&world, &token).header("retry-after").ends_with(" GMT"));
    world.fault(json!({"kind": "status", "status": 500, "body": "not what you think", "times": 1}));
    assert_eq!(read(&world, &token).text(), "not what you think");
    assert_eq!(read(&world, &token).json()["value"], "value-of-secret1-version1");
}

#[test]
fn a_fault_meets_only_what_it_names() {
    let world = World::new();
    let (vault, arm) = (world.vault_token(), world.arm_token());
    world.fault(json!({"service": "arm", "kind": "status", "status": 500}));
    world.fault(json!({"path": "*/other", "kind": "status", "status": 501}));
    world.fault(json!({"host": "policy*", "kind": "status", "status": 502}));
    world.fault(json!({"method": "PUT", "kind": "status", "status": 504}));
    assert_eq!(read(&world, &vault).status, 200);
    assert_eq!(world.get(&workspace("/connections?api-version=2024-04-01"), &arm).status, 500);
    assert_eq!(world.get(&secret("secrets/other"), &vault).status, 501);
    assert_eq!(world.get("https://policyvault.vault.azure.net/secrets", &vault).status, 502);
    assert_eq!(world.send("PUT", &secret("secrets/new"), &vault, json!({"value": "v"})).status, 504);
    // It was not done.
    assert_eq!(world.get(&secret("secrets/new"), &vault).status, 404);
}

#[test]
fn a_fault_can_be_skipped_limited_and_left_to_chance() {
    let world = World::new();
    let token = world.vault_token();
    let statuses = || (0..5).map(|_| read(&world, &token).status).collect::<Vec<_>>();
    world.fault(json!({"service": "key-vault", "kind": "status", "status": 500, "skip": 1, "times": 2}));
    assert_eq!(statuses(), [200, 500, 500, 200, 200]);
    assert_eq!(world.control("GET", "/faults", Value::Null), json!([]));
    world.fault(json!({"service": "key-vault", "kind": "status", "status": 500, "probability": 0.0}));
    assert_eq!(statuses(), [200; 5]);
    world.fault(json!({"service": "key-vault", "kind": "status", "status": 503, "probability": 1.0}));
    assert_eq!(statuses(), [503; 5]);
    world.control("DELETE", "/faults", Value::Null);
    assert_eq!(statuses(), [200; 5]);
}

#[test]
fn a_dropped_connection_has_no_answer_and_did_nothing_unless_asked() {
    let world = World::new();
    let token = world.vault_token();
    let put = |name: &str| {
        let authorization = format!("Bearer {token}");
        world.try_ask(
            "PUT",
            &secret(&format!("secrets/{name}")),
            &[("authorization", &authorization)],
            b"{\"value\":\"v\"}",
        )
    };
    world.fault(json!({"service": "key-vault", "kind": "drop", "times": 1}));
    put("before").unwrap_err();
    assert_eq!(world.get(&secret("secrets/before"), &token).status, 404);
    world.fault(json!({"service": "key-vault", "kind": "drop", "after": true, "times": 1}));
    put("after").unwrap_err();
    assert_eq!(world.get(&secret("secrets/after"), &token).status, 200);
    assert_eq!(world.requests("key-vault")[0]["status"], 0);
}

#[test]
fn a_truncated_body_ends_in_an_error() {
    let world = World::new();
    let token = world.vault_token();
    world.fault(json!({"service": "key-vault", "kind": "truncate", "times": 1}));
    let authorization = format!("Bearer {token}");
    let url = secret("secrets/secret1/secretversion1");
    let cut = world.try_ask("GET", &url, &[("authorization", &authorization)], b"").unwrap_err();
    assert!(cut.starts_with("body: "), "{cut}");
}

#[test]
fn a_truncated_and_a_dropped_answer_end_in_errors_over_http2() {
    let world = World::over_http2();
    let authorization = format!("Bearer {}", world.vault_token());
    let url = secret("secrets/secret1/secretversion1");
    world.fault(json!({"service": "key-vault", "kind": "truncate", "times": 1}));
    world.try_ask("GET", &url, &[("authorization", &authorization)], b"").unwrap_err();
    world.fault(json!({"service": "key-vault", "kind": "drop", "times": 1}));
    world.try_ask("GET", &url, &[("authorization", &authorization)], b"").unwrap_err();
}

#[test]
fn a_body_can_be_late_mislabelled_or_no_json() {
    let world = World::new();
    let token = world.vault_token();
    world.fault(json!({"service": "key-vault", "kind": "slow", "ms": 200, "times": 1}));
    let start = Instant::now();
    assert_eq!(read(&world, &token).status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
    world.fault(json!({"service": "key-vault", "kind": "content_type", "value": "text/html", "times": 1}));
    let got = read(&world, &token);
    assert_eq!(
        (got.header("content-type"), got.json()["value"].as_str()),
        ("text/html", Some("value-of-secret1-version1"))
    );
    world.fault(json!({"service": "key-vault", "kind": "not_json", "times": 1}));
    assert!(read(&world, &token).text().starts_with("<html>"));
    world.fault(json!({"service": "key-vault", "kind": "redirect", "location": "https://evil.example/", "times": 1}));
    let got = read(&world, &token);
    assert_eq!((got.status, got.header("location")), (302, "https://evil.example/"));
    world.fault(
        json!({"service": "key-vault", "kind": "member", "pointer": "/attributes/exp", "value": "soon", "times": 1}),
    );
    assert_eq!(read(&world, &token).json()["attributes"]["exp"], "soon");
}

#[test]
fn links_and_challenges_can_lead_elsewhere() {
    let world = World::new();
    let token = world.vault_token();
    world.fault(json!({"service": "key-vault", "kind": "foreign_next_link", "times": 1}));
    let page = world.get(&format!("{}&maxresults=2", secret("secrets")), &token).json();
    let link = page["nextLink"].as_str().unwrap();
    assert!(link.starts_with("https://evil.example/secrets?api-version=7.4&$skiptoken="), "{link}");
    world.fault(json!({"service": "entra", "kind": "foreign_token_endpoint", "times": 1}));
    let metadata =
        world.ask("GET", &format!("{LOGIN}/organizations/v2.0/.well-known/openid-configuration"), &[], b"").json();
    assert_eq!(metadata["token_endpoint"], "https://evil.example/organizations/oauth2/v2.0/token");
    let challenge = |kind: &str| {
        world.fault(json!({"service": "key-vault", "kind": kind, "times": 1}));
        world.ask("GET", &secret("secrets/secret1"), &[], b"").header("www-authenticate").to_owned()
    };
    let tenant = fake_azure::defaults::TENANT;
    assert_eq!(
        challenge("foreign_challenge"),
        format!("Bearer authorization=\"https://login.windows.net/{tenant}\", resource=\"https://evil.example\"")
    );
    assert_eq!(
        challenge("foreign_authority"),
        format!("Bearer authorization=\"https://evil.example/{tenant}\", resource=\"https://vault.azure.net\"")
    );
}

#[test]
fn entra_says_any_of_its_errors() {
    let world = World::new();
    world.fault(json!({"service": "entra", "kind": "aadsts", "number": 50076, "claims": "{}", "suberror": "basic_action", "times": 1}));
    let got = world.form("token", &[]);
    let body = got.json();
    assert_eq!(
        (got.status, &body["error"], &body["error_codes"]),
        (400, &json!("interaction_required"), &json!([50076]))
    );
    assert_eq!((&body["claims"], &body["suberror"]), (&json!("{}"), &json!("basic_action")));
    world.fault(json!({"service": "entra", "kind": "status", "status": 503, "times": 1}));
    assert_eq!(world.form("token", &[]).code(), "temporarily_unavailable");
}

#[test]
fn a_latency_is_kept_while_requests_run_side_by_side() {
    let world = World::new();
    world.control("PATCH", "/settings", json!({"latency_ms": 100}));
    let start = Instant::now();
    assert_eq!(world.ask("GET", &secret("secrets/secret1"), &[], b"").status, 401);
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(world.control("GET", "/counters", Value::Null)["most_at_once"]["key-vault"], 1);
}
