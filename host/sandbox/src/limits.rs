//! What one call may use, and the limiter that holds it to that.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// The limits of one call. Every field is enforced, and has a test that fails without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Time inside the guest, waiting not counted.
    pub cpu: Duration,
    /// Bytes of linear memory, all memories of the instance together.
    pub memory_bytes: usize,
    /// Elements of all tables together.
    pub table_elements: usize,
    /// Core instances. A CPython component holds more than 16.
    pub instances: usize,
    /// Linear memories.
    pub memories: usize,
    /// Tables.
    pub tables: usize,
    /// Bytes that one call between guest and host may carry to the host.
    pub hostcall_bytes: usize,
    /// Component-model handles alive at once.
    pub handles: usize,
    /// Bytes of one value.
    pub value_bytes: usize,
    /// Log lines; what is beyond is dropped.
    pub log_lines: u32,
    /// Bytes of randomness.
    pub random_bytes: u64,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(200),
            memory_bytes: 32 << 20,
            table_elements: 100_000,
            instances: 200,
            memories: 20,
            tables: 100,
            hostcall_bytes: 2 << 20,
            handles: 256,
            value_bytes: strongroom_core::secret::MAX_VALUE_BYTES,
            log_lines: 64,
            random_bytes: 64 << 10,
        }
    }
}

/// Why a call was stopped by its limits. Kept beside the trap, which cannot say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    Memory,
    Table,
}

/// Sums over the whole store: wasmtime's own limiter counts each memory by itself, so that many
/// memories at the limit would pass it.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: CallLimits,
    memory_bytes: usize,
    table_elements: usize,
    pub(crate) hit: Option<Hit>,
}

impl Limiter {
    pub(crate) fn new(limits: CallLimits) -> Self {
        Self { limits, memory_bytes: 0, table_elements: 0, hit: None }
    }

    /// The linear memory of the store, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.limits.memory_bytes {
            self.hit = Some(Hit::Memory);
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // The growth was counted but did not happen (a declared maximum, or the pool's slot).
        // Counting it all the same only errs towards refusing earlier.
        self.hit.get_or_insert(Hit::Memory);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > self.limits.table_elements {
            self.hit = Some(Hit::Table);
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}
