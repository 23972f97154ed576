//! Ways to sign in that are more than a request to Entra ID: tools, chains of credentials, the key file of
//! Azure Arc's agent, and the identity endpoint of GitHub's runners.

use std::os::unix::fs::PermissionsExt;

use fake_azure::{Fake, Options, defaults};
use serde_json::{Value, json};

use crate::azure::{SECRET, home, sign_ins};
use crate::support::*;

const VALUE: &str = "value-of-secret1-version2";

/// Puts a program called `name` onto the `PATH` of `home`: it notes its arguments and folder, and does
/// `script`.
fn tool(home: &Home, name: &str, script: &str) {
    let calls = home.path("bin").join(format!("{name}.calls"));
    let note = format!("{{ printf '%s\\n' \"$@\"; pwd; env | cut -d= -f1; }} >> '{}'", calls.display());
    let path = home.path("bin").join(name);
    std::fs::create_dir_all(home.path("bin")).unwrap();
    // Whatever the umask is.
    std::fs::set_permissions(home.path("bin"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\n{note}\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    home.set("PATH", format!("{}:/usr/bin:/bin", home.path("bin").display()));
}

/// What the tool was called with, all calls one after the other.
fn calls(home: &Home, name: &str) -> String {
    std::fs::read_to_string(home.path("bin").join(format!("{name}.calls"))).unwrap_or_default()
}

/// A token of the person at the machine, in a file that a tool may print; a canary of `home`.
fn person_token(fake: &Fake, home: &Home) -> (String, i64) {
    let body = json!({"resource": "https://vault.azure.net"});
    let answer = fake.control("POST", "/control/person-token", body).unwrap();
    let token = answer["access_token"].as_str().unwrap().to_owned();
    home.guard(&token);
    (token, answer["expires_on"].as_i64().unwrap())
}

/// `az`, signed in: its document lies in a file, so that no token stands in the script.
fn signed_in_az(fake: &Fake, home: &Home) {
    let (token, expires) = person_token(fake, home);
    let document = json!({
        "accessToken": token, "expiresOn": "2030-01-01 00:00:00.000000", "expires_on": expires,
        "subscription": defaults::SUBSCRIPTION, "tenant": defaults::TENANT, "tokenType": "Bearer",
    });
    home.write_secret("az.json", document.to_string());
    tool(home, "az", &format!("cat '{}'", home.work("az.json").display()));
}

const AZ: &str = "plugin = \"azure-cli\"";

#[test]
fn who_is_signed_in_to_az_reads_a_vault() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, AZ);
    signed_in_az(&fake, &home);
    home.set("AZURE_CONFIG_DIR", "/nowhere");
    home.set("UNRELATED", "x");
    home.strongroom(["get", SECRET]).done().ok().prints(VALUE);
    let called = calls(&home, "az");
    let expected = "account\nget-access-token\n--output\njson\n--resource=https://vault.azure.net\n/\n";
    assert!(called.starts_with(expected), "{called}");
    // Its environment is what was declared.
    let names: Vec<&str> = called.strip_prefix(expected).unwrap().lines().collect();
    for there in ["AZURE_CORE_NO_COLOR", "AZURE_CONFIG_DIR", "HOME", "PATH"] {
        assert!(names.contains(&there), "{there}: {names:?}");
    }
    assert!(!names.contains(&"UNRELATED") && !names.iter().any(|name| name.starts_with("STRONGROOM_")), "{names:?}");
    // One run has it run once, however many secrets there are.
    let run = ["run", "-e", "A=keyvault:https://mykeyvault.vault.azure.net/secrets/secret1/secretversion1", "-e"];
    let run = run.into_iter().map(str::to_owned).chain([format!("B={SECRET}"), "--".into(), "true".into()]);
    home.strongroom(run).done().ok();
    assert_eq!(calls(&home, "az").matches("get-access-token").count(), 2);
}

#[test]
fn what_az_says_is_passed_on_and_a_token_never() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, AZ);
    let leaked = home.canary("leaked-token");
    home.write_secret("leaked", &leaked);
    let leak = format!("cat '{}'", home.work("leaked").display());
    home.set("PATH", "/usr/bin:/bin");
    home.strongroom(["get", SECRET]).done().fails(5, "azure-cli.not-found").says("install");
    for (script, code, words) in [
        ("echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1", "azure-cli.not-signed-in", "az login"),
        ("echo 'ERROR: AADSTS50076: you must use MFA' >&2; exit 1", "AADSTS50076", "MFA"),
        (&format!("{leak}; exit 3"), "azure-cli.failed", "status 3"),
        (&leak, "azure-cli.output", "update"),
        ("kill -9 $$", "azure-cli.failed", "-9"),
        ("head -c 70000 /dev/zero", "tool.output", "65536 bytes"),
    ] {
        tool(&home, "az", script);
        let done = home.strongroom(["get", SECRET]).done().says(&format!("[{code}]"));
        done.says(words).says_not(&leaked);
    }
}

#[test]
fn a_tool_that_others_could_have_put_there_is_not_run() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, AZ);
    signed_in_az(&fake, &home);
    std::fs::set_permissions(home.path("bin/az"), PermissionsExt::from_mode(0o775)).unwrap();
    home.strongroom(["get", SECRET]).done().fails(4, "tool.writable").says("chmod go-w");
    std::fs::set_permissions(home.path("bin/az"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(home.path("bin"), PermissionsExt::from_mode(0o777)).unwrap();
    home.strongroom(["get", SECRET]).done().fails(4, "tool.writable");
    assert_eq!(calls(&home, "az"), "");
}

#[test]
fn a_slow_tool_ends_with_all_its_children() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, AZ);
    let pipe = home.path("alive");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (ended, has_ended) = std::sync::mpsc::channel();
    let watched = pipe.clone();
    // Its other end is open as long as one of them lives.
    std::thread::spawn(move || {
        std::fs::read(watched).unwrap();
        ended.send(()).unwrap();
    });
    tool(&home, "az", &format!("exec 3> '{}'; sleep 600 & sleep 600", pipe.display()));
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let own = format!("[tools.az]\nprogram = \"{}\"\ntimeout = \"1s\"\n", home.path("bin/az").display());
    let holes = "args = [\"{resource?}\", \"{tenant?}\", \"{subscription?}\"]\nholes = { resource = \".*\", tenant = \".*\", subscription = \".*\" }\n";
    home.write("strongroom.toml", config + &own + holes);
    home.strongroom(["get", SECRET]).done().fails(9, "tool.deadline");
    has_ended.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn azd_gives_a_token_too() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, "plugin = \"azure-cli\"\nconfig = { tool = \"azd\" }");
    let (token, _) = person_token(&fake, &home);
    home.write_secret("azd.json", json!({"token": token, "expiresOn": "2030-01-01T00:00:00Z"}).to_string());
    tool(&home, "azd", &format!("cat '{}'", home.work("azd.json").display()));
    home.strongroom(["get", SECRET]).done().ok().prints(VALUE);
    assert!(
        calls(&home, "azd")
            .starts_with("auth\ntoken\n--output\njson\n--no-prompt\n--scope=https://vault.azure.net/.default\n")
    );
}

#[test]
fn a_program_of_the_operators_is_told_the_audience() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, "plugin = \"token-command\"\nconfig = { tool = \"mint\" }");
    let (token, _) = person_token(&fake, &home);
    home.write_secret("token", format!("{token}\n"));
    tool(&home, "mint", &format!("cat '{}'", home.work("token").display()));
    home.strongroom(["get", SECRET]).done().fails(2, "tool.undeclared").says("[tools.mint]");
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let declared = |hole: &str| {
        let program = home.path("bin/mint").display().to_string();
        home.write(
            "strongroom.toml",
            format!("{config}[tools.mint]\nprogram = \"{program}\"\nargs = [\"for\", \"{{audience}}\"]\nholes = {{ audience = '{hole}' }}\n"),
        );
    };
    declared("https://[a-z.]+");
    home.strongroom(["get", SECRET]).done().ok().prints(VALUE);
    assert!(calls(&home, "mint").starts_with("for\nhttps://vault.azure.net\n/\n"), "{}", calls(&home, "mint"));
    // What the operator does not let through is not run.
    let before = calls(&home, "mint");
    declared("https://other[a-z.]+");
    home.strongroom(["get", SECRET]).done().fails(4, "tool.hole");
    assert_eq!(calls(&home, "mint"), before);
}

#[test]
fn a_chain_passes_over_what_is_not_set_up_and_nothing_else() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(
        &fake,
        "plugin = \"chain\"\nconfig = { links = [\"ci\", \"me\"] }\naudiences = [\"https://vault.azure.net\"]\n\
         [credentials.me]\nplugin = \"azure-cli\"\naudiences = [\"https://vault.azure.net\"]\n\
         [credentials.ci]\nplugin = \"service-principal\"\n\
         config = { tenant = \"aaaabbbb-0000-cccc-1111-dddd2222eeee\", client_id = \"00001111-aaaa-2222-bbbb-3333cccc4444\" }\n\
         sealed = { client_secret = \"env:CI_SECRET\" }",
    );
    // Nothing is set up: each link is listed with its verdict and its time.
    home.set("PATH", "/usr/bin:/bin");
    let failed = home.strongroom(["get", SECRET]).done().fails(5, "credential.chain");
    failed.says("ci: ").says("CI_SECRET").says("me: ").says("was not found").says(" ms)");

    signed_in_az(&fake, &home);
    home.strongroom(["get", SECRET]).done().ok().prints(VALUE);
    // A link that is set up and fails ends the chain: it never silently becomes somebody's own login.
    let wrong = home.canary("wrong-secret");
    home.set("CI_SECRET", &wrong);
    let before = calls(&home, "az");
    home.strongroom(["get", SECRET]).done().status(5).says("7000215").says("no other link is tried");
    assert_eq!(calls(&home, "az"), before);
    // The first link, once it is right; and then the other one again, which is said.
    home.set("CI_SECRET", std::fs::read_to_string(fake.folder().join("client-secret")).unwrap().trim());
    home.strongroom(["get", SECRET]).done().ok().prints(VALUE);
    home.strongroom(["logout", "corp"]).done().ok();
}

#[test]
fn another_winner_than_before_is_said() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, "plugin = \"default\"");
    home.set("AZURE_TENANT_ID", defaults::TENANT);
    home.set("AZURE_CLIENT_ID", defaults::CLIENT);
    home.set("AZURE_CLIENT_SECRET", std::fs::read_to_string(fake.folder().join("client-secret")).unwrap().trim());
    home.strongroom(["get", SECRET]).done().ok().prints(VALUE).says_not("before");
    assert_eq!(sign_ins(&fake), 1);
    home.strongroom(["get", SECRET]).done().ok().prints(VALUE);
    assert_eq!(sign_ins(&fake), 1, "the token was kept");
    home.strongroom(["whoami", "corp"]).done().ok().shows(defaults::CLIENT);
    for name in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"] {
        home.unset(name);
    }
    signed_in_az(&fake, &home);
    home.set("AZURE_TOKEN_CREDENTIALS", "dev");
    home.strongroom(["get", SECRET]).done().ok().prints(VALUE).says("azure-cli").says("before").says("environment");
    home.strongroom(["get", SECRET]).done().ok().says_not("before");
    // Who won the last time is asked first, and once.
    let asked = || calls(&home, "az").matches("get-access-token").count();
    let before = asked();
    tool(&home, "az", "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1");
    home.strongroom(["get", SECRET]).done().fails(5, "credential.chain").says("azure-cli: ");
    assert_eq!(asked(), before + 1);
}

#[test]
fn the_default_chain_does_not_wait_where_there_is_no_machine() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(&fake, "plugin = \"default\"");
    // Where the metadata service would be, nobody listens.
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let from = format!("\"169.254.169.254\" = \"127.0.0.1:{}\"", fake.http_port());
    assert!(config.contains(&from));
    home.write("strongroom.toml", config.replace(&from, &format!("\"169.254.169.254\" = \"{closed}\"")));
    signed_in_az(&fake, &home);
    home.strongroom(["get", SECRET]).done().ok().prints(VALUE);
    // And all the links, where there is nobody at all.
    std::fs::remove_file(home.path("bin/az")).unwrap();
    let mut failed = home.strongroom(["get", SECRET]).done().fails(5, "credential.chain");
    for words in ["environment: none of AZURE_TENANT_ID", "managed-identity: ", "azure-cli: ", "azure-developer-cli: "]
    {
        failed = failed.says(words);
    }
    home.set("AZURE_TOKEN_CREDENTIALS", "nonsense");
    home.strongroom(["get", SECRET]).done().fails(2, "config.azure-token-credentials").says("azureclicredential");
}

#[test]
fn chains_are_checked_when_the_config_is_read() {
    let fake = Fake::start(Options::default()).unwrap();
    let chain = |links: &str, more: &str| {
        let home = home(&fake, &format!("plugin = \"chain\"\nconfig = {{ links = {links} }}\n{more}"));
        home.strongroom(["get", SECRET]).done().fails(2, "config.chain")
    };
    chain("[\"absent\"]", "").says("there is no credential absent");
    chain("[\"corp\"]", "").says("is a chain itself");
    chain("[]", "").says("links");
    chain("[\"me\"]", "sealed = { a = \"env:A\" }").says("no effect");
    let other = "[credentials.me]\nplugin = \"azure-cli\"\naudiences = [\"https://management.azure.com\"]\n[credentials.corp]\n";
    let home = home(&fake, "plugin = \"chain\"\nconfig = { links = [\"me\"] }");
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    home.write("strongroom.toml", config.replace("[credentials.corp]\n", other));
    home.strongroom(["get", SECRET]).done().fails(2, "config.chain").says("https://vault.azure.net");
}

/// As the library sees it: the agent's folder is one of the test.
async fn through_arc(home: &Home, fake: &Fake) -> Result<String, strongroom::Failure> {
    let mut setup =
        strongroom::Setup::from_toml(std::fs::read_to_string(home.work("strongroom.toml")).unwrap(), home.work(""));
    let endpoint = format!("http://127.0.0.1:{}/arc/metadata/identity/oauth2/token", fake.http_port());
    setup.environment = strongroom::Environment::from_iter([
        ("IDENTITY_ENDPOINT".into(), endpoint.into()),
        ("IMDS_ENDPOINT".into(), "http://127.0.0.1:1".into()),
    ]);
    setup.paths = strongroom::Paths::default();
    setup.arc_keys = home.path("arc");
    let strongroom = strongroom::Strongroom::open(setup)?;
    strongroom.resolve(SECRET).await.map(|secret| secret.expose_text().unwrap().to_owned())
}

#[tokio::test]
async fn a_server_of_azure_arc_proves_itself_with_the_agents_key() {
    let outside = tempfile::tempdir().unwrap();
    let home_of = |fake: &Fake| home(fake, "plugin = \"managed-identity\"");
    let start = |folder: &std::path::Path| {
        Fake::start(Options { arc_folder: Some(folder.to_owned()), ..Options::default() }).unwrap()
    };
    let fake = start(outside.path());
    let home = home_of(&fake);
    std::fs::create_dir_all(home.path("arc")).unwrap();
    // An agent that names a file elsewhere is none, and the file stays unread.
    assert_eq!(through_arc(&home, &fake).await.unwrap_err().code(), "arc.foreign");

    let set = |settings: Value| drop(fake.control("PATCH", "/control/machine", settings).unwrap());
    set(json!({"arc_folder": home.path("arc")}));
    assert_eq!(through_arc(&home, &fake).await.unwrap(), VALUE);
    // Keys are for one use, and none is left behind.
    assert_eq!(std::fs::read_dir(home.path("arc")).unwrap().count(), 0);
    set(json!({"arc_realm": "/etc/passwd"}));
    assert_eq!(through_arc(&home, &fake).await.unwrap_err().code(), "arc.foreign");
}

#[test]
fn a_workflow_of_github_signs_in_with_its_own_token() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = home(
        &fake,
        &format!(
            "plugin = \"service-principal\"\nconfig = {{ tenant = \"{}\", client_id = \"{}\" }}",
            defaults::TENANT,
            defaults::CLIENT
        ),
    );
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let host = "pipelines.actions.githubusercontent.com";
    let config = config
        .replace("\"login.microsoftonline.com\"]", &format!("\"login.microsoftonline.com\", \"{host}\"]"))
        .replace("[addresses]\n", &format!("[addresses]\n\"{host}\" = \"127.0.0.1:{}\"\n", fake.https_port()));
    home.write("strongroom.toml", config);
    let job = std::fs::read_to_string(fake.folder().join("job-token")).unwrap().trim().to_owned();
    home.guard(&job);
    home.set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &job);
    // Runners name an endpoint with an empty segment in its path.
    for path in ["106/idtoken/x?api-version=2.0", "106//idtoken/x?api-version=2.0"] {
        home.set("ACTIONS_ID_TOKEN_REQUEST_URL", format!("https://{host}/github/{path}"));
        home.strongroom(["get", SECRET]).done().ok().prints(VALUE);
        home.strongroom(["logout", "corp"]).done().ok();
    }
}
