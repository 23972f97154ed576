//! Requests that no rule allows, made through real `wasi:http` calls: nothing of them leaves, no name
//! is asked for, and the call ends as `policy-denied`.

use serde_json::{Value as Json, json};
use strongroom::Kind;

use crate::backend::{Backend, ok};
use crate::canary::Canary;
use crate::world::{Plan, get, is, request, script, under_both};

/// By whom a request was stopped.
#[derive(Clone, Copy)]
enum By {
    /// By the decision.
    Decision,
    /// By `wasi:http` itself, as the guest put the request together; the word is where.
    Bindings(&'static str),
}

/// Has the plugin make the request that `wanted` gives for the backend that the rules name.
fn refused(by: By, wanted: impl Fn(&Backend) -> Json) {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let failure = world.failure("a", &script(wanted(&backend)).or_fail()).await;
        match by {
            By::Decision => is(&failure, Kind::PolicyDenied, "egress.refused"),
            By::Bindings(place) => is(&failure, Kind::Internal, place),
        }
        // A plugin that does not mind learns no more than that.
        let report = world.report("a", &script(wanted(&backend))).await;
        let told = report[0]["error"].as_str().unwrap();
        match by {
            By::Decision => assert!(told == "ErrorCode::HttpRequestDenied", "{told}"),
            By::Bindings(place) => assert_eq!(told, place),
        }
        assert_eq!((backend.accepted(), world.names.asked().len()), (0, 0), "nothing left, no name was asked for");
        // It was the request and nothing else.
        let report = world.report("a", &script(get(&backend.origin(), "/open/a"))).await;
        assert_eq!((&report[0]["status"], &report[0]["body"]), (&json!(200), &json!("reached")));
        world.end().await;
    });
}

/// A target on the right backend.
fn refused_target(by: By, target: &'static str) {
    refused(by, |backend| get(&backend.origin(), target));
}

/// The right target of another authority; `PORT` is the right port.
fn refused_authority(by: By, authority: &'static str) {
    refused(by, |backend| get(&format!("http://{}", authority.replace("PORT", &backend.port.to_string())), "/open/a"));
}

/// The right target with something more.
fn refused_with(by: By, more: Json) {
    refused(by, |backend| request(&backend.origin(), "/open/a", more.clone()));
}

/// A header that the plugin insists on.
fn refused_header(by: By, name: &str, value: &str) {
    refused_with(by, json!({ "headers": [[name, value]], "strict": true }));
}

#[test]
fn another_host() {
    refused_authority(By::Decision, "evil.test:PORT");
}

#[test]
fn a_subdomain_of_the_host() {
    refused_authority(By::Decision, "a.plain.test:PORT");
}

#[test]
fn the_host_as_a_subdomain_of_another() {
    refused_authority(By::Decision, "plain.test.evil.test:PORT");
}

#[test]
fn another_port() {
    refused(By::Decision, |backend| get(&format!("http://plain.test:{}", backend.port ^ 1), "/open/a"));
}

#[test]
fn no_port_where_the_rule_has_one() {
    refused_authority(By::Decision, "plain.test");
}

#[test]
fn port_zero() {
    refused_authority(By::Decision, "plain.test:0");
}

#[test]
fn https_where_the_rule_says_http() {
    refused(By::Decision, |backend| get(&format!("https://{}", backend.authority()), "/open/a"));
}

#[test]
fn http_where_the_rule_says_https() {
    under_both(async |allocation| {
        let backend = Backend::secure(|_| ok("reached")).await;
        let token = Canary::new();
        let world = Plan::new(allocation).secure(backend.origin()).token(&token).open();
        let plain = get(&format!("http://{}", backend.authority()), "/v1/a");
        is(&world.failure("a", &script(plain).or_fail()).await, Kind::PolicyDenied, "egress.refused");
        assert_eq!(backend.accepted(), 0);
        world.end().await;
    });
}

#[test]
fn no_scheme() {
    refused_with(By::Bindings("ErrorCode::HttpProtocolError"), json!({ "scheme": "" }));
}

#[test]
fn another_scheme() {
    refused_with(By::Bindings("ErrorCode::HttpProtocolError"), json!({ "scheme": "ftp" }));
}

#[test]
fn a_user_before_the_host() {
    refused_authority(By::Decision, "user:pass@plain.test:PORT");
}

#[test]
fn the_right_host_as_a_user() {
    refused_authority(By::Decision, "plain.test@evil.test:PORT");
}

#[test]
fn a_dot_after_the_host() {
    refused_authority(By::Decision, "plain.test.:PORT");
}

#[test]
fn the_address_in_place_of_the_name() {
    refused_authority(By::Decision, "127.0.0.1:PORT");
}

#[test]
fn the_address_as_one_number() {
    refused_authority(By::Decision, "2130706433:PORT");
}

#[test]
fn the_address_in_hexadecimal() {
    refused_authority(By::Decision, "0x7f.0.0.1:PORT");
}

#[test]
fn the_address_in_octal() {
    refused_authority(By::Decision, "0177.0.0.1:PORT");
}

#[test]
fn the_address_with_parts_left_out() {
    refused_authority(By::Decision, "127.1:PORT");
}

#[test]
fn the_address_of_version_six() {
    refused_authority(By::Decision, "[::1]:PORT");
}

#[test]
fn the_address_mapped_into_version_six() {
    refused_authority(By::Decision, "[::ffff:127.0.0.1]:PORT");
}

#[test]
fn an_address_with_a_zone() {
    refused_authority(By::Decision, "[fe80::1%25lo]:PORT");
}

#[test]
fn no_host() {
    refused_with(By::Bindings("ErrorCode::HttpRequestUriInvalid"), json!({ "authority": null }));
}

#[test]
fn a_host_beyond_ascii() {
    refused_authority(By::Bindings("set-authority"), "pl\u{430}in.test:PORT");
}

#[test]
fn a_path_behind_the_host() {
    refused_authority(By::Bindings("set-authority"), "plain.test:PORT/open");
}

#[test]
fn a_whole_address_as_the_path() {
    refused_target(By::Bindings("set-path"), "http://evil.test/open/a");
}

#[test]
fn a_path_without_a_slash() {
    refused_target(By::Bindings("set-path"), "open/a");
}

#[test]
fn a_path_that_begins_with_two_slashes() {
    refused_target(By::Decision, "//evil.test/open/a");
}

#[test]
fn two_slashes_in_the_path() {
    refused_target(By::Decision, "/open//a");
}

#[test]
fn a_dot_segment() {
    refused_target(By::Decision, "/open/../open/a");
}

#[test]
fn a_dot_segment_to_the_sibling() {
    refused_target(By::Decision, "/open/a/../b");
}

#[test]
fn an_encoded_dot_segment() {
    refused_target(By::Decision, "/open/%2e%2e/open/a");
}

#[test]
fn an_encoded_slash() {
    refused_target(By::Decision, "/open%2fa");
}

#[test]
fn an_encoded_backslash() {
    refused_target(By::Decision, "/open/a%5c..%5cb");
}

#[test]
fn an_encoded_zero() {
    refused_target(By::Decision, "/open/a%00");
}

#[test]
fn an_encoded_line_end() {
    refused_target(By::Decision, "/open/a%0d%0ax-vault-token:%20x");
}

#[test]
fn an_encoding_that_is_encoded() {
    refused_target(By::Decision, "/open/%252e%252e/a");
}

#[test]
fn an_encoding_that_is_too_long() {
    refused_target(By::Decision, "/open/%c0%af");
}

#[test]
fn a_backslash() {
    refused_target(By::Decision, "/open\\a");
}

#[test]
fn a_fragment() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        // `wasi:http` cuts it off before anybody decides: what was decided on is what leaves.
        world.report("a", &script(get(&backend.origin(), "/open/a#/../admin"))).await;
        assert_eq!(backend.seen()[0].path(), "/open/a");
        world.failure("a", &script(get(&backend.origin(), "/admin#/open/a")).or_fail()).await;
        assert_eq!(backend.seen().len(), 1);
        world.end().await;
    });
}

#[test]
fn a_line_end_in_the_path() {
    refused_target(By::Bindings("set-path"), "/open/a HTTP/1.1\r\nhost: evil.test\r\n\r\n");
}

#[test]
fn another_path() {
    refused_target(By::Decision, "/admin");
}

#[test]
fn more_of_the_path() {
    refused_target(By::Decision, "/open/a/b");
}

#[test]
fn less_of_the_path() {
    refused_target(By::Decision, "/open/");
}

#[test]
fn a_path_of_forty_kilobytes() {
    refused_with(By::Decision, json!({ "longer": 40_000 }));
}

#[test]
fn the_siblings_path() {
    refused_target(By::Decision, "/open/b");
}

#[test]
fn a_query_key_that_is_not_listed() {
    refused_target(By::Decision, "/open/a?debug=1");
}

#[test]
fn a_query_value_that_is_not_listed() {
    refused_target(By::Decision, "/open/a?api-version=7.5");
}

#[test]
fn a_query_value_of_the_sibling() {
    refused_target(By::Decision, "/open/a?page=b");
}

#[test]
fn a_query_key_twice() {
    refused_target(By::Decision, "/open/a?api-version=7.4&api-version=7.4");
}

#[test]
fn a_query_key_twice_and_once_encoded() {
    refused_target(By::Decision, "/open/a?api-version=7.4&api%2dversion=7.5");
}

#[test]
fn a_query_key_behind_a_semicolon() {
    refused_target(By::Decision, "/open/a?api-version=7.4;debug=1");
}

#[test]
fn a_query_key_with_a_plus_sign() {
    refused_target(By::Decision, "/open/a?api-version=7.4+");
}

#[test]
fn the_method_trace() {
    refused_with(By::Decision, json!({ "method": "TRACE" }));
}

#[test]
fn the_method_connect() {
    refused_with(By::Decision, json!({ "method": "CONNECT" }));
}

#[test]
fn the_method_options() {
    refused_with(By::Decision, json!({ "method": "OPTIONS" }));
}

#[test]
fn a_method_in_lower_case() {
    refused_with(By::Decision, json!({ "method": "get" }));
}

#[test]
fn a_method_of_its_own() {
    refused_with(By::Decision, json!({ "method": "PURGE" }));
}

#[test]
fn a_method_with_a_line_end() {
    refused_with(By::Bindings("set-method"), json!({ "method": "GET / HTTP/1.1\r\n\r\nGET" }));
}

#[test]
fn a_resolve_that_puts() {
    refused_with(By::Decision, json!({ "method": "PUT", "body": { "size": 1 } }));
}

#[test]
fn a_resolve_that_deletes() {
    refused_with(By::Decision, json!({ "method": "DELETE" }));
}

#[test]
fn a_resolve_that_patches() {
    refused_with(By::Decision, json!({ "method": "PATCH", "body": { "size": 1 } }));
}

#[test]
fn a_get_with_a_body() {
    refused_with(By::Decision, json!({ "method": "GET", "body": { "size": 10 } }));
}

#[test]
fn a_head_with_a_body() {
    refused_with(By::Decision, json!({ "method": "HEAD", "body": { "size": 10 } }));
}

#[test]
fn the_authorization_header() {
    refused_header(By::Bindings("header-forbidden"), "authorization", "Bearer x");
}

#[test]
fn the_cookie_header() {
    refused_header(By::Bindings("header-forbidden"), "cookie", "session=x");
}

#[test]
fn the_host_header() {
    refused_header(By::Bindings("header-forbidden"), "host", "evil.test");
}

#[test]
fn a_header_that_overrides_the_method() {
    refused_header(By::Bindings("header-forbidden"), "x-http-method-override", "DELETE");
}

#[test]
fn a_header_that_overrides_the_path() {
    refused_header(By::Bindings("header-forbidden"), "x-original-url", "/admin");
}

#[test]
fn a_header_that_forwards() {
    refused_header(By::Bindings("header-forbidden"), "x-forwarded-host", "evil.test");
}

#[test]
fn the_header_that_the_host_fills() {
    refused_header(By::Bindings("header-forbidden"), "x-vault-token", "chosen");
}

#[test]
fn the_header_that_the_host_fills_in_another_case() {
    refused_header(By::Bindings("header-forbidden"), "X-VAULT-Token", "chosen");
}

#[test]
fn the_header_that_the_host_fills_given_at_once() {
    refused_with(By::Bindings("header-forbidden"), json!({ "headers": [["x-vault-token", "x"]], "at_once": true }));
}

#[test]
fn a_header_added_when_the_request_has_the_rest() {
    refused_with(By::Bindings("header-immutable"), json!({ "late": "x-free" }));
}

#[test]
fn transfer_encoding() {
    refused_header(By::Bindings("header-forbidden"), "transfer-encoding", "chunked");
}

#[test]
fn an_upgrade() {
    refused_header(By::Bindings("header-forbidden"), "upgrade", "h2c");
}

#[test]
fn an_expectation() {
    refused_header(By::Bindings("header-forbidden"), "expect", "100-continue");
}

#[test]
fn an_accepted_encoding() {
    refused_header(By::Bindings("header-forbidden"), "accept-encoding", "gzip");
}

#[test]
fn a_range() {
    refused_header(By::Bindings("header-forbidden"), "range", "bytes=1-");
}

#[test]
fn a_header_that_nobody_listed() {
    refused_header(By::Bindings("header-forbidden"), "x-anything", "x");
}

#[test]
fn a_header_whose_value_is_not_listed() {
    refused_header(By::Decision, "x-space", "another");
}

#[test]
fn a_header_twice() {
    refused_with(By::Decision, json!({ "headers": [["x-free", "1"], ["X-Free", "2"]] }));
}

#[test]
fn a_line_end_in_a_headers_value() {
    refused_header(By::Bindings("header-syntax"), "x-free", "1\r\nx-vault-token: 2");
}

#[test]
fn a_line_end_in_a_headers_name() {
    refused_header(By::Bindings("header-syntax"), "x-free\r\nx-vault-token", "1");
}

#[test]
fn a_header_beyond_ascii() {
    refused_header(By::Decision, "x-free", "\u{fc}");
}

#[test]
fn a_headers_value_of_nine_kibibytes() {
    refused_with(By::Decision, json!({ "flood": { "count": 1, "name": "x-free", "size": 9 << 10 } }));
}

#[test]
fn a_hundred_times_the_same_header() {
    refused_with(By::Decision, json!({ "flood": { "count": 100, "name": "x-free", "size": 10 } }));
}

#[test]
fn forty_thousand_headers() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        for at_once in [false, true] {
            let flood = json!({ "flood": { "count": 40_000, "name": "x-free", "size": 8 }, "at_once": at_once });
            let failure = world.failure("a", &script(request(&backend.origin(), "/open/a", flood)).or_fail()).await;
            assert!(
                matches!(failure.kind(), Kind::LimitExceeded | Kind::Trapped | Kind::Protocol | Kind::Internal),
                "{failure}"
            );
        }
        assert_eq!(backend.accepted(), 0);
        world.end().await;
    });
}

#[test]
fn a_headers_value_of_a_megabyte() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let huge = json!({ "flood": { "count": 1, "name": "x-free", "size": 1 << 20 } });
        let failure = world.failure("a", &script(request(&backend.origin(), "/open/a", huge)).or_fail()).await;
        assert!(
            matches!(failure.kind(), Kind::LimitExceeded | Kind::Trapped | Kind::Protocol | Kind::Internal),
            "{failure}"
        );
        assert_eq!(backend.accepted(), 0);
        world.end().await;
    });
}

#[test]
fn trailers() {
    refused_trailers("x-http-method", "DELETE");
}

#[test]
fn a_credential_in_the_trailers() {
    refused_trailers("x-free", "x");
}

fn refused_trailers(name: &'static str, value: &'static str) {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let more = json!({ "method": "POST", "body": { "size": 4, "trailers": [[name, value]] } });
        let failure = world.failure("a", &script(request(&backend.origin(), "/open/a", more)).or_fail()).await;
        assert_eq!(failure.kind(), Kind::Internal, "{failure}");
        assert_eq!(backend.accepted(), 0);
        world.end().await;
    });
}

#[test]
fn what_was_allowed_leaves_as_the_host_writes_it() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let wanted = json!({ "headers": [["X-Space", "own"], ["Accept", "text/plain"], ["Content-Length", "0"]] });
        world.report("a", &script(request(&backend.origin(), "/open/%61?api-version=7%2E4", wanted))).await;
        let seen = backend.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].line(), "GET /open/a?api-version=7.4 HTTP/1.1");
        assert_eq!(seen[0].header("host"), Some(backend.authority().as_str()));
        let mut names: Vec<_> = seen[0].head.lines().skip(1).filter_map(|line| line.split(": ").next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["", "accept", "host", "x-space"]);
        world.end().await;
    });
}
