//! Secrets of Azure Key Vault from the fake: one beside a bare hyper client, many beside as many
//! connections as the mount makes calls, and beside the round trips that they take at the least.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use strongroom::{Allocation, Reference, Strongroom};
use tokio::task::JoinSet;

use crate::azure::{Azure, Bare, VAULT, value};
use crate::calls::POOLED;
use crate::measure::{in_turn, more, row, times};

const ROUNDS: usize = 5_000;
/// As the target says.
const MANY: usize = 200;
/// A mount's `limits.parallel`, as it is without any config.
const PARALLEL: usize = 32;
/// What an answer takes, in milliseconds.
const LATENCY: u64 = 20;

fn references(host: &Strongroom, count: usize) -> Result<Vec<Reference>> {
    let one = |number| host.parse(&format!("keyvault:https://{VAULT}/secrets/bench-{number}"));
    Ok((0..count).map(one).collect::<Result<_, _>>()?)
}

async fn resolve(host: &Strongroom, references: &[Reference]) -> Result<()> {
    for (number, answer) in host.resolve_all(references).await.into_iter().enumerate() {
        let secret = answer.map_err(|failure| anyhow::anyhow!("{failure} {:?}", failure.helps()))?;
        if secret.expose() != value(number).as_bytes() {
            bail!("the library got another answer");
        }
    }
    Ok(())
}

/// One secret, on a connection and with a token that are there.
///
/// # Errors
/// What one of the two says.
pub async fn one() -> Result<()> {
    let (azure, folder) = (Azure::start()?, tempfile::tempdir()?);
    azure.fill(1)?;
    let host = azure.host(folder.path(), "", POOLED)?;
    let reference = references(&host, 1)?;
    let mut client = azure.bare().await?;
    let (ours, least) =
        in_turn(ROUNDS, async || resolve(&host, &reference).await, async || client.get(0).await).await?;
    row("one Key Vault secret, token and connection warm", ours, least, &more(ours, least), "40 us more");
    Ok(())
}

/// Many secrets, of a vault that takes its time.
///
/// # Errors
/// What one of the two says.
pub async fn many() -> Result<()> {
    let (azure, folder) = (Azure::start()?, tempfile::tempdir()?);
    azure.fill(MANY)?;
    let host = azure.host(folder.path(), "", POOLED)?;
    let references = references(&host, MANY)?;
    let mut clients = Vec::new();
    for _ in 0..PARALLEL {
        clients.push(azure.bare().await?);
    }
    // All connections of both, before the vault becomes slow.
    resolve(&host, &references).await?;
    resolve(&host, &references).await?;
    fetch(&mut clients).await?;
    azure.control("PATCH", "settings", &json!({ "latency_ms": LATENCY }))?;
    let connections = || -> Result<u64> {
        let counters = azure.control("GET", "counters", &Value::Null)?;
        counters.get("connections").and_then(Value::as_u64).context("connections are counted")
    };
    let before = connections()?;
    let mut alone = azure.bare().await?;
    // A round trip of a client that has the vault to itself; then both at work on all of them.
    let trip = in_turn(30, async || alone.get(0).await, async || anyhow::Ok(())).await?.0;
    let (ours, bare) =
        in_turn(20, async || resolve(&host, &references).await, async || fetch(&mut clients).await).await?;
    // Control's own, the one client and its sign-in are no connections of either.
    let opened = connections()?.saturating_sub(before + 3);
    let what = format!("{MANY} Key Vault secrets, {LATENCY} ms each, {PARALLEL} at a time");
    row(&format!("{what}; bare: as many connections"), ours, bare, &times(ours, bare), "");
    let ideal = trip * u32::try_from(MANY.div_ceil(PARALLEL))?;
    let figure = format!("{}, {opened} new connections", times(ours, ideal));
    row(&format!("{what}; bare: {} round trips", MANY.div_ceil(PARALLEL)), ours, ideal, &figure, "1.15 times");
    Ok(())
}

/// All of them, each client taking the next one when it is done with one.
async fn fetch(clients: &mut Vec<Bare>) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for mut client in clients.drain(..) {
        let next = Arc::clone(&next);
        running.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MANY {
                    return Ok::<_, anyhow::Error>(client);
                }
                client.get(number).await?;
            }
        });
    }
    while let Some(done) = running.join_next().await {
        clients.push(done??);
    }
    Ok(())
}

/// Gets one secret `count` times, for a tool that counts instructions.
///
/// # Errors
/// What the library says.
pub async fn hot(count: usize) -> Result<()> {
    let (azure, folder) = (Azure::start()?, tempfile::tempdir()?);
    azure.fill(1)?;
    // Such a tool is slow.
    let slow = "limits.cpu = \"20s\"\nlimits.deadline = \"5m\"";
    let host = azure.host(folder.path(), slow, Allocation::OnDemand)?;
    let reference = references(&host, 1)?;
    for _ in 0..count {
        resolve(&host, &reference).await?;
    }
    Ok(())
}
