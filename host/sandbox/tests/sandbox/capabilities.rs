//! What each granted interface gives, and where it ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use strongroom_core::{Failure, Kind, Text};
use strongroom_sandbox::capability::env::Variables;
use strongroom_sandbox::capability::log::{Level, LogSink};
use strongroom_sandbox::capability::store::StoreAccess;
use strongroom_sandbox::plugin::LINKABLE;
use strongroom_sandbox::{Call, CallLimits, Capabilities};
use zeroize::Zeroizing;

use crate::support::*;

type Line = (Level, Text, Vec<(Text, Text)>);

#[derive(Default)]
struct Lines(Mutex<Vec<Line>>);

impl LogSink for Lines {
    fn log(&self, level: Level, message: Text, fields: Vec<(Text, Text)>) {
        self.0.lock().expect("no panic").push((level, message, fields));
    }
}

const LOG: &str = r#"(import "strongroom:plugin/log@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32)))"#;
const GOOD: &str = "(call $one (i32.const 0) (i32.const 16) (i32.const 4))";

fn logged(bench: &Bench, guest: &Guest) -> Vec<Line> {
    let lines = Arc::new(Lines::default());
    let capabilities = Capabilities { log: Some(lines.clone()), ..Capabilities::default() };
    only(bench.call(guest, Call { capabilities, ..call() }).expect("an answer"));
    std::mem::take(&mut lines.0.lock().expect("no panic"))
}

#[test]
fn log_lines_beyond_the_limit_are_dropped_and_the_call_goes_on() {
    let chatty = guest().import("strongroom:plugin/log@0.1.0", LOG).resolve(&format!(
        "(local.set $x (i32.const 1000))
         (loop $l
           (call $log (i32.const 2) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 0))
           (br_if $l (local.tee $x (i32.sub (local.get $x) (i32.const 1)))))
         {GOOD}"
    ));
    under_both_allocations(|bench| {
        assert_eq!(logged(bench, &chatty).len(), CallLimits::default().log_lines as usize);
        // The count is of one call: the next has all its lines again.
        assert_eq!(logged(bench, &chatty).len(), CallLimits::default().log_lines as usize);
    });
}

#[test]
fn log_lines_reach_the_sink_escaped_with_their_level() {
    let guest = guest()
        .import("strongroom:plugin/log@0.1.0", LOG)
        .items(
            r#"(data (i32.const 1024) "a\1b]0;x\07\nb\e2\80\ae" "k\0d")
               (data (i32.const 1056) "\00\04\00\00\01\00\00\00" "\0c\04\00\00\02\00\00\00")"#,
        )
        .resolve(&format!(
            "(call $log (i32.const 4) (i32.const 1024) (i32.const 12) (i32.const 1056) (i32.const 1)) {GOOD}"
        ));
    under_both_allocations(|bench| {
        let lines = logged(bench, &guest);
        let [(level, message, fields)] = &lines[..] else { panic!("one line, not {lines:?}") };
        assert_eq!(*level, Level::Error);
        assert_eq!(message.as_str(), "a\\u{1b}]0;x\\u{7}\\u{a}b\\u{202e}");
        assert_eq!(fields[..], [(Text::new("a"), Text::new("k\r"))]);
    });
}

#[test]
fn a_log_line_keeps_few_fields_and_no_long_text() {
    // 1000 fields, each "good" = "good", and a message of 100 KiB.
    let guest = guest().import("strongroom:plugin/log@0.1.0", LOG).memory("8").resolve(&format!(
        "(local.set $x (call $alloc (i32.const 16000)))
         (local.set $y (local.get $x))
         (loop $l
           (i32.store (local.get $y) (i32.const 16)) (i32.store offset=4 (local.get $y) (i32.const 4))
           (i32.store offset=8 (local.get $y) (i32.const 16)) (i32.store offset=12 (local.get $y) (i32.const 4))
           (br_if $l (i32.lt_u (local.tee $y (i32.add (local.get $y) (i32.const 16)))
             (i32.add (local.get $x) (i32.const 16000)))))
         (local.set $y (call $alloc (i32.const 102400)))
         (memory.fill (local.get $y) (i32.const 65) (i32.const 102400))
         (call $log (i32.const 0) (local.get $y) (i32.const 102400) (local.get $x) (i32.const 1000))
         {GOOD}"
    ));
    under_both_allocations(|bench| {
        let lines = logged(bench, &guest);
        let [(level, message, fields)] = &lines[..] else { panic!("one line") };
        assert_eq!((*level, fields.len()), (Level::Trace, 16));
        assert!(message.as_str().chars().count() <= 513, "{} characters", message.as_str().len());
        assert_eq!(fields[0], (Text::new("good"), Text::new("good")));
    });
}

#[test]
fn a_log_line_larger_than_one_call_may_carry_ends_the_guest() {
    let guest = guest().import("strongroom:plugin/log@0.1.0", LOG).memory("100").resolve(&format!(
        "(call $log (i32.const 0) (i32.const 65536) (i32.const 2097153) (i32.const 0) (i32.const 0)) {GOOD}"
    ));
    under_both_allocations(|bench| {
        let failure = bench.fails(&guest);
        assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, "limit.hostcall"), "{failure:?}");
    });
}

struct OneVariable;

impl Variables for OneVariable {
    fn get(&self, name: &str) -> Option<Zeroizing<String>> {
        (name == "ALLOWED").then(|| Zeroizing::new("value of it".to_owned()))
    }
    fn names(&self) -> Vec<String> {
        vec!["ALLOWED".to_owned()]
    }
}

/// Answers with the variable of the name at 1024, or with `absent`.
fn env_reader(name: &str) -> Guest {
    guest()
        .import(
            "strongroom:plugin/env@0.1.0",
            r#"(import "strongroom:plugin/env@0.1.0" "get" (func $get (param i32 i32 i32)))"#,
        )
        .items(&format!(r#"(data (i32.const 512) "absent") (data (i32.const 1024) "{name}")"#))
        .resolve(&format!(
            "(local.set $x (call $alloc (i32.const 16)))
             (call $get (i32.const 1024) (i32.const {}) (local.get $x))
             (if (result i32) (i32.load8_u (local.get $x))
               (then (call $one (i32.const 0) (i32.load offset=4 (local.get $x)) (i32.load offset=8 (local.get $x))))
               (else (call $one (i32.const 0) (i32.const 512) (i32.const 6))))",
            name.len()
        ))
}

#[test]
fn a_variable_that_was_not_supplied_reads_as_absent() {
    under_both_allocations(|bench| {
        let read = |name, env: Option<Arc<dyn Variables>>| {
            let capabilities = Capabilities { env, ..Capabilities::default() };
            let secret = only(bench.call(&env_reader(name), Call { capabilities, ..call() }).expect("an answer"));
            secret.expose_text().expect("text").to_owned()
        };
        assert_eq!(read("ALLOWED", Some(Arc::new(OneVariable))), "value of it");
        // These are set in the process of the test.
        assert_eq!(read("PATH", Some(Arc::new(OneVariable))), "absent");
        assert_eq!(read("PATH", None), "absent");
        assert_eq!(read("", Some(Arc::new(OneVariable))), "absent");
    });
}

/// A store that has nothing but one failure.
struct Broken;

fn wrong_passphrase() -> Failure {
    Failure::new(Kind::Unauthenticated, "store.passphrase", "the passphrase does not open the store")
        .help("set STRONGROOM_PASSPHRASE")
}

#[async_trait]
impl StoreAccess for Broken {
    async fn get(&self, _key: String) -> Result<Option<Vec<u8>>, Failure> {
        Err(wrong_passphrase())
    }
    async fn set(&self, _key: String, _value: Vec<u8>) -> Result<(), Failure> {
        Err(wrong_passphrase())
    }
    async fn delete(&self, _key: String) -> Result<bool, Failure> {
        Err(wrong_passphrase())
    }
    async fn swap(&self, _key: String, _expected: Option<Vec<u8>>, _new: Option<Vec<u8>>) -> Result<bool, Failure> {
        Err(wrong_passphrase())
    }
    async fn keys(&self, _prefix: String, _cursor: Option<String>) -> Result<(Vec<String>, Option<String>), Failure> {
        Err(wrong_passphrase())
    }
}

const STORE_GET: &str = r#"(import "strongroom:plugin/store@0.1.0" "get" (func $get (param i32 i32 i32)))"#;

/// Answers with the failure that the store gave, as the guest was told it, but for what `change`
/// does to the answer at `$y`.
fn store_reader(change: &str) -> Guest {
    guest().import("strongroom:plugin/store@0.1.0", STORE_GET).items(r#"(data (i32.const 1024) "mine")"#).resolve(
        &format!(
            "(local.set $x (call $alloc (i32.const 48)))
             (call $get (i32.const 16) (i32.const 4) (local.get $x))
             (if (i32.eqz (i32.load8_u (local.get $x))) (then unreachable))
             (local.set $y (call $alloc (i32.const 80)))
             (memory.copy (i32.add (local.get $y) (i32.const 8)) (i32.add (local.get $x) (i32.const 4)) (i32.const 36))
             (i32.store8 (local.get $y) (i32.const 1))
             {change}
             (call $give (local.get $y) (i32.const 1))"
        ),
    )
}

#[test]
fn a_failure_of_the_store_comes_back_in_the_hosts_own_words() {
    under_both_allocations(|bench| {
        let told = |change| {
            let capabilities = Capabilities { store: Some(Arc::new(Broken)), ..Capabilities::default() };
            only_failure(bench.call(&store_reader(change), Call { capabilities, ..call() }).expect("an answer"))
        };
        assert_eq!(told(""), wrong_passphrase());
        // The guest's own text on the host's code is not shown: nobody is phished with our words.
        assert_eq!(
            told(
                "(i32.store offset=20 (local.get $y) (i32.const 1024)) (i32.store offset=24 (local.get $y) (i32.const 4))"
            ),
            wrong_passphrase()
        );
        // The guest's own code is its own failure.
        let own = told(
            "(i32.store offset=12 (local.get $y) (i32.const 1024)) (i32.store offset=16 (local.get $y) (i32.const 4))",
        );
        assert_eq!(
            (own.code(), own.message().as_str()),
            ("mine", "unauthenticated"),
            "the guest never saw our message"
        );
        assert!(own.helps().is_empty());
    });
}

#[test]
fn a_store_that_was_not_supplied_is_unsupported() {
    under_both_allocations(|bench| {
        let failure = only_failure(bench.call(&store_reader(""), call()).expect("an answer"));
        assert_eq!((failure.kind(), failure.code()), (Kind::Unsupported, "store.none"));
    });
}

const RANDOM: &str = r#"
  (import "wasi:random/random@0.2.12" "get-random-bytes" (func $bytes (param i64 i32)))
  (import "wasi:random/random@0.2.12" "get-random-u64" (func $u64 (result i64)))"#;

#[test]
fn random_bytes_differ_between_calls_and_within_one() {
    let guest = guest().import("wasi:random/random@0.2.12", RANDOM).resolve(
        "(local.set $x (call $alloc (i32.const 8)))
         (call $bytes (i64.const 32) (local.get $x))
         (call $one (i32.const 1) (i32.load (local.get $x)) (i32.load offset=4 (local.get $x)))",
    );
    under_both_allocations(|bench| {
        let plugin = guest.load(&bench.runtime);
        let draw = || only(block_on(plugin.resolve(call(), &references(1))).expect("an answer")).expose().to_vec();
        let (first, second) = (draw(), draw());
        assert_eq!((first.len(), second.len()), (32, 32));
        assert_ne!(first, second);
        assert_ne!(first[..16], first[16..]);
    });
}

#[test]
fn randomness_is_capped_per_call() {
    let draw = |bytes: u64, times: u32| {
        guest().import("wasi:random/random@0.2.12", RANDOM).resolve(&format!(
            "(local.set $x (call $alloc (i32.const 8)))
             (local.set $y (i32.const {times}))
             (loop $l
               (call $bytes (i64.const {bytes}) (local.get $x))
               (br_if $l (local.tee $y (i32.sub (local.get $y) (i32.const 1)))))
             {GOOD}"
        ))
    };
    let numbers =
        guest().import("wasi:random/random@0.2.12", RANDOM).resolve("(loop $l (drop (call $u64)) (br $l)) unreachable");
    under_both_allocations(|bench| {
        assert!(bench.call(&draw(65536, 1), call()).is_ok());
        for greedy in [draw(65537, 1), draw(32768, 3), draw(u64::MAX >> 1, 1), numbers.clone()] {
            let failure = bench.fails(&greedy);
            assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, "limit.random"), "{failure:?}");
        }
    });
}

const MONOTONIC: &str = r#"
  (import "wasi:clocks/monotonic-clock@0.2.12" "now" (func $now (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.12" "resolution" (func $resolution (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration" (func $after (param i64) (result i32)))
  (import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-instant" (func $at (param i64) (result i32)))
  (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:io/poll@0.2.12" "[method]pollable.ready" (func $ready (param i32) (result i32)))"#;

fn clock(body: &str) -> Guest {
    guest().import("wasi:clocks/monotonic-clock@0.2.12", MONOTONIC).resolve(body)
}

const STEP: u64 = 1_000_000;

#[test]
fn the_monotonic_clock_says_that_it_steps_by_a_millisecond() {
    let resolution = clock("(call $number (call $resolution))");
    under_both_allocations(|bench| assert_eq!(bench.number(&resolution, call()), STEP));
}

#[test]
fn the_monotonic_clock_begins_with_the_call_and_steps_by_a_millisecond() {
    let now = clock("(call $number (call $now))");
    // The smallest difference between two readings, of all that 40 ms show.
    let step = clock(
        "(local.set $m (call $now))
         (loop $l (br_if $l (i64.eq (local.tee $n (call $now)) (local.get $m))))
         (call $number (i64.sub (local.get $n) (local.get $m)))",
    );
    under_both_allocations(|bench| {
        let plugin = now.load(&bench.runtime);
        for _ in 0..3 {
            let asked = Instant::now();
            let read = number(&only(block_on(plugin.resolve(call(), &references(1))).expect("an answer")));
            assert_eq!(read % STEP, 0);
            // The machine's uptime is minutes and more; the call is at most as old as we saw it run.
            assert!(Duration::from_nanos(read) <= asked.elapsed(), "{read} ns");
        }
        let step = bench.number(&step, call());
        assert!(step >= STEP && step % STEP == 0, "{step}");
    });
}

#[test]
fn the_wall_clock_is_right_and_steps_by_a_millisecond() {
    let wall = |read: &str| {
        guest()
            .import(
                "wasi:clocks/wall-clock@0.2.12",
                r#"(import "wasi:clocks/wall-clock@0.2.12" "now" (func $wall (param i32)))
                   (import "wasi:clocks/wall-clock@0.2.12" "resolution" (func $resolution (param i32)))"#,
            )
            .resolve(&format!(
                "(local.set $x (call $alloc (i32.const 16))) (call {read} (local.get $x))
                 (call $number (i64.add (i64.mul (i64.load (local.get $x)) (i64.const 1000000000))
                   (i64.load32_u offset=8 (local.get $x))))"
            ))
    };
    under_both_allocations(|bench| {
        let of =
            |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
        let before = of(std::time::SystemTime::now());
        let read = bench.number(&wall("$wall"), call());
        assert_eq!(read % STEP, 0);
        assert!(u128::from(read) + u128::from(STEP) > before && u128::from(read) <= of(std::time::SystemTime::now()));
        assert_eq!(bench.number(&wall("$resolution"), call()), STEP);
    });
}

#[test]
fn waiting_takes_as_long_as_was_asked_for() {
    let wait = clock(
        "(call $block (call $after (i64.const 30000000)))
         (call $block (call $at (i64.const 50000000)))
         (call $block (call $at (i64.const 0)))
         (call $number (call $now))",
    );
    under_both_allocations(|bench| {
        let read = bench.number(&wait, call());
        assert!(read >= 50 * STEP, "{read} ns");
    });
}

#[test]
fn a_wait_of_centuries_is_only_a_wait() {
    let wait = clock("(drop (call $ready (call $after (i64.const -1)))) (call $number (i64.const 7))");
    under_both_allocations(|bench| assert_eq!(bench.number(&wait, call()), 7));
}

/// A guest of a language runtime: it imports `interface`, and its one answer is eight bytes.
fn stubbed(interface: &str, function: &str, body: &str) -> Guest {
    guest().import(interface, function).resolve(body)
}

#[test]
fn the_stub_has_no_variables_arguments_folder_or_terminal() {
    // Each gives a list or an option at 1024: the list's length is at 1028, the option's tag at 1024.
    let cases = [
        ("wasi:cli/environment@0.2.12", "get-environment", 1028),
        ("wasi:cli/environment@0.2.12", "get-arguments", 1028),
        ("wasi:cli/environment@0.2.12", "initial-cwd", 1024),
        ("wasi:filesystem/preopens@0.2.12", "get-directories", 1028),
        ("wasi:cli/terminal-stdin@0.2.12", "get-terminal-stdin", 1024),
        ("wasi:cli/terminal-stdout@0.2.12", "get-terminal-stdout", 1024),
        ("wasi:cli/terminal-stderr@0.2.12", "get-terminal-stderr", 1024),
    ];
    under_both_allocations(|bench| {
        for (interface, function, at) in cases {
            let import = format!(r#"(import "{interface}" "{function}" (func $f (param i32)))"#);
            let body = format!(
                "(i64.store (i32.const 1024) (i64.const -1)) (call $f (i32.const 1024))
                 (call $number (i64.load8_u (i32.const {at})))"
            );
            assert_eq!(bench.number(&stubbed(interface, &import, &body), call()), 0, "{function}");
        }
    });
}

#[test]
fn the_stubs_standard_streams_have_ended() {
    let read = r#"(import "wasi:cli/stdin@0.2.12" "get-stdin" (func $stdin (result i32)))
        (import "wasi:io/streams@0.2.12" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))"#;
    let input = guest().import("wasi:cli/stdin@0.2.12", read).wit("", "import wasi:io/streams@0.2.12;").resolve(
        "(call $read (call $stdin) (i64.const 10) (i32.const 1024))
         ;; result: err (1), stream-error: closed (1)
         (call $number (i64.add (i64.mul (i64.const 16) (i64.load8_u (i32.const 1024))) (i64.load8_u (i32.const 1028))))",
    );
    let written = |stream: &str| {
        let write = format!(
            r#"(import "wasi:cli/{stream}@0.2.12" "get-{stream}" (func $get (result i32)))
               (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
                 (func $write (param i32 i32 i32 i32)))"#
        );
        guest().import(&format!("wasi:cli/{stream}@0.2.12"), &write).wit("", "import wasi:io/streams@0.2.12;").resolve(
            "(call $write (call $get) (i32.const 16) (i32.const 4) (i32.const 1024))
                 (call $number (i64.add (i64.mul (i64.const 16) (i64.load8_u (i32.const 1024)))
                   (i64.load8_u (i32.const 1028))))",
        )
    };
    under_both_allocations(|bench| {
        for guest in [&input, &written("stdout"), &written("stderr")] {
            assert_eq!(bench.number(guest, call()), 0x11);
        }
    });
}

#[test]
fn an_exit_ends_the_call_whatever_its_status() {
    for status in ["0", "1"] {
        let exit = r#"(import "wasi:cli/exit@0.2.12" "exit" (func $exit (param i32)))"#;
        let guest = stubbed("wasi:cli/exit@0.2.12", exit, &format!("(call $exit (i32.const {status})) {GOOD}"));
        under_both_allocations(|bench| {
            let failure = bench.fails(&guest);
            assert_eq!((failure.kind(), failure.code()), (Kind::Trapped, "plugin.exit"), "{status}: {failure:?}");
        });
    }
}

#[test]
fn a_file_cannot_be_opened_by_a_made_up_descriptor() {
    let open = r#"(import "wasi:filesystem/types@0.2.12" "[method]descriptor.get-flags" (func $f (param i32 i32)))"#;
    let guest =
        stubbed("wasi:filesystem/types@0.2.12", open, &format!("(call $f (i32.const 1) (i32.const 1024)) {GOOD}"));
    under_both_allocations(|bench| {
        let failure = bench.fails(&guest);
        assert!(matches!(failure.kind(), Kind::Trapped | Kind::Protocol), "{failure:?}");
    });
}

#[test]
fn insecure_randomness_is_as_good_and_as_capped_as_the_other() {
    let bytes = r#"(import "wasi:random/insecure@0.2.12" "get-insecure-random-u64" (func $u64 (result i64)))"#;
    let one = stubbed("wasi:random/insecure@0.2.12", bytes, "(call $number (call $u64))");
    let endless =
        stubbed("wasi:random/insecure@0.2.12", bytes, &format!("(loop $l (drop (call $u64)) (br $l)) {GOOD}"));
    let seed = r#"(import "wasi:random/insecure-seed@0.2.12" "insecure-seed" (func $seed (param i32)))"#;
    let seed = stubbed(
        "wasi:random/insecure-seed@0.2.12",
        seed,
        "(call $seed (i32.const 1024)) (call $number (i64.load (i32.const 1024)))",
    );
    under_both_allocations(|bench| {
        for guest in [&one, &seed] {
            assert_ne!(bench.number(guest, call()), bench.number(guest, call()));
        }
        assert_eq!(bench.fails(&endless).code(), "limit.random");
    });
}

#[test]
fn a_runtime_built_against_an_older_patch_of_wasi_is_linked() {
    // componentize-py speaks of 0.2.4; the contract's own dependencies are of 0.2.12.
    let component = wat::parse_str(
        r#"(component (import "wasi:cli/environment@0.2.4" (instance
             (export "get-environment" (func (result (list (tuple string string))))))))"#,
    )
    .expect("a component");
    under_both_allocations(|bench| {
        let failure = load(&bench.runtime, &component, &LINKABLE).expect_err("no provider");
        assert_eq!(failure.code(), "plugin.no-provider", "{failure:?}");
    });
}
