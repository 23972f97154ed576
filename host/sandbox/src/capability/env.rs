//! `env`: the environment variables that this call may read.

use zeroize::Zeroizing;

use crate::bindings::strongroom::plugin::env;
use crate::call::State;

/// The variables of one call. Anything that is not in it reads as absent: a guest cannot tell a
/// variable that it may not read from one that is not set.
pub trait Variables: Send + Sync {
    /// The value of `name`, if this call may read it.
    fn get(&self, name: &str) -> Option<Zeroizing<String>>;
    /// The names this call may read, that are set, sorted.
    fn names(&self) -> Vec<String>;
}

impl env::Host for State {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let variable = self.capabilities.env.as_ref().and_then(|variables| variables.get(&name));
        // The copy into the guest is the guest's; the string that carries it there is moved out of
        // its wrapper and freed by the bindings; only the allocator can wipe it (decision 0013).
        Ok(variable.map(|mut value| std::mem::take(&mut *value)))
    }

    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.capabilities.env.as_ref().map(|variables| variables.names()).unwrap_or_default())
    }
}
