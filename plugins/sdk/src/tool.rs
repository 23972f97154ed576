//! Auth plugins only: a program of the host that the operator declared; the grant `tool`.
//!
//! The operator says path, arguments, environment and time limit. The plugin fills named holes and
//! nothing more.

use std::fmt;

use crate::Failure;
use crate::bindings::strongroom::plugin::tool;

/// What a tool gave. Its `Debug` shows sizes: the output may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; negative if a signal ended it.
    pub status: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("status", &self.status)
            .field("stdout_bytes", &self.stdout.len())
            .field("stderr_bytes", &self.stderr.len())
            .finish()
    }
}

/// Runs the tool `name` with its `holes` filled.
///
/// # Errors
/// What the host says: no such tool, a hole that does not fit its pattern, the time limit.
pub fn run(name: &str, holes: &[(String, String)]) -> Result<Output, Failure> {
    let tool::Output { status, stdout, stderr } = tool::run(name, holes).map_err(Failure::from)?;
    Ok(Output { status, stdout, stderr })
}
