//! `env:` through the library, beside [`Bare`].

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use strongroom::{Allocation, Environment, Failure, Reference, Setup, Strongroom};

use crate::bare::Bare;
use crate::measure::{in_turn, row, times};

const ROUNDS: usize = 20_000;
const MANY: usize = 1_000;

/// A pool, as a program has that resolves more than once.
pub const POOLED: Allocation = Allocation::Pooled { slots: 80, memory_bytes: 64 << 20 };

/// A host that knows `NAME_0` and so on, and nothing else.
fn host(allocation: Allocation) -> Result<Strongroom, Failure> {
    let mut setup = Setup::without_config();
    let variables = (0..MANY).map(|number| (format!("NAME_{number}").into(), "a value of some bytes".into()));
    setup.environment = Environment::from_iter(variables);
    setup.allocation = allocation;
    Strongroom::open(setup)
}

fn references(host: &Strongroom, count: usize) -> Result<Vec<Reference>, Failure> {
    (0..count).map(|number| host.parse(&format!("env:NAME_{number}"))).collect()
}

async fn resolve(host: &Strongroom, references: &[Reference]) -> Result<()> {
    for answer in host.resolve_all(references).await {
        if answer?.expose().len() != 21 {
            bail!("the library did not answer");
        }
    }
    Ok(())
}

/// One reference, in a fresh sandbox each time.
///
/// # Errors
/// What one of the two says.
pub async fn one() -> Result<()> {
    for (allocation, pooled, how) in [(POOLED, true, "pooled"), (Allocation::OnDemand, false, "mapped for each call")] {
        let (host, bare) = (host(allocation)?, Bare::new(pooled)?);
        let reference = [host.parse("env:NAME_0")?];
        let (ours, least) =
            in_turn(ROUNDS, async || resolve(&host, &reference).await, async || bare.resolve(1).await).await?;
        row(&format!("`env:` in a fresh sandbox, {how}"), ours, least, &times(ours, least), "1.4 times");
    }
    Ok(())
}

/// Many references at once.
///
/// # Errors
/// What one of the two says.
pub async fn batch() -> Result<()> {
    let (host, bare) = (host(POOLED)?, Bare::new(true)?);
    let references = references(&host, MANY)?;
    let one = in_turn(2_000, async || bare.resolve(1).await, async || bare.resolve(1).await).await?.1;
    let (ours, least) =
        in_turn(300, async || resolve(&host, &references).await, async || bare.resolve(MANY).await).await?;
    row("1,000 `env:` in one request; bare: in one call", ours, least, &times(ours, least), "");
    let allowed = one + Duration::from_micros(1) * u32::try_from(MANY)?;
    row("1,000 `env:`; bare: one call and 1 us each", ours, allowed, &times(ours, allowed), "2 times");
    Ok(())
}

/// As many as one core does in a second.
///
/// # Errors
/// What one of the two says.
pub async fn throughput() -> Result<()> {
    let (host, bare) = (host(POOLED)?, Bare::new(true)?);
    let reference = [host.parse("env:NAME_0")?];
    let mut spent = [Duration::ZERO; 2];
    // Turn by turn, a tenth of a second each.
    let (mut count, turn) = ([0_u32; 2], Duration::from_millis(100));
    for round in 0..40 {
        let which = round % 2;
        let (begun, mut done) = (Instant::now(), 0);
        while begun.elapsed() < turn {
            for _ in 0..64 {
                if which == 0 { resolve(&host, &reference).await? } else { bare.resolve(1).await? }
            }
            done += 64;
        }
        if let (Some(spent), Some(count)) = (spent.get_mut(which), count.get_mut(which)) {
            *spent += begun.elapsed();
            *count += done;
        }
    }
    let [ours, least] = [0, 1].map(|which: usize| {
        let each = spent.get(which).zip(count.get(which)).map(|(spent, count)| *spent / *count);
        each.unwrap_or_default()
    });
    let rate = |each: Duration| 1.0 / each.as_secs_f64();
    row(
        "time of one, in throughput on one core",
        ours,
        least,
        &format!("{:.0} a second, {:.2} of bare", rate(ours), rate(ours) / rate(least)),
        "0.75 of bare",
    );
    Ok(())
}

/// Resolves `width` references `count` times, for a tool that counts instructions.
///
/// # Errors
/// What the library says.
pub async fn hot(count: usize, width: usize) -> Result<()> {
    let host = host(Allocation::OnDemand)?;
    let references = references(&host, width)?;
    for _ in 0..count {
        resolve(&host, &references).await?;
    }
    Ok(())
}
