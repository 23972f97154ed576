//! The only crate that opens a socket to a backend: decide, resolve, classify, dial, inject, screen.
//!
//! A guest's request comes in as its bindings delivered it, together with the function that runs and
//! the references it runs for. [`decide`] says whether it may leave, [`inject`] adds what the guest
//! never sees, [`net`] sends it to an address that was checked, and [`screen`] says what comes back.
//! It must never be possible to send anything that was not approved, to an address that was not
//! classified, or to give a guest what the host injected.
//!
//! Start reading at [`reach`], which goes through them in this order for one call.

#![forbid(unsafe_code)]

mod body;
pub mod callback;
mod challenge;
pub mod decide;
pub mod fetch;
pub mod inject;
pub mod net;
pub mod reach;
pub mod screen;
pub mod target;

pub use decide::{Asked, Refused, Terms};
pub use inject::{Challenge, Holdings, Token, Tokens};
pub use reach::{Budget, Patience, Reach, Reply, Request, Unsent};
