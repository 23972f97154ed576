//! Control: what it takes, what it gives, and what the record never keeps.

use serde_json::{Value, json};

use crate::client::{World, secret, workspace};

#[test]
fn control_answers_over_http_and_only_on_the_plain_port() {
    let world = World::new();
    assert_eq!(world.ask("GET", "http://127.0.0.1/control/counters", &[], b"").status, 200);
    assert_eq!(world.ask("GET", "http://127.0.0.1/control/nothing", &[], b"").status, 404);
    assert_eq!(world.ask("GET", "https://mykeyvault.vault.azure.net/control/counters", &[], b"").status, 404);
    let wrong = world.ask("POST", "http://127.0.0.1/control/seed", &[], b"{\"vault\":[]}");
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "BadControl"));
    assert!(wrong.text().contains("unknown field"), "{}", wrong.text());
    // A misspelt fault would never happen, and the test that wants it would prove nothing.
    for fault in [
        r#"{"kind":"explode"}"#,
        r#"{"kind":"slow","ms":1,"tiems":1}"#,
        r#"{"kind":"drop","tiems":1}"#,
        r#"{"kind":"truncate","tiems":1}"#,
    ] {
        let wrong = world.ask("POST", "http://127.0.0.1/control/faults", &[], fault.as_bytes());
        assert_eq!(wrong.status, 400, "{fault}");
    }
    let secret = r#"{"secrets":[{"vault":"mykeyvault.vault.azure.net","name":"n","vlaue":"v"}]}"#;
    assert_eq!(world.ask("POST", "http://127.0.0.1/control/seed", &[], secret.as_bytes()).status, 400);
}

#[test]
fn the_record_holds_no_token_secret_or_body() {
    let world = World::new();
    let token = world.vault_token();
    world.send("PUT", &secret("secrets/new"), &token, json!({"value": "value-that-must-not-show"}));
    let entries = world.control("GET", "/requests", Value::Null);
    let shown = entries.to_string();
    for hidden in [token.as_str(), "value-that-must-not-show", world.file("client-secret").as_str()] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    let sign_in = &entries[0];
    assert_eq!((&sign_in["service"], &sign_in["status"]), (&json!("entra"), &json!(200)));
    assert!(sign_in["form"].as_array().unwrap().contains(&json!(["grant_type", "client_credentials"])));
    assert!(sign_in["form"].as_array().unwrap().contains(&json!(["client_secret", null])));
    let put = &entries[1];
    assert_eq!((&put["method"], &put["path"]), (&json!("PUT"), &json!("/secrets/new")));
    assert!(put["headers"].as_array().unwrap().contains(&json!("authorization")));
    let after = world.control("GET", "/requests?after=1", Value::Null);
    assert_eq!(after.as_array().unwrap().len(), 1);
}

#[test]
fn counters_add_up_and_can_be_cleared() {
    let world = World::new();
    let token = world.vault_token();
    world.get(&secret("secrets/secret1"), &token);
    world.get(&secret("secrets/missing"), &token);
    let counters = world.control("GET", "/counters", Value::Null);
    assert_eq!(counters["requests"], json!({"entra": 1, "key-vault": 2}));
    assert_eq!(counters["statuses"], json!({"200": 2, "404": 1}));
    assert_eq!(counters["connections"], 3);
    world.control("DELETE", "/requests", Value::Null);
    assert_eq!(world.control("GET", "/counters", Value::Null)["requests"], json!({}));
}

#[test]
fn a_reset_takes_everything_back_but_files_stay_good() {
    let world = World::new();
    let token = world.vault_token();
    world.send("PUT", &secret("secrets/secret1"), &token, json!({"value": "changed"}));
    world.fault(json!({"service": "key-vault", "kind": "status", "status": 500}));
    world.control("PATCH", "/settings", json!({"latency_ms": 5}));
    world.control("POST", "/remove", json!({"workspaces": ["myworkspace"]}));
    world.control("POST", "/reset", json!({}));
    let fresh = world.vault_token();
    assert_eq!(world.get(&secret("secrets/secret1"), &fresh).json()["value"], "value-of-secret1-version2");
    assert_eq!(world.get(&workspace("?api-version=2024-04-01"), &world.arm_token()).status, 200);
    assert_eq!(world.control("GET", "/settings", Value::Null)["latency_ms"], 0);
}

#[test]
fn what_is_seeded_is_there_and_what_is_removed_is_gone() {
    let world = World::new();
    let token = world.vault_token();
    let secrets: Vec<Value> = (0..200)
        .map(|number| json!({"vault": "mykeyvault.vault.azure.net", "name": format!("bulk-{number}"), "value": format!("v{number}")}))
        .collect();
    world.control("POST", "/seed", json!({"secrets": secrets}));
    assert_eq!(world.get(&secret("secrets/bulk-199"), &token).json()["value"], "v199");
    world.control("POST", "/remove", json!({"secrets": ["mykeyvault.vault.azure.net/bulk-199"]}));
    assert_eq!(world.get(&secret("secrets/bulk-199"), &token).status, 404);
    // A vault that is replaced keeps its secrets.
    world.control(
        "POST",
        "/seed",
        json!({"vaults": [{"name": "mykeyvault", "tenant": fake_azure::defaults::TENANT,
        "subscription": "s", "resource_group": "g", "location": "l", "network": "firewall"}]}),
    );
    assert_eq!(world.get(&secret("secrets/bulk-198"), &token).code(), "Forbidden/ForbiddenByFirewall");
    let unknown =
        world.fake.control("POST", "/control/seed", json!({"secrets": [{"vault": "x", "name": "n", "value": "v"}]}));
    assert!(unknown.unwrap_err().contains("there is no vault"));
}

#[test]
fn the_default_content_holds_the_deployment_file_of_the_docs() {
    let world = World::new();
    let (vault, arm) = (world.vault_token(), world.arm_token());
    assert_eq!(
        world.get(&secret("secrets/secret1/secretversion1"), &vault).json()["value"],
        "value-of-secret1-version1"
    );
    let read = |name: &str| {
        let url = workspace(&format!("/connections/{name}/listsecrets?api-version=2024-04-01"));
        world.send("POST", &url, &arm, Value::Null).json()
    };
    assert_eq!(read("aoai_connection")["properties"]["credentials"]["key"], "key-of-aoai_connection");
    let multi = &read("multi_connection_langchain")["properties"];
    assert_eq!(multi["credentials"]["keys"]["OPENAI_API_KEY"], "key-of-multi_connection_langchain");
    assert_eq!(multi["metadata"]["OPENAI_API_VERSION"], "2023-05-15");
}

#[test]
fn a_claims_demand_is_met_by_a_token_that_asked_for_it() {
    let world = World::new();
    let claims = json!({"access_token": {"nbf": {"essential": true, "value": "1700000000"}}});
    world.control("POST", "/claims", json!({"service": "key-vault", "claims": claims}));
    let got = world.get(&secret("secrets/secret1"), &world.vault_token());
    assert_eq!(got.status, 401);
    assert!(got.header("www-authenticate").contains("error=\"insufficient_claims\", claims=\"eyJ"));
    let secret_text = world.file("client-secret");
    let asked = world.form(
        "token",
        &[
            ("client_id", fake_azure::defaults::CLIENT),
            ("client_secret", &secret_text),
            ("grant_type", "client_credentials"),
            ("scope", "https://vault.azure.net/.default"),
            ("claims", &claims.to_string()),
        ],
    );
    let token = asked.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&secret("secrets/secret1"), &token).status, 200);
}
