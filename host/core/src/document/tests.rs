//! What somebody who writes a file sees, and what somebody who attacks with one gets.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn read(text: &str, format: Format) -> Result<Document, Vec<Failure>> {
    Document::parse(text, format, "f".into(), &Shapes::builtin(), Unknown::Refuse)
}

/// `NAME=value @ line:column`, references as they print.
fn entries(text: &str, format: Format) -> Vec<String> {
    let document = read(text, format).unwrap_or_else(|failures| panic!("{failures:?}"));
    let show = |entry: &Entry| {
        let part = |part: &crate::Part| match part {
            crate::Part::Literal(text) => format!("{text:?}"),
            crate::Part::Reference(reference, _) => format!("<{reference}>"),
        };
        let parts: Vec<_> = entry.template.parts.iter().map(part).collect();
        format!("{}={} @ {}:{}", entry.name, parts.join(""), entry.position.0, entry.position.1)
    };
    document.entries.iter().map(show).collect()
}

/// Name and literal value.
fn values(text: &str, format: Format) -> Vec<(String, String)> {
    let document = read(text, format).unwrap_or_else(|failures| panic!("{failures:?}"));
    let pair = |entry: &Entry| (entry.name.clone(), entry.template.as_literal().unwrap().to_owned());
    document.entries.iter().map(pair).collect()
}

/// `line:column code [shown]` of every failure.
fn failures(text: &str, format: Format) -> Vec<String> {
    let show = |failure: &Failure| match failure.place() {
        Some(place) => {
            let (line, column) = place.position.unwrap();
            format!("{line}:{column} {} [{}]", failure.code(), place.excerpt)
        }
        None => format!("{} {failure}", failure.code()),
    };
    read(text, format).map(|d| d.entries).expect_err("it should be refused").iter().map(show).collect()
}

const DEPLOYMENT: &str = r#"$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
model: {path: ../model, version: ~}
code_configuration:
  code: ../src
  scoring_script: score.py
environment_variables:
  DB_PASSWORD: ${{env:PIPELINE_DB_PASSWORD}}
  OPENAI_ALL: ${{ keys://openai }}   # all of it
  DB_URL: "postgres://app:${{env:P}}@db/prod"
  VERSION: 1.10
  FLAG: yes
  HEX: 0x10
  PEM: |
    line 1
    line 2
  FOLDED: >-
    a
    b
  QUOTED: 'it''s'
instance_count: 1
"#;

#[test]
fn an_azure_ml_deployment_gives_its_variables_and_nothing_else() {
    assert_eq!(
        entries(DEPLOYMENT, Format::Yaml),
        [
            "DB_PASSWORD=<env:PIPELINE_DB_PASSWORD> @ 8:16",
            "OPENAI_ALL=<keys://openai> @ 9:15",
            "DB_URL=\"postgres://app:\"<env:P>\"@db/prod\" @ 10:11",
            "VERSION=\"1.10\" @ 11:12",
            "FLAG=\"yes\" @ 12:9",
            "HEX=\"0x10\" @ 13:8",
            "PEM=\"line 1\\nline 2\\n\" @ 15:5",
            "FOLDED=\"a b\" @ 18:5",
            "QUOTED=\"it's\" @ 20:11",
        ]
    );
}

#[test]
fn each_format_has_both_forms_and_keeps_order_and_source_text() {
    let expected = [("B", "1.10"), ("A", "true"), ("C", "x \u{e9}\n")];
    for (format, flat, wrapped) in [
        (
            Format::Yaml,
            "B: 1.10\nA: true\nC: \"x \\u00e9\\n\"\n",
            "other: [1, {environment_variables: {X: 1}}]\nenvironment_variables: {B: 1.10, A: true, C: \"x é\\n\"}\n",
        ),
        (
            Format::Json,
            "{\"B\": 1.10, \"A\": true, \"C\": \"x \\u00e9\\n\"}",
            "{\"o\": [null], \"environment_variables\": {\"B\" : 1.10 ,\"A\":true,\"C\":\"x é\\n\"}, \"p\": {}}",
        ),
        (
            Format::Toml,
            "B = 1.10\nA = true\nC = \"x \\u00e9\\n\"\n",
            "o = [1]\n[environment_variables]\nB = 1.10\nA = true\nC = \"\"\"\nx é\n\"\"\"\n[p]\nX = 1\n",
        ),
    ] {
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(values(flat, format), expected, "{}", format.name());
        assert_eq!(values(wrapped, format), expected, "{}", format.name());
    }
    assert_eq!(
        values("I = 0x1F\nU = 1_000\nF = 1e3\nD = 2024-01-02\nN = nan\nL = 'C:\\n'", Format::Toml),
        [("I", "0x1F"), ("U", "1_000"), ("F", "1e3"), ("D", "2024-01-02"), ("N", "nan"), ("L", "C:\\n")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
    assert_eq!(
        values("{\"N\": 12345678901234567890123, \"E\": 1E400, \"S\": \"\"}", Format::Json),
        [("N", "12345678901234567890123"), ("E", "1E400"), ("S", "")].map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
}

#[test]
fn dotenv_reads_as_documented() {
    let text = "\u{feff}# comment\r\n\r\nA=plain value  # note\r\nexport B='li$teral \\n # \"'\r\n  C = \"a\\tb\\\"\\$\\\\\\d\" # x\r\n\
                D=\"line 1\r\nline 2\"\r\nE=\r\nF= # only a comment\r\nG=#no comment\r\nH=a#b\r\nI=$HOME `x`\r\nexport=1\r\nJ=it's\r\nK=a=b=c\r\nL=''";
    let expected = [
        ("A", "plain value"),
        ("B", "li$teral \\n # \""),
        ("C", "a\tb\"$\\\\d"),
        ("D", "line 1\nline 2"),
        ("E", ""),
        ("F", ""),
        ("G", "#no comment"),
        ("H", "a#b"),
        ("I", "$HOME `x`"),
        ("export", "1"),
        ("J", "it's"),
        ("K", "a=b=c"),
        ("L", ""),
    ];
    assert_eq!(values(text, Format::Dotenv), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(entries("A=x\r\n B='y'", Format::Dotenv), ["A=\"x\" @ 1:3", "B=\"y\" @ 2:4"]);
    assert_eq!(entries("A=${{keys://g/a#b}} # c", Format::Dotenv), ["A=<keys://g/a#/b> @ 1:3"]);
}

#[test]
fn a_broken_dotenv_line_is_reported_without_its_text() {
    let text = "KEY=-----BEGIN KEY-----\nhunter2/hunter2\nhunter3+x==\nA='x' hunter4\nA=1\nA=2\nB=\"hunter5\n";
    assert_eq!(
        failures(text, Format::Dotenv),
        [
            "2:1 document.syntax []",
            "4:7 document.syntax []",
            "7:3 document.syntax []",
            "3:1 environment.name []",
            "6:1 document.duplicate [A]",
        ]
    );
}

#[test]
fn every_error_is_reported_with_the_place_of_its_reference() {
    let yaml = "A: hunter2 ${{env:A/B}} ${{inputs.x}}\nB: \"é ${{nope:x}}\"\nC: |\n  first\n  ${{env:a b} hunter3\n\
                D: >\n  one\n  two ${{env:/}}\nE: \"\\x24{{nope:x}}\"\nF: 'a\n  b ${{nope:y}}'\nG G: x\n";
    assert_eq!(
        failures(yaml, Format::Yaml),
        [
            "1:12 reference.name [${{env:A/B}}]",
            "1:25 reference.unknown-form [${{inputs.x}}]",
            "2:7 reference.unknown-scheme [${{nope:x}}]",
            "5:3 reference.unterminated [${{env:]",
            "8:7 reference.name [${{env:/}}]",
            "9:4 reference.unknown-scheme [${{nope:x}}]",
            "11:5 reference.unknown-scheme [${{nope:y}}]",
            "12:1 environment.name [G G]",
        ]
    );
    let json = "{\n  \"A\": \"é\\t${{nope:x}} hunter2\",\n  \"B\": \"\\u0024{{nope:x}} ${{nope:x}}\"}";
    assert_eq!(
        failures(json, Format::Json),
        [
            "2:12 reference.unknown-scheme [${{nope:x}}]",
            "3:8 reference.unknown-scheme [${{nope:x}}]",
            "3:8 reference.unknown-scheme [${{nope:x}}]",
        ]
    );
    let toml = "A = '''\nx ${{nope:x}}'''\nB = \"$${{ok}} ${{nope:y}}\"";
    assert_eq!(
        failures(toml, Format::Toml),
        ["2:3 reference.unknown-scheme [${{nope:x}}]", "3:15 reference.unknown-scheme [${{nope:y}}]"]
    );
    let dotenv = "A=x ${{nope:x}} # ${{nope:z}}\r\nB=\"\r\n \\\"${{nope:y}}\"\r\nC=@Microsoft.KeyVault(x)";
    assert_eq!(
        failures(dotenv, Format::Dotenv),
        [
            "1:5 reference.unknown-scheme [${{nope:x}}]",
            "3:4 reference.unknown-scheme [${{nope:y}}]",
            "4:3 reference.form [@Microsoft.KeyVault(x)]",
        ]
    );
}

#[test]
fn a_failure_names_its_variable_and_no_neighbour() {
    let failure = read("DB_URL: hunter2 ${{env:X\nPW: hunter3", Format::Yaml).unwrap_err().remove(0);
    assert!(failure.message().as_str().starts_with("DB_URL: "), "{failure}");
    for (text, format) in [
        ("PW: hunter2\n- hunter3: [", Format::Yaml),
        ("hunter2", Format::Yaml),
        ("PW: [hunter2]\nX: *hunter2x", Format::Yaml),
        ("PW: !hunter2 x", Format::Yaml),
        ("\"hunter2\"", Format::Json),
        ("{\"PW\": \"hunter2\" hunter2}", Format::Json),
        ("{\"PW\": \"hunter2\\ud800\"}", Format::Json),
        ("PW = hunter2", Format::Toml),
        ("PW = 'hunter2' hunter2", Format::Toml),
        ("PW='hunter2' hunter2", Format::Dotenv),
        ("hunter2", Format::Dotenv),
        ("hunter2+=x", Format::Dotenv),
    ] {
        for failure in read(text, format).expect_err(text) {
            let all = format!("{failure:?} {:?} {:?} {:?}", failure.place(), failure.helps(), failure.subject());
            assert!(!all.contains("hunter"), "{text:?}: {all}");
        }
    }
    let document = read("PW: hunter2", Format::Yaml).unwrap();
    assert!(!format!("{document:?}").contains("hunter"));
}

#[test]
fn what_is_no_value_is_refused() {
    for text in ["A:\n", "A: ~", "A: null", "environment_variables:\n  A: NULL"] {
        let shown = failures(text, Format::Yaml);
        assert!(shown.len() == 1 && shown[0].ends_with("document.no-value [A]"), "{text}: {shown:?}");
    }
    assert_eq!(failures("{\"A\": null}", Format::Json), ["1:2 document.no-value [A]"]);
    assert_eq!(
        values("A: \"\"\nB: 'null'\nC: !!str\nD: !!str ~\nE: nUll", Format::Yaml),
        [("A", ""), ("B", "null"), ("C", ""), ("D", "~"), ("E", "nUll")].map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
    for (text, format) in [
        ("", Format::Yaml),
        ("# nothing", Format::Yaml),
        ("environment_variables:\nname: x", Format::Yaml),
        ("environment_variables: {}", Format::Yaml),
        ("{}", Format::Json),
        ("", Format::Toml),
        ("\n", Format::Dotenv),
    ] {
        assert!(entries(text, format).is_empty(), "{text:?}");
    }
}

#[test]
fn two_of_one_name_are_refused_everywhere() {
    for (text, format, place) in [
        ("A: 1\nA: 1", Format::Yaml, "2:1"),
        ("A: 1\n\"\\x41\": 1", Format::Yaml, "2:1"),
        ("{\"A\": 1, \"\\u0041\": 1}", Format::Json, "1:10"),
        ("A=1\nexport A=1", Format::Dotenv, "2:8"),
    ] {
        assert_eq!(failures(text, format), [format!("{place} document.duplicate [A]")], "{text}");
    }
    assert_eq!(failures("A = 1\nA = 1", Format::Toml), ["2:1 document.syntax []"]);
    let twice = "environment_variables: {A: 1}\nenvironment_variables: {B: 1}";
    assert_eq!(failures(twice, Format::Yaml), ["2:1 document.duplicate [environment_variables]"]);
    let twice = "{\"environment_variables\": {}, \"environment_variables\": {}}";
    assert_eq!(failures(twice, Format::Json), ["1:31 document.duplicate [environment_variables]"]);
}

#[test]
fn shapes_that_are_no_map_of_scalars_are_refused() {
    for (text, format, expected) in [
        ("A: [1]\nB: {c: 1}", Format::Yaml, vec!["1:1 document.nested [A]", "2:1 document.nested [B]"]),
        ("environment_variables:\n  A: {B: 1}", Format::Yaml, vec!["2:3 document.nested [A]"]),
        (
            "environment_variables:\n- {name: A, value: b}",
            Format::Yaml,
            vec!["1:1 document.form [environment_variables]"],
        ),
        ("- A", Format::Yaml, vec!["1:1 document.form []"]),
        ("A", Format::Yaml, vec!["1:1 document.form []"]),
        ("A: 1\n---\nB: 2", Format::Yaml, vec!["2:1 document.form []"]),
        ("b: &b {A: 1}\nenvironment_variables:\n  <<: *b", Format::Yaml, vec!["3:3 document.merge-key []"]),
        ("b: &b {A: 1}\nenvironment_variables: *b", Format::Yaml, vec!["2:1 document.form [environment_variables]"]),
        ("? [a]\n: 1\nB: [1]", Format::Yaml, vec!["1:3 document.key []", "3:1 document.nested [B]"]),
        ("A: !!binary aGk=\nB: !x y", Format::Yaml, vec!["1:1 document.nested [A]", "2:1 document.nested [B]"]),
        ("A: *nowhere", Format::Yaml, vec!["1:4 document.syntax []"]),
        ("A: \"\\0\"", Format::Yaml, vec!["1:4 environment.nul [A]"]),
        ("[1]", Format::Json, vec!["1:1 document.syntax []"]),
        ("{\"A\": 1,\n \"B\" 2}", Format::Json, vec!["2:6 document.syntax []"]),
        ("{\"A\": {}, \"B\": []}", Format::Json, vec!["1:2 document.nested [A]", "1:11 document.nested [B]"]),
        ("{\"environment_variables\": [1]}", Format::Json, vec!["1:2 document.form [environment_variables]"]),
        ("{\"A\": \"\\u0000\"}", Format::Json, vec!["1:7 environment.nul [A]"]),
        ("A = [1]\n[B]\nc = 1", Format::Toml, vec!["1:1 document.nested [A]", "2:2 document.nested [B]"]),
        ("environment_variables = 1", Format::Toml, vec!["1:1 document.form [environment_variables]"]),
        ("A = \nB = 'x", Format::Toml, vec!["1:5 document.syntax []", "2:7 document.syntax []"]),
    ] {
        assert_eq!(failures(text, format), expected, "{text}");
    }
}

#[test]
fn aliases_of_scalars_are_followed() {
    let yaml = "shared: &u postgres://${{env:P}}@db\nenvironment_variables:\n  A: *u\n  B: &n 1.10\n  C: *n\n";
    assert_eq!(
        entries(yaml, Format::Yaml),
        ["A=\"postgres://\"<env:P>\"@db\" @ 3:6", "B=\"1.10\" @ 4:6", "C=\"1.10\" @ 5:6"]
    );
    let yaml = "a: &a 'x ${{nope:x}}'\nenvironment_variables:\n  A: *a";
    assert_eq!(failures(yaml, Format::Yaml), ["1:10 reference.unknown-scheme [${{nope:x}}]"]);
}

#[test]
fn references_that_are_unknown_can_be_kept() {
    let document =
        Document::parse("A: ${{inputs.lr}}", Format::Yaml, "f".into(), &Shapes::builtin(), Unknown::Keep).unwrap();
    assert_eq!(document.entries[0].template.as_literal(), Some("${{inputs.lr}}"));
}

#[test]
fn the_format_is_told_by_the_name_or_by_hand() {
    for (path, format) in [
        ("d.yaml", Format::Yaml),
        ("a/d.YML", Format::Yaml),
        ("d.json", Format::Json),
        ("d.toml", Format::Toml),
        (".env", Format::Dotenv),
        ("prod.env", Format::Dotenv),
        (".env.local", Format::Dotenv),
        (".env.json", Format::Json),
    ] {
        assert_eq!(Format::of(Path::new(path), None).unwrap(), format, "{path}");
    }
    for path in ["-", "env", "d.txt", ".envrc", "yaml", ""] {
        let failure = Format::of(Path::new(path), None).unwrap_err();
        assert_eq!(failure.code(), "document.format");
        assert!(failure.helps()[0].as_str().contains("yaml, json, toml, env"));
        assert_eq!(Format::of(Path::new(path), Some(Format::Json)).unwrap(), Format::Json);
    }
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
    }
}

#[test]
fn dangerous_names_need_permission_one_by_one() {
    let document = read("PATH: /evil\nOK: 1\nhttp_proxy: x\nLD_PRELOAD: x", Format::Yaml).unwrap();
    let refused = |allowed: &[&str]| {
        let allowed: Vec<_> = allowed.iter().map(|&name| name.to_owned()).collect();
        let refused = document.check_names(&allowed);
        assert!(refused.iter().all(|f| f.kind() == Kind::PolicyDenied && f.code() == "environment.dangerous-name"));
        refused.iter().map(|f| f.place().unwrap().excerpt.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(refused(&[]), ["PATH", "http_proxy", "LD_PRELOAD"]);
    assert_eq!(refused(&["PATH", "LD_PRELOAD"]), ["http_proxy"]);
    assert_eq!(refused(&["HTTP_PROXY", "LD_*", "path"]), ["PATH", "http_proxy", "LD_PRELOAD"]);
    let failure = document.check_names(&[]).remove(1);
    assert_eq!(failure.place().unwrap().position, Some((3, 1)));
    assert!(failure.helps()[0].as_str().contains("--allow-name http_proxy"));
}

#[test]
fn text_is_utf8_without_nul_and_not_too_long() {
    assert_eq!(text_of("grüße".as_bytes(), "f".into()).unwrap(), "grüße");
    let failure = text_of(b"a\n\xc3\xa9b\0\xff", "f".into()).unwrap_err();
    assert_eq!((failure.code(), failure.place().unwrap().position), ("document.binary", Some((2, 3))));
    let failure = text_of(b"a\n\xc3\xa9b\xff\0", "f".into()).unwrap_err();
    assert_eq!((failure.code(), failure.place().unwrap().position), ("document.binary", Some((2, 3))));
    assert!(text_of(&vec![b'x'; MAX_TEXT_BYTES], "f".into()).is_ok());
    let failure = text_of(&vec![b'x'; MAX_TEXT_BYTES + 1], "f".into()).unwrap_err();
    assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, "document.too-large"));
}

#[test]
fn a_file_of_many_errors_reports_so_many_and_counts_the_rest() {
    let found = failures(&"A: ${{x}}\n".replace('A', "A${{x}}").repeat(MAX_FAILURES + 5), Format::Yaml);
    assert_eq!(found.len(), MAX_FAILURES + 1);
    assert_eq!(found[MAX_FAILURES], "document.more and 5 more in f");
}

#[test]
fn hostile_files_end_in_bounded_time_and_memory() {
    let mut laughs = "a0: &a0 lol\n".to_owned();
    for level in 1..40 {
        let before = level - 1;
        laughs.push_str(&format!("a{level}: &a{level} [*a{before}, *a{before}, *a{before}]\n"));
    }
    laughs.push_str("environment_variables:\n  A: *a0\n");
    assert_eq!(values(&laughs, Format::Yaml), [("A".to_owned(), "lol".to_owned())]);

    let copies: String = (0..2000).map(|i| format!("V{i}: *x\n")).collect();
    let copies = format!("X: &x {}\n{copies}", "y".repeat(MAX_FILE_BYTES / 2));
    assert!(failures(&copies, Format::Yaml)[0].contains("document.too-large"));

    let deep = format!("o: {}{}\nenvironment_variables: {{A: 1}}", "[".repeat(100), "]".repeat(100));
    assert!(failures(&deep, Format::Yaml)[0].contains("document.too-deep"));
    let deep =
        format!("{{\"o\": {}{}, \"environment_variables\": {{\"A\": 1}}}}", "[".repeat(400_000), "]".repeat(400_000));
    assert_eq!(values(&deep, Format::Json), [("A".to_owned(), "1".to_owned())]);
    assert!(failures(&"x".repeat(MAX_FILE_BYTES + 1), Format::Dotenv)[0].contains("document.too-large"));

    let pieces = [
        "[", "{", "- ", "? ", "a: ", "&a ", "*a ", "!t ", "- - ", "\"", "'", "|\n", "\\", "${{", "${{env:", "}}",
        "${{x}}", "#", "\n", "\r", " ", "\t", "a", "=", "a=", "a=\"", "export ", ",", "[a.", "a.", "a={", "{\"a\":",
        "---\n", "...\n", "%T\n", "{a: ", "[a, ", "é", "&a a\n", "a: b\n", "\"a\": ", "a,", ": ", ":\n", "?\n", "-\n",
        "a:\n ", "\"\n", "\"\"\"", "'''\n",
    ];
    let cases: [(Format, &[&str]); 4] = [
        (Format::Yaml, &["", "a: ", "a: \"", "a: |\n ", "a: [", "environment_variables: {"]),
        (Format::Json, &["{\"a\": ", "{\"a\": \""]),
        (Format::Toml, &["", "a = [", "a = \"\"\""]),
        (Format::Dotenv, &["", "a=", "a=\""]),
    ];
    // Far below what anything quadratic takes, far above what the slowest of these does.
    const HANG: Duration = Duration::from_secs(2);
    let mut slow = Vec::new();
    for piece in pieces {
        for (format, heads) in cases {
            for head in heads {
                let text = format!("{head}{}", piece.repeat((128 << 10) / piece.len()));
                let start = Instant::now();
                let _ = read(&text, format);
                let took = start.elapsed();
                if took > HANG {
                    slow.push(format!("{} {head:?} + {piece:?}: {took:?}", format.name()));
                }
            }
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_a_reader_panic(
        text in prop_oneof![
            "(?s:.{0,60})",
            "(?s:[-\\[\\]{}:,'\"|>&*!%#@`?~ \n\r\t\\\\$=.a0é]{0,40})",
            "(?s:(environment_variables|export |\\$\\{\\{|\\}\\}|env:A|<<|[-\\[\\]{}:,'\"|>&*! \n\ta=.#\\\\]){0,25})",
        ]
    ) {
        for format in Format::ALL {
            for unknown in [Unknown::Refuse, Unknown::Keep] {
                let result = Document::parse(&text, format, "f".into(), &Shapes::builtin(), unknown);
                for failure in result.err().into_iter().flatten() {
                    if let Some(position) = failure.place().and_then(|place| place.position) {
                        prop_assert!(position.0 <= text.matches('\n').count() + 1);
                    }
                }
            }
        }
    }

    /// Columns are exact in whatever style a value is written.
    #[test]
    fn a_reference_is_found_where_it_stands(
        before in "[a-zé日 ]{0,8}", after in "[a-zé日 ]{0,8}", lines in 0..4usize, style in 0..8usize
    ) {
        let head: String = (0..lines).map(|i| format!("É{i}_")).collect();
        let bad = "${{nope:x}}";
        let value = format!("x{before}{bad}{after}x");
        let (format, text) = match style {
            0 => (Format::Yaml, format!("{}A: {value}", "# é\n".repeat(lines))),
            1 => (Format::Yaml, format!("{}A: '{value}'", "# é\r\n".repeat(lines))),
            2 => (Format::Yaml, format!("{}A: \"{value}\"\n", "# é\n".repeat(lines))),
            3 => (Format::Yaml, format!("A: |-\n  é\n{}  {value}\n", "  é\n".repeat(lines))),
            4 => (Format::Yaml, format!("A: >\n  é\n{}  {value}\nB: 1", "  é\n".repeat(lines))),
            5 => (Format::Json, format!("{{\"A\": \"{head}{value}\"}}")),
            6 => (Format::Toml, format!("{}A = '''\n{head}{value}'''", "# é\n".repeat(lines))),
            _ => (Format::Dotenv, format!("{}export A=\"{head}\r\n{value}\" # {bad}", "# é\n".repeat(lines))),
        };
        let expected = crate::template::line_and_column(&text, text.find(bad).unwrap());
        let failures = read(&text, format).unwrap_err();
        prop_assert_eq!(failures.len(), 1);
        prop_assert_eq!(failures[0].place().unwrap().position, Some(expected), "{}", text);
    }

    /// What any YAML or JSON writer quotes is read as it was meant.
    #[test]
    fn json_texts_are_read_as_serde_reads_them(value in any::<String>()) {
        prop_assume!(!value.contains("${{") && !value.contains('\0') && !value.starts_with("@Microsoft"));
        let text = serde_json::json!({ "A": value }).to_string();
        prop_assert_eq!(values(&text, Format::Json), [("A".to_owned(), value)]);
    }
}
