//! Instructions on the hot paths, counted by callgrind, so that they do not creep up unnoticed.
//!
//! Counts do not depend on how busy a machine is; they differ by a few in a hundred between processors
//! and C libraries. A budget is what was counted when it was written, and a sixth. Whoever makes a path
//! dearer on purpose raises its budget in the same change; `docs/performance.md` has the figures.

#![allow(clippy::expect_used, clippy::panic, missing_docs, reason = "a test that panics has failed")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "what was counted is worth reading")]

use std::path::Path;
use std::process::{Command, Stdio};

const BENCH: &str = env!("CARGO_BIN_EXE_strongroom-bench");

#[test]
fn one_resolve() {
    within("`env:` in a fresh sandbox", 79_000, || {
        Some((hot(&["hot", "300", "1"])? - hot(&["hot", "100", "1"])?) / 200)
    });
}

#[test]
fn one_reference_more() {
    within("one more `env:` in a request", 21_500, || {
        // From 10 to 60 references, a hundred times.
        let requests = |width| Some(hot(&["hot", "200", width])? - hot(&["hot", "100", width])?);
        Some((requests("60")? - requests("10")?) / (100 * 50))
    });
}

#[test]
fn one_secret_from_a_server() {
    within("a secret from a local server", 398_000, || {
        Some((hot(&["hot-http", "300"])? - hot(&["hot-http", "100"])?) / 200)
    });
}

#[test]
fn one_secret_of_a_key_vault() {
    // The fake is a process of its own, and its instructions are not counted.
    if !Path::new(BENCH).with_file_name("fake-azure").is_file() {
        return skipped("the fake Azure is not built");
    }
    within("a secret of a key vault", 540_000, || {
        Some((hot(&["hot-vault", "300"])? - hot(&["hot-vault", "100"])?) / 200)
    });
}

#[test]
fn a_whole_run() {
    // Beside this package's program lies the one that users have: both are built before any test runs.
    let program = Path::new(BENCH).with_file_name("strongroom");
    if !program.is_file() {
        return skipped("the program is not built");
    }
    within("`run -e A=env:X -- true`", 3_400_000, || {
        count(Command::new("valgrind").arg(&program), &["run", "-e", "A=env:X", "--", "true"])
    });
}

/// Fails if `counted` is more than `budget`; without callgrind, says so and lets it pass.
fn within(what: &str, budget: u64, counted: impl FnOnce() -> Option<u64>) {
    let Some(counted) = counted() else { return skipped("there is no valgrind") };
    println!("{what}: {counted} instructions, of {budget}");
    assert!(counted <= budget, "{what} takes {counted} instructions, and may take {budget}");
}

fn skipped(why: &str) {
    eprintln!("skipped: no instructions are counted, since {why}");
}

fn hot(arguments: &[&str]) -> Option<u64> {
    count(Command::new("valgrind").arg(BENCH), arguments)
}

/// Instructions of one run, from start to end. `None` without valgrind.
fn count(command: &mut Command, arguments: &[&str]) -> Option<u64> {
    let (program, folder) =
        (command.get_args().next().expect("a program").to_owned(), tempfile::tempdir().expect("a folder"));
    let output = Command::new(command.get_program())
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder.path())
        .env("X", "a value of some bytes")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let counted = said.lines().find_map(|line| line.split_once("Collected :")).expect("callgrind counts").1;
    Some(counted.trim().replace(',', "").parse().expect("a number"))
}
