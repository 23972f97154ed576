//! `inject`: references in any text.

use std::os::unix::fs::symlink;

use crate::support::{Home, mode};

#[test]
fn references_are_replaced_and_all_else_is_kept() {
    let home = Home::new();
    let (x, y) = (home.variable("X"), home.canary("key"));
    home.put("keys://g/k", &y);
    let text = "user = app\npass = ${{env:X}}:${{ keys://g/k }}\n\tü $HOME ${X} $${{env:X}} 100%\r\nno end";
    let expected = format!("user = app\npass = {x}:{y}\n\tü $HOME ${{X}} ${{{{env:X}}}} 100%\r\nno end");
    home.strongroom(["inject"]).input(text).shows().done().ok().prints(&expected).quiet();
    home.write("in.conf", text);
    home.strongroom(["inject", "-i", "in.conf"]).shows().done().ok().prints(&expected);
    home.strongroom(["inject", "-i", "-", "-o", "-"]).input(text).shows().done().ok().prints(&expected);
    home.sink(home.work("out.conf"));
    home.strongroom(["inject", "-i", "in.conf", "-o", "out.conf"]).done().ok().prints("");
    assert_eq!(std::fs::read_to_string(home.work("out.conf")).unwrap(), expected);
    assert_eq!(mode(&home.work("out.conf")), 0o600);
    home.strongroom(["inject"]).input("").done().ok().prints("");
}

#[test]
fn a_file_that_is_there_is_kept() {
    let home = Home::new();
    let x = home.variable("X");
    home.write("out", "mine");
    home.sink(home.work("out"));
    home.strongroom(["inject", "-o", "out"]).input("${{env:X}}").done().fails(14, "output.exists");
    assert_eq!(std::fs::read_to_string(home.work("out")).unwrap(), "mine");
    home.strongroom(["inject", "-o", "out", "--force"]).input("${{env:X}}").done().ok();
    assert_eq!(std::fs::read_to_string(home.work("out")).unwrap(), x);
    assert_eq!(mode(&home.work("out")), 0o600);
    home.write("theirs", "theirs");
    symlink("theirs", home.work("link")).unwrap();
    home.strongroom(["inject", "-o", "link", "--force"]).input("${{env:X}}").done().fails(14, "output.symlink");
    assert_eq!(std::fs::read_to_string(home.work("theirs")).unwrap(), "theirs");
    // The text itself may be replaced by what it becomes.
    home.write("same", "x=${{env:X}}");
    home.sink(home.work("same"));
    home.strongroom(["inject", "-i", "same", "-o", "same", "--force"]).done().ok();
    assert_eq!(std::fs::read_to_string(home.work("same")).unwrap(), format!("x={x}"));
}

#[test]
fn binary_is_refused() {
    let home = Home::new();
    for bytes in [&b"a\nb\0c ${{env:X}}"[..], b"a\nb\xff ${{env:X}}"] {
        home.strongroom(["inject", "-o", "out"]).input(bytes).done().fails(2, "document.binary").says("2:2");
    }
    assert!(!home.work("out").exists());
}

#[test]
fn one_failure_leaves_nothing_half_written() {
    let home = Home::new();
    home.variable("X");
    let text = "a ${{env:X}}\n  b ${{env:ONE}}\nc ${{keys://g/k}} ${{env:X}}\n";
    home.write("in.txt", text);
    let done = home.strongroom(["inject", "-i", "in.txt", "-o", "out"]).done();
    let done = done.fails(6, "env.not-set").fails(6, "keys.no-group");
    done.says("in.txt:2:5").says("in.txt:3:3").says("env:ONE").prints("");
    home.strongroom(["inject"]).input(text).done().status(6).prints("").says("standard input:2:5");
    assert_eq!(crate::support::names_in(&home.work(".")), [".git", "in.txt"]);
}

#[test]
fn malformed_references_are_told_all_with_their_places() {
    let home = Home::new();
    let around = home.canary("around");
    let text = format!("{around} ${{{{env:A/B}}}}\nü ${{{{inputs.x}}}} ${{{{nope:x}}}}\n${{{{env:X {around}");
    let done = home.strongroom(["inject", "-o", "out"]).input(&text).done();
    let done = done.fails(2, "reference.name").fails(2, "reference.unknown-form");
    let done = done.fails(2, "reference.unknown-scheme").fails(2, "reference.unterminated");
    done.says(&format!(":1:{}", around.len() + 2)).says(":2:3").says(":2:17").says(":3:1");
    assert!(!home.work("out").exists());
    home.strongroom(["inject", "--keep-unknown"])
        .input("a ${{inputs.x}} ${{")
        .done()
        .ok()
        .prints("a ${{inputs.x}} ${{");
}

#[test]
fn what_is_not_there_is_told() {
    let home = Home::new();
    home.strongroom(["inject", "-i", "absent"]).done().fails(6, "file.unreadable").says("absent");
    home.strongroom(["inject", "-i", "."]).done().status(4);
    home.strongroom(["inject", "--force"]).input("").done().status(64);
}
