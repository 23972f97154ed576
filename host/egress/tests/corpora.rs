//! What the fuzzers found worth keeping, replayed on stable: no input of it may fail a target.
#![allow(missing_docs, missing_debug_implementations, reason = "a test binary")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the bodies of the fuzz targets stand outside #[test] functions"
)]

#[path = "../../../fuzz/targets/address.rs"]
mod address;
#[path = "../../../fuzz/targets/audit.rs"]
mod audit;
#[path = "../../../fuzz/targets/config.rs"]
mod config;
#[path = "../../../fuzz/targets/decide.rs"]
mod decide;
#[path = "../../../fuzz/targets/lock.rs"]
mod lock;
#[path = "../../../fuzz/targets/manifest.rs"]
mod manifest;
#[path = "../../../fuzz/targets/pattern.rs"]
mod pattern;
#[path = "../../../fuzz/targets/reference.rs"]
mod reference;
#[path = "../../../fuzz/targets/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn no_kept_input_fails_the_references_target() {
    replay("reference", reference::run);
}

#[test]
fn no_kept_input_fails_the_decisions_target() {
    replay("decide", decide::run);
}

#[test]
fn no_kept_input_fails_the_addresses_target() {
    replay("address", address::run);
}

#[test]
fn no_kept_input_fails_the_manifests_target() {
    replay("manifest", manifest::run);
}

#[test]
fn no_kept_input_fails_the_locks_target() {
    replay("lock", lock::run);
}

#[test]
fn no_kept_input_fails_the_audit_logs_target() {
    replay("audit", audit::run);
}

#[test]
fn no_kept_input_fails_the_configs_target() {
    replay("config", config::run);
}

#[test]
fn no_kept_input_fails_the_patterns_target() {
    replay("pattern", pattern::run);
}
