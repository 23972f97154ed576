//! What a mount's config lets its references reach.

use std::os::unix::fs::symlink;

use crate::support::Home;

#[test]
fn a_variable_off_the_list_and_one_that_is_not_set_are_different() {
    let home = Home::new();
    home.variable("APP_KEY");
    home.variable("OTHER");
    home.configure("[mounts.env]\nplugin = \"env\"\nallow = [\"APP_*\", \"EXACT\"]\n");
    home.strongroom(["get", "env:APP_KEY"]).shows().done().ok();
    home.strongroom(["get", "env:APP_MISSING"]).done().fails(6, "env.not-set");
    home.strongroom(["get", "env:EXACT"]).done().fails(6, "env.not-set");
    for off in ["env:OTHER", "env:ANY_MISSING", "env:app_key", "env:XAPP_KEY", "env:EXACTLY"] {
        home.strongroom(["get", off]).done().fails(4, "mount.allow").prints("");
    }
    home.sh(["-e", "A=env:OTHER"], "true").done().fails(104, "mount.allow");
    home.strongroom(["list", "env"]).done().ok().prints("APP_KEY\n");
}

#[test]
fn a_mount_is_read_only_unless_it_says_so() {
    let home = Home::new();
    home.put("keys://g/k", home.canary("key"));
    home.configure("[mounts.keys]\nplugin = \"keys\"\n");
    home.strongroom(["get", "keys://g/k"]).shows().done().ok();
    home.strongroom(["set", "keys://g/k"]).input("x").done().fails(4, "mount.read-only").says("write = true");
    home.strongroom(["delete", "-y", "keys://g/k"]).done().fails(4, "mount.read-only");
    home.configure("[mounts.keys]\nplugin = \"keys\"\nwrite = true\nallow = [\"g\", \"g/*\"]\n");
    home.strongroom(["set", "keys://g/k"]).input("x").done().ok();
    home.strongroom(["set", "keys://h/k"]).input("x").done().fails(4, "mount.allow");
    home.strongroom(["get", "keys://h/k"]).done().fails(4, "mount.allow");
    home.strongroom(["get", "keys://g/metadata/m"]).done().fails(4, "mount.allow");
}

#[test]
fn what_a_mount_does_not_answer_is_not_listed() {
    let home = Home::new();
    for reference in ["keys://a/one", "keys://a/two", "keys://b/one"] {
        home.put(reference, "x");
    }
    home.configure("[mounts.keys]\nplugin = \"keys\"\nallow = [\"a/one\"]\n");
    home.strongroom(["list", "keys://a"]).done().ok().prints("one\n");
    let groups = home.strongroom(["list", "keys"]).done().ok().out();
    assert!(!groups.contains('b'), "{groups}");
}

#[test]
fn two_mounts_of_one_plugin_keep_their_keys_apart() {
    let home = Home::new();
    let (own, team) = (home.canary("own"), home.canary("team"));
    home.configure("[mounts.keys]\nplugin = \"keys\"\nwrite = true\ndefault = true\n[mounts.team]\nplugin = \"keys\"\nwrite = true\n");
    home.put("keys://g/k", &own);
    home.strongroom(["get", "team+keys://g/k"]).done().fails(6, "keys.no-group");
    home.put("team+keys://g/k", &team);
    assert_eq!(home.get("keys://g/k"), own.as_bytes());
    assert_eq!(home.get("keys+keys://g/k"), own.as_bytes());
    assert_eq!(home.get("${{team+keys://g/k}}"), team.as_bytes());
    home.strongroom(["list", "team"]).done().ok().prints("g\n");
    home.sh(["-e", "A=keys://g/k", "-e", "B=team+keys://g/k"], "test \"$A\" != \"$B\"").done().ok();
}

#[test]
fn files_are_read_inside_their_folders_only() {
    let home = Home::new();
    let secret = home.canary("file");
    let folder = home.work("secrets");
    home.write_secret("secrets/db", &secret);
    home.write_secret("secrets/..data/token", &secret);
    home.write_secret("outside", &secret);
    home.write_secret("secrets-of-others/db", &secret);
    symlink("..data/token", folder.join("token")).unwrap();
    symlink("../outside", folder.join("escape")).unwrap();
    symlink(home.work("outside"), folder.join("absolute")).unwrap();
    symlink("..", folder.join("up")).unwrap();
    symlink("loop", folder.join("loop")).unwrap();
    home.program("mkfifo", ["secrets/fifo"]).done().ok();
    home.write_secret("secrets/large", secret.repeat(1 + (1 << 20) / secret.len()));
    home.configure(&format!("[mounts.files]\nplugin = \"file\"\nconfig.folders = [\"{}\"]\n", folder.display()));
    let path = |relative: &str| format!("file:{}", home.work(relative).display());
    for inside in ["secrets/db", "secrets/token", "secrets/..data/token"] {
        home.strongroom(["get", &path(inside)]).shows().done().ok().prints(&secret);
    }
    for (refused, status, code) in [
        ("outside", 4, "file.folder"),
        ("secrets-of-others/db", 4, "file.folder"),
        ("secrets", 4, "file.folder"),
        ("secrets/../outside", 2, "reference.dot-segment"),
        ("secrets/./db", 2, "reference.dot-segment"),
        ("secrets//db", 2, "reference.empty-segment"),
        ("secrets/escape", 4, "file.outside"),
        ("secrets/absolute", 4, "file.outside"),
        ("secrets/up/outside", 4, "file.outside"),
        ("secrets/loop", 4, "file.outside"),
        ("secrets/fifo", 2, "file.kind"),
        ("secrets/..data", 2, "file.kind"),
        ("secrets/none", 6, "file.not-found"),
        ("secrets/db/x", 6, "file.not-found"),
        ("secrets/large", 10, "value.too-large"),
    ] {
        home.strongroom(["get", &path(refused)]).done().fails(status, code).prints("");
    }
    home.strongroom(["get", "file:relative"]).done().fails(2, "reference.form");
    home.strongroom(["set", &path("secrets/db")]).input("x").done().fails(15, "plugin.unsupported");
    home.strongroom(["delete", "-y", &path("secrets/db")]).done().fails(15, "plugin.unsupported");
    home.strongroom(["list", "files"]).done().fails(15, "plugin.unsupported");
    home.strongroom(["explain", &path("secrets/db")]).done().ok().shows("files");
    home.sh(["-e", &format!("A={}", path("secrets/db"))], "echo \"$A\"").done().ok().prints("***\n");
}

#[test]
fn without_a_mount_no_file_is_read() {
    let home = Home::new();
    home.strongroom(["get", "file:/etc/hostname"]).done().fails(3, "route.no-mount");
    for (config, code) in [
        ("[mounts.f]\nplugin = \"file\"\n", "config.plugin-config"),
        ("[mounts.f]\nplugin = \"file\"\nconfig.folders = [\"/\"]\n", "config.plugin-config"),
        ("[mounts.f]\nplugin = \"file\"\nconfig.folders = [\"/a/../b\"]\n", "config.plugin-config"),
        ("[mounts.f]\nplugin = \"file\"\nconfig.folders = [\"/a\"]\nwrite = true\n", "config.file-provider"),
        ("[mounts.f]\nplugin = \"file\"\nconfig.folders = [\"/a\"]\ngrants = []\n", "config.file-provider"),
    ] {
        home.configure(config);
        home.strongroom(["list"]).done().fails(2, code).says("strongroom.toml:1:");
    }
}

#[test]
fn a_narrowed_grant_stops_a_plugin_at_its_import() {
    let home = Home::new();
    home.variable("X");
    home.configure("[mounts.env]\nplugin = \"env\"\ngrants = []\n");
    let done = home.strongroom(["get", "env:X"]).done().fails(4, "plugin.import-not-granted");
    done.says("strongroom:plugin/env").prints("");
}

#[test]
fn limits_of_a_mount_are_in_force() {
    let home = Home::new();
    home.put("keys://g/k", home.canary("key").repeat(100));
    home.configure("[mounts.keys]\nplugin = \"keys\"\nwrite = true\nlimits.value = \"1KiB\"\n");
    home.strongroom(["get", "keys://g/k"]).done().fails(10, "value.too-large").prints("");
    home.configure("[mounts.keys]\nplugin = \"keys\"\nwrite = true\nlimits.store = \"16KiB\"\n");
    home.strongroom(["set", "keys://g/more"]).input("x".repeat(20_000)).done().fails(10, "store.mount-size");
    home.strongroom(["get", "keys://g/more"]).done().fails(6, "keys.no-key");
}
