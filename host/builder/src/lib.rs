//! Makes plugin files and says what they hold.
//!
//! A plugin file is one WebAssembly component with its manifest inside ([`component`]). It is made
//! from a Rust crate ([`build`]) or from a component that another language's tools made
//! ([`attach`]), and read without running it ([`inspect`]).
//!
//! This crate must never start a process: the caller passes the way cargo is run ([`command`]). It
//! must never run a plugin either, and knows nothing of wasmtime.

#![forbid(unsafe_code)]

pub mod build;
pub mod command;
pub mod component;
pub mod inspect;
pub mod toolchain;

pub use build::{Built, attach, build};
pub use command::{CommandLine, Run};
pub use inspect::{Inspection, inspect};
pub use toolchain::{Toolchain, find_std};
