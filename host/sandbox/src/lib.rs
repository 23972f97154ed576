//! One call, one sandbox.
//!
//! This is the only crate that names wasmtime. A [`Runtime`] is an engine; it loads a component into
//! a [`Plugin`], whose linker holds the granted interfaces and no others; each call on a plugin makes
//! a fresh store and a fresh instance, and drops both. Nothing a guest leaves in its memory survives
//! its call.
//!
//! It must never open a socket, start a process, read the environment or know what a mount is: what
//! a guest may reach is handed in per call, as [`Capabilities`].
//!
//! Start reading at [`plugin`], then [`call`]; [`aot`] holds the one `unsafe` function of this crate.

#![deny(unsafe_code)]

#[macro_use]
pub mod call;
pub mod acquire;
pub mod aot;
mod bindings;
pub mod capability;
mod convert;
mod engine;
mod limits;
mod meter;
pub mod plugin;
pub mod section;

pub use call::{Call, Page, Receipt, Usage};
pub use capability::Capabilities;
pub use engine::{Allocation, Runtime};
pub use limits::CallLimits;
pub use plugin::Plugin;
