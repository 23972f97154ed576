//! `run`: what the program gets, what it does not get, and how it ends.

use rustix::process::{Signal, kill_process};

use crate::support::{Home, names_in};

#[test]
fn without_any_config_a_program_gets_a_variable_under_another_name() {
    let home = Home::new();
    home.variable("X");
    home.sh(["-e", "A=env:X"], r#"test -n "$A" && test "$A" = "$X""#).done().ok().quiet();
    assert_eq!(names_in(&home.path("home/.config")), [""; 0], "nothing is written for it");
}

#[test]
fn a_variable_that_is_not_set_stops_everything() {
    let home = Home::new();
    let done = home.strongroom(["run", "-e", "A=env:MISSING", "--", "touch", "started"]).done();
    done.fails(106, "env.not-set").says("MISSING").says("-e A").prints("");
    assert!(!home.work("started").exists());
}

#[test]
fn every_failure_is_told_and_nothing_starts() {
    let home = Home::new();
    home.variable("SET");
    let arguments = ["run", "-e", "A=env:ONE", "-e", "B=env:SET", "-e", "C=env:TWO", "-e", "D=keys://none/key"];
    let arguments = arguments.into_iter().chain(["--as-file", "E=env:THREE", "--", "touch", "started"]);
    let done = home.strongroom(arguments).done();
    let done = done.fails(106, "env.not-set").fails(106, "keys.no-group");
    done.says("ONE").says("TWO").says("THREE").says("keys://none/key").says_not("env:SET");
    assert!(!home.work("started").exists());
}

#[test]
fn failures_that_say_the_same_are_told_once_and_counted() {
    let home = Home::new();
    let lines: String = (0..40).map(|n| format!("A_{n}=${{{{keys://nowhere/k{n}}}}}\n")).collect();
    std::fs::write(home.work("many.env"), lines).unwrap();
    let done = home.strongroom(["run", "-f", "many.env", "--", "touch", "started"]).done();
    let done = done.fails(106, "keys.no-group").says("39 more failed in the same way: line 2, line 3").says(", ...");
    done.says("many.env:1");
    assert!(!home.work("started").exists());
}

#[test]
fn a_wrong_assignment_is_told_without_what_may_be_a_secret() {
    let home = Home::new();
    let typed = home.canary("typed");
    for (argument, status, code) in [
        ("A".to_owned(), 64, "usage.assignment"),
        (typed.clone(), 64, "usage.assignment"),
        ("=env:X".to_owned(), 102, "environment.name"),
        ("1A=env:X".to_owned(), 102, "environment.name"),
        ("A B=env:X".to_owned(), 102, "environment.name"),
        ("A=".to_owned(), 102, "reference.no-scheme"),
        (format!("A={typed}"), 102, "reference.no-scheme"),
        ("A=env:".to_owned(), 102, "reference.form"),
        ("A=env:B/C".to_owned(), 102, "reference.name"),
        ("A=${{env:${{env:B}}}}".to_owned(), 102, "reference.nested"),
        ("A=${{env:B".to_owned(), 102, "reference.unterminated"),
        ("A=x ${{inputs.lr}}".to_owned(), 102, "reference.unknown-form"),
        ("A=keys://g/a%2Fb".to_owned(), 102, "reference.escape"),
        ("A=keys://g/../b".to_owned(), 102, "reference.dot-segment"),
        ("A=evn:X".to_owned(), 103, "reference.unknown-scheme"),
        ("A=nobody+env:X".to_owned(), 103, "route.no-such-mount"),
        ("A=keyvault:https://v.vault.azure.net/secrets/n".to_owned(), 103, "route.no-mount"),
    ] {
        for option in ["-e", "--as-file"] {
            let done = home.strongroom(["run", option, &argument, "--", "touch", "started"]).done();
            done.fails(status, code).prints("");
        }
    }
    home.strongroom(["run", "-e", "A=evn:X", "--", "true"]).done().says("did you mean `env:`?");
    assert!(!home.work("started").exists());
}

#[test]
fn the_exit_status_is_the_programs_own() {
    let home = Home::new();
    home.variable("X");
    home.write("not-executable", "#!/bin/sh\n");
    for mask in [&["-e", "A=env:X"][..], &["--no-mask", "-e", "A=env:X"]] {
        for status in [0, 1, 7, 64, 106, 255] {
            home.sh(mask.iter().copied(), &format!("exit {status}")).done().status(status).quiet();
        }
        let run = |program: &str| {
            let arguments = ["run"].into_iter().chain(mask.iter().copied()).chain(["--", program]);
            home.strongroom(arguments).done()
        };
        run("no-such-program").fails(127, "process.not-found").says("no-such-program");
        run("./no-such-program").fails(127, "process.not-found");
        run("./not-executable").fails(126, "process.not-executable");
        run("/").fails(126, "process.not-executable");
    }
    for (signal, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("INT", 2)] {
        home.sh(["-e", "A=env:X"], &format!("kill -{signal} $$")).done().status(128 + number);
    }
}

#[test]
fn what_a_program_reads_and_its_arguments_are_left_alone() {
    let home = Home::new();
    home.variable("X");
    home.strongroom(["run", "-e", "A=env:X", "--", "cat"]).input("from outside\n").done().ok().prints("from outside\n");
    home.strongroom(["run", "--", "printf", "%s|", "-e", "--", "a b", ""]).done().ok().prints("-e|--|a b||");
}

#[test]
fn a_script_without_a_first_line_runs_as_in_a_shell() {
    let home = Home::new();
    home.variable("X");
    let script = home.write("job", "test \"$A\" = \"$X\" && echo \"$1\"\n");
    crate::support::chmod(&script, 0o755);
    home.strongroom(["run", "-e", "A=env:X", "--", "./job", "argument"]).done().ok().prints("argument\n");
}

#[test]
fn the_environment_is_inherited_as_far_as_the_options_say() {
    let home = Home::new();
    home.variable("X");
    home.set("KEPT", "kept");
    home.set("OTHER", "other");
    let program = |arguments: &[&'static str]| {
        let arguments = ["run"].iter().chain(arguments).chain(&["-e", "A=env:X", "--", "env"]);
        let mut lines: Vec<String> = home.strongroom(arguments).done().ok().out().lines().map(String::from).collect();
        lines.sort();
        lines
    };
    assert_eq!(program(&["--no-inherit-env"]), ["A=***"]);
    let all = program(&[]);
    for line in ["A=***", "X=***", "KEPT=kept", "OTHER=other"] {
        assert!(all.contains(&line.to_owned()), "{line} in {all:?}");
    }
    let cleaned = program(&["--clean-env", "X", "OTHER", "--clean-env", "LC_ALL,HOME"]);
    for name in ["X", "OTHER", "LC_ALL", "HOME"] {
        assert!(!cleaned.iter().any(|line| line.starts_with(&format!("{name}="))), "{name} in {cleaned:?}");
    }
    assert!(cleaned.contains(&"KEPT=kept".to_owned()) && cleaned.contains(&"A=***".to_owned()));
}

#[test]
fn strongrooms_own_variables_stay_outside() {
    let home = Home::new();
    home.variable("STRONGROOM_PASSPHRASE");
    home.set("STRONGROOM_PLAIN", "plain");
    home.sh([], "env | grep -c ^STRONGROOM_; true").done().ok().prints("0\n");
    home.sh(["--no-mask"], "env | grep -c ^STRONGROOM_; true").done().ok().prints("0\n");
    let kept = home.sh(["--keep-env", "STRONGROOM_PLAIN"], "env | grep ^STRONGROOM_").done();
    kept.ok().prints("STRONGROOM_PLAIN=plain\n");
    home.sh(["-e", "A=env:STRONGROOM_PASSPHRASE"], "touch started").done().fails(104, "env.own");
    home.strongroom(["get", "env:STRONGROOM_PLAIN"]).done().fails(4, "env.own").prints("");
    home.strongroom(["list", "env"]).done().ok().shows("PATH");
    assert!(!home.strongroom(["list", "env"]).done().ok().out().contains("STRONGROOM_"));
    assert!(!home.work("started").exists());
}

#[test]
fn a_value_that_no_variable_can_hold_is_told_before_the_start() {
    let home = Home::new();
    let nul = home.canary("nul");
    let long = home.canary("long");
    home.put("keys://g/nul", format!("{nul}\0x"));
    home.put("keys://g/long", long.repeat(200_000 / long.len()));
    let arguments = ["run", "-e", "A=keys://g/nul", "-e", "B=keys://g/long", "--", "touch", "started"];
    let done = home.strongroom(arguments).done();
    let done = done.fails(115, "environment.nul").fails(115, "environment.too-large");
    done.says("A:").says("B:").says("--as-file");
    // Together with the text around it, it may be too long too.
    home.put("keys://g/most", "x".repeat(131_000));
    home.sh(["-e", "A=keys://g/most"], "test ${#A} = 131000").done().ok();
    let padded = format!("A={}${{{{keys://g/most}}}}", "x".repeat(100));
    home.strongroom(["run", "-e", &padded, "--", "touch", "started"]).done().fails(110, "environment.too-large");
    assert!(!home.work("started").exists());
    // The way that the message names is one.
    let script = r#"wc -c <"$A"; wc -c <"$B""#;
    let done = home.sh(["--as-file", "A=keys://g/nul", "--as-file", "B=keys://g/long"], script).done();
    let long = long.repeat(200_000 / long.len()).len();
    done.ok().prints(format!("{}\n{long}\n", nul.len() + 2));
}

#[test]
fn a_secret_file_is_for_the_program_alone_and_ends_with_it() {
    let home = Home::new();
    home.variable("X");
    let script = r#"
        test "$(cat "$F")" = "$X" && test "$(cat "$G")" = "x-$X" || exit 3
        cat "$F"; echo
        stat -c '%a %F' "$F" "$(dirname "$F")"
        stat -f -c %T "$F"
        echo "$F" >path
    "#;
    for mask in [&[][..], &["--no-mask"]] {
        let options = mask.iter().copied().chain(["--as-file", "F=env:X", "--as-file", "G=x-${{env:X}}"]);
        let call = home.sh(options, script);
        let (call, shown) =
            if mask.is_empty() { (call, "***".to_owned()) } else { (call.shows(), home_value(&home, "X")) };
        let done = call.done().ok();
        let out = done.out();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines, [shown.as_str(), "600 regular file", "700 directory", "tmpfs"], "{}", done.err());
        let path = std::fs::read_to_string(home.work("path")).unwrap();
        let path = std::path::Path::new(path.trim());
        assert!(path.is_absolute() && !path.exists() && !path.parent().unwrap().exists(), "{path:?} is still there");
    }
    // Also when it is killed.
    let done = home.sh(["--as-file", "F=env:X"], r#"echo "$F" >path; kill -9 $$"#).done();
    done.status(137);
    let path = std::fs::read_to_string(home.work("path")).unwrap();
    assert!(!std::path::Path::new(path.trim()).exists());
}

fn home_value(home: &Home, name: &str) -> String {
    String::from_utf8(home.get(&format!("env:{name}"))).unwrap()
}

#[test]
fn signals_reach_the_program() {
    let home = Home::new();
    home.variable("X");
    // Not one long wait: a shell looks for its traps between commands, and could miss one just
    // before it waits.
    home.write("job", "trap 'echo \"caught $A\"; exit 9' TERM HUP USR1\necho ready\nwhile :; do sleep 0.05; done\n");
    for signal in [Signal::TERM, Signal::HUP, Signal::USR1] {
        for mask in [&["run", "-e", "A=fixed-${{env:X}}"][..], &["run", "--as-file", "F=env:X", "--no-mask"]] {
            let arguments = mask.iter().copied().chain(["--", "sh", "job"]);
            let mut running = home.strongroom(arguments).open_input().start();
            running.output.wait_for("ready");
            kill_process(running.id(), signal).unwrap();
            running.output.wait_for("caught");
            let rest = crate::support::lossy(&running.output.rest());
            assert_eq!(running.wait(), 9);
            if mask.contains(&"-e") {
                assert!(rest.contains("caught fixed-***"), "{rest}");
            }
        }
    }
}

#[test]
fn a_program_that_leaves_another_behind_has_ended() {
    let home = Home::new();
    home.variable("X");
    home.program("mkfifo", ["hold"]).done().ok();
    // The one that is left holds the output until the test lets it go: waiting for it would hang.
    home.sh(["-e", "A=env:X"], "cat hold & echo \"$A\"").done().ok().prints("***\n");
    // Waits until it is there, and lets it go.
    std::fs::write(home.work("hold"), "").unwrap();
}

#[test]
fn large_output_arrives_whole() {
    let home = Home::new();
    home.variable("X");
    let script = r#"head -c 8000000 /dev/zero | tr '\0' x; echo "$A"; head -c 3000000 /dev/zero | tr '\0' y >&2"#;
    let done = home.sh(["-e", "A=env:X"], script).done().ok();
    assert_eq!((done.stdout.len(), done.stderr.len()), (8_000_004, 3_000_000));
    assert!(done.stdout.ends_with(b"x***\n"));
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let home = Home::new();
    home.variable("X");
    let script = format!("{} run -e A=env:X -- echo hello >/dev/full", crate::support::PROGRAM);
    home.program("sh", ["-c", &script]).done().fails(113, "process.output").says("status 0");
    // A reader that went away is none of ours: the program meets its own broken pipe.
    let script = format!("{} run -e A=env:X -- yes | head -n 1", crate::support::PROGRAM);
    home.program("sh", ["-c", &script]).done().ok().prints("y\n").quiet();
}

#[test]
fn only_what_is_selected_is_resolved() {
    let home = Home::new();
    home.variable("X");
    home.write("all.env", "DB_A=${{env:X}}\nDB_B=plain\nWEB_A=${{env:MISSING}}\n");
    let names = |options: &[&'static str]| {
        let options = ["run", "--no-inherit-env", "-f", "all.env"].iter().chain(options).chain(&["--", "env"]);
        let out = home.strongroom(options).done().ok().out();
        let mut names: Vec<String> = out.lines().map(|l| l.split('=').next().unwrap().to_owned()).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&["--only", "DB_*"]), "DB_A DB_B");
    assert_eq!(names(&["--only", "DB_[B-Z]"]), "DB_B");
    assert_eq!(names(&["--only", "DB_A", "--only", "DB_B"]), "DB_A DB_B");
    assert_eq!(names(&["--except", "WEB_?"]), "DB_A DB_B");
    assert_eq!(names(&["--only", "*_A", "--except", "WEB_*"]), "DB_A");
    assert_eq!(names(&["--only", "NONE"]), "");
    home.strongroom(["run", "-f", "all.env", "--", "true"]).done().fails(106, "env.not-set");
    home.strongroom(["run", "--only", "[", "--", "true"]).done().fails(64, "usage.glob");
}

#[test]
fn names_that_load_code_are_not_a_files_to_set() {
    let home = Home::new();
    for name in ["PATH", "LD_PRELOAD", "BASH_ENV", "PYTHONPATH", "https_proxy", "STRONGROOM_CONFIG"] {
        home.write("evil.env", format!("{name}=/evil\n"));
        let done = home.strongroom(["run", "-f", "evil.env", "--", "touch", "started"]).done();
        done.fails(104, "environment.dangerous-name").says("evil.env:1:1").says(&format!("--allow-name {name}"));
        home.strongroom(["export", "-f", "evil.env"]).done().fails(4, "environment.dangerous-name").prints("");
        home.strongroom(["check", "-f", "evil.env"]).done().fails(4, "environment.dangerous-name");
    }
    assert!(!home.work("started").exists());
    home.write("proxy.env", "HTTPS_PROXY=http://proxy.corp:8080\n");
    let options = ["-f", "proxy.env", "--allow-name", "HTTPS_PROXY"];
    home.sh(options, "echo $HTTPS_PROXY").done().ok().prints("http://proxy.corp:8080\n");
    home.sh(["-f", "proxy.env", "--allow-name", "HTTP_PROXY"], "true").done().status(104);
    // Who types the option decides for himself.
    home.set("PLAIN", "http://proxy.corp:8080");
    home.sh(["--no-mask", "-e", "HTTPS_PROXY=env:PLAIN"], "echo $HTTPS_PROXY").done().ok();
    home.configure("[run]\nallow_names = [\"HTTPS_PROXY\"]\n");
    home.sh(["-f", "proxy.env"], "echo $HTTPS_PROXY").done().ok().prints("http://proxy.corp:8080\n");
}

#[test]
fn a_run_with_variables_alone_opens_no_store() {
    let home = Home::new();
    home.variable("X");
    home.set("STRONGROOM_PASSPHRASE_FILE", "/nonexistent");
    home.sh(["-e", "A=env:X"], "test -n \"$A\"").done().ok().quiet();
    assert_eq!(names_in(&home.state("")), [""; 0]);
    // Even one that is broken.
    std::fs::create_dir_all(home.state("")).unwrap();
    std::fs::write(home.state("store.db"), "garbage").unwrap();
    home.sh(["-e", "A=env:X"], "test -n \"$A\"").done().ok().quiet();
    assert_eq!(names_in(&home.state("")), ["store.db"]);
}

#[test]
fn without_a_home_variables_still_work() {
    let home = Home::new();
    home.variable("X");
    home.unset("HOME");
    home.sh(["-e", "A=env:X"], "test \"$A\" = \"$X\"").done().ok().quiet();
    home.strongroom(["set", "keys://g/k"]).input("v").done().fails(15, "state.none").says("HOME");
}

#[test]
fn twenty_runs_at_once_do_not_disturb_each_other() {
    let home = Home::new();
    home.variable("X");
    home.put("keys://g/k", home.canary("key"));
    let running: Vec<_> = (0..20)
        .map(|n| home.sh(["-e", "A=env:X", "-e", "B=keys://g/k"], "echo \"$A $B\"").env("N", n.to_string()).start())
        .collect();
    for mut running in running {
        let out = running.output.rest();
        let err = running.errors.as_mut().unwrap().rest();
        assert_eq!(running.wait(), 0, "{}", crate::support::lossy(&err));
        assert_eq!(crate::support::lossy(&out), "*** ***\n");
    }
}

#[test]
fn a_variable_that_is_no_text_is_told_apart_from_one_that_is_not_set() {
    use std::os::unix::ffi::OsStrExt;
    let home = Home::new();
    home.set("RAW", std::ffi::OsStr::from_bytes(b"a\xffb"));
    home.strongroom(["get", "env:RAW"]).done().fails(15, "env.not-utf8");
    home.strongroom(["get", "env:ABSENT"]).done().fails(6, "env.not-set");
}
