//! A running `strongroom serve`, and what a client says to it, byte by byte.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::*;

/// A server in a home. It is killed with this.
pub struct Server {
    pub running: Running,
    socket: PathBuf,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A Python in which these packages are installed, at most once: a list below `tests`, with hashes. `None`, said on
/// standard error, where there is no Python for it; where `CI` is set, there must be one.
#[allow(clippy::print_stderr, reason = "whoever runs the tests must know what they did not show")]
pub fn python(requirements: &str) -> Option<PathBuf> {
    const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests");
    let version = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    let there = Command::new("python3").args(["-c", version]).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI needs python3 3.10 or later, with venv");
        eprintln!("skipped: python3 3.10 or later, with venv, is needed for {requirements}");
        return None;
    }
    let output = Command::new("python3")
        .arg(format!("{TESTS}/fake-azure/clients/install"))
        .args(["--cache", env!("CARGO_TARGET_TMPDIR")])
        .args(["--requirements", &format!("{TESTS}/{requirements}")])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{requirements} could not be installed");
    Some(lossy(&output.stdout).trim().into())
}

/// Node.js, and a folder with the clients of `tests/clients/CLIENT`; where `CI` is set, they must be had.
#[allow(clippy::print_stderr, reason = "whoever runs the tests must know what they did not show")]
pub fn node(client: &str) -> Option<(PathBuf, PathBuf)> {
    let output = Command::new("node").args(["-p", "process.execPath"]).stderr(Stdio::null()).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        assert!(std::env::var_os("CI").is_none(), "CI needs Node.js 20 or later, with npm");
        eprintln!("skipped: Node.js 20 or later, with npm, is needed for {client}");
        return None;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(client);
    std::fs::create_dir_all(&folder).unwrap();
    let from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients")).join(client);
    let lock = std::fs::read(from.join("package-lock.json")).unwrap();
    // Installed once for each list.
    if std::fs::read(folder.join("installed")).ok().as_ref() != Some(&lock) {
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(from.join(file), folder.join(file)).unwrap();
        }
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(npm.success(), "{client} could not be installed");
        std::fs::write(folder.join("installed"), &lock).unwrap();
    }
    Some((lossy(&output.stdout).trim().into(), folder))
}

/// A home in which a server has a place for its socket.
pub fn home() -> Home {
    let home = Home::new();
    let runtime = home.path("run");
    std::fs::create_dir_all(&runtime).unwrap();
    chmod(&runtime, 0o700);
    home.set("XDG_RUNTIME_DIR", &runtime);
    home
}

impl Server {
    /// Starts one as the home's config says, and waits until it listens.
    pub fn start(home: &Home) -> Self {
        Self::with(home.strongroom(["serve"]), home)
    }

    pub fn with(call: Call<'_>, home: &Home) -> Self {
        let mut running = call.start();
        running.errors.as_mut().unwrap().wait_for("ready\n");
        Self { running, socket: home.path("run/strongroom/server.sock") }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.running.errors.as_ref().unwrap().seen()
    }

    pub fn wait_for(&mut self, text: &str) {
        self.running.errors.as_mut().unwrap().wait_for(text);
    }

    /// The port of its only listener with this scheme.
    pub fn port(&self, scheme: &str) -> u16 {
        let said = self.said();
        let start = format!("{scheme}://");
        let rest = said.split(&start).nth(1).unwrap_or_else(|| panic!("no {scheme} listener: {said}"));
        let address = rest.split(": ").next().unwrap();
        address.rsplit(':').next().unwrap().parse().unwrap()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.running.id(), signal).unwrap();
    }

    /// Sends a request to the user's own socket.
    pub fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        ask_socket(&self.socket, method, target, &[], body)
    }

    /// The value of a reference, or the code of the failure.
    pub fn value(&self, reference: &str) -> Result<String, String> {
        read_value(self.ask("GET", &format!("/api/v1/secret?reference={}", encoded(reference)), None))
    }
}

/// The value in an answer, or the code of its failure.
pub fn read_value(answer: Answer) -> Result<String, String> {
    let json = answer.json();
    match json["value"].as_str() {
        Some(value) if answer.status == 200 => Ok(value.to_owned()),
        _ => Err(json["failure"]["code"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()),
    }
}

/// Percent-encodes what may not stand in a query as it is.
pub fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    /// The code of the native door's failure.
    pub fn code(&self) -> String {
        self.json()["failure"]["code"].as_str().unwrap_or_else(|| panic!("no failure: {self:?}")).to_owned()
    }

    /// Reads one whole answer; `None` if the connection ended without one.
    pub fn read(stream: &mut impl Read) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(count) => bytes.extend(&buffer[..count]),
            }
        };
        let head = lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut body = bytes.split_off(end + 4);
        let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
        while body.len() < length {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(count) => body.extend(&buffer[..count]),
            }
        }
        Some(Self { status, headers, body })
    }
}

/// A request as text, with `Host: localhost` unless the headers have one.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text += "Host: localhost\r\n";
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let body = body.map(ToString::to_string).unwrap_or_default();
    if !body.is_empty() {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    format!("{text}\r\n{body}").into_bytes()
}

/// Asks over a Unix socket.
pub fn ask_socket(socket: &Path, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&request(method, target, headers, body)).unwrap();
    Answer::read(&mut stream).expect("an answer")
}

/// Sends these very bytes over TCP; `None` if the connection ended without an answer.
pub fn send_raw(port: u16, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that has refused already need not read on.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    Answer::read(&mut stream)
}

/// Asks over TCP.
pub fn ask_port(port: u16, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
    send_raw(port, &request(method, target, headers, body)).expect("an answer")
}
