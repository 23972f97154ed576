//! Whoever follows the advice of a refusal gets further, and in the end through.

use serde_json::json;
use strongroom_core::manifest::Function;
use strongroom_egress::decide::Stage;

use crate::world::{Try, World};

const RULE: [(&str, &str); 5] = [
    ("origin", "origin = \"https://{ref.authority}\""),
    ("hosts", "hosts = [\"a.vault.example\"]"),
    ("allow", "allow = [\"GET /v1/{ref.path.0}/{ref.path.1}\"]"),
    ("query", "query = { version = [\"3\"] }"),
    ("headers", "headers = [\"x-op: read\"]"),
];

/// The rule, with `line` in the place of the one for the same key.
fn rule(line: &str) -> String {
    let key = line.split(' ').next().unwrap();
    let kept = RULE.iter().filter(|(known, _)| *known != key).map(|(_, line)| *line);
    kept.chain([line].into_iter().filter(|line| !line.is_empty())).collect::<Vec<_>>().join("\n")
}

/// The line that the advice gives, after its colon.
fn line(advice: &str) -> &str {
    advice.split_once(": ").unwrap_or_else(|| panic!("no line in {advice}")).1
}

#[track_caller]
fn advice(world: &World, stage: Stage, request: &Try<'_>) -> String {
    world.refuses_at(stage, request).advice.expect("advice").to_string()
}

#[test]
fn a_function_or_an_origin_that_no_rule_has_is_a_rule_to_write() {
    let fixed = |on: &str, origin: &str| {
        World::new(&[&format!("{on}\n{origin}\nallow = [\"GET /v1/team/db\"]")]).running(Function::Names)
    };
    let world = fixed("", "origin = \"https://a.vault.example\"");
    let on = advice(&world, Stage::Function, &Try::default());
    assert!(on.starts_with("in plugin.toml, an [[http]] with"), "{on}");
    fixed(line(&on), "origin = \"https://a.vault.example\"").allows(&Try::default());

    for (scheme, authority) in [
        ("https", "b.vault.example"),
        ("https", "a.vault.example:8443"),
        ("http", "[2001:db8::1]"),
        ("http", "10.0.0.1:81"),
    ] {
        let request = Try { scheme, authority, ..Try::default() };
        let world = fixed("on = [\"names\"]", "origin = \"https://a.vault.example\"");
        let origin = advice(&world, Stage::Origin, &request);
        fixed("on = [\"names\"]", line(&origin)).allows(&request);
    }
}

#[test]
fn a_host_is_a_line_for_the_rule_or_for_the_mount() {
    for (reference, authority) in [
        ("acme://b.vault.example/team/db", "b.vault.example"),
        ("acme://b.vault.example:8443/team/db", "b.vault.example:8443"),
        ("acme://10.0.0.1/team/db", "10.0.0.1"),
    ] {
        let request = Try { authority, ..Try::default() };
        let world = World::new(&[&rule("")]).with_references(&[reference]);
        let hosts = advice(&world, Stage::Host, &request);
        assert!(hosts.starts_with("in that rule of plugin.toml"), "{hosts}");
        let world = World::new(&[&rule(line(&hosts))]).with_references(&[reference]);
        world.allows(&request);

        let elsewhere =
            World::new(&[&rule(line(&hosts))]).with_references(&[reference]).with_hosts(&["c.vault.example"]);
        let hosts = advice(&elsewhere, Stage::Host, &request);
        assert!(hosts.starts_with("in the mount"), "{hosts}");
        let host = line(&hosts).strip_prefix("hosts = [\"").and_then(|rest| rest.strip_suffix("\"]")).unwrap();
        elsewhere.with_hosts(&[host]).allows(&request);
    }
}

#[test]
fn a_route_is_a_line_that_a_manifest_can_hold() {
    for target in [
        "/",
        "/v2/x",
        "/v2/x/",
        "/v2/a%20b/%C3%BC",
        "/v2/100%25",
        "/v2/a%3Fb",
        "/v2/a%23b",
        "/v2/%7Bref%7D",
        "/v2/a:b@c;d=e",
        "/v2/a%22b",
        "/v2/a%E2%80%8Bb",
    ] {
        for method in ["GET", "DELETE"] {
            let request = Try { method, target, ..Try::default() };
            let allow = advice(&World::new(&[&rule("")]), Stage::Route, &request);
            World::new(&[&rule(line(&allow))]).allows(&request);
        }
    }
    let long = format!("/v2/{}", "x".repeat(600));
    let request = Try { target: &long, ..Try::default() };
    let allow = advice(&World::new(&[&rule("")]), Stage::Route, &request);
    World::new(&[&rule(line(&allow))]).allows(&request);
}

#[test]
fn a_query_is_a_line_with_a_place_for_its_values() {
    for (query, value) in [("version=4", "4"), ("page=2", "2"), ("$skip%20token=a/b", "a/b"), ("%C3%BC=%22", "\"")] {
        let target = format!("/v1/team/db?{query}");
        let request = Try { target: &target, ..Try::default() };
        let advised = advice(&World::new(&[&rule("")]), Stage::Query, &request);
        let filled = line(&advised).replace("[...]", &json!([value]).to_string());
        World::new(&[&rule(&filled)]).allows(&request);
        let any = line(&advised).replace("[...]", "\"any\"");
        World::new(&[&rule(&any)]).allows(&request);
    }
}

#[test]
fn a_header_is_a_line_unless_it_is_the_hosts() {
    for (name, value) in [("x-op", "delete"), ("x-other", ""), ("accept-language", "de"), ("X-Op_2", "\u{7e}")] {
        let request = Try { headers: vec![(name, value.as_bytes())], ..Try::default() };
        let headers = advice(&World::new(&[&rule("")]), Stage::Header, &request);
        World::new(&[&rule(line(&headers))]).allows(&request);
    }
    // What no line allows gets no advice that says so.
    for name in ["authorization", "cookie", "host", "x-http-method-override", "te"] {
        let request = Try { headers: vec![(name, b"x")], ..Try::default() };
        let refused = World::new(&[&rule("")]).refuses_at(Stage::Header, &request);
        assert_eq!(refused.advice, None, "{name}");
    }
}

#[test]
fn a_credential_is_a_line_for_the_mount_or_for_the_rule() {
    let wild = |hosts: &str| {
        World::new(&[&format!(
            "{}\ncredential = {{ audience = \"https://other.example\" }}",
            rule(&format!("hosts = [{hosts}]"))
        )])
    };
    let world = wild("\"a.vault.example\"");
    let hosts = advice(&world, Stage::Credential, &Try::default());
    assert_eq!(hosts, "in the mount: hosts = [\"a.vault.example\"]");
    let wide = world.with_hosts(&["*.vault.example"]);
    let hosts = advice(&wide, Stage::Credential, &Try::default());
    assert_eq!(hosts, "in the mount, without a wildcard: hosts = [\"a.vault.example\"]");
    wide.with_hosts(&["a.vault.example"]).allows(&Try::default());

    let world = wild("\"*.vault.example\"").with_hosts(&["a.vault.example"]);
    let hosts = advice(&world, Stage::Credential, &Try::default());
    assert_eq!(hosts, "in that rule of plugin.toml, without a wildcard: hosts = [\"a.vault.example\"]");
    wild("\"a.vault.example\"").with_hosts(&["a.vault.example"]).allows(&Try::default());
}
