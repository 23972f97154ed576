//! `explain` and `list`: who would answer, without asking.

use crate::support::{Home, names_in};

#[test]
fn a_variable_is_explained_without_being_read() {
    let home = Home::new();
    home.variable("X");
    let done = home.strongroom(["explain", "env:X"]).done().ok().quiet();
    let done = done.shows("env:X").shows("env (built in)").shows("sha256:").shows("X and no other");
    done.shows("grants      env").shows("network     none").shows("access      read\n").shows("cache       off");
    let json = home.strongroom(["explain", "--json", "env:X"]).done().ok().json();
    assert_eq!((&json["reference"], &json["scheme"]), (&"env:X".into(), &"env".into()));
    assert_eq!(json["mount"]["variables"], serde_json::json!(["X"]));
    assert_eq!(json["mount"]["grants"], serde_json::json!(["env"]));
    assert_eq!((&json["mount"]["bundled"], &json["mount"]["egress"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(json.get("refused"), None);
    home.strongroom(["explain", "env:MISSING"]).done().ok();
}

#[test]
fn a_key_is_explained_without_a_store() {
    let home = Home::new();
    let done = home.strongroom(["explain", "keys://g/n%20x?version=2#a.b"]).done().ok();
    let done = done.shows("keys://g/n%20x?version=2#/a/b").shows("g / n x").shows("version     2").shows("a / b");
    done.shows("only keys under g/").shows("read and write").shows("grants      store");
    let json = home.strongroom(["explain", "--json", "keys://g/k"]).done().ok().json();
    assert_eq!((&json["mount"]["store_prefix"], &json["mount"]["write"]), (&"g/".into(), &true.into()));
    assert_eq!(names_in(&home.state("")), [""; 0]);
}

#[test]
fn a_refusal_is_part_of_the_explanation() {
    let home = Home::new();
    home.configure("[mounts.env]\nplugin = \"env\"\nallow = [\"APP_*\"]\nttl = \"5m\"\n");
    home.strongroom(["explain", "env:APP_X"]).done().ok().shows("allow       APP_*").shows("cache       5m");
    let done = home.strongroom(["explain", "env:OTHER"]).done().ok();
    done.shows("refused").shows("[mount.allow]").shows("strongroom.toml:1");
    let json = home.strongroom(["explain", "--json", "env:OTHER"]).done().ok().json();
    assert_eq!((&json["refused"]["code"], &json["mount"]["layer"]), (&"mount.allow".into(), &"user".into()));
    let json = home.strongroom(["explain", "--json", "env:STRONGROOM_X"]).done().ok().json();
    assert!(json["refused"]["code"].is_string());
}

#[test]
fn what_nobody_answers_is_told_with_the_candidates() {
    let home = Home::new();
    home.strongroom(["explain", "prod+env:X"]).done().fails(3, "route.no-such-mount");
    home.strongroom(["explain", "enw+env:X"]).done().fails(3, "route.no-such-mount").says("did you mean `env+env:`?");
    home.strongroom(["explain", "keys+env:X"]).done().fails(3, "route.no-such-mount").says("answers `keys:`");
    home.strongroom(["explain", "azureml://connections/c"]).done().fails(3, "route.no-mount");
    let alias = "@Microsoft.KeyVault(SecretUri=https://V.vault.azure.net/secrets/n/7f)";
    home.strongroom(["explain", alias])
        .done()
        .fails(3, "route.no-mount")
        .says("keyvault:https://v.vault.azure.net/secrets/n/7f");
    home.strongroom(["explain", "@Microsoft.KeyVault(nonsense)"]).done().status(2);
}

#[test]
fn an_error_underlines_the_place_inside_the_reference() {
    let home = Home::new();
    let done = home.strongroom(["--color", "never", "get", "keys://group/a%2Fb"]).done().fails(2, "reference.escape");
    let err = done.err();
    let lines: Vec<&str> = err.lines().collect();
    let at = lines.iter().position(|line| line.contains("keys://group/a%2Fb") && line.contains('|')).unwrap();
    let column = lines[at].find("%2F").unwrap();
    assert_eq!(lines[at + 1].find('^'), Some(column), "{err}");
    assert!(!err.contains('\u{1b}'));
    assert!(home.strongroom(["--color", "always", "get", "env:"]).done().status(2).err().contains('\u{1b}'));
}

#[test]
fn mounts_are_listed_with_their_sources() {
    let home = Home::new();
    home.strongroom(["list"])
        .done()
        .ok()
        .prints("env   env:   env 0.1.0   read\nkeys  keys:  keys 0.1.0  read, write\n");
    home.configure("# the user's\n[mounts.ci]\nplugin = \"env\"\nmatch = [\"CI_*\"]\n\n[mounts.env]\nplugin = \"env\"\ndefault = true\n");
    let done = home.strongroom(["list", "--sources"]).done().ok();
    done.shows("strongroom.toml:2 (user)").shows("strongroom.toml:6 (user)").shows("built in");
    let json = home.strongroom(["list", "--json"]).done().ok().json();
    let names: Vec<_> =
        json["mounts"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["ci", "env", "keys"]);
    home.strongroom(["list", "--sources", "keys"]).done().status(64);
    home.strongroom(["list", "--versions"]).done().status(64);
}
