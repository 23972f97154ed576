//! `clock`: wall and monotonic clocks in steps of a millisecond.
//!
//! Coarse, because a fine clock is how one guest measures another's work.

use std::time::{Duration, SystemTime};

use wasmtime::component::Resource;
use wasmtime_wasi_io::poll::{DynPollable, Pollable};

use crate::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use crate::call::State;

const STEP: Duration = Duration::from_millis(1);
const STEP_NS: u64 = 1_000_000;

impl wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanoseconds = since.subsec_millis().saturating_mul(1_000_000);
        Ok(wall_clock::Datetime { seconds: since.as_secs(), nanoseconds })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: STEP.subsec_nanos() })
    }
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.now_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(STEP_NS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = Duration::from_nanos(when.saturating_sub(self.now_ns()));
        self.subscribe_after(wait)
    }

    fn subscribe_duration(&mut self, wait: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_after(Duration::from_nanos(wait))
    }
}

impl State {
    /// Since the call began, in whole steps: it says nothing of the machine's uptime.
    fn now_ns(&self) -> u64 {
        let ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        ns - ns % STEP_NS
    }

    fn subscribe_after(&mut self, wait: Duration) -> wasmtime::Result<Resource<DynPollable>> {
        // The call ends at its deadline, so no timer needs to be later.
        let timer = Timer { until: tokio::time::Instant::now() + wait.max(STEP).min(Duration::from_secs(3600)) };
        let resource = self.table.push(timer)?;
        wasmtime_wasi_io::poll::subscribe(&mut self.table, resource)
    }
}

struct Timer {
    until: tokio::time::Instant,
}

#[async_trait::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        tokio::time::sleep_until(self.until).await;
    }
}
