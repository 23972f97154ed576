//! Random bytes fit for cryptography; the grant `random`. The host gives 64 KiB a call.

use crate::bindings::wasi::random::random;

/// `count` bytes.
#[must_use]
pub fn bytes(count: usize) -> Vec<u8> {
    random::get_random_bytes(count as u64)
}

/// Eight bytes, as a number.
#[must_use]
pub fn number() -> u64 {
    random::get_random_u64()
}
