//! A project's config counts when the person who runs it has said so, for exactly its bytes.

use crate::support::Home;

const PROJECT: &str = "[mounts.ci]\nplugin = \"env\"\nmatch = [\"CI_*\"]\n";

#[test]
fn an_untrusted_project_stops_everything() {
    let home = Home::new();
    home.variable("CI_X");
    home.write("strongroom.toml", PROJECT);
    home.strongroom(["run", "-e", "A=env:CI_X", "--", "touch", "started"]).done().fails(104, "trust.unknown");
    assert!(!home.work("started").exists());
    for arguments in
        [&["get", "env:CI_X"][..], &["list"], &["explain", "env:CI_X"], &["set", "keys://g/k"], &["inject"]]
    {
        let done = home.strongroom(arguments).input("x").done().fails(4, "trust.unknown");
        done.says("strongroom trust").says("strongroom.toml").prints("");
    }
    // Reading what nobody trusts yet needs no trust.
    home.write("a.env", "A=${{env:CI_X}}\n");
    home.strongroom(["check", "--parse", "-f", "a.env"]).done().ok();
    home.strongroom(["schema"]).done().ok();
}

#[test]
fn trust_is_for_these_bytes_at_this_place() {
    let home = Home::new();
    home.variable("CI_X");
    let get = || home.strongroom(["get", "ci+env:CI_X"]).shows().done();
    home.write("strongroom.toml", PROJECT);
    home.strongroom(["trust"]).done().fails(15, "confirm.no-terminal").says("--yes");
    get().fails(4, "trust.unknown");
    home.strongroom(["trust", "--yes"]).done().ok().says("strongroom.toml");
    get().ok();
    // From below, too, up to the repository's root.
    std::fs::create_dir_all(home.work("deep/er")).unwrap();
    home.strongroom(["get", "ci+env:CI_X"]).folder(home.work("deep/er")).shows().done().ok();
    std::fs::create_dir_all(home.work("deep/.git")).unwrap();
    home.strongroom(["get", "ci+env:CI_X"]).folder(home.work("deep/er")).done().fails(3, "route.no-such-mount");

    home.write("strongroom.toml", format!("{PROJECT} "));
    get().fails(4, "trust.changed").says("config");
    home.write("strongroom.toml", PROJECT);
    get().ok();
    home.write("strongroom.lock", "");
    get().fails(4, "trust.changed").says("lock");
    home.strongroom(["trust", "-y"]).done().ok().says("lock");
    get().ok();
    std::fs::remove_file(home.work("strongroom.lock")).unwrap();
    get().fails(4, "trust.changed");
    home.strongroom(["trust", "-y", "strongroom.toml"]).done().ok();

    let copy = home.path("copy");
    std::fs::create_dir_all(copy.join(".git")).unwrap();
    std::fs::copy(home.work("strongroom.toml"), copy.join("strongroom.toml")).unwrap();
    home.strongroom(["get", "ci+env:CI_X"]).folder(&copy).done().fails(4, "trust.unknown");

    home.strongroom(["trust", "--revoke"]).done().ok();
    get().fails(4, "trust.unknown");
    home.strongroom(["trust", "--revoke"]).done().ok();
    // Another user's home has other trust.
    home.strongroom(["trust", "-y"]).done().ok();
    home.strongroom(["list"]).env("XDG_STATE_HOME", home.path("other")).done().fails(4, "trust.unknown");
}

#[test]
fn a_file_that_is_named_needs_no_trust() {
    let home = Home::new();
    home.variable("CI_X");
    home.write("strongroom.toml", PROJECT);
    home.strongroom(["--config", "strongroom.toml", "get", "ci+env:CI_X"]).shows().done().ok();
    home.write("mine.toml", "");
    home.strongroom(["--config", "mine.toml", "get", "env:CI_X"]).shows().done().ok();
    home.strongroom(["get", "env:CI_X"]).env("STRONGROOM_CONFIG", "mine.toml").shows().done().ok();
}

#[test]
fn a_project_may_not_say_everything() {
    let home = Home::new();
    home.configure("[mounts.mine]\nplugin = \"env\"\nmatch = [\"MINE_*\"]\n");
    for (text, code) in [
        ("[store]\npath = \"mine.db\"\n", "config.project"),
        ("[run]\nallow_names = [\"LD_PRELOAD\"]\n", "config.project"),
        (
            "[mounts.x]\nplugin = { path = \"/x.wasm\", digest = \"sha256:822b33ad87c148a0a20a5ba7cd5ebcaa68d36a18e7aad165554903f52ca82757\" }\n",
            "config.project",
        ),
        ("[mounts.x]\nplugin = \"env\"\nnonsense = 1\n", "config.unknown-key"),
    ] {
        home.write("strongroom.toml", text);
        home.strongroom(["trust", "--yes"]).done().fails(2, code).says("strongroom.toml:");
        home.strongroom(["list"]).done().fails(4, "trust.unknown");
    }
    for name in ["mine", "keys"] {
        let plugin = if name == "mine" { "env" } else { "keys" };
        home.write("strongroom.toml", format!("\n[mounts.{name}]\nplugin = \"{plugin}\"\n"));
        home.strongroom(["trust", "--yes"]).done().ok();
        home.strongroom(["list"]).done().fails(2, "config.project-redefines").says("strongroom.toml:2:").says(name);
    }
    home.strongroom(["--config", "strongroom.toml", "list"]).done().ok();
}

#[test]
fn a_trusted_project_adds_its_mounts_to_the_users() {
    let home = Home::new();
    home.configure("[mounts.mine]\nplugin = \"env\"\nmatch = [\"MINE_*\"]\n");
    home.write("strongroom.toml", PROJECT);
    home.strongroom(["trust", "--yes"]).done().ok();
    let out = home.strongroom(["list", "--sources"]).done().ok().out();
    for (name, layer) in [("ci", "project"), ("mine", "user"), ("keys", "built in"), ("env", "built in")] {
        assert!(out.lines().any(|line| line.starts_with(name) && line.contains(layer)), "{name} {layer}: {out}");
    }
}

#[test]
fn a_project_file_that_others_could_write_is_refused_even_if_trusted() {
    let home = Home::new();
    let path = home.write("strongroom.toml", PROJECT);
    home.strongroom(["trust", "--yes"]).done().ok();
    crate::support::chmod(&path, 0o666);
    home.strongroom(["list"]).done().fails(2, "config.permissions");
    std::fs::remove_file(&path).unwrap();
    home.strongroom(["list"]).done().ok();
    // A link that leads nowhere is no absent file: the same command would mean something else.
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    home.strongroom(["list"]).done().status(2);
    home.strongroom(["trust", "-y"]).done().status(2);
}

#[test]
fn there_is_nothing_to_trust_without_a_file() {
    let home = Home::new();
    home.strongroom(["trust", "--yes"]).done().fails(6, "trust.nothing").says("strongroom trust FILE");
    home.strongroom(["trust", "--yes", "absent.toml"]).done().fails(2, "config.absent");
}
