//! Each limit of a call, and what a guest sees of it: its end.

use std::time::{Duration, Instant};

use strongroom_core::Kind;
use strongroom_sandbox::plugin::LINKABLE;
use strongroom_sandbox::{Allocation, Call, CallLimits, Runtime};

use crate::support::*;

/// `guest` is stopped by its CPU limit: soon, and not at the deadline of 20 s.
fn is_stopped_by_the_clock(guest: &Guest) {
    under_both_allocations(|bench| {
        let started = Instant::now();
        let limits = CallLimits { cpu: Duration::from_millis(50), ..CallLimits::default() };
        let failure = bench.call(guest, Call { limits, ..call() }).expect_err("it never ends by itself");
        assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, "limit.cpu"), "{failure:?}");
        // Includes compiling the guest, on a busy machine.
        assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    });
}

#[test]
fn an_endless_loop_is_stopped() {
    is_stopped_by_the_clock(&guest().resolve("(loop $l (br $l)) unreachable"));
}

#[test]
fn an_endless_loop_in_the_start_function_is_stopped() {
    is_stopped_by_the_clock(&guest().items("(func $spin (loop $l (br $l))) (start $spin)"));
}

#[test]
fn an_endless_loop_in_realloc_is_stopped() {
    is_stopped_by_the_clock(&guest().realloc("(loop $l (br $l)) unreachable"));
}

#[test]
fn an_endless_loop_after_the_answer_is_stopped() {
    is_stopped_by_the_clock(
        &guest().items(&format!(r#"(func (export "cabi_post_{RESOLVE}") (param i32) (loop $l (br $l)))"#)),
    );
}

#[test]
fn endless_calls_without_a_loop_are_stopped() {
    // Two to the power of sixty calls, none deeper than sixty.
    is_stopped_by_the_clock(
        &guest()
            .items(
                "(func $twice (param $depth i32)
                   (if (local.get $depth) (then
                     (call $twice (i32.sub (local.get $depth) (i32.const 1)))
                     (call $twice (i32.sub (local.get $depth) (i32.const 1))))))",
            )
            .resolve("(call $twice (i32.const 60)) unreachable"),
    );
}

#[test]
fn a_loop_of_bulk_memory_operations_is_stopped() {
    is_stopped_by_the_clock(
        &guest()
            .memory("400")
            .resolve("(loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 26214400)) (br $l)) unreachable"),
    );
}

#[test]
fn a_loop_of_calls_to_the_host_is_stopped() {
    is_stopped_by_the_clock(
        &guest()
            .import(
                "wasi:clocks/monotonic-clock@0.2.12",
                r#"(import "wasi:clocks/monotonic-clock@0.2.12" "now" (func $now (result i64)))"#,
            )
            .resolve("(loop $l (drop (call $now)) (br $l)) unreachable"),
    );
}

#[test]
fn waiting_is_not_counted_as_cpu_time() {
    let sleeper = sleeper(600);
    under_both_allocations(|bench| {
        let limits = CallLimits { cpu: Duration::from_millis(300), ..CallLimits::default() };
        let answers = bench.call(&sleeper, Call { limits, ..call() }).expect("an answer");
        assert_eq!(only(answers).expose_text(), Some("good"));
    });
}

/// A guest that waits `milliseconds` and then answers.
fn sleeper(milliseconds: u64) -> Guest {
    guest()
        .import(
            "wasi:clocks/monotonic-clock@0.2.12",
            r#"(import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration" (func $after (param i64) (result i32)))
               (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))"#,
        )
        .resolve(&format!(
            "(call $block (call $after (i64.const {milliseconds}000000)))
             (call $one (i32.const 0) (i32.const 16) (i32.const 4))"
        ))
}

#[test]
fn waiting_beyond_the_deadline_ends_at_the_deadline() {
    let sleeper = sleeper(60_000);
    under_both_allocations(|bench| {
        let plugin = sleeper.load(&bench.runtime);
        let started = Instant::now();
        let deadline = started + Duration::from_millis(50);
        let failure = block_on(plugin.resolve(Call { deadline, ..call() }, &references(1))).expect_err("no answer");
        assert_eq!((failure.kind(), failure.code()), (Kind::Deadline, "deadline"));
        assert!(started.elapsed() >= Duration::from_millis(50));
        assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
        bench.still_answers();
    });
}

#[test]
fn computing_beyond_the_deadline_ends_at_the_deadline() {
    let spinner = guest().resolve("(loop $l (br $l)) unreachable");
    under_both_allocations(|bench| {
        let plugin = spinner.load(&bench.runtime);
        let limits = CallLimits { cpu: Duration::from_secs(600), ..CallLimits::default() };
        let call = Call { deadline: Instant::now() + Duration::from_millis(50), limits, ..call() };
        let failure = block_on(plugin.resolve(call, &references(1))).expect_err("no answer");
        assert_eq!((failure.kind(), failure.code()), (Kind::Deadline, "deadline"));
        bench.still_answers();
    });
}

#[test]
fn a_call_whose_deadline_has_passed_does_not_run() {
    let trap = guest().resolve("unreachable");
    under_both_allocations(|bench| {
        let failure = bench.call(&trap, Call { deadline: Instant::now(), ..call() }).expect_err("it did not run");
        assert_eq!(failure.kind(), Kind::Deadline, "not trapped: {failure:?}");
    });
}

fn is_refused_with(guest: &Guest, code: &str) {
    under_both_allocations(|bench| {
        let failure = bench.fails(guest);
        assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, code), "{failure:?}");
    });
}

#[test]
fn memory_does_not_grow_beyond_the_limit() {
    // 480 pages are 30 MiB, 40 more are above 32 MiB.
    is_refused_with(
        &guest().resolve(
            "(if (i32.eq (memory.grow (i32.const 478)) (i32.const -1)) (then (loop $l (br $l))))
             (if (i32.eq (memory.grow (i32.const 40)) (i32.const -1)) (then unreachable))
             (loop $l (br $l)) unreachable",
        ),
        "limit.memory",
    );
}

#[test]
fn a_guest_that_lives_with_a_refused_growth_still_answers() {
    let guest =
        guest().resolve("(drop (memory.grow (i32.const 1000))) (call $one (i32.const 0) (i32.const 16) (i32.const 4))");
    under_both_allocations(|bench| {
        assert_eq!(only(bench.call(&guest, call()).expect("an answer")).expose_text(), Some("good"));
    });
}

#[test]
fn a_memory_that_begins_above_the_limit_is_refused() {
    is_refused_with(&guest().memory("768"), "limit.memory");
}

#[test]
fn a_memory_that_no_slot_holds_is_refused_and_not_called_corrupt() {
    let component = guest().memory("2048").build();
    under_both_allocations(|bench| {
        let failure = match load(&bench.runtime, &component, &[]) {
            Ok(plugin) => block_on(plugin.resolve(call(), &references(1))).expect_err("too much memory"),
            Err(failure) => failure,
        };
        let code = if bench.runtime.allocation() == Allocation::OnDemand { "limit.memory" } else { "plugin.too-large" };
        assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, code), "{failure:?}");
        bench.still_answers();
    });
}

/// A component of `times` more instances of `module`, called once.
fn with_instances_called(bench: &Bench, module: &str, times: u32) -> Answers {
    let component = with_instances(guest().build(), module, times);
    let answers = load(&bench.runtime, &component, &[]).and_then(|p| block_on(p.resolve(call(), &references(1))));
    bench.still_answers();
    answers
}

#[test]
fn memories_are_summed() {
    under_both_allocations(|bench| {
        // Beside the guest's own 128 KiB: 20 MiB, then twice 20 MiB (which no pooled slot holds).
        let twenty = "(module (memory 320))";
        assert!(with_instances_called(bench, twenty, 1).is_ok());
        let failure = with_instances_called(bench, twenty, 2).expect_err("40 MiB");
        assert_eq!(failure.kind(), Kind::LimitExceeded, "{failure:?}");
        let code = if bench.runtime.allocation() == Allocation::OnDemand { "limit.memory" } else { "plugin.too-large" };
        assert_eq!(failure.code(), code);
        // Two memories, each below the limit and together above it, fit a slot.
        let failure = with_instances_called(bench, "(module (memory 511))", 1).expect_err("more than 32 MiB");
        assert_eq!(failure.code(), "limit.memory");
    });
}

#[test]
fn tables_do_not_grow_beyond_the_limit() {
    is_refused_with(
        &guest().items("(table $t 1 funcref)").resolve(
            "(if (i32.eq (table.grow $t (ref.null func) (i32.const 90000)) (i32.const -1)) (then (loop $l (br $l))))
             (if (i32.eq (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1)) (then unreachable))
             (loop $l (br $l)) unreachable",
        ),
        "limit.table",
    );
}

#[test]
fn tables_are_summed() {
    under_both_allocations(|bench| {
        assert!(with_instances_called(bench, "(module (table 30000 funcref))", 3).is_ok());
        let failure = with_instances_called(bench, "(module (table 40000 funcref))", 3).expect_err("120000 elements");
        assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, "limit.table"), "{failure:?}");
    });
}

#[test]
fn instances_memories_and_tables_are_counted() {
    for (module, times) in [("(module)", 250), ("(module (memory 0))", 25), ("(module (table 0 funcref))", 120)] {
        under_both_allocations(|bench| {
            let failure = with_instances_called(bench, module, times).expect_err("too many");
            let code =
                if bench.runtime.allocation() == Allocation::OnDemand { "limit.instances" } else { "plugin.too-large" };
            assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, code), "{module}: {failure:?}");
        });
    }
}

#[test]
fn no_component_takes_more_than_its_slots_share_of_a_pool() {
    // Eight at once, each as large as may be loaded: all are answered.
    let runtime = Runtime::new(POOLED).expect("a runtime");
    for module in ["(module)", "(module (memory 0))", "(module (table 0 funcref))"] {
        let fitting = |times| load(&runtime, &with_instances(sleeper(100).build(), module, times), &LINKABLE);
        let most = (1..).find(|times| fitting(times + 1).is_err()).expect("a largest");
        assert_eq!(fitting(most + 1).expect_err("too many").code(), "plugin.too-large");
        let plugin = fitting(most).expect("the largest");
        let plugin = std::sync::Arc::new(plugin);
        let answers = block_on(async {
            let calls: Vec<_> = (0..8)
                .map(|_| {
                    let plugin = std::sync::Arc::clone(&plugin);
                    tokio::spawn(async move { plugin.resolve(call(), &references(1)).await })
                })
                .collect();
            let mut answers = Vec::new();
            for call in calls {
                answers.push(call.await.expect("no panic"));
            }
            answers
        });
        for answer in answers {
            assert_eq!(only(answer.expect("no call is starved")).expose_text(), Some("good"));
        }
    }
}

fn is_a_trap(guest: &Guest, words: &str) {
    under_both_allocations(|bench| {
        let failure = bench.fails(guest);
        assert_eq!((failure.kind(), failure.code()), (Kind::Trapped, "plugin.trapped"), "{failure:?}");
        assert!(failure.message().as_str().contains(words), "{failure}");
        assert_eq!(failure.plugin().map(|text| text.as_str()), Some("guest@0123abcd"));
    });
}

#[test]
fn deep_recursion_is_a_trap() {
    is_a_trap(
        &guest()
            .items("(func $deeper (param i64) (result i64) (i64.add (i64.const 1) (call $deeper (local.get 0))))")
            .resolve("(drop (call $deeper (i64.const 1))) unreachable"),
        "stack",
    );
}

#[test]
fn unreachable_is_a_trap() {
    is_a_trap(&guest().resolve("unreachable"), "unreachable");
}

#[test]
fn reading_outside_the_memory_is_a_trap() {
    is_a_trap(&guest().resolve("(i32.load (i32.const -4))"), "out of bounds");
}

#[test]
fn dividing_by_zero_is_a_trap() {
    is_a_trap(&guest().resolve("(i32.div_u (i32.const 1) (i32.const 0))"), "divide by zero");
}

#[test]
fn handles_of_the_guests_own_resources_are_counted() {
    let hoarder = |count: u32| {
        guest()
            .wit("interface things { resource thing { constructor(); } }", "export things;")
            .import_function(
                r#"(import "[export]test:guest/things" "[resource-new]thing" (func $new (param i32) (result i32)))"#,
            )
            .items(r#"(func (export "test:guest/things#[constructor]thing") (result i32) (call $new (i32.const 1)))"#)
            .resolve(&format!(
                "(local.set $x (i32.const {count}))
                 (loop $l
                   (drop (call $new (i32.const 1)))
                   (br_if $l (local.tee $x (i32.sub (local.get $x) (i32.const 1)))))
                 (call $one (i32.const 0) (i32.const 16) (i32.const 4))"
            ))
    };
    is_refused_with(&hoarder(300), "limit.handles");
    under_both_allocations(|bench| {
        assert!(bench.call(&hoarder(200), call()).is_ok());
    });
}

#[test]
fn handles_of_the_hosts_resources_are_counted() {
    // Each pollable of a clock is two of the host's resources: the timer and what waits for it.
    let hoarder = |count: u32| {
        guest()
            .import(
                "wasi:clocks/monotonic-clock@0.2.12",
                r#"(import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration" (func $after (param i64) (result i32)))"#,
            )
            .resolve(&format!(
                "(local.set $x (i32.const {count}))
                 (loop $l
                   (drop (call $after (i64.const 1000000)))
                   (br_if $l (local.tee $x (i32.sub (local.get $x) (i32.const 1)))))
                 (call $one (i32.const 0) (i32.const 16) (i32.const 4))"
            ))
    };
    is_refused_with(&hoarder(150), "limit.handles");
    under_both_allocations(|bench| {
        assert!(bench.call(&hoarder(100), call()).is_ok());
    });
}
