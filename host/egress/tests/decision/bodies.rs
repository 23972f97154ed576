//! Bodies that name what they are about, and hosts that answers tell: tables, each decision made twice.

use serde_json::json;
use strongroom_egress::decide::Stage;

use crate::world::{Try, World};

/// A batch names its secrets, one secret is set by a name in the body, and both are below a space.
fn batches() -> World {
    World::new(&[
        "origin = \"https://a.vault.example\"\nallow = [\"POST /{ref.path.0}/batch\", \"PUT /{ref.path.0}/batch\"]\n\
         body = { \"/secrets/*/name\" = [\"{ref.path.1}\"] }",
        "origin = \"https://a.vault.example\"\nallow = [\"PUT /one\"]\n\
         body = { \"/space\" = [\"{ref.path.0}\"], \"/name\" = [\"{ref.path.1}\", \"{config.prefix}-{ref.path.1}\"] }",
        "origin = \"https://a.vault.example\"\nallow = [\"POST /mixed\"]\n\
         body = { \"/space\" = [\"{ref.path.0}\"], \"/names/*\" = [\"{ref.path.1}\"] }",
    ])
    .with_references(&["acme://a.vault.example/red/a", "acme://a.vault.example/red/b", "acme://a.vault.example/blue/c"])
    .with_config(json!({"prefix": "p"}))
}

fn with<'a>(method: &'a str, target: &'a str, body: &'a str) -> Try<'a> {
    Try { method, target, body: body.as_bytes(), ..Try::default() }
}

#[test]
fn a_body_names_references_of_the_call() {
    for (method, target, body) in [
        ("POST", "/red/batch", r#"{"secrets":[{"name":"a"}]}"#),
        ("POST", "/red/batch", r#"{"secrets":[{"name":"b"},{"name":"a"},{"name":"a"}],"more":[1,{}]}"#),
        ("POST", "/blue/batch", r#" { "secrets" : [ { "name" : "\u0063" } ] } "#),
        ("PUT", "/one", r#"{"space":"red","name":"b","value":"v"}"#),
        ("PUT", "/one", r#"{"space":"red","name":"p-b"}"#),
        ("POST", "/mixed", r#"{"space":"red","names":["a","b"]}"#),
        ("POST", "/mixed", r#"{"space":"blue","names":["c"]}"#),
    ] {
        batches().allows(&with(method, target, body));
    }
}

#[test]
fn another_name_in_the_body_is_refused() {
    for (method, target, body) in [
        ("POST", "/red/batch", r#"{"secrets":[{"name":"other"}]}"#),
        ("POST", "/red/batch", r#"{"secrets":[{"name":"a"},{"name":"other"}]}"#),
        // A reference of the call, but of another space.
        ("POST", "/red/batch", r#"{"secrets":[{"name":"a"},{"name":"c"}]}"#),
        ("POST", "/blue/batch", r#"{"secrets":[{"name":"a"}]}"#),
        ("POST", "/red/batch", r#"{"secrets":[{"name":"A"}]}"#),
        ("POST", "/red/batch", r#"{"secrets":[{"name":"a "}]}"#),
        ("PUT", "/one", r#"{"space":"red","name":"c"}"#),
        ("PUT", "/one", r#"{"space":"blue","name":"a"}"#),
        ("POST", "/mixed", r#"{"space":"red","names":["a","c"]}"#),
        ("POST", "/mixed", r#"{"space":"green","names":["a"]}"#),
    ] {
        batches().refuses_at(Stage::Body, &with(method, target, body));
    }
}

#[test]
fn a_body_that_could_be_read_in_two_ways_is_refused() {
    let deep = format!(r#"{{"secrets":[{{"name":"a"}}],"x":{}{}}}"#, "[".repeat(300), "]".repeat(300));
    for body in [
        "",
        "a",
        "{}",
        r#"{"secrets":[]}"#,
        r#"{"secrets":"a"}"#,
        r#"{"secrets":[{"name":["a"]}]}"#,
        r#"{"secrets":[{"name":"a"},{"id":"other"}]}"#,
        r#"{"secrets":[{"name":"a","name":"other"}]}"#,
        r#"{"secrets":[{"name":"a","Name":"other"}]}"#,
        r#"{"secrets":[{"name":"a"}],"SECRETS":[{"name":"other"}]}"#,
        r#"{"secrets":[{"name":"a"}],"\u0073ecrets":[{"name":"other"}]}"#,
        r#"{"Secrets":[{"name":"a"}]}"#,
        r#"{"secrets":[{"name":"a"}]}{"secrets":[{"name":"other"}]}"#,
        r#"{"secrets":[{"name":"a"}]/**/}"#,
        r#"{'secrets':[{"name":"a"}]}"#,
        r#"secrets[0][name]=a"#,
        &deep,
    ] {
        batches().refuses_at(Stage::Body, &with("POST", "/red/batch", body));
    }
    let body = r#"{"secrets":[{"name":"a"}]}"#;
    let typed = |kind: &'static [u8]| Try { headers: vec![("content-type", kind)], ..with("POST", "/red/batch", body) };
    for kind in ["application/json", "Application/JSON; charset=UTF-8", "application/json-patch+json; charset=utf-8"] {
        batches().allows(&typed(kind.as_bytes()));
    }
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/json; charset=utf-7",
        "application/json; charset=utf-16",
    ] {
        batches().refuses_at(Stage::Body, &typed(kind.as_bytes()));
    }
}

/// A service that an answer tells, within hosts that the rule writes; or the config.
fn told(config: serde_json::Value) -> World {
    World::new(&[
        "origin = \"https://find.example\"\nallow = [\"GET /v1/{ref.path.0}\"]\ndiscovers = { service = \"/where\" }",
        "origin = \"{discovered.service}\"\nhosts = [\"*.service.example\"]\nallow = [\"GET /v1/{ref.path.0}\"]\n\
         credential = { audience = \"https://manager.example\" }",
    ])
    .with_config(config)
}

#[test]
fn a_host_that_was_told_is_one_of_the_rules() {
    let at = |authority: &'static str| Try { authority, target: "/v1/team", ..Try::default() };
    let service = at("a.service.example");
    for config in [
        json!({"discovered.service": "https://a.service.example/path?x"}),
        json!({"discovered.service": "https://A.Service.Example"}),
        json!({"service": "https://a.service.example"}),
        json!({"service": "https://a.service.example", "discovered.service": "https://b.service.example"}),
    ] {
        told(config.clone()).allows(&service);
        told(config).refuses_at(Stage::Origin, &at("b.service.example"));
    }
    // Not told, not there.
    told(json!({})).refuses_at(Stage::Origin, &service);
    for (url, authority) in [
        ("https://evil.example", "evil.example"),
        ("https://a.b.service.example", "a.b.service.example"),
        ("https://service.example", "service.example"),
        ("https://a.service.example:8443", "a.service.example:8443"),
        ("https://a.service.example.evil", "a.service.example.evil"),
    ] {
        told(json!({"discovered.service": url})).refuses_at(Stage::Host, &at(authority));
    }
    for url in [
        "http://a.service.example",
        "https://u@a.service.example",
        "a.service.example",
        "https://a.service.example.",
        "//a.service.example",
    ] {
        told(json!({"discovered.service": url})).refuses_at(Stage::Origin, &service);
    }
}
