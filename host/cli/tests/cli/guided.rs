//! What takes a person by the hand: `plugin`, `init`, `doctor`.

use std::path::Path;

use crate::sections::without_manifest;
use crate::support::{Home, PROGRAM, names_in};

/// Where `cargo xtask plugins` puts the bundled plugins.
const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled");

const ACME: &str = "\
name = \"acme-env\"
version = \"1.2.3\"
description = \"Answers \\u001b[31mall\"
schemes = [\"acme\"]
wants = [\"env\"]

[reference]
path = [\"name\"]

[env]
names = [\"{ref.path.0}\"]
";

/// The bundled plugin's component as a compiler made it.
fn component(name: &str) -> Vec<u8> {
    without_manifest(&std::fs::read(Path::new(BUNDLED).join(format!("{name}.wasm"))).unwrap())
}

/// A third party's plugin file, built from the environment plugin's code and this manifest.
fn plugin(home: &Home, manifest: &str, name: &str) {
    home.write("guest.wasm", component("env"));
    home.write("plugin.toml", manifest);
    let arguments = ["plugin", "build", "--component", "guest.wasm", "--manifest", "plugin.toml", "-o", name];
    home.strongroom(arguments).done().ok();
}

#[test]
fn a_plugin_is_inspected_without_being_run() {
    let home = Home::new();
    let keys = format!("{BUNDLED}/keys.wasm");
    let done = home.strongroom(["plugin", "inspect", &keys]).done().ok().quiet();
    let done = done.shows("strongroom:plugin/store@").shows("strongroom:plugin/provider@").shows("resolve");
    done.shows("sha256:").shows("keys 0.1.0").shows("keys:");
    let json = home.strongroom(["plugin", "inspect", "--json", &keys]).done().ok().json();
    assert_eq!((&json["name"], &json["wants"]), (&"keys".into(), &serde_json::json!(["store"])));
    assert!(!json["may"].as_array().unwrap().is_empty());
    let listed = home.strongroom(["plugin", "list", "--json"]).done().ok().json();
    let bundled = listed["plugins"].as_array().unwrap().iter().find(|p| p["name"] == "keys").unwrap();
    assert_eq!((&bundled["source"], &bundled["digest"]), (&"bundled".into(), &json["digest"]));
    home.write("bare.wasm", component("env"));
    home.strongroom(["plugin", "inspect", "bare.wasm"]).done().ok().shows("no plugin yet");
    assert_eq!(names_in(&home.path("home")), [""; 0], "nothing was compiled");
    plugin(&home, ACME, "acme.wasm");
    home.strongroom(["plugin", "check", "acme.wasm"]).done().ok().says("acme-env 1.2.3 fits");
}

#[test]
fn what_is_no_plugin_is_refused_with_the_reason() {
    let home = Home::new();
    home.write("text.wasm", "this is a text");
    home.write("module.wasm", b"\0asm\x01\0\0\0");
    home.write("bare.wasm", component("env"));
    home.write("cut.wasm", &component("env")[..1000]);
    home.write("empty.wasm", "");
    for (file, code) in [
        ("text.wasm", "plugin.not-a-component"),
        ("module.wasm", "plugin.not-a-component"),
        ("empty.wasm", "plugin.not-a-component"),
        ("cut.wasm", "plugin.invalid"),
        ("bare.wasm", "plugin.no-manifest"),
    ] {
        for command in [&["plugin", "check", file][..], &["plugin", "add", "--yes", file]] {
            home.strongroom(command).done().fails(2, code).prints("");
        }
    }
    home.strongroom(["plugin", "add", "--yes", "absent.wasm"]).done().says("absent.wasm").status(6);
    // Names and schemes of the release are its own.
    let env = format!("{BUNDLED}/env.wasm");
    home.strongroom(["plugin", "add", "--yes", &env]).done().fails(4, "plugin.reserved-name");
    plugin(
        &home,
        &ACME.replace("\"acme\"]", "\"keyvault\"]").replace("[reference]\npath = [\"name\"]\n", ""),
        "reserved.wasm",
    );
    home.strongroom(["plugin", "add", "--yes", "reserved.wasm"]).done().fails(4, "plugin.reserved-scheme");
    assert!(!home.user_config().exists());
    home.strongroom(["list"]).done().ok();
}

#[test]
fn a_manifest_that_does_not_fit_its_component_is_refused() {
    let home = Home::new();
    home.write("guest.wasm", component("env"));
    let build = ["plugin", "build", "--component", "guest.wasm", "--manifest", "plugin.toml", "-o", "out.wasm"];
    home.write("plugin.toml", ACME.replace("version", "versoin"));
    home.strongroom(build).done().status(2).says("plugin.toml:2:1").says("did you mean `version`?");
    assert!(!home.work("out.wasm").exists());
    // It imports what it does not want.
    plugin(
        &home,
        &ACME.replace("wants = [\"env\"]", "").replace("[env]\nnames = [\"{ref.path.0}\"]\n", ""),
        "narrow.wasm",
    );
    let done = home.strongroom(["plugin", "check", "narrow.wasm"]).done().fails(2, "plugin.import-not-wanted");
    done.says("strongroom:plugin/env@").says("wants");
    home.strongroom(["plugin", "add", "--yes", "narrow.wasm"])
        .done()
        .fails(4, "plugin.import-not-granted")
        .says("strongroom:plugin/env@");
    assert!(!home.user_config().exists());
}

#[test]
fn an_accepted_plugin_answers_and_a_removed_one_does_not() {
    let home = Home::new();
    let secret = home.variable("X");
    plugin(&home, ACME, "acme.wasm");
    let done = home.strongroom(["plugin", "add", "acme.wasm"]).done().fails(15, "confirm.no-terminal");
    let done = done.says("acme-env 1.2.3").says("acme:").says("--yes").says("it says of itself");
    assert!(!done.err().contains('\u{1b}'), "{}", done.err());
    assert!(!home.user_config().exists());
    home.strongroom(["get", "acme://X"]).done().fails(3, "reference.unknown-scheme");

    home.strongroom(["plugin", "add", "--yes", "acme.wasm"]).done().ok().says("accepted");
    assert!(home.user_config().with_file_name("strongroom.lock").exists());
    home.strongroom(["get", "acme://X"]).shows().done().ok().prints(&secret).quiet();
    home.strongroom(["get", "acme://MISSING"]).done().fails(6, "env.not-set").says("acme-env");
    home.strongroom(["get", "acme://a/b"]).done().fails(2, "reference.form");
    home.strongroom(["list"]).done().ok().shows("acme:").shows("acme-env 1.2.3");
    home.strongroom(["plugin", "list"]).done().ok().shows("acme-env").shows("1.2.3").shows("bundled");
    home.strongroom(["explain", "acme://X"]).done().ok().shows("X and no other").shows("acme-env 1.2.3");
    home.sh(["-e", "A=acme://X"], "echo \"$A\"").done().ok().prints("***\n");
    home.strongroom(["doctor"]).done().ok().shows("acme-env");

    home.strongroom(["plugin", "remove", "acme-env"]).done().fails(15, "confirm.no-terminal");
    home.strongroom(["plugin", "remove", "nobody", "--yes"]).done().fails(6, "plugin.not-accepted");
    home.strongroom(["plugin", "remove", "acme-env", "--yes"]).done().ok().says("acme-env");
    home.strongroom(["get", "acme://X"]).done().fails(3, "reference.unknown-scheme");
    home.strongroom(["list"]).done().ok();
}

#[test]
fn a_config_keeps_its_comments_when_a_plugin_is_accepted() {
    let home = Home::new();
    home.variable("X");
    let text = "# mine\n[mounts.ci] # why\nplugin = \"env\"\nmatch = [\"CI_*\"]\n";
    home.configure(text);
    plugin(&home, ACME, "acme.wasm");
    home.strongroom(["plugin", "add", "--yes", "--mount", "other", "acme.wasm"]).done().ok();
    let written = std::fs::read_to_string(home.user_config()).unwrap();
    assert!(written.starts_with(text), "{written}");
    home.strongroom(["get", "other+acme://X"]).shows().done().ok();
    home.strongroom(["plugin", "add", "--yes", "--mount", "Not-A-Name", "acme.wasm"]).done().fails(64, "usage.mount");
}

#[test]
fn a_file_that_was_exchanged_does_not_run() {
    let home = Home::new();
    home.variable("X");
    plugin(&home, ACME, "acme.wasm");
    home.strongroom(["plugin", "add", "--yes", "acme.wasm"]).done().ok();
    let path = home.work("acme.wasm");
    let whole = std::fs::read(&path).unwrap();
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &other).unwrap();
    home.strongroom(["get", "acme://X"]).done().fails(12, "plugin.digest").says("plugin add").prints("");
    home.sh(["-e", "A=acme://X"], "touch started").done().fails(112, "plugin.digest");
    assert!(!home.work("started").exists());
    std::fs::remove_file(&path).unwrap();
    home.strongroom(["get", "acme://X"]).done().fails(2, "plugin.unreadable");
    std::fs::write(&path, &whole).unwrap();
    home.strongroom(["get", "acme://X"]).shows().done().ok();

    // Without its lock entry it does not run either.
    let lock = home.user_config().with_file_name("strongroom.lock");
    let entries = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, "").unwrap();
    home.strongroom(["get", "acme://X"]).done().fails(4, "lock.missing").says("plugin add").prints("");
    // Nor with fewer rights in the lock than it has: the difference is told.
    let line = entries.lines().find(|line| line.contains("env {ref.path.0}")).unwrap();
    std::fs::write(&lock, entries.replace(line, "")).unwrap();
    let done = home.strongroom(["get", "acme://X"]).done().fails(4, "lock.rights-grew").prints("");
    done.says("+ may read the environment variable");
    std::fs::write(&lock, entries.replace(line, "\"everything\",")).unwrap();
    home.strongroom(["get", "acme://X"]).done().fails(2, "lock.right");
    std::fs::write(&lock, &entries).unwrap();
    home.strongroom(["get", "acme://X"]).shows().done().ok();
}

#[test]
fn rights_that_grew_stop_a_plugin_until_a_person_agrees() {
    let home = Home::new();
    home.variable("X");
    plugin(&home, ACME, "acme.wasm");
    home.strongroom(["plugin", "add", "--yes", "acme.wasm"]).done().ok();
    plugin(
        &home,
        &ACME
            .replace("1.2.3", "1.3.0")
            .replace("path = [\"name\"]", "path = [\"name\", \"more?\"]")
            .replace("{ref.path.0}\"", "{ref.path.0}\", \"HOME\""),
        "new.wasm",
    );
    std::fs::rename(home.work("new.wasm"), home.work("acme.wasm")).unwrap();
    home.strongroom(["get", "acme://X"]).done().fails(12, "plugin.digest");
    let done = home.strongroom(["plugin", "add", "acme.wasm"]).done().fails(15, "confirm.no-terminal");
    done.says("compared with what was accepted").says("+ ").says("HOME");
    home.strongroom(["get", "acme://X"]).done().fails(12, "plugin.digest");
    home.strongroom(["plugin", "add", "--yes", "acme.wasm"]).done().ok();
    home.strongroom(["get", "acme://X"]).shows().done().ok();
    home.strongroom(["explain", "acme://X"]).done().ok().shows("HOME, X and no other");
}

#[test]
fn compiled_code_that_was_changed_is_thrown_away() {
    let home = Home::new();
    let secret = home.variable("X");
    plugin(&home, ACME, "acme.wasm");
    home.strongroom(["plugin", "add", "--yes", "acme.wasm"]).done().ok();
    home.strongroom(["get", "acme://X"]).shows().done().ok().quiet();
    let folder = home.path("home/.cache/strongroom/code");
    let files: Vec<_> = names_in(&folder).into_iter().map(|name| folder.join(name)).filter(|p| p.is_file()).collect();
    assert!(!files.is_empty());
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let damages: [fn(&mut Vec<u8>); 3] = [flip, |bytes| bytes.truncate(10), Vec::clear];
    for damage in damages {
        for file in &files {
            let mut bytes = std::fs::read(file).unwrap();
            damage(&mut bytes);
            std::fs::remove_file(file).unwrap();
            std::fs::write(file, bytes).unwrap();
            crate::support::chmod(file, 0o400);
        }
        home.strongroom(["get", "acme://X"]).shows().done().ok().prints(&secret);
        home.strongroom(["get", "acme://X"]).shows().done().ok().prints(&secret).quiet();
    }
    // Without any cache it is compiled in memory.
    std::fs::remove_dir_all(home.path("home/.cache")).unwrap();
    std::fs::write(home.path("home/.cache"), "in the way").unwrap();
    home.strongroom(["get", "acme://X"]).shows().done().ok().prints(&secret);
}

#[test]
fn a_project_accepts_plugins_inside_itself() {
    let home = Home::new();
    home.variable("X");
    home.write("strongroom.toml", "# the project's\n");
    home.strongroom(["trust", "--yes"]).done().ok();
    plugin(&home, ACME, "acme.wasm");
    home.strongroom(["plugin", "add", "--yes", "acme.wasm"]).done().ok();
    let written = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    assert!(written.starts_with("# the project's\n") && written.contains("path = \"acme.wasm\""), "{written}");
    home.strongroom(["get", "acme://X"]).shows().done().ok();
    std::fs::rename(home.work("acme.wasm"), home.path("outside.wasm")).unwrap();
    home.strongroom(["plugin", "add", "--yes", "../outside.wasm"]).done().fails(2, "config.project").says("inside");
    assert!(!home.user_config().exists());
}

#[test]
fn building_needs_what_it_needs() {
    let home = Home::new();
    home.strongroom(["plugin", "build", "--component", "x.wasm"]).done().status(64);
    home.strongroom(["plugin", "build"]).done().status(6).says("plugin.toml");
    home.write("guest.wasm", component("env"));
    let absent = ["plugin", "build", "--component", "guest.wasm", "--manifest", "none.toml"];
    home.strongroom(absent).done().says("none.toml");
    assert_eq!(names_in(&home.work(".")), [".git", "guest.wasm"]);
}

#[test]
fn init_writes_a_config_that_works() {
    let home = Home::new();
    home.variable("X");
    home.strongroom(["init"]).done().ok().prints("").says("strongroom.toml");
    let text = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    assert!(text.starts_with("#:schema ") && text.matches("\n#").count() > 5, "{text}");
    let schema = text.lines().next().unwrap().strip_prefix("#:schema ").unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&std::fs::read(home.work(schema)).unwrap()).unwrap();
    assert_eq!(schema, home.strongroom(["schema"]).done().ok().json());
    // Somebody has to look at it first, and then it works.
    home.strongroom(["get", "env:X"]).done().fails(4, "trust.unknown");
    home.strongroom(["trust", "--yes"]).done().ok();
    home.strongroom(["get", "env:X"]).shows().done().ok();
    // The examples in it, without their comment signs, work as well.
    let examples: String = text
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .map(|line| format!("{line}\n"))
        .collect();
    home.write("examples.toml", &examples);
    home.strongroom(["--config", "examples.toml", "list"]).done().ok().shows("team");

    home.write("strongroom.toml", "# mine\n");
    home.strongroom(["init"]).done().fails(14, "output.exists");
    assert_eq!(std::fs::read_to_string(home.work("strongroom.toml")).unwrap(), "# mine\n");
    home.strongroom(["init", "--user"]).done().ok();
    assert!(home.user_config().exists());
}

#[test]
fn init_takes_from_a_deployment_what_it_needs() {
    let home = Home::new();
    home.variable("DB_PASSWORD");
    home.variable("OTHER");
    home.write_secret("secrets/token", home.canary("token"));
    let token = home.work("secrets/token");
    home.write(
        "deployment.yaml",
        format!(
            "environment_variables:\n  A: ${{{{env:DB_PASSWORD}}}}\n  B: ${{{{file:{}}}}}\n  C: ${{{{keys://openai/KEY}}}}\n  D: ${{{{inputs.lr}}}}\n  E: ${{{{keyvault:https://v.vault.azure.net/secrets/n}}}}\n",
            token.display()
        ),
    );
    home.strongroom(["init", "--from", "deployment.yaml"]).done().ok();
    let text = std::fs::read_to_string(home.work("strongroom.toml")).unwrap();
    for word in ["DB_PASSWORD", "openai", "v.vault.azure.net", "keyvault:"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    home.strongroom(["trust", "--yes"]).done().ok();
    home.strongroom(["get", "env:DB_PASSWORD"]).shows().done().ok();
    home.strongroom(["get", "env:OTHER"]).done().fails(4, "mount.allow");
    home.strongroom(["get", &format!("file:{}", token.display())]).shows().done().ok();
    home.write("broken.yaml", "A: ${{env:}}\n");
    home.strongroom(["init", "--from", "broken.yaml", "--user"])
        .done()
        .fails(2, "reference.form")
        .says("broken.yaml:1:4");
    assert!(!home.user_config().exists());
}

#[test]
fn doctor_finds_nothing_wrong_on_a_new_machine_and_changes_nothing() {
    let home = Home::new();
    let done = home.strongroom(["doctor"]).done().ok();
    for area in ["config", "store", "keyring", "sandbox", "mount", "process"] {
        assert!(done.out().lines().any(|line| line.contains(&format!(" {area} "))), "{area}: {}", done.out());
    }
    assert!(!done.out().contains("BAD"), "{}", done.out());
    assert_eq!(names_in(&home.path("home")), [""; 0], "a look changes nothing");
    let json = home.strongroom(["doctor", "--json"]).done().ok().json();
    assert_eq!(json["ok"], true);
}

#[test]
fn doctor_tells_what_is_wrong_and_what_to_do() {
    let home = Home::new();
    home.put("keys://g/k", home.canary("key"));
    home.strongroom(["doctor"]).done().ok().shows("store.db");
    std::fs::write(home.state("store.db"), "garbage".repeat(1000)).unwrap();
    home.strongroom(["doctor"]).done().status(12).shows("BAD").shows("[store.corrupt]").shows("backup");
    let json = home.strongroom(["doctor", "--json"]).done().status(12).json();
    assert_eq!(json["ok"], false);
    home.configure("[mounts.env]\nplugin = \"env\"\nconfig.wrong = 1\n");
    home.strongroom(["doctor"]).done().status(2).shows("[config.plugin-config]").shows("[store.corrupt]");
    home.configure("nonsense");
    home.strongroom(["doctor"]).done().status(2).shows("[config.syntax]");
    home.write("strongroom.toml", "");
    home.configure("");
    home.strongroom(["doctor"]).done().status(4).shows("[trust.unknown]").shows("strongroom trust");
}

#[test]
fn doctor_asks_for_no_passphrase_and_shows_none() {
    let home = Home::new();
    let passphrase = home.variable("STRONGROOM_PASSPHRASE");
    home.put("keys://g/k", home.canary("key"));
    home.strongroom(["doctor"]).done().ok().shows("passphrase");
    home.unset("STRONGROOM_PASSPHRASE");
    home.strongroom(["doctor"]).done().ok();
    assert!(!passphrase.is_empty() && PROGRAM.contains("strongroom"));
}
