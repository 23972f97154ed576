//! Strongroom as a secret backend: `strongroom serve`.
//!
//! Connections come in at a [`listener`](strongroom_core::config::listeners::Listener), whose kind says how a caller is known;
//! requests go through a door, which speaks one protocol that clients exist for; and every door has but one way to the
//! secrets, the gate: it asks the policy, calls the broker and writes the audit log, in that order, before anything
//! leaves.
//!
//! Nothing here may reach a broker but through the gate, tell a caller whether a secret exists that it may not
//! read, or hand on a plugin's own words where the mount does not say so.
//!
//! Where to start reading: `gate.rs`, then `doors/native/`, the plainest of the doors.

#![forbid(unsafe_code)]

mod as_azure;
mod client;
mod connection;
mod doors;
mod gate;
mod identify;
mod limits;
mod listener;
mod metrics;
mod open;
mod serve;
mod state;
mod systemd;
mod token;
mod traces;
mod watched;

pub use crate::as_azure::{AsAzure, Bundle, Handed, as_azure};
pub use crate::client::Client;
pub use crate::serve::{Event, Options, check, serve};
pub use crate::token::shaped_as_jwt;
