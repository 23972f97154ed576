//! The only crate that opens a socket to a backend: decide, resolve, classify, dial, inject, screen.
//!
//! A guest's request comes in as its bindings delivered it, together with the function that runs and
//! the references it runs for. [`decide`] says whether it may leave. It must never be possible to send
//! anything that was not approved there, to an address that was not classified, or to give a guest
//! what the host injected.
//!
//! Start reading at [`decide`], then [`target`].

#![forbid(unsafe_code)]

pub mod decide;
pub mod target;
