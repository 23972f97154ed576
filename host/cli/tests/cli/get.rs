//! `get`: one value, exactly.

use std::os::unix::fs::symlink;

use crate::support::{Home, PROGRAM, mode};

#[test]
fn the_value_comes_exactly_and_without_a_line_end() {
    let home = Home::new();
    let secret = home.variable("X");
    home.strongroom(["get", "env:X"]).shows().done().ok().prints(&secret).quiet();
    home.strongroom(["get", "env://X"]).shows().done().ok().prints(&secret);
    home.strongroom(["get", "${{ env:X }}"]).shows().done().ok().prints(&secret);
    home.set("EMPTY", "");
    home.strongroom(["get", "env:EMPTY"]).done().ok().prints("").quiet();
    home.set("ODD", " two\nlines\n\n");
    home.strongroom(["get", "env:ODD"]).done().ok().prints(" two\nlines\n\n");
}

#[test]
fn json_tells_what_is_known_beside_the_value() {
    let home = Home::new();
    let secret = home.canary("key");
    home.put("keys://g/k", &secret);
    let json = home.strongroom(["get", "--json", "keys://g/k"]).shows().done().ok().json();
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["reference"], "keys://g/k");
    assert_eq!(json["value"], secret.as_str());
    assert_eq!(json["version"], "1");
    assert!(json["attributes"]["created"].as_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000);
}

#[test]
fn a_field_of_a_json_value_is_picked_by_the_host() {
    let home = Home::new();
    let secret = home.canary("field");
    home.put("keys://g/k", serde_json::json!({ "a": { "b/c": secret, "n": 1 }, "l": ["x", null] }).to_string());
    home.strongroom(["get", "keys://g/k#/a/b~1c"]).shows().done().ok().prints(&secret);
    home.strongroom(["get", "keys://g/k#l.0"]).done().ok().prints("x");
    home.strongroom(["get", "keys://g/k#a.n"]).done().ok().prints("1");
    for absent in ["keys://g/k#l.1", "keys://g/k#nothing", "keys://g/k#/l/2"] {
        home.strongroom(["get", absent]).done().fails(6, "field.not-found").prints("");
    }
    home.put("keys://g/plain", "plain");
    home.strongroom(["get", "keys://g/plain#a"]).done().fails(2, "field.not-json");
}

#[test]
fn an_output_file_is_private_and_never_replaced_unasked() {
    let home = Home::new();
    let secret = home.variable("X");
    let out = home.work("out");
    home.sink(&out);
    let get = |options: &[&'static str]| {
        let arguments = ["get", "env:X", "--out", "out"].iter().chain(options);
        home.program("sh", ["-c", "umask 000; exec \"$0\" \"$@\"", PROGRAM].iter().chain(arguments)).done()
    };
    get(&[]).ok().prints("").quiet();
    assert_eq!((std::fs::read_to_string(&out).unwrap(), mode(&out)), (secret.clone(), 0o600));

    std::fs::write(&out, "mine").unwrap();
    crate::support::chmod(&out, 0o644);
    get(&[]).fails(14, "output.exists");
    assert_eq!((std::fs::read_to_string(&out).unwrap(), mode(&out)), ("mine".to_owned(), 0o644));
    get(&["--force"]).ok();
    assert_eq!((std::fs::read_to_string(&out).unwrap(), mode(&out)), (secret, 0o600));

    std::fs::remove_file(&out).unwrap();
    home.write("elsewhere", "theirs");
    symlink("elsewhere", &out).unwrap();
    get(&[]).fails(14, "output.symlink");
    get(&["--force"]).fails(14, "output.symlink");
    assert_eq!(std::fs::read_to_string(home.work("elsewhere")).unwrap(), "theirs");
    std::fs::remove_file(&out).unwrap();
    symlink("nowhere", &out).unwrap();
    get(&["--force"]).fails(14, "output.symlink");
    assert!(!home.work("nowhere").exists());

    home.strongroom(["get", "env:X", "--out", "no/such/folder"]).done().fails(6, "output.folder");
    home.strongroom(["get", "env:X", "--out", "/dev/null", "--force"]).done().fails(14, "output.not-a-file");
    home.strongroom(["get", "env:X", "--out", "."]).done().fails(2, "output.not-a-file");
    assert_eq!(crate::support::names_in(&home.work(".")), [".git", "elsewhere", "out"], "nothing is left over");
}

#[test]
fn a_failure_makes_no_file() {
    let home = Home::new();
    home.strongroom(["get", "env:MISSING", "--out", "out"]).done().fails(6, "env.not-set");
    assert!(!home.work("out").exists());
}

#[test]
fn what_was_typed_instead_of_a_reference_is_not_repeated() {
    let home = Home::new();
    let typed = home.canary("typed");
    for command in ["get", "explain", "set", "delete"] {
        home.strongroom([command, &typed]).input("x").done().fails(2, "reference.no-scheme").says("keys://group/name");
    }
}

#[test]
fn a_mistyped_scheme_gets_a_suggestion() {
    let home = Home::new();
    home.strongroom(["get", "evn:X"]).done().fails(3, "reference.unknown-scheme").says("did you mean `env:`?");
    home.strongroom(["get", "key://g/k"]).done().fails(3, "reference.unknown-scheme").says("did you mean `keys:`?");
    home.strongroom(["get", "keyvault:https://v.vault.azure.net/secrets/n"]).done().fails(3, "route.no-mount");
}

#[test]
fn variables_are_told_apart_from_failures_by_status_alone() {
    let home = Home::new();
    for (reference, status) in [("env:MISSING", 6), ("env:A=B", 2), ("nobody+env:X", 3), ("keys://g/k", 6)] {
        home.strongroom(["get", reference]).done().status(status).prints("");
    }
}
