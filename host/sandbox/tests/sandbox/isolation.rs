//! No instance serves two calls, and no call sees or disturbs another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_core::Kind;
use strongroom_sandbox::{Allocation, Call, CallLimits, Runtime};

use crate::support::*;

#[test]
fn no_instance_serves_two_calls() {
    let counter = guest().items("(global $calls (mut i64) (i64.const 0))").resolve(
        "(global.set $calls (i64.add (global.get $calls) (i64.const 1)))
         (i64.store (i32.const 2048) (i64.add (i64.load (i32.const 2048)) (i64.const 1)))
         (call $number (i64.add (global.get $calls) (i64.mul (i64.const 100) (i64.load (i32.const 2048)))))",
    );
    under_both_allocations(|bench| {
        let plugin = counter.load(&bench.runtime);
        for _ in 0..20 {
            let answers = block_on(plugin.resolve(call(), &references(1))).expect("an answer");
            assert_eq!(number(&only(answers)), 101, "the first call, in globals and in memory");
        }
    });
}

const MARK: &str = "0xa5a5a5a5a5a5a5a5";

/// Marks all its memory, 16 MiB more, and a table.
fn marker() -> Guest {
    guest().items("(table $t 1 funcref) (func $f) (elem declare func $f)").resolve(
        "(if (i32.eq (memory.grow (i32.const 256)) (i32.const -1)) (then unreachable))
         (memory.fill (i32.const 131072) (i32.const 0xa5) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 131072)))
         (if (i32.eq (table.grow $t (ref.func $f) (i32.const 10000)) (i32.const -1)) (then unreachable))
         (call $number (i64.const 1))",
    )
}

/// Counts the marks it finds in as much memory, and what is not null in as large a table.
fn searcher() -> Guest {
    guest().items("(table $t 1 funcref)").resolve(&format!(
        "(if (i32.eq (memory.grow (i32.const 256)) (i32.const -1)) (then unreachable))
         (if (i32.eq (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1)) (then unreachable))
         (local.set $x (i32.const 0))
         (loop $l
           (if (i64.eq (i64.load (local.get $x)) (i64.const {MARK})) (then (local.set $n (i64.add (local.get $n) (i64.const 1)))))
           (br_if $l (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 8))) (i32.mul (memory.size) (i32.const 65536)))))
         (local.set $x (i32.const 0))
         (loop $l
           (if (i32.eqz (ref.is_null (table.get $t (local.get $x)))) (then (local.set $n (i64.add (local.get $n) (i64.const 1)))))
           (br_if $l (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 1))) (table.size $t))))
         (call $number (local.get $n))"
    ))
}

#[test]
fn nothing_a_call_left_in_memory_or_tables_is_there_for_the_next() {
    for allocation in [Allocation::OnDemand, Allocation::Pooled { slots: 1, memory_bytes: 64 << 20 }] {
        let runtime = Runtime::new(allocation).expect("a runtime");
        // The same module finds its slot again by affinity; another one has it remapped.
        let searched_itself = marker().resolve(&searching());
        let (marker, searcher, itself) =
            (marker().load(&runtime), searcher().load(&runtime), searched_itself.load(&runtime));
        let limits = CallLimits { cpu: Duration::from_secs(5), ..CallLimits::default() };
        let called = |plugin: &strongroom_sandbox::Plugin| {
            number(&only(block_on(plugin.resolve(Call { limits, ..call() }, &references(1))).expect("an answer")))
        };
        for _ in 0..3 {
            assert_eq!(called(&marker), 1);
            assert_eq!(called(&searcher), 0, "another plugin, {allocation:?}");
            // Searches first and marks afterwards, so that its own next call is the one to see it.
            assert_eq!(called(&itself), 0, "the same plugin, {allocation:?}");
            assert_eq!(called(&itself), 0, "the same plugin again, {allocation:?}");
        }
    }
}

fn searching() -> String {
    format!(
        "(if (i32.eq (memory.grow (i32.const 256)) (i32.const -1)) (then unreachable))
         (local.set $x (i32.const 0))
         (loop $l
           (if (i64.eq (i64.load (local.get $x)) (i64.const {MARK})) (then (local.set $n (i64.add (local.get $n) (i64.const 1)))))
           (br_if $l (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 8))) (i32.mul (memory.size) (i32.const 65536)))))
         (local.set $y (call $number (local.get $n)))
         (memory.fill (i32.const 131072) (i32.const 0xa5) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 131072)))
         (local.get $y)"
    )
}

/// Waits for a minute.
fn waiter() -> Guest {
    guest()
        .import(
            "wasi:clocks/monotonic-clock@0.2.12",
            r#"(import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration" (func $after (param i64) (result i32)))
               (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))"#,
        )
        .resolve("(call $block (call $after (i64.const 60000000000))) unreachable")
}

#[test]
fn a_call_that_is_dropped_in_the_middle_gives_everything_back() {
    for allocation in [Allocation::OnDemand, Allocation::Pooled { slots: 1, memory_bytes: 64 << 20 }] {
        let bench = Bench::new(allocation);
        let spinner = guest().resolve("(loop $l (br $l)) unreachable").load(&bench.runtime);
        let waiter = waiter().load(&bench.runtime);
        for plugin in [&waiter, &spinner, &waiter] {
            block_on(async {
                let references = references(1);
                let mut running = std::pin::pin!(plugin.resolve(call(), &references));
                let ended = tokio::time::timeout(Duration::from_millis(20), &mut running).await;
                assert!(ended.is_err(), "it was still running");
            });
            bench.still_answers();
        }
    }
}

#[test]
fn a_full_pool_is_a_typed_failure_and_not_a_wait() {
    let bench = Bench::new(Allocation::Pooled { slots: 3, memory_bytes: 64 << 20 });
    let waiter = Arc::new(waiter().load(&bench.runtime));
    block_on(async {
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let waiter = Arc::clone(&waiter);
                tokio::spawn(async move { waiter.resolve(call(), &references(1)).await })
            })
            .collect();
        // On this one thread, each call gets to its wait before this task is polled again.
        tokio::task::yield_now().await;
        let failure = bench.good.resolve(call(), &references(1)).await.expect_err("no slot is free");
        assert_eq!((failure.kind(), failure.code()), (Kind::Unavailable, "sandbox.full"), "{failure:?}");
        assert!(failure.kind().meaning().retry);
        for call in &calls {
            call.abort();
        }
        for call in calls {
            assert!(call.await.expect_err("aborted").is_cancelled());
        }
    });
    bench.still_answers();
}

#[test]
fn a_hundred_calls_share_eight_slots() {
    let bench = Bench::new(POOLED);
    let plugin = Arc::new(
        guest()
            .resolve(
                "(memory.fill (i32.const 100000) (i32.const 1) (i32.const 20000))
         (call $one (i32.const 0) (i32.const 16) (i32.const 4))",
            )
            .load(&bench.runtime),
    );
    let hostile = Arc::new(guest().resolve("(loop $l (br $l)) unreachable").load(&bench.runtime));
    let slots = Arc::new(tokio::sync::Semaphore::new(8));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (plugin, hostile, slots) = (Arc::clone(&plugin), Arc::clone(&hostile), Arc::clone(&slots));
            std::thread::spawn(move || {
                block_on(async {
                    let mut calls = Vec::new();
                    for index in 0..25 {
                        let plugin = Arc::clone(if index % 5 == 4 { &hostile } else { &plugin });
                        let slots = Arc::clone(&slots);
                        calls.push(tokio::spawn(async move {
                            let _permit = slots.acquire().await.expect("open");
                            let cpu = Duration::from_millis(if index % 5 == 4 { 30 } else { 10_000 });
                            let limits = CallLimits { cpu, ..CallLimits::default() };
                            (index, plugin.resolve(Call { limits, ..call() }, &references(1)).await)
                        }));
                    }
                    for call in calls {
                        match call.await.expect("no panic") {
                            (index, Err(failure)) if index % 5 == 4 => assert_eq!(failure.code(), "limit.cpu"),
                            (_, answers) => assert_eq!(only(answers.expect("an answer")).expose_text(), Some("good")),
                        }
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("all its calls were answered");
    }
    bench.still_answers();
}

#[test]
fn a_guest_that_computes_lets_others_of_its_thread_go_on() {
    under_both_allocations(|bench| {
        let spinner = guest().resolve("(loop $l (br $l)) unreachable").load(&bench.runtime);
        block_on(async {
            let limits = CallLimits { cpu: Duration::from_secs(600), ..CallLimits::default() };
            let deadline = Instant::now() + Duration::from_secs(20);
            let references = references(1);
            let spinning = spinner.resolve(Call { limits, deadline, ..call() }, &references);
            let answered = async {
                for _ in 0..5 {
                    only(bench.good.resolve(call(), &references).await.expect("an answer"));
                }
            };
            tokio::select! {
                ended = spinning => panic!("the endless guest ended first: {ended:?}"),
                () = answered => {}
            }
        });
    });
}
