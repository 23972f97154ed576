//! Key Vault, the resource manager and Azure ML's own service: who may do what, and what is said.

use fake_azure::defaults;
use serde_json::{Value, json};

use crate::client::{ARM, World, secret, workspace};

const VERSION: &str = "api-version=2024-04-01";

fn connection(rest: &str) -> String {
    workspace(&format!("/connections{rest}?{VERSION}"))
}

#[test]
fn a_vault_says_what_is_wrong_with_a_token() {
    let world = World::new();
    let url = secret("secrets/secret1");
    let bare = world.ask("GET", &url, &[], b"");
    assert_eq!(
        bare.json(),
        json!({"error": {"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token."}})
    );
    assert_eq!(
        bare.header("www-authenticate"),
        format!(
            "Bearer authorization=\"https://login.windows.net/{}\", resource=\"https://vault.azure.net\"",
            defaults::TENANT
        )
    );
    let said = |token: &str, vault: &str| world.get(&url.replace("mykeyvault", vault), token).text();
    let token = world.vault_token();
    assert!(said("x.y.z", "mykeyvault").contains("AKV10001"));
    assert!(said(&world.arm_token(), "mykeyvault").contains(
        "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://management.azure.com."
    ));
    assert!(
        said(&token, "fabrikamvault").contains("AKV10032: Invalid issuer. Expected one of https://sts.windows.net/")
    );
    world.control("POST", "/clock", json!({"advance_seconds": 3600}));
    assert!(said(&token, "mykeyvault").contains("[TokenExpired]"));
    let fresh = world.vault_token();
    world.control("POST", "/tokens/revoke", json!({}));
    assert_eq!(world.get(&url, &fresh).status, 401);
    assert_eq!(world.get(&url, &world.vault_token()).status, 200);
}

#[test]
fn a_role_reaches_as_far_as_its_scope() {
    let world = World::new();
    let token = world.token_of(defaults::NOBODY, "nobody-client-secret", "https://vault.azure.net/.default");
    assert_eq!(world.get(&secret("secrets/secret1"), &token).code(), "Forbidden/ForbiddenByRbac");
    let scope = format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.KeyVault/vaults/mykeyvault/secrets/secret1",
        defaults::SUBSCRIPTION,
        defaults::RESOURCE_GROUP
    );
    world.control("POST", "/seed", json!({"assignments": [
        {"principal": "bbbbbbbb-1111-2222-3333-cccccccccccc", "role": "4633458b-17de-408a-b874-0445c86b69e6", "scope": scope}]}));
    assert_eq!(world.get(&secret("secrets/secret1"), &token).status, 200);
    assert_eq!(world.get(&secret("secrets/expired"), &token).status, 403);
    assert_eq!(world.get(&secret("secrets"), &token).status, 403);
    assert_eq!(world.send("PUT", &secret("secrets/secret1"), &token, json!({"value": "v"})).status, 403);
    let unknown = world.fake.control(
        "POST",
        "/control/seed",
        json!({"assignments": [{"principal": "p", "role": "King", "scope": "/"}]}),
    );
    assert!(unknown.unwrap_err().contains("King"));
}

#[test]
fn a_vault_checks_versions_names_bodies_and_pages() {
    let world = World::new();
    let token = world.vault_token();
    let code = |url: &str| world.get(url, &token).code();
    assert_eq!(code("https://mykeyvault.vault.azure.net/secrets/secret1"), "BadParameter");
    assert_eq!(code("https://mykeyvault.vault.azure.net/secrets/secret1?api-version=1.0"), "BadParameter");
    assert_eq!(code(&format!("{}&maxresults=0", secret("secrets"))), "BadParameter");
    assert_eq!(code(&format!("{}&$skiptoken=x", secret("secrets"))), "BadParameter");
    assert_eq!(code(&secret("secrets/under_score")), "BadParameter");
    assert_eq!(code(&secret(&format!("secrets/{}", "a".repeat(128)))), "BadParameter");
    assert_eq!(code(&secret(&format!("secrets/{}", "a".repeat(127)))), "SecretNotFound");
    // With a slash at its end, and in other letters: the same.
    assert_eq!(world.get(&secret("secrets/SECRET1/"), &token).status, 200);
    let put = |body: Value| world.send("PUT", &secret("secrets/new"), &token, body).status;
    assert_eq!(put(json!({"value": "x".repeat(25_600)})), 200);
    assert_eq!(put(json!({"value": "x".repeat(25_601)})), 400);
    assert_eq!(put(json!({"contentType": "text/plain"})), 400);
    assert_eq!(put(json!({"value": "v", "contentType": "x".repeat(256)})), 400);
    let tags: serde_json::Map<String, Value> = (0..16).map(|number| (number.to_string(), json!("t"))).collect();
    assert_eq!(put(json!({"value": "v", "tags": tags})), 400);
    let first = world.get(&format!("{}&maxresults=2", secret("secrets")), &token).json();
    let link = first["nextLink"].as_str().unwrap();
    assert!(
        link.starts_with("https://mykeyvault.vault.azure.net:443/secrets?api-version=7.4&$skiptoken=")
            && link.contains("%3D"),
        "{link}"
    );
    let second = world.get(&link.replace(":443", ""), &token).json();
    assert_eq!(second["value"].as_array().unwrap().len(), 2);
    assert_ne!(first["value"], second["value"]);
}

#[test]
fn a_deletion_takes_as_many_looks_as_the_vault_says() {
    let world = World::new();
    let token = world.vault_token();
    world.control(
        "POST",
        "/seed",
        json!({"vaults": [{"name": "mykeyvault", "tenant": defaults::TENANT, "location": "eastus",
        "subscription": defaults::SUBSCRIPTION, "resource_group": defaults::RESOURCE_GROUP, "settle_looks": 2}]}),
    );
    assert_eq!(world.send("DELETE", &secret("secrets/secret1"), &token, Value::Null).status, 200);
    let look = || world.get(&secret("deletedsecrets/secret1"), &token).status;
    assert_eq!([look(), look(), look()], [404, 404, 200]);
    let recover = world.send("POST", &secret("deletedsecrets/secret1/recover"), &token, Value::Null);
    assert!(recover.status == 200 && recover.json().get("value").is_none());
    let look = || world.get(&secret("secrets/secret1"), &token).status;
    assert_eq!([look(), look(), look()], [404, 404, 200]);
    // Kept for ninety days, and then gone without anyone's doing.
    world.send("DELETE", &secret("secrets/secret1"), &token, Value::Null);
    world.control("POST", "/clock", json!({"advance_seconds": 91 * 86_400}));
    let token = world.vault_token();
    assert_eq!(world.send("PUT", &secret("secrets/secret1"), &token, json!({"value": "v"})).status, 200);
}

#[test]
fn credentials_are_in_no_answer_but_that_of_listsecrets() {
    let world = World::new();
    let token = world.arm_token();
    let body = json!({"properties": {"authType": "CustomKeys", "category": "CustomKeys", "target": "_",
        "credentials": {"keys": {"A": "hidden-value"}}, "metadata": {"M": "1"}, "expiryTime": null}});
    let put = world.send("PUT", &connection("/made"), &token, body);
    assert_eq!((put.status, &put.json()["properties"]["credentials"]), (200, &Value::Null));
    let patch = world.send("PATCH", &connection("/made"), &token, json!({"properties": {"target": "t"}}));
    for got in [&put, &patch, &world.get(&connection("/made"), &token), &world.get(&connection(""), &token)] {
        assert!(got.status == 200 && !got.text().contains("hidden-value"), "{}", got.text());
    }
    let read = world.send("POST", &connection("/MADE/listsecrets"), &token, Value::Null).json();
    assert_eq!(read["properties"]["credentials"], json!({"keys": {"A": "hidden-value"}}));
    assert_eq!(read["properties"]["target"], "t");
    assert_eq!(world.send("DELETE", &connection("/made"), &token, Value::Null).status, 200);
    assert_eq!(world.send("DELETE", &connection("/made"), &token, Value::Null).status, 204);
}

#[test]
fn a_connection_that_does_not_fit_is_not_made() {
    let world = World::new();
    let token = world.arm_token();
    let put = |name: &str, properties: Value| {
        world.send("PUT", &connection(&format!("/{name}")), &token, json!({"properties": properties})).status
    };
    let good = json!({"authType": "ApiKey", "category": "OpenAI", "credentials": {"key": "k"}});
    assert_eq!(put("abc", good.clone()), 200);
    for name in ["ab", "_abc", "a.bc", "a%2Fbc", &"a".repeat(34)] {
        assert_ne!(put(name, good.clone()), 200, "{name}");
    }
    assert_eq!(put("abc", json!({"authType": "Nonsense", "category": "OpenAI"})), 400);
    assert_eq!(put("abc", json!({"authType": "ApiKey", "category": "OpenAI", "credentials": {"pat": "p"}})), 400);
    assert_eq!(put("abc", json!({"authType": "ApiKey"})), 400);
}

#[test]
fn the_resource_manager_says_what_is_wrong_with_a_request() {
    let world = World::new();
    let token = world.arm_token();
    let code = |url: &str, token: &str| world.get(url, token).code();
    let bare = world.ask("GET", &connection(""), &[], b"");
    assert_eq!(bare.code(), "AuthenticationFailed");
    assert!(bare.header("www-authenticate").starts_with("Bearer authorization_uri=\"https://login.windows.net/"));
    assert_eq!(code(&connection(""), "x.y.z"), "InvalidAuthenticationToken");
    assert_eq!(code(&connection(""), &world.vault_token()), "InvalidAuthenticationTokenAudience");
    assert_eq!(code(&workspace("/connections"), &token), "MissingApiVersionParameter");
    assert_eq!(code(&workspace("/connections?api-version=1999-01-01"), &token), "NoRegisteredProviderFound");
    assert_eq!(code(&connection("/missing"), &token), "UserError");
    assert_eq!(code(&connection("").replace(defaults::SUBSCRIPTION, "other"), &token), "SubscriptionNotFound");
    assert_eq!(code(&connection("").replace("myresourcegroup", "other"), &token), "ResourceGroupNotFound");
    assert_eq!(code(&connection("").replace("/myworkspace/", "/other/"), &token), "ResourceNotFound");
    // The legacy audience serves as well, and segments have no case.
    let legacy = world.token("https://management.core.windows.net//.default");
    assert_eq!(world.get(&connection("").replace("resourceGroups", "resourcegroups"), &legacy).status, 200);
    world.control("POST", "/clock", json!({"advance_seconds": 3600}));
    assert_eq!(code(&connection(""), &token), "ExpiredAuthenticationToken");
}

#[test]
fn a_list_is_filtered_and_paged() {
    let world = World::new();
    let token = world.arm_token();
    let names = |query: &str| {
        let list = world.get(&format!("{}{query}", connection("")), &token).json();
        list["value"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("&category=S3"), ["s3_access_key"]);
    assert_eq!(names("&target=https%3A%2F%2Fregistry.azurecr.io"), ["managed_identity"]);
    assert_eq!(names("").len(), 13);
    world.control(
        "POST",
        "/seed",
        json!({"workspaces": [{"name": "myworkspace", "subscription": defaults::SUBSCRIPTION,
        "resource_group": "myresourcegroup", "tenant": defaults::TENANT, "location": "centralus", "page_size": 10}]}),
    );
    let first = world.get(&connection(""), &token).json();
    let link = first["nextLink"].as_str().unwrap();
    assert!(link.starts_with(ARM) && link.contains("&$skip=10"), "{link}");
    assert_eq!(world.get(link, &token).json()["value"].as_array().unwrap().len(), 3);
}

#[test]
fn a_caller_can_ask_what_it_may_do() {
    let world = World::new();
    let url = workspace(&format!("/providers/Microsoft.Authorization/permissions?{VERSION}"));
    let own = world.get(&url, &world.arm_token()).json();
    assert_eq!(own["value"][0]["actions"], json!(["*"]));
    let nobody = world.token_of(defaults::NOBODY, "nobody-client-secret", "https://management.azure.com/.default");
    assert_eq!(world.get(&url, &nobody).json()["value"], json!([]));
    let refused = world.send("POST", &connection("/aoai_connection/listsecrets"), &nobody, Value::Null);
    assert_eq!(refused.code(), "AuthorizationFailed");
    assert!(refused.text().contains(
        "'Microsoft.MachineLearningServices/workspaces/connections/listsecrets/action' over scope '/subscriptions/"
    ));
    let given = workspace(&format!(
        "/providers/Microsoft.Authorization/roleAssignments?{VERSION}&$filter=assignedTo('{}')",
        defaults::SYSTEM_OBJECT
    ));
    let given = world.get(&given, &world.arm_token()).json();
    assert!(
        given["value"][0]["properties"]["roleDefinitionId"]
            .as_str()
            .unwrap()
            .ends_with("ea01e6af-a1c1-4350-9563-ad00f8c72ec5")
    );
    let keyvault =
        world.get(&workspace(&format!("?{VERSION}")), &world.arm_token()).json()["properties"]["keyVault"].clone();
    assert!(keyvault.as_str().unwrap().ends_with("/vaults/myworkspacekv"));
}

#[test]
fn the_v1_service_serves_on_loopback_too_and_keeps_workspaces_apart() {
    let world = World::new();
    let run = world.file("run-token");
    let base = "http://127.0.0.1/credential/v2.0";
    let at = |path: &str| workspace(path).replace(ARM, base);
    assert_eq!(world.ask("GET", "http://127.0.0.1/discovery", &[], b"").json()["experimentation"], "http://127.0.0.1");
    assert_eq!(world.get(&at("/secrets/workspace-secret"), &run).json()["value"], "value-of-workspace-secret");
    let batch = world.send(
        "PUT",
        &at("/secrets:putbatch"),
        &run,
        json!({"secrets": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]}),
    );
    assert!(batch.status == 200 && !batch.text().contains("\"value\""), "{}", batch.text());
    let got =
        world.send("POST", &at("/secrets:getbatch"), &run, json!({"secrets": [{"name": "a"}, {"name": "zz"}]})).json();
    assert_eq!((&got["secrets"][0]["value"], &got["notFoundSecrets"]), (&json!("1"), &json!(["zz"])));
    let missing = world.get(&at("/secrets/zz"), &run);
    assert_eq!((missing.status, &missing.json()["error"]["innerError"]["code"]), (404, &json!("SecretNotFound")));
    assert_eq!(world.send("POST", &at("/secrets:deletebatch"), &run, json!({"secrets": [{"name": "a"}]})).status, 200);
    assert_eq!(world.send("PUT", &at("/secrets"), &run, json!({"name": "a", "value": "again"})).status, 409);
    assert_eq!(world.send("PUT", &at("/secrets"), &run, json!({"name": "a_b", "value": "v"})).status, 400);

    world.control("POST", "/seed", json!({"workspaces": [{"name": "other", "subscription": defaults::SUBSCRIPTION,
        "resource_group": "myresourcegroup", "tenant": defaults::TENANT, "location": "centralus", "vault": "mykeyvault.vault.azure.net"}]}));
    assert_eq!(world.get(&at("/secrets/secret1").replace("/myworkspace/", "/other/"), &run).status, 403);
    assert_eq!(world.get(&at("/secrets/workspace-secret"), &world.vault_token()).status, 401);
    let nobody = world.token_of(defaults::NOBODY, "nobody-client-secret", "https://ml.azure.com/.default");
    assert_eq!(world.get(&at("/secrets/workspace-secret"), &nobody).status, 403);
    let renewed =
        at(&format!("/experimentids/e/runs/{}/token", defaults::RUN)).replace("credential/v2.0", "history/v1.0");
    let renewed = world.get(&renewed, &run).json();
    assert_eq!(world.get(&at("/secrets/workspace-secret"), renewed["token"].as_str().unwrap()).status, 200);
}
