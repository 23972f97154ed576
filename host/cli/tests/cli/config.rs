//! Config files: which are found, what they may say, and how mistakes are told.

use crate::support::{Home, chmod};

const ENV: &str = "[mounts.env]\nplugin = \"env\"\n";

#[test]
fn a_config_is_named_found_or_the_users_own() {
    let home = Home::new();
    let allow = |name: &str| format!("{ENV}allow = [\"{name}\"]\n");
    home.set("A", "a");
    home.set("B", "b");
    home.set("C", "c");
    home.configure(&allow("A"));
    home.write("b.toml", allow("B"));
    home.write("c.toml", allow("C"));
    let answered = |options: &[&'static str], variable: Option<&str>| {
        let answers = ["A", "B", "C"].map(|name| {
            let reference = format!("env:{name}");
            let mut call = home.strongroom(options.iter().copied().chain(["get", &reference]));
            if let Some(path) = variable {
                call = call.env("STRONGROOM_CONFIG", path);
            }
            call.done().status == 0
        });
        ["A", "B", "C"].into_iter().zip(answers).filter(|(_, yes)| *yes).map(|(name, _)| name).collect::<String>()
    };
    assert_eq!(answered(&[], None), "A");
    assert_eq!(answered(&["--config", "b.toml"], None), "B");
    assert_eq!(answered(&[], Some("b.toml")), "B");
    assert_eq!(answered(&["--config", "c.toml"], Some("b.toml")), "C");
    assert_eq!(answered(&[], Some("")), "A");
    home.strongroom(["--config", "none.toml", "get", "env:A"]).done().fails(2, "config.absent").says("none.toml");
    home.strongroom(["get", "env:A", "--config", "b.toml"]).done().fails(4, "mount.allow");
    home.strongroom(["run", "--config", "none.toml", "--", "true"]).done().fails(102, "config.absent");
}

#[test]
fn mistakes_are_told_with_place_and_suggestion_and_without_values() {
    let home = Home::new();
    let value = home.canary("config");
    for (text, code, place, says) in [
        (format!("{ENV}alow = [\"{value}\"]\n"), "config.unknown-key", "c.toml:3:1", "did you mean `allow`?"),
        (format!("[mount.env]\nplugin = \"{value}\"\n"), "config.unknown-key", "c.toml:1:2", "did you mean `mounts`?"),
        (format!("{ENV}ttl = \"{value}\"\n"), "config.value", "c.toml:3:1", "ttl"),
        (format!("{ENV}plugin = \"{value}\"\n"), "config.duplicate-key", "c.toml:3:1", "plugin"),
        (format!("{ENV}\n{ENV}"), "config.duplicate-key", "c.toml:4:", "env"),
        (format!("password = {value}\n"), "config.syntax", "c.toml:1:", "not TOML"),
        ("[mounts.env]\nwrite = true\n".to_owned(), "config.missing-key", "c.toml:1:", "plugin"),
        ("[mounts.x]\nplugin = \"nope\"\n".to_owned(), "config.no-such-plugin", "c.toml:1:", "env, keys"),
        ("[mounts.X]\nplugin = \"env\"\n".to_owned(), "config.value", "c.toml:1:", "mounts"),
        (format!("{ENV}scheme = \"keys\"\n"), "config.scheme", "c.toml:1:", "it answers: env"),
        (format!("{ENV}grants = [\"env\", \"http\"]\n"), "config.grants", "c.toml:1:", "http"),
        (format!("{ENV}config.a = \"${{{{env:A}}}}\"\n"), "config.reference", "c.toml:3:", "no place for secrets"),
        (format!("{ENV}limits.cpu = \"1h\"\n"), "config.limit", "c.toml:3:", "cpu"),
        (format!("{ENV}hosts = [\"a.b\"]\n"), "config.hosts", "", "no host"),
        ("[tenants.c]\nplugin = \"x\"\n".to_owned(), "config.unknown-key", "c.toml:1:2", "credentials"),
    ] {
        home.write_secret("c.toml", &text);
        let done = home.strongroom(["--config", "c.toml", "list"]).done();
        done.fails(2, code).says(place).says(says).prints("");
    }
}

#[test]
fn what_a_plugin_is_told_fits_its_schema() {
    let home = Home::new();
    home.set("A", "a");
    home.write("c.toml", format!("{ENV}config.more = 1\n"));
    home.strongroom(["--config", "c.toml", "get", "env:A"]).done().fails(2, "config.plugin-config").says("c.toml:1:");
    home.write("c.toml", "[mounts.keys]\nplugin = \"keys\"\nwrite = true\nconfig.versions = 2\n");
    for n in 1..=4 {
        home.strongroom(["--config", "c.toml", "set", "keys://g/k"]).input(format!("{n}")).done().ok();
    }
    home.strongroom(["--config", "c.toml", "list", "--versions", "keys://g/k"]).done().ok().prints("4\n3\n");
}

#[test]
fn a_config_that_others_could_write_is_refused() {
    let home = Home::new();
    for mode in [0o666, 0o664, 0o602] {
        home.configure(ENV);
        chmod(&home.user_config(), mode);
        home.strongroom(["list"]).done().fails(2, "config.permissions").says("chmod go-w");
    }
    chmod(&home.user_config(), 0o644);
    home.strongroom(["list"]).done().ok();
    let path = home.write("c.toml", ENV);
    chmod(&path, 0o666);
    home.strongroom(["--config", "c.toml", "list"]).done().fails(2, "config.permissions");
    home.strongroom(["--config", ".", "list"]).done().fails(2, "config.unreadable");
    home.write("binary.toml", b"\xff");
    home.strongroom(["--config", "binary.toml", "list"]).done().fails(2, "config.unreadable");
    home.write("large.toml", "#".repeat((1 << 20) + 1));
    home.strongroom(["--config", "large.toml", "list"]).done().fails(2, "config.too-large");
}

#[test]
fn a_reference_has_exactly_one_mount() {
    let home = Home::new();
    home.configure("[mounts.a]\nplugin = \"env\"\ndefault = true\n[mounts.b]\nplugin = \"env\"\ndefault = true\n");
    home.strongroom(["list"]).done().fails(2, "config.overlap").says("a and b");
    home.configure("[mounts.a]\nplugin = \"env\"\nmatch = [\"X*\"]\n[mounts.b]\nplugin = \"env\"\nmatch = [\"*Y\"]\n");
    home.strongroom(["list"]).done().fails(2, "config.overlap");
    home.variable("CI_X");
    home.configure("[mounts.ci]\nplugin = \"env\"\nmatch = [\"CI_*\"]\n[mounts.env]\nplugin = \"env\"\ndefault = true\nallow = [\"LC_ALL\"]\n");
    home.strongroom(["get", "env:CI_X"]).shows().done().ok();
    home.strongroom(["get", "env:LC_ALL"]).done().ok();
    // What the chosen mount denies, no other is asked.
    home.strongroom(["get", "env+env:CI_X"]).done().fails(4, "mount.allow").prints("");
    home.strongroom(["get", "ci+env:LC_ALL"]).done().ok();
    home.configure("[mounts.ci]\nplugin = \"env\"\nmatch = [\"CI_*\"]\n");
    home.strongroom(["get", "env:LC_ALL"]).done().fails(3, "route.no-mount").says("ci: answers the paths CI_*");
}
