//! `check`: would it all resolve?

use crate::support::{Home, names_in};

#[test]
fn what_resolves_is_told_without_a_value() {
    let home = Home::new();
    home.variable("X");
    home.put("keys://g/k", home.canary("key"));
    home.write("a.yaml", "A: ${{env:X}}-${{keys://g/k}}\nB: plain\n");
    home.write("b.env", "C=${{keys://g}}\n");
    let done = home.strongroom(["check", "-f", "a.yaml", "-f", "b.env"]).done().ok().prints("");
    done.says("3 variables").says("3 references");
    let json = home.strongroom(["check", "--json", "-f", "a.yaml", "-f", "b.env"]).done().ok().json();
    assert_eq!((&json["ok"], &json["mode"]), (&true.into(), &"resolve".into()));
    assert_eq!((&json["variables"], &json["references"]), (&3.into(), &3.into()));
    home.strongroom(["check", "-q", "-f", "a.yaml"]).done().ok().quiet();
}

#[test]
fn every_problem_of_every_file_is_told_with_its_place() {
    let home = Home::new();
    home.variable("X");
    home.set("LONG", "x".repeat(100_000));
    home.write("a.yaml", "A: ${{env:ONE}}\nB: ${{env:X}}\nLD_PRELOAD: x\nC: ${{env:LONG}}${{env:LONG}}\n");
    home.write("b.env", "D=${{env:A/B}}\n");
    let done = home.strongroom(["check", "-f", "a.yaml", "-f", "b.env", "-f", "absent.env"]).done();
    let done = done.says("[env.not-set]").says("[environment.dangerous-name]").says("[environment.too-large]");
    let done = done.says("[reference.name]").says("[file.unreadable]").prints("");
    done.says("a.yaml:1:4").says("a.yaml:3:1").says("b.env:1:3").says("absent.env");
    let json = home.strongroom(["check", "--json", "-f", "a.yaml", "-f", "b.env"]).done().json();
    assert_eq!((&json["ok"], json["problems"].as_array().unwrap().len()), (&false.into(), 4));
    let unset = json["problems"].as_array().unwrap().iter().find(|p| p["code"] == "env.not-set").unwrap();
    assert_eq!(
        (&unset["kind"], &unset["reference"], &unset["mount"]),
        (&"not-found".into(), &"env:ONE".into(), &"env".into())
    );
    assert_eq!((&unset["file"], &unset["line"], &unset["column"]), (&"a.yaml".into(), &1.into(), &4.into()));
    home.strongroom(["check", "-f", "a.yaml", "--allow-name", "LD_PRELOAD"]).done().says_not("LD_PRELOAD");
}

#[test]
fn parsing_alone_needs_no_config_runs_no_plugin_and_opens_no_store() {
    let home = Home::new();
    home.configure("this is no config");
    home.write("strongroom.toml", "nor is this");
    std::fs::create_dir_all(home.state("")).unwrap();
    std::fs::write(home.state("store.db"), "garbage").unwrap();
    home.write(
        "a.yaml",
        "A: ${{env:MISSING}}\nB: ${{keys://none/k}}\nC: ${{keyvault:https://v.vault.azure.net/secrets/n}}\n",
    );
    let parse = |options: &[&'static str]| home.strongroom(["check", "--parse", "-f", "a.yaml"].iter().chain(options));
    parse(&[]).done().ok().says("3 variables").prints("");
    parse(&["--config", "/nonexistent"]).done().ok();
    parse(&[]).env_remove("HOME").done().ok();
    let json = parse(&["--json"]).done().ok().json();
    assert_eq!((&json["ok"], &json["mode"]), (&true.into(), &"parse".into()));
    assert_eq!(names_in(&home.state("")), ["store.db"]);
    assert!(!home.path("home/.cache").exists());
    home.write("a.yaml", "A: x\nB: ${{env:}}\n");
    parse(&[]).done().fails(2, "reference.form").says("a.yaml:2:4");
    home.write("a.yaml", "A: x\nPATH: x\n");
    parse(&[]).done().fails(4, "environment.dangerous-name").says("a.yaml:2:1");
    home.write("a.yaml", "A: ${{inputs.lr}}\n");
    parse(&[]).done().fails(2, "reference.unknown-form").says("--keep-unknown");
    parse(&["--keep-unknown"]).done().ok();
}

#[test]
fn a_check_needs_a_file() {
    let home = Home::new();
    home.strongroom(["check"]).done().status(64).says("--file");
    home.strongroom(["check", "-f", "x", "--file-format", "ini"]).done().status(64).says("yaml");
}
