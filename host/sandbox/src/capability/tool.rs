//! `tool`: programs that the operator declared. The plugin names one and fills its holes.

use async_trait::async_trait;
use strongroom_core::{Failure, Kind};
use zeroize::Zeroizing;

use crate::bindings::strongroom::plugin::{tool, types};
use crate::call::State;
use crate::convert;

/// What a tool gave. It may hold a token.
pub struct Output {
    /// The exit status; of one that a signal ended, the signal's number, negative.
    pub status: i32,
    /// Its standard output.
    pub stdout: Zeroizing<Vec<u8>>,
    /// The beginning of its standard error.
    pub stderr: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Who runs tools for one call.
#[async_trait]
pub trait Tools: Send + Sync {
    /// Runs the tool `name` with `holes` filled, within the call's deadline.
    ///
    /// # Errors
    /// `policy-denied` for a tool or a hole that the call does not have; what went wrong with running it.
    async fn run(&self, name: String, holes: Vec<(String, String)>) -> Result<Output, Failure>;
}

impl tool::Host for State {
    async fn run(
        &mut self,
        name: String,
        holes: Vec<(String, String)>,
    ) -> wasmtime::Result<Result<tool::Output, types::Failure>> {
        let Some(tools) = self.capabilities.tools.clone() else {
            let failure = Failure::new(Kind::NotConfigured, "tool.none", "this call has no tools");
            return Ok(Err(convert::failure_to_guest(&failure)));
        };
        Ok(match tools.run(name, holes).await {
            // Moved out of their wrappers on their way into the guest, as a variable is (see `env`).
            Ok(Output { status, mut stdout, mut stderr }) => {
                Ok(tool::Output { status, stdout: std::mem::take(&mut *stdout), stderr: std::mem::take(&mut *stderr) })
            }
            Err(failure) => {
                let told = convert::failure_to_guest(&failure);
                // What went wrong is the host's own word; of a tool that is not there, the plugin knows better
                // what that means.
                if failure.kind() != Kind::NotFound {
                    self.host_failure.get_or_insert(failure);
                }
                Err(told)
            }
        })
    }
}
