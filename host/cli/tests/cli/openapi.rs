//! The description of the native door: it and the running server say the same, down to the last member of an answer.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::serving::*;
use crate::support::*;

/// Where the routes stand.
const ROUTER: &str = include_str!("../../../server/src/doors/native/mod.rs");
const METHODS: [&str; 9] = ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"];

/// A server with the door on loopback and on a socket, and a caller who may do everything.
struct Door {
    home: Home,
    server: Server,
    token: String,
}

fn door() -> Door {
    let home = home();
    let token = home.canary("token");
    home.variable("FUZZ_ONE");
    let digest = strongroom_core::Digest::of(token.as_bytes());
    let operations =
        "[\"resolve\", \"list\", \"metadata\", \"set\", \"delete\", \"recover\", \"purge\", \"explain\", \"plugins\"]";
    home.configure(&format!(
        r#"
[listeners.loop]
address = "127.0.0.1:0"
insecure_loopback = true
doors = ["native"]

[listeners.own]
socket = "{}"
doors = ["native"]

[mounts.keys]
plugin = "keys"
write = true
limits = {{ cpu = "30s", deadline = "60s" }}
config = {{ deleted_for = 7 }}

[mounts.env]
plugin = "env"
allow = ["FUZZ_*"]
limits = {{ cpu = "30s", deadline = "60s" }}

[callers.app]
token = "{digest}"

[[policy]]
callers = ["app"]
mounts = ["keys", "env"]
operations = {operations}
"#,
        home.path("run/own.sock").display(),
    ));
    let server = Server::start(&home);
    Door { home, server, token }
}

impl Door {
    fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        ask_port(self.server.port("http"), method, target, &[("Authorization", &bearer)], body)
    }

    fn description(&self) -> Value {
        ask_port(self.server.port("http"), "GET", "/api/v1/openapi.json", &[], None).json()
    }
}

/// The methods that a path is described with, in capitals.
fn described(path: &Value) -> BTreeSet<String> {
    let methods = path.as_object().unwrap().keys().map(|key| key.to_uppercase());
    methods.filter(|method| METHODS.contains(&method.as_str())).collect()
}

#[test]
fn each_route_is_described_and_each_description_is_a_route() {
    let door = door();
    let description = door.description();
    let paths = description["paths"].as_object().unwrap();
    let routes: BTreeSet<&str> =
        ROUTER.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(paths.keys().map(String::as_str).collect::<BTreeSet<_>>(), routes);
    for (path, item) in paths {
        let described = described(item);
        for method in METHODS {
            let answer = door.ask(method, path, None);
            if described.contains(method) {
                assert!(![404, 405, 501].contains(&answer.status), "{method} {path}: {answer:?}");
                continue;
            }
            assert_eq!((answer.status, answer.code().as_str()), (405, "request.method"), "{method} {path}");
            let allowed: BTreeSet<&str> = answer.header("allow").unwrap().split(',').collect();
            // What is read can be asked about without its body.
            let expected = described.iter().map(String::as_str);
            let expected: BTreeSet<&str> = expected.chain(described.contains("GET").then_some("HEAD")).collect();
            assert_eq!(allowed, expected, "{path}");
        }
    }
}

/// The description's examples, with the times of now.
fn at_any_time(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for (key, member) in members {
                let time = ["created", "updated", "deleted", "scheduled-purge"].contains(&key.as_str());
                let text = member.as_str().filter(|text| text.parse::<u64>().is_ok_and(|time| time > 1_500_000_000));
                *member = if time && text.is_some() { json!("a time") } else { at_any_time(member.take()) };
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = at_any_time(item.take());
            }
        }
        _ => {}
    }
    value
}

#[test]
fn the_examples_are_true() {
    let door = door();
    let description = door.description();
    let at = "reference=keys://openai/OPENAI_API_KEY";
    for (method, path, query, check) in [
        ("put", "/api/v1/secret", at, true),
        ("get", "/api/v1/secret", at, true),
        ("post", "/api/v1/resolve", "", true),
        ("get", "/api/v1/metadata", at, true),
        ("get", "/api/v1/versions", at, true),
        ("get", "/api/v1/names", "scope=keys://openai", true),
        ("patch", "/api/v1/secret", at, true),
        ("delete", "/api/v1/secret", at, true),
        ("post", "/api/v1/recover", at, true),
        ("delete", "/api/v1/secret", at, false),
        ("post", "/api/v1/purge", at, true),
        ("get", "/api/v1/health", "", true),
        ("get", "/api/v1/ready", "", true),
    ] {
        let operation = &description["paths"][path][method];
        let body = operation["requestBody"]["content"]["application/json"].get("example");
        let answer = door.ask(&method.to_uppercase(), &format!("{path}?{query}"), body);
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        let example = &operation["responses"]["200"]["content"]["application/json"]["example"];
        if check {
            assert_eq!(at_any_time(answer.json()), at_any_time(example.clone()), "{method} {path}");
        }
    }
    for (name, answer) in [
        ("Invalid", door.ask("GET", "/api/v1/secret", None)),
        (
            "NoCaller",
            ask_port(door.server.port("http"), "GET", "/api/v1/plugins", &[("Authorization", "Bearer x")], None),
        ),
        ("NotFound", door.ask("GET", "/api/v1/secret?reference=keys://openai/NOT_THERE", None)),
        ("ContentType", door.ask("POST", "/api/v1/resolve", None)),
        ("Unsupported", door.ask("GET", "/api/v1/versions?reference=env:FUZZ_ONE", None)),
    ] {
        let example =
            &description["components"]["responses"][name]["content"]["application/json"]["example"]["failure"];
        let failure = &answer.json()["failure"];
        for member in ["kind", "code", "message", "retry"] {
            assert_eq!(failure[member], example[member], "{name}: {failure}");
        }
    }
}

#[test]
fn what_only_the_owner_is_told_is_as_described() {
    let door = door();
    let description = door.description();
    let socket = door.home.path("run/own.sock");
    // Without rules the owner may do everything on a Unix socket.
    let config = std::fs::read_to_string(door.home.user_config()).unwrap();
    let without = config.split("[[policy]]").next().unwrap();
    door.home.configure(without);
    let mut server = door.server;
    server.wait_for("the changed config is in force");
    for (target, schema) in [
        ("/api/v1/server", "Server"),
        ("/api/v1/plugins", "Mounts"),
        ("/api/v1/explain?reference=keys://a/b?version=1", "Explanation"),
        ("/api/v1/explain?reference=env:NOT_ALLOWED", "Explanation"),
    ] {
        let answer = ask_socket(&socket, "GET", target, &[], None);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        let whole = json!({
            "$ref": format!("#/components/schemas/{schema}"),
            "components": closed(description["components"].clone()),
        });
        let checked = jsonschema::validator_for(&whole).unwrap().validate(&answer.json()).map_err(|e| e.to_string());
        assert_eq!(checked, Ok(()), "{target}");
    }
}

/// With no members but those that are described.
fn closed(mut part: Value) -> Value {
    match &mut part {
        Value::Object(members) => {
            if members.get("type") == Some(&json!("object")) && members.contains_key("properties") {
                members.entry("additionalProperties").or_insert(json!(false));
            }
            members.values_mut().for_each(|member| *member = closed(member.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = closed(item.take())),
        _ => {}
    }
    part
}

#[test]
fn schemathesis_finds_nothing() {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/schemathesis");
    let Some(python) = python("clients/schemathesis/requirements.txt") else { return };
    let door = door();
    let program = python.with_file_name("schemathesis");
    // It writes where it runs.
    for file in ["schemathesis.toml", "hooks.py"] {
        door.home.write(file, std::fs::read(format!("{FOLDER}/{file}")).unwrap());
    }
    let address = format!("http://127.0.0.1:{}/api/v1/openapi.json", door.server.port("http"));
    let arguments = ["run", "--no-color", &address];
    let done = door.home.program(program.to_str().unwrap(), arguments).env("TOKEN", &door.token).done();
    let said = done.out();
    let short: String = said.lines().map(|line| format!("{}\n", line.chars().take(400).collect::<String>())).collect();
    assert_eq!(done.status, 0, "{short}");
    // All of them were asked, and more than in name.
    assert!(said.contains("Selected: 15/15\n") && said.contains("Tested: 15\n"), "{short}");
    assert!(said.contains("No issues found") || !said.contains("Failures:"), "{short}");
    assert_eq!(door.server.said().matches("panicked").count(), 0);
}
