//! How the command line is used, and what it says of itself.

use crate::support::{Home, PROGRAM, names_in};

const COMMANDS: [&str; 21] = [
    "run",
    "get",
    "set",
    "list",
    "delete",
    "recover",
    "purge",
    "inject",
    "check",
    "explain",
    "export",
    "plugin",
    "store",
    "audit",
    "policy",
    "token",
    "trust",
    "init",
    "doctor",
    "schema",
    "completions",
];

#[test]
fn wrong_usage_exits_64_everywhere() {
    let home = Home::new();
    for arguments in [
        &[][..],
        &["--nonsense"],
        &["nonsense"],
        &["run"],
        &["run", "--"],
        &["run", "echo", "hello"],
        &["run", "-e"],
        &["run", "--nonsense", "--", "true"],
        &["run", "--file-format", "ini", "--", "true"],
        &["get"],
        &["get", "a", "b"],
        &["get", "env:X", "--force"],
        &["delete"],
        &["recover"],
        &["purge"],
        &["plugin"],
        &["plugin", "nonsense"],
        &["store"],
        &["audit"],
        &["audit", "verify", "--head", "7"],
        &["policy"],
        &["policy", "test"],
        &["token"],
        &["token", "new", "x"],
        &["explain", "--as", "Not A Name", "env:X"],
        &["completions"],
        &["completions", "cmd"],
        &["--color", "sometimes", "list"],
        &["--config"],
    ] {
        let done = home.strongroom(arguments).done().status(64).prints("");
        assert!(!done.err().is_empty(), "{arguments:?}");
    }
    home.strongroom(["explian", "env:X"]).done().status(64).says("explain");
    home.strongroom(["run", "--only-this", "X", "--", "true"]).done().status(64).says("--only");
}

#[test]
fn help_is_there_for_every_command() {
    let home = Home::new();
    home.strongroom(["--help"])
        .done()
        .ok()
        .quiet()
        .shows("Exit status")
        .shows("64 usage")
        .shows("100")
        .shows("Examples:");
    let help = home.strongroom(["-h"]).done().ok().out();
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        home.strongroom([command, "--help"]).done().ok().quiet().shows("Usage: strongroom");
        home.strongroom(["help", command]).done().ok().quiet();
    }
    for command in ["build", "inspect", "check", "add", "list", "remove"] {
        home.strongroom(["plugin", command, "--help"]).done().ok().quiet();
    }
    let version = home.strongroom(["--version"]).done().ok();
    version.prints(format!("strongroom {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_and_manual_are_made() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.strongroom(["completions", shell]).done().ok().quiet().out();
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} does not complete {command}");
        }
        assert!(script.contains("as-file"), "{shell}");
        home.write(shell, script);
    }
    home.program("bash", ["-n", "bash"]).done().ok();
    home.strongroom(["man"]).done().ok().quiet().shows(".TH strongroom 1");
}

#[test]
fn the_schema_accepts_what_is_accepted_and_refuses_what_is_refused() {
    let home = Home::new();
    let schema = home.strongroom(["schema"]).done().ok().quiet().json();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for (text, good) in [
        ("", true),
        ("[mounts.env]\nplugin = \"env\"\nallow = [\"APP_*\"]\nttl = \"5m\"\nlimits.cpu = \"1s\"\n", true),
        ("[mounts.f]\nplugin = \"file\"\nconfig.folders = [\"/run/secrets\"]\n[store]\nkey = \"file\"\n", true),
        ("[run]\nallow_names = [\"HTTPS_PROXY\"]\n", true),
        ("[mounts.env]\nplugin = \"env\"\nalow = [\"APP_*\"]\n", false),
        ("[mounts.env]\nallow = [\"APP_*\"]\n", false),
        ("[mounts.env]\nplugin = \"env\"\nttl = 5\n", false),
        ("[servers]\n", false),
    ] {
        home.write("c.toml", text);
        let document = toml::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(schema.is_valid(&document), good, "{text}");
        assert_eq!(home.strongroom(["--config", "c.toml", "list"]).done().status, if good { 0 } else { 2 }, "{text}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let home = Home::new();
    home.put("keys://g/k", "x".repeat(1 << 20));
    for arguments in
        [&["list"][..], &["schema"], &["completions", "bash"], &["get", "keys://g/k"], &["--help"], &["man"]]
    {
        // The pipe's reading end is closed before the program starts.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(PROGRAM);
        command.args(arguments).env_clear().env("HOME", home.path("home")).env("STRONGROOM_NO_KEYRING", "1");
        let done = command.current_dir(home.work(".")).stdout(writer).output().unwrap();
        assert_eq!(
            (done.status.code(), crate::support::lossy(&done.stderr)),
            (Some(0), String::new()),
            "{arguments:?}"
        );
    }
    let script = format!("{PROGRAM} list | head -n 0; {PROGRAM} list >/dev/full; echo $?");
    home.program("bash", ["-c", &script]).done().ok().prints("8\n").says("[output.write]");
}

#[test]
fn colours_are_for_terminals_or_who_asks() {
    let home = Home::new();
    let escape = |options: &[&'static str]| {
        home.strongroom(options.iter().chain(&["get", "env:MISSING"])).done().status(6).err().contains('\u{1b}')
    };
    assert!(!escape(&[]) && !escape(&["--color", "never"]) && escape(&["--color", "always"]));
}

#[test]
fn the_log_is_off_unless_asked_for_and_never_shows_a_value() {
    let home = Home::new();
    home.variable("X");
    home.set("RUST_LOG", "trace");
    home.put("keys://g/k", home.canary("key"));
    home.strongroom(["get", "env:X"]).shows().done().ok().quiet();
    for options in [&["-v"][..], &["-vv"], &["-vvv"]] {
        // `done` searches what is said.
        home.strongroom(options.iter().chain(&["get", "keys://g"])).shows().done().ok();
        home.strongroom(options.iter().chain(&["run", "-e", "A=env:X", "-e", "B=keys://g/k", "--", "true"]))
            .done()
            .ok();
        home.strongroom(options.iter().chain(&["set", "keys://g/k", "--from-env", "X"])).done().ok();
        home.strongroom(options.iter().chain(&["run", "-e", "A=env:X", "-e", "B=env:NO", "--", "true"]))
            .done()
            .status(106);
    }
}

#[test]
fn hostile_text_is_shown_on_one_line_and_escaped() {
    let home = Home::new();
    home.write("a.yaml", "\"A\\e[31m\\u202e\": \"${{env:X\\e]0;title\\a}}\"\nB: \"${{env:B\\e[2J}}\"\n");
    let done = home.strongroom(["check", "-f", "a.yaml"]).done().status(2);
    assert!(!done.err().contains(['\u{1b}', '\u{7}', '\u{202e}']), "{}", done.err());
    let done = home.strongroom(["get", "keys://g/\u{1b}[31m"]).done().status(2);
    assert!(!done.err().contains('\u{1b}'), "{}", done.err());
    let done = home.strongroom(["get", "env:A\u{202e}B"]).done().status(6);
    assert!(!done.err().contains('\u{202e}'), "{}", done.err());
}

#[test]
fn every_command_has_a_manual_page() {
    let home = Home::new();
    home.strongroom(["man"]).done().ok().shows(".TH strongroom");
    std::fs::create_dir(home.work("pages")).unwrap();
    home.strongroom(["man", "--out", "pages"]).done().ok();
    let pages = names_in(&home.work("pages"));
    for page in ["strongroom.1", "strongroom-run.1", "strongroom-plugin-add.1"] {
        assert!(pages.iter().any(|name| name == page), "{pages:?}");
    }
    home.strongroom(["man", "--out", "absent"]).done().fails(8, "output.man");
}
