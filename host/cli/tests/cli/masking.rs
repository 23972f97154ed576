//! What the output of a program shows of its secrets: nothing.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::support::Home;

/// Percent-encodes all but the unreserved characters (RFC 3986).
fn percent(value: &str) -> String {
    value
        .bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

#[test]
fn a_secret_is_hidden_in_all_its_usual_forms_on_both_streams() {
    let home = Home::new();
    let secret = format!("p@ss/w\"o\\rd+ü {}", home.canary("forms"));
    home.set("X", &secret);
    let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
    let forms = [
        ("plain", secret.clone()),
        ("base64", STANDARD.encode(&secret)),
        ("base64url", URL_SAFE.encode(&secret)),
        ("shifted-1", STANDARD.encode(format!("u{secret}"))),
        ("shifted-2", STANDARD.encode(format!("u:{secret}"))),
        ("basic-auth", STANDARD.encode(format!("user:{secret}"))),
        ("hex", hex.clone()),
        ("HEX", hex.to_uppercase()),
        ("percent", percent(&secret)),
        ("json", serde_json::to_string(&secret).unwrap()),
    ];
    let text: String = forms.iter().map(|(name, form)| format!("{name}: <{form}>\n")).collect();
    home.write_secret("forms", text);
    let done = home.sh(["-e", "A=env:X"], "cat forms; cat forms >&2; echo end").done().ok();
    for (stream, out) in [("output", done.out()), ("errors", done.err())] {
        for ((name, form), line) in forms.iter().zip(out.lines()) {
            assert!(line.starts_with(&format!("{name}: <")) && line.ends_with('>'), "{stream}: {line}");
            assert!(line.contains("***"), "{stream}: {line}");
            // What is left of a form at its ends tells no more than the base64 of a byte or two.
            assert!(line.len() < name.len() + 20, "{stream}: {line} for {form}");
        }
    }
    assert!(done.out().ends_with("end\n") && done.out().lines().count() == forms.len() + 1);
}

#[test]
fn a_secret_is_hidden_wherever_a_write_ends() {
    let home = Home::new();
    let secret = home.variable("X");
    let script: String = secret.chars().map(|c| format!("printf '{c}'; ")).collect();
    home.write_secret("drip", format!("printf 'a'; {script} printf 'z\\n'"));
    home.strongroom(["run", "-e", "A=env:X", "--", "sh", "drip"]).done().ok().prints("a***z\n");
}

#[test]
fn what_cannot_begin_a_secret_is_shown_at_once() {
    let home = Home::new();
    home.set("X", "hunter2-and-more");
    home.program("mkfifo", ["gate"]).done().ok();
    home.write("ask", "printf 'Password: hunter2'\nread answer <gate\necho \"$answer\"\n");
    let mut running = home.strongroom(["run", "-e", "A=env:X", "--", "sh", "ask"]).start();
    // The program goes on only when this has been seen.
    running.output.wait_for("Password: ");
    std::fs::write(home.work("gate"), "-or-not\n").unwrap();
    assert_eq!(crate::support::lossy(&running.output.rest()), "Password: hunter2-or-not\n");
    assert_eq!(running.wait(), 0);
}

#[test]
fn into_a_pipe_nothing_of_a_secret_is_shown_early() {
    let home = Home::new();
    home.set("X", "hunter2-and-more");
    let script = "printf hunter2; sleep 0.4; printf -- -and; sleep 0.4; echo -more";
    home.sh(["-e", "A=env:X"], script).done().ok().prints("***\n");
    home.sh(["-e", "A=env:X"], script).merged().done().ok().prints("***\n");
}

#[test]
fn one_file_for_both_streams_keeps_their_order() {
    let home = Home::new();
    home.variable("X");
    let script = r#"i=0; while [ $i -lt 300 ]; do echo "out $i $A"; echo "err $i $A" >&2; i=$((i+1)); done"#;
    let expected: String = (0..300).map(|i| format!("out {i} ***\nerr {i} ***\n")).collect();
    home.sh(["-e", "A=env:X"], script).merged().done().ok().prints(&expected);
    // A file as well as a pipe.
    home.write("job", script);
    let call = format!("{} run -e A=env:X -- sh job >both 2>&1", crate::support::PROGRAM);
    home.program("sh", ["-c", &call]).done().ok();
    assert_eq!(std::fs::read_to_string(home.work("both")).unwrap(), expected);
}

#[test]
fn masking_can_be_switched_off() {
    let home = Home::new();
    let secret = home.variable("X");
    home.sh(["--no-mask", "-e", "A=env:X"], "echo $A").shows().done().ok().prints(format!("{secret}\n"));
}

#[test]
fn what_is_too_short_to_hide_is_named() {
    let home = Home::new();
    home.set("SHORT", "abc");
    home.set("EMPTY", "");
    home.set("LONG", "abcd");
    let options = ["-e", "PIN=env:SHORT", "-e", "NOTHING=env:EMPTY", "-e", "KEY=env:LONG"];
    let done = home.sh(options, "echo \"$PIN $KEY\"").done().ok().prints("abc ***\n");
    done.says("PIN").says("[mask.too-short]").says_not("KEY").says_not("NOTHING").says_not("abc");
    let quiet = ["run", "--quiet", "-e", "PIN=env:SHORT", "--", "true"];
    home.strongroom(quiet).done().ok().quiet();
}

#[test]
fn each_part_of_a_composed_value_is_hidden_by_itself() {
    let home = Home::new();
    home.variable("USER_PART");
    home.variable("PASS_PART");
    let url = "URL=postgres://${{env:USER_PART}}:${{ env:PASS_PART }}@db/prod";
    home.sh(["-e", url], "echo \"$URL\"; echo \"$PASS_PART\"").done().ok().prints("postgres://***:***@db/prod\n***\n");
}

#[test]
fn the_strings_inside_a_json_secret_are_secrets() {
    let home = Home::new();
    let (key, inner) = (home.canary("leaf"), home.canary("nested"));
    let nested = serde_json::json!({ "token": inner }).to_string();
    home.set("X", serde_json::json!({ "key": key, "mode": "prod", "list": [nested], "port": 5432 }).to_string());
    home.write_secret("leaves", format!("{key}\n{inner}\nprod 5432 key\n"));
    home.sh(["-e", "A=env:X"], "cat leaves; echo \"$A\"").done().ok().prints("***\n***\nprod 5432 key\n***\n");
}

#[test]
fn the_lines_of_a_secret_are_secrets() {
    let home = Home::new();
    let (first, second) = (home.canary("first"), home.canary("second"));
    home.set("X", format!("-----BEGIN-----\n{first}\n{second}\nx\n-----END-----\n"));
    let script = "printf %s \"$A\" | tail -n 3; printf %s \"$A\" | sed -n 2p; echo \"  $A\" | head -n 1; echo x";
    home.sh(["-e", "A=env:X"], script).done().ok().prints("***\nx\n***\n***\n  ***\nx\n");
}

#[test]
fn what_a_file_gives_is_hidden_as_well() {
    let home = Home::new();
    home.variable("X");
    home.sh(["--as-file", "F=env:X"], "cat \"$F\"; cat \"$F\" >&2").done().ok().prints("***").says("***");
}

#[test]
fn a_value_with_a_line_end_is_hidden_without_it() {
    let home = Home::new();
    let secret = home.canary("line");
    home.put("keys://g/k", format!("{secret}\n"));
    home.sh(["-e", "A=keys://g/k"], "printf '<%s>' \"$A\"; echo; echo $A").done().ok().prints("<***\n>\n***\n");
}

#[test]
fn binary_output_passes_unharmed() {
    let home = Home::new();
    home.variable("X");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    home.write("binary", &bytes);
    home.strongroom(["run", "-e", "A=env:X", "--", "cat", "binary"]).done().ok().prints(&bytes);
}
