//! What every command needs: the environment, the config, the runtime, and a voice.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom::{Audited, Compiler, Environment, Failure, Kind, Setup, Source, Strongroom, Text};
use strongroom_server::Client;
use strongroom_store::Ask;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::args::{Global, Through};
use crate::report::Reporter;

/// One run of the command line.
pub struct Session {
    pub global: Global,
    pub environment: Environment,
    pub folder: PathBuf,
    pub reporter: Reporter,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// It said what is wrong; exit with this.
    Exit(u8),
}

/// What stops a command.
#[derive(Debug)]
pub enum Stop {
    /// Failures, to be told.
    Failed(Vec<Failure>),
    /// Standard output went away: nobody is left to tell.
    OutputClosed,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(vec![failure])
    }
}

impl From<Vec<Failure>> for Stop {
    fn from(failures: Vec<Failure>) -> Self {
        Self::Failed(failures)
    }
}

pub type Answer = Result<Outcome, Stop>;

impl Session {
    pub fn new(global: Global, environment: Environment) -> Self {
        let no_color = environment.setting("NO_COLOR").is_some();
        let reporter = Reporter::new(global.color, global.quiet, no_color);
        let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        Self { global, environment, folder, reporter }
    }

    /// What to open, as the global options say.
    pub fn setup(&self) -> Setup {
        let mut setup = Setup::of_environment(self.environment.clone());
        setup.source = Source::Discover { folder: self.folder.clone(), explicit: self.global.config.clone() };
        setup.offline = self.global.offline;
        setup.compiler = Some(Compiler::this_program());
        setup.audited = Some(Audited {
            caller: format!("uid {}", rustix::process::getuid().as_raw()),
            kind: "command-line",
            door: "command-line",
        });
        if self.global.server == Through::Auto && !self.global.offline {
            setup.elsewhere = Some(|socket| Some(Arc::new(Client::at(socket)?)));
        }
        let reporter = self.reporter;
        setup.warn = Arc::new(move |failure| reporter.warning(&failure));
        if std::io::stdin().is_terminal() {
            setup.keys.prompt = Some(Arc::new(ask_passphrase));
        }
        setup
    }

    /// Reads the config and makes the mounts.
    pub fn open(&self) -> Result<Strongroom, Failure> {
        Strongroom::open(self.setup())
    }

    /// What a server reads: it belongs to no folder, and a project's file is for the commands that are run there.
    pub fn source_of_server(&self) -> Source {
        Source::OwnFiles { folder: self.folder.clone(), explicit: self.global.config.clone() }
    }

    /// As [`Session::open`], with the config that a server would have: for questions about it.
    pub fn open_as_server(&self) -> Result<Strongroom, Failure> {
        Strongroom::open(Setup { source: self.source_of_server(), ..self.setup() })
    }

    /// What runs asynchronous things.
    pub fn runtime(&self) -> Result<Runtime, Failure> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Kind::Internal, "runtime", format!("cannot start: {error}")))
    }

    /// Runs the one asynchronous thing a command does.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let runtime = self.runtime()?;
        let done = runtime.block_on(work);
        // A write that the caller did not wait for must not keep the process.
        runtime.shutdown_background();
        Ok(done)
    }
}

/// Asks for the store's passphrase on the terminal.
fn ask_passphrase(ask: Ask) -> Result<Zeroizing<String>, Failure> {
    let failed = |_| {
        Failure::new(Kind::Unauthenticated, "store.passphrase-missing", "no passphrase was given")
            .help("set STRONGROOM_PASSPHRASE_FILE where nobody can be asked")
    };
    match ask {
        Ask::Open => rpassword::prompt_password("Passphrase of the store: ").map(Zeroizing::new).map_err(failed),
        Ask::New => {
            let first = Zeroizing::new(rpassword::prompt_password("New passphrase for the store: ").map_err(failed)?);
            let second = Zeroizing::new(rpassword::prompt_password("Once more: ").map_err(failed)?);
            if first != second {
                return Err(Failure::new(
                    Kind::InvalidConfig,
                    "store.passphrase-differs",
                    "the two passphrases differ",
                ));
            }
            Ok(first)
        }
    }
}

/// Asks a yes-or-no question on the terminal. Without one the answer is no, with `unasked` as the
/// reason.
pub fn confirm(question: &str) -> Result<bool, Failure> {
    use std::io::Write;
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Unsupported, "confirm.no-terminal", "nobody can be asked here")
            .help("pass --yes to say yes beforehand"));
    }
    let mut errors = std::io::stderr();
    let _ = write!(errors, "{question} [y/N] ");
    let _ = errors.flush();
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    Ok(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes" | "Yes"))
}

/// A file the user named, at most `limit` bytes.
pub fn read_file(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Denied };
        Failure::new(kind, "file.unreadable", format!("cannot read {shown}: {error}"))
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    // Room for all of it at once: a vector that grows leaves copies of what may be secret.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size.min(limit) + 1).unwrap_or_default()));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Failure::new(
            Kind::LimitExceeded,
            "file.too-large",
            format!("{shown} is larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// What failures call a file.
pub fn origin(path: &Path) -> Text {
    Text::new(path.display().to_string())
}

/// Writes to standard output. A reader that went away ends the command quietly.
pub fn print(bytes: &[u8]) -> Result<(), Stop> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Stop::OutputClosed),
        Err(error) => {
            Err(Failure::new(Kind::Unavailable, "output.write", format!("cannot write the output: {error}")).into())
        }
    }
}

/// Prints a JSON document, with its schema version, and a line's end.
pub fn print_json(mut document: serde_json::Value) -> Result<(), Stop> {
    if let Some(object) = document.as_object_mut() {
        object.insert("schema_version".to_owned(), 1.into());
    }
    print(json_text(&document)?.as_bytes())
}

/// A JSON document as text, with a line's end. JSON lets DEL and C1 stand in a string as they are,
/// and a terminal acts on them, so they are escaped too.
pub fn json_text(document: &serde_json::Value) -> Result<Zeroizing<String>, Failure> {
    use std::fmt::Write;
    let text = Zeroizing::new(
        serde_json::to_string_pretty(document)
            .map_err(|_| Failure::new(Kind::Internal, "output.json", "the answer cannot be written as JSON"))?,
    );
    // Grown once: a string that moves leaves a copy of what may be secret behind.
    let escapes = text.chars().filter(|c| c.is_control()).count();
    let mut out = Zeroizing::new(String::with_capacity(text.len() + 6 * escapes + 1));
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    Ok(out)
}
