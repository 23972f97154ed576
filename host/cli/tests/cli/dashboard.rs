//! The dashboard in `examples/`, held against a running server: what it asks for has to be there, and what is there names
//! no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use fake_azure::{Fake, Options};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::azure::{SECRET, VAULT};
use crate::served::vault_home;
use crate::serving::*;
use crate::support::*;
use crate::traces::Collector;

/// What a server tells: each series by its name, with the labels that it has.
type Told = BTreeMap<String, BTreeSet<String>>;

fn told(text: &str) -> Told {
    let mut told = Told::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap().split(',').filter_map(|label| label.split_once('='));
        let entry = told.entry(name.to_owned()).or_default();
        entry.extend(labels.map(|(key, _)| key.to_owned()));
    }
    told
}

/// The series that a query asks for, each with the labels it selects by, and the labels that it groups by.
fn asked(query: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let mut series = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find("strongroom_") {
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let selectors = rest.strip_prefix('{').map(|inner| inner.split('}').next().unwrap()).unwrap_or_default();
        let labels = selectors.split(", ").filter(|s| !s.is_empty());
        series.push((name, labels.map(|label| label.split(['=', '!']).next().unwrap().to_owned()).collect()));
    }
    let groups = query.split("by (").skip(1).map(|group| group.split(')').next().unwrap());
    (series, groups.flat_map(|group| group.split(", ").map(str::to_owned)).collect())
}

#[test]
fn the_dashboard_asks_for_nothing_that_a_server_does_not_tell() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = vault_home(&fake, "ttl = \"1h\"");
    home.variable("NAME_OF_A_SECRET");
    let token = home.canary("token");
    let digest = strongroom_core::Digest::of(token.as_bytes());
    let collector = Collector::start();
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    let run = home.path("run");
    home.write(
        "strongroom.toml",
        format!(
            "{config}\n{}[mounts.small]\nplugin = \"env\"\nscheme = \"env\"\nlimits.memory = \"64KiB\"\n\
             [listeners.main]\nsocket = \"{run}/main.sock\"\ndoors = [\"native\"]\n\
             [listeners.loop]\naddress = \"127.0.0.1:0\"\ninsecure_loopback = true\ndoors = [\"native\"]\n\
             [listeners.numbers]\nsocket = \"{run}/numbers.sock\"\ndoors = [\"metrics\"]\n\
             [callers.ci]\ntoken = \"{digest}\"\n\
             [[policy]]\ncallers = [\"ci\", \"owner\"]\nmounts = [\"vault\", \"env\", \"small\"]\n\
             operations = [\"resolve\", \"set\"]\n",
            collector.config("sample = 1"),
            run = run.display(),
        ),
    );
    let mut server = Server::start(&home);
    let port = server.port("http");
    let ask = |method: &str, reference: &str, body: Option<&Value>| {
        let at = format!("/api/v1/secret?reference={}", encoded(reference));
        ask_socket(&run.join("main.sock"), method, &at, &[], body).status
    };
    assert_eq!((ask("GET", SECRET, None), ask("GET", SECRET, None)), (200, 200));
    assert_eq!(ask("GET", &format!("keyvault:https://{VAULT}/secrets/absent"), None), 404);
    assert_eq!(ask("GET", "env+env:NAME_OF_A_SECRET", None), 200);
    assert_ne!(ask("GET", "small+env:NAME_OF_A_SECRET", None), 200);
    assert_eq!(ask("PUT", "env+env:NAME_OF_A_SECRET", Some(&json!({ "value": "x" }))), 403);
    assert_eq!(ask("GET", "keys://group_of_secrets/one", None), 403);
    assert_eq!(ask_port(port, "GET", "/api/v1/secret?reference=env:A", &[], None).status, 401);
    server.signal(Signal::HUP);
    server.wait_for("in force");

    let numbers = || lossy(&ask_socket(&run.join("numbers.sock"), "GET", "/metrics", &[], None).body);
    // The spans of all that are sent when they have waited for others.
    collector.wait();
    let mut text = numbers();
    while !text.contains("strongroom_spans_total") {
        text = numbers();
    }
    home.assert_clean("metrics", text.as_bytes());
    for name in ["NAME_OF_A_SECRET", "group_of_secrets", "secret1", "absent", "mykeyvault"] {
        assert!(!text.contains(name), "{name} in:\n{text}");
    }
    for line in [
        "strongroom_operation_seconds_count{mount=\"vault\",operation=\"resolve\"} 3",
        "strongroom_denials_total{mount=\"-\",rule=\"policy\"} 1",
        "strongroom_denials_total{mount=\"env\",rule=\"read-only\"} 1",
        "strongroom_sandbox_kills_total{plugin=\"env\",cause=\"memory\"} 1",
        "strongroom_cache_total{mount=\"vault\",result=\"hit\"} 1",
        "strongroom_backend_seconds_count{mount=\"vault\",outcome=\"2xx\"} 1",
        "strongroom_spans_total{outcome=\"sent\"} ",
    ] {
        assert!(text.contains(line), "no {line} in:\n{text}");
    }

    let told = told(&text);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/server/grafana/strongroom.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut used = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let (series, groups) = asked(query);
            assert!(!series.is_empty(), "{query}");
            for (name, labels) in series {
                let there = told.get(&name).unwrap_or_else(|| panic!("no {name}, for `{query}`, in:\n{text}"));
                for label in labels.iter().chain(&groups) {
                    assert!(there.contains(label), "{name} has no {label}: {query}");
                }
                used.insert(name);
            }
            let legend = target["legendFormat"].as_str().unwrap();
            for label in legend.split("{{").skip(1).map(|label| label.split("}}").next().unwrap()) {
                assert!(groups.iter().any(|group| group == label), "{label} of {legend}: {query}");
            }
        }
    }
    let variable = dashboard["templating"]["list"][1]["query"]["query"].as_str().unwrap();
    assert!(variable.starts_with("label_values(strongroom_operations_total, mount"), "{variable}");
    // And the other way: each metric is somewhere on it.
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(used.iter().any(|used| used.starts_with(name)), "{name} is on no panel");
    }
}
