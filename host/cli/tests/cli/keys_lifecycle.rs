//! Custom keys that are deleted for a while: listed, brought back, ended; whole keys, versions and groups.

use crate::support::{Done, Home};

/// A home whose keys are kept for a week when they are deleted.
fn home() -> Home {
    let home = Home::new();
    home.configure("[mounts.keys]\nplugin = \"keys\"\nwrite = true\nconfig = { deleted_for = 7 }\n");
    home
}

fn call(home: &Home, words: &[&str]) -> Done {
    home.strongroom(words).done()
}

#[test]
fn a_deleted_key_is_listed_and_comes_back_until_it_is_purged() {
    let home = home();
    let (one, two, other) = (home.canary("one"), home.canary("two"), home.canary("other"));
    home.put("keys://g/k", &one);
    home.put("keys://g/k", &two);
    home.put("keys://g/other", &other);
    call(&home, &["list", "--deleted", "keys://g"]).ok().prints("");
    call(&home, &["delete", "--yes", "keys://g/k"]).ok().says("strongroom recover");

    // How long it can still be recovered is told to readers too.
    call(&home, &["get", "keys://g/k"])
        .fails(6, "keys.deleted")
        .says("less than 7 days (strongroom recover)")
        .prints("");
    call(&home, &["get", "keys://g/k?version=1"]).fails(6, "keys.deleted").prints("");
    call(&home, &["list", "--versions", "keys://g/k"]).fails(6, "keys.deleted").says("less than 7 days").prints("");
    call(&home, &["list", "keys://g"]).ok().prints("other\n");
    assert!(!home.strongroom(["get", "keys://g"]).shows().done().ok().out().contains(&two));
    call(&home, &["run", "-e", "A=keys://g/k", "--", "true"]).fails(106, "keys.deleted");
    call(&home, &["list", "--deleted", "keys://g"]).ok().prints("k\n");
    let listed = call(&home, &["list", "--deleted", "--json", "keys://g"]).ok().json();
    let known = &listed["names"][0]["attributes"];
    let time = |name: &str| known[name].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(time("scheduled-purge") - time("deleted"), 7 * 24 * 60 * 60);
    assert_eq!((&known["state"], &known["version"]), (&"deleted".into(), &"2".into()));

    // Its name is taken until somebody decides.
    let set = |more: &[&str]| home.strongroom(["set", "keys://g/k"].iter().chain(more)).input(&one).done();
    set(&[]).fails(14, "keys.name-taken").says("strongroom recover").says("strongroom purge");
    set(&["--expected", ""]).fails(14, "keys.name-taken");
    call(&home, &["recover", "keys://g/k"]).ok().says("recovered");
    assert_eq!(
        (home.get("keys://g/k"), home.get("keys://g/k?version=1")),
        (two.into_bytes(), one.clone().into_bytes())
    );
    call(&home, &["recover", "keys://g/k"]).fails(6, "keys.not-deleted");
    call(&home, &["purge", "--yes", "keys://g/k"]).fails(6, "keys.not-deleted");

    call(&home, &["delete", "--yes", "keys://g/k"]).ok();
    call(&home, &["purge", "keys://g/k"]).fails(15, "confirm.no-terminal");
    call(&home, &["purge", "--yes", "keys://g/k"]).ok().says("gone for good");
    call(&home, &["list", "--deleted", "keys://g"]).ok().prints("");
    call(&home, &["recover", "keys://g/k"]).fails(6, "keys.not-deleted");
    call(&home, &["get", "keys://g/k"]).fails(6, "keys.no-key");
    set(&["--expected", ""]).ok();
    set(&["--expected", ""]).fails(14, "keys.not-current");
    assert_eq!(home.get("keys://g/k"), one.as_bytes());
}

#[test]
fn a_version_is_deleted_recovered_and_destroyed_by_itself() {
    let home = home();
    let values: Vec<String> = (1..=3).map(|n| home.canary(&format!("v{n}"))).collect();
    values.iter().for_each(|value| home.put("keys://g/k", value));
    let states = || -> Vec<String> {
        let listed = call(&home, &["list", "--versions", "--json", "keys://g/k"]).ok().json();
        let state = |entry: &serde_json::Value| {
            assert!(entry["attributes"]["created"].is_string(), "{entry}");
            format!("{} {}", entry["name"].as_str().unwrap(), entry["attributes"]["state"].as_str().unwrap())
        };
        listed["names"].as_array().unwrap().iter().map(state).collect()
    };
    call(&home, &["delete", "--yes", "keys://g/k?version=3"]).ok().says("strongroom recover");
    for reference in ["keys://g/k", "keys://g/k?version=3"] {
        call(&home, &["get", reference]).fails(6, "keys.version-deleted").says("`3`").prints("");
    }
    assert_eq!(home.get("keys://g/k?version=2"), values[1].as_bytes());
    assert_eq!(states(), ["3 deleted", "2 enabled", "1 enabled"]);
    call(&home, &["recover", "keys://g/k?version=3"]).ok();
    assert_eq!(home.get("keys://g/k"), values[2].as_bytes());

    call(&home, &["delete", "--yes", "keys://g/k?version=3"]).ok();
    call(&home, &["purge", "--yes", "keys://g/k?version=3"]).ok();
    call(&home, &["purge", "--yes", "keys://g/k?version=1"]).ok();
    assert_eq!(states(), ["3 destroyed", "2 enabled", "1 destroyed"]);
    call(&home, &["get", "keys://g/k"]).fails(6, "keys.version-destroyed").prints("");
    call(&home, &["recover", "keys://g/k?version=3"]).fails(6, "keys.version-destroyed");
    home.strongroom(["set", "keys://g/k", "--expected", "3"]).input(&values[0]).done().ok().says("version 4");
    assert_eq!(home.get("keys://g/k"), values[0].as_bytes());
}

#[test]
fn a_deleted_group_comes_back_whole() {
    let home = home();
    let secret = home.canary("key");
    home.put("keys://g/k", &secret);
    home.put("keys://g/target", "t");
    call(&home, &["delete", "--yes", "keys://g"]).ok().says("strongroom recover");
    call(&home, &["get", "keys://g/k"]).fails(6, "keys.deleted");
    call(&home, &["list", "keys"]).ok().prints("");
    call(&home, &["list", "--deleted", "keys"]).ok().prints("g\n");
    home.strongroom(["set", "keys://g/new"]).input("x").done().fails(14, "keys.name-taken");
    call(&home, &["recover", "keys://g"]).ok();
    assert_eq!((home.get("keys://g/k"), home.get("keys://g/target")), (secret.into_bytes(), b"t".into()));
    call(&home, &["delete", "--yes", "keys://g"]).ok();
    call(&home, &["purge", "--yes", "keys://g"]).ok();
    call(&home, &["list", "--deleted", "keys"]).ok().prints("");
    call(&home, &["get", "keys://g/k"]).fails(6, "keys.no-group");
}

#[test]
fn what_was_kept_is_minded_when_the_mount_keeps_nothing_any_more() {
    let home = home();
    let (one, two) = (home.canary("one"), home.canary("two"));
    home.put("keys://g/one", &one);
    home.put("keys://g/two", &two);
    call(&home, &["delete", "--yes", "keys://g/one"]).ok();
    home.configure("[mounts.keys]\nplugin = \"keys\"\nwrite = true\n");
    call(&home, &["get", "keys://g/one"]).fails(6, "keys.deleted");
    home.strongroom(["set", "keys://g/one"]).input("x").done().fails(14, "keys.name-taken");
    call(&home, &["list", "--deleted", "keys://g"]).ok().prints("one\n");
    call(&home, &["recover", "keys://g/one"]).ok();
    assert_eq!(home.get("keys://g/one"), one.as_bytes());
    call(&home, &["delete", "--yes", "keys://g/two"]).ok().says_not("recover");
    call(&home, &["recover", "keys://g/two"]).fails(15, "keys.no-soft-delete").says("deleted_for");

    for wrong in ["91", "-1", "\"7\"", "true"] {
        home.configure(&format!(
            "[mounts.keys]\nplugin = \"keys\"\nwrite = true\nconfig = {{ deleted_for = {wrong} }}\n"
        ));
        call(&home, &["get", "keys://g/one"]).fails(2, "config.plugin-config").prints("");
    }
}
