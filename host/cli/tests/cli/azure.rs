//! Azure's own references against the fake Azure: the bundled plugins, the whole way from a sign-in to a
//! value, and what is said where something is in the way.

use fake_azure::{Fake, Options, defaults};
use serde_json::{Value, json};

use crate::support::*;

pub const VAULT: &str = "mykeyvault.vault.azure.net";
pub const SECRET: &str = "keyvault:https://mykeyvault.vault.azure.net/secrets/secret1";

/// A home whose Key Vault mount signs in as `credential` says, everything at the fake.
pub fn home(fake: &Fake, credential: &str) -> Home {
    let home = Home::new();
    let port = fake.https_port();
    let secret = std::fs::read_to_string(fake.folder().join("client-secret")).unwrap().trim().to_owned();
    home.guard(&secret);
    home.write_secret("secrets/client-secret", format!("{secret}\n"));
    home.sink(home.work("secrets/client-secret"));
    std::fs::copy(fake.ca_file(), home.work("ca.pem")).unwrap();
    let names = [
        VAULT,
        "fabrikamvault.vault.azure.net",
        "login.microsoftonline.com",
        "policyvault.vault.azure.net",
        "firewalledvault.vault.azure.net",
    ];
    let addresses: String = names.iter().map(|name| format!("\"{name}\" = \"127.0.0.1:{port}\"\n")).collect();
    home.write(
        "strongroom.toml",
        format!(
            "[mounts.vault]\nplugin = \"azure-key-vault\"\ncredential = \"corp\"\nhosts = [\"*.vault.azure.net\"]\nwrite = true\n\
             [mounts.files]\nplugin = \"file\"\nconfig.folders = [\"{folder}\"]\n\
             [credentials.corp]\n{credential}\naudiences = [\"https://vault.azure.net\"]\n\
             [ca.fake]\nfile = \"ca.pem\"\nhosts = [\"*.vault.azure.net\", \"login.microsoftonline.com\"]\n\
             [addresses]\n{addresses}\"169.254.169.254\" = \"127.0.0.1:{http}\"\n",
            folder = home.work("secrets").display(),
            http = fake.http_port(),
        ),
    );
    home.set("STRONGROOM_CONFIG", home.work("strongroom.toml"));
    home
}

pub fn principal(home_folder: &str) -> String {
    format!(
        "plugin = \"service-principal\"\nconfig = {{ tenant = \"{}\", client_id = \"{}\" }}\n\
         sealed = {{ client_secret = \"file:{home_folder}/client-secret\" }}",
        defaults::TENANT,
        defaults::CLIENT
    )
}

pub fn with_secret(fake: &Fake) -> Home {
    let home = home(fake, "SIGN-IN");
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let folder = home.work("secrets").display().to_string();
    home.write("strongroom.toml", config.replace("SIGN-IN", &principal(&folder)));
    home
}

/// How often the fake was asked for a token so far.
pub fn sign_ins(fake: &Fake) -> usize {
    let requests = fake.control("GET", "/control/requests?service=entra&method=POST", Value::Null).unwrap();
    requests.as_array().or_else(|| requests["requests"].as_array()).unwrap().len()
}

#[test]
fn a_service_principal_reads_a_vault_and_holds_nothing() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
    home.strongroom(["get", &format!("{SECRET}/secretversion1")]).done().ok().prints("value-of-secret1-version1");
    // The second run had the first one's token.
    assert_eq!(sign_ins(&fake), 1);
    home.strongroom(["whoami", "corp"]).done().ok().shows("good for: ");
    home.strongroom(["logout", "corp"]).done().ok();
    home.strongroom(["get", SECRET]).done().ok();
    assert_eq!(sign_ins(&fake), 2);

    // In a program, masked; every request is told, and no token.
    home.strongroom(["run", "-e", &format!("A={SECRET}"), "--", "sh", "-c", "echo $A"]).done().ok().prints("***\n");
    home.strongroom(["plugin", "run", SECRET]).done().ok().says("answered 200").says_not("value-of-secret1");
    home.strongroom(["explain", SECRET]).done().ok().shows(VAULT).shows("corp").shows("at 127.0.0.1:");
}

#[test]
fn what_a_vault_refuses_is_said_in_words_that_help() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let get = |name: &str| home.strongroom(["get", &format!("keyvault:https://{VAULT}/secrets/{name}")]).done();
    get("absent").status(6).says("absent");
    get("disabled").status(4).says("disabled");
    get("expired").ok();
    let expired = format!("keyvault:https://{VAULT}/secrets/expired");
    home.strongroom(["-v", "get", &expired]).done().ok().says("expired");
    let elsewhere = |vault: &str| {
        home.strongroom(["get", &format!("keyvault:https://{vault}.vault.azure.net/secrets/secret1")]).done()
    };
    elsewhere("firewalledvault").status(4);
    // Another tenant's vault asks for a token of that tenant, which the operator did not allow.
    elsewhere("fabrikamvault").fails(4, "credential.tenant").says("tenants = ");
}

#[test]
fn a_wrong_secret_is_the_identity_providers_no_and_no_secret_is_told() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let wrong = home.canary("wrong-secret");
    home.write_secret("secrets/client-secret", &wrong);
    home.strongroom(["get", SECRET]).done().status(5).says("7000215").says_not(&wrong);
}

#[test]
fn set_list_delete_and_recover_go_to_the_vault() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let reference = format!("keyvault:https://{VAULT}/secrets/made-here");
    let value = home.canary("set-value");
    home.strongroom(["set", &reference]).input(value.as_bytes()).done().ok();
    home.strongroom(["get", &reference]).shows().done().ok().prints(&value);
    home.strongroom(["list", &format!("keyvault:https://{VAULT}/secrets")]).done().ok().shows("made-here");
    home.strongroom(["delete", "--yes", &reference]).done().ok();
    home.strongroom(["get", &reference]).done().status(6);
}

#[test]
fn faults_pass_or_are_typed_and_no_value_is_ever_wrong() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let fault = |fault: Value| drop(fake.control("POST", "/control/faults", fault).unwrap());
    fault(json!({"kind": "status", "status": 503, "service": "key-vault", "times": 1}));
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
    fault(json!({"kind": "status", "status": 429, "retry_after": "1", "service": "key-vault", "times": 1}));
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
    fault(json!({"kind": "not_json", "status": 200, "service": "key-vault", "times": 1}));
    home.strongroom(["get", SECRET]).done().status(11);
    fault(json!({"kind": "foreign_challenge", "resource": "https://evil.example", "service": "key-vault", "times": 1}));
    fake.control("POST", "/control/tokens/revoke", Value::Null).unwrap();
    home.strongroom(["get", SECRET]).done().fails(5, "challenge.resource");
    // A revoked token is got anew, once.
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
    fake.control(
        "POST",
        "/control/claims",
        json!({"service": "key-vault", "claims": {"access_token": {"nbf": {"essential": true, "value": "1"}}}}),
    )
    .unwrap();
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
}

#[test]
fn a_certificate_signs_in_without_its_key_leaving_the_host() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    std::fs::copy(fake.folder().join("client-certificate.pem"), home.work("secrets/certificate.pem")).unwrap();
    let folder = home.work("secrets").display().to_string();
    let sealed = format!("client_secret = \"file:{folder}/client-secret\"");
    home.write("strongroom.toml", config.replace(&sealed, &format!("certificate = \"file:{folder}/certificate.pem\"")));
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
}

#[test]
fn the_machines_identity_reads_a_vault() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, "plugin = \"managed-identity\"");
    home.set("IDENTITY_ENDPOINT", format!("http://127.0.0.1:{}/app-service/token", fake.http_port()));
    home.set("IDENTITY_HEADER", std::fs::read_to_string(fake.folder().join("identity-header")).unwrap().trim());
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
}

#[test]
fn a_person_signs_in_with_a_code_and_stays_signed_in() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, "plugin = \"device-code\"");
    home.strongroom(["get", SECRET]).done().status(5).says("strongroom login");
    fake.control("PATCH", "/control/settings", json!({"device_auto_approve": 1, "device_interval": 1})).unwrap();
    home.strongroom(["login", "--quiet", "corp"]).done().ok().says("enter the code");
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-secret1-version2");
    home.strongroom(["logout", "corp"]).done().ok();
    home.strongroom(["get", SECRET]).done().status(5).says("strongroom login");
}

/// What Azure ML's documentation deploys, as it is written there.
const DEPLOYMENT: &str = "\
environment_variables:
  AOAI_CONNECTION: ${{azureml://connections/aoai_connection}}
  OPENAI_KEY: ${{azureml://connections/multi_connection_langchain/credentials/OPENAI_API_KEY}}
  OPENAI_VERSION: ${{azureml://connections/multi_connection_langchain/metadata/OPENAI_API_VERSION}}
  USER_SECRET_KV1_KEY: ${{keyvault:https://mykeyvault.vault.azure.net/secrets/secret1/secretversion1}}
";

#[test]
fn a_deployment_of_azure_ml_runs_as_it_is_written() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_workspace(&fake);
    home.write("deployment.yaml", DEPLOYMENT);
    let script = r#"test "$USER_SECRET_KV1_KEY" = value-of-secret1-version1 && test -n "$OPENAI_KEY" && test -n "$OPENAI_VERSION" \
        && case "$AOAI_CONNECTION" in *'"credentials"'*'"key"'*) echo all there;; esac"#;
    home.strongroom(["run", "-f", "deployment.yaml", "--", "sh", "-c", script]).done().ok().prints("all there\n");
    // Two fields of one connection were one request, and the other connection another.
    let asked = fake.control("GET", "/control/requests?service=arm&method=POST", Value::Null).unwrap();
    assert_eq!(asked.as_array().or_else(|| asked["requests"].as_array()).unwrap().len(), 2, "{asked}");
}

/// As the quickstart does, and whoever started the fake by hand.
#[test]
fn the_example_runs_with_the_config_that_the_fake_writes() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = Home::new();
    home.sink(fake.folder().join("client-secret"));
    let config = fake.folder().join("strongroom.toml").display().to_string();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/azure/deployment.yaml");
    assert!(std::fs::read_to_string(example).unwrap().ends_with(DEPLOYMENT));
    let script = "test -n \"$OPENAI_KEY\" && echo \"$USER_SECRET_KV1_KEY\"";
    home.strongroom(["--config", &config, "run", "-f", example, "--", "sh", "-c", script]).done().ok().prints("***\n");
    home.strongroom(["--config", &config, "check", "-f", example]).done().ok();
}

#[test]
fn what_a_connection_lacks_is_told_by_name() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_workspace(&fake);
    let get = |what: &str| home.strongroom(["get", &format!("azureml://connections/{what}")]).done();
    get("absent_connection").status(6).says("absent_connection");
    get("multi_connection_langchain/credentials/NOTHING").status(6).says("OPENAI_API_KEY");
    get("multi_connection_langchain/metadata/NOTHING").status(6).says("OPENAI_API_VERSION");
    get("entra_search/credentials/key").status(6);
    home.strongroom(["get", "azureml://connections/a%2Fb"]).done().status(2);
}

/// As [`with_secret`], with the workspace's connections beside the vault.
pub fn with_workspace(fake: &Fake) -> Home {
    let home = with_secret(fake);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let workspace = format!(
        "[mounts.azureml]\nplugin = \"azure-workspace-connection\"\ncredential = \"corp\"\n\
         config = {{ subscription = \"{}\", resource_group = \"{}\", workspace = \"{}\" }}\n{config}\
         \"management.azure.com\" = \"127.0.0.1:{}\"\n",
        defaults::SUBSCRIPTION,
        defaults::RESOURCE_GROUP,
        defaults::WORKSPACE,
        fake.https_port()
    );
    let config = workspace
        .replace("audiences = [", "audiences = [\"https://management.azure.com\", ")
        .replace("\"login.microsoftonline.com\"]", "\"login.microsoftonline.com\", \"management.azure.com\"]");
    home.write("strongroom.toml", config);
    home
}
