//! How late a runaway guest is ended, and what a live instance holds in memory.
//!
//! These are distributions and sizes, which no sampling of a mean shows: a program of its own prints
//! them, with the target beside each.

#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "it reads its own memory use")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use strongroom_core::manifest::Grant;
use strongroom_core::{Failure, Kind, Name};
use strongroom_sandbox::aot::Code;
use strongroom_sandbox::capability::store::StoreAccess;
use strongroom_sandbox::{Allocation, Call, CallLimits, Capabilities, Plugin, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use support::{Guest, call, guest, references};

const RUNS: usize = 300;
const LIVE: usize = 1_000;
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/keys.wasm");

fn main() {
    // `cargo test --all-targets` runs benchmarks too, and has no use for this one.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("| quantity | p50 | p99 | most | target |\n| --- | --- | --- | --- | --- |");
    let spin = guest().resolve("(loop $l (br $l)) unreachable");
    let fill = guest()
        .memory("400")
        .resolve("(loop $l (memory.fill (i32.const 65536) (i32.const 7) (i32.const 26000000)) (br $l)) unreachable");
    let sweep = sweep();
    overrun("an endless loop, after its CPU limit", &spin, |call| call.limits.cpu = LIMIT, "5 ms at p99");
    overrun("an endless loop, after its deadline", &spin, |call| call.deadline = Instant::now() + LIMIT, "5 ms at p99");
    let target = format!("5 ms and one sweep ({:.1} ms) at p99", milliseconds(sweep));
    overrun("bulk operations on 25 MB, after their CPU limit", &fill, |call| call.limits.cpu = LIMIT, &target);
    println!("\n| quantity | KiB each | target |\n| --- | --- | --- |");
    live("mapped for each call", Allocation::OnDemand);
    live("pooled", Allocation::Pooled { slots: 1_100, memory_bytes: 64 << 20 });
}

const LIMIT: Duration = Duration::from_millis(20);

/// Calls `guest` again and again under a limit, and tells how much later than the limit it ended.
fn overrun(what: &str, guest: &Guest, limit: impl Fn(&mut Call), target: &str) {
    let runtime = Runtime::new(Allocation::OnDemand).expect("a runtime");
    let plugin = guest.load(&runtime);
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut late: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            let mut call = call();
            limit(&mut call);
            let failure = tokio.block_on(plugin.resolve(call, &references(1))).expect_err("it is ended");
            assert!(matches!(failure.kind(), Kind::LimitExceeded | Kind::Deadline), "{failure}");
            begun.elapsed().saturating_sub(LIMIT)
        })
        .collect();
    late.sort_unstable();
    let [p50, p99, most] = [RUNS / 2, RUNS * 99 / 100, RUNS - 1].map(|rank| milliseconds(late[rank]));
    println!("| {what} | {p50:.2} ms | {p99:.2} ms | {most:.2} ms | {target} |");
}

/// One pass over the memory that a guest may have by default.
fn sweep() -> Duration {
    let mut memory = vec![1_u8; CallLimits::default().memory_bytes];
    let begun = Instant::now();
    memory.fill(7);
    let took = begun.elapsed();
    assert!(std::hint::black_box(&memory).iter().all(|byte| *byte == 7));
    took
}

/// A store that never answers, so that whoever asks it stays alive.
struct Waiting {
    asked: AtomicUsize,
    never: Semaphore,
}

#[async_trait]
impl StoreAccess for Waiting {
    async fn get(&self, _: String) -> Result<Option<Vec<u8>>, Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _ = self.never.acquire().await;
        Ok(None)
    }
    async fn set(&self, _: String, _: Vec<u8>) -> Result<(), Failure> {
        Ok(())
    }
    async fn delete(&self, _: String) -> Result<bool, Failure> {
        Ok(false)
    }
    async fn swap(&self, _: String, _: Option<Vec<u8>>, _: Option<Vec<u8>>) -> Result<bool, Failure> {
        Ok(false)
    }
    async fn keys(&self, _: String, _: Option<String>) -> Result<(Vec<String>, Option<String>), Failure> {
        Ok((Vec::new(), None))
    }
}

/// A thousand calls of the bundled `keys` plugin that wait for the store at once.
fn live(how: &str, allocation: Allocation) {
    let runtime = Runtime::new(allocation).expect("a runtime");
    let component = std::fs::read(KEYS).expect("the plugins are built by `cargo xtask plugins`");
    let code = Code::compiled(runtime.compile(&component).expect("it compiles"));
    let name = Name::parse("keys").expect("a name");
    let plugin = Arc::new(Plugin::load(&runtime, &name, "", &code, &BTreeSet::from([Grant::Store])).expect("it loads"));
    let store = Arc::new(Waiting { asked: AtomicUsize::new(0), never: Semaphore::new(0) });
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio.block_on(async {
        let mut waiting = JoinSet::new();
        let mut before = 0;
        for number in 0..=LIVE {
            let (plugin, capabilities) =
                (plugin.clone(), Capabilities { store: Some(store.clone()), ..Capabilities::default() });
            let mut reference = references(1);
            reference[0].path = vec!["group".into(), format!("name-{number}")];
            reference[0].selectors.clear();
            let call = Call { capabilities, ..call() };
            waiting.spawn(async move { plugin.resolve(call, &reference).await.map(drop) });
            while store.asked.load(Ordering::SeqCst) <= number {
                tokio::task::yield_now().await;
                assert!(waiting.try_join_next().is_none(), "a call ended");
            }
            // The first one also pays for what all share.
            if number == 0 {
                before = resident_kib();
            }
        }
        let each = (resident_kib() - before) as f64 / LIVE as f64;
        println!("| a live instance, {how}, of {LIVE} | {each:.1} | 40 |");
    });
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
