//! `random`: the system's randomness, capped per call.

use crate::bindings::wasi::random::random;
use crate::call::{State, Stop};

impl State {
    pub(super) fn random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes_left = self.random_bytes_left.checked_sub(len).ok_or(Stop::Random)?;
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| Stop::Random)?];
        getrandom::fill(&mut bytes).map_err(|_| Stop::NoRandomness)?;
        Ok(bytes)
    }

    pub(super) fn random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_bytes_left = self.random_bytes_left.checked_sub(8).ok_or(Stop::Random)?;
        Ok(getrandom::u64().map_err(|_| Stop::NoRandomness)?)
    }
}

impl random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_u64()
    }
}
