//! Bodies that name another secret, and hosts that an answer tells: what no path and no config binds.

use serde_json::{Value as Json, json};
use strongroom::Kind;

use crate::backend::{Backend, ok};
use crate::canary::Canary;
use crate::world::{Plan, get, is, manifest, request, script, under_both};

/// A batch that names what it asks for, and a service whose host an answer tells.
const RULES: &str = r#"
[[http]]
origin = "{config.plain}"
allow = ["POST /batch", "PUT /batch"]
body = { "/secrets/*/name" = ["{ref.path.0}"] }

[[http]]
origin = "{config.plain}"
allow = ["GET /find/{ref.path.0}"]
discovers = { service = "/where" }

[[http]]
origin = "{discovered.service}"
hosts = ["*.service.test"]
allow = ["GET /v1/{ref.path.0}"]
credential = { audience = "{config.secure}" }
"#;

/// Has the plugin send `body`, for the reference `a`.
fn refused(body: &'static str) {
    refused_as(body, "application/json");
}

fn refused_as(body: &'static str, kind: &'static str) {
    let asks = move |backend: &Backend, text: &str, kind: &str| -> Json {
        let headers = json!([["content-type", kind]]);
        request(&backend.origin(), "/batch", json!({ "method": "POST", "body": { "text": text }, "headers": headers }))
    };
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).manifest(manifest(RULES)).plain(backend.origin()).open();
        let failure = world.failure("a", &script(asks(&backend, body, kind)).or_fail()).await;
        is(&failure, Kind::PolicyDenied, "egress.refused");
        assert_eq!((backend.accepted(), world.names.asked().len()), (0, 0), "nothing left, no name was asked for");
        // It was the body and nothing else.
        let own = asks(&backend, r#"{"secrets":[{"name":"a"}]}"#, "application/json");
        let report = world.report("a", &script(own)).await;
        assert_eq!((&report[0]["status"], &report[0]["body"]), (&json!(200), &json!("reached")), "{report:?}");
        world.end().await;
    });
}

#[test]
fn a_batch_that_names_a_sibling() {
    refused(r#"{"secrets":[{"name":"b"}]}"#);
}

#[test]
fn a_batch_with_a_sibling_behind_its_own() {
    refused(r#"{"secrets":[{"name":"a"},{"name":"b"}]}"#);
}

#[test]
fn a_batch_with_its_name_twice() {
    refused(r#"{"secrets":[{"name":"a","name":"b"}]}"#);
}

#[test]
fn a_batch_with_its_name_in_capitals_too() {
    refused(r#"{"secrets":[{"name":"a","Name":"b"}]}"#);
}

#[test]
fn a_batch_with_its_list_twice() {
    refused(r#"{"secrets":[{"name":"a"}],"Secrets":[{"name":"b"}]}"#);
}

#[test]
fn a_batch_with_an_entry_that_has_no_name() {
    refused(r#"{"secrets":[{"name":"a"},"b"]}"#);
}

#[test]
fn two_documents_in_one_body() {
    refused(r#"{"secrets":[{"name":"a"}]}{"secrets":[{"name":"b"}]}"#);
}

#[test]
fn a_body_that_says_it_is_a_form() {
    refused_as(r#"{"secrets":[{"name":"a"}]}"#, "application/x-www-form-urlencoded");
}

#[test]
fn a_body_in_another_charset() {
    refused_as(r#"{"secrets":[{"name":"a"}],"+ACI-":1}"#, "application/json; charset=utf-7");
}

/// The plugin goes where the answer told it, with a token that is to be had.
fn foreign(told: &'static str, authority: &'static str) {
    under_both(async |allocation| {
        let backend = Backend::plain(move |_| ok(json!({ "where": told }).to_string())).await;
        let token = Canary::new();
        let secure = Backend::secure(|_| ok("reached")).await;
        let world = Plan::new(allocation)
            .manifest(manifest(RULES))
            .plain(backend.origin())
            .secure(secure.origin())
            .token(&token)
            .open();
        let find = get(&backend.origin(), "/find/a");
        let steps = script(find).then(get(&format!("https://{authority}"), "/v1/a")).or_fail();
        is(&world.failure("a", &steps).await, Kind::PolicyDenied, "egress.refused");
        assert_eq!(backend.seen().len(), 1, "it was told");
        assert!(!world.names.asked().iter().any(|name| name.contains("service") || name.contains("evil")));
        assert_eq!(secure.accepted(), 0);
        world.end().await;
    });
}

#[test]
fn a_told_host_that_is_foreign() {
    foreign("https://evil.test", "evil.test");
}

#[test]
fn a_told_host_below_the_pattern() {
    foreign("https://a.b.service.test", "a.b.service.test");
}

#[test]
fn a_told_host_with_a_port() {
    foreign("https://a.service.test:8443", "a.service.test:8443");
}

#[test]
fn a_told_host_as_a_user() {
    foreign("https://a.service.test@evil.test", "evil.test");
}

#[test]
fn another_host_of_the_pattern_than_was_told() {
    foreign("https://a.service.test", "b.service.test");
}

#[test]
fn a_host_of_the_pattern_that_nobody_told() {
    under_both(async |allocation| {
        let token = Canary::new();
        let world = Plan::new(allocation).manifest(manifest(RULES)).token(&token).open();
        let steps = script(get("https://a.service.test", "/v1/a")).or_fail();
        is(&world.failure("a", &steps).await, Kind::PolicyDenied, "egress.refused");
        assert!(world.names.asked().is_empty());
        world.end().await;
    });
}
