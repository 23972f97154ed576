//! `sealed`: the sealed inputs of the credential that a token is asked for.

use strongroom_core::{Failure, Kind};
use zeroize::Zeroizing;

use crate::bindings::strongroom::plugin::{sealed, types};
use crate::call::State;
use crate::convert;

/// The sealed inputs of one credential, which the manifest names.
pub trait SealedInputs: Send + Sync {
    /// The bytes of the input `name`; `None` if the credential has none of that name.
    fn reveal(&self, name: &str) -> Option<Zeroizing<Vec<u8>>>;
}

impl sealed::Host for State {
    fn reveal(&mut self, name: String) -> wasmtime::Result<Result<Vec<u8>, types::Failure>> {
        let input = self.capabilities.sealed.as_ref().and_then(|sealed| sealed.reveal(&name));
        Ok(match input {
            // Moved out of its wrapper on its way into the guest, as a variable is (see `env`).
            Some(mut bytes) => Ok(std::mem::take(&mut *bytes)),
            None => {
                let message = "the credential has no sealed input of this name";
                Err(convert::failure_to_guest(&Failure::new(Kind::NotConfigured, "sealed.none", message)))
            }
        })
    }
}
