//! Tools and the compile child.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are tests"
)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use strongroom_process::Exit;
use strongroom_process::tool::{Destination, Limits, Output, Tool, compile_child, limit_self, run_limited};

fn sh(script: &str) -> Tool<'static> {
    Tool {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("ONLY".into(), "this".into())],
        folder: "/".into(),
        input: None,
        output: Destination::Captured,
        limits: Limits { wall: Duration::from_secs(30), output_bytes: 64 * 1024 },
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.output).into_owned()
}

#[test]
fn it_gets_what_is_given_and_nothing_else() {
    let open_here = tempfile::NamedTempFile::new().unwrap();
    let script = "/usr/bin/env | grep -v ^_= | sort; pwd; cat; ls -l /proc/self/fd >&2; exit 3";
    let done = run_limited(&sh(script)).unwrap();
    // `sh` sets PWD itself.
    assert_eq!((done.exit, text(&done).as_str()), (Exit::Code(3), "ONLY=this\nPWD=/\n/\n"));
    let descriptors = String::from_utf8_lossy(&done.errors);
    assert!(descriptors.contains("0 -> /dev/null"), "{descriptors}");
    assert!(!descriptors.contains(open_here.path().to_str().unwrap()), "{descriptors}");
}

#[test]
fn a_large_input_and_a_large_output_pass_each_other() {
    let input = vec![b'x'; 8 << 20];
    let mut tool = sh("exec cat");
    tool.input = Some(&input);
    tool.limits.output_bytes = input.len();
    assert!(*run_limited(&tool).unwrap().output == input);
    tool.limits.output_bytes = input.len() - 1;
    assert_eq!(run_limited(&tool).unwrap_err().code(), "tool.output");
}

#[test]
fn a_tool_that_does_not_read_its_input_is_no_error() {
    let input = vec![b'x'; 1 << 20];
    let mut tool = sh("echo done");
    tool.input = Some(&input);
    assert_eq!(text(&run_limited(&tool).unwrap()), "done\n");
}

#[test]
fn at_the_deadline_the_whole_group_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut tool = sh("sleep 60 & echo $! > pid; wait");
    tool.folder = folder.path().into();
    tool.limits.wall = Duration::from_millis(300);
    let started = Instant::now();
    assert_eq!(run_limited(&tool).unwrap_err().code(), "tool.deadline");
    assert!(started.elapsed() < Duration::from_secs(20));
    gone(&std::fs::read_to_string(folder.path().join("pid")).unwrap());
}

#[test]
fn what_a_tool_leaves_running_ends_with_it_and_holds_nothing_up() {
    let started = Instant::now();
    let done = run_limited(&sh("sleep 60 & echo $!")).unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
    gone(&text(&done));
}

/// Waits until a process is gone or a zombie that somebody else has to reap.
fn gone(pid: &str) {
    let path = format!("/proc/{}/stat", pid.trim());
    let end = Instant::now() + Duration::from_secs(20);
    while std::fs::read_to_string(&path).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < end, "{pid} is still there");
        std::thread::yield_now();
    }
}

#[test]
fn endless_errors_are_capped() {
    let done = run_limited(&sh("head -c 1000000 /dev/zero >&2")).unwrap();
    assert_eq!((done.exit, done.errors.len()), (Exit::Code(0), 64 * 1024));
}

#[test]
fn a_missing_tool_or_folder_is_told_apart() {
    let mut tool = sh("true");
    tool.folder = "/no/such/folder".into();
    assert_eq!(run_limited(&tool).unwrap_err().code(), "process.start");
    tool.program = "/no/such/tool".into();
    tool.folder = "/".into();
    assert_eq!(run_limited(&tool).unwrap_err().code(), "process.not-found");
}

#[test]
fn the_compile_child_answers_or_says_why_not() {
    let run = |script: &str, input: &[u8]| {
        compile_child(
            PathBuf::from("/bin/sh"),
            vec!["-c".into(), OsString::from(script)],
            input,
            Duration::from_secs(30),
        )
    };
    assert_eq!(run("echo begin; cat", b"component").unwrap(), b"begin\ncomponent");
    let failure = run("echo 'bad \u{1b}[31m component' >&2; exit 1", b"x").unwrap_err();
    assert_eq!(failure.code(), "tool.failed");
    assert!(failure.to_string().contains("status 1: bad ") && !failure.to_string().contains('\u{1b}'), "{failure}");
    assert!(run("kill -KILL $$", b"x").unwrap_err().to_string().contains("signal 9"));
}

/// Runs one of the tests below in a process of its own, and gives how it ended.
fn inner(name: &str) -> Output {
    let mut tool = sh("");
    tool.program = std::env::current_exe().unwrap();
    tool.args = ["--exact", name, "--ignored", "--test-threads=1"].map(OsString::from).into();
    run_limited(&tool).unwrap()
}

#[test]
fn limits_on_itself_hold() {
    let done = inner("inner_cpu");
    assert!(matches!(done.exit, Exit::Signal(9 | 24)), "{done:?} {}", text(&done));
    let done = inner("inner_memory");
    assert_eq!(done.exit, Exit::Signal(6), "{}", text(&done));
    let done = inner("inner_files");
    assert_eq!(done.exit, Exit::Code(0), "{}", text(&done));
}

#[test]
#[ignore = "runs inside limits_on_itself_hold"]
fn inner_cpu() {
    limit_self(4 << 30, 1).unwrap();
    loop {
        std::hint::black_box(0);
    }
}

#[test]
#[ignore = "runs inside limits_on_itself_hold"]
fn inner_memory() {
    limit_self(1 << 30, 60).unwrap();
    std::hint::black_box(vec![1u8; 2 << 30]);
}

#[test]
#[ignore = "runs inside limits_on_itself_hold"]
fn inner_files() {
    limit_self(4 << 30, 60).unwrap();
    let opened: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).take(1000).collect();
    assert!(opened.len() < 64);
}
