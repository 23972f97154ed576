//! The doors for clients of Azure, as Azure's own clients meet them over TLS, and as an attacker does.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_azure::{Fake, Options, defaults};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::serving::*;
use crate::support::*;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const TENANT: &str = "11112222-3333-4444-5555-666677778888";
const WORKSPACE: [&str; 3] = ["aaaa0a0a-bb1b-cc2c-dd3d-eeeeee4e4e4e", "My.Group_(1)", "myworkspace"];
const ALL: &str = "[\"resolve\", \"list\", \"metadata\", \"set\", \"delete\", \"recover\", \"purge\"]";

/// A server with both doors: over TLS for clients, on loopback for bytes.
struct Door {
    home: Home,
    server: Server,
    token: String,
    /// The variable APP_PASSWORD.
    password: String,
}

/// What looks like a JWT that ends so many seconds from now: a caller's token like any other.
pub fn jwt(home: &Home, seconds: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let secret = URL_SAFE_NO_PAD.encode(home.canary("token"));
    home.guard(&secret);
    format!("{}.{}.{secret}", part(json!({"alg": "HS256", "typ": "JWT"})), part(json!({"exp": now + seconds})))
}

/// `rules`: what the caller `app` may do.
fn door(rules: &str) -> Door {
    let home = home();
    let token = jwt(&home, 86_400);
    let old = jwt(&home, -5);
    home.set("OLD_TOKEN", &old);
    let password = home.variable("APP_PASSWORD");
    let digest = |token: &str| strongroom_core::Digest::of(token.as_bytes());
    let workspace = WORKSPACE.join("/");
    home.configure(&format!(
        r#"
[listeners.web]
address = "127.0.0.1:0"
tls = {{ certificate = "server.pem", key = "server.key" }}
doors = ["key-vault", "azureml"]

[listeners.loop]
address = "127.0.0.1:0"
insecure_loopback = true
doors = ["key-vault", "azureml"]

[mounts.keys]
plugin = "keys"
write = true
limits = {{ cpu = "30s", deadline = "60s" }}
default = true
config = {{ deleted_for = 30 }}

[mounts.plain]
plugin = "keys"
write = true
limits = {{ cpu = "30s", deadline = "60s" }}

[mounts.env]
plugin = "env"
allow = ["APP_*"]
limits = {{ cpu = "30s", deadline = "60s" }}

[callers.app]
token = "{}"
[callers.late]
token = "{}"

{rules}

[doors.key-vault]
authority = "https://login.microsoftonline.com/{TENANT}"
[doors.key-vault.vaults]
"localhost" = "keys://team"
"team.vault.azure.net" = "keys://team"
"plain.test" = "plain+keys://plain"
"env.test" = "env:"

[doors.azureml.workspaces]
"{workspace}" = "keys://ml"
"#,
        digest(&token),
        digest(&old),
    ));
    certify(&home);
    let server = Server::start(&home);
    Door { home, server, token, password }
}

/// A server as an example's own config says, with a password of five characters in it.
fn example(folder: &str) -> Door {
    let home = home();
    let token = jwt(&home, 86_400);
    home.configure(&crate::examples::config(folder, &token));
    certify(&home);
    home.put("keys://team/db-password", "12345");
    let server = Server::start(&home);
    Door { home, server, token, password: String::new() }
}

/// Gives the server a certificate for all names that are used here, and clients its authority.
pub fn certify(home: &Home) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // A name of its own: what is signed by its own name is taken for self-signed.
    authority.distinguished_name.push(DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost", "team.vault.azure.net", "plain.test", "env.test", "none.test"];
    let leaf = CertificateParams::new(names.map(str::to_owned)).unwrap().signed_by(&key, &authority).unwrap();
    let folder = home.user_config().parent().unwrap().to_owned();
    std::fs::write(folder.join("server.pem"), leaf.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    chmod(&folder.join("server.pem"), 0o644);
    chmod(&folder.join("server.key"), 0o600);
    home.write("ca.pem", authority.pem());
}

fn everything() -> Door {
    door(&format!(
        "[[policy]]\ncallers = [\"app\"]\nmounts = [\"keys\", \"plain\", \"env\"]\noperations = {ALL}\n\
         [[policy]]\ncallers = [\"late\"]\nmounts = [\"keys\"]\noperations = {ALL}\n"
    ))
}

impl Door {
    /// Asks on loopback, as the caller.
    fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        ask_port(self.server.port("http"), method, target, &[("Authorization", &bearer)], body)
    }

    /// Runs a client to its end, with nothing but what leads it here.
    fn run(&self, program: &Path, arguments: &[&Path], more: &[(&str, &str)]) -> Done {
        let port = self.server.port("https");
        let routes: Vec<String> = ["team.vault.azure.net", "plain.test", "env.test", "none.test"]
            .map(|name| format!("{name}=127.0.0.1:{port}"))
            .into();
        let mut call = self.home.program(program.to_str().unwrap(), arguments);
        let ca = self.home.work("ca.pem");
        for (name, value) in [
            ("DOOR_VAULT", format!("https://localhost:{port}").as_str()),
            ("DOOR_PLAIN_VAULT", "https://plain.test"),
            ("DOOR_ENV_VAULT", "https://env.test"),
            ("DOOR_NO_VAULT", "https://none.test"),
            ("DOOR_TOKEN", &self.token),
            ("DOOR_ROUTES", &routes.join(" ")),
            ("REQUESTS_CA_BUNDLE", ca.to_str().unwrap()),
            ("NODE_EXTRA_CA_CERTS", ca.to_str().unwrap()),
            ("PYTHONPATH", &format!("{REPOSITORY}/tests/clients/azure")),
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ]
        .iter()
        .chain(more)
        {
            call = call.env(name, value);
        }
        call.done()
    }
}

/// Python with Microsoft's clients.
pub fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(|| crate::serving::python("fake-azure/clients/requirements.txt")).as_deref()
}

#[test]
fn azure_keyvault_secrets_does_all_it_can() {
    let Some(python) = python() else { return };
    let door = everything();
    let script = Path::new(REPOSITORY).join("tests/clients/azure/key_vault.py");
    let done = door.run(python, &[&script], &[("APP_PASSWORD_LENGTH", &door.password.len().to_string())]);
    assert_eq!(done.ok().out().lines().count(), 9);
}

#[test]
fn azure_keyvault_secrets_for_node_does_all_it_can() {
    let Some((node, folder)) = node("azure-node") else { return };
    let door = everything();
    // Modules are looked for beside the script.
    let script = folder.join("key_vault.mjs");
    std::fs::copy(Path::new(REPOSITORY).join("tests/clients/azure-node/key_vault.mjs"), &script).unwrap();
    door.run(&node, &[&script], &[]).ok().prints("passed\n");
    let script = folder.join("example.mjs");
    std::fs::copy(Path::new(REPOSITORY).join("examples/server/azure-key-vault-node/main.mjs"), &script).unwrap();
    let door = example("azure-key-vault-node");
    let url = format!("https://localhost:{}", door.server.port("https"));
    door.run(&node, &[&script], &[("VAULT_URL", &url), ("VAULT_TOKEN", &door.token)])
        .ok()
        .prints("got a password of 5 characters\n");
}

/// What App Service has, and so any program that gives out tokens for managed identities: this one gives one token.
fn identity(token: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = json!({
        "access_token": token, "expires_on": "4102444800", "resource": "https://vault.azure.net", "token_type": "Bearer",
    })
    .to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            assert!(lossy(&head).contains("resource=https"), "{}", lossy(&head));
            let length = body.len();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    format!("http://127.0.0.1:{port}/token")
}

#[test]
fn a_program_written_for_azure_runs_unchanged() {
    let Some(python) = python() else { return };
    let door = example("azure-key-vault-python");
    let script = Path::new(REPOSITORY).join("examples/server/azure-key-vault-python/main.py");
    let endpoint = identity(&door.token);
    let more = [("KEY_VAULT_NAME", "team"), ("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", "x")];
    door.run(python, &[&script], &more).ok().prints("got a password of 5 characters\n");
}

/// As in production: an application of Entra, whose tokens the server knows by their issuer.
#[test]
fn a_program_that_signs_in_at_entra_runs_unchanged() {
    let Some(python) = python() else { return };
    let fake = Fake::start(Options::default()).unwrap();
    let home = home();
    let login = format!("127.0.0.1:{}", fake.https_port());
    home.configure(&format!(
        r#"
[listeners.web]
address = "127.0.0.1:0"
tls = {{ certificate = "server.pem", key = "server.key" }}
doors = ["key-vault"]

[mounts.keys]
plugin = "keys"
write = true
limits = {{ cpu = "30s", deadline = "60s" }}

[doors.key-vault]
authority = "https://login.microsoftonline.com/{tenant}"
[doors.key-vault.vaults]
"team.vault.azure.net" = "keys://team"

[issuers.entra]
issuer = "https://sts.windows.net/{tenant}/"
jwks = "https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys"
audiences = ["https://vault.azure.net"]
algorithms = ["RS256"]
network = "public"

[callers.trainer]
jwt = {{ issuer = "entra", claims = {{ appid = "{client}" }} }}

[[policy]]
callers = ["trainer"]
mounts = ["keys"]
names = ["team/*"]
operations = ["resolve"]

[ca.fake]
file = "fake.pem"
hosts = ["login.microsoftonline.com"]
[addresses]
"login.microsoftonline.com" = "{login}"
"#,
        tenant = defaults::TENANT,
        client = defaults::CLIENT,
    ));
    certify(&home);
    let trusted = home.user_config().with_file_name("fake.pem");
    std::fs::copy(fake.ca_file(), &trusted).unwrap();
    chmod(&trusted, 0o644);
    let [ours, theirs] = [home.work("ca.pem"), fake.ca_file()].map(|file| std::fs::read_to_string(file).unwrap());
    home.write("both.pem", ours + &theirs);
    let bundle = home.work("both.pem");
    home.put("keys://team/db-password", "12345");
    let server = Server::start(&home);
    let port = server.port("https");
    let door = Door { home, server, token: String::new(), password: String::new() };
    let script = Path::new(REPOSITORY).join("examples/server/azure-key-vault-python/main.py");
    let routes = format!("team.vault.azure.net=127.0.0.1:{port} login.microsoftonline.com={login}");
    let run = |client: &str, secret: &str| {
        let secret = std::fs::read_to_string(fake.folder().join(secret)).unwrap();
        let more = [
            ("KEY_VAULT_NAME", "team"),
            ("AZURE_TENANT_ID", defaults::TENANT),
            ("AZURE_CLIENT_ID", client),
            ("AZURE_CLIENT_SECRET", secret.trim()),
            ("DOOR_ROUTES", &routes),
            ("REQUESTS_CA_BUNDLE", bundle.to_str().unwrap()),
        ];
        door.run(python, &[&script], &more)
    };
    run(defaults::CLIENT, "client-secret").ok().prints("got a password of 5 characters\n");
    // Entra signs for every application of the tenant; the config names one.
    run(defaults::NOBODY, "nobody-client-secret").status(1).says("AKV10001");
}

/// What a job of Azure ML finds in its environment.
fn job(door: &Door, workspace: [&str; 3]) -> Vec<(&'static str, String)> {
    let here = format!("https://localhost:{}", door.server.port("https"));
    let [subscription, group, workspace] = workspace.map(str::to_owned);
    vec![
        ("AZUREML_RUN_ID", "calm_root_1234567890".into()),
        ("AZUREML_ARM_SUBSCRIPTION", subscription),
        ("AZUREML_ARM_RESOURCEGROUP", group),
        ("AZUREML_ARM_WORKSPACE_NAME", workspace),
        ("AZUREML_ARM_PROJECT_NAME", "training".into()),
        ("AZUREML_EXPERIMENT_ID", "77778888-bbbb-9999-cccc-0000dddd1111".into()),
        ("AZUREML_DISCOVERY_SERVICE_ENDPOINT", format!("{here}/discovery")),
        ("AZUREML_SERVICE_ENDPOINT", here),
        ("AZUREML_RUN_TOKEN", door.token.clone()),
    ]
}

#[test]
fn azureml_core_reads_and_writes_secrets() {
    let Some(python) = python() else { return };
    let names =
        ["ml", "ml/one", "ml/two", "ml/three", "ml/missing", "ml/db-password", "ml/a*"].map(|name| format!("{name:?}"));
    let door = door(&format!(
        "[[policy]]\ncallers = [\"app\"]\nmounts = [\"keys\"]\nnames = [{}]\noperations = {ALL}\n",
        names.join(", ")
    ));
    let script = Path::new(REPOSITORY).join("tests/clients/azure/azureml_v1.py");
    let own = job(&door, WORKSPACE);
    let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(door.run(python, &[&script], &own).ok().out().lines().count(), 3);

    let script = Path::new(REPOSITORY).join("examples/server/azureml-python/main.py");
    let door = example("azureml-python");
    let its = job(&door, ["aaaa0a0a-bb1b-cc2c-dd3d-eeeeee4e4e4e", "my-group", "my-workspace"]);
    let its: Vec<(&str, &str)> = its.iter().map(|(name, value)| (*name, value.as_str())).collect();
    door.run(python, &[&script], &its).ok().prints("got a password of 5 characters\n");
}

#[test]
fn bad_requests_are_refused_in_key_vaults_shape() {
    let door = everything();
    let port = door.server.port("http");
    let value = door.home.canary("value");
    assert_eq!(door.ask("PUT", "/secrets/db?api-version=7.4", Some(&json!({"value": value}))).status, 200);
    let deep = format!("{{\"value\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let long = "a".repeat(128);
    let huge = "9".repeat(400);
    let bearer = format!("Bearer {}", door.token);
    let old = door.home.variables().into_iter().find(|(name, _)| name == "OLD_TOKEN").unwrap().1;
    let old = format!("Bearer {}", old.to_str().unwrap());
    let authorised = ("Authorization", bearer.as_str());
    let json_type = ("Content-Type", "application/json");
    let get = |target: &str| format!("GET {target}");
    for (line, headers, body, status, code) in [
        // Versions of the interface, and parameters.
        (get("/secrets/db"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/db?api-version="), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/db?api-version=6.9"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/db?api-version=7.4&api-version=7.5"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/db?api-version=7.4&api%2Dversion=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/db?api-version=7.4&more=1"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets?api-version=7.4&maxresults=0"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets?api-version=7.4&maxresults=26"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets?api-version=7.4&maxresults=-1"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets?api-version=7.4&$skiptoken=***"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets?api-version=7.4&$skiptoken=Li4"), vec![authorised], "", 400, "BadParameter"),
        // Paths.
        (get("/secrets/d%62?api-version=7.4"), vec![authorised], "", 200, ""),
        (get("/secrets/db/?api-version=7.4"), vec![authorised], "", 200, ""),
        (get("/secrets/db?api%2Dversion=7.4"), vec![authorised], "", 200, ""),
        (get("/secrets/team%2fdb?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/..%2fml%2fdb?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/../secrets/db?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/%2e%2e?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/%2E?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets//db?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/db//?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/d%00b?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/d%0ab?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/d%c0%afb?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/%ff?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/%zz?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/d%2562?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/d%3fb?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get(&format!("/secrets/{long}?api-version=7.4")), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/db/1?api-version=7.4"), vec![authorised], "", 200, ""),
        (get(&format!("/secrets/db/{huge}?api-version=7.4")), vec![authorised], "", 404, "SecretNotFound"),
        (get("/secrets/db/1%20?api-version=7.4"), vec![authorised], "", 404, "SecretNotFound"),
        (get("/secrets/db/1/2?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        (get("/secrets/metadata?api-version=7.4"), vec![authorised], "", 400, "BadParameter"),
        // Methods, and what is not offered.
        ("BREW /secrets/db?api-version=7.4".into(), vec![authorised], "", 405, "NotSupported"),
        ("POST /secrets/db?api-version=7.4".into(), vec![authorised], "", 405, "NotSupported"),
        ("DELETE /secrets?api-version=7.4".into(), vec![authorised], "", 405, "NotSupported"),
        ("DELETE /secrets/db/1?api-version=7.4".into(), vec![authorised], "", 405, "NotSupported"),
        ("POST /secrets/db/backup?api-version=7.4".into(), vec![authorised], "", 501, "NotSupported"),
        ("POST /secrets/restore?api-version=7.4".into(), vec![authorised, json_type], "{}", 501, "NotSupported"),
        (get("/keys/db?api-version=7.4"), vec![authorised], "", 501, "NotSupported"),
        (get("/certificates?api-version=7.4"), vec![authorised], "", 501, "NotSupported"),
        // Tokens.
        (get("/secrets/db?api-version=7.4"), vec![], "", 401, "Unauthorized"),
        (get("/secrets/db?api-version=7.4"), vec![("Authorization", "Bearer x")], "", 401, "Unauthorized"),
        (get("/secrets/db?api-version=7.4"), vec![("Authorization", "Bearer a.b.c")], "", 401, "Unauthorized"),
        (get("/secrets/db?api-version=7.4"), vec![("Authorization", "Basic QTpC")], "", 401, "Unauthorized"),
        (get("/secrets/db?api-version=7.4"), vec![("Authorization", &old)], "", 401, "Unauthorized"),
        (get("/secrets/db?api-version=7.4"), vec![authorised, authorised], "", 401, "Unauthorized"),
        // Hosts and pages.
        (get("/secrets/db?api-version=7.4"), vec![authorised, ("Origin", "null")], "", 403, "Forbidden"),
        (get("/secrets/db?api-version=7.4"), vec![authorised, ("Host", "team.vault.azure.net")], "", 403, "Forbidden"),
        (get("/secrets/db?api-version=7.4"), vec![authorised, ("Host", "127.0.0.1")], "", 404, "VaultNotFound"),
        (get("/secrets/db?api-version=7.4"), vec![authorised, ("Host", "u@localhost")], "", 403, "Forbidden"),
        // Bodies.
        ("PUT /secrets/a?api-version=7.4".into(), vec![authorised, json_type], "", 400, "BadParameter"),
        ("PUT /secrets/a?api-version=7.4".into(), vec![authorised, json_type], "{", 400, "BadParameter"),
        ("PUT /secrets/a?api-version=7.4".into(), vec![authorised, json_type], "{}", 400, "BadParameter"),
        ("PUT /secrets/a?api-version=7.4".into(), vec![authorised, json_type], "{\"value\":1}", 400, "BadParameter"),
        (
            "PUT /secrets/a?api-version=7.4".into(),
            vec![authorised, json_type],
            "{\"value\":\"a\",\"value\":\"b\"}",
            400,
            "BadParameter",
        ),
        (
            "PUT /secrets/a?api-version=7.4".into(),
            vec![authorised, json_type],
            "{\"value\":\"a\",\"more\":1}",
            400,
            "BadParameter",
        ),
        ("PUT /secrets/a?api-version=7.4".into(), vec![authorised, json_type], &deep, 400, "BadParameter"),
        (
            "PUT /secrets/a?api-version=7.4".into(),
            vec![authorised, ("Content-Type", "text/plain")],
            "{\"value\":\"a\"}",
            415,
            "BadParameter",
        ),
        (
            "PATCH /secrets/db?api-version=7.4".into(),
            vec![authorised, json_type],
            "{\"value\":\"a\"}",
            400,
            "BadParameter",
        ),
    ] {
        let (method, target) = line.split_once(' ').unwrap();
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text += &format!("Host: localhost:{port}\r\n");
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = send_raw(port, text.as_bytes()).unwrap_or_else(|| panic!("no answer: {line}"));
        assert_eq!(answer.status, status, "{line} {answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{line}");
        if status == 200 {
            assert_eq!(answer.json()["value"], value.as_str(), "{line}");
            assert_eq!(answer.json()["id"], format!("http://localhost:{port}/secrets/db/1"), "{line}");
            continue;
        }
        assert_eq!(answer.json()["error"]["code"], code, "{line}");
        assert!(answer.json()["error"]["message"].is_string(), "{line}");
        let challenge = (status == 401).then(|| {
            format!("Bearer authorization=\"https://login.microsoftonline.com/{TENANT}\", resource=\"https://vault.azure.net\"")
        });
        assert_eq!(answer.header("www-authenticate"), challenge.as_deref(), "{line}");
        door.home.assert_clean(&line, &answer.body);
    }
}

#[test]
fn what_the_policy_hides_is_not_told_apart_from_what_is_not_there() {
    let door = door(&format!(
        "[[policy]]\ncallers = [\"app\"]\nmounts = [\"keys\"]\nnames = [\"team/seen-*\", \"ml/seen-*\"]\noperations = {ALL}\n\
         [[policy]]\ncallers = [\"late\"]\nmounts = [\"keys\"]\noperations = {ALL}\n"
    ));
    for reference in ["keys://team/seen-one", "keys://team/hidden", "keys://ml/seen-one", "keys://ml/hidden"] {
        door.home.put(reference, "value");
    }
    let told = |method: &str, target: &str, name: &str, body: Option<&Value>| {
        let answer = door.ask(method, &target.replace("NAME", name), body);
        (answer.status, lossy(&answer.body).replace(name, "NAME"))
    };
    let [subscription, group, workspace] = WORKSPACE;
    let ml = format!(
        "/credential/v2.0/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
    );
    let value = json!({"value": "x"});
    let tags = json!({"tags": {"a": "b"}});
    for (method, target, body) in [
        ("GET", "/secrets/NAME?api-version=7.4".to_owned(), None),
        ("GET", "/secrets/NAME/1?api-version=7.4".to_owned(), None),
        ("GET", "/secrets/NAME/versions?api-version=7.4".to_owned(), None),
        ("PUT", "/secrets/NAME?api-version=7.4".to_owned(), Some(&value)),
        ("PATCH", "/secrets/NAME?api-version=7.4".to_owned(), Some(&tags)),
        ("DELETE", "/secrets/NAME?api-version=7.4".to_owned(), None),
        ("POST", "/deletedsecrets/NAME/recover?api-version=7.4".to_owned(), None),
        ("DELETE", "/deletedsecrets/NAME?api-version=7.4".to_owned(), None),
        ("GET", format!("{ml}/secrets/NAME"), None),
        ("DELETE", format!("{ml}/secrets/NAME"), None),
    ] {
        let (status, said) = told(method, &target, "hidden", body);
        assert_eq!(status, 403, "{method} {target} {said}");
        assert_eq!((status, said), told(method, &target, "nothere", body), "{method} {target}");
    }
    // Deleted ones are looked for in a list, which shows neither.
    for name in ["hidden", "nothere"] {
        let target = format!("/deletedsecrets/{name}?api-version=7.4");
        assert_eq!(door.ask("GET", &target, None).status, 404);
    }
    let list = door.ask("GET", "/secrets?api-version=7.4", None).json();
    let ids: Vec<&str> = list["value"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["http://localhost/secrets/seen-one"]);
    assert_eq!(list["nextLink"], Value::Null);
    let list = door.ask("GET", &format!("{ml}/secrets"), None).json();
    assert_eq!(list["value"], json!([{"name": "seen-one"}]));
    let wanted = json!({"secrets": [{"name": "seen-one"}, {"name": "hidden"}, {"name": "nothere"}]});
    let got = door.ask("POST", &format!("{ml}/secrets:getbatch"), Some(&wanted)).json();
    assert_eq!(got["secrets"].as_array().unwrap().len(), 1, "{got}");
    assert_eq!(got["notFoundSecrets"], json!(["hidden", "nothere"]));
}

#[test]
fn who_may_not_ask_for_tags_does_not_replace_them_and_changes_nothing_else() {
    let door = door(
        "[[policy]]\ncallers = [\"app\"]\nmounts = [\"keys\"]\noperations = [\"set\", \"resolve\"]\n\
         [[policy]]\ncallers = [\"late\"]\nmounts = [\"keys\"]\noperations = [\"set\"]\n",
    );
    let at = "/secrets/db?api-version=7.6";
    assert_eq!(door.ask("PUT", at, Some(&json!({"value": "x"}))).status, 200);
    let change = json!({"tags": {"a": "b"}, "attributes": {"enabled": false}});
    assert_eq!(door.ask("PATCH", at, Some(&change)).status, 403);
    assert_eq!(door.ask("GET", at, None).status, 200, "it is enabled still");
    let disable = json!({"attributes": {"enabled": false}});
    assert_eq!(door.ask("PATCH", at, Some(&disable)).status, 200);
    assert_eq!(door.ask("GET", at, None).status, 403);
}

#[test]
fn tags_are_as_in_the_service_and_what_is_too_large_is_the_clients_to_mend() {
    let door = everything();
    let at = "/secrets/db?api-version=7.6";
    let long = "x".repeat(512);
    let tags: std::collections::BTreeMap<String, &str> = (0..15).map(|n| (format!("tag{n}"), long.as_str())).collect();
    let set = door.ask("PUT", at, Some(&json!({"value": "x", "tags": tags})));
    assert_eq!((set.status, &set.json()["tags"]["tag14"]), (200, &json!(long)));
    let more = json!({"value": "x", "tags": {"a": "x".repeat(513)}});
    let refused = door.ask("PUT", at, Some(&more));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("BadParameter")));
    let large = json!({"value": "x".repeat((1 << 20) + 1)});
    let refused = door.ask("PUT", at, Some(&large));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (413, &json!("BadParameter")));
}

#[test]
fn bad_requests_are_refused_in_azure_mls_shape() {
    let door = everything();
    let port = door.server.port("http");
    let [subscription, group, workspace] = WORKSPACE;
    let of = |workspace: &str| {
        format!(
            "/credential/v2.0/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.machinelearningservices/workspaces/{workspace}"
        )
    };
    let ml = of(workspace);
    assert_eq!(door.ask("PUT", &format!("{ml}/secrets"), Some(&json!({"name": "db", "value": "v"}))).status, 200);
    let upper = of(&workspace.to_uppercase());
    assert_eq!(door.ask("GET", &format!("{upper}/secrets/db"), None).json()["value"], "v");
    let bearer = format!("Bearer {}", door.token);
    let authorised = ("Authorization", bearer.as_str());
    let json_type = ("Content-Type", "application/json-patch+json; charset=utf-8");
    let deep = format!("{{\"secrets\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let many = json!({"secrets": vec![json!({"name": "a"}); 1025]}).to_string();
    for (line, headers, body, status, code) in [
        (format!("GET {ml}/secrets/db"), vec![], "", 401, "Unauthorized"),
        (format!("GET {ml}/secrets/db"), vec![("Authorization", "Bearer a.b.c")], "", 401, "Unauthorized"),
        (format!("GET {ml}/secrets/missing"), vec![authorised], "", 404, "SecretNotFound"),
        (format!("GET {}/secrets/db", of("other")), vec![authorised], "", 404, "WorkspaceNotFound"),
        (format!("GET {ml}/secrets/..%2fteam"), vec![authorised], "", 400, "BadArgument"),
        (format!("GET {ml}/secrets/../secrets/db"), vec![authorised], "", 400, "BadArgument"),
        (format!("GET {ml}/secrets//db"), vec![authorised], "", 400, "BadArgument"),
        (format!("GET {ml}/secrets/d%00"), vec![authorised], "", 400, "BadArgument"),
        (format!("GET {ml}/secrets/db?more=1"), vec![authorised], "", 400, "BadArgument"),
        (format!("GET {ml}/secrets?continuationToken=*"), vec![authorised], "", 400, "BadArgument"),
        (format!("BREW {ml}/secrets/db"), vec![authorised], "", 405, "MethodNotAllowed"),
        (format!("GET {ml}/other"), vec![authorised], "", 404, "NotFound"),
        ("GET /credential/v2.0/x".into(), vec![authorised], "", 404, "NotFound"),
        (
            format!("POST {}/metrics", ml.replace("credential/v2.0", "history/v1.0")),
            vec![authorised],
            "",
            501,
            "NotSupported",
        ),
        (
            format!("PUT {ml}/secrets"),
            vec![authorised, json_type],
            "{\"name\":\"a b\",\"value\":\"v\"}",
            400,
            "BadArgument",
        ),
        (format!("PUT {ml}/secrets"), vec![authorised, json_type], "{\"name\":\"a\"}", 400, "BadArgument"),
        (format!("PUT {ml}/secrets"), vec![authorised, json_type], "", 400, "BadArgument"),
        (
            format!("PUT {ml}/secrets"),
            vec![authorised, ("Content-Type", "text/plain")],
            "{}",
            415,
            "UnsupportedMediaType",
        ),
        (format!("POST {ml}/secrets:getbatch"), vec![authorised, json_type], &deep, 400, "BadArgument"),
        (format!("POST {ml}/secrets:getbatch"), vec![authorised, json_type], &many, 400, "BadArgument"),
    ] {
        let mut text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = send_raw(port, text.as_bytes()).unwrap_or_else(|| panic!("no answer: {line}"));
        assert_eq!(answer.status, status, "{line} {answer:?}");
        assert_eq!(answer.json()["error"]["innerError"]["code"], code, "{line}");
    }
    // The token is handed back with its end, and only to whom has it.
    let history = ml.replace("credential/v2.0", "history/v1.0");
    let renewed = door.ask("GET", &format!("{history}/experimentids/e/runs/r/token"), None).json();
    assert_eq!(renewed["token"], door.token.as_str());
    assert!(renewed["expiryTimeUtc"].as_str().unwrap().ends_with('Z'));
    let services = ask_port(port, "GET", "/discovery", &[], None).json();
    assert_eq!(services["experimentation"], "http://localhost");
}

#[test]
fn a_scope_that_leads_nowhere_is_found_when_the_config_is_read() {
    for (doors, says) in [
        ("", "nothing says what stands behind it"),
        ("[doors.key-vault]\nvaults = {}\n", "at least one"),
        ("[doors.key-vault]\nvaults = { \"Localhost\" = \"keys://team\" }\n", "lower case"),
        ("[doors.key-vault]\nvaults = { \"a/b\" = \"keys://team\" }\n", "lower case"),
        ("[doors.key-vault]\nvaults = { \"*\" = \"no scope\" }\n", "no scope of a mount"),
        ("[doors.key-vault]\nvaults = { \"*\" = \"env:A\" }\n", "no scope of a mount"),
        ("[doors.key-vault]\nvaults = { \"*\" = \"keys://team?version=1\" }\n", "no scope of a mount"),
        ("[doors.key-vault]\nvaults = { \"*\" = \"keyvault:https://v.vault.azure.net\" }\n", "no scope of a mount"),
        (
            "[doors.key-vault]\nvaults = { \"*\" = \"keyvault:https://v.vault.azure.net/secrets\" }\n",
            "no mount answers",
        ),
        ("[doors.key-vault]\nvaults = { \"*\" = \"other+keys://team\" }\n", "no mount other"),
        ("[doors.key-vault]\nvaults = { \"*\" = \"env:\" }\nauthority = \"http://a\"\n", "https address"),
        (
            "[doors.key-vault]\nvaults = { \"*\" = \"env:\" }\nauthority = \"https://login.test\"\n",
            "the tenant at its end",
        ),
        ("[doors.key-vault]\nvaults = { \"*\" = \"env:\" }\n", "where its clients get their tokens"),
        ("[doors.key-vault]\nvaults = { \"*\" = \"env:\" }\nresource = \"https://a\\\", b=\\\"\"\n", "https address"),
        ("[doors.key-vault]\nvaults = { \"*\" = \"env:\" }\nmore = 1\n", "more"),
        ("[doors.azureml]\nworkspaces = { \"a/b\" = \"env:\" }\n", "subscription/resource group/workspace"),
        ("[doors.azureml]\nworkspaces = { \"a/b/C\" = \"env:\", \"a/b/c\" = \"env:\" }\n", "stands twice"),
        ("[doors.other]\n", "other"),
    ] {
        let home = home();
        let listener = "[listeners.l]\nsocket = \"s.sock\"\ndoors = [\"key-vault\"]\n";
        home.configure(&format!("{listener}{doors}"));
        home.strongroom(["serve", "--check"]).done().status(2).says(says);
    }
}
