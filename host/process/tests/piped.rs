//! `run` where no terminal is involved, and `exec`: what a pipeline or a service sees.
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
use std::process::{Command, Stdio};
use std::time::Instant;

use common::{finish, hide, hide_with, is_there, read_until, wait};
use rustix::process::{Pid, Signal, kill_process};

fn sh(script: &str) -> (i32, String, String) {
    let (status, out, err) = finish(&mut hide_with(&["--", "sh", "-c", script]));
    (status.code().unwrap(), out, err)
}

#[test]
fn the_exit_status_is_the_childs() {
    for code in [0, 1, 3, 125, 255] {
        assert_eq!(sh(&format!("exit {code}")).0, code);
    }
}

#[test]
fn a_signal_becomes_128_and_its_number() {
    for (name, status) in [("TERM", 143), ("KILL", 137), ("HUP", 129), ("SEGV", 139)] {
        assert_eq!(sh(&format!("ulimit -c 0; kill -{name} $$")).0, status, "{name}");
    }
}

#[test]
fn both_streams_are_filtered_and_stay_apart() {
    let (_, out, err) = sh("echo a hunter2 b; echo c hunter2 d >&2");
    assert_eq!((out.as_str(), err.as_str()), ("a [hidden] b\n", "c [hidden] d\n"));
}

#[test]
fn the_order_of_output_and_errors_stays_where_they_are_one_file() {
    let script = "i=0; while [ $i -lt 300 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" -- sh -c \"$1\" 2>&1"]).arg(hide()).arg(script).stdout(Stdio::piped());
    let (_, out, _) = finish(&mut command);
    let expected: String = (0..300).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(out, expected);
}

#[test]
fn ten_megabytes_go_through_whole_and_filtered() {
    let line = "0123456789 hunter2 abcdefghijklmnopqrstuvwxyz";
    let count = 10_000_000 / (line.len() + 1);
    let (code, out, _) = sh(&format!("yes '{line}' | head -n {count}"));
    assert_eq!(code, 0);
    let expected = line.replace("hunter2", "[hidden]") + "\n";
    assert_eq!(out.len(), expected.len() * count);
    assert!(out == expected.repeat(count), "lines were changed or cut");
}

#[test]
fn what_another_process_sends_is_passed_on_once() {
    let script =
        "trap 'n=$((n+1)); echo usr1 $n' USR1; trap 'echo term; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = hide_with(&["--", "sh", "-c", script]).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let pid = Pid::from_child(&child);
    read_until(&mut out, "ready\n");
    kill_process(pid, Signal::USR1).unwrap();
    read_until(&mut out, "usr1 1\n");
    kill_process(pid, Signal::USR1).unwrap();
    read_until(&mut out, "usr1 2\n");
    kill_process(pid, Signal::TERM).unwrap();
    let rest = read_until(&mut out, "term\n");
    assert!(!rest.contains("usr1"), "{rest:?}");
    assert_eq!(wait(&mut child).unwrap().code(), Some(9));
}

#[test]
fn an_ignored_signal_stays_ignored_in_the_child() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" -- sh -c 'kill -HUP $$; echo alive'"]).arg(hide());
    let (status, out, _) = finish(command.stdout(Stdio::piped()));
    assert_eq!((status.code(), out.as_str()), (Some(0), "alive\n"));
}

#[test]
fn a_grandchild_that_holds_the_pipe_does_not_hold_up_the_end() {
    let started = Instant::now();
    // It writes for ever, too: what it writes later is nobody's business.
    let (code, out, _) = sh("(trap '' PIPE; while sleep 0.01; do echo late; done) & echo $!; echo done");
    let took = started.elapsed();
    eprintln!("ended after {took:?}");
    assert_eq!(code, 0);
    assert!(out.ends_with("done\n") || out.contains("done\nlate"), "{out:?}");
    let grandchild = Pid::from_raw(out.lines().next().unwrap().parse().unwrap()).unwrap();
    let _ = kill_process(grandchild, Signal::KILL);
    assert!(took.as_secs() < 2);
}

#[test]
fn what_was_written_before_the_end_is_not_lost() {
    // More than a pipe holds would block the child; exactly what fits is there when it has ended.
    let (_, out, _) = sh("head -c 65536 /dev/zero | tr '\\0' x; kill -KILL $$");
    assert_eq!(out.len(), 65536);
}

#[test]
fn a_reader_that_goes_away_ends_the_child_quietly() {
    let mut child = hide_with(&["--", "yes"]).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "y\n");
    drop(child.stdout.take());
    let status = wait(&mut child).expect("it went on without a reader");
    assert_eq!(status.code(), Some(128 + 13));
    let mut err = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut err).unwrap();
    assert_eq!(err, "");
}

#[test]
fn a_full_disk_is_told() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (status, _, err) = finish(hide_with(&["--", "echo", "text"]).stdout(full));
    assert_eq!(status.code(), Some(113));
    assert!(err.starts_with("process.output: "), "{err:?}");
}

#[test]
fn a_program_that_is_not_there_or_cannot_be_run_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = file("plain", "text", 0o644);
    let orphan = file("orphan", "#!/no/such/interpreter\n", 0o755);
    let broken = file("broken", "\u{7f}ELF\0\0\0\0", 0o755);
    let in_path = file("in-path-only", "text", 0o644);
    for (program, status, words) in [
        ("no-such-program-anywhere", 127, "command not found"),
        ("/no/such/program", 127, "command not found"),
        (plain.as_str(), 126, "permission denied"),
        (folder.path().to_str().unwrap(), 126, "folder"),
        (orphan.as_str(), 126, "interpreter"),
        (broken.as_str(), 126, "no program for this machine"),
        ("in-path-only", 126, "permission denied"),
        ("", 127, "command not found"),
    ] {
        for mode in [&["--", program][..], &["--exec", "--", program]] {
            if mode.len() == 3 && program == broken {
                // `execvp` itself gives it to the shell, whose words they are then.
                continue;
            }
            let (ended, out, err) = finish(hide_with(mode).env("PATH", folder.path()));
            assert_eq!(ended.code(), Some(status), "{program}: {err}");
            assert!(err.contains(words) && err.contains(program) && out.is_empty(), "{program}: {err}");
        }
    }
    drop(in_path);
}

#[test]
fn a_script_without_an_interpreter_line_runs_in_sh() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    std::fs::write(&path, "echo \"script $1 hunter2\"\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (status, out, _) = finish(&mut hide_with(&["--", path.to_str().unwrap(), "arg"]));
    assert_eq!((status.code(), out.as_str()), (Some(0), "script arg [hidden]\n"));
}

#[test]
fn the_program_is_found_in_the_childs_own_path() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/bin/echo", folder.path().join("only-here")).unwrap();
    let (status, out, _) = finish(hide_with(&["--", "only-here", "hello"]).env("PATH", folder.path()));
    assert_eq!((status.code(), out.as_str()), (Some(0), "hello\n"));
}

#[test]
fn exec_replaces_the_process() {
    let mut child = hide_with(&["--exec", "--", "sh", "-c", "echo $$ hunter2"]).spawn().unwrap();
    let out = read_until(child.stdout.as_mut().unwrap(), "\n");
    assert_eq!(out, format!("{} hunter2\n", child.id()));
    assert!(wait(&mut child).unwrap().success());
}

#[test]
fn without_filters_the_child_has_our_own_streams() {
    let (status, out, _) = finish(&mut hide_with(&["--bare", "--", "sh", "-c", "echo hunter2; kill -TERM $$"]));
    assert_eq!((status.code(), out.as_str()), (Some(143), "hunter2\n"));
}

#[test]
fn this_process_is_undumpable_and_the_child_is_not() {
    let program = hide();
    let (_, out, _) =
        finish(&mut hide_with(&["--dumpable", "--", program.to_str().unwrap(), "--dumpable", "--", "true"]));
    // Each prints what it was started with, then what it is after `harden`.
    assert_eq!(out, "Dumpable NotDumpable\nDumpable NotDumpable\n");
}

#[test]
fn a_secret_file_is_for_the_owner_in_memory_and_gone_afterwards() {
    for mode in ["--filtered", "--bare"] {
        let script =
            "stat -c '%a %s' $CERT; stat -c %a $(dirname $CERT); stat -f -c %T $CERT; cat $CERT; echo; echo $CERT";
        let args = [mode, "--hide=unused", "--file=CERT=two words", "--file=KEY=k", "--", "sh", "-c", script];
        let (_, out, err) = finish(&mut hide_with(&args));
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[..4], ["600 9", "700", "tmpfs", "two words"], "{err}");
        let path = std::path::Path::new(lines[4]);
        assert!(path.is_absolute() && !path.exists() && !path.parent().unwrap().exists(), "{path:?} is still there");
    }
}

#[test]
fn files_of_a_killed_run_are_removed_by_the_next_one_and_those_of_a_live_one_are_not() {
    let start = || {
        let mut run = hide_with(&["--file=CERT=x", "--", "sh", "-c", "echo $CERT; exec sleep 60"]).spawn().unwrap();
        let path = read_until(run.stdout.as_mut().unwrap(), "\n").trim().to_owned();
        (run, path)
    };
    let (mut killed, killed_path) = start();
    let (mut alive, alive_path) = start();
    kill_process(Pid::from_child(&killed), Signal::KILL).unwrap();
    assert_eq!(wait(&mut killed).unwrap().signal(), Some(9));
    finish(&mut hide_with(&["--file=OTHER=y", "--", "true"]));
    let found = [&killed_path, &alive_path].map(|path| std::path::Path::new(path).exists());
    kill_process(Pid::from_child(&alive), Signal::TERM).unwrap();
    assert_eq!(wait(&mut alive).unwrap().code(), Some(143));
    assert_eq!(found, [false, true]);
}

#[test]
fn a_file_needs_a_name_that_stays_in_its_folder() {
    for name in ["../x", "a/b", ".", ""] {
        let (status, _, err) = finish(&mut hide_with(&[&format!("--file={name}=x"), "--", "true"]));
        assert!(err.starts_with("process.files: ") && status.code() == Some(102), "{name}: {err}");
    }
}

#[test]
fn as_process_one_it_reaps_orphans_and_passes_signals_on() {
    // `true` becomes an orphan at once, and process 1 has no default actions to rely on.
    let script = "[ $PPID = 1 ] && echo is-one; (true & exec true); \
        while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo no-zombies; \
        trap 'echo term; exit 7' TERM; (kill -TERM 1); while :; do sleep 0.05; done";
    let namespace = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !Command::new("unshare").args(namespace).arg("true").stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: this user may not make a pid namespace");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(namespace).arg(hide()).args(["--", "sh", "-c", script]).stdout(Stdio::piped());
    let (status, out, _) = finish(&mut command);
    assert_eq!((status.code(), out.as_str()), (Some(7), "is-one\nno-zombies\nterm\n"));
}

#[test]
fn nothing_is_left_running() {
    let mut child = hide_with(&["--", "sh", "-c", "echo $$; cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let pid = read_until(child.stdout.as_mut().unwrap(), "\n");
    assert!(is_there(&pid));
    drop(child.stdin.take());
    assert!(wait(&mut child).unwrap().success());
    assert!(!is_there(&pid));
}
