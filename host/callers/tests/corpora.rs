//! What the fuzzer found worth keeping of tokens and key sets, replayed on stable.
#![allow(missing_docs, missing_debug_implementations, reason = "a test binary")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the bodies of the fuzz targets stand outside #[test] functions"
)]

#[path = "../../../fuzz/targets/replay.rs"]
mod replay;
#[path = "../../../fuzz/targets/token.rs"]
mod token;

#[test]
fn no_kept_input_fails_the_tokens_target() {
    replay::replay("token", token::run);
}
