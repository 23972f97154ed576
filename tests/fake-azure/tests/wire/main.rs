//! What Microsoft's clients cannot show: faults, refusals, names, and what the record keeps.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test binary"
)]

mod client;
mod control;
mod entra;
mod faults;
mod identity;
mod names;
mod program;
mod resources;
