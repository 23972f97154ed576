//! What a call leaves in the memory of its process.
//!
//! Each case has a process of its own, which opens the host and resolves one reference with the
//! library; this one plays the backends, and searches the memory of that one. No secret is given to
//! it but through the way that is looked at.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use strongroom::{Allocation, Compiler, Environment, Keys, Setup, Strongroom};
use strongroom_core::Digest;

use crate::backend::{Backend, Names, answer};
use crate::code::Home;
use crate::memory::{Marker, PIECE, Traces, search};
use crate::world::{POOLED, PROGRAM, Plan, World, shared_paths, told, vault_manifest};

/// What a line of the child begins with, among those of the harness.
const MARK: &str = "residue: ";

/// Hides a text from whoever looks for it in this process's memory.
pub fn turned(text: &str) -> String {
    text.bytes().map(|byte| format!("{:02x}", byte ^ 0x5a)).collect()
}

/// The text again, in one piece of memory that is not copied.
fn turned_back(hidden: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let mut bytes = Vec::with_capacity(hidden.len() / 2);
    bytes.extend(hidden.as_bytes().chunks_exact(2).map(|pair| (digit(pair[0]) << 4 | digit(pair[1])) ^ 0x5a));
    bytes
}

/// The process that is searched. It does one thing for each line, says so, and waits.
#[test]
#[ignore = "the other half of the tests in this file"]
fn child() {
    let mut orders = std::io::stdin().lines().map(|line| serde_json::from_str::<Json>(&line.unwrap()).unwrap());
    let say = |what: &str| writeln!(std::io::stdout(), "\n{MARK}{what}").unwrap();
    let Some(order) = orders.next() else { return };
    for kept in order["keep"].as_array().into_iter().flatten() {
        Box::leak(turned_back(kept.as_str().unwrap()).into_boxed_slice());
    }
    for freed in order["free"].as_array().into_iter().flatten() {
        drop(turned_back(freed.as_str().unwrap()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // What an exchange leaves to tasks of its own is done before anybody looks.
    let settle = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    let mut strongroom = order["config"].is_string().then(|| Strongroom::open(setup(&order)).unwrap());
    let mut answers = Vec::new();
    say("opened");
    for step in orders {
        match (step.as_str().unwrap(), &strongroom) {
            ("drop", _) => answers.clear(),
            ("forget", Some(open)) => runtime.block_on(async {
                open.forget();
                settle().await;
            }),
            ("close", _) => runtime.block_on(async {
                strongroom = None;
                settle().await;
            }),
            (reference, Some(open)) => {
                let answer = runtime.block_on(async {
                    let answer = open.resolve(reference).await;
                    settle().await;
                    answer
                });
                let secret = answer.unwrap_or_else(|failure| panic!("{}", told(&failure)));
                say(&Digest::of(secret.expose()).to_string());
                answers.push(secret);
                continue;
            }
            (step, None) => panic!("{step}: it is closed"),
        }
        say("done");
    }
}

fn setup(order: &Json) -> Setup {
    let text = |key: &str| order[key].as_str().unwrap();
    let mut setup = Setup::from_toml(text("config"), text("folder"));
    setup.environment = Environment::from_iter(order["variables"].as_object().unwrap().iter().map(|(name, hidden)| {
        let value = String::from_utf8(turned_back(hidden.as_str().unwrap())).unwrap();
        (name.into(), value.into())
    }));
    setup.paths = shared_paths();
    setup.allocation = if text("allocation") == "pooled" { POOLED } else { Allocation::OnDemand };
    setup.keys = Keys { no_keyring: true, ..Keys::default() };
    setup.compiler = Some(Compiler { program: PROGRAM.into(), args: vec![Compiler::ARGUMENT.into()] });
    setup.resolver = Arc::new(Names::default());
    setup
}

/// The child, seen from here.
pub struct Searched {
    process: Child,
    orders: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Searched {
    pub fn start(order: &Json) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["residue::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        let mut searched = Self { orders: process.stdin.take(), process, said };
        assert_eq!(searched.does(order), "opened");
        searched
    }

    /// Has it do something, and gives what it says of it.
    pub fn does(&mut self, order: &Json) -> String {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        self.heard()
    }

    fn heard(&mut self) -> String {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some(what) = line.strip_prefix(MARK) {
                return what.trim().to_owned();
            }
            line.clear();
        }
        panic!("the child ended");
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    fn traces(&self, of: &Marker) -> Traces {
        search(self.id(), of)
    }
}

impl Drop for Searched {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Calls of each process: the second finds everything warm.
const CALLS: usize = 3;

/// A call of the library in a process of its own, three times over; the answers were dropped.
struct Called {
    world: World,
    process: Searched,
}

impl Called {
    /// `variables` are the environment that the host is opened with; `reference` must give `value`.
    async fn new(
        allocation: Allocation,
        plan: Plan,
        variables: &[(&str, &Marker)],
        reference: &str,
        value: &Marker,
    ) -> Self {
        // Accepts and compiles the plugins, and writes the files.
        let world = plan.open();
        let variables: serde_json::Map<String, Json> =
            variables.iter().map(|(name, marker)| ((*name).to_owned(), turned(marker.text()).into())).collect();
        let mut process = Searched::start(&json!({
            "config": world.config,
            "folder": world.folder.path(),
            "allocation": if allocation == Allocation::OnDemand { "on demand" } else { "pooled" },
            "variables": variables,
        }));
        for _ in 0..CALLS {
            assert_eq!(process.does(&reference.into()), Digest::of(value.text().as_bytes()).to_string());
        }
        // Those that the caller has are found, so it is the right process and the right secret.
        assert!(process.traces(value).copies("plain") >= CALLS);
        process.does(&"drop".into());
        Self { world, process }
    }

    /// Nothing of `secret` is there, in any form.
    #[track_caller]
    fn holds_nothing_of(&self, secret: &Marker) {
        self.holds(secret, &[]);
    }

    /// Exactly so many copies are there, of these forms.
    #[track_caller]
    fn holds(&self, secret: &Marker, copies: &[(&str, usize)]) {
        let traces = self.process.traces(secret);
        let counts: Vec<(&str, usize)> = traces.counts().into_iter().collect();
        assert_eq!(counts, copies, "\n{traces}");
    }

    fn forget(&mut self) {
        self.process.does(&"forget".into());
    }

    async fn end(mut self, secrets: &[&Marker]) {
        self.process.does(&"close".into());
        for secret in secrets {
            self.holds_nothing_of(secret);
        }
        self.world.end().await;
    }
}

/// Runs `test` with the instances of the process allocated each way. The backends go on meanwhile.
fn under_both(test: impl AsyncFn(Allocation)) {
    for allocation in [Allocation::OnDemand, POOLED] {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(test(allocation));
    }
}

#[test]
fn the_search_finds_a_copy_in_every_form() {
    let (marker, other) = (Marker::new(), Marker::new());
    for (form, text) in marker.forms() {
        let kept = Searched::start(&json!({ "keep": [turned(&text)] }));
        // Pieces that two forms have in common are told as one of them.
        assert!(kept.traces(&marker).len() >= text.len() / PIECE, "{form}\n{}", kept.traces(&marker));
        assert!(kept.traces(&other).is_empty());
    }
    // The allocator wipes what is freed.
    let freed = Searched::start(&json!({ "free": [turned(marker.text())] }));
    assert!(freed.traces(&marker).is_empty());
    let nothing = Searched::start(&json!({}));
    assert!(nothing.traces(&marker).is_empty());
}

#[test]
fn a_variable_stays_where_it_came_from_and_nowhere_else() {
    under_both(async |allocation| {
        let value = Marker::new();
        let mut called =
            Called::new(allocation, Plan::new(allocation), &[("VALUE", &value)], "env:VALUE", &value).await;
        called.holds(&value, &[("plain", 1)]);
        called.forget();
        called.holds(&value, &[("plain", 1)]);
        called.end(&[&value]).await;
    });
}

#[test]
fn a_value_of_the_store() {
    under_both(async |allocation| {
        let value = Marker::new();
        let folder = tempfile::tempdir().unwrap();
        let writer = Plan::new(allocation)
            .store(folder.path())
            .config("[mounts.keys]\nplugin = \"keys\"\nwrite = true\n")
            .open();
        let reference = writer.strongroom.parse("keys://group/name").unwrap();
        writer.strongroom.set(&reference, &strongroom::Value::text(value.text()), &[], None).await.unwrap();
        writer.end().await;
        let called =
            Called::new(allocation, Plan::new(allocation).store(folder.path()), &[], "keys://group/name", &value).await;
        called.holds_nothing_of(&value);
        called.end(&[&value]).await;
    });
}

/// What a vault answers.
fn of_vault(value: &Marker) -> String {
    let metadata =
        json!({ "version": 1, "created_time": "2025-01-01T00:00:00Z", "deletion_time": "", "destroyed": false });
    json!({ "data": { "data": { "user": "app", "password": value.text() }, "metadata": metadata } }).to_string()
}

/// The example provider at `address`, with this manifest; with a credential if there is a token.
fn vault(allocation: Allocation, manifest: &str, address: &str, token: Option<&std::path::Path>) -> Plan {
    let plan = Plan::new(allocation).secure(address.replace("http://", "https://")).guest("vault-kv", manifest);
    let mount =
        format!("[mounts.vault]\nplugin = $VAULT-KV\nconfig = {{ address = \"{address}\" }}\nnetwork = \"loopback\"\n");
    let Some(token) = token else { return plan.config(&mount) };
    plan.config(&format!(
        "{mount}credential = \"v\"\n\
         [credentials.v]\nplugin = \"auth-token\"\nsealed = {{ token = \"file:{}\" }}\naudiences = [\"{address}\"]\n\
         [mounts.files]\nplugin = \"file\"\nconfig.folders = [\"{}\"]\n",
        token.display(),
        token.parent().unwrap().display(),
    ))
}

/// What is searched for in answers and in a program's output: these forms, one after the other, and the
/// value itself so often. Percent-encoding has forms with and without the slash.
fn with_plain(copies: usize) -> [(&'static str, usize); 9] {
    [
        ("HEX", 1),
        ("JSON, escaped", 1),
        ("base64", 1),
        ("base64+1", 1),
        ("base64+2", 1),
        ("hex", 1),
        ("percent", 2),
        ("percent, small", 2),
        ("plain", copies),
    ]
}

const REFERENCE: &str = "vault://secret/app/db#password";

#[test]
fn a_value_from_a_backend_in_the_clear() {
    under_both(async |allocation| {
        let value = Marker::new();
        let body = of_vault(&value);
        let backend = Backend::plain(move |_| answer("200 OK", "content-type: application/json\r\n", &body)).await;
        let manifest = vault_manifest();
        let manifest: String =
            manifest.lines().filter(|line| !line.starts_with("credential")).map(|line| format!("{line}\n")).collect();
        let plan = vault(allocation, &manifest, &backend.origin(), None);
        let called = Called::new(allocation, plan, &[], REFERENCE, &value).await;
        assert_eq!((backend.accepted(), backend.seen().len()), (1, CALLS), "the connection was kept");
        called.holds_nothing_of(&value);
        called.end(&[&value]).await;
    });
}

/// A value from a vault over TLS, with a token.
fn over_tls(http2: bool) {
    under_both(async |allocation| {
        let (value, token) = (Marker::new(), Marker::new());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, format!("{}\n", token.text())).unwrap();
        let body = of_vault(&value);
        let expected = token.text().to_owned();
        let answering = move |seen: &crate::backend::Seen| {
            assert_eq!(seen.header("x-vault-token"), Some(expected.as_str()));
            answer("200 OK", "content-type: application/json\r\n", &body)
        };
        let backend = if http2 { Backend::http2(answering).await } else { Backend::secure(answering).await };
        let mut manifest = vault_manifest();
        if http2 {
            manifest = manifest.replace("[[http]]\n", "[[http]]\nhttp2 = true\n");
        }
        let plan = vault(allocation, &manifest, &backend.origin(), Some(&file));
        let mut called = Called::new(allocation, plan, &[], REFERENCE, &value).await;
        assert_eq!((backend.accepted(), backend.seen().len()), (1, CALLS), "the connection was kept");
        // A connection that waits holds the last record that TLS opened. HTTP/2 also holds each answer,
        // until its buffer begins anew; with HTTP/1.1 that is wiped, and the last request is left.
        let traces = called.process.traces(&value);
        let most = if http2 { 1 + CALLS } else { 1 };
        assert_eq!(traces.counts().into_keys().collect::<Vec<_>>(), ["plain"], "\n{traces}");
        assert!(traces.copies("plain") <= most, "\n{traces}");
        // The token is kept to be used again, and what finds it in answers.
        let kept = if http2 { 2 } else { 3 };
        called.holds(&token, &with_plain(kept));
        // With the connections, and the token that is kept, all of it goes.
        called.forget();
        called.holds_nothing_of(&value);
        called.holds_nothing_of(&token);
        called.end(&[&value, &token]).await;
    });
}

#[test]
fn a_value_and_a_token_over_tls() {
    over_tls(false);
}

#[test]
fn a_value_and_a_token_over_http2() {
    over_tls(true);
}

#[test]
fn while_the_program_runs_only_masking_knows_the_value() {
    if !rustix::process::geteuid().is_root() {
        // Past the harness, which would keep it to itself.
        let _ = writeln!(std::io::stderr(), "skipped: only root can search the memory of an undumpable process");
        return;
    }
    let home = Home::new();
    home.configure("[mounts.keys]\nplugin = \"keys\"\nwrite = true\n");
    let (value, variable) = (Marker::new(), Marker::new());
    home.guard(value.text());
    home.guard(variable.text());
    home.put("keys://group/name", value.text());
    home.set("VARIABLE", variable.text());
    // What a variable is read from lives as long as the process: its own environment, and the copy of it.
    for (reference, marker, plain) in [("keys://group/name", &value, 1), ("env:VARIABLE", &variable, 3)] {
        let argument = format!("A={reference}");
        let mut running = home.sh(["-e", &argument], "echo ready; cat").open_input().start();
        running.output.wait_for("ready");
        let traces = search(running.id().as_raw_nonzero().get().unsigned_abs(), marker);
        assert_eq!(traces.counts().into_iter().collect::<Vec<_>>(), with_plain(plain), "{reference}\n{traces}");
    }
}
