//! A soak: one process that embeds the library, mixed load on the fake Azure, and every fault that it
//! knows, switched on and off at random.
//!
//! It fails on a value that is not the one of its name and version, on a failure that is not of the
//! closed set or speaks of a mistake of our own, on a panic, and on whatever grows: memory, descriptors,
//! tasks, places. What it chooses comes from a seed, which is told: the load, and when which faults are
//! on. Which request a fault meets is the fake's to draw.

mod load;
mod random;
pub mod served;
mod tally;
mod trouble;
mod watch;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use strongroom::Strongroom;

use self::load::{Worker, World};
use self::random::Random;
use self::tally::Tally;
use self::watch::{Reading, Watch, resident};
use crate::azure::Azure;
use crate::calls::POOLED;

/// Tasks that ask at once: with what some ask for at once, more than there are places.
const WORKERS: u64 = 12;

/// How long recovery may take when all is well again. A vault's 401 is answered with another token once in
/// half a minute.
const RECOVERY: Duration = Duration::from_secs(60);

/// Below this, memory that is still being filled cannot be told from memory that leaks.
const SHORTEST_FOR_MEMORY: Duration = Duration::from_secs(50);

/// How much more memory a process of some dozens of MiB may have at the end than after its warm-up.
const MEMORY_SLACK_MIB: f64 = 6.0;

/// Runs for `minutes` (parts of one are allowed), and prints what was done and what came of it.
///
/// # Errors
/// The first few of what should not have been.
pub async fn run(minutes: f64, seed: Option<u64>) -> Result<()> {
    tokio::task::LocalSet::new().run_until(soak(minutes, seed)).await
}

async fn soak(minutes: f64, seed: Option<u64>) -> Result<()> {
    let seed = seed_or_new(seed);
    println!("soak: {minutes} minutes, --seed {seed}");
    let panics = count_panics();
    let (azure, folder) = (Azure::start()?, tempfile::tempdir()?);
    let world = Arc::new(World::fill(&azure)?);
    let config = world.config(&azure, folder.path())?;
    let mut setup = azure.setup(folder.path(), config, POOLED)?;
    setup.environment = world.environment(&azure)?;
    let warnings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&warnings);
    setup.warn = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let host = Strongroom::open(setup)?;
    // Tokens short enough to end again and again, and long enough to be revoked at an age at which a vault's 401
    // gets another one at once.
    azure.control("PATCH", "settings", &json!({ "token_lifetime": 100, "identity_token_lifetime": 100 }))?;

    let tally = Arc::new(Mutex::new(Tally::default()));
    // What is loaded once is there before anything is measured.
    load::all_is_well(&host, &world, RECOVERY).await?;
    host.forget();
    settle().await;
    let before = Reading::now()?;

    let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut watch = Watch::of("resident memory", "MiB", MEMORY_SLACK_MIB);
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let random = Random::new(seed ^ (number + 1));
            tokio::task::spawn_local(Worker::new(number, random, host.clone(), &world, &tally).work(until))
        })
        .collect();
    let mut trouble = trouble::Trouble::new(Random::new(seed));
    while Instant::now() < until {
        trouble.step(&azure)?;
        watch.note(resident("self")?);
        let left = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(Duration::from_millis(500))).await;
    }
    for worker in workers {
        worker.await.context("a worker panicked")?;
    }

    azure.control("DELETE", "faults", &json!(null))?;
    let recovered = Instant::now();
    load::all_is_well(&host, &world, RECOVERY).await?;
    println!("well again {} ms after the last fault", recovered.elapsed().as_millis());
    load::all_places_are_free(&host, &world).await?;
    host.forget();
    settle().await;
    let after = Reading::now()?;

    let mut wrong = Vec::new();
    {
        let tally = tally.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
        print!("{tally}");
        wrong.extend(tally.wrong_things());
    }
    let counters = azure.control("GET", "counters", &json!(null))?;
    for what in ["faults", "statuses", "requests", "most_at_once"] {
        println!("{what}: {}", counters.get(what).unwrap_or(&json!(null)));
    }
    println!("warnings: {}", warnings.load(Ordering::Relaxed));
    println!("before: {before}\nafter:  {after}");
    println!("resident memory: {watch}");
    wrong.extend(after.grown_from(&before));
    if Duration::from_secs_f64(minutes * 60.0) >= SHORTEST_FOR_MEMORY {
        wrong.extend(watch.grown());
    }
    let panics = panics.load(Ordering::Relaxed);
    if panics > 0 {
        wrong.push(format!("{panics} panics"));
    }
    if !wrong.is_empty() {
        bail!("with --seed {seed}:\n{}", wrong.join("\n"));
    }
    println!("nothing wrong, nothing grew");
    Ok(())
}

/// Lets what was closed be closed: connections end in tasks of their own.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// This seed, or one that is hardly the last one.
fn seed_or_new(seed: Option<u64>) -> u64 {
    seed.unwrap_or_else(|| (u64::from(std::process::id()) << 20) ^ since_epoch())
}

fn since_epoch() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map(|now| u64::from(now.subsec_nanos()) ^ now.as_secs()).unwrap_or_default()
}

/// Counts panics of every task and thread, and goes on printing them.
fn count_panics() -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        counted.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
    count
}
