//! The soak, for some seconds: whatever it meets in that time, nothing may be wrong. Whether memory stays flat only
//! a longer one can tell (`cargo xtask soak`).

#![allow(clippy::expect_used, missing_docs, reason = "a test that panics has failed")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "what was done is worth reading")]

use std::path::Path;
use std::process::Command;

#[test]
fn some_seconds_of_faults_give_no_wrong_value_and_leave_nothing_behind() {
    const BENCH: &str = env!("CARGO_BIN_EXE_strongroom-bench");
    if !Path::new(BENCH).with_file_name("fake-azure").is_file() {
        eprintln!("skipped: the fake Azure is not built");
        return;
    }
    let output = Command::new(BENCH).args(["soak", "--minutes", "0.1"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("nothing wrong, nothing grew"), "{said}");
}
