//! `run --watch`: when the program is started again or told, when it is not, and what it has then.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::serving::{self, Server};
use crate::support::*;

/// A program that says when it is told to end, and ends once it may.
const ENDS_WHEN_LET: &str = r#"
    trap 'echo ending; while ! test -e go; do sleep 0.02; done; exit 5' TERM
    echo "has ${#A}"
    while :; do sleep 0.05; done
"#;

/// Says what it was given, remembers it, and ends when it is told to.
const PROGRAM: &str = r#"
    trap 'echo ending; exit 0' TERM
    printf '%s\n' "$A" >>seen
    echo "has ${#A}"
    cat seen
    echo "start $(wc -l <seen) done"
    while :; do sleep 0.05; done
"#;

/// Custom keys that a busy machine does not keep from answering.
const MOUNT: &str = "[mounts.keys]\nplugin = \"keys\"\nwrite = true\nlimits = { cpu = \"30s\", deadline = \"60s\" }\n";

/// A home with this value of `keys://g/k`, whose log tells how often it was asked for.
fn home_with(value: &str) -> Home {
    let home = Home::new();
    home.configure(&format!("[audit]\nfile = \"audit.jsonl\"\n{MOUNT}"));
    home.sink(home.work("seen"));
    home.put("keys://g/k", value);
    home
}

fn watched<'h>(home: &'h Home, options: &[&str], script: &str) -> Call<'h> {
    let watch = ["run", "--watch", "--watch-every", "100ms"];
    home.strongroom(watch.iter().chain(options).chain(&["--", "sh", "-c", script]))
}

fn lines_in_log(home: &Home) -> usize {
    let log = home.user_config().with_file_name("audit.jsonl");
    std::fs::read(log).map_or(0, |log| log.iter().filter(|byte| **byte == b'\n').count())
}

/// Waits until it was asked for so often from now on. No event tells it, so this looks again and again.
fn looks(home: &Home, count: usize) {
    let (from, start) = (lines_in_log(home), Instant::now());
    while lines_in_log(home) < from + count {
        assert!(start.elapsed() < PATIENCE, "nobody looks");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end(mut running: Running) -> (i32, String, String) {
    kill_process(running.id(), Signal::TERM).unwrap();
    let (out, err) = (running.output.rest(), running.errors.as_mut().unwrap().rest());
    (running.wait(), lossy(&out), lossy(&err))
}

#[test]
fn a_program_starts_again_with_the_new_value_and_shows_neither() {
    let home = home_with("old-value");
    let mut running = watched(&home, &["-e", "A=keys://g/k"], PROGRAM).start();
    running.output.wait_for("start 1 done");
    home.put("keys://g/k", "newer-value");
    running.output.wait_for("start 2 done");
    let (status, out, err) = end(running);
    assert_eq!(status, 0);
    // The old one ended before the new one was there.
    assert_eq!(out, "has 9\n***\nstart 1 done\nending\nhas 11\n***\n***\nstart 2 done\nending\n");
    assert_eq!(err, "changed: A: the program is started again\n");
    assert_eq!(std::fs::read_to_string(home.work("seen")).unwrap(), "old-value\nnewer-value\n");
}

#[test]
fn as_long_as_nothing_it_uses_changes_nothing_happens() {
    let home = home_with("the-value");
    home.put("keys://g/other", "another-value");
    let mut running = watched(&home, &["-e", "A=keys://g/k"], PROGRAM).start();
    running.output.wait_for("start 1 done");
    looks(&home, 3);
    home.put("keys://g/other", "and-another-value");
    // The same again is a new version, and no new value.
    home.put("keys://g/k", "the-value");
    looks(&home, 3);
    home.put("keys://g/k", "a-new-value");
    running.output.wait_for("start 2 done");
    looks(&home, 3);
    let (status, out, err) = end(running);
    assert_eq!((status, out.matches("has ").count(), err.matches("changed").count()), (0, 2, 1), "{out}{err}");
}

#[test]
fn a_program_that_is_told_finds_its_files_replaced() {
    let home = home_with("old-value");
    home.put("keys://g/plain", "plain-value");
    let script = r#"
        trap 'wc -c <"$F"; cat "$F"; echo; cat first; echo; echo "$A"; stat -c %a "$F"; ls -A "$(dirname "$F")"; echo told' USR1
        cp "$F" first
        exec 3<"$F"
        trap 'cat <&3; exit 6' TERM
        echo ready
        while :; do sleep 0.05; done
    "#;
    home.sink(home.work("first"));
    let options = ["--signal", "sigusr1", "--as-file", "F=keys://g/k", "-e", "A=keys://g/plain"];
    let mut running = watched(&home, &options, script).start();
    running.output.wait_for("ready");
    home.put("keys://g/k", "newer-value");
    running.output.wait_for("told");
    // A variable cannot be given to what runs: that is said, and the program is not told for nothing.
    home.put("keys://g/plain", "changed-value");
    running.errors.as_mut().unwrap().wait_for("[watch.variable]");
    looks(&home, 4);
    let (status, out, err) = end(running);
    // Whoever has the old file open has the old value, whole.
    assert_eq!(out, "ready\n11\n***\n***\n***\n600\nF\ntold\n***");
    assert_eq!(status, 6);
    assert!(err.contains("changed: F: the program is told") && err.contains("changed: A: "), "{err}");
    assert_eq!(err.matches("[watch.variable]").count(), 1, "{err}");
}

#[test]
fn a_file_changes_for_a_program_that_starts_again_too() {
    let home = home_with("old-value");
    let script = r#"wc -c <"$A"; cat "$A"; echo " at $A" | sed s/[0-9].*//; test $(wc -c <"$A") = 9 || exit 3; while :; do sleep 0.05; done"#;
    let mut running = watched(&home, &["--as-file", "A=keys://g/k"], script).start();
    running.output.wait_for("at ");
    home.put("keys://g/k", "newer-value");
    assert_eq!(running.output.rest().split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"***")).count(), 2);
    assert_eq!(running.wait(), 3);
}

#[test]
fn when_a_value_cannot_be_had_the_program_goes_on_and_it_is_said_once() {
    let home = home_with("old-value");
    let mut running = watched(&home, &["-e", "A=keys://g/k"], PROGRAM).start();
    running.output.wait_for("start 1 done");
    for round in 1..=2 {
        home.strongroom(["delete", "--yes", "keys://g/k"]).done().ok();
        looks(&home, 4);
        home.put("keys://g/k", format!("newer-value-{round}"));
        running.output.wait_for(&format!("start {} done", round + 1));
    }
    let (status, _, err) = end(running);
    assert_eq!((status, err.matches("[watch.failed]").count()), (0, 2), "{err}");
    assert!(err.contains("keys://g/k") && !err.contains("-value"), "{err}");
}

#[test]
fn a_value_that_cannot_be_a_variable_is_not_given_to_it() {
    let home = home_with("old-value");
    let mut running = watched(&home, &["-e", "A=keys://g/k"], PROGRAM).start();
    running.output.wait_for("start 1 done");
    home.put("keys://g/k", "new\0value");
    running.errors.as_mut().unwrap().wait_for("[environment.nul]");
    home.put("keys://g/k", "newer-value");
    running.output.wait_for("start 2 done");
    assert_eq!(end(running).0, 0);
}

#[test]
fn a_program_that_does_not_end_is_killed_after_its_time() {
    for mask in [&[][..], &["--no-mask"]] {
        let home = home_with("old-value");
        let script = r#"trap '' TERM; echo "has ${#A}"; test ${#A} = 11 && exit 4; while :; do sleep 0.05; done"#;
        let options = [mask, &["--grace", "150ms", "-e", "A=keys://g/k"]].concat();
        let mut running = watched(&home, &options, script).start();
        running.output.wait_for("has 9\n");
        home.put("keys://g/k", "newer-value");
        assert_eq!(lossy(&running.output.rest()), "has 9\nhas 11\n");
        assert_eq!(running.wait(), 4);
    }
}

#[test]
fn a_program_that_ends_by_itself_ends_the_run() {
    let home = home_with("old-value");
    for status in [0, 9] {
        watched(&home, &["-e", "A=keys://g/k"], &format!("exit {status}")).done().status(status).quiet();
    }
    watched(&home, &["-e", "A=keys://g/k"], "kill -KILL $$").done().status(137);
    home.strongroom(["run", "--watch", "-e", "A=keys://g/k", "--", "./none"]).done().fails(127, "process.not-found");
}

#[test]
fn signals_that_the_program_lives_on_with_do_not_end_the_watch() {
    let home = home_with("old-value");
    let script = format!("trap 'echo reloaded' HUP; trap 'echo interrupted' INT; {PROGRAM}");
    let mut running = watched(&home, &["-e", "A=keys://g/k"], &script).start();
    running.output.wait_for("start 1 done");
    for (signal, said) in [(Signal::HUP, "reloaded"), (Signal::INT, "interrupted")] {
        kill_process(running.id(), signal).unwrap();
        running.output.wait_for(said);
    }
    home.put("keys://g/k", "newer-value");
    running.output.wait_for("start 2 done");
    assert_eq!(end(running).0, 0);
}

#[test]
fn a_program_that_was_told_to_end_is_not_started_again() {
    let home = home_with("old-value");
    let mut running = watched(&home, &["-e", "A=keys://g/k"], ENDS_WHEN_LET).start();
    running.output.wait_for("has 9");
    kill_process(running.id(), Signal::TERM).unwrap();
    running.output.wait_for("ending");
    home.put("keys://g/k", "newer-value");
    running.errors.as_mut().unwrap().wait_for("changed: A");
    looks(&home, 2);
    home.write("go", "");
    let out = lossy(&running.output.rest());
    assert_eq!((running.wait(), out.matches("has").count()), (5, 1), "{out}");
}

#[test]
fn who_asks_to_end_while_it_starts_again_is_heard() {
    let home = home_with("old-value");
    let mut running = watched(&home, &["-e", "A=keys://g/k"], ENDS_WHEN_LET).start();
    running.output.wait_for("has 9");
    home.put("keys://g/k", "newer-value");
    running.output.wait_for("ending");
    kill_process(running.id(), Signal::TERM).unwrap();
    home.write("go", "");
    let out = lossy(&running.output.rest());
    assert_eq!((running.wait(), out.matches("has").count()), (5, 1), "{out}");
}

#[test]
fn it_watches_through_the_users_server_and_without_it() {
    let home = serving::home();
    home.configure(MOUNT);
    home.sink(home.work("seen"));
    let server = Server::start(&home);
    home.put("keys://g/k", "old-value");
    let mut running = watched(&home, &["-e", "A=keys://g/k"], PROGRAM).start();
    running.output.wait_for("start 1 done");
    home.put("keys://g/k", "newer-value");
    running.output.wait_for("start 2 done");
    drop(server);
    home.put("keys://g/k", "newest-value");
    running.output.wait_for("start 3 done");
    let (status, _, err) = end(running);
    assert_eq!((status, err.matches('\n').count()), (0, 2), "{err}");
}

#[test]
fn what_could_not_work_is_refused_before_the_start() {
    let home = Home::new();
    home.variable("X");
    for (options, says) in [
        (&["--watch"][..], "nothing to watch"),
        (&["--watch", "--signal", "HUP", "-e", "A=env:X"], "--as-file"),
        (&["--watch", "--signal", "KILL", "--as-file", "A=env:X"], "HUP, INT"),
        (&["--signal", "HUP", "--as-file", "A=env:X"], "--watch"),
        (&["--watch-every", "1m", "-e", "A=env:X"], "--watch"),
        (&["--watch", "--watch-every", "1ms", "-e", "A=env:X"], "100ms"),
        (&["--watch", "--watch-every", "60", "-e", "A=env:X"], "30s"),
        (&["--watch", "--signal", "HUP", "--grace", "1s", "--as-file", "A=env:X"], "--grace"),
    ] {
        let arguments = ["run"].iter().chain(options).chain(&["--", "touch", "started"]);
        home.strongroom(arguments).done().status(64).says(says);
    }
    assert!(!home.work("started").exists());
}
