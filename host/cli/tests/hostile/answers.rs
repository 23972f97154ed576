//! Backends that give away what the host injected, or answer what nobody asked for. The plugin gets
//! nothing of it, and the token is in no memory that a plugin can read.

use std::sync::Arc;

use serde_json::json;
use strongroom::{Allocation, Kind};

use crate::backend::{Backend, Reply, Seen, answer, ok};
use crate::canary::{Canary, hex};
use crate::world::{Plan, World, get, is, request, script, under_both};

/// A backend that takes the credential and answers what `answering` makes of the token.
async fn echoing(
    allocation: Allocation,
    answering: impl Fn(&Canary, &Seen) -> Reply + Send + Sync + 'static,
) -> (World, Backend, Canary) {
    let token = Canary::new();
    let sent = Arc::new(token.clone());
    let backend = Backend::secure(move |seen| {
        assert_eq!(seen.header("x-vault-token"), Some(sent.text()), "the host injects");
        if seen.path() == "/v1/good" { ok("good") } else { answering(&sent, seen) }
    })
    .await;
    let world = Plan::new(allocation).secure(backend.origin()).token(&token).open();
    (world, backend, token)
}

/// The call ends with `protocol`, whether the plugin minds or not, and the next one is answered.
fn ends(answering: impl Fn(&Canary) -> Reply + Send + Sync + Clone + 'static) {
    under_both(async |allocation| {
        let answering = answering.clone();
        let (world, backend, token) = echoing(allocation, move |token, _| answering(token)).await;
        for wanted in [script(get(&backend.origin(), "/v1/a")), script(get(&backend.origin(), "/v1/a")).or_fail()] {
            is(&world.failure("a", &wanted).await, Kind::Protocol, "egress.echo");
        }
        // Nothing of the answer reached the memory of the plugin, which looks for it.
        let looks = script(get(&backend.origin(), "/v1/a")).then(json!({ "scan": hex(token.text().as_bytes()) }));
        is(&world.failure("a", &looks).await, Kind::Protocol, "egress.echo");
        let report = world.report("good", &script(get(&backend.origin(), "/v1/good"))).await;
        assert_eq!(report[0]["body"], "good");
        world.end().await;
    });
}

/// The plugin gets an answer without the token in it: where the token stood, it cannot look.
fn hides(answering: impl Fn(&Canary) -> Reply + Send + Sync + Clone + 'static) {
    under_both(async |allocation| {
        let answering = answering.clone();
        let (world, backend, token) = echoing(allocation, move |token, _| answering(token)).await;
        let wanted = script(get(&backend.origin(), "/v1/a")).then(json!({ "scan": hex(token.text().as_bytes()) }));
        let report = world.report("a", &wanted).await;
        assert!(report[0]["status"].is_number(), "{report:?}");
        assert_eq!((&report[0]["hidden"], &report[0]["trailers"]), (&json!([]), &json!([])));
        token.not_in("what the plugin saw", report[0].to_string());
        assert_eq!(report[1]["found"], 0);
        world.end().await;
    });
}

fn ends_with_the_token_as(form: &'static str) {
    ends(move |token| ok(format!("{{\"you sent\":\"{}\"}}", token.in_form(form))));
}

#[test]
fn the_token_in_the_body() {
    ends_with_the_token_as("plain");
}

#[test]
fn the_token_in_the_body_percent_encoded() {
    ends_with_the_token_as("percent");
}

#[test]
fn the_token_in_the_body_in_base64() {
    ends_with_the_token_as("base64");
}

#[test]
fn the_token_in_the_body_in_base64_one_byte_later() {
    ends_with_the_token_as("base64+1");
}

#[test]
fn the_token_in_the_body_in_base64_two_bytes_later() {
    ends_with_the_token_as("base64+2");
}

#[test]
fn the_token_in_the_body_in_the_base64_of_addresses() {
    ends_with_the_token_as("base64url");
}

#[test]
fn the_token_in_the_body_as_a_password_of_basic_authorization() {
    ends_with_the_token_as("base64-basic");
}

#[test]
fn the_token_in_the_body_in_hexadecimal() {
    ends_with_the_token_as("hex");
}

#[test]
fn the_token_in_the_body_in_large_hexadecimal() {
    ends_with_the_token_as("HEX");
}

#[test]
fn the_token_in_the_body_as_json_writes_it() {
    ends_with_the_token_as("json");
}

#[test]
fn the_token_at_the_end_of_a_large_body() {
    ends(|token| ok([&vec![b'.'; 900_000][..], token.text().as_bytes()].concat()));
}

#[test]
fn the_token_across_the_chunks_of_a_body() {
    ends(|token| {
        let chunks: String = token.text().chars().map(|c| format!("1\r\n{c}\r\n")).collect();
        Reply::Send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into())
    });
}

#[test]
fn the_token_in_the_body_of_an_error() {
    ends(|token| answer("403 Forbidden", "", format!("bad token {}", token.text())));
}

#[test]
fn the_token_in_a_header_that_the_plugin_may_read() {
    ends(|token| answer("200 OK", &format!("x-page: {}\r\n", token.text()), "body"));
}

#[test]
fn the_token_as_an_etag() {
    ends(|token| answer("200 OK", &format!("etag: \"{}\"\r\n", token.in_form("base64")), "body"));
}

#[test]
fn the_token_in_the_content_type() {
    ends(|token| answer("200 OK", &format!("content-type: text/{}\r\n", token.in_form("hex")), "body"));
}

#[test]
fn an_encoded_answer() {
    ends(|_| answer("200 OK", "content-encoding: gzip\r\n", b"\x1f\x8b\x08\x00whatever"));
}

#[test]
fn an_answer_that_is_encoded_twice() {
    ends(|_| answer("200 OK", "content-encoding: identity\r\ncontent-encoding: br\r\n", "whatever"));
}

#[test]
fn the_token_in_a_header_that_nobody_may_read() {
    hides(|token| answer("200 OK", &format!("x-secret: {}\r\n", token.text()), "body"));
}

#[test]
fn the_token_sent_back_under_its_own_header() {
    hides(|token| answer("200 OK", &format!("x-vault-token: {}\r\n", token.text()), "body"));
}

#[test]
fn the_token_in_a_cookie() {
    hides(|token| answer("200 OK", &format!("set-cookie: t={}\r\n", token.text()), "body"));
}

#[test]
fn the_token_in_the_trailers() {
    hides(|token| {
        let trailers = format!("x-page: {0}\r\nx-secret: {0}\r\n", token.text());
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-page\r\n\r\n";
        Reply::Send(format!("{head}4\r\nbody\r\n0\r\n{trailers}\r\n").into())
    });
}

#[test]
fn the_token_in_a_challenge() {
    hides(|token| answer("401 Unauthorized", &format!("www-authenticate: Bearer realm=\"{}\"\r\n", token.text()), ""));
}

#[test]
fn the_token_in_an_early_hint() {
    hides(|token| {
        let hint = format!("HTTP/1.1 103 Early Hints\r\nx-page: {}\r\n\r\n", token.text());
        Reply::Send(format!("{hint}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody").into())
    });
}

#[test]
fn the_token_in_the_words_of_the_status() {
    hides(|token| answer(&format!("200 {}", token.text()), "", "body"));
}

#[test]
fn the_token_in_the_place_of_a_redirect() {
    hides(|token| answer("302 Found", &format!("location: https://evil.test/{}\r\n", token.text()), ""));
}

/// Answers every status that means "elsewhere" with a place on another server.
fn redirected(status: &'static str) {
    under_both(async |allocation| {
        let elsewhere = Backend::secure(|_| ok("stolen")).await;
        let location = format!("location: {}/v1/a\r\n", elsewhere.origin());
        let (world, backend, _) = echoing(allocation, move |_, _| answer(status, &location, "moved")).await;
        let report = world.report("a", &script(get(&backend.origin(), "/v1/a"))).await;
        assert_eq!((&report[0]["body"], &report[0]["hidden"]), (&json!("moved"), &json!([])));
        assert_eq!((backend.seen().len(), elsewhere.accepted()), (1, 0));
        assert_eq!(world.names.asked(), ["vault.test"]);
        world.end().await;
    });
}

#[test]
fn a_redirect_to_another_server() {
    redirected("302 Found");
}

#[test]
fn a_redirect_that_keeps_the_method() {
    redirected("307 Temporary Redirect");
}

#[test]
fn a_redirect_for_ever() {
    redirected("308 Permanent Redirect");
}

/// What is no one whole answer is a failure of the backend.
fn no_answer(answer: impl Fn(&Canary, &Seen) -> Reply + Clone + Send + Sync + 'static) {
    under_both(async |allocation| {
        let (world, backend, _) = echoing(allocation, answer.clone()).await;
        is(
            &world.failure("a", &script(get(&backend.origin(), "/v1/a")).or_fail()).await,
            Kind::Unavailable,
            "egress.answer",
        );
        world.end().await;
    });
}

#[test]
fn a_switch_of_protocols() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n";
    no_answer(move |_, _| Reply::Send(switched.into()));
}

#[test]
fn an_answer_with_two_lengths() {
    let smuggled =
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n";
    no_answer(move |_, _| Reply::Send(smuggled.into()));
}

#[test]
fn an_answer_that_is_no_http() {
    no_answer(|token, _| Reply::Close(token.text().as_bytes().to_vec()));
}

#[test]
fn a_second_answer_behind_the_first_is_not_the_next_ones() {
    under_both(async |allocation| {
        let twice =
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
        let (world, backend, _) = echoing(allocation, move |_, _| Reply::Send(twice.into())).await;
        world.report("a", &script(get(&backend.origin(), "/v1/a"))).await;
        let report = world.report("good", &script(get(&backend.origin(), "/v1/good"))).await;
        assert_eq!(report[0]["body"], "good");
        assert_eq!(backend.accepted(), 2, "the connection was not used again");
        world.end().await;
    });
}

#[test]
fn the_credential_cannot_be_read_back_from_the_request() {
    under_both(async |allocation| {
        let (world, backend, token) = echoing(allocation, |_, _| ok("body")).await;
        let wanted = script(request(&backend.origin(), "/v1/a", json!({ "headers": [["accept", "*/*"]] })))
            .then(json!({ "scan": hex(token.text().as_bytes()) }));
        let report = world.report("a", &wanted).await;
        assert_eq!(
            report[0]["request_headers"],
            json!([["accept"], ["accept"]]),
            "before and after it was handed over"
        );
        assert_eq!(report[1]["found"], 0, "the whole memory of the plugin");
        world.end().await;
    });
}

#[test]
fn a_certificate_for_another_name() {
    under_both(async |allocation| {
        let backend = Backend::impostor().await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).open();
        is(
            &world.failure("a", &script(get(&backend.origin(), "/v1/a")).or_fail()).await,
            Kind::Unavailable,
            "egress.tls",
        );
        assert_eq!(backend.seen().len(), 0, "no request was sent");
        world.end().await;
    });
}

#[test]
fn a_rule_with_a_credential_on_a_mount_without_one() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let world = Plan::new(allocation).secure(backend.origin()).open();
        let failure = world.failure("a", &script(get(&backend.origin(), "/v1/a")).or_fail()).await;
        is(&failure, Kind::NotConfigured, "egress.no-credential");
        assert_eq!(backend.accepted(), 0, "a request without its credential is not sent either");
        world.end().await;
    });
}

#[test]
fn a_rule_without_a_credential_gets_none() {
    under_both(async |allocation| {
        let token = Canary::new();
        let (plain, secure) = (Backend::plain(|seen| ok(seen.head.clone())).await, Backend::secure(|_| ok("x")).await);
        let world = Plan::new(allocation).plain(plain.origin()).secure(secure.origin()).token(&token).open();
        let wanted = script(get(&secure.origin(), "/v1/a")).then(get(&plain.origin(), "/open/a"));
        let report = world.report("a", &wanted).await;
        token.not_in("what the open backend was sent", &plain.seen()[0].head);
        token.not_in("what the plugin saw", report[1].to_string());
        world.end().await;
    });
}

#[test]
fn one_credentials_connection_is_not_anothers() {
    under_both(async |allocation| {
        let token = Canary::new();
        let backend = Backend::secure(|seen| ok(format!("{}", seen.connection))).await;
        let world = Plan::new(allocation)
            .secure(backend.origin())
            .token(&token)
            .config(&format!(
                "[mounts.second]\nplugin = $HOSTILE\nscheme = \"second\"\nnetwork = \"loopback\"\ncredential = \"c\"\n\
                 config = {{ plain = \"http://plain.test:1\", secure = \"{}\", space = \"own\" }}\n",
                backend.origin()
            ))
            .open();
        let wanted = script(get(&backend.origin(), "/v1/a"));
        let first = world.report("a", &wanted).await[0]["body"].clone();
        let again = world.report("a", &wanted).await[0]["body"].clone();
        assert_eq!(first, again, "kept for the same mount, rule and credential");
        let second = world.resolve(&wanted.at("a").replace("hostile://", "second://")).await.unwrap();
        let second: serde_json::Value = serde_json::from_slice(second.expose()).unwrap();
        assert_ne!(second[0]["body"], first);
        world.end().await;
    });
}
