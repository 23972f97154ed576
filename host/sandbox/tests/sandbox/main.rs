//! What a guest can and cannot do. One test binary, because each links wasmtime.
//!
//! A test runs its guest with instances mapped for each call and with instances in a pool, and after
//! each guest a good one is answered by the same runtime.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "clippy knows a test by its attribute, and not the functions beside it"
)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod cache;
mod capabilities;
mod imports;
mod isolation;
mod limits;
