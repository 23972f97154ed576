//! Where the project is, and how programs are run: each is shown first, and a failure ends it all.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a step gives: nothing, or why it failed.
pub type Done = Result<(), String>;

/// The folders of this clone.
#[derive(Debug)]
pub struct Project {
    /// The root of the repository.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
}

impl Project {
    /// The clone that cargo runs this program from.
    pub fn here() -> Self {
        let own =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = own.parent().map_or_else(|| own.clone(), Path::to_owned);
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        Self { target: root.join(target), root }
    }

    /// Cargo at the root.
    pub fn cargo(&self, args: &[&str]) -> Step {
        self.program("cargo", args)
    }

    /// A program at the root.
    pub fn program(&self, program: impl AsRef<Path>, args: &[&str]) -> Step {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.root);
        let name = program.strip_prefix(&self.root).unwrap_or(program);
        Step { shown: [&[&*name.to_string_lossy()], args].concat().join(" "), command }
    }
}

/// One program to run.
#[derive(Debug)]
pub struct Step {
    shown: String,
    command: Command,
}

impl Step {
    /// Adds an option with a path.
    pub fn arg(mut self, path: &Path, option: &str) -> Self {
        self.command.arg(option).arg(path);
        self.shown.push_str(&format!(" {option} {}", path.display()));
        self
    }

    /// Sets a variable, which is not shown.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Shows the step and runs it.
    pub fn run(self) -> Done {
        self.run_with(None)
    }

    /// As [`Step::run`], with `input` on standard input.
    pub fn run_with(mut self, input: Option<&[u8]>) -> Done {
        println!("==> {}", self.shown);
        let Some(input) = input else {
            let status = self.command.status().map_err(|error| self.failed(error))?;
            return if status.success() { Ok(()) } else { Err(self.failed(status)) };
        };
        let mut child = self.command.stdin(Stdio::piped()).spawn().map_err(|error| self.failed(error))?;
        if let Some(mut pipe) = child.stdin.take() {
            std::io::Write::write_all(&mut pipe, input).map_err(|error| self.failed(error))?;
        }
        let status = child.wait().map_err(|error| self.failed(error))?;
        if status.success() { Ok(()) } else { Err(self.failed(status)) }
    }

    /// Runs the step without a word and gives its standard output.
    pub fn output(mut self) -> Option<String> {
        let output = self.command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    }

    fn failed(&self, why: impl Display) -> String {
        format!("`{}` failed: {why}", self.shown)
    }
}
