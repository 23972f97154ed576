//! The allocator of plugins. Whoever names this crate (`use strongroom_heap as _`) has it; the SDK does.
//!
//! Outside WebAssembly it is nothing.

#[cfg(target_arch = "wasm32")]
mod heap;
