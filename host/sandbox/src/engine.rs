//! The engine and its clock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use strongroom_core::{Failure, Kind};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Where instances live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// Mapped for each call: 1 us to set up, 21 us a call. For the command line, and for whoever
    /// wants no memory shared between calls even in time.
    OnDemand,
    /// Slots reserved once: 1 ms to set up, 6 us a call. For long-lived processes.
    Pooled {
        /// Instances alive at once. An exhausted pool is an error, not a wait, so whoever hands out
        /// permits hands out fewer than this.
        slots: u32,
        /// The largest linear memory of a slot, in bytes.
        memory_bytes: usize,
    },
}

/// An engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) ticker: Arc<Ticker>,
    allocation: Allocation,
    /// Asked for several times by each load of a plugin file.
    pub(crate) compatibility: Arc<OnceLock<[u8; 32]>>,
}

/// The target all code is compiled for: the baseline of its architecture, so that what one machine
/// compiled (a release's bundled plugins above all) loads on every other.
pub(crate) const TARGET: &str = env!("STRONGROOM_TARGET");

impl Runtime {
    /// Makes an engine.
    ///
    /// # Errors
    /// `unsupported` if this machine cannot run it.
    pub fn new(allocation: Allocation) -> Result<Self, Failure> {
        let engine = Engine::new(&config(allocation)).map_err(|_| {
            Failure::new(Kind::Unsupported, "sandbox.engine", "this machine cannot run the sandbox")
                .help("it needs x86-64 or aarch64 and address space to reserve; check `ulimit -v`")
        })?;
        let ticker = Ticker::new(engine.clone());
        Ok(Self { engine, ticker, allocation, compatibility: Arc::default() })
    }

    /// How instances are allocated.
    pub fn allocation(&self) -> Allocation {
        self.allocation
    }
}

/// What one slot of a pool holds. A CPython component has more than 16 core instances.
const SLOT_INSTANCES: u32 = 40;
const SLOT_MEMORIES: u32 = 2;
const SLOT_TABLES: u32 = 4;

/// What of a slot's memory is overwritten after a call and stays; what lies above goes back to the kernel. Twice what a plugin begins
/// with that `plugin build` made. Every slot that a plugin with a large memory ever had keeps this much.
const RESIDENT_BYTES: usize = 512 << 10;

fn config(allocation: Allocation) -> Config {
    let mut config = Config::new();
    // The target is always known to the compiler that built this very crate.
    let _ = config.target(TARGET);
    config.epoch_interruption(true);
    config.concurrency_support(false);
    // Half a microsecond a call, so that nothing a guest left on its stack meets the next one.
    config.async_stack_zeroing(true);
    // A guest's backtrace is the guest's text, and nobody's help.
    config.wasm_backtrace_max_frames(None);
    // What guests of the three languages do not need is what nobody has to trust.
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_relaxed_simd(false);
    config.wasm_tail_call(false);
    config.wasm_wide_arithmetic(false);
    config.wasm_custom_page_sizes(false);
    config.max_wasm_stack(512 << 10);
    config.async_stack_size(1 << 20);
    match allocation {
        Allocation::OnDemand => {
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        }
        Allocation::Pooled { slots, memory_bytes } => {
            let mut pool = PoolingAllocationConfig::new();
            // One component never takes more than its slot's share, or a hostile one would leave
            // nothing for the calls beside it.
            pool.total_component_instances(slots)
                .total_core_instances(slots.saturating_mul(SLOT_INSTANCES))
                .total_memories(slots.saturating_mul(SLOT_MEMORIES))
                .total_tables(slots.saturating_mul(SLOT_TABLES))
                .total_stacks(slots)
                .max_core_instances_per_component(SLOT_INSTANCES)
                .max_memories_per_component(SLOT_MEMORIES)
                .max_tables_per_component(SLOT_TABLES)
                .max_component_instance_size(16 << 20)
                .max_core_instance_size(8 << 20)
                .max_memory_size(memory_bytes)
                .table_elements(100_000)
                .max_tables_per_module(SLOT_TABLES)
                .max_memories_per_module(1)
                .linear_memory_keep_resident(RESIDENT_BYTES)
                .table_keep_resident(64 << 10)
                .async_stack_keep_resident(32 << 10);
            // Its scan asks for pages that are present, and so passes over one that was written and swapped out: the next
            // call in that slot would find it as it was left. Without it all of a memory is overwritten.
            pool.pagemap_scan(Enabled::No);
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        }
    }
    config
}

/// Advances the engine's epoch once a millisecond while calls run, and rests while none do.
///
/// Its thread starts with the first call and keeps ticking for [`LINGER`] ticks after the last, so
/// that a busy host never pays for waking it.
#[derive(Debug)]
pub(crate) struct Ticker {
    engine: Engine,
    active: AtomicUsize,
    resting: AtomicBool,
    thread: OnceLock<Thread>,
    stopped: AtomicBool,
}

/// One tick: the resolution of a guest's CPU limit.
pub(crate) const TICK: Duration = Duration::from_millis(1);
const LINGER: u32 = 64;

impl Ticker {
    fn new(engine: Engine) -> Arc<Self> {
        Arc::new(Self {
            engine,
            active: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            thread: OnceLock::new(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Ticks until the guard is dropped.
    pub(crate) fn run(self: &Arc<Self>) -> Running {
        self.active.fetch_add(1, Ordering::SeqCst);
        let thread = self.thread.get_or_init(|| {
            let ticker = Arc::downgrade(self);
            let started =
                std::thread::Builder::new().name("strongroom-epoch".to_owned()).stack_size(64 << 10).spawn(move || {
                    let mut idle = 0;
                    while let Some(ticker) = ticker.upgrade() {
                        if ticker.stopped.load(Ordering::SeqCst) {
                            return;
                        }
                        ticker.engine.increment_epoch();
                        idle = if ticker.active.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
                        let rest = idle > LINGER;
                        if rest {
                            ticker.resting.store(true, Ordering::SeqCst);
                            // A call that came in between set `active` before it looked at `resting`.
                            if ticker.active.load(Ordering::SeqCst) != 0 {
                                ticker.resting.store(false, Ordering::SeqCst);
                                idle = 0;
                                continue;
                            }
                        }
                        drop(ticker);
                        if rest {
                            // Bounded, so that a ticker whose engine is gone ends by itself.
                            std::thread::park_timeout(Duration::from_secs(1));
                        } else {
                            std::thread::sleep(TICK);
                        }
                    }
                });
            match started {
                Ok(handle) => handle.thread().clone(),
                // No thread, no interruption: the call below is refused by `can_interrupt`.
                Err(_) => {
                    self.stopped.store(true, Ordering::SeqCst);
                    std::thread::current()
                }
            }
        });
        if self.resting.swap(false, Ordering::SeqCst) {
            thread.unpark();
        }
        Running { ticker: self.clone() }
    }

    /// False if the thread could not be started: then no guest code may run, for nothing would end it.
    pub(crate) fn can_interrupt(&self) -> bool {
        !self.stopped.load(Ordering::SeqCst)
    }
}

/// Keeps the ticker ticking.
#[derive(Debug)]
pub(crate) struct Running {
    ticker: Arc<Ticker>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ticker.active.fetch_sub(1, Ordering::SeqCst);
    }
}
