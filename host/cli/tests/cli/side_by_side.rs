//! How many calls a mount makes at once, how few requests many references come to, and many writers of one store.

use fake_azure::{Fake, Options};
use serde_json::{Value, json};

use crate::azure::{with_secret, with_workspace};
use crate::serving::{Server, ask_socket, home};

const VAULT: &str = "mykeyvault.vault.azure.net";

/// The most requests that the fake's vaults had at once, for `count` secrets of a mount with these keys.
fn most_at_once(keys: &str, count: usize) -> u64 {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    home.write("strongroom.toml", config.replace("write = true\n", &format!("write = true\n{keys}\n")));
    let names: Vec<String> = (0..count).map(|number| format!("many-{number}")).collect();
    let secrets: Vec<Value> =
        names.iter().map(|name| json!({"vault": VAULT, "name": name, "value": format!("of-{name}")})).collect();
    fake.control("POST", "/control/seed", json!({ "secrets": secrets })).unwrap();
    // Long enough that all that may run at once does.
    fake.control("PATCH", "/control/settings", json!({"latency_ms": 100})).unwrap();
    home.write(
        "many.env",
        names
            .iter()
            .map(|name| format!("{}=${{{{keyvault:https://{VAULT}/secrets/{name}}}}}\n", name.replace('-', "_")))
            .collect::<String>(),
    );
    home.strongroom(["check", "-f", "many.env"]).done().ok();
    let counters = fake.control("GET", "/control/counters", Value::Null).unwrap();
    counters["most_at_once"]["key-vault"].as_u64().unwrap()
}

#[test]
fn a_mount_makes_no_more_calls_at_once_than_it_may() {
    assert!(most_at_once("limits.parallel = 3", 20) <= 3);
    // That it was the limit: without it there are more.
    assert!((4..=32).contains(&most_at_once("", 40)));
}

#[test]
fn fifty_fields_of_a_connection_are_one_request() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_workspace(&fake);
    let keys: serde_json::Map<String, Value> =
        (0..50).map(|number| (format!("K{number}"), json!(format!("value-{number}")))).collect();
    let connection = json!({"workspace": "myworkspace", "name": "fifty", "properties": {"authType": "CustomKeys",
        "category": "CustomKeys", "target": "_", "credentials": {"keys": keys}, "metadata": {}}});
    fake.control("POST", "/control/seed", json!({"connections": [connection]})).unwrap();
    let lines = (0..50).map(|n| format!("V{n}=${{{{azureml://connections/fifty/credentials/K{n}}}}}\n"));
    home.write("fifty.env", lines.collect::<String>());
    let script = "test \"$V0 $V49\" = \"value-0 value-49\" && echo right";
    home.strongroom(["run", "-f", "fifty.env", "--", "sh", "-c", script]).done().ok().prints("right\n");
    let asked = fake.control("GET", "/control/requests?service=arm", Value::Null).unwrap();
    assert_eq!(asked.as_array().unwrap().len(), 1, "{asked}");
}

#[test]
fn keys_that_many_write_at_once_are_all_there() {
    let home = home();
    // However slow the disk and the machine are.
    home.configure("[mounts.keys]\nplugin = \"keys\"\nwrite = true\nlimits = { cpu = \"30s\", deadline = \"90s\", parallel = 64 }\n");
    let server = Server::start(&home);
    let socket = home.path("run/strongroom/server.sock");
    std::thread::scope(|scope| {
        for number in 0..64 {
            let socket = &socket;
            scope.spawn(move || {
                let target = format!("/api/v1/secret?reference=keys://many/k{number}");
                let set = ask_socket(socket, "PUT", &target, &[], Some(&json!({"value": format!("of-{number}")})));
                assert_eq!(set.status, 200, "{set:?}");
            });
        }
    });
    for number in 0..64 {
        assert_eq!(server.value(&format!("keys://many/k{number}")), Ok(format!("of-{number}")));
    }
}
