//! `run --as-azure`: programs written for Azure run unchanged, with no Azure, and nobody but the program has anything of it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fake_azure::{Fake, Options};
use serde_json::Value;

use crate::azure::{VAULT, with_secret};
use crate::door_azure::python;
use crate::serving::*;
use crate::support::*;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/server");

/// Custom keys behind every vault and workspace.
const TEAM: &str = r#"
[mounts.keys]
plugin = "keys"
write = true
limits = { cpu = "30s", deadline = "60s" }

[doors.key-vault.vaults]
"*" = "keys://team"

[doors.azureml.workspaces]
"*" = "keys://team"

[audit]
file = "audit.jsonl"
names = true
"#;

fn team() -> Home {
    let home = home();
    home.configure(TEAM);
    home
}

#[test]
fn the_scripts_of_the_examples_run_unchanged() {
    let Some(python) = python() else { return };
    let home = team();
    let value = home.canary("password");
    home.put("keys://team/db-password", &value);
    let script = |folder: &str| Path::new(EXAMPLES).join(folder).join("main.py");
    for folder in ["azure-key-vault-python", "azureml-python"] {
        let script = script(folder);
        home.strongroom(["run".as_ref(), "--as-azure".as_ref(), "--".as_ref(), python.as_os_str(), script.as_os_str()])
            .env("KEY_VAULT_NAME", "my-vault")
            // What would lead it to Azure, and to somebody else's tokens.
            .env("AZURE_CLIENT_ID", "aaaabbbb-0000-cccc-1111-dddd2222eeee")
            .env("AZURE_TENANT_ID", "aaaabbbb-0000-cccc-1111-dddd2222eeee")
            .env("AZURE_CLIENT_SECRET", "not used")
            .env("MSI_ENDPOINT", "http://127.0.0.1:1/")
            .env("AZUREML_RUN_TOKEN", "not used")
            .done()
            .ok()
            .prints(format!("got a password of {} characters\n", value.len()));
    }
    // Each is in the log, as the user's.
    let log = std::fs::read_to_string(home.user_config().parent().unwrap().join("audit.jsonl")).unwrap();
    for door in ["key-vault", "azureml"] {
        let line = log.lines().find(|line| line.contains(&format!("\"door\":\"{door}\""))).expect(door);
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["caller"], &line["outcome"]), (&"owner".into(), &"ok".into()), "{line}");
    }
    home.strongroom(["audit", "verify"]).done().ok();
}

/// The clients of Go, .NET and Java take the first part of the authority's path for a tenant, and end if there is none.
#[test]
fn who_comes_without_a_token_is_told_a_tenant() {
    let home = team();
    let script = "import urllib.request, urllib.error\n\
         try: urllib.request.urlopen('https://v.vault.azure.net/secrets/a?api-version=7.6')\n\
         except urllib.error.HTTPError as error: print(error.code, error.headers['WWW-Authenticate'])";
    let done = home.strongroom(["run", "--as-azure", "--", "python3", "-c", script]).done().ok();
    let told = done.out();
    let authority = told.strip_prefix("401 Bearer authorization=\"https://login.microsoftonline.com/").expect(&told);
    let tenant = authority.split('"').next().unwrap();
    assert!(tenant.len() == 36 && !tenant.contains('/'), "{told}");
}

#[test]
fn what_the_program_asks_for_is_masked_in_what_it_prints() {
    let Some(python) = python() else { return };
    let home = team();
    home.put("keys://team/db-password", home.canary("password"));
    let script = home.write(
        "main.py",
        "from azure.identity import DefaultAzureCredential\n\
         from azure.keyvault.secrets import SecretClient\n\
         vault = SecretClient('https://v.vault.azure.net', DefaultAzureCredential())\n\
         print('it is', vault.get_secret('db-password').value)\n\
         import os\n\
         for name in ['IDENTITY_HEADER', 'HTTPS_PROXY', 'AZUREML_RUN_TOKEN']:\n    print(name, os.environ[name])\n",
    );
    let done = home
        .strongroom(["run".as_ref(), "--as-azure".as_ref(), "--".as_ref(), python.as_os_str(), script.as_os_str()])
        .done()
        .ok()
        .shows("it is ***\n")
        .shows("IDENTITY_HEADER ***\n")
        .shows("HTTPS_PROXY http://strongroom:***@127.0.0.1:");
    assert!(done.out().contains("AZUREML_RUN_TOKEN ***\n"), "{}", done.out());
}

/// With Azure behind it, a vault is itself: with the mount's credential, which the program never sees.
#[test]
fn without_doors_in_the_config_a_vault_stands_for_itself() {
    let Some(python) = python() else { return };
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let script = home.write(
        "main.py",
        format!(
            "from azure.identity import DefaultAzureCredential\n\
             from azure.keyvault.secrets import SecretClient\n\
             vault = SecretClient('https://{VAULT}', DefaultAzureCredential())\n\
             print(len(vault.get_secret('secret1').value))\n\
             print(len(vault.get_secret('secret1', 'secretversion1').value))\n"
        ),
    );
    home.strongroom(["run".as_ref(), "--as-azure".as_ref(), "--".as_ref(), python.as_os_str(), script.as_os_str()])
        .done()
        .ok()
        .prints("25\n25\n");
}

#[test]
fn a_real_token_needs_a_grant_for_its_audience() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let config = config.replace("audiences = [", "audiences = [\"https://management.azure.com/\", ");
    let grant = "\n[audit]\nfile = \"audit.jsonl\"\n[doors.managed-identity.audiences]\n\"https://management.azure.com/\" = \"corp\"\n\
                 \"https://storage.azure.com\" = \"corp\"\n";
    home.write("strongroom.toml", format!("{config}{grant}"));
    let child = Child::start(&home, &[]);
    let token = |resource: &str| child.identity(&[("X-IDENTITY-HEADER", &child["IDENTITY_HEADER"])], resource);
    let refused = token("https://graph.microsoft.com");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("policy.denied")));
    let real = token("https://management.azure.com/");
    assert_eq!(real.status, 200, "{}", real.json());
    assert_eq!(real.json()["access_token"].as_str().unwrap().split('.').count(), 3);
    // The grant alone does not do: the credential may not be used for that audience.
    let refused = token("https://storage.azure.com");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("credential.audience")));
    // Each is in the log, whatever came of it.
    let log = std::fs::read_to_string(home.work("audit.jsonl")).unwrap();
    let lent: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lent.iter().all(|line| line["door"] == "managed-identity"), "{log}");
    assert_eq!(lent.iter().filter(|line| line["outcome"] == "ok").count(), 1);
    assert_eq!(lent.len(), 3);
    // A vault's is one of this run, whatever is granted.
    let given = token("https://vault.azure.net/.default");
    assert_eq!(given.status, 200);
    assert_eq!(given.json()["access_token"].as_str().map(str::len), Some(43));
}

/// The started program, and what its environment holds.
struct Child {
    running: Running,
    variables: BTreeMap<String, String>,
}

impl std::ops::Index<&str> for Child {
    type Output = str;

    fn index(&self, name: &str) -> &str {
        self.variables.get(name).unwrap_or_else(|| panic!("{name} is not set"))
    }
}

impl Child {
    /// One that says what it has, and then waits.
    fn start(home: &Home, variables: &[(&str, &str)]) -> Self {
        let script = "env -0 > \"$HOME/variables\"; echo started; cat";
        let mut call = home.strongroom(["run", "--as-azure", "--", "sh", "-c", script]).open_input();
        for (name, value) in variables {
            call = call.env(name, value);
        }
        let mut running = call.start();
        running.output.wait_for("started\n");
        let bytes = std::fs::read(home.path("home/variables")).unwrap();
        let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| {
            let pair = lossy(pair);
            pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        });
        let variables = pairs.collect();
        Self { running, variables }
    }

    fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    fn identity(&self, headers: &[(&str, &str)], resource: &str) -> Answer {
        let (port, path) =
            self["IDENTITY_ENDPOINT"].strip_prefix("http://127.0.0.1:").unwrap().split_once('/').unwrap();
        let target = format!("/{path}?api-version=2019-08-01&resource={}", encoded(resource));
        ask_port(port.parse().unwrap(), "GET", &target, headers, None)
    }

    /// The proxy's port, and the secret for it.
    fn proxy(&self) -> (u16, &str) {
        let (secret, port) =
            self["HTTPS_PROXY"].strip_prefix("http://strongroom:").unwrap().split_once("@127.0.0.1:").unwrap();
        (port.parse().unwrap(), secret)
    }

    /// Says `CONNECT` with the right secret, and gives the status and what goes on from there.
    fn connect(&self, target: &str) -> (u16, String, TcpStream) {
        let (port, secret) = self.proxy();
        connect(port, target, &format!("Basic {}", STANDARD.encode(format!("strongroom:{secret}"))))
    }
}

fn connect(port: u16, target: &str, authorization: &str) -> (u16, String, TcpStream) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: {authorization}\r\n\r\n")
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = lossy(&head);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, stream)
}

#[test]
fn the_program_is_led_here_and_nowhere_else() {
    let home = team();
    let authorities = home.write("own.pem", "-----BEGIN CERTIFICATE-----\nown\n-----END CERTIFICATE-----\n");
    let child = Child::start(
        &home,
        &[
            ("AZURE_CLIENT_SECRET", "x"),
            ("AZURE_FEDERATED_TOKEN_FILE", "x"),
            ("MSI_SECRET", "x"),
            ("IDENTITY_SERVER_THUMBPRINT", "x"),
            ("AZUREML_RUN_TOKEN_PASS", "x"),
            ("AZUREML_ARM_WORKSPACE_NAME", "mine"),
            ("AZUREML_RUN_ID", "run-1"),
            ("NO_PROXY", "corp.example,.vault.azure.net"),
            ("REQUESTS_CA_BUNDLE", authorities.to_str().unwrap()),
            ("KEPT", "as it is"),
        ],
    );
    for gone in [
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "MSI_SECRET",
        "IDENTITY_SERVER_THUMBPRINT",
        "AZUREML_RUN_TOKEN_PASS",
    ] {
        assert!(!child.has(gone), "{gone}");
    }
    assert_eq!((&child["KEPT"], &child["AZUREML_RUN_ID"]), ("as it is", "run-1"));
    assert_eq!(&child["AZUREML_ARM_WORKSPACE_NAME"], "mine");
    // Where one of the two is set, it was meant for both.
    for name in ["NO_PROXY", "no_proxy"] {
        assert_eq!(&child[name], "corp.example,127.0.0.1,localhost,::1", "{name}");
    }
    // The authorities are those that it had, and one more, in a file that ends with the run.
    let bundle = Path::new(&child["REQUESTS_CA_BUNDLE"]).to_owned();
    let pem = std::fs::read_to_string(&bundle).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\nown\n"), "{pem}");
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(!pem.contains("PRIVATE KEY"));
    for name in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
        assert_eq!(Path::new(&child[name]), bundle);
    }
    let mut running = child.running;
    running.end_input();
    assert_eq!(running.wait(), 0);
    assert!(!bundle.exists());
}

#[test]
fn without_its_secret_nobody_gets_anything() {
    let home = team();
    home.put("keys://team/db-password", home.canary("password"));
    let child = Child::start(&home, &[]);
    let vault = "https://vault.azure.net";
    assert_eq!(child.identity(&[("X-IDENTITY-HEADER", &child["IDENTITY_HEADER"])], vault).status, 200);
    let wrong = "A".repeat(43);
    let bearer = format!("Bearer {}", &child["IDENTITY_HEADER"]);
    for headers in [
        &[][..],
        // The form of a machine's metadata service.
        &[("Metadata", "true")],
        &[("X-IDENTITY-HEADER", ""), ("Metadata", "true")],
        &[("X-IDENTITY-HEADER", &wrong)],
        &[("X-IDENTITY-HEADER", &child["AZUREML_RUN_TOKEN"])],
        &[("X-IDENTITY-HEADER", &child["IDENTITY_HEADER"]), ("X-IDENTITY-HEADER", &wrong)],
        &[("Authorization", &bearer)],
        &[("Secret", &child["IDENTITY_HEADER"])],
    ] {
        let answer = child.identity(headers, vault);
        assert_eq!(answer.status, 401, "{headers:?}");
        assert!(!answer.json().to_string().contains("access_token"));
    }
    let page = [("X-IDENTITY-HEADER", &child["IDENTITY_HEADER"]), ("Origin", "http://evil.example")];
    assert_eq!(child.identity(&page, vault).status, 403);

    let (port, secret) = child.proxy();
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    for authorization in [
        String::new(),
        basic(""),
        basic(&format!("strongroom:{wrong}")),
        basic(&format!("other:{secret}")),
        format!("Bearer {secret}"),
        basic(&format!("strongroom:{}", &child["IDENTITY_HEADER"])),
    ] {
        for target in ["v.vault.azure.net:443", "pypi.org:443"] {
            let (status, head, _) = connect(port, target, &authorization);
            assert_eq!(status, 407, "{authorization}: {head}");
        }
    }
    let workspace =
        "/credential/v2.0/subscriptions/a/resourceGroups/b/providers/Microsoft.MachineLearningServices/workspaces/c";
    let azureml: u16 = child["AZUREML_SERVICE_ENDPOINT"].strip_prefix("http://127.0.0.1:").unwrap().parse().unwrap();
    let read = |token: &str| {
        let bearer = format!("Bearer {token}");
        let target = format!("{workspace}/secrets/db-password");
        ask_port(azureml, "GET", &target, &[("Authorization", &bearer)], None).status
    };
    assert_eq!(read(&child["AZUREML_RUN_TOKEN"]), 200);
    for token in ["", &wrong, &child["IDENTITY_HEADER"], secret] {
        assert_eq!(read(token), 401);
    }
}

#[test]
fn the_proxy_leads_to_vaults_here_and_to_others_there_but_not_back_to_this_machine() {
    let home = team();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    // The operator says where a name is: that is no guess of the program's.
    home.configure(&format!("{TEAM}\n[addresses]\n\"told.example:{port}\" = \"127.0.0.1:{port}\"\n"));
    let child = Child::start(&home, &[]);
    for target in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("LOCALHOST.:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        "0.0.0.0:443".to_owned(),
        "169.254.169.254:80".to_owned(),
        "168.63.129.16:80".to_owned(),
        "[fe80::1]:443".to_owned(),
        "v.vault.azure.net:80".to_owned(),
    ] {
        let (status, head, _) = child.connect(&target);
        assert_eq!(status, 403, "{target}: {head}");
    }
    for target in ["told.example", "a@told.example:443", ":443", "told.example:0"] {
        let (status, head, _) = child.connect(target);
        assert_eq!(status, 400, "{target}: {head}");
    }
    let (status, head, mut near) = child.connect(&format!("told.example:{port}"));
    assert_eq!(status, 200, "{head}");
    let (mut far, _) = server.accept().unwrap();
    near.write_all(b"ping").unwrap();
    let mut four = [0; 4];
    far.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"ping");
    far.write_all(b"pong").unwrap();
    near.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"pong");
    // With the program its connections end.
    let mut running = child.running;
    running.end_input();
    assert_eq!(running.wait(), 0);
    assert_eq!(far.read(&mut four).unwrap_or(0), 0);
    assert_eq!(near.read(&mut four).unwrap_or(0), 0);
}

#[test]
fn what_cannot_work_is_said_before_the_program_starts() {
    let home = home();
    let run = || home.strongroom(["run", "--as-azure", "--", "touch", "started"]);
    run().done().fails(105, "run.as-azure").says("[doors.key-vault]");
    home.configure(TEAM);
    run()
        .env("https_proxy", "http://proxy.corp:3128")
        .done()
        .fails(115, "run.as-azure-proxy")
        .says("--clean-env https_proxy");
    run()
        .env("REQUESTS_CA_BUNDLE", "/nowhere")
        .done()
        .fails(108, "run.as-azure-authorities")
        .says("REQUESTS_CA_BUNDLE");
    home.configure(&format!(
        "{TEAM}\n[doors.managed-identity]\naudiences = {{ \"https://a.example\" = \"nobody\" }}\n"
    ));
    run().done().fails(102, "config.door").says("nobody").says("https://a.example");
    assert!(!home.work("started").exists());
    home.configure(TEAM);
    home.strongroom(["run", "--as-azure", "--clean-env", "https_proxy", "--", "sh", "-c", "exit 7"])
        .env("https_proxy", "http://proxy.corp:3128")
        .done()
        .status(7);
}
