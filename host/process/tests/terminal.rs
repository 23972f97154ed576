//! `run` on a terminal: a user types, a shell controls jobs, and the child must notice nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are tests"
)]

mod common;

use std::os::unix::process::ExitStatusExt;

use common::{Desk, hide, is_there};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::LocalModes;

/// `hide` on the terminal itself, without a shell in between.
fn desk(script: &str) -> Desk {
    Desk::start(&[hide().to_str().unwrap(), "--", "sh", "-c", script])
}

#[test]
fn the_child_has_a_terminal_of_the_same_size_and_its_output_is_filtered() {
    let mut desk = desk("test -t 0 && test -t 1 && test -t 2 && echo all-terminals; stty size; echo hun''ter2; exit 3");
    desk.expect("all-terminals\r\n24 80\r\n[hidden]\r\n");
    assert_eq!(desk.end().code(), Some(3));
}

#[test]
fn it_controls_its_terminal_and_that_is_no_other() {
    let mut desk = desk("echo hunter2 >/dev/tty; tty");
    desk.expect("[hidden]\r\n");
    let its = desk.expect("\r\n").trim().to_owned();
    let ours = rustix::termios::ttyname(&desk.slave, Vec::new()).unwrap().into_string().unwrap();
    assert!(its.starts_with("/dev/pts/") && its != ours, "{its} {ours}");
    assert!(desk.end().success());
}

#[test]
fn a_new_size_reaches_the_child() {
    let mut desk = desk("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done");
    desk.expect("ready");
    desk.resize(100, 40);
    desk.expect("40 100");
    desk.press("\u{3}");
    assert_eq!(desk.end().code(), Some(130));
}

#[test]
fn what_is_typed_is_relayed_and_echoed_once() {
    let mut desk = desk("echo ready; read line; echo \"got <$line>\"; cat");
    desk.expect("ready\r\n");
    desk.press("some words\r");
    let seen = desk.expect("got <some words>");
    assert_eq!(seen.matches("some words").count(), 2, "{seen:?}");
    desk.press("more\r\u{4}");
    desk.expect("more\r\nmore\r\n");
    assert!(desk.end().success());
}

#[test]
fn the_keys_for_interrupt_and_quit_kill_the_child() {
    for (key, status) in [("\u{3}", 130), ("\u{1c}", 131)] {
        let mut desk = desk("ulimit -c 0; echo ready; exec sleep 60");
        desk.expect("ready");
        desk.press(key);
        assert_eq!(desk.end().code(), Some(status));
    }
}

#[test]
fn the_terminal_is_raw_meanwhile_and_restored_whatever_the_end() {
    for end in ["exit", "kill child", "TERM", "HUP", "kill monitor"] {
        let mut desk = desk("ulimit -c 0; echo $$ $PPID; read line");
        let before = desk.before.clone();
        assert!(before.local_modes.contains(LocalModes::ICANON));
        let pids = desk.expect("\r\n");
        let pids: Vec<_> = pids.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect();
        assert!(!desk.modes().local_modes.contains(LocalModes::ICANON), "it is not raw");
        let run = Pid::from_child(&desk.program);
        let status = match end {
            "exit" => {
                desk.press("\r");
                0
            }
            "kill child" => kill_process(pids[0], Signal::KILL).map(|()| 137).unwrap(),
            "TERM" => kill_process(run, Signal::TERM).map(|()| 143).unwrap(),
            "HUP" => kill_process(run, Signal::HUP).map(|()| 129).unwrap(),
            _ => kill_process(pids[1], Signal::KILL).map(|()| 113).unwrap(),
        };
        assert_eq!(desk.end().code(), Some(status), "{end}: {}", desk.transcript());
        let after = desk.modes();
        assert_eq!(
            (before.local_modes, before.input_modes, before.output_modes),
            (after.local_modes, after.input_modes, after.output_modes),
            "{end}"
        );
        for pid in pids {
            assert!(end == "kill monitor" || !is_there(&pid.as_raw_nonzero().to_string()), "{end}: {pid:?} is left");
        }
    }
}

#[test]
fn a_program_that_is_not_there_leaves_the_terminal_as_it_was() {
    let mut desk = Desk::start(&[hide().to_str().unwrap(), "--", "no-such-program-anywhere"]);
    desk.expect("command not found\r\n");
    assert_eq!(desk.end().code(), Some(127));
    assert!(desk.modes().local_modes.contains(LocalModes::ICANON));
}

#[test]
fn a_script_that_the_kernel_refuses_runs_in_sh_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    std::fs::write(&path, "echo script runs\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut desk = Desk::start(&[hide().to_str().unwrap(), "--", path.to_str().unwrap()]);
    desk.expect("script runs\r\n");
    assert!(desk.end().success());
}

#[test]
fn what_was_written_last_is_not_lost() {
    let mut desk = desk("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; kill -KILL $$");
    desk.expect("line 0\r\n");
    assert_eq!(desk.end().code(), Some(137));
    assert!(desk.transcript().ends_with("line 1998\r\nline 1999\r\n"), "{}", desk.transcript());
}

#[test]
fn a_background_process_on_the_terminal_does_not_hold_up_the_end_and_lives_on() {
    let mut desk = desk("sleep 60 & echo pid $!; echo done");
    desk.expect("pid ");
    let pid = desk.expect("\r\n");
    assert!(desk.end().success());
    let lives = is_there(&pid);
    if let Some(pid) = Pid::from_raw(pid.trim().parse().unwrap()) {
        let _ = kill_process(pid, Signal::KILL);
    }
    assert!(lives, "the end of the session took a background process with it");
}

#[test]
fn a_secret_file_works_on_a_terminal() {
    let mut desk =
        Desk::start(&[hide().to_str().unwrap(), "--file=CERT=hush", "--", "sh", "-c", "cat $CERT; echo :$CERT:"]);
    desk.expect("hush:");
    let path = desk.expect(":").trim_end_matches(':').to_owned();
    assert!(desk.end().success());
    assert!(!std::path::Path::new(&path).exists(), "{path}");
}

#[test]
fn the_stop_key_stops_the_job_and_fg_and_bg_continue_it() {
    let mut desk = Desk::shell();
    desk.press("$HIDE -- sh -c 'trap \"echo us\"\"r1\" USR1; echo rea\"\"dy; read x; echo fir\"\"st $x; read x; echo sec\"\"ond $x; exit 5'\r");
    desk.expect("ready\r\n");
    assert!(!desk.modes().local_modes.contains(LocalModes::ICANON));
    desk.press("\u{1a}");
    desk.expect("Stopped");
    desk.expect("READY> ");
    desk.press("jobs; echo sta\"\"te $(ps -o stat= --ppid $(jobs -p) | cut -c1)\r");
    desk.expect("Stopped");
    desk.expect("READY> ");
    desk.press("fg\r");
    desk.expect("HIDE");
    desk.press("one\r");
    desk.expect("first one\r\n");
    // Again, then in the background: it wants to read, so it stops until it is in the foreground.
    desk.press("\u{1a}");
    desk.expect("Stopped");
    desk.expect("READY> ");
    desk.press("bg; wait -n; echo wai\"\"ted; fg\r");
    desk.expect("waited");
    desk.expect("HIDE");
    desk.press("two\r");
    desk.expect("second two\r\n");
    desk.expect("READY> ");
    desk.press("echo sta\"\"tus $?\r");
    desk.expect("status 5\r\n");
    desk.press("exit\r");
    assert!(desk.end().success());
}

#[test]
fn started_in_the_background_it_leaves_the_terminal_to_the_shell() {
    let mut desk = Desk::shell();
    desk.press("$HIDE -- sh -c 'echo hunt\"\"er2; exit 4' & wait $!; echo sta\"\"tus $?\r");
    desk.expect("[hidden]");
    desk.expect("status 4\r\n");
    desk.expect("READY> ");
    desk.press("$HIDE -- sh -c 'read x; echo go\"\"t $x' & wait -n; fg\r");
    desk.expect("HIDE");
    desk.expect("HIDE");
    desk.press("words\r");
    desk.expect("got words\r\n");
    desk.expect("READY> ");
    desk.press("exit\r");
    desk.end();
}

#[test]
fn standard_input_that_is_no_terminal_is_the_childs_own() {
    let mut desk = Desk::shell();
    desk.press("echo pip\"\"ed | $HIDE -- sh -c 'test -t 1 && cat; read x </dev/tty; echo ty\"\"ped $x'\r");
    desk.expect("piped\r");
    // The child asks its own terminal, which stops it, and only then is ours taken.
    desk.press("words\r");
    desk.expect("typed words\r\n");
    desk.expect("READY> ");
}

#[test]
fn only_the_stream_that_is_a_terminal_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("errors");
    let mut desk = Desk::shell();
    let script = "test -t 1 && echo out-is-on\"\"e; test -t 2 || echo err-is-non\"\"e; echo hunter2 >&2; exit 6";
    desk.press(&format!("$HIDE -- sh -c '{script}' 2>{}; echo sta\"\"tus $?\r", file.display()));
    desk.expect("out-is-one\r\nerr-is-none\r\nstatus 6\r\n");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "[hidden]\n");
}

#[test]
fn two_in_a_pipeline_do_not_fight_for_the_terminal() {
    let mut desk = Desk::shell();
    desk.press(
        "$HIDE -- sh -c 'echo one hunter2; echo err hunter2 >&2' | $HIDE -- sh -c 'read x; echo \"tw\"\"o $x\"'\r",
    );
    desk.expect("two one [hidden]");
    desk.expect("READY> ");
    assert!(desk.modes().local_modes.contains(LocalModes::ICANON));
}

#[test]
fn a_key_reaches_a_child_behind_pipes_once() {
    let mut desk = Desk::shell();
    let script = "trap \"n=\\$((n+1)); echo in\"\"t \\$n\" INT; n=0; echo rea\"\"dy; while :; do sleep 0.05; done";
    desk.press(&format!("$HIDE -- sh -c '{script}' 2>&1 | (trap '' INT; cat)\r"));
    desk.expect("ready\r\n");
    desk.press("\u{3}");
    desk.expect("int 1\r\n");
    desk.press("\u{3}");
    desk.expect("int 2\r\n");
    desk.press("\u{1c}");
    desk.expect("READY> ");
    assert!(!desk.transcript().contains("int 3"));
}

#[test]
fn behind_pipes_the_job_stops_and_continues_with_the_child() {
    let mut desk = Desk::shell();
    desk.press("$HIDE -- sh -c 'echo rea\"\"dy; read x; echo \"go\"\"t $x\"' 2>&1 | cat\r");
    desk.expect("ready\r\n");
    desk.press("\u{1a}");
    desk.expect("Stopped");
    desk.expect("READY> ");
    desk.press("fg\r");
    desk.expect("HIDE");
    desk.press("words\r");
    desk.expect("got words\r\n");
    desk.expect("READY> ");
}

#[test]
fn where_no_shell_could_continue_it_a_stop_does_not_hang() {
    // It leads its session, so nobody would ever continue it: the child is continued at once.
    let mut desk = desk("echo ready; read x; echo got $x");
    desk.expect("ready\r\n");
    desk.press("\u{1a}");
    desk.expect("^Z");
    desk.press("words\r");
    desk.expect("got words\r\n");
    assert!(desk.end().success());
}

#[test]
fn when_the_terminal_goes_away_so_does_the_child() {
    let mut desk = desk("echo $$; sleep 60");
    let pid = desk.expect("\r\n");
    let desk_master = std::mem::replace(&mut desk.master, std::fs::File::open("/dev/null").unwrap());
    drop(desk_master);
    let status = common::wait(&mut desk.program).expect("it outlived its terminal");
    assert!(status.code() == Some(129) || status.signal() == Some(1), "{status:?}");
    assert!(!is_there(&pid));
}
