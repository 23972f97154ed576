//! The least that runs the environment plugin: wasmtime, a store, an instance, one call. No limits, no
//! interruption, no checks of what it says, no secret type, nothing overwritten. This is what a host
//! of plugins cannot be cheaper than.

use anyhow::{Context as _, Result, bail};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

mod bindings {
    #![allow(missing_docs, missing_debug_implementations, unsafe_code, clippy::all)]
    wasmtime::component::bindgen!({
        inline: "
            package strongroom:bare@0.1.0;
            world plugin {
                import strongroom:plugin/env@0.1.0;
                export strongroom:plugin/provider@0.1.0;
            }
        ",
        path: "../../wit",
        world: "strongroom:bare/plugin",
        imports: { default: trappable },
        exports: { default: async },
    });
}

use bindings::exports::strongroom::plugin::provider::GuestIndices;
use bindings::strongroom::plugin::types::{Context, Reference, Value};

/// The bundled environment plugin, as it was built.
const COMPONENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/env.wasm");

struct State {
    value: String,
}

impl bindings::strongroom::plugin::types::Host for State {}

impl bindings::strongroom::plugin::env::Host for State {
    fn get(&mut self, _: String) -> wasmtime::Result<Option<String>> {
        Ok(Some(self.value.clone()))
    }

    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// The plugin, compiled and linked.
pub struct Bare {
    engine: Engine,
    pre: wasmtime::component::InstancePre<State>,
    indices: GuestIndices,
}

impl Bare {
    /// Compiles the plugin, with the same way of allocation as the host it is compared with.
    ///
    /// # Errors
    /// If the plugins were not built (`cargo xtask plugins`).
    pub fn new(pooled: bool) -> Result<Self> {
        let mut config = Config::new();
        config.concurrency_support(false);
        if pooled {
            let mut pool = PoolingAllocationConfig::new();
            pool.total_component_instances(80).total_memories(160).total_tables(320).total_stacks(80);
            pool.linear_memory_keep_resident(2 << 20).table_keep_resident(64 << 10).async_stack_keep_resident(32 << 10);
            pool.max_memory_size(64 << 20);
            if PoolingAllocationConfig::is_pagemap_scan_available() {
                pool.pagemap_scan(wasmtime::Enabled::Yes);
            }
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        }
        let engine = Engine::new(&config)?;
        let component = std::fs::read(COMPONENT).context("the plugins are built by `cargo xtask plugins`")?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::new(&engine);
        bindings::strongroom::plugin::env::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        bindings::strongroom::plugin::types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        let pre = linker.instantiate_pre(&component)?;
        let indices = GuestIndices::new(&pre)?;
        Ok(Self { engine, pre, indices })
    }

    /// A new store, a new instance, `count` references in one call.
    ///
    /// # Errors
    /// If it does not answer each of them.
    pub async fn resolve(&self, count: usize) -> Result<()> {
        let mut store = Store::new(&self.engine, State { value: "a value of some bytes".to_owned() });
        let instance = self.pre.instantiate_async(&mut store).await?;
        let provider = self.indices.load(&mut store, &instance)?;
        let context = Context { config: "{}".to_owned(), deadline_ms: 10_000, attributes: Vec::new() };
        let references: Vec<Reference> = (0..count)
            .map(|number| Reference { authority: None, path: vec![format!("NAME_{number}")], selectors: Vec::new() })
            .collect();
        let answers = provider.call_resolve(&mut store, &context, &references).await?;
        let good = |value: &Value| matches!(value, Value::Text(text) if text.len() == 21);
        if answers.len() != count || !answers.iter().flatten().all(|secret| good(&secret.value)) {
            bail!("the plugin did not answer");
        }
        Ok(())
    }
}
