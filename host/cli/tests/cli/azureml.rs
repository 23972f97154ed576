//! The secrets that Azure ML's v1 SDK keeps with a workspace, and where a workspace is said: the mount's config,
//! a run's variables, a trusted config.json.

use fake_azure::{Fake, Options, defaults};
use serde_json::{Value, json};

use crate::azure::with_secret;
use crate::support::*;

const SECRET: &str = "azureml://keyvault/workspace-secret";
const CONNECTION: &str = "azureml://connections/aoai_connection/credentials/key";
const SERVICES: [&str; 3] = ["management.azure.com", "centralus.api.azureml.ms", "centralus.experiments.azureml.net"];

/// The workspace, as a mount's config says it.
fn workspace() -> String {
    format!(
        "subscription = \"{}\", resource_group = \"{}\", workspace = \"{}\"",
        defaults::SUBSCRIPTION,
        defaults::RESOURCE_GROUP,
        defaults::WORKSPACE
    )
}

/// A home with a mount for each half of `azureml:`, both with the config `config`.
fn home(fake: &Fake, config: &str) -> Home {
    let home = with_secret(fake);
    let text = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let mounts = format!(
        "[mounts.kept]\nplugin = \"azureml-keyvault\"\ncredential = \"corp\"\nwrite = true\n\
         match = [\"keyvault\", \"keyvault/**\"]\nconfig = {{ {config} }}\n\
         [mounts.connections]\nplugin = \"azure-workspace-connection\"\ncredential = \"corp\"\n\
         match = [\"connections\", \"connections/**\"]\nconfig = {{ {config} }}\n"
    );
    let told: String =
        SERVICES.iter().map(|name| format!("\"{name}\" = \"127.0.0.1:{}\"\n", fake.https_port())).collect();
    let text = text.replace("audiences = [", "audiences = [\"https://management.azure.com\", ").replace(
        "\"login.microsoftonline.com\"]",
        "\"login.microsoftonline.com\", \"management.azure.com\", \"*.api.azureml.ms\", \"*.experiments.azureml.net\"]",
    );
    home.write("strongroom.toml", format!("{mounts}{text}{told}"));
    home
}

/// How the service was asked: method and path, without what leads to the workspace.
fn asked(fake: &Fake, service: &str) -> Vec<String> {
    let requests = fake.control("GET", &format!("/control/requests?service={service}"), Value::Null).unwrap();
    let list = requests.as_array().or_else(|| requests["requests"].as_array()).unwrap().clone();
    let line = |request: &Value| {
        let path = request["path"].as_str().unwrap();
        format!("{} {}", request["method"].as_str().unwrap(), path.rsplit('/').next().unwrap())
    };
    list.iter().map(line).collect()
}

#[test]
fn a_workspaces_secrets_are_found_read_set_listed_and_deleted() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, &workspace());
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-workspace-secret");
    // The workspace told where the service is.
    assert_eq!(asked(&fake, "arm"), ["GET myworkspace"]);
    assert_eq!(asked(&fake, "ml"), ["GET discovery", "GET workspace-secret"]);

    let value = home.canary("set-value");
    home.strongroom(["set", "azureml://keyvault/made-here"]).input(value.as_bytes()).done().ok();
    home.strongroom(["get", "azureml://keyvault/made-here"]).shows().done().ok().prints(&value);
    home.strongroom(["list", "azureml://keyvault"]).done().ok().shows("made-here").shows("workspace-secret");
    home.strongroom(["delete", "--yes", "azureml://keyvault/made-here"]).done().ok();
    home.strongroom(["get", "azureml://keyvault/made-here"]).done().status(6).says("made-here");
    home.strongroom(["get", CONNECTION]).done().ok().prints("key-of-aoai_connection");
}

#[test]
fn several_secrets_are_one_request_and_one_that_is_missing_fails_alone() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, &format!("{}, discovery = \"https://centralus.api.azureml.ms/discovery\"", workspace()));
    home.strongroom(["set", "azureml://keyvault/second"]).input(&b"value-of-second"[..]).done().ok();
    let before = asked(&fake, "ml").len();
    let both = ["-e".to_owned(), format!("A={SECRET}"), "-e".to_owned(), "B=azureml://keyvault/second".to_owned()];
    let check = "test $A = value-of-workspace-secret && test $B = value-of-second && echo both";
    let run = |more: &[&str]| {
        let more = more.iter().map(|text| (*text).to_owned());
        let command = ["--", "sh", "-c", check].map(str::to_owned);
        home.strongroom(["run".to_owned()].into_iter().chain(both.clone()).chain(more).chain(command)).done()
    };
    run(&[]).ok().prints("both\n");
    assert_eq!(asked(&fake, "ml")[before..], ["GET discovery", "POST secrets:getbatch"]);
    assert!(asked(&fake, "arm").is_empty());
    run(&["-e", "C=azureml://keyvault/absent"]).status(106).says("absent").says_not("second");
}

#[test]
fn a_job_reads_with_its_own_token_what_its_variables_name() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, "");
    let text = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let credential = "[credentials.run]\nplugin = \"auth-token\"\nsealed = { token = \"${{env:AZUREML_RUN_TOKEN}}\" }\n\
                      audiences = [\"https://management.azure.com\"]\n";
    let text = text.replacen("credential = \"corp\"", "credential = \"run\"", 1);
    home.write("strongroom.toml", format!("{credential}{text}"));
    let token = std::fs::read_to_string(fake.folder().join("run-token")).unwrap().trim().to_owned();
    home.guard(&token);
    home.set("AZUREML_RUN_TOKEN", &token);
    home.set("AZUREML_ARM_SUBSCRIPTION", defaults::SUBSCRIPTION);
    home.set("AZUREML_ARM_RESOURCEGROUP", defaults::RESOURCE_GROUP);
    home.set("AZUREML_ARM_WORKSPACE_NAME", defaults::WORKSPACE);
    // The resource manager tells a run nothing, so it must be told where to ask.
    home.strongroom(["get", SECRET]).done().fails(4, "InvalidAuthenticationTokenAudience").says("`discovery`");
    home.set("AZUREML_SERVICE_ENDPOINT", "https://centralus.api.azureml.ms");
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-workspace-secret");
    home.set("AZUREML_DISCOVERY_SERVICE_ENDPOINT", "https://centralus.api.azureml.ms/discovery");
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-workspace-secret");
    home.set("AZUREML_DEV_URL_CREDENTIAL", "https://centralus.experiments.azureml.net");
    let before = asked(&fake, "ml").len();
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-workspace-secret");
    assert_eq!(asked(&fake, "ml")[before..], ["GET workspace-secret"]);
    home.strongroom(["explain", SECRET]).done().ok().shows("AZUREML_ARM_WORKSPACE_NAME");
    // A variable is checked as any config is.
    home.set("AZUREML_DEV_URL_CREDENTIAL", "https://evil.example");
    home.strongroom(["get", SECRET]).done().fails(2, "config.plugin-config").says("experimentation");
}

#[test]
fn a_runs_token_is_renewed_before_it_ends() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, "");
    let text = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let credential = "[credentials.run]\nplugin = \"azureml-run\"\nsealed = { token = \"${{env:AZUREML_RUN_TOKEN}}\" }\n\
                      audiences = [\"https://management.azure.com\"]\n";
    let text = text.replacen("credential = \"corp\"", "credential = \"run\"", 1);
    home.write("strongroom.toml", format!("{credential}{text}"));
    let told = fake.control("POST", "/control/run-token", json!({"run": defaults::RUN, "lifetime": 60})).unwrap();
    let token = told["token"].as_str().unwrap().to_owned();
    home.guard(&token);
    for (name, value) in [
        ("AZUREML_RUN_TOKEN", token.as_str()),
        ("AZUREML_ARM_SUBSCRIPTION", defaults::SUBSCRIPTION),
        ("AZUREML_ARM_RESOURCEGROUP", defaults::RESOURCE_GROUP),
        ("AZUREML_ARM_WORKSPACE_NAME", defaults::WORKSPACE),
        ("AZUREML_ARM_PROJECT_NAME", "training"),
        ("AZUREML_RUN_ID", defaults::RUN),
        ("AZUREML_SERVICE_ENDPOINT", "https://centralus.api.azureml.ms"),
    ] {
        home.set(name, value);
    }
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-workspace-secret");
    assert_eq!(asked(&fake, "ml"), ["GET discovery", "GET token", "GET workspace-secret"]);
    // The new one is kept, and good for a while.
    home.strongroom(["get", SECRET]).done().ok();
    assert_eq!(asked(&fake, "ml")[3..], ["GET discovery", "GET workspace-secret"]);
    home.strongroom(["whoami", "run"]).done().ok().shows("good for: ");
}

#[test]
fn a_foreign_host_that_the_workspace_names_is_sent_nothing() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, &workspace());
    let text = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let port = fake.https_port();
    home.write("strongroom.toml", format!("{text}\"evil.example\" = \"127.0.0.1:{port}\"\n"));
    for (location, status, code) in [
        ("evil.example/?", 4, "egress.refused"),
        ("evil.example:8443/?", 4, "egress.refused"),
        ("a.b", 4, "egress.refused"),
        ("user@evil.example/?", 2, "http.origin"),
    ] {
        let seed = json!({"workspaces": [{
            "name": defaults::WORKSPACE, "subscription": defaults::SUBSCRIPTION, "resource_group": defaults::RESOURCE_GROUP,
            "tenant": defaults::TENANT, "location": location, "workspace_id": "66667777-aaaa-8888-bbbb-9999cccc0000",
            "vault": "myworkspacekv.vault.azure.net",
        }]});
        fake.control("POST", "/control/seed", seed).unwrap();
        home.strongroom(["get", SECRET]).done().status(status).says(code);
    }
    assert!(asked(&fake, "ml").is_empty());
    let counters = fake.control("GET", "/control/counters", Value::Null).unwrap().to_string();
    assert!(!counters.contains("evil"), "{counters}");
}

#[test]
fn the_sdks_file_names_the_workspace_once_it_is_trusted() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, "");
    let get = || home.strongroom(["get", CONNECTION]).done();
    // Nothing says it: the three places are named, and no other mount is in the way.
    get()
        .fails(2, "config.unfilled")
        .says("config = {")
        .says("AZUREML_ARM_WORKSPACE_NAME")
        .says(".azureml/config.json");
    let file = |workspace: &str| {
        json!({"subscription_id": defaults::SUBSCRIPTION, "resource_group": defaults::RESOURCE_GROUP, "workspace_name": workspace})
            .to_string()
    };
    home.write("config.json", file(defaults::WORKSPACE));
    get().fails(4, "trust.unknown").says("strongroom trust").says("config.json");
    home.strongroom(["trust", "--yes", "config.json"]).done().ok().says("config.json");
    get().ok().prints("key-of-aoai_connection");
    home.strongroom(["get", SECRET]).done().ok().prints("value-of-workspace-secret");
    home.strongroom(["explain", CONNECTION]).done().ok().shows("workspace from ").shows("config.json");
    home.strongroom(["list", "--sources"]).done().ok().shows("config.json");
    // From below, too.
    std::fs::create_dir_all(home.work("deep/er")).unwrap();
    home.strongroom(["get", CONNECTION]).folder(home.work("deep/er")).done().ok();

    home.write("config.json", file("otherworkspace"));
    get().fails(4, "trust.changed").says("content");
    home.strongroom(["doctor"]).done().status(4).shows("trust.changed");
    // A run's variables come first, all of them or none.
    home.set("AZUREML_ARM_SUBSCRIPTION", defaults::SUBSCRIPTION);
    home.set("AZUREML_ARM_RESOURCEGROUP", defaults::RESOURCE_GROUP);
    get().fails(4, "trust.changed");
    home.set("AZUREML_ARM_WORKSPACE_NAME", defaults::WORKSPACE);
    get().ok();
    home.unset("AZUREML_ARM_WORKSPACE_NAME");
    home.write("config.json", file(defaults::WORKSPACE));
    get().ok();
    home.strongroom(["trust", "--revoke", "config.json"]).done().ok();
    get().fails(4, "trust.unknown");

    // The folder of the SDK's own comes before, wherever the other is.
    std::fs::create_dir_all(home.work(".azureml")).unwrap();
    home.write(".azureml/config.json", r#"{"name": "of something else"}"#);
    home.strongroom(["trust", "-y", ".azureml/config.json"]).done().ok();
    get().fails(2, "config.source").says(".azureml/config.json").says("/resource_group");
    // A mount that says a part of it itself takes nothing from elsewhere.
    let text = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    home.write("strongroom.toml", text.replace("config = {  }", "config = { workspace = \"myworkspace\" }"));
    get().fails(2, "config.unfilled").says("in part");
}
