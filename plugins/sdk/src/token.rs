//! A token in the plugin's own hands; the grant `token`.
//!
//! A lesser, explicit grant, for backends whose credential the host cannot inject. Where an egress
//! rule's `credential` will do, use that: then the plugin holds nothing that could be stolen from it.

use crate::Failure;
use crate::bindings::strongroom::plugin::token;

/// The token of the use `name`, one that the operator accepted.
///
/// # Errors
/// What the host says.
pub fn get(name: &str) -> Result<String, Failure> {
    token::get(name).map_err(Into::into)
}
