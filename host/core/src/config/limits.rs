//! The limits of one call, per mount.

use std::time::Duration;

use crate::secret::MAX_VALUE_BYTES;

/// What one call of a mount may use. The defaults are those of the design; `limits` of a mount
/// changes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall time from the request's arrival, waiting included. 10 s.
    pub deadline: Duration,
    /// Processor time of the guest's own code. 200 ms.
    pub cpu: Duration,
    /// Linear memory and tables of all instances of the call together, in bytes. 32 MiB.
    pub memory: u64,
    /// What guest and host may copy to each other in one call, in bytes. 2 MiB.
    pub hostcall_fuel: u64,
    /// Resource handles that are alive at once. 256.
    pub handles: u32,
    /// The largest value, in bytes. 1 MiB is accepted, more is `limit-exceeded`.
    pub value: u64,
    /// The mount's part of the store, in bytes. 64 MiB.
    pub store: u64,
    /// Calls of the mount that run side by side; more wait, within their deadline. 32: what 200 secrets of one
    /// backend are fetched with in seven round trips, and far below where Azure's services begin to throttle.
    pub parallel: u32,
    /// HTTP requests of one call. 16.
    pub requests: u32,
    /// Bytes that one call may send in the bodies of its requests. 1 MiB.
    pub sent: u64,
    /// The largest body of an answer, in bytes. 1 MiB.
    pub response: u64,
    /// After how many failures in a row the backend is left alone; 0: never. 16: half of what a mount asks side by
    /// side, so that one connection that is lost under many calls is not enough.
    pub failures: u32,
    /// For how long it is left alone then. 5 s.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            cpu: Duration::from_millis(200),
            memory: 32 << 20,
            hostcall_fuel: 2 << 20,
            handles: 256,
            value: MAX_VALUE_BYTES as u64,
            store: 64 << 20,
            parallel: 32,
            requests: 16,
            sent: 1 << 20,
            response: 1 << 20,
            failures: 16,
            pause: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The smallest and largest setting of each limit, in milliseconds, bytes or pieces: below the
    /// first nothing works, above the second the limit would protect nobody.
    pub(super) const RANGES: [(&str, u64, u64); 13] = [
        ("deadline", 1, 3_600_000),
        ("cpu", 1, 60_000),
        // A wasm page; what a 32-bit guest can address.
        ("memory", 64 << 10, 4 << 30),
        ("hostcall_fuel", 4 << 10, 256 << 20),
        ("handles", 1, 65_536),
        ("value", 1, 64 << 20),
        ("store", 0, 1 << 40),
        // More places than the host has.
        ("parallel", 1, 64),
        ("requests", 1, 1000),
        ("sent", 0, 64 << 20),
        ("response", 1 << 10, 64 << 20),
        ("failures", 0, 10_000),
        ("pause", 1, 3_600_000),
    ];
}
