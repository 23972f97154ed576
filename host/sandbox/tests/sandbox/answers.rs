//! Answers that keep the contract, and answers that break it.

use strongroom_core::{Failure, Kind};

use crate::support::*;

/// Answers each reference with its first path segment: as text at even places and binary at odd
/// ones, with all metadata. The last reference of five or more is a failure.
const ECHO: &str = r#"
  (local.set $x (call $alloc (i32.mul (local.get $count) (i32.const 80))))
  (local.set $y (local.get $x))
  (local.set $n (i64.const 0))
  (loop $each
    (if (i64.lt_u (local.get $n) (i64.extend_i32_u (local.get $count)))
      (then
        (i32.store8 offset=8 (local.get $y) (i32.wrap_i64 (i64.and (local.get $n) (i64.const 1))))
        (i32.store offset=12 (local.get $y) (i32.load (i32.load offset=12 (local.get $refs))))
        (i32.store offset=16 (local.get $y) (i32.load offset=4 (i32.load offset=12 (local.get $refs))))
        (i32.store8 offset=20 (local.get $y) (i32.const 1))
        (i32.store offset=24 (local.get $y) (i32.const 1024)) (i32.store offset=28 (local.get $y) (i32.const 2))
        (i32.store8 offset=32 (local.get $y) (i32.const 1))
        (i32.store offset=36 (local.get $y) (i32.const 1026)) (i32.store offset=40 (local.get $y) (i32.const 10))
        (i32.store8 offset=48 (local.get $y) (i32.const 1)) (i64.store offset=56 (local.get $y) (i64.const 4102444800))
        (i32.store8 offset=64 (local.get $y) (i32.const 1)) (i32.store offset=68 (local.get $y) (i32.const 30000))
        (i32.store offset=72 (local.get $y) (i32.const 1040)) (i32.store offset=76 (local.get $y) (i32.const 1))
        (local.set $refs (i32.add (local.get $refs) (i32.const 28)))
        (local.set $y (i32.add (local.get $y) (i32.const 80)))
        (local.set $n (i64.add (local.get $n) (i64.const 1)))
        (br $each))))
  (call $give (local.get $x) (local.get $count))
"#;

const ECHO_DATA: &str = r#"
  (data (i32.const 1024) "v1text/plainkkk\00")
  (data (i32.const 1040) "\0c\04\00\00\03\00\00\00\00\04\00\00\02\00\00\00")
"#;

#[test]
fn each_reference_has_its_answer_in_order_with_its_metadata() {
    let echo = guest().items(ECHO_DATA).resolve(ECHO);
    under_both_allocations(|bench| {
        let plugin = echo.load(&bench.runtime);
        for count in [0, 1, 2, 50] {
            let answers = block_on(plugin.resolve(call(), &references(count))).expect("answers");
            assert_eq!(answers.len(), count);
            for (index, answer) in answers.into_iter().enumerate() {
                let secret = answer.expect("a secret");
                assert_eq!(secret.expose(), format!("name-{index}").as_bytes());
                assert_eq!(secret.expose_text().is_some(), index % 2 == 0, "text at even places");
                let about = &secret.metadata;
                assert_eq!(about.version.as_ref().map(|text| text.as_str()), Some("v1"));
                assert_eq!(about.content_type.as_ref().map(|text| text.as_str()), Some("text/plain"));
                assert_eq!((about.expires_at, about.max_age_ms), (Some(4_102_444_800), Some(30_000)));
                let attributes: Vec<_> = about.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                assert_eq!(attributes, [("kkk", "v1")]);
            }
        }
    });
}

#[test]
fn a_failure_of_the_guest_is_told_with_its_kind_code_and_escaped_message() {
    // not-found is the fourth kind.
    let failing = guest().items(r#"(data (i32.const 1024) "SecretDisabled" "\1b[2Jgone")"#).resolve(
        "(local.set $x (call $alloc (i32.const 80)))
             (i32.store8 (local.get $x) (i32.const 1))
             (i32.store8 offset=8 (local.get $x) (i32.const 3))
             (i32.store offset=12 (local.get $x) (i32.const 1024)) (i32.store offset=16 (local.get $x) (i32.const 14))
             (i32.store offset=20 (local.get $x) (i32.const 1038)) (i32.store offset=24 (local.get $x) (i32.const 8))
             (i32.store8 offset=28 (local.get $x) (i32.const 1)) (i32.store offset=32 (local.get $x) (i32.const 1500))
             (call $give (local.get $x) (i32.const 1))",
    );
    under_both_allocations(|bench| {
        let failure = only_failure(bench.call(&failing, call()).expect("an answer"));
        assert_eq!((failure.kind(), failure.code()), (Kind::NotFound, "SecretDisabled"));
        assert_eq!(failure.message().as_str(), "\\u{1b}[2Jgone");
        assert_eq!(failure.retry_after(), Some(1500));
    });
}

#[test]
fn fewer_or_more_answers_than_references_break_the_contract() {
    for (count, list) in [(0, 0), (2, 160)] {
        let guest = guest().resolve(&format!("(call $give (call $alloc (i32.const {list})) (i32.const {count}))"));
        under_both_allocations(|bench| {
            let failure = bench.fails(&guest);
            assert_eq!((failure.kind(), failure.code()), (Kind::Protocol, "answers.count"));
            assert!(failure.message().as_str().contains(&format!("{count} answers to 1 references")), "{failure}");
        });
    }
}

fn value_of(bytes: u32) -> crate::support::Guest {
    guest().resolve(&format!("(call $one (i32.const 1) (call $alloc (i32.const {bytes})) (i32.const {bytes}))"))
}

#[test]
fn a_value_of_exactly_one_mebibyte_is_accepted() {
    under_both_allocations(|bench| {
        let secret = only(bench.call(&value_of(1 << 20), call()).expect("an answer"));
        assert_eq!(secret.expose().len(), 1 << 20);
    });
}

#[test]
fn a_value_of_one_byte_more_is_too_large() {
    under_both_allocations(|bench| {
        let failure = only_failure(bench.call(&value_of((1 << 20) + 1), call()).expect("an answer"));
        assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, "value.too-large"));
    });
}

#[test]
fn an_answer_beyond_what_one_call_may_carry_is_not_even_copied() {
    under_both_allocations(|bench| {
        let failure = bench.fails(&value_of((2 << 20) + 1));
        assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, "limit.hostcall"));
    });
}

/// What breaks the calling convention is the plugin's fault, typed, and says nothing of its memory.
fn breaks_the_calling_convention(guest: &crate::support::Guest) {
    under_both_allocations(|bench| {
        let failure: Failure = bench.fails(guest);
        assert_eq!((failure.kind(), failure.code()), (Kind::Protocol, "plugin.abi"), "{failure:?}");
        assert_eq!(failure.plugin().map(|text| text.as_str()), Some("guest@0123abcd"));
        assert!(!failure.message().as_str().contains("canary"), "{failure}");
    });
}

#[test]
fn text_that_is_not_utf_8_breaks_the_calling_convention() {
    breaks_the_calling_convention(
        &guest()
            .items(r#"(data (i32.const 1024) "canary\ff")"#)
            .resolve("(call $one (i32.const 0) (i32.const 1024) (i32.const 7))"),
    );
}

#[test]
fn a_value_out_of_bounds_breaks_the_calling_convention() {
    for (at, len) in [("0x7fff0000", "16"), ("131071", "2"), ("-1", "1"), ("16", "0x100000")] {
        breaks_the_calling_convention(
            &guest().resolve(&format!("(call $one (i32.const 1) (i32.const {at}) (i32.const {len}))")),
        );
    }
}

#[test]
fn an_answer_out_of_bounds_breaks_the_calling_convention() {
    for pointer in ["0x7fff0000", "131068", "-8", "2"] {
        breaks_the_calling_convention(&guest().resolve(&format!("(i32.const {pointer})")));
    }
}

#[test]
fn an_unaligned_list_breaks_the_calling_convention() {
    breaks_the_calling_convention(&guest().resolve("(call $give (i32.const 65541) (i32.const 1))"));
}

#[test]
fn a_case_that_does_not_exist_breaks_the_calling_convention() {
    // Of result, of value, of an option, and of a failure's kind.
    for stores in [
        "(i32.store8 (local.get $x) (i32.const 2))",
        "(i32.store8 offset=8 (local.get $x) (i32.const 2))",
        "(i32.store8 offset=20 (local.get $x) (i32.const 9))",
        "(i32.store8 (local.get $x) (i32.const 1)) (i32.store8 offset=8 (local.get $x) (i32.const 12))",
    ] {
        breaks_the_calling_convention(&guest().resolve(&format!(
            "(local.set $x (call $alloc (i32.const 80))) {stores} (call $give (local.get $x) (i32.const 1))"
        )));
    }
}

#[test]
fn a_list_of_four_billion_answers_is_refused_before_anything_is_allocated() {
    let guest = guest().resolve("(call $give (call $alloc (i32.const 80)) (i32.const -1))");
    under_both_allocations(|bench| {
        let failure = bench.fails(&guest);
        assert!(
            matches!(failure.code(), "plugin.abi" | "limit.hostcall"),
            "{failure:?}: what breaks first is wasmtime's affair, but it is typed"
        );
    });
}

#[test]
fn a_realloc_that_points_nowhere_breaks_the_calling_convention() {
    breaks_the_calling_convention(&guest().realloc("(i32.const 0x7fff0000)"));
}
