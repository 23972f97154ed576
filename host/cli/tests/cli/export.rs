//! `export`: plain variables for other tools, quoted for each of them.

use crate::support::{Home, PROGRAM};

/// What breaks quoting, in one value.
const AWKWARD: &str = "a'b\"c\\d $HOME $(id) `id` \t é\nsecond line #no comment\n\n";

fn home() -> (Home, String) {
    let home = Home::new();
    let value = format!("{}{AWKWARD}", home.canary("export"));
    home.set("X", &value);
    home.write("in.env", "A=${{env:X}}\nB=plain\n");
    (home, value)
}

#[test]
fn a_shell_reads_back_exactly_what_was_exported() {
    let (home, value) = home();
    let script =
        format!("eval \"$({PROGRAM} export --format shell -f in.env)\"; printf %s \"$A\"; env | grep -c '^B=plain$'");
    home.program("sh", ["-c", &script]).shows().done().ok().prints(format!("{value}1\n")).quiet();
    let done = home.strongroom(["export", "--format", "shell", "-e", "a.b=env:X"]).done();
    done.fails(15, "environment.name").prints("");
}

#[test]
fn json_yaml_and_dotenv_read_back_exactly() {
    let (home, value) = home();
    let json = home.strongroom(["export", "--format", "json", "-f", "in.env"]).shows().done().ok().json();
    assert_eq!(json, serde_json::json!({ "A": value, "B": "plain" }));
    for (format, name) in [("json", "out.json"), ("yaml", "out.yaml"), ("env", "out.env")] {
        let out = home.strongroom(["export", "--format", format, "-f", "in.env"]).shows().done().ok().stdout;
        home.write_secret(name, out);
        let done = home.sh(["--no-mask", "-f", name], "printf %s \"$A\"").shows().done();
        done.ok().prints(&value);
    }
    let default = home.strongroom(["export", "-e", "B=env:LC_ALL"]).done().ok();
    default.prints("B=C.UTF-8\n");
}

#[test]
fn github_actions_get_masks_before_values() {
    let (home, value) = home();
    let mut running = home.strongroom(["export", "--format", "gha", "-f", "in.env"]).start();
    let out = crate::support::lossy(&running.output.rest());
    let err = crate::support::lossy(&running.errors.as_mut().unwrap().rest());
    assert_eq!(running.wait(), 0);
    let delimiter = out.lines().next().unwrap().strip_prefix("A<<").unwrap();
    assert!(delimiter.len() > 20 && !value.contains(delimiter));
    assert_eq!(out, format!("A<<{delimiter}\n{value}\n{delimiter}\nB<<{delimiter}\nplain\n{delimiter}\n"));
    let masks: Vec<&str> = err.lines().collect();
    assert!(masks.iter().all(|line| line.starts_with("::add-mask::")), "{err}");
    assert_eq!(masks.len(), 2, "a line each: {err}");
    assert!(!masks.contains(&"::add-mask::plain"), "what is no secret is not hidden");
}

#[test]
fn a_failure_prints_nothing() {
    let (home, _) = home();
    for format in ["env", "shell", "json", "yaml", "gha"] {
        let done = home.strongroom(["export", "--format", format, "-f", "in.env", "-e", "C=env:MISSING"]).done();
        done.fails(6, "env.not-set").prints("");
    }
    home.strongroom(["export", "--format", "xml", "-f", "in.env"]).done().status(64);
    home.put("keys://g/bin", b"\xff\xfe");
    home.strongroom(["export", "--format", "json", "-e", "A=keys://g/bin"])
        .done()
        .fails(15, "export.not-utf8")
        .prints("");
    home.strongroom(["export", "--format", "shell", "-e", "A=keys://g/bin"])
        .done()
        .ok()
        .prints(b"export A='\xff\xfe'\n");
}
