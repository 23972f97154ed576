//! Custom keys: groups of named keys in Strongroom's own store.

use crate::support::{Home, names_in};

#[test]
fn a_value_comes_from_a_pipe_a_file_or_a_variable() {
    let home = Home::new();
    let secret = home.variable("X");
    let set = |arguments: &[&str], input: &str| {
        let arguments = ["set"].iter().chain(arguments);
        home.strongroom(arguments).input(input).done().ok().prints("")
    };
    set(&["keys://g/pipe"], &secret).says("set keys://g/pipe, version 1");
    set(&["keys://g/line"], &format!("{secret}\n"));
    set(&["keys://g/crlf"], &format!("{secret}\r\n"));
    set(&["keys://g/lines"], &format!("{secret}\n\n"));
    set(&["keys://g/kept", "--keep-newline"], &format!("{secret}\n"));
    home.write_secret("file", format!("{secret}\n"));
    set(&["keys://g/file", "--from-file", "file"], "not this");
    set(&["keys://g/env", "--from-env", "X"], "not this");
    for (name, end) in
        [("pipe", ""), ("line", ""), ("crlf", ""), ("lines", "\n"), ("kept", "\n"), ("file", "\n"), ("env", "")]
    {
        assert_eq!(home.get(&format!("keys://g/{name}")), format!("{secret}{end}").as_bytes(), "{name}");
    }
    home.strongroom(["set", "--quiet", "keys://g/quiet"]).input("x").done().ok().quiet();
    home.strongroom(["set", "keys://g/k", "--from-env", "MISSING"]).done().fails(6, "env.not-set").says("MISSING");
    home.strongroom(["set", "keys://g/k", "--from-file", "absent"]).done().fails(6, "file.unreadable");
    home.strongroom(["get", "keys://g/k"]).done().fails(6, "keys.no-key").says("`pipe`");
}

#[test]
fn a_value_is_never_an_argument() {
    let home = Home::new();
    for arguments in [
        &["set", "keys://g/k", "value"][..],
        &["set", "keys://g/k", "--value", "v"],
        &["set"],
        &["set", "keys://g/k", "--from-file", "a", "--from-env", "B"],
        &["set", "keys://g/k", "--batch", "b.yaml"],
        &["set", "--batch", "b.yaml", "--expected", "1"],
    ] {
        home.strongroom(arguments).input("x").done().status(64).prints("");
    }
    assert_eq!(names_in(&home.state("")), [""; 0]);
}

#[test]
fn many_are_set_from_one_file() {
    let home = Home::new();
    let (one, two) = (home.canary("one"), home.canary("two"));
    home.write_secret("new.yaml", format!("keys://a/one: {one}\nkeys://a/target: https://a.example\nkeys://b/two: |-\n  {two}\n  second ${{{{env:X}}}}\n"));
    home.strongroom(["set", "--batch", "new.yaml"]).done().ok().says("set 3 of 3");
    assert_eq!(home.get("keys://a/one"), one.as_bytes());
    assert_eq!(home.get("keys://a/target"), b"https://a.example");
    assert_eq!(home.get("keys://b/two"), format!("{two}\nsecond ${{{{env:X}}}}").as_bytes());

    home.write_secret("json.json", format!("{{\"keys://c/one\": \"{one}\", \"keys://c/n\": 1.50}}"));
    home.strongroom(["set", "--batch", "json.json", "--tag", "a=b"]).done().ok();
    assert_eq!(home.get("keys://c/n"), b"1.50");

    // One wrong line, and nothing is set.
    home.write_secret("wrong.yaml", format!("keys://d/one: {one}\nnonsense: {two}\nkeys:/d: x\n"));
    let done = home.strongroom(["set", "--batch", "wrong.yaml"]).done();
    done.fails(2, "reference.no-scheme").fails(2, "reference.form").says("wrong.yaml:2:1").says("wrong.yaml:3:1");
    home.strongroom(["get", "keys://d"]).done().fails(6, "keys.no-group");
    // What fails at the provider is told, and the others are set.
    home.write_secret("half.yaml", format!("env:X: {one}\nkeys://e/one: {one}\n"));
    home.strongroom(["set", "--batch", "half.yaml"]).done().fails(4, "mount.read-only").says("set 1 of 2");
    assert_eq!(home.get("keys://e/one"), one.as_bytes());
    home.write("batch.env", "A=b\n");
    home.strongroom(["set", "--batch", "batch.env"]).done().status(2);
    home.write("twice.yaml", "keys://f/k: 1\nkeys://f/k: 2\n");
    home.strongroom(["set", "--batch", "twice.yaml"]).done().fails(2, "document.duplicate");
}

#[test]
fn a_group_reads_as_the_documented_json() {
    let home = Home::new();
    let key = home.canary("key");
    home.put("keys://openai/OPENAI_API_KEY", &key);
    home.put("keys://openai/metadata/ApiType", "azure");
    home.put("keys://openai/target", "https://x.openai.azure.com/");
    let expected = format!(
        concat!(
            r#"{{"tags":null,"location":null,"id":null,"name":"openai","#,
            r#""type":"Microsoft.MachineLearningServices/workspaces/connections","#,
            r#""properties":{{"authType":"CustomKeys","#,
            r#""credentials":{{"keys":{{"OPENAI_API_KEY":"{}"}}}},"#,
            r#""category":"CustomKeys","expiryTime":null,"#,
            r#""target":"https://x.openai.azure.com/","#,
            r#""isSharedToAll":false,"sharedUserList":[],"metadata":{{"ApiType":"azure"}}}},"systemData":null}}"#
        ),
        key
    );
    home.strongroom(["get", "keys://openai"]).shows().done().ok().prints(&expected);
    home.strongroom(["get", "keys://openai/metadata/ApiType"]).done().ok().prints("azure");
    home.strongroom(["get", "keys://openai/target"]).done().ok().prints("https://x.openai.azure.com/");
    home.strongroom(["get", "keys://openai#properties.credentials.keys.OPENAI_API_KEY"])
        .shows()
        .done()
        .ok()
        .prints(&key);
    // What was read can be set elsewhere.
    home.put("keys://copy", &expected);
    assert_eq!(home.get("keys://copy/OPENAI_API_KEY"), key.as_bytes());
    assert_eq!(home.get("keys://copy"), expected.replace(r#""name":"openai""#, r#""name":"copy""#).as_bytes());
}

#[test]
fn a_whole_group_is_replaced_at_once_or_not_at_all() {
    let home = Home::new();
    let (old, new) = (home.canary("old"), home.canary("new"));
    home.put("keys://g/gone", &old);
    home.put("keys://g/kept", &old);
    let document = |rest: &str| {
        format!(r#"{{"properties":{{"credentials":{{"keys":{{"kept":"{old}","added":"{new}"}}}}{rest}}}}}"#)
    };
    for wrong in [document(r#","keyz":{}"#), "{}".to_owned(), "plain".to_owned(), document("").replace("added", "kept")]
    {
        home.strongroom(["set", "keys://g"]).input(&wrong).done().fails(2, "keys.document");
        assert_eq!(home.get("keys://g/gone"), old.as_bytes());
    }
    home.put("keys://g", document(r#","metadata":{"a":"b"},"target":"t""#));
    home.strongroom(["get", "keys://g/gone"]).done().fails(6, "keys.no-key").says("`added`, `kept`");
    assert_eq!(home.get("keys://g/added"), new.as_bytes());
    assert_eq!(home.get("keys://g/metadata/a"), b"b");
    home.strongroom(["list", "--versions", "keys://g/kept"]).done().ok().prints("1\n");
}

#[test]
fn versions_are_kept_and_named() {
    let home = Home::new();
    let values: Vec<String> = (1..=3).map(|n| home.canary(&format!("v{n}"))).collect();
    values.iter().for_each(|value| home.put("keys://g/k", value));
    home.put("keys://g/other", "x");
    assert_eq!(home.get("keys://g/k"), values[2].as_bytes());
    for (number, value) in (1..).zip(&values) {
        assert_eq!(home.get(&format!("keys://g/k?version={number}")), value.as_bytes());
    }
    home.strongroom(["list", "--versions", "keys://g/k"]).done().ok().prints("3\n2\n1\n");
    home.strongroom(["get", "keys://g/k?version=9"]).done().fails(6, "keys.no-version").says("newest is `3`");
    home.strongroom(["get", "keys://g/k?versoin=1"]).done().fails(2, "keys.selector").says("only `version`");
    home.strongroom(["set", "keys://g/k?version=1"]).input("x").done().fails(15, "keys.version");

    home.strongroom(["delete", "--yes", "keys://g/k?version=3"]).done().ok();
    assert_eq!(home.get("keys://g/k"), values[1].as_bytes());
    home.put("keys://g/k", "x");
    home.strongroom(["list", "--versions", "keys://g/k"]).done().ok().prints("4\n2\n1\n");
    home.strongroom(["delete", "--yes", "keys://g/k"]).done().ok();
    home.strongroom(["get", "keys://g/k?version=1"]).done().fails(6, "keys.no-key");
    home.strongroom(["list", "--versions", "keys://g/k"]).done().fails(6, "keys.no-key");
    home.strongroom(["list", "--versions", "keys://g"]).done().fails(15, "keys.no-versions");
    home.strongroom(["list", "--versions", "env:PATH"]).done().status(15);
}

#[test]
fn names_are_listed_and_values_never() {
    let home = Home::new();
    home.put("keys://b/two", home.canary("two"));
    home.put("keys://b/one", home.canary("one"));
    home.put("keys://a/x y", home.canary("blank"));
    home.put("keys://b/metadata/m", "not listed");
    home.strongroom(["list", "keys"]).done().ok().prints("a\nb\n").quiet();
    home.strongroom(["list", "keys://"]).done().ok().prints("a\nb\n");
    home.strongroom(["list", "keys://b"]).done().ok().prints("one\ntwo\n");
    home.strongroom(["list", "keys://a"]).done().ok().prints("x y\n");
    let json = home.strongroom(["list", "--json", "keys://b"]).done().ok().json();
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["names"][0]["name"], "one");
    assert_eq!(json["names"][0]["attributes"]["version"], "1");
    let json = home.strongroom(["list", "--json", "keys"]).done().ok().json();
    assert_eq!(json["names"][1]["attributes"]["keys"], "2");
    home.strongroom(["list", "keys://none"]).done().fails(6, "keys.no-group");
    home.strongroom(["list", "nobody"]).done().fails(3, "route.no-such-mount").says("env, keys");
    // Many pages.
    let many: String = (0..250).map(|n| format!("keys://many/k{n:03}: x\n")).collect();
    home.write("many.yaml", many);
    home.strongroom(["set", "--batch", "many.yaml"]).done().ok();
    let expected: String = (0..250).map(|n| format!("k{n:03}\n")).collect();
    home.strongroom(["list", "keys://many"]).done().ok().prints(expected);
}

#[test]
fn deleting_asks_and_without_a_terminal_needs_a_yes_beforehand() {
    let home = Home::new();
    let secret = home.canary("key");
    home.put("keys://g/k", &secret);
    home.put("keys://g/target", "t");
    home.strongroom(["delete", "keys://g/k"]).input("y\n").done().fails(15, "confirm.no-terminal").says("--yes");
    assert_eq!(home.get("keys://g/k"), secret.as_bytes());
    home.strongroom(["delete", "--yes", "keys://g/none"]).done().fails(6, "keys.no-key");
    home.strongroom(["delete", "--yes", "keys://none/k"]).done().fails(6, "keys.no-group");
    home.strongroom(["delete", "-y", "keys://g/k"]).done().ok().says("deleted keys://g/k").prints("");
    home.strongroom(["get", "keys://g/k"]).done().fails(6, "keys.no-key");
    home.strongroom(["delete", "-y", "keys://g/target"]).done().ok();
    home.strongroom(["get", "keys://g"]).done().fails(6, "keys.no-group");
    home.put("keys://g/k", &secret);
    home.strongroom(["delete", "-y", "keys://g"]).done().ok();
    home.strongroom(["list", "keys"]).done().ok().prints("");
    home.strongroom(["delete", "-y", "env:PATH"]).done().fails(4, "mount.read-only");
}

#[test]
fn attributes_belong_to_a_version() {
    let home = Home::new();
    let secret = home.canary("key");
    let options =
        ["--content-type", "text/plain", "--expires", "2027-01-31T12:00:00Z", "--tag", "a=b", "--tag", "c=d=e"];
    home.strongroom(["set", "keys://g/k"].iter().chain(&options)).input(&secret).done().ok();
    let json = home.strongroom(["get", "--json", "keys://g/k"]).shows().done().ok().json();
    assert_eq!((&json["content_type"], &json["expires_at"]), (&"text/plain".into(), &1_801_396_800.into()));
    assert_eq!((&json["attributes"]["tags.a"], &json["attributes"]["tags.c"]), (&"b".into(), &"d=e".into()));
    let listed = home.strongroom(["list", "--json", "keys://g"]).done().ok().json();
    assert_eq!(listed["names"][0]["attributes"]["content-type"], "text/plain");
    assert_eq!(listed["names"][0]["attributes"]["expires"], "1801396800");
    home.put("keys://g/k", &secret);
    let json = home.strongroom(["get", "--json", "keys://g/k"]).shows().done().ok().json();
    assert_eq!(json["content_type"], serde_json::Value::Null);
    for wrong in [["--expires", "tomorrow"], ["--expires", "2027-02-30T00:00:00Z"], ["--tag", "a"], ["--tag", "=b"]] {
        home.strongroom(["set", "keys://g/k"].iter().chain(&wrong)).input("x").done().fails(64, "usage.attribute");
    }
    home.strongroom(["set", "keys://g/target", "--tag", "a=b"]).input("x").done().fails(15, "keys.attribute");
    home.strongroom(["list", "--versions", "keys://g/k"]).done().ok().prints("2\n1\n");
}

#[test]
fn an_expected_version_guards_a_change() {
    let home = Home::new();
    let (first, second) = (home.canary("first"), home.canary("second"));
    let set = |expected: &str, value: &str| {
        home.strongroom(["set", "keys://g/k", "--expected", expected]).input(value).done()
    };
    set("1", &first).fails(14, "keys.not-current");
    home.strongroom(["get", "keys://g"]).done().fails(6, "keys.no-group");
    home.put("keys://g/k", &first);
    set("1", &second).ok().says("version 2");
    set("1", &first).fails(14, "keys.not-current").says("`2`");
    assert_eq!(home.get("keys://g/k"), second.as_bytes());
}

#[test]
fn a_field_of_a_value_is_read_and_never_changed() {
    let home = Home::new();
    home.put("keys://g/k", r#"{"a":"1","b":"2"}"#);
    home.strongroom(["get", "keys://g/k#a"]).done().ok().prints("1");
    home.strongroom(["set", "keys://g/k#a"]).input("x").done().fails(2, "reference.field").says("leave out");
    home.strongroom(["delete", "--yes", "keys://g/k#a"]).done().fails(2, "reference.field");
    home.strongroom(["recover", "keys://g/k#a"]).done().fails(2, "reference.field");
    home.strongroom(["list", "--versions", "keys://g/k#a"]).done().fails(2, "reference.field");
    assert_eq!(home.get("keys://g/k"), br#"{"a":"1","b":"2"}"#);
}

#[test]
fn a_mebibyte_is_accepted_and_more_is_over_the_limit() {
    let home = Home::new();
    let secret = home.canary("large");
    let most = secret.repeat(1 + (1 << 20) / secret.len())[..1 << 20].to_owned();
    home.put("keys://g/most", &most);
    assert_eq!(home.get("keys://g/most"), most.as_bytes());
    home.strongroom(["set", "keys://g/line"]).input(format!("{most}\n")).done().ok();
    let over = format!("{most}x");
    let ten = most.repeat(10);
    home.write_secret("over", &over);
    home.write_secret("ten", &ten);
    for value in [&over, &ten] {
        home.strongroom(["set", "keys://new/k"]).input(value).done().fails(10, "value.too-large").says("1 MiB");
    }
    for file in ["over", "ten"] {
        home.strongroom(["set", "keys://new/k", "--from-file", file]).done().status(10).says("too-large");
    }
    let quoted = serde_json::json!({ "keys://new/k": over }).to_string();
    home.write_secret("batch.json", quoted);
    home.strongroom(["set", "--batch", "batch.json"]).done().fails(10, "value.too-large");
    home.strongroom(["get", "keys://new"]).done().fails(6, "keys.no-group");
    home.strongroom(["list", "keys"]).done().ok().prints("g\n");
}

#[test]
fn any_bytes_are_a_value() {
    let home = Home::new();
    let secret = home.canary("binary");
    let bytes: Vec<u8> = secret.bytes().chain(0..=255).chain([b'\n', 0, b'\n']).collect();
    home.put("keys://g/k", &bytes);
    assert_eq!(home.get("keys://g/k"), bytes);
    let json = home.strongroom(["get", "--json", "keys://g/k"]).shows().done().ok().json();
    use base64::Engine;
    let decoded = base64::engine::general_purpose::STANDARD.decode(json["value_base64"].as_str().unwrap()).unwrap();
    assert_eq!((decoded, json.get("value")), (bytes, None));
    home.strongroom(["get", "keys://g"]).done().fails(15, "keys.binary").says("`k`");
    home.put("keys://g/empty", "");
    assert_eq!(home.get("keys://g/empty"), b"");
    home.put("keys://g/ü ☃", "odd");
    assert_eq!(home.get("keys://g/%C3%BC%20%E2%98%83"), b"odd");
    home.put("keys://g/a%3Fb%23c%25", "reserved");
    home.strongroom(["list", "keys://g"]).done().ok().prints("a?b#c%\nempty\nk\nü ☃\n");
}

#[test]
fn names_that_cannot_be_are_refused() {
    let home = Home::new();
    for (reference, code) in [
        ("keys://g/a%2Fb", "reference.escape"),
        ("keys://g/a%00b", "reference.escape"),
        ("keys://g/a%zz", "reference.escape"),
        ("keys://g/a/b", "keys.form"),
        ("keys://g/metadata", "keys.reserved"),
        ("keys://g/credentials", "keys.reserved"),
        ("keys://g/a/b/c/d", "reference.form"),
        ("keys://g//b", "reference.empty-segment"),
        ("keys://g/..", "reference.dot-segment"),
        ("keys://", "reference.form"),
        ("keys:g/k", "reference.form"),
        ("keys://g/k?version=1&version=2", "reference.selector"),
    ] {
        home.strongroom(["set", reference]).input("x").done().fails(2, code);
        home.strongroom(["get", reference]).done().fails(2, code).prints("");
    }
    let long = format!("keys://g/{}", "n".repeat(128));
    home.strongroom(["set", &long]).input("x").done().fails(2, "keys.name");
    assert_eq!(home.strongroom(["list", "keys"]).done().ok().out(), "");
}

#[test]
fn reading_makes_no_store() {
    let home = Home::new();
    home.strongroom(["get", "keys://g/k"]).done().fails(6, "keys.no-group").says("keys://g/k");
    home.strongroom(["get", "keys://g"]).done().fails(6, "keys.no-group");
    home.strongroom(["list", "keys"]).done().ok().prints("");
    home.strongroom(["list", "keys://g"]).done().fails(6, "keys.no-group");
    home.strongroom(["explain", "keys://g/k"]).done().ok();
    home.strongroom(["run", "-e", "A=keys://g/k", "--", "true"]).done().fails(106, "keys.no-group");
    home.strongroom(["store", "status"]).done().ok();
    home.strongroom(["set", "env:X"]).input("v").done().fails(4, "mount.read-only");
    assert_eq!(names_in(&home.state("")), [""; 0]);
}

#[test]
fn twenty_processes_write_and_read_at_once() {
    let home = Home::new();
    let values: Vec<String> = (0..20).map(|n| home.canary(&format!("w{n}"))).collect();
    let running: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(n, value)| home.strongroom(["set", &format!("keys://g/k{n:02}")]).input(value).start())
        .collect();
    for mut running in running {
        let err = running.errors.as_mut().unwrap().rest();
        assert_eq!(running.wait(), 0, "{}", crate::support::lossy(&err));
    }
    let reading: Vec<_> = (0..20).map(|n| home.strongroom(["get", &format!("keys://g/k{n:02}")]).start()).collect();
    for (mut running, value) in reading.into_iter().zip(&values) {
        assert_eq!(running.output.rest(), value.as_bytes());
        assert_eq!(running.wait(), 0);
    }
}

#[test]
fn a_killed_process_takes_nothing_that_was_acknowledged_with_it() {
    let home = Home::new();
    home.put("keys://g/first", "x");
    let mut acknowledged = Vec::new();
    for round in 0..30 {
        let name = format!("k{round:02}");
        let value = format!("value {round} {}", "x".repeat(50_000));
        let mut running = home.strongroom(["set", &format!("keys://g/{name}")]).input(&value).start();
        // At a moment that differs from round to round, from before the start to after the end.
        std::thread::sleep(std::time::Duration::from_micros(700 * round));
        running.kill();
        if running.wait() == 0 {
            acknowledged.push((name.clone(), value.clone()));
        }
        let there = home.strongroom(["get", &format!("keys://g/{name}")]).done();
        match there.status {
            0 => assert_eq!(there.out(), value, "half a value"),
            status => assert_eq!(status, 6, "{}", there.err()),
        }
    }
    for (name, value) in acknowledged {
        assert_eq!(home.get(&format!("keys://g/{name}")), value.as_bytes());
    }
    assert_eq!(home.get("keys://g/first"), b"x");
}
