//! The decision over a request, as its attackers meet it: tables by invariant, and a second decision
//! that was written without the first.
#![allow(missing_docs, missing_debug_implementations, reason = "a test binary")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside #[test] functions"
)]

mod advice;
mod bodies;
mod bridge;
mod compare;
mod naive;
mod tables;
mod world;
