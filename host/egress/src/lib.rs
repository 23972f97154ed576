//! The only crate that opens a socket to a backend: decide, resolve, classify, dial, inject, screen.

#![forbid(unsafe_code)]

pub mod net;
