//! The soak of the server: the real `strongroom serve`, many clients over its Unix socket and over TLS, some of which
//! vanish in the middle, plugins that trap and run wild, a key vault in trouble, and a config that changes every second.
//!
//! It fails on an answer that is not the right one or one of the failures that the faults allow, on what was set,
//! acknowledged and not read back, on a config that does not do what it must (a wrong one changes nothing), on memory and
//! descriptors that grow, on a panic, and on an end that loses the request that runs or breaks the audit log. What it chooses
//! comes from a seed, which is told.

mod ask;
mod change;
mod load;
mod program;
mod vanish;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use self::ask::{Answer, Client, Way};
use self::change::Changes;
use self::load::{Own, Worker};
use self::program::Program;
use super::random::Random;
use super::tally::Tally;
use super::trouble::Trouble;
use super::watch::{Watch, descriptors, resident};
use super::{MEMORY_SLACK_MIB, seed_or_new};
use crate::azure::Azure;

/// Clients of each way in, each with a connection of its own.
const WORKERS: u64 = 12;

/// Clients that vanish in the middle.
const VANISHING: u64 = 4;

/// How often the config changes.
const CHANGE: Duration = Duration::from_secs(1);

/// How long recovery may take when all is well again, and descriptors to be closed.
const RECOVERY: Duration = Duration::from_secs(60);

/// Below this, memory that is still being filled cannot be told from memory that leaks: a slot of the engine's pool
/// keeps what its last call has touched, and it takes minutes until as many were in use at once as ever are.
const SHORTEST_FOR_MEMORY: Duration = Duration::from_secs(5 * 60);

/// Connections that a vault's mount and its credential may keep for their next requests: as many as they make calls
/// at once. What was open before is told without them, since the load before was small.
const KEPT_CONNECTIONS: usize = 64;

/// What all of it shares.
struct Shared {
    program: Program,
    tally: Mutex<Tally>,
    until: Instant,
}

impl Shared {
    fn tally(&self, note: impl FnOnce(&mut Tally)) {
        note(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// Runs for `minutes` (parts of one are allowed), and prints what was done and what came of it.
///
/// # Errors
/// The first few of what should not have been.
pub async fn run(minutes: f64, seed: Option<u64>) -> Result<()> {
    tokio::task::LocalSet::new().run_until(soak(minutes, seed)).await
}

async fn soak(minutes: f64, seed: Option<u64>) -> Result<()> {
    let seed = seed_or_new(seed);
    println!("soak-server: {minutes} minutes, --seed {seed}");
    let (azure, folder) = (Azure::start()?, tempfile::tempdir()?);
    azure.fill(load::SECRETS)?;
    let program = Program::start(&azure, folder.path())?;
    azure.control("PATCH", "settings", &json!({ "token_lifetime": 100 }))?;
    let length = Duration::from_secs_f64(minutes * 60.0);

    // What is loaded once is there before anything is measured.
    load::all_is_well(&program, RECOVERY).await?;
    let before = descriptors(&program.id())?;

    let shared = Arc::new(Shared { program, tally: Mutex::default(), until: Instant::now() + length });
    let mut memory = Watch::of("resident memory", "MiB", MEMORY_SLACK_MIB);
    let mut handles = Watch::of("descriptors", "open", 32.0);
    let workers: Vec<_> = (0..WORKERS * 2)
        .map(|number| {
            let way = if number < WORKERS { Way::Unix } else { Way::Tls };
            let random = Random::new(seed ^ (number + 1));
            tokio::task::spawn_local(Worker::new(number, way, random, Arc::clone(&shared)).work())
        })
        .collect();
    let vanishing: Vec<_> = (0..VANISHING)
        .map(|number| {
            let random = Random::new(seed ^ (number + 1) << 20);
            tokio::task::spawn_local(vanish::work(number, random, Arc::clone(&shared)))
        })
        .collect();
    let changes = Changes::new(Random::new(seed ^ 1 << 40), Arc::clone(&shared));
    let changes = tokio::task::spawn_local(changes.work(CHANGE));
    let mut trouble = Trouble::new(Random::new(seed));
    while !shared.is_over() {
        trouble.step(&azure)?;
        memory.note(resident(&shared.program.id())?);
        handles.note(descriptors(&shared.program.id())?.len() as f64);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut own = BTreeMap::new();
    for worker in workers {
        own.extend(worker.await.context("a worker panicked")?);
    }
    for one in vanishing {
        one.await.context("a client panicked")??;
    }
    changes.await.context("what changes the config panicked")??;
    azure.control("DELETE", "faults", &json!(null))?;

    let Shared { program, tally, .. } = Arc::into_inner(shared).context("somebody still works")?;
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let recovered = Instant::now();
    load::all_is_well(&program, RECOVERY).await?;
    println!("well again {} ms after the last fault", recovered.elapsed().as_millis());
    load::all_is_kept(&program, &own, &mut tally).await?;
    let after = closed(&program, &before).await?;
    println!(
        "resident memory: {memory}\ndescriptors: {handles}, at rest {} before and {} after",
        before.len(),
        after.len()
    );
    if after.len() > before.len() + KEPT_CONNECTIONS {
        tally.wrong(format!("descriptors after it all: {:?}\nand before: {:?}", counted(&after), counted(&before)));
    }
    if length >= SHORTEST_FOR_MEMORY {
        memory.grown().into_iter().chain(handles.grown()).for_each(|grown| tally.wrong(grown));
    }
    end(program, &own, &mut tally).await?;
    print!("{tally}");
    let wrong = tally.wrong_things();
    if !wrong.is_empty() {
        bail!("with --seed {seed}:\n{}", wrong.join("\n"));
    }
    println!("nothing wrong, nothing grew");
    Ok(())
}

/// Waits until clients' connections are closed on the server's side, too.
async fn closed(program: &Program, before: &[String]) -> Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        let now = descriptors(&program.id())?;
        if now.len() <= before.len() || begun.elapsed() > Duration::from_secs(10) {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How many there are of each.
fn counted(all: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for one in all {
        *counts.entry(one.as_str()).or_default() += 1;
    }
    counts
}

/// Ends the server while a request runs, and looks at what it leaves.
async fn end(mut program: Program, own: &BTreeMap<String, Own>, tally: &mut Tally) -> Result<()> {
    let mut client = Client::connect(&program, Way::Unix).await?;
    let slow = load::hostile("slow", &json!([{ "wait": 1500 }]));
    let running = tokio::task::spawn_local(async move { client.get(&slow).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    program.terminate()?;
    match running.await.context("a client panicked")? {
        Ok(Answer::Value(_)) => tally.done("a request that ran when the server was stopped"),
        other => tally.wrong(format!("what a request came to that ran when the server was stopped: {other:?}")),
    }
    let (status, said) = program.ended(RECOVERY)?;
    if !status.success() || said.panics > 0 {
        tally.wrong(format!("the server ended with {status}, after {} panics: {}", said.panics, said.last.join("\n")));
    }
    println!("configs in force: {}, refused: {}", said.reloaded, said.refused);
    let verified = program.command(&["audit", "verify"])?;
    println!("{}", verified.said.trim());
    if !verified.success {
        tally.wrong("the audit log does not verify".to_owned());
    }
    // What was acknowledged outlives the server.
    for (name, own) in own.iter().filter(|(_, own)| own.sure.is_some()).take(4) {
        let got = program.command(&["get", "--server", "never", &load::key(name)])?;
        match own.fits(name, &got.said) && got.success {
            true => tally.done("a key that is there after the server"),
            false => {
                tally.wrong(format!("{name} after the server: {}", got.said.chars().take(200).collect::<String>()))
            }
        }
    }
    Ok(())
}
