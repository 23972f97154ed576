//! Files that give variables their values.

use serde_json::Value;

use crate::support::Home;

/// The deployment of the documentation.
const DEPLOYMENT: &str = "\
name: blue
endpoint_name: my-endpoint
environment_variables:
  DB_PASSWORD: ${{env:PIPELINE_DB_PASSWORD}}
  OPENAI_API_KEY: ${{keys://openai/OPENAI_API_KEY}}
  OPENAI_ALL: ${{keys://openai}}
  DB_URL: postgres://app:${{env:PIPELINE_DB_PASSWORD}}@db/prod
  LOG_LEVEL: info
";

#[test]
fn a_deployment_file_gives_its_program_everything() {
    let home = Home::new();
    let password = home.variable("PIPELINE_DB_PASSWORD");
    let key = home.canary("openai");
    home.put("keys://openai/OPENAI_API_KEY", &key);
    home.write("deployment.yaml", DEPLOYMENT);
    let script =
        r#"printf '%s\n' "$DB_PASSWORD" "$OPENAI_API_KEY" "$DB_URL" "$LOG_LEVEL" "$OPENAI_ALL"; echo "${name-none}""#;
    let done = home.sh(["--no-mask", "-f", "deployment.yaml"], script).shows().done().ok().quiet();
    let out = done.out();
    let lines: Vec<&str> = out.lines().collect();
    let url = format!("postgres://app:{password}@db/prod");
    assert_eq!(lines[..4], [password.as_str(), &key, &url, "info"]);
    let all: Value = serde_json::from_str(lines[4]).unwrap();
    assert_eq!(all["properties"]["credentials"]["keys"]["OPENAI_API_KEY"], key);
    assert_eq!(lines[5], "none", "only what stands under environment_variables");
    home.sh(["-f", "deployment.yaml"], script)
        .done()
        .ok()
        .prints("***\n***\npostgres://app:***@db/prod\ninfo\n***\nnone\n");
    home.strongroom(["check", "-f", "deployment.yaml"]).done().ok().says("5 variables").says("4 references");
}

#[test]
fn all_formats_say_the_same() {
    let home = Home::new();
    home.variable("X");
    let files = [
        ("a.yaml", "A: x-${{env:X}}\nVERSION: 1.10\nYES: yes\nLITERAL: $${{env:X}}\nBLOCK: |\n  one\n  two\n"),
        (
            "a.yml",
            "environment_variables: {A: 'x-${{env:X}}', VERSION: 1.10, YES: yes, LITERAL: '$${{env:X}}', BLOCK: \"one\\ntwo\\n\"}\nother: [1, {}]\n",
        ),
        (
            "a.json",
            r#"{"A": "x-${{env:X}}", "VERSION": 1.10, "YES": "yes", "LITERAL": "$${{env:X}}", "BLOCK": "one\ntwo\n"}"#,
        ),
        (
            "a.toml",
            "A = 'x-${{env:X}}'\nVERSION = 1.10\nYES = 'yes'\nLITERAL = '$${{env:X}}'\nBLOCK = \"\"\"\none\ntwo\n\"\"\"\n",
        ),
        (
            "a.env",
            "# a comment\nexport A=x-${{env:X}}\nVERSION=1.10 # another\nYES='yes'\nLITERAL=$${{env:X}}\nBLOCK=\"one\\ntwo\\n\"\n",
        ),
        (".env.local", "A=\"x-${{env:X}}\"\nVERSION=1.10\nYES=yes\nLITERAL='$${{env:X}}'\nBLOCK=\"one\ntwo\n\"\n"),
    ];
    let script = "printf '%s|' \"$A\" \"$VERSION\" \"$YES\" \"$LITERAL\" \"$BLOCK\"";
    let expected = "x-***|1.10|yes|${{env:X}}|one\ntwo\n|";
    for (name, text) in files {
        home.write(name, text);
        home.sh(["-f", name], script).done().ok().prints(expected);
    }
    home.write("variables", files[4].1);
    home.sh(["-f", "variables"], script).done().fails(102, "document.format").says("--file-format");
    home.sh(["-f", "variables", "--file-format", "env"], script).done().ok().prints(expected);
}

#[test]
fn a_malformed_reference_is_told_with_its_place_and_nothing_around_it() {
    let home = Home::new();
    let around = home.canary("around");
    home.variable("X");
    let text = format!(
        "environment_variables:\n  GOOD: ${{{{env:X}}}}\n  BAD: \"{around} ${{{{env:A/B}}}}\"\n  WORSE: >-\n    ${{{{keys:/x}}}}\n  OPEN: ${{{{env:X {around}\n"
    );
    home.write_secret("deployment.yaml", text);
    let column = "  BAD: \"".len() + around.len() + 2;
    let done = home.sh(["-f", "deployment.yaml"], "touch started").done();
    let done = done.fails(102, "reference.name").fails(102, "reference.form").fails(102, "reference.unterminated");
    let done =
        done.says(&format!("deployment.yaml:3:{column}")).says("deployment.yaml:5:5").says("deployment.yaml:6:9");
    done.says("BAD").says("WORSE").says("OPEN").says("${{env:A/B}}").says_not("GOOD");
    assert!(!home.work("started").exists());
    let problems = home.strongroom(["check", "--json", "-f", "deployment.yaml"]).done().status(2).json();
    let places: Vec<_> = problems["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["code"].as_str().unwrap().to_owned(), p["line"].as_u64().unwrap(), p["column"].as_u64().unwrap()))
        .collect();
    let column = u64::try_from(column).unwrap();
    assert_eq!(
        places,
        [
            ("reference.name".to_owned(), 3, column),
            ("reference.form".to_owned(), 5, 5),
            ("reference.unterminated".to_owned(), 6, 9)
        ]
    );
    assert_eq!(problems["problems"][0]["file"], "deployment.yaml");
}

#[test]
fn a_reference_that_does_not_resolve_is_told_with_its_place() {
    let home = Home::new();
    home.write("deployment.yaml", "a: 1\nenvironment_variables:\n  A: x${{env:ONE}}\n  B: ${{keys://g/k}}\n");
    let done = home.sh(["-f", "deployment.yaml"], "touch started").done();
    done.fails(106, "env.not-set").fails(106, "keys.no-group").says("deployment.yaml:3:").says("deployment.yaml:4:");
    assert!(!home.work("started").exists());
}

#[test]
fn foreign_expressions_are_errors_unless_they_are_kept() {
    let home = Home::new();
    home.variable("X");
    home.write("job.yaml", "LR: ${{inputs.lr}}\nA: ${{env:X}}\n");
    let done = home.sh(["-f", "job.yaml"], "true").done().fails(102, "reference.unknown-form");
    done.says("job.yaml:1:5").says("$${{").says("--keep-unknown");
    home.sh(["-f", "job.yaml", "--keep-unknown"], "echo \"$LR $A\"").done().ok().prints("${{inputs.lr}} ***\n");
    // What looks like a reference of a scheme that nobody answers is no foreign expression.
    home.write("job.yaml", "A: ${{evn:X}}\n");
    home.sh(["-f", "job.yaml", "--keep-unknown"], "true").done().fails(103, "reference.unknown-scheme");
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let home = Home::new();
    for (name, text, second) in [
        ("a.yaml", "A: 1\nB: 2\nA: 3\n", "a.yaml:3:1"),
        ("a.json", "{\n\"A\": 1,\n\"A\": 3}\n", "a.json:3:"),
        ("a.env", "A=1\nA=3\n", "a.env:2:1"),
    ] {
        home.write(name, text);
        home.sh(["-f", name], "true").done().fails(102, "document.duplicate").says(second).says("line ");
    }
    home.write("a.toml", "A = 1\nA = 3\n");
    home.sh(["-f", "a.toml"], "true").done().status(102).says("a.toml:2:1");
}

#[test]
fn later_files_win_and_options_win_over_files() {
    let home = Home::new();
    home.set("OPTION", "option");
    home.set("A", "inherited");
    home.write("one.env", "A=one\nB=one\nC=one\n");
    home.write("two.yaml", "B: two\nC: two\n");
    let options = ["--no-mask", "-f", "one.env", "-f", "two.yaml", "-e", "C=env:OPTION"];
    home.sh(options, "echo $A $B $C").done().ok().prints("one two option\n");
    let options = ["--no-mask", "-e", "C=env:OPTION", "-f", "two.yaml", "-f", "one.env"];
    home.sh(options, "echo $A $B $C").done().ok().prints("one one option\n");
}

#[test]
fn what_is_no_such_file_is_refused() {
    let home = Home::new();
    home.write("list.yaml", "- A\n- B\n");
    home.write("nested.yaml", "A:\n  B: 1\n");
    home.write("nothing.yaml", "A:\n");
    home.write("name.yaml", "1A: x\n");
    home.write("broken.json", "{\"A\": ");
    home.write("binary.env", b"A=\xff\xfe\n");
    home.write("large.env", format!("A={}\n", "x".repeat(2 << 20)));
    for (name, status, code) in [
        ("absent.yaml", 106, "file.unreadable"),
        ("list.yaml", 102, "document.form"),
        ("nested.yaml", 102, "document.nested"),
        ("nothing.yaml", 102, "document.no-value"),
        ("name.yaml", 102, "environment.name"),
        ("broken.json", 102, "document.syntax"),
        ("binary.env", 102, "document.binary"),
        ("large.env", 110, "file.too-large"),
    ] {
        home.sh(["-f", name], "touch started").done().fails(status, code).says(name);
    }
    assert!(!home.work("started").exists());
}

#[test]
fn a_value_is_not_searched_for_references() {
    let home = Home::new();
    home.set("OUTER", "${{env:INNER}}");
    home.set("INNER", "inner");
    home.sh(["--no-mask", "-e", "A=env:OUTER"], "echo \"$A\"").done().ok().prints("${{env:INNER}}\n");
}

#[test]
fn app_services_references_are_read_as_aliases() {
    let home = Home::new();
    home.write("app.json", r#"{"A": "@Microsoft.KeyVault(VaultName=v;SecretName=n)"}"#);
    let done = home.sh(["-f", "app.json"], "true").done().fails(103, "route.no-mount");
    done.says("keyvault:https://v.vault.azure.net/secrets/n");
}
