//! The time of day, and waiting; the grant `clock`.

use crate::bindings::wasi::clocks::{monotonic_clock, wall_clock};

/// Seconds since the Unix epoch.
#[must_use]
pub fn now() -> u64 {
    now_ms() / 1000
}

/// Milliseconds since the Unix epoch. The host's clock moves in steps of 1 ms.
#[must_use]
pub fn now_ms() -> u64 {
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(now) = crate::testing::now_ms() {
        return now;
    }
    let now = wall_clock::now();
    now.seconds.saturating_mul(1000).saturating_add(u64::from(now.nanoseconds / 1_000_000))
}

/// Waits so long, in milliseconds. The call's deadline ends it: what may take that long looks at
/// [`Context::deadline_ms`](crate::Context::deadline_ms) first.
pub fn wait(milliseconds: u64) {
    #[cfg(not(target_arch = "wasm32"))]
    if crate::testing::wait(milliseconds).is_some() {
        return;
    }
    monotonic_clock::subscribe_duration(milliseconds.saturating_mul(1_000_000)).block();
}
