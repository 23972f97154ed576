//! Auth plugins only: a sealed input in the plugin's own hands; the grant `sealed`.
//!
//! A lesser grant: most credentials are injected by an egress rule, and never read by the plugin. A
//! key can never be revealed; [`signer`](crate::signer) signs with it.

use crate::Failure;
use crate::bindings::strongroom::plugin::sealed;

/// The bytes of the sealed input `name` of this credential.
///
/// # Errors
/// What the host says.
pub fn reveal(name: &str) -> Result<Vec<u8>, Failure> {
    sealed::reveal(name).map_err(Into::into)
}
