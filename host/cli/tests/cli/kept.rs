//! `keep` and `--offline`: values that stay in the store, sealed, how long they serve, and what ends that.

use fake_azure::{Fake, Options};
use serde_json::{Value, json};

use crate::azure::with_secret;
use crate::support::*;

const HOST: &str = "mykeyvault.vault.azure.net";
const SECRET: &str = "keyvault:https://mykeyvault.vault.azure.net/secrets/canary";
const OTHER: &str = "keyvault:https://mykeyvault.vault.azure.net/secrets/secret1";

/// A home whose vault's mount has these keys too, and a secret in the vault that must be seen nowhere.
fn home(fake: &Fake, keys: &str) -> (Home, String) {
    let home = with_secret(fake);
    change(&home, "write = true\n", &format!("write = true\n{keys}\n"));
    let value = home.canary("kept");
    put(fake, &value);
    (home, value)
}

fn put(fake: &Fake, value: &str) {
    let secret = json!({"secrets": [{"vault": HOST, "name": "canary", "value": value}]});
    fake.control("POST", "/control/seed", secret).unwrap();
}

fn change(home: &Home, from: &str, to: &str) {
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    assert!(config.contains(from));
    home.write("strongroom.toml", config.replace(from, to));
}

/// How often anything was asked.
fn asked(fake: &Fake) -> usize {
    fake.control("GET", "/control/requests", Value::Null).unwrap().as_array().unwrap().len()
}

fn online(home: &Home) -> Call<'_> {
    home.strongroom(["get", SECRET]).shows()
}

fn offline(home: &Home) -> Call<'_> {
    home.strongroom(["--offline", "get", SECRET]).shows()
}

#[test]
fn offline_has_what_was_kept_and_asks_nobody() {
    let fake = Fake::start(Options::default()).unwrap();
    let (home, value) = home(&fake, "keep = \"7d\"");
    offline(&home).done().fails(8, "offline.not-kept").says("without --offline");
    assert_eq!(asked(&fake), 0);
    online(&home).done().ok().prints(&value).quiet();
    let before = asked(&fake);
    offline(&home).done().ok().prints(&value).says("[offline.kept]").says("1 value of the mount vault");
    let script = "test -n \"$A\" && echo \"$A\"";
    let variable = format!("A={SECRET}");
    home.strongroom(["run", "--offline", "-e", &variable, "--", "sh", "-c", script]).done().ok().prints("***\n");
    home.strongroom(["export", "--offline", "-e", &variable]).shows().done().ok().shows(&value);
    let text = format!("a ${{{{{SECRET}}}}} b");
    home.strongroom(["inject", "--offline"]).input(&text).shows().done().ok().prints(format!("a {value} b"));
    home.write("a.env", format!("A=${{{{{SECRET}}}}}\n"));
    home.strongroom(["check", "--offline", "-f", "a.env"]).done().ok();
    home.write("b.env", format!("A=${{{{{OTHER}}}}}\n"));
    home.strongroom(["check", "--offline", "-f", "b.env"]).done().fails(8, "offline.not-kept");
    assert_eq!(asked(&fake), before);
    // A machine without any network has it, too; and whoever asks as JSON learns when it was got.
    drop(fake);
    home.strongroom(["get", "--offline", "--json", SECRET]).shows().done().ok().shows("strongroom-kept");
    // In the store it is sealed: the home looks for the value in every file when it goes.
}

#[test]
fn offline_leaves_what_needs_no_network_alone() {
    let fake = Fake::start(Options::default()).unwrap();
    let (home, _) = home(&fake, "");
    let value = home.variable("PLAIN");
    home.strongroom(["--offline", "get", "env:PLAIN"]).shows().done().ok().prints(&value).quiet();
    offline(&home).done().fails(8, "offline.not-kept").says("keep = ");
    home.strongroom(["--offline", "set", OTHER]).input("x").done().fails(8, "offline");
    home.strongroom(["--offline", "list", &format!("keyvault:https://{HOST}/secrets")]).done().fails(8, "offline");
    assert_eq!(asked(&fake), 0);
}

#[test]
fn within_its_ttl_a_later_run_asks_nobody_and_without_one_it_does() {
    let fake = Fake::start(Options::default()).unwrap();
    let (home, value) = home(&fake, "keep = \"7d\"\nttl = \"1h\"");
    online(&home).done().ok().prints(&value);
    let before = asked(&fake);
    online(&home).done().ok().prints(&value).quiet();
    assert_eq!(asked(&fake), before);
    // What is served is what was got, until it is over or forgotten.
    let newer = home.canary("newer");
    put(&fake, &newer);
    online(&home).done().ok().prints(&value);
    change(&home, "ttl = \"1h\"\n", "");
    online(&home).done().ok().prints(&newer);
    offline(&home).done().ok().prints(&newer);
}

#[test]
fn nothing_is_kept_by_a_mount_that_does_not_say_so() {
    let fake = Fake::start(Options::default()).unwrap();
    let (home, value) = home(&fake, "ttl = \"1h\"");
    online(&home).done().ok().prints(&value);
    let before = asked(&fake);
    online(&home).done().ok();
    assert!(asked(&fake) > before);
    change(&home, "ttl = \"1h\"\n", "keep = \"7d\"\n");
    offline(&home).done().fails(8, "offline.not-kept");
}

#[test]
fn a_no_forgets_and_silence_does_not() {
    let fake = Fake::start(Options::default()).unwrap();
    let (home, value) = home(&fake, "keep = \"7d\"");
    let fault = |fault: Value| drop(fake.control("POST", "/control/faults", fault).unwrap());
    for (status, exit) in [(403, 4), (401, 5), (404, 6)] {
        online(&home).done().ok();
        offline(&home).done().ok().prints(&value);
        let code = if status == 404 { "SecretNotFound" } else { "Forbidden" };
        fault(json!({"kind": "status", "status": status, "code": code, "service": "key-vault"}));
        online(&home).done().status(exit);
        fake.control("DELETE", "/control/faults", Value::Null).unwrap();
        offline(&home).done().fails(8, "offline.not-kept");
    }
    online(&home).done().ok();
    for silence in [json!({"kind": "drop"}), json!({"kind": "status", "status": 429, "retry_after": "100"})] {
        fault(silence);
        assert_ne!(online(&home).done().status, 0);
        fake.control("DELETE", "/control/faults", Value::Null).unwrap();
        offline(&home).done().ok().prints(&value);
    }
}

#[test]
fn a_write_and_a_sign_out_forget() {
    let fake = Fake::start(Options::default()).unwrap();
    let (home, _) = home(&fake, "keep = \"7d\"\nttl = \"1h\"");
    online(&home).done().ok();
    let newer = home.canary("newer");
    home.strongroom(["set", SECRET]).input(&newer).done().ok();
    offline(&home).done().fails(8, "offline.not-kept");
    online(&home).done().ok().prints(&newer);
    home.strongroom(["delete", "--yes", OTHER]).done().ok();
    offline(&home).done().fails(8, "offline.not-kept");
    online(&home).done().ok();
    home.strongroom(["logout", "corp"]).done().ok();
    offline(&home).done().fails(8, "offline.not-kept");
}

#[test]
fn a_read_that_began_before_a_write_is_not_kept_after_it() {
    let fake = Fake::start(Options::default()).unwrap();
    let (home, _) = home(&fake, "keep = \"7d\"\nttl = \"1h\"");
    // So that a token need not be got first.
    home.strongroom(["get", OTHER]).shows().done().ok();
    let slow = json!({"kind": "slow", "ms": 4000, "service": "key-vault", "method": "GET", "times": 1});
    fake.control("POST", "/control/faults", slow).unwrap();
    let before = asked(&fake);
    let mut reading = online(&home).start();
    while asked(&fake) == before {
        std::thread::yield_now();
    }
    let newer = home.canary("newer");
    home.strongroom(["set", SECRET]).input(&newer).done().ok();
    assert_eq!(reading.wait(), 0);
    offline(&home).done().fails(8, "offline.not-kept");
    online(&home).done().ok().prints(&newer);
}

#[test]
fn another_config_or_credential_finds_nothing() {
    let fake = Fake::start(Options::default()).unwrap();
    let (home, value) = home(&fake, "keep = \"7d\"");
    online(&home).done().ok();
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    for (from, to) in [
        ("keep = \"7d\"\n", "keep = \"7d\"\nconfig.outside_validity = \"refuse\"\n"),
        (fake_azure::defaults::CLIENT, fake_azure::defaults::NOBODY),
        ("client-secret\"", "another-secret\""),
        ("mykeyvault.vault.azure.net\" = \"127.0.0.1:", "mykeyvault.vault.azure.net\" = \"127.0.0.2:"),
        ("[mounts.vault]", "[mounts.another]"),
    ] {
        change(&home, from, to);
        offline(&home).done().fails(8, "offline.not-kept");
        home.write("strongroom.toml", &config);
    }
    offline(&home).done().ok().prints(&value);
}

#[test]
fn a_value_is_kept_no_longer_than_it_may_be() {
    let fake = Fake::start(Options::default()).unwrap();
    let (home, _) = home(&fake, "keep = \"1ms\"");
    online(&home).done().ok();
    offline(&home).done().fails(8, "offline.not-kept");
    change(&home, "keep = \"1ms\"", "keep = \"7d\"");
    // The vault serves it, its end is over, and so it is not kept.
    let expired = format!("keyvault:https://{HOST}/secrets/expired");
    home.strongroom(["get", &expired]).done().ok();
    home.strongroom(["--offline", "get", &expired]).done().fails(8, "offline.not-kept");
}

#[test]
fn keeping_what_is_on_this_machine_is_an_error() {
    let home = Home::new();
    home.configure("[mounts.env]\nplugin = \"env\"\nkeep = \"1d\"");
    home.strongroom(["get", "env:X"]).done().fails(2, "config.keep");
    home.configure("[mounts.f]\nplugin = \"file\"\nconfig.folders = [\"/tmp\"]\nkeep = \"1d\"");
    home.strongroom(["get", "env:X"]).done().fails(2, "config.file-provider");
}
