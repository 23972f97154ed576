//! The time of day; the grant `clock`.

use crate::bindings::wasi::clocks::wall_clock;

/// Seconds since the Unix epoch.
#[must_use]
pub fn now() -> u64 {
    wall_clock::now().seconds
}

/// Milliseconds since the Unix epoch. The host's clock moves in steps of 1 ms.
#[must_use]
pub fn now_ms() -> u64 {
    let now = wall_clock::now();
    now.seconds.saturating_mul(1000).saturating_add(u64::from(now.nanoseconds / 1_000_000))
}
