//! What was deleted: listed, brought back, ended for good; against the fake Azure.

use fake_azure::{Fake, Options};
use serde_json::Value;

use crate::azure::{VAULT, with_secret};
use crate::support::*;

/// How often the vaults were asked so far.
fn asked(fake: &Fake) -> usize {
    let requests = fake.control("GET", "/control/requests?service=key-vault", Value::Null).unwrap();
    requests.as_array().or_else(|| requests["requests"].as_array()).unwrap().len()
}

#[test]
fn what_was_deleted_is_listed_and_comes_back_until_it_is_purged() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let scope = format!("keyvault:https://{VAULT}/secrets");
    let reference = format!("{scope}/made-here");
    let value = home.canary("value");
    let call = |words: &[&str]| home.strongroom(words.iter().copied().chain([reference.as_str()])).done();
    let deleted = || home.strongroom(["list", "--deleted", &scope]).done().ok().out();
    home.strongroom(["set", &reference]).input(value.as_bytes()).done().ok();
    assert_eq!(deleted(), "");
    call(&["delete", "--yes"]).ok().says("strongroom recover");
    assert_eq!(deleted(), "made-here\n");
    let json = home.strongroom(["list", "--deleted", "--json", &scope]).done().ok().json();
    assert!(json["names"][0]["attributes"]["scheduled-purge"].is_string(), "{json}");
    home.strongroom(["list", &scope]).done().ok();
    call(&["get"]).fails(6, "keyvault.deleted").says("strongroom recover");

    // Its name is taken until somebody decides.
    let set = || home.strongroom(["set", &reference]).input(value.as_bytes()).done();
    set().fails(14, "ObjectIsDeletedButRecoverable").says("strongroom recover").says("strongroom purge");
    call(&["recover"]).ok().says("recovered");
    assert_eq!(home.get(&reference), value.as_bytes());
    assert_eq!(deleted(), "");
    call(&["recover"]).status(6).says("not among the deleted");
    call(&["purge", "--yes"]).status(6).says("not among the deleted");
    assert_eq!(home.get(&reference), value.as_bytes());

    // What is final is never done on a nod that nobody gave.
    call(&["delete", "--yes"]).ok();
    call(&["purge"]).fails(15, "confirm.no-terminal").says("--yes");
    assert_eq!(deleted(), "made-here\n");
    call(&["purge", "--yes"]).ok().says("gone for good");
    assert_eq!(deleted(), "");
    call(&["recover"]).status(6);
}

#[test]
fn a_protected_vault_and_one_version_are_not_purged() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let host = "protectedvault.vault.azure.net";
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    home.write("strongroom.toml", format!("{config}\"{host}\" = \"127.0.0.1:{}\"\n", fake.https_port()));
    let reference = format!("keyvault:https://{host}/secrets/secret1");
    home.strongroom(["delete", "--yes", &reference]).done().ok();
    home.strongroom(["purge", "--yes", &reference]).done().status(4).says("purge protection");
    home.strongroom(["recover", &reference]).done().ok();
    for command in [&["recover"][..], &["purge", "--yes"], &["delete", "--yes"]] {
        let version = format!("{reference}/secretversion1");
        let call = home.strongroom(command.iter().copied().chain([version.as_str()]));
        call.done().fails(15, "keyvault.one-version");
    }
}

#[test]
fn a_mount_that_is_only_read_asks_nobody() {
    let fake = Fake::start(Options::default()).unwrap();
    let home = with_secret(&fake);
    let config = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    home.write("strongroom.toml", config.replace("write = true\n", ""));
    let reference = format!("keyvault:https://{VAULT}/secrets/secret1");
    for command in [&["recover"][..], &["purge", "--yes"], &["delete", "--yes"]] {
        let call = home.strongroom(command.iter().copied().chain([reference.as_str()]));
        call.done().fails(4, "mount.read-only").says("write = true");
    }
    assert_eq!(asked(&fake), 0);
    // To list is to read.
    home.strongroom(["list", "--deleted", &format!("keyvault:https://{VAULT}/secrets")]).done().ok();
}

#[test]
fn where_nothing_is_kept_of_what_is_deleted_that_is_said() {
    let home = Home::new();
    home.put("keys://g/n", "v");
    home.strongroom(["recover", "keys://g/n"]).done().fails(15, "keys.no-soft-delete");
    home.strongroom(["purge", "--yes", "keys://g/n"]).done().fails(15, "keys.no-soft-delete");
    home.strongroom(["list", "--deleted", "keys"]).done().fails(15, "keys.no-soft-delete");
    home.strongroom(["list", "--deleted", "env"]).done().fails(15, "plugin.unsupported").says("deleted").prints("");
    home.strongroom(["list", "--deleted"]).done().status(64);
    home.strongroom(["list", "--deleted", "--versions", "keys://g/n"]).done().status(64);
}
