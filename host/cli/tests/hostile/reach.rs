//! Variables, the store, and what other calls left behind.

use serde_json::json;
use strongroom::Kind;

use crate::canary::{Canary, hex};
use crate::world::{Plan, is, manifest, script, under_both};

/// The plugin asks for a variable, and it reads as absent, as one does that is not set.
fn absent(name: &'static str) {
    under_both(async |allocation| {
        let (own, other) = (Canary::new(), Canary::new());
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).variable("HOSTILE_b", &other).open();
        let report = world.report("a", &script(json!({ "env": "HOSTILE_a" })).then(json!({ "env": name }))).await;
        assert_eq!(report[0]["value"], own.text(), "its own it may read");
        assert_eq!(report[1], json!({ "error": "absent" }));
        world.end().await;
    });
}

#[test]
fn a_variable_off_the_list() {
    absent("GOOD");
}

#[test]
fn the_variable_of_a_sibling() {
    absent("HOSTILE_b");
}

#[test]
fn strongrooms_own_variable() {
    absent("STRONGROOM_MARK");
}

#[test]
fn a_variable_with_its_value_in_the_name() {
    absent("HOSTILE_a=x");
}

#[test]
fn a_variable_in_another_case() {
    absent("hostile_A");
}

#[test]
fn the_names_of_all_variables() {
    under_both(async |allocation| {
        let (own, other) = (Canary::new(), Canary::new());
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).variable("HOSTILE_b", &other).open();
        assert_eq!(world.report("a", &script(json!({ "names": true }))).await[0]["names"], json!(["HOSTILE_a"]));
        world.end().await;
    });
}

#[test]
fn a_variable_that_feeds_a_credential() {
    under_both(async |allocation| {
        let token = Canary::new();
        // The plugin's own list would let it read the variable that the credential is made from.
        let names = manifest(crate::world::RULES).replace("HOSTILE_{ref.path.0}", "{ref.path.0}");
        let world = Plan::new(allocation).manifest(names).token(&token).open();
        let report = world.report("TOKEN", &script(json!({ "env": "TOKEN" })).then(json!({ "names": true }))).await;
        assert_eq!((&report[0], &report[1]["names"]), (&json!({ "error": "absent" }), &json!([])));
        is(&world.resolve("env:TOKEN").await.unwrap_err(), Kind::PolicyDenied, "env.sealed");
        world.end().await;
    });
}

#[test]
fn a_variable_of_strongroom_by_a_list_of_its_own() {
    under_both(async |allocation| {
        let names = manifest(crate::world::RULES).replace("HOSTILE_{ref.path.0}", "{ref.path.0}");
        let world = Plan::new(allocation).manifest(names).open();
        let report = world.report("STRONGROOM_MARK", &script(json!({ "env": "STRONGROOM_MARK" }))).await;
        assert_eq!(report[0], json!({ "error": "absent" }));
        world.end().await;
    });
}

#[test]
fn values_during_a_listing() {
    under_both(async |allocation| {
        let own = Canary::new();
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).open();
        let listed = world.names_of("a", &script(json!({ "env": "HOSTILE_a" }))).await.unwrap();
        assert_eq!(listed[0], json!({ "error": "absent" }));
        world.end().await;
    });
}

const WRITABLE: &str = "network = \"loopback\"\nwrite = true\n";

fn set(key: &str, value: &str) -> serde_json::Value {
    json!({ "store": { "op": "set", "key": key, "value": value } })
}

fn read(key: &str) -> serde_json::Value {
    json!({ "store": { "op": "get", "key": key } })
}

#[test]
fn another_prefix_of_the_store() {
    under_both(async |allocation| {
        let (own, sibling) = (Canary::new(), Canary::new());
        let world = Plan::new(allocation).mount(WRITABLE).open();
        world.put("a", &script(set("a/k", "$plain")), own.text()).await.unwrap();
        world.put("b", &script(set("b/k", "$plain")), sibling.text()).await.unwrap();
        let all = json!({ "store": { "op": "keys", "key": "" } });
        let theirs = json!({ "store": { "op": "keys", "key": "b/" } });
        let reads = script(read("a/k")).then(read("b/k")).then(read("b")).then(read("")).then(all).then(theirs);
        let report = world.report("a", &reads).await;
        assert_eq!(report[0]["value"], own.text());
        for came in &report[1..] {
            assert_eq!(came["error"], "store.outside-prefix", "{came}");
        }
        is(&world.failure("a", &script(read("b/k")).or_fail()).await, Kind::PolicyDenied, "store.outside-prefix");
        world.end().await;
    });
}

#[test]
fn a_key_that_climbs_out_of_its_prefix() {
    under_both(async |allocation| {
        let sibling = Canary::new();
        let world = Plan::new(allocation).mount(WRITABLE).open();
        world.put("b", &script(set("b/k", "$plain")), sibling.text()).await.unwrap();
        let report = world.report("a", &script(read("a/../b/k")).then(read("a/\u{0}/../b/k"))).await;
        for came in &report {
            sibling.not_in("what the plugin saw", came.to_string());
        }
        world.end().await;
    });
}

#[test]
fn writing_in_resolve() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).mount(WRITABLE).open();
        world.put("a", &script(set("a/k", "as it was")), "").await.unwrap();
        let delete = json!({ "store": { "op": "delete", "key": "a/k" } });
        let swap = json!({ "store": { "op": "swap", "key": "a/new", "value": "x" } });
        let report = world.report("a", &script(set("a/k", "x")).then(delete).then(swap).then(read("a/k"))).await;
        assert!(report[..3].iter().all(|came| came["error"] == "store.read-only"), "{report:?}");
        assert_eq!(report[3]["value"], "as it was");
        is(&world.failure("a", &script(set("a/k", "x")).or_fail()).await, Kind::PolicyDenied, "store.read-only");
        world.end().await;
    });
}

#[test]
fn writing_in_a_listing() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).mount(WRITABLE).open();
        world.put("a", &script(set("a/k", "as it was")), "").await.unwrap();
        let listed = world.names_of("a", &script(set("a/k", "x"))).await.unwrap();
        assert_eq!(listed[0]["error"], "store.read-only");
        world.end().await;
    });
}

#[test]
fn writing_on_a_mount_that_is_only_read() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        is(&world.put("a", &script(set("a/k", "x")), "").await.unwrap_err(), Kind::PolicyDenied, "mount.read-only");
        world.end().await;
    });
}

#[test]
fn writing_the_siblings_keys_while_setting_its_own() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).mount(WRITABLE).open();
        let failure = world.put("a", &script(set("b/k", "x")).or_fail(), "value").await.unwrap_err();
        is(&failure, Kind::PolicyDenied, "store.outside-prefix");
        world.end().await;
    });
}

#[test]
fn more_into_the_store_than_the_mount_may_keep() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).mount(&format!("{WRITABLE}limits.store = \"64KiB\"\n")).open();
        let failure = world.put("a", &script(set("a/k", "$plain")).or_fail(), &"x".repeat(100_000)).await.unwrap_err();
        assert_eq!(failure.kind(), Kind::LimitExceeded, "{failure}");
        world.end().await;
    });
}

#[test]
fn one_mounts_data_in_anothers_call() {
    under_both(async |allocation| {
        let first = Canary::new();
        let second = "[mounts.second]\nplugin = $HOSTILE\nscheme = \"second\"\n";
        let world = Plan::new(allocation).mount(WRITABLE).config(second).open();
        world.put("a", &script(set("a/k", "$plain")), first.text()).await.unwrap();
        let asks = script(read("a/k")).then(json!({ "store": { "op": "keys", "key": "a/" } }));
        let secret = world.resolve(&asks.at("a").replace("hostile://", "second://")).await.unwrap();
        assert_eq!(secret.expose_text(), Some(r#"[{"value":null},{"keys":[],"next":null}]"#));
        world.end().await;
    });
}

#[test]
fn another_plugin_on_the_same_mount() {
    under_both(async |allocation| {
        let kept = Canary::new();
        let store = tempfile::tempdir().unwrap();
        let world = Plan::new(allocation).store(store.path()).mount(WRITABLE).open();
        world.put("a", &script(set("a/k", "$plain")), kept.text()).await.unwrap();
        world.end().await;
        // The same code under another name is another plugin.
        let renamed = manifest(crate::world::RULES).replace("name = \"hostile\"", "name = \"successor\"");
        let world = Plan::new(allocation).store(store.path()).manifest(renamed).open();
        assert_eq!(world.report("a", &script(read("a/k"))).await[0], json!({ "value": null }));
        world.end().await;
    });
}

#[test]
fn a_count_of_calls() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        for _ in 0..5 {
            assert_eq!(world.report("a", &script(json!({ "count": true }))).await[0]["count"], 1);
        }
        world.end().await;
    });
}

#[test]
fn what_another_call_left_in_memory() {
    under_both(async |allocation| {
        let (own, mark) = (Canary::new(), hex(b"planted by another call"));
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).open();
        for n in 0..10 {
            let plants = script(json!({ "env": "HOSTILE_a" })).then(json!({ "plant": "planted by another call" }));
            world.report("a", &plants).await;
            let looks = script(json!({ "scan": mark })).then(json!({ "scan": hex(own.text().as_bytes()) }));
            let report = world.report(&format!("b{n}"), &looks).await;
            assert_eq!((&report[0]["found"], &report[1]["found"]), (&json!(0), &json!(0)));
        }
        world.end().await;
    });
}

#[test]
fn what_a_call_that_was_ended_left_in_memory() {
    under_both(async |allocation| {
        let (own, mark) = (Canary::new(), hex(b"planted by another call"));
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).open();
        for end in [json!({ "trap": true }), json!({ "spin": true }), json!({ "grow": "insist" })] {
            let plants = script(json!({ "env": "HOSTILE_a" })).then(json!({ "plant": "planted by another call" }));
            world.failure("a", &plants.then(end)).await;
            let looks = script(json!({ "scan": mark })).then(json!({ "scan": hex(own.text().as_bytes()) }));
            let report = world.report("b", &looks).await;
            assert_eq!((&report[0]["found"], &report[1]["found"]), (&json!(0), &json!(0)));
        }
        world.end().await;
    });
}

#[test]
fn what_the_call_itself_holds_is_found() {
    // Or the searches above would prove nothing.
    under_both(async |allocation| {
        let own = Canary::new();
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).open();
        let looks = script(json!({ "env": "HOSTILE_a" })).then(json!({ "scan": hex(own.text().as_bytes()) }));
        assert!(world.report("a", &looks).await[1]["found"].as_u64() > Some(0));
        world.end().await;
    });
}

#[test]
fn a_fine_measure_of_time() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        let report = world.report("a", &script(json!({ "clock": true }))).await;
        assert!(report[0]["finest"].as_u64() >= Some(1_000_000), "{report:?}");
        assert_eq!(report[0]["remainder"], 0, "of the wall clock, below a millisecond");
        assert!(report[0]["begun"].as_u64() < Some(60_000_000_000), "it says nothing of the machine's uptime");
        world.end().await;
    });
}

#[test]
fn what_the_host_tells_a_call() {
    under_both(async |allocation| {
        let token = Canary::new();
        let world = Plan::new(allocation).token(&token).open();
        let report = world.report("a", &script(json!({ "context": true }))).await;
        // Whoever has a store is told the time, in whole seconds: what is kept there may end.
        let told = report[0]["attributes"].as_array().unwrap();
        assert_eq!((told.len(), &told[0][0]), (1, &json!("now")), "{told:?}");
        assert!(told[0][1].as_str().unwrap().parse::<u64>().is_ok());
        let config: serde_json::Value = serde_json::from_str(report[0]["config"].as_str().unwrap()).unwrap();
        let keys: Vec<_> = config.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["plain", "secure", "space"], "its config, and no credential");
        world.end().await;
    });
}
