//! `enforce_access_to_default_secret_stores` of an endpoint's file: who runs Strongroom must be allowed to read
//! what the mounts' credentials read.

use fake_azure::{Fake, Options, defaults};
use serde_json::{Value, json};

use crate::azure::with_workspace;
use crate::support::*;

const DEPLOYMENT: &str = "\
environment_variables:
  KEY: ${{azureml://connections/multi_connection_langchain/credentials/OPENAI_API_KEY}}
  SECRET: ${{keyvault:https://mykeyvault.vault.azure.net/secrets/secret1/secretversion1}}
  HERE: ${{env:HOME}}
";

const ENABLED: &str = "\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json
name: my-endpoint
auth_mode: key
properties:
  enforce_access_to_default_secret_stores: enabled  # default: disabled
";

const ME: &str = "\
[credentials.me]
plugin = \"device-code\"
audiences = [\"https://management.azure.com\", \"https://vault.azure.net\"]
";

/// Config, deployment and endpoint; the mounts name the person if `person` says so.
fn home(fake: &Fake, person: bool) -> Home {
    let home = with_workspace(fake);
    if person {
        let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
        let mounts = config.replace("credential = \"corp\"\n", "credential = \"corp\"\nperson = \"me\"\n");
        home.write("strongroom.toml", mounts.replace("[credentials.corp]", &format!("{ME}[credentials.corp]")));
    }
    home.write("deployment.yaml", DEPLOYMENT);
    home.write("endpoint.yaml", ENABLED);
    home
}

fn sign_in(fake: &Fake, home: &Home, person: &str) {
    let settings = json!({"device_auto_approve": 0, "device_interval": 1, "person": person});
    fake.control("PATCH", "/control/settings", settings).unwrap();
    home.strongroom(["login", "me"]).done().ok().says("enter the code");
}

fn run<'h>(home: &'h Home, options: &[&'static str]) -> Call<'h> {
    let words = ["run", "-f", "deployment.yaml"].into_iter().chain(options.iter().copied());
    home.strongroom(words.chain(["--", "echo", "started"]))
}

const ENDPOINT: [&str; 2] = ["--endpoint", "endpoint.yaml"];

#[test]
fn a_person_without_the_roles_starts_nothing() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, true);
    run(&home, &[]).done().ok().prints("started\n");
    run(&home, &ENDPOINT).done().status(105).prints("").says("strongroom login");

    sign_in(&fake, &home, defaults::READER);
    let done = run(&home, &ENDPOINT).done().status(104).prints("");
    let done = done.says("the person's own permission is missing").says("credential me").says(defaults::READER);
    let done = done.says("Azure Machine Learning Workspace Connection Secrets Reader").says("Key Vault Secrets User");
    done.says("enforces access").says("[AuthorizationFailed]").says("[ForbiddenByRbac]").says_not("value-of");
    // What the mounts' own credential reads is as before.
    run(&home, &[]).done().ok().prints("started\n");
    let check =
        home.strongroom(["check", "--json", "-f", "deployment.yaml"].into_iter().chain(ENDPOINT)).done().status(4);
    let problems = check.json()["problems"].as_array().unwrap().clone();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|problem| problem["attributes"]["person"] == "me"), "{problems:?}");
    home.strongroom(["export", "-f", "deployment.yaml"].into_iter().chain(ENDPOINT)).done().status(4).prints("");
}

#[test]
fn a_person_with_the_roles_passes_and_both_were_asked() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, true);
    sign_in(&fake, &home, defaults::PERSON);
    fake.control("DELETE", "/control/requests", Value::Null).unwrap();
    run(&home, &ENDPOINT).done().ok().prints("started\n");
    let asked = |service: &str| {
        let requests = fake.control("GET", &format!("/control/requests?service={service}"), Value::Null).unwrap();
        requests.as_array().or_else(|| requests["requests"].as_array()).unwrap().len()
    };
    assert_eq!((asked("arm"), asked("key-vault")), (2, 2));
    home.strongroom(["check", "-f", "deployment.yaml"].into_iter().chain(ENDPOINT)).done().ok().says("all resolve");
    home.strongroom(["explain", "azureml://connections/aoai_connection"]).done().ok().shows("person      me");
}

#[test]
fn the_mounts_own_identity_must_still_be_allowed() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, true);
    sign_in(&fake, &home, defaults::PERSON);
    let secret = std::fs::read_to_string(fake.folder().join("nobody-client-secret")).unwrap();
    home.guard(secret.trim());
    home.write_secret("secrets/client-secret", &secret);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    home.write("strongroom.toml", config.replace(defaults::CLIENT, defaults::NOBODY));
    let done = run(&home, &ENDPOINT).done().status(104).prints("").says("[ForbiddenByRbac]");
    done.says_not("the person's own");
}

#[test]
fn without_a_person_it_is_an_error_and_disabled_is_nothing() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, false);
    run(&home, &ENDPOINT)
        .done()
        .fails(102, "enforce.no-person")
        .says("person = \"me\" under [mounts.azureml]")
        .prints("");
    for text in ["name: e\n", "name: e\nproperties:\n  enforce_access_to_default_secret_stores: disabled\n"] {
        home.write("endpoint.yaml", text);
        run(&home, &ENDPOINT).done().ok().prints("started\n");
    }
    // What is not understood is not "off".
    home.write("endpoint.yaml", "properties:\n  enforce_access_to_default_secret_stores: true\n");
    run(&home, &ENDPOINT).done().fails(102, "endpoint.setting").says("endpoint.yaml:2:3").prints("");
    home.write("endpoint.yaml", "name: blue\nendpoint_name: e\n");
    run(&home, &ENDPOINT).done().fails(102, "endpoint.deployment").prints("");
    run(&home, &["--endpoint", "absent.yaml"]).done().fails(106, "file.unreadable").prints("");
    let check = |options: &[&'static str]| {
        let words = ["check", "-f", "deployment.yaml", "--endpoint", "endpoint.yaml"];
        home.strongroom(words.into_iter().chain(options.iter().copied())).done().fails(2, "endpoint.deployment")
    };
    check(&[]);
    check(&["--parse"]);
}

#[test]
fn a_project_names_no_person_but_its_own() {
    let home = Home::new();
    let user = |projects: &str| {
        home.configure(&format!(
            "[credentials.mine]\nplugin = \"device-code\"\naudiences = [\"https://vault.azure.net\"]\n{projects}"
        ));
    };
    user("");
    home.write(
        "strongroom.toml",
        "[mounts.vault]\nplugin = \"azure-key-vault\"\nhosts = [\"v.vault.azure.net\"]\ncredential = \"theirs\"\nperson = \"mine\"\n\
         [credentials.theirs]\nplugin = \"managed-identity\"\naudiences = [\"https://vault.azure.net\"]\n",
    );
    home.strongroom(["trust", "--yes"]).done().ok();
    home.strongroom(["list", "--sources"]).done().fails(4, "config.credential-project").says("mine");
    user(&format!("projects = [\"{}\"]\n", home.work("").display()));
    home.strongroom(["list", "--sources"]).done().ok();
    // And one that is not there is told.
    home.configure("");
    home.strongroom(["list", "--sources"]).done().fails(2, "config.credential").says("there is no credential mine");
}
