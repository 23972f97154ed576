//! The encrypted store: its key, its state, and what happens when it is damaged.

use crate::support::{Home, chmod, mode, names_in};

#[test]
fn by_default_the_key_is_a_private_file() {
    let home = Home::new();
    home.strongroom(["store", "status"]).done().ok().shows("no store yet");
    let json = home.strongroom(["store", "status", "--json"]).done().ok().json();
    assert_eq!((&json["exists"], &json["key"]), (&false.into(), &serde_json::Value::Null));
    home.put("keys://g/k", home.canary("key"));
    assert_eq!(mode(&home.state("")), 0o700);
    for name in names_in(&home.state("")) {
        assert_eq!(mode(&home.state(&name)), 0o600, "{name}");
    }
    home.strongroom(["store", "status"]).done().ok().shows("store.db").shows("bundled/keys").shows("keys");
    let json = home.strongroom(["store", "status", "--json"]).done().ok().json();
    assert_eq!(
        (&json["exists"], &json["key"], &json["spaces"][0]["mount"]),
        (&true.into(), &"file".into(), &"keys".into())
    );
    assert_eq!(json["path"], home.state("store.db").to_str().unwrap());
}

#[test]
fn a_passphrase_holds_the_key_if_one_is_given_at_creation() {
    let home = Home::new();
    let (secret, passphrase) = (home.canary("key"), home.canary("passphrase"));
    home.strongroom(["set", "keys://g/k"]).env("STRONGROOM_PASSPHRASE", &passphrase).input(&secret).done().ok();
    assert!(!names_in(&home.state("")).contains(&"store.key".to_owned()));
    let get = || home.strongroom(["get", "keys://g/k"]);
    get().env("STRONGROOM_PASSPHRASE", &passphrase).shows().done().ok().prints(&secret);
    get().done().fails(5, "store.passphrase-missing").says("STRONGROOM_PASSPHRASE_FILE");
    let wrong = home.canary("wrong");
    get().env("STRONGROOM_PASSPHRASE", &wrong).done().fails(5, "store.passphrase").prints("");
    home.strongroom(["set", "keys://g/new"])
        .env("STRONGROOM_PASSPHRASE", &wrong)
        .input(&secret)
        .done()
        .fails(5, "store.passphrase");
    let json = home.strongroom(["store", "status", "--json"]).done().ok().json();
    assert_eq!(json["key"], "passphrase");

    let file = home.write_secret("passphrase", format!("{passphrase}\nsecond line\n"));
    get().env("STRONGROOM_PASSPHRASE_FILE", &file).shows().done().ok().prints(&secret);
    chmod(&file, 0o666);
    get().env("STRONGROOM_PASSPHRASE_FILE", &file).done().fails(5, "store.passphrase-file");
    get().env("STRONGROOM_PASSPHRASE_FILE", "/nonexistent").done().fails(5, "store.passphrase-file");
    let empty = home.write("empty", "\nx\n");
    get().env("STRONGROOM_PASSPHRASE_FILE", empty).done().fails(5, "store.passphrase-file");
    // In a run it is the same, 100 higher, and the child never sees it.
    home.sh(["-e", "A=keys://g/k"], "true").done().fails(105, "store.passphrase-missing");
    home.sh(["-e", "A=keys://g/k"], "env | grep PASSPHRASE; echo \"$A\"")
        .env("STRONGROOM_PASSPHRASE", &passphrase)
        .done()
        .ok()
        .prints("***\n");
}

#[test]
fn rotation_changes_the_key_and_keeps_every_value() {
    let home = Home::new();
    let (secret, old, new) = (home.canary("key"), home.canary("old"), home.canary("new"));
    home.strongroom(["store", "rotate"]).done().fails(6, "store.none");
    home.put("keys://g/k", &secret);
    home.strongroom(["store", "rotate"]).done().ok();
    assert_eq!(home.get("keys://g/k"), secret.as_bytes());

    home.strongroom(["store", "rotate", "--to", "passphrase"]).done().fails(5, "store.passphrase-missing");
    assert_eq!(home.get("keys://g/k"), secret.as_bytes());
    home.strongroom(["store", "rotate", "--to", "passphrase"]).env("STRONGROOM_PASSPHRASE", &old).done().ok();
    let get = || home.strongroom(["get", "keys://g/k"]);
    get().done().fails(5, "store.passphrase-missing");
    get().env("STRONGROOM_PASSPHRASE", &new).done().fails(5, "store.passphrase");
    get().env("STRONGROOM_PASSPHRASE", &old).shows().done().ok().prints(&secret);

    home.strongroom(["store", "rotate", "--to", "file"]).done().fails(5, "store.passphrase-missing");
    home.strongroom(["store", "rotate", "--to", "file"]).env("STRONGROOM_PASSPHRASE", &old).done().ok();
    assert_eq!(home.get("keys://g/k"), secret.as_bytes());
    home.strongroom(["store", "rotate", "--to", "keyring"]).done().fails(5, "store.keyring-absent");
    home.strongroom(["store", "rotate", "--to", "paper"]).done().status(64);
    assert_eq!(home.get("keys://g/k"), secret.as_bytes());
}

#[test]
fn a_store_never_falls_back_to_another_key() {
    let home = Home::new();
    home.put("keys://g/k", home.canary("key"));
    std::fs::rename(home.state("store.key"), home.state("away")).unwrap();
    let before = std::fs::read(home.state("store.db")).unwrap();
    home.strongroom(["get", "keys://g/k"]).done().status(5).says("store.key");
    home.strongroom(["set", "keys://g/k"]).env("STRONGROOM_PASSPHRASE", "other").input("x").done().status(5);
    assert_eq!(std::fs::read(home.state("store.db")).unwrap(), before);
    assert!(!home.state("store.key").exists());
    std::fs::rename(home.state("away"), home.state("store.key")).unwrap();
    home.strongroom(["get", "keys://g/k"]).shows().done().ok();
}

#[test]
fn a_damaged_store_is_told_and_left_as_it_is() {
    let home = Home::new();
    home.put("keys://g/k", home.canary("key"));
    home.put("keys://g/large", "x".repeat(100_000));
    let store = home.state("store.db");
    let whole = std::fs::read(&store).unwrap();
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[middle..].iter_mut().for_each(|byte| *byte ^= 0x55);
    for (what, bytes) in [
        ("garbage", b"this is no database at all, but some text".repeat(100)),
        ("no header", [vec![0; 100], whole[100..].to_vec()].concat()),
        ("half", whole[..middle].to_vec()),
        ("flipped", flipped),
    ] {
        std::fs::write(&store, &bytes).unwrap();
        for suffix in ["store.db-wal", "store.db-shm"] {
            let _ = std::fs::remove_file(home.state(suffix));
        }
        for _ in 0..2 {
            home.strongroom(["get", "keys://g/large"]).done().fails(12, "store.corrupt").says("store.db").prints("");
            if what != "flipped" {
                // What lies elsewhere in the file can still be read and set.
                home.strongroom(["set", "keys://g/new"]).input("x").done().fails(12, "store.corrupt");
            }
            home.sh(["-e", "A=keys://g/large"], "touch started").done().fails(112, "store.corrupt");
        }
        assert!(std::fs::read(&store).unwrap() == bytes, "{what}: the file was changed");
    }
    assert!(!home.work("started").exists());
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_matters() {
    let home = Home::new();
    let secret = home.canary("key");
    home.put("keys://g/k", &secret);
    let store = home.state("store.db");
    let whole = std::fs::read(&store).unwrap();
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&store, &bytes).unwrap();
        let done = home.strongroom(["get", "keys://g/k"]).shows().done();
        // Where nothing is read, the value; else a refusal, and never another value or none.
        match done.status {
            0 => assert_eq!(done.out(), secret, "byte {at}"),
            status => {
                assert_eq!(status, 12, "byte {at}: {}", done.err());
                noticed += 1;
            }
        }
    }
    assert!(noticed > 0, "no change was noticed at all");
}

#[test]
fn a_store_that_others_could_read_is_refused() {
    let home = Home::new();
    home.put("keys://g/k", home.canary("key"));
    for (name, bad, good) in [("store.db", 0o644, 0o600), ("store.key", 0o640, 0o600), ("", 0o777, 0o700)] {
        chmod(&home.state(name), bad);
        home.strongroom(["get", "keys://g/k"]).done().fails(4, "store.permissions").says("chmod");
        chmod(&home.state(name), good);
    }
    home.strongroom(["get", "keys://g/k"]).shows().done().ok();
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let home = Home::new();
    let secret = home.canary("key");
    home.put("keys://g/k", &secret);
    // A limit on file sizes stands for a full disk: whoever sets it has the signal ignored too.
    let script = format!(
        "trap '' XFSZ; ulimit -f 200; head -c 500000 /dev/zero | {} set keys://g/large",
        crate::support::PROGRAM
    );
    home.program("sh", ["-c", &script]).done().fails(8, "store.disk-full");
    home.strongroom(["get", "keys://g/large"]).done().fails(6, "keys.no-key");
    assert_eq!(home.get("keys://g/k"), secret.as_bytes());
}

#[test]
fn the_config_says_where_the_store_is_and_how_its_key_is_held() {
    let home = Home::new();
    home.configure("[store]\npath = \"elsewhere/my.db\"\nkey = \"passphrase\"\n");
    home.strongroom(["set", "keys://g/k"]).input("x").done().fails(5, "store.passphrase-missing");
    let folder = home.user_config().with_file_name("elsewhere");
    assert_eq!(names_in(&folder), [""; 0], "nothing is made without a key");
    let secret = home.canary("key");
    home.strongroom(["set", "keys://g/k"]).env("STRONGROOM_PASSPHRASE", "p").input(&secret).done().ok();
    assert!(folder.join("my.db").exists());
    home.configure("[store]\npath = \"elsewhere/my.db\"\nkey = \"file\"\n");
    home.strongroom(["get", "keys://g/k"]).done().fails(5, "store.passphrase-missing");
    home.configure("[store]\npath = \"other/my.db\"\nkey = \"file\"\n");
    home.put("keys://g/k", &secret);
    assert_eq!(home.get("keys://g/k"), secret.as_bytes());
    assert_eq!(names_in(&home.state("")), [""; 0]);
}

#[test]
fn another_lineage_sees_nothing_until_a_person_hands_it_over() {
    let home = Home::new();
    home.put("keys://g/k", home.canary("key"));
    let adopt = ["store", "adopt", "keys", "--from", "bundled/keys", "--to", "file/acme-keys"];
    home.strongroom(adopt).done().fails(15, "confirm.no-terminal").says("--yes");
    home.strongroom(["get", "keys://g/k"]).shows().done().ok();
    home.strongroom(adopt.iter().chain(&["--yes"])).done().ok();
    home.strongroom(["get", "keys://g/k"]).done().fails(6, "keys.no-group");
    let back = ["store", "adopt", "keys", "--from", "file/acme-keys", "--to", "bundled/keys", "--yes"];
    home.strongroom(back).done().ok();
    home.strongroom(["get", "keys://g/k"]).shows().done().ok();
    home.strongroom(back).done().status(6);
    home.strongroom(["store", "adopt", "K!", "--from", "a", "--to", "b", "--yes"]).done().fails(64, "usage.mount");
}
