//! The server as a process: its config in all its forms, what it says, its end.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use strongroom_core::Digest;

use super::load::VARIABLES;
use crate::axum_server::certificates;
use crate::azure::Azure;

/// The guest that traps, as `cargo xtask soak --server` builds it.
const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/tests/guest.wasm");

/// How long a start may take; the first compiles the guest.
const START: Duration = Duration::from_secs(120);

/// How much of what the server says is kept.
const LAST: usize = 40;

/// What never changes. A plugin that is to end by itself has time to, on a machine that has much to do.
const COMMON: &str = r#"
[mounts.hostile.limits]
cpu = "20s"
deadline = "40s"
memory = "16MiB"

[mounts.wild]
match = ["spin"]
$PLUGIN
[mounts.wild.limits]
cpu = "50ms"

[listeners.local]
socket = "run/soak.sock"
doors = ["native"]

[listeners.tls]
address = "127.0.0.1:0"
tls = { certificate = "tls/server.pem", key = "tls/server.key" }
doors = ["native"]

[audit]
file = "audit.jsonl"
names = true
rotate = "16MiB"
keep = 4
"#;

/// A config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Shows the variable `FORM_A`, and keeps values for a while.
    A,
    /// Shows the variable `FORM_B`, and keeps fewer.
    B,
    /// Would show both variables and what is private, and is wrong in one of several ways.
    Wrong(u64),
}

/// How many ways to be wrong there are.
pub const WAYS_TO_BE_WRONG: u64 = 5;

impl Form {
    fn text(self, common: &str, token: &str) -> String {
        let (variables, kept, versions) = match self {
            Self::A => (r#""FORM_A""#, r#"ttl = "3s""#, 20),
            Self::B => (r#""FORM_B""#, "", 7),
            Self::Wrong(_) => (r#""FORM_A", "FORM_B""#, "", 7),
        };
        let private = if matches!(self, Self::Wrong(_)) { r#", "private/**""# } else { "" };
        let mistake = match self {
            Self::Wrong(0) => "no_such_key = 1",
            Self::Wrong(1) => "[[policy]]\ncallers = [\"nobody\"]\nmounts = [\"env\"]\noperations = [\"resolve\"]",
            Self::Wrong(2) => "[mounts.broken",
            Self::Wrong(3) => {
                "[listeners.more]\naddress = \"127.0.0.1:0\"\ndoors = [\"native\"]\n\
                 tls = { certificate = \"no.pem\", key = \"no.key\" }"
            }
            Self::Wrong(_) => "[mounts.more]\nplugin = { path = \"none.wasm\", digest = \"sha256:00\" }",
            Self::A | Self::B => "",
        };
        let digest = Digest::of(token.as_bytes());
        format!(
            r#"
[mounts.env]
plugin = "env"
allow = ["CLIENT_SECRET", "SOAK_*", {variables}]
limits = {{ cpu = "20s", deadline = "40s" }}
{kept}

[mounts.keys]
plugin = "keys"
write = true
config = {{ versions = {versions} }}
limits = {{ cpu = "20s", deadline = "40s" }}
{kept}

[callers.clients]
token = "{digest}"

[[policy]]
callers = ["owner"]
mounts = ["env", "keys", "vault", "hostile", "wild"]
operations = ["resolve", "list", "metadata", "set", "delete"]

[[policy]]
callers = ["clients"]
mounts = ["env", "vault", "hostile", "wild"]
operations = ["resolve"]

[[policy]]
callers = ["clients"]
mounts = ["keys"]
names = ["soak/**"{private}]
operations = ["resolve", "list", "set", "delete"]
{common}
{mistake}
"#
        )
    }
}

/// What the server has said.
#[derive(Debug, Default)]
pub struct Said {
    /// Configs that came into force, and those that were refused.
    pub reloaded: usize,
    /// See there.
    pub refused: usize,
    /// Threads that panicked.
    pub panics: usize,
    /// The newest lines.
    pub last: Vec<String>,
    ready: bool,
    port: Option<u16>,
}

impl Said {
    fn take(&mut self, line: String) {
        self.reloaded += usize::from(line.contains("the changed config is in force"));
        self.refused += usize::from(line.contains("the config that was in force before stays so"));
        self.panics += usize::from(line.contains("panicked"));
        self.ready |= line == "ready";
        if let Some((_, rest)) = line.split_once("https://127.0.0.1:") {
            self.port = rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|port| port.parse().ok());
        }
        if self.last.len() >= LAST {
            self.last.remove(0);
        }
        self.last.push(line);
    }
}

/// What another command came to.
pub struct Done {
    /// Whether it ended with 0.
    pub success: bool,
    /// What it said, on both outputs.
    pub said: String,
}

/// The server. It is killed with this.
pub struct Program {
    process: Child,
    reader: Option<JoinHandle<()>>,
    said: Arc<Mutex<Said>>,
    folder: PathBuf,
    common: String,
    variables: Vec<(String, String)>,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// Where it speaks TLS.
    pub address: SocketAddr,
    /// The PEM of the authority that its certificate is from.
    pub authority: String,
    /// The token of the caller `clients`.
    pub token: String,
}

impl Program {
    /// Starts the program that lies beside this one, in this folder.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(azure: &Azure, folder: &Path) -> Result<Self> {
        for name in ["run", "tls"] {
            fs::create_dir(folder.join(name))?;
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o700))?;
        }
        certificates(&folder.join("tls"))?;
        fs::set_permissions(folder.join("tls/server.key"), fs::Permissions::from_mode(0o600))?;
        let mut variables: Vec<(String, String)> =
            VARIABLES.map(|name| (name.to_owned(), super::load::variable(name))).to_vec();
        variables.push(("CLIENT_SECRET".to_owned(), azure.client_secret()?));
        let azure =
            azure.config(folder, "ttl = \"500ms\"\nstale_ttl = \"2s\"\nlimits = { cpu = \"20s\", pause = \"1s\" }")?;
        write(folder, &azure)?;
        let accepted = command(folder, &variables, &["plugin", "add", HOSTILE, "--mount", "hostile", "--yes"])?;
        if !accepted.success {
            bail!("the guest of the tests is built by `cargo xtask soak --server`: {}", accepted.said);
        }
        let written = fs::read_to_string(folder.join("strongroom.toml"))?;
        let plugin = written.split_once("[mounts.hostile]\n").map_or("", |(_, mount)| mount);
        let plugin = plugin.lines().find(|line| line.starts_with("plugin")).context("it wrote the mount")?;
        let written = written.replace("[mounts.hostile]\n", "[mounts.hostile]\ndefault = true\n");
        let common = format!("{}{written}", COMMON.replace("$PLUGIN", plugin));
        let token = format!("soak-{:016x}{:016x}", super::seed_or_new(None), std::process::id());
        write(folder, &Form::A.text(&common, &token))?;

        let mut process = prepared(folder, &variables, &["serve"])?.stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(process.stderr.take().context("its messages are a pipe")?).lines();
        let said = Arc::new(Mutex::new(Said::default()));
        let told = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                told.lock().unwrap_or_else(PoisonError::into_inner).take(line);
            }
        });
        let mut program = Self {
            process,
            reader: Some(reader),
            said,
            folder: folder.to_owned(),
            common,
            variables,
            socket: folder.join("run/soak.sock"),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            authority: fs::read_to_string(folder.join("tls/ca.pem"))?,
            token,
        };
        let begun = Instant::now();
        while !program.said().ready {
            if begun.elapsed() > START || program.process.try_wait()?.is_some() {
                bail!("the server did not start: {}", program.said().last.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let port = program.said().port.context("it tells its port")?;
        program.address.set_port(port);
        Ok(program)
    }

    /// What it has said so far.
    pub fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process id, as /proc has it.
    pub fn id(&self) -> String {
        self.process.id().to_string()
    }

    /// Gives it another config, at once and whole, and tells it so.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn configure(&self, form: Form) -> Result<()> {
        write(&self.folder, &form.text(&self.common, &self.token))?;
        self.signal(Signal::HUP)
    }

    /// Tells it to end.
    ///
    /// # Errors
    /// If it is gone.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }

    /// Waits for its end, for so long, and gives what it said.
    ///
    /// # Errors
    /// If it does not end.
    pub fn ended(&mut self, patience: Duration) -> Result<(ExitStatus, Said)> {
        let begun = Instant::now();
        let status = loop {
            match self.process.try_wait()? {
                Some(status) => break status,
                None if begun.elapsed() > patience => bail!("the server does not end"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok((status, std::mem::take(&mut *self.said())))
    }

    /// Another command with the same config.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Done> {
        command(&self.folder, &self.variables, arguments)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Writes the config, so that nobody ever reads half of it.
fn write(folder: &Path, text: &str) -> Result<()> {
    let new = folder.join("new.toml");
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    Ok(fs::rename(new, folder.join("strongroom.toml"))?)
}

/// The program that lies beside this one, with an environment of its own.
fn prepared(folder: &Path, variables: &[(String, String)], arguments: &[&str]) -> Result<Command> {
    let program = std::env::current_exe()?.with_file_name("strongroom");
    let mut command = Command::new(program);
    command.arg("--config").arg(folder.join("strongroom.toml")).args(arguments);
    command
        .env_clear()
        .env("HOME", folder)
        .env("XDG_RUNTIME_DIR", folder.join("run"))
        .env("STRONGROOM_NO_KEYRING", "1");
    command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    Ok(command)
}

fn command(folder: &Path, variables: &[(String, String)], arguments: &[&str]) -> Result<Done> {
    let output = prepared(folder, variables, arguments)?.output().context("`strongroom` lies beside this program")?;
    let said = [output.stdout, output.stderr].concat();
    Ok(Done { success: output.status.success(), said: String::from_utf8_lossy(&said).into_owned() })
}
