//! `signer`: signatures with the keys of the credential that a token is asked for. No key enters a sandbox.

use strongroom_core::{Failure, Kind};

use crate::bindings::strongroom::plugin::{signer, types};
use crate::call::State;
use crate::convert;

/// Pairs of names and texts, as the contract passes them.
pub type Pairs = Vec<(String, String)>;

/// Who signs for one credential.
pub trait Signer: Send + Sync {
    /// A signed JWT (RFC 7515). The implementation sets the times and the id itself, and fills the header's
    /// thumbprints where they are named with an empty value.
    ///
    /// # Errors
    /// What is wrong with the key, the algorithm or the claims.
    fn assertion(&self, key: &str, algorithm: &str, header: &Pairs, claims: &Pairs) -> Result<String, Failure>;

    /// The key's certificates, DER, the leaf first.
    ///
    /// # Errors
    /// What is wrong with the key.
    fn certificates(&self, key: &str) -> Result<Vec<Vec<u8>>, Failure>;
}

impl State {
    fn signed<T>(
        &mut self,
        work: impl FnOnce(&dyn Signer) -> Result<T, Failure>,
    ) -> wasmtime::Result<Result<T, types::Failure>> {
        let signed = match &self.capabilities.signer {
            Some(signer) => work(&**signer),
            None => Err(Failure::new(Kind::NotConfigured, "signer.none", "this call has no keys to sign with")),
        };
        Ok(signed.map_err(|failure| {
            let told = convert::failure_to_guest(&failure);
            // What is wrong with a key is the host's own word, and not a guest's to retell.
            self.host_failure.get_or_insert(failure);
            told
        }))
    }
}

impl signer::Host for State {
    fn assertion(
        &mut self,
        key: String,
        algorithm: String,
        header: Pairs,
        claims: Pairs,
    ) -> wasmtime::Result<Result<String, types::Failure>> {
        self.signed(|signer| signer.assertion(&key, &algorithm, &header, &claims))
    }

    fn certificates(&mut self, key: String) -> wasmtime::Result<Result<Vec<Vec<u8>>, types::Failure>> {
        self.signed(|signer| signer.certificates(&key))
    }
}
