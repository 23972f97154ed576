//! Plugins and backends that use up time, memory and requests.

use std::time::Duration;

use serde_json::json;
use strongroom::Kind;

use crate::backend::{Backend, Reply, answer, ok};
use crate::world::{Plan, get, is, request, script, under_both, within};

const SECOND: &str = "network = \"loopback\"\nlimits.deadline = \"500ms\"\n";

/// A backend that answers so makes the call end in this way, soon after its deadline of half a second.
fn ends(answering: impl Fn() -> Reply + Send + Sync + Copy + 'static, kind: Kind, code: &'static str) {
    under_both(async |allocation| {
        let backend = Backend::plain(move |_| answering()).await;
        let world = Plan::new(allocation).plain(backend.origin()).mount(SECOND).open();
        let wanted = script(get(&backend.origin(), "/open/a")).or_fail();
        let failure = within(Duration::from_secs(10), world.failure("a", &wanted)).await;
        is(&failure, kind, code);
        backend.until_open(0).await;
        world.end().await;
    });
}

#[test]
fn a_backend_that_never_answers() {
    ends(|| Reply::Silence, Kind::Deadline, "deadline");
}

#[test]
fn an_answer_drop_by_drop() {
    let slow = || Reply::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n".repeat(9), Duration::from_millis(20));
    ends(slow, Kind::Deadline, "deadline");
}

#[test]
fn a_body_drop_by_drop() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n";
    ends(
        move || Reply::Drip(format!("{head}{}", "x".repeat(900)).into(), Duration::from_millis(5)),
        Kind::Deadline,
        "deadline",
    );
}

#[test]
fn an_endless_body() {
    let head = || b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    ends(move || Reply::Endless(head(), b"4\r\nbody\r\n".repeat(1000)), Kind::LimitExceeded, "egress.too-large");
}

#[test]
fn an_endless_body_until_the_end_of_the_connection() {
    ends(
        || Reply::Endless(b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![b'x'; 9999]),
        Kind::LimitExceeded,
        "egress.too-large",
    );
}

#[test]
fn endless_headers() {
    let more = || b"x-more: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(100);
    ends(move || Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), more()), Kind::LimitExceeded, "egress.too-large");
}

#[test]
fn endless_interim_answers() {
    let again = || b"HTTP/1.1 103 Early Hints\r\nx-hint: x\r\n\r\n".repeat(100);
    ends(move || Reply::Endless(Vec::new(), again()), Kind::LimitExceeded, "egress.too-large");
}

#[test]
fn a_size_of_a_chunk_that_never_ends() {
    let head = || b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    under_both(async |allocation| {
        let backend = Backend::plain(move |_| Reply::Endless(head(), vec![b'0'; 9999])).await;
        let world = Plan::new(allocation).plain(backend.origin()).mount(SECOND).open();
        let wanted = script(get(&backend.origin(), "/open/a")).or_fail();
        let failure = within(Duration::from_secs(10), world.failure("a", &wanted)).await;
        assert!(matches!(failure.kind(), Kind::LimitExceeded | Kind::Unavailable), "{failure}");
        world.end().await;
    });
}

#[test]
fn a_body_that_says_it_has_four_gibibytes() {
    let huge = || b"HTTP/1.1 200 OK\r\ncontent-length: 4294967296\r\n\r\n".to_vec();
    ends(move || Reply::Endless(huge(), vec![b'x'; 100]), Kind::LimitExceeded, "egress.too-large");
}

#[test]
fn a_body_that_is_cut() {
    let cut = || Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this".to_vec());
    ends(cut, Kind::Unavailable, "egress.answer");
}

#[test]
fn a_server_that_says_come_back_for_ever() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| answer("503 Service Unavailable", "retry-after: 0\r\n", "later")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let report = world.report("a", &script(get(&backend.origin(), "/open/a"))).await;
        assert_eq!((&report[0]["status"], backend.seen().len()), (&json!(503), 3));
        world.end().await;
    });
}

#[test]
fn a_server_that_says_come_back_next_year() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| answer("429 Too Many Requests", "retry-after: 31536000\r\n", "later")).await;
        let world = Plan::new(allocation).plain(backend.origin()).mount(SECOND).open();
        let report = within(Duration::from_secs(10), async {
            world.report("a", &script(get(&backend.origin(), "/open/a"))).await
        })
        .await;
        assert_eq!((&report[0]["status"], backend.seen().len()), (&json!(429), 1));
        world.end().await;
    });
}

#[test]
fn a_seventeenth_request() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let mut all = script(get(&backend.origin(), "/open/a"));
        for _ in 0..16 {
            all = all.then(get(&backend.origin(), "/open/a"));
        }
        is(&world.failure("a", &all.or_fail()).await, Kind::LimitExceeded, "egress.budget");
        assert_eq!(backend.seen().len(), 16);
        world.end().await;
    });
}

#[test]
fn refused_requests_are_counted_too() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let mount = "network = \"loopback\"\nlimits.requests = 3\n";
        let world = Plan::new(allocation).plain(backend.origin()).mount(mount).open();
        let mut wanted = script(get(&backend.origin(), "/secret"));
        for _ in 0..3 {
            wanted = wanted.then(get(&backend.origin(), "/secret"));
        }
        let report = world.report("a", &wanted.clone().then(get(&backend.origin(), "/open/a"))).await;
        assert!(report.iter().all(|came| came["error"] == "ErrorCode::HttpRequestDenied"), "{report:?}");
        assert_eq!(backend.accepted(), 0);
        world.end().await;
    });
}

#[test]
fn more_than_a_mebibyte_sent_at_once() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let large = json!({ "method": "POST", "body": { "size": (1 << 20) + 1 } });
        let failure = world.failure("a", &script(request(&backend.origin(), "/open/a", large)).or_fail()).await;
        assert!(matches!(failure.kind(), Kind::Internal | Kind::LimitExceeded), "{failure}");
        assert_eq!(backend.accepted(), 0);
        world.end().await;
    });
}

#[test]
fn more_than_a_mebibyte_sent_in_pieces() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let mount = "network = \"loopback\"\nlimits.sent = \"64KiB\"\n";
        let world = Plan::new(allocation).plain(backend.origin()).mount(mount).open();
        let piece = || request(&backend.origin(), "/open/a", json!({ "method": "POST", "body": { "size": 30_000 } }));
        let report = world.report("a", &script(piece()).then(piece()).then(piece())).await;
        assert_eq!(report[1]["body"], "reached");
        assert!(report[2]["error"].is_string(), "{report:?}");
        assert_eq!(backend.seen().iter().map(|seen| seen.length).collect::<Vec<_>>(), [30_000, 30_000]);
        world.end().await;
    });
}

#[test]
fn a_body_that_is_never_finished() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok("reached")).await;
        let world = Plan::new(allocation).plain(backend.origin()).mount(SECOND).open();
        for body in [json!({ "size": 9, "unfinished": true }), json!({ "size": 9, "unfinished": true, "held": true })] {
            let wanted = request(&backend.origin(), "/open/a", json!({ "method": "POST", "body": body }));
            let failure = within(Duration::from_secs(10), world.failure("a", &script(wanted).or_fail())).await;
            assert!(matches!(failure.kind(), Kind::Deadline | Kind::Internal), "{failure}");
        }
        assert_eq!(backend.accepted(), 0, "half a request is none");
        world.end().await;
    });
}

#[test]
fn a_body_that_is_never_read() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| ok(vec![b'x'; 500_000])).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        for read in ["none", "half"] {
            let wanted = request(&backend.origin(), "/open/a", json!({ "read": read }));
            for _ in 0..10 {
                let report = world.report("a", &script(wanted.clone()).then(wanted.clone())).await;
                assert_eq!(report[1]["status"], 200);
            }
        }
        world.end().await;
        drop(backend);
    });
}

#[test]
fn a_request_that_is_abandoned() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| Reply::Silence).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let left = request(&backend.origin(), "/open/a", json!({ "abandon": true }));
        let report = world.report("a", &script(left.clone()).then(left.clone()).then(left)).await;
        assert_eq!(report.len(), 3);
        backend.until_open(0).await;
        world.end().await;
    });
}

#[test]
fn patience_of_centuries() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| Reply::Silence).await;
        let world = Plan::new(allocation).plain(backend.origin()).mount(SECOND).open();
        let patient = request(&backend.origin(), "/open/a", json!({ "patience_ms": 3_000_000_000_000_u64 }));
        let failure = within(Duration::from_secs(10), world.failure("a", &script(patient).or_fail())).await;
        is(&failure, Kind::Deadline, "deadline");
        world.end().await;
    });
}

#[test]
fn patience_of_no_time_at_all() {
    under_both(async |allocation| {
        let backend = Backend::plain(|_| Reply::Silence).await;
        let world = Plan::new(allocation).plain(backend.origin()).open();
        let hasty = request(&backend.origin(), "/open/a", json!({ "patience_ms": 0 }));
        let failure = within(Duration::from_secs(5), world.failure("a", &script(hasty).or_fail())).await;
        is(&failure, Kind::Deadline, "egress.timeout");
        world.end().await;
    });
}

/// The plugin's own doing, without any backend.
fn ends_by_itself(step: serde_json::Value, kind: Kind, code: &'static str) {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        let failure = within(Duration::from_secs(10), world.failure("a", &script(step.clone()))).await;
        is(&failure, kind, code);
        world.end().await;
    });
}

#[test]
fn an_endless_loop() {
    ends_by_itself(json!({ "spin": true }), Kind::LimitExceeded, "limit.cpu");
}

#[test]
fn an_endless_recursion() {
    ends_by_itself(json!({ "recurse": true }), Kind::Trapped, "plugin.trapped");
}

#[test]
fn a_trap() {
    ends_by_itself(json!({ "trap": true }), Kind::Trapped, "plugin.trapped");
}

#[test]
fn a_panic() {
    ends_by_itself(json!({ "panic": true }), Kind::Trapped, "plugin.trapped");
}

#[test]
fn memory_without_end() {
    ends_by_itself(json!({ "grow": "insist" }), Kind::LimitExceeded, "limit.memory");
}

#[test]
fn a_wait_beyond_the_deadline() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).mount(SECOND).open();
        let failure = within(Duration::from_secs(10), world.failure("a", &script(json!({ "wait": 86_400_000 })))).await;
        is(&failure, Kind::Deadline, "deadline");
        world.end().await;
    });
}

#[test]
fn a_thousand_handles() {
    ends_by_itself(json!({ "handles": 1000 }), Kind::LimitExceeded, "limit.handles");
}

#[test]
fn randomness_without_end() {
    ends_by_itself(json!({ "random": 1 << 30 }), Kind::LimitExceeded, "limit.random");
}

#[test]
fn an_answer_above_the_limit() {
    ends_by_itself(json!({ "answer": (1 << 20) + 1 }), Kind::LimitExceeded, "value.too-large");
}

#[test]
fn an_answer_far_above_the_limit() {
    ends_by_itself(json!({ "answer": 3 << 20 }), Kind::LimitExceeded, "limit.hostcall");
}

#[test]
fn a_hundred_endless_loops_at_once() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).mount("network = \"loopback\"\nlimits.cpu = \"20ms\"\n").open();
        let spinning: Vec<_> = (0..100).map(|n| script(json!({ "spin": true })).at(&format!("s{n}"))).collect();
        let all = within(Duration::from_secs(30), world.resolve_all(&spinning)).await;
        assert!(all.iter().all(|one| {
            one.as_ref().is_err_and(|failure| matches!(failure.code(), "limit.cpu" | "deadline" | "deadline.queue"))
        }));
        world.end().await;
    });
}

#[test]
fn a_listing_without_end() {
    under_both(async |allocation| {
        let world = Plan::new(allocation).open();
        for size in ["1", "100000"] {
            // Each page names another next one.
            let reference = format!("hostile://a?pages={size}");
            let scope = world.strongroom.parse(&reference).unwrap();
            let listing = within(Duration::from_secs(45), world.strongroom.list(&scope)).await;
            let failure = listing.expect_err("it ends");
            assert!(matches!(failure.kind(), Kind::LimitExceeded | Kind::Deadline), "{failure}");
        }
        world.end().await;
    });
}

/// A plugin's stack is small (decision 0028): it holds JSON as deep as serde_json reads it, taken apart, cloned, written and dropped,
/// and what is deeper is the plugin's failure, not the end of its call.
#[test]
fn json_that_is_nested_deep() {
    under_both(async |allocation| {
        let backend = Backend::plain(move |_| ok("good")).await;
        let world = Plan::new(allocation).plain(backend.origin()).mount("network = \"loopback\"").open();
        let nested = |depth: usize| {
            let deep = (0..depth)
                .fold(json!([]), |inner, at| if at % 2 == 0 { json!({ "a": inner }) } else { json!([inner]) });
            script(request(&backend.origin(), "/open/a", json!({ "deep": deep })))
        };
        // Of the 127 levels that are read, four are the script's and the innermost list.
        assert_eq!(world.report("a", &nested(123)).await[0]["body"], "good");
        is(&world.failure("a", &nested(124)).await, Kind::Internal, "script");
        world.end().await;
    });
}
