//! The words of Strongroom as types.
//!
//! Everything here is pure: text goes in, types come out. This crate must never open a file, a
//! socket or a process, read an environment variable, or know of wasmtime or tokio; the crates
//! above it do that, and clippy's disallowed lists keep it so.
//!
//! Start at [`reference`], the one parser every reference goes through, and at [`failure`], the
//! one table that says what each failure means to a server, a shell and a retry loop.

#![forbid(unsafe_code)]

pub mod audit;
pub mod azureml;
pub mod config;
pub mod digest;
pub mod document;
pub mod environment;
pub mod export;
pub mod failure;
pub mod lock;
pub mod manifest;
pub mod mask;
pub mod name;
pub mod network;
pub mod origin;
pub mod pattern;
pub mod policy;
pub mod reference;
pub mod rights;
pub mod secret;
mod strict;
pub mod template;
pub mod text;

pub use config::Config;
pub use digest::Digest;
pub use document::Document;
pub use failure::{Failure, Kind, Place};
pub use lock::Lock;
pub use manifest::Manifest;
pub use mask::{LiveMasks, LiveStream, MaskStream, Masker, Masks};
pub use name::Name;
pub use network::{Cidr, Network};
pub use origin::{Host, Origin};
pub use pattern::{HostPattern, Pattern};
pub use reference::{Reference, Shape, Shapes};
pub use rights::Rights;
pub use secret::{Secret, Value};
pub use template::{Part, Template};
pub use text::Text;
