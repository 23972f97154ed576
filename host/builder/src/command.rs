//! How the builder has programs run: it says what, the caller says how.

use std::ffi::OsString;
use std::path::PathBuf;

use strongroom_core::Failure;

/// One program to run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// A name that is searched in `PATH`, or an absolute path.
    pub program: OsString,
    /// The arguments after the name.
    pub args: Vec<OsString>,
    /// Variables to set on top of the caller's own environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working folder.
    pub folder: PathBuf,
    /// Whether the standard output is wanted back. If not, both outputs are for a person to watch.
    pub captured: bool,
}

/// Runs a program: gives its standard output if `captured`, else nothing. A status other than 0 is a
/// failure, and so is a program that cannot be started.
pub type Run<'a> = &'a dyn Fn(&CommandLine) -> Result<Vec<u8>, Failure>;

impl CommandLine {
    /// A program to run in `folder`, its output for a person to watch.
    pub fn new(program: impl Into<OsString>, folder: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new(), folder: folder.into(), captured: false }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Asks for the standard output.
    #[must_use]
    pub fn captured(mut self) -> Self {
        self.captured = true;
        self
    }
}
