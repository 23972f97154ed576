//! Medians of things done in turn.

use std::time::{Duration, Instant};

/// Times `rounds` turns of each of two things, after a tenth as many that do not count, and gives the
/// median of each.
///
/// # Errors
/// What one of them says.
pub async fn in_turn<E>(
    rounds: usize,
    mut ours: impl AsyncFnMut() -> Result<(), E>,
    mut bare: impl AsyncFnMut() -> Result<(), E>,
) -> Result<(Duration, Duration), E> {
    let (mut all_ours, mut all_bare) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    let warm = rounds / 10 + 1;
    for round in 0..rounds + warm {
        let begun = Instant::now();
        bare().await?;
        let between = Instant::now();
        ours().await?;
        let ended = Instant::now();
        if round >= warm {
            all_bare.push(between - begun);
            all_ours.push(ended - between);
        }
    }
    Ok((median(all_ours), median(all_bare)))
}

/// The middle one.
pub fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// The head of the table that [`row`] fills.
pub fn title() {
    println!("| quantity | Strongroom | bare | | target |");
    println!("| --- | --- | --- | --- | --- |");
}

/// One figure.
pub fn row(quantity: &str, ours: Duration, bare: Duration, comes_to: &str, target: &str) {
    println!("| {quantity} | {} | {} | {comes_to} | {target} |", shown(ours), shown(bare));
}

/// How many times `bare` is `ours`.
pub fn times(ours: Duration, bare: Duration) -> String {
    format!("{:.2} times", ours.as_secs_f64() / bare.as_secs_f64())
}

/// How much longer than `bare` is `ours`.
pub fn more(ours: Duration, bare: Duration) -> String {
    format!("{:.1} us more", (ours.as_secs_f64() - bare.as_secs_f64()) * 1e6)
}

fn shown(time: Duration) -> String {
    match time.as_secs_f64() * 1e6 {
        long if long >= 20_000.0 => format!("{:.1} ms", long / 1e3),
        short => format!("{short:.1} us"),
    }
}
