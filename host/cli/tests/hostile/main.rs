//! Hostile plugins, backends and files against the whole host.
//!
//! The guests are in `tests/hostile/`; `docs/hostile-guests.md` is the one table of what is tried, what
//! stops it and where that is shown, in this suite and in those of the crates. Cases about a call run
//! under both ways of allocation. Where to start reading: `world.rs` says what every case asserts.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]
#![allow(missing_docs, clippy::disallowed_methods, clippy::disallowed_types, reason = "these are tests")]

/// As the program has it.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

mod answers;
mod backend;
mod batches;
mod bodies;
mod browser;
mod budgets;
mod canary;
mod cancel;
mod code;
mod credentials;
#[cfg(target_os = "linux")]
mod keyless;
#[cfg(target_os = "linux")]
mod memory;
mod names;
mod nine_attacks;
#[cfg(target_os = "linux")]
mod packets;
mod reach;
mod requests;
#[cfg(target_os = "linux")]
mod residue;
#[path = "../common/sections.rs"]
mod sections;
mod table;
mod words;
mod world;
