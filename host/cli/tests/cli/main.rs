//! The `strongroom` command as its user meets it: the real program, a home of its own for each test,
//! and a search for the secrets of the test wherever they must not be.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test starts the program under test, which the program itself must not do lightly"
)]

#[path = "../common/sections.rs"]
mod sections;
mod support;

mod audit;
mod azure;
mod azure_check;
mod azure_enforce;
mod azure_lifecycle;
mod azure_refusals;
mod azureml;
mod browser;
mod check;
mod config;
mod docs;
mod door_azure;
mod door_fuzz;
mod door_vault;
mod explain;
mod export;
mod files;
mod get;
mod guided;
mod inject;
mod kept;
mod keys;
mod keys_lifecycle;
mod masking;
mod mounts;
mod openapi;
mod policy;
mod run;
mod served;
mod serving;
mod side_by_side;
mod sign_in;
mod store;
mod terminal;
mod trust;
mod usage;
mod vault;
