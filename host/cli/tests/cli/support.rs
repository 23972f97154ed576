//! A home of its own for each test, the program started in it, and the search for leaked secrets.
//!
//! A test makes its secrets with [`Home::canary`]. From then on no call may show one of them, on
//! standard output or error, unless the test says that this call does; and when the home is dropped,
//! no file in it may hold one, in clear, base64 or hex, except those that the test names as sinks.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::Value;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_strongroom");

/// How long anything may take before it counts as hanging. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A fresh home, with a working folder that is the root of a repository.
pub struct Home {
    folder: tempfile::TempDir,
    canaries: RefCell<Vec<Vec<u8>>>,
    sinks: RefCell<Vec<PathBuf>>,
    variables: RefCell<Vec<(OsString, OsString)>>,
}

impl Home {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home =
            Self { folder, canaries: RefCell::default(), sinks: RefCell::default(), variables: RefCell::default() };
        fs::create_dir_all(home.path("home")).unwrap();
        // A search for a project's config ends here, and not in whatever lies above.
        fs::create_dir_all(home.work(".git")).unwrap();
        for (name, value) in
            [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LC_ALL", "C.UTF-8"), ("STRONGROOM_NO_KEYRING", "1")]
        {
            home.set(name, value);
        }
        home.set("HOME", home.path("home"));
        home
    }

    /// A path below the test's own folder.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// A path below the folder that calls are made in.
    pub fn work(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path("work").join(relative)
    }

    /// A path below Strongroom's state folder.
    pub fn state(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path("home/.local/state/strongroom").join(relative)
    }

    /// The user's own config file.
    pub fn user_config(&self) -> PathBuf {
        self.path("home/.config/strongroom/strongroom.toml")
    }

    /// Writes the user's own config file.
    pub fn configure(&self, text: &str) {
        write(&self.user_config(), text.as_bytes());
    }

    /// Writes a file into the working folder. It must hold no canary.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work(name);
        write(&path, text.as_ref());
        path
    }

    /// Writes a file that may hold canaries.
    pub fn write_secret(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(name, bytes);
        self.sink(&path);
        path
    }

    /// From now on a variable of every call.
    pub fn set(&self, name: &str, value: impl AsRef<OsStr>) {
        let mut variables = self.variables.borrow_mut();
        variables.retain(|(known, _)| known != name);
        variables.push((name.into(), value.as_ref().to_owned()));
    }

    /// The environment of calls.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        self.variables.borrow().clone()
    }

    pub fn unset(&self, name: &str) {
        self.variables.borrow_mut().retain(|(known, _)| known != name);
    }

    /// A new secret, which from now on must be seen nowhere.
    pub fn canary(&self, label: &str) -> String {
        let canary = format!("canary.{label}.{:016x}", getrandom::u64().unwrap());
        self.guard(&canary);
        canary
    }

    /// Makes `value` a secret that must be seen nowhere.
    pub fn guard(&self, value: impl AsRef<[u8]>) {
        self.canaries.borrow_mut().push(value.as_ref().to_vec());
    }

    /// A secret that is the value of the variable `name`.
    pub fn variable(&self, name: &str) -> String {
        let canary = self.canary(name);
        self.set(name, &canary);
        canary
    }

    /// A file that may hold canaries.
    pub fn sink(&self, path: impl AsRef<Path>) {
        self.sinks.borrow_mut().push(path.as_ref().to_owned());
    }

    /// `strongroom` with these arguments, to be started with [`Call::done`].
    pub fn strongroom<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Call<'_> {
        self.program(PROGRAM, arguments)
    }

    /// Any program in the same surroundings.
    pub fn program<A: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = A>) -> Call<'_> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.work(".")).env_clear();
        command.envs(self.variables());
        Call { home: self, command, input: Vec::new(), shows: false, merged: false, output: None, open: false }
    }

    /// `strongroom run`, these arguments, and a shell's script.
    pub fn sh<'a>(&self, arguments: impl IntoIterator<Item = &'a str>, script: &'a str) -> Call<'_> {
        let arguments = ["run"].into_iter().chain(arguments).chain(["--", "sh", "-c", script]);
        self.strongroom(arguments)
    }

    /// Sets a secret from standard input.
    pub fn put(&self, reference: &str, value: impl AsRef<[u8]>) {
        self.strongroom(["set", "--keep-newline", reference]).input(value).done().ok();
    }

    /// Gets a secret's bytes.
    pub fn get(&self, reference: &str) -> Vec<u8> {
        self.strongroom(["get", reference]).shows().done().ok().stdout
    }

    fn forms(&self) -> Vec<Vec<u8>> {
        let canaries = self.canaries.borrow();
        let forms = canaries.iter().flat_map(|canary| {
            let hex: String = canary.iter().map(|byte| format!("{byte:02x}")).collect();
            let shifted = (0..3).map(|shift| {
                let bytes: Vec<u8> = std::iter::repeat_n(0, shift).chain(canary.iter().copied()).collect();
                let text = STANDARD_NO_PAD.encode(bytes);
                text.as_bytes()[4..text.len() - 4].to_vec()
            });
            shifted.chain([canary.clone(), hex.clone().into_bytes(), hex.to_uppercase().into_bytes()])
        });
        forms.collect()
    }

    /// Fails if `bytes` hold a canary in a form that is easily read.
    pub fn assert_clean(&self, what: &str, bytes: &[u8]) {
        for form in self.forms() {
            let at = bytes.windows(form.len()).position(|window| window == form);
            assert_eq!(at, None, "{what} holds the secret {}:\n{}", lossy(&form), lossy(bytes));
        }
    }

    /// Fails if a file of this home holds a canary and is none of `sinks`.
    pub fn assert_no_canary_except(&self, sinks: &[PathBuf]) {
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.map(Result::unwrap) {
                let path = entry.path();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && !sinks.contains(&path) {
                    self.assert_clean(&path.display().to_string(), &fs::read(&path).unwrap());
                }
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_no_canary_except(&self.sinks.borrow());
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    // Whatever the umask of whoever runs the tests.
    chmod(path, 0o644);
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One call, being put together.
pub struct Call<'h> {
    home: &'h Home,
    command: Command,
    input: Vec<u8>,
    shows: bool,
    merged: bool,
    output: Option<std::io::PipeWriter>,
    open: bool,
}

impl Call<'_> {
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub fn input(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = bytes.as_ref().to_vec();
        self
    }

    /// This call's standard output shows secrets, as it must. Its errors still may not.
    pub fn shows(mut self) -> Self {
        self.shows = true;
        self
    }

    /// Standard output and error are the same pipe; what comes is [`Done::stdout`].
    pub fn merged(mut self) -> Self {
        self.merged = true;
        self
    }

    /// Standard output is this pipe, which somebody else reads or not.
    pub fn output(mut self, writer: std::io::PipeWriter) -> Self {
        self.output = Some(writer);
        self
    }

    /// Standard input stays open until [`Running`] is dropped.
    pub fn open_input(mut self) -> Self {
        self.open = true;
        self
    }

    /// Starts it, for tests that do something meanwhile. Standard input is closed after the input.
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped());
        let (output, errors) = if self.merged {
            let (reader, writer) = std::io::pipe().unwrap();
            self.command.stdout(writer.try_clone().unwrap()).stderr(writer);
            (collect(reader), None)
        } else {
            let (output, writer) = std::io::pipe().unwrap();
            self.command.stdout(self.output.take().unwrap_or(writer));
            let (errors, writer) = std::io::pipe().unwrap();
            self.command.stderr(writer);
            (collect(output), Some(collect(errors)))
        };
        let mut child = self.command.spawn().unwrap();
        // The command holds the writing ends; with it gone only the child does.
        drop(self.command);
        let mut stdin = child.stdin.take().unwrap();
        if self.open {
            return Running { child, output, errors, input_end: Some(stdin) };
        }
        std::thread::spawn(move || {
            // A program that does not read its input is free to.
            let _ = stdin.write_all(&self.input);
        });
        Running { child, output, errors, input_end: None }
    }

    /// Runs it to its end.
    pub fn done(self) -> Done {
        let (home, shows) = (self.home, self.shows);
        let mut running = self.start();
        let stdout = running.output.rest();
        let stderr = running.errors.take().map(|mut errors| errors.rest()).unwrap_or_default();
        let status = running.wait();
        let done = Done { status, stdout, stderr };
        if !shows {
            home.assert_clean("standard output", &done.stdout);
        }
        home.assert_clean("standard error", &done.stderr);
        done
    }
}

/// A started program.
pub struct Running {
    child: Child,
    pub output: Stream,
    pub errors: Option<Stream>,
    input_end: Option<std::process::ChildStdin>,
}

impl Running {
    /// Ends the input that was kept open.
    pub fn end_input(&mut self) {
        self.input_end = None;
    }

    pub fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// The exit status; 1000 and its number for a signal.
    pub fn wait(&mut self) -> i32 {
        status_of(self.child.wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only after a failed test is there anything left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 1000 + status.signal().unwrap_or_default())
}

/// What comes out of a stream, read by a thread of its own so that nothing waits for ever.
pub struct Stream {
    chunks: mpsc::Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

pub fn collect(mut reader: impl Read + Send + 'static) -> Stream {
    let (sender, chunks) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        // A terminal whose other side is gone ends with an error.
        while let Ok(count) = reader.read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    Stream { chunks, seen: Vec::new() }
}

impl Stream {
    /// Waits until `text` has come.
    pub fn wait_for(&mut self, text: &str) {
        while !lossy(&self.seen).contains(text) {
            match self.chunks.recv_timeout(PATIENCE) {
                Ok(chunk) => self.seen.extend(chunk),
                Err(_) => panic!("`{text}` never came, only: {}", lossy(&self.seen)),
            }
        }
    }

    /// What has come so far.
    pub fn seen(&self) -> String {
        lossy(&self.seen)
    }

    /// Everything, until the other side is closed.
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.chunks.recv_timeout(PATIENCE) {
                Ok(chunk) => self.seen.extend(chunk),
                Err(mpsc::RecvTimeoutError::Disconnected) => return std::mem::take(&mut self.seen),
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs, after: {}", lossy(&self.seen)),
            }
        }
    }
}

/// A call that has ended.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Done {
    pub fn out(&self) -> String {
        lossy(&self.stdout)
    }

    pub fn err(&self) -> String {
        lossy(&self.stderr)
    }

    #[track_caller]
    pub fn status(self, status: i32) -> Self {
        assert_eq!(self.status, status, "\nout: {}\nerr: {}", self.out(), self.err());
        self
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.status(0)
    }

    /// It failed with this exit status, and told the stable code.
    #[track_caller]
    pub fn fails(self, status: i32, code: &str) -> Self {
        let done = self.status(status);
        assert!(done.err().contains(&format!("[{code}]")), "no [{code}] in: {}", done.err());
        done
    }

    /// Standard error says this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err().contains(text), "no `{text}` in: {}", self.err());
        self
    }

    /// Standard error does not say this.
    #[track_caller]
    pub fn says_not(self, text: &str) -> Self {
        assert!(!self.err().contains(text), "`{text}` in: {}", self.err());
        self
    }

    /// Standard output is exactly this.
    #[track_caller]
    pub fn prints(self, text: impl AsRef<[u8]>) -> Self {
        assert_eq!(self.out(), lossy(text.as_ref()), "\nerr: {}", self.err());
        assert_eq!(self.stdout, text.as_ref());
        self
    }

    /// Standard output holds this.
    #[track_caller]
    pub fn shows(self, text: &str) -> Self {
        assert!(self.out().contains(text), "no `{text}` in: {}", self.out());
        self
    }

    /// Nothing was said on standard error.
    #[track_caller]
    pub fn quiet(self) -> Self {
        assert_eq!(self.err(), "");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out(), self.err()))
    }
}

/// The names in a folder, sorted; none if there is no folder.
pub fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| lossy(entry.unwrap().file_name().as_bytes())).collect();
    names.sort();
    names
}
