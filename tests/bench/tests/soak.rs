//! The soaks, for some seconds: whatever it meets in that time, nothing may be wrong. Whether memory stays flat only
//! a longer one can tell (`cargo xtask soak`).

#![allow(clippy::expect_used, missing_docs, reason = "a test that panics has failed")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "what was done is worth reading")]

use std::path::Path;
use std::process::Command;

const BENCH: &str = env!("CARGO_BIN_EXE_strongroom-bench");

/// Runs it for some seconds, if what it needs is built.
fn soak(what: &str, needs: &[&Path]) {
    if let Some(missing) = needs.iter().find(|needed| !needed.is_file()) {
        eprintln!("skipped: {} is not built", missing.display());
        return;
    }
    let output = Command::new(BENCH).args([what, "--minutes", "0.1"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("nothing wrong, nothing grew"), "{said}");
}

#[test]
fn some_seconds_of_faults_give_no_wrong_value_and_leave_nothing_behind() {
    soak("soak", &[&Path::new(BENCH).with_file_name("fake-azure")]);
}

#[test]
fn some_seconds_of_reloads_and_clients_that_vanish_lose_no_answer_of_a_server() {
    let guest = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/tests/guest.wasm"));
    let beside = ["fake-azure", "strongroom"].map(|name| Path::new(BENCH).with_file_name(name));
    soak("soak-server", &[&beside[0], &beside[1], guest]);
}
