//! `check` of files for Azure: which role is missing for which reference, and what Azure ML would not take.

use fake_azure::{Fake, Options, defaults};

use crate::azure::with_workspace;
use crate::serving::Server;
use crate::support::*;

/// As [`with_workspace`], with every vault of the fake, and as the application that has no role at all.
fn without_roles(fake: &Fake) -> Home {
    let home = with_workspace(fake);
    let secret = std::fs::read_to_string(fake.folder().join("nobody-client-secret")).unwrap().trim().to_owned();
    home.guard(&secret);
    home.write_secret("secrets/client-secret", format!("{secret}\n"));
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let address = format!("\"privatevault.vault.azure.net\" = \"127.0.0.1:{}\"\n", fake.https_port());
    home.write("strongroom.toml", config.replace(defaults::CLIENT, defaults::NOBODY) + &address);
    home
}

const FILE: &str = "\
environment_variables:
  ROLE: ${{keyvault:https://mykeyvault.vault.azure.net/secrets/secret1/secretversion1}}
  POLICY: ${{keyvault:https://policyvault.vault.azure.net/secrets/secret1/secretversion1}}
  FIREWALL: ${{keyvault:https://firewalledvault.vault.azure.net/secrets/secret1/secretversion1}}
  PRIVATE: ${{keyvault:https://privatevault.vault.azure.net/secrets/secret1/secretversion1}}
  CONNECTION: ${{azureml://connections/aoai_connection/credentials/key}}
";

#[test]
fn each_reference_is_told_the_role_that_it_lacks() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = without_roles(&fake);
    home.write("deployment.yaml", FILE);
    let json = home.strongroom(["check", "--json", "-f", "deployment.yaml"]).done().status(4).json();
    let problems = json["problems"].as_array().unwrap();
    // And the same through a server.
    home.set("XDG_RUNTIME_DIR", home.path("run"));
    std::fs::create_dir_all(home.path("run")).unwrap();
    chmod(&home.path("run"), 0o700);
    let server = Server::start(&home);
    let through = home.strongroom(["check", "--json", "-f", "deployment.yaml"]).done().status(4).json();
    assert_eq!(through["problems"], json["problems"]);
    drop(server);
    let mut told: Vec<_> = problems
        .iter()
        .map(|problem| {
            let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
            let attribute = |key: &str| problem["attributes"][key].as_str().unwrap_or_default().to_owned();
            assert_eq!(problem["kind"], "denied", "{problem}");
            (problem["line"].as_u64().unwrap(), text("code"), attribute("role") + &attribute("permission"))
        })
        .collect();
    told.sort();
    let row = |line, code: &str, lacks: &str| (line, code.to_owned(), lacks.to_owned());
    let reader = "Azure Machine Learning Workspace Connection Secrets Reader (ea01e6af-a1c1-4350-9563-ad00f8c72ec5)";
    assert_eq!(
        told,
        [
            row(2, "ForbiddenByRbac", "Key Vault Secrets User (4633458b-17de-408a-b874-0445c86b69e6)"),
            row(3, "AccessDenied", "get"),
            row(4, "ForbiddenByFirewall", ""),
            row(5, "ForbiddenByConnection", ""),
            row(6, "AuthorizationFailed", reader),
        ]
    );
    let done = home.strongroom(["check", "-f", "deployment.yaml"]).done().status(4);
    let done = done.says("getSecret/action").says("the permission to get secrets").says("the firewall of the vault");
    done.says("private link").says("connections/listsecrets/action").says("on the workspace").prints("");
    // And nothing starts.
    home.strongroom(["run", "-f", "deployment.yaml", "--", "echo", "started"]).done().status(104).prints("");
}

#[test]
fn a_file_that_azure_ml_would_not_take_as_it_is_resolves_and_is_told() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_workspace(&fake);
    home.write(
        "deployment.yaml",
        "environment_variables:\n  PLAIN: text\n  \
         GOOD: ${{keyvault:https://mykeyvault.vault.azure.net/secrets/secret1/secretversion1}}\n  \
         AROUND: key=${{azureml://connections/aoai_connection/credentials/key}}\n  \
         CURRENT: ${{keyvault:https://mykeyvault.vault.azure.net/secrets/secret1}}\n  \
         PREFIX: ${{vault+keyvault:https://mykeyvault.vault.azure.net/secrets/secret1/secretversion1}}\n",
    );
    let json = home.strongroom(["check", "--json", "-f", "deployment.yaml"]).done().ok().json();
    assert_eq!((&json["ok"], &json["azure_ml"]["accepts"]), (&true.into(), &false.into()));
    let beyond: Vec<_> = json["azure_ml"]["beyond"].as_array().unwrap().iter().collect();
    let told: Vec<_> = beyond
        .iter()
        .map(|one| {
            (
                one["line"].as_u64().unwrap(),
                one["attributes"]["variable"].as_str().unwrap(),
                one["code"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (4, "AROUND", "azureml.text-around"),
            (5, "CURRENT", "azureml.no-version"),
            (6, "PREFIX", "azureml.mount-prefix")
        ]
    );
    let done = home.strongroom(["check", "-f", "deployment.yaml"]).done().ok();
    // Of the text around a reference nothing is shown: it may be somebody's secret.
    let done = done.says("warning: beyond what Azure ML takes").says("all resolve").says_not("key=");
    done.says("add /{version}").says("deployment.yaml:5:");
    home.strongroom(["check", "-q", "-f", "deployment.yaml"]).done().ok().quiet();
    home.strongroom(["check", "--parse", "-f", "deployment.yaml"]).done().ok().says("[azureml.no-version]");
}

#[test]
fn files_that_are_not_for_azure_ml_are_not_measured_by_it() {
    let home = Home::new();
    home.variable("X");
    home.write("a.env", "A=x${{env:X}}\n");
    let json = home.strongroom(["check", "--json", "-f", "a.env"]).done().ok().json();
    assert!(json["azure_ml"].is_null());
    home.strongroom(["check", "-f", "a.env"]).done().ok().says_not("Azure");
    // A deployment's file is, whatever it holds.
    home.write("a.yaml", "environment_variables:\n  A: ${{env:X}}\n");
    home.strongroom(["check", "-f", "a.yaml"]).done().ok().says("[azureml.scheme]");
    home.write("a.yaml", "environment_variables:\n  A: x\n");
    let json = home.strongroom(["check", "--json", "-f", "a.yaml"]).done().ok().json();
    assert_eq!(json["azure_ml"]["accepts"], true);
}
