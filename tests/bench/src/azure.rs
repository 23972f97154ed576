//! The fake Azure in a process of its own, so that what it holds and does is not counted as ours, and a
//! host whose mounts are there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use serde_json::{Value, json};
use strongroom::{Allocation, Setup, Strongroom};

use crate::http;

/// The vault of all figures.
pub const VAULT: &str = "mykeyvault.vault.azure.net";
/// Who signs in.
const AUTHORITY: &str = "login.microsoftonline.com";
/// Where connections are.
const ARM: &str = "management.azure.com";

/// A fake that runs; dropping it ends it.
pub struct Azure {
    process: Child,
    facts: Vec<(String, String)>,
    /// The PEM of the authority that its certificates are from.
    pub authority: String,
}

impl Azure {
    /// Starts the program that lies beside this one.
    ///
    /// # Errors
    /// If it is not built, or does not start.
    pub fn start() -> Result<Self> {
        // By its name: a tool that counts instructions is what /proc/self/exe would be.
        let own = PathBuf::from(std::env::args_os().next().unwrap_or_default());
        let program = own.with_file_name("fake-azure");
        let started = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = started.with_context(|| format!("{} is built by `cargo xtask bench`", program.display()))?;
        let mut facts = Vec::new();
        let told = process.stdout.take().context("its output is a pipe")?;
        for line in BufReader::new(told).lines() {
            let line = line?;
            if line == "ready" {
                break;
            }
            facts.extend(line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        let mut azure = Self { process, facts, authority: String::new() };
        azure.authority = std::fs::read_to_string(azure.fact("ca-file")?)?;
        Ok(azure)
    }

    /// What it told when it started.
    ///
    /// # Errors
    /// If it did not tell that.
    pub fn fact(&self, name: &str) -> Result<&str> {
        let found = self.facts.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).with_context(|| format!("the fake did not tell its {name}"))
    }

    /// Where a service's names lead.
    fn address(&self) -> Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, self.fact("https-port")?.parse()?).into())
    }

    /// The client secret of the service principal that may do everything.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn client_secret(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.fact("client-secret-file")?)?.trim().to_owned())
    }

    /// Asks its control. A null body is none.
    ///
    /// # Errors
    /// What it answers, if that is no success.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let port: u16 = self.fact("http-port")?.parse()?;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        write!(
            stream,
            "{method} /control/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("control answers in HTTP")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("control refused {method} {path}: {body}");
        }
        Ok(serde_json::from_str(body)?)
    }

    /// Puts `count` secrets `bench-0` and so on into the vault, each with its [`value`].
    ///
    /// # Errors
    /// What control says.
    pub fn fill(&self, count: usize) -> Result<()> {
        let secret = |number| json!({"vault": VAULT, "name": format!("bench-{number}"), "value": value(number)});
        let secrets: Vec<Value> = (0..count).map(secret).collect();
        self.control("POST", "seed", &json!({ "secrets": secrets })).map(drop)
    }

    /// The config of a host for which all of Azure is here. `more` goes to the end of the vault's mount.
    ///
    /// # Errors
    /// If the fake did not tell what it needs.
    pub fn config(&self, folder: &Path, more: &str) -> Result<String> {
        std::fs::write(folder.join("ca.pem"), &self.authority)?;
        let address = self.address()?;
        Ok(format!(
            r#"
[mounts.vault]
plugin = "azure-key-vault"
credential = "corp"
hosts = ["{VAULT}"]
write = true
{more}

[mounts.azureml]
plugin = "azure-workspace-connection"
credential = "corp"
config = {{ subscription = "{}", resource_group = "{}", workspace = "{}" }}

[credentials.corp]
plugin = "service-principal"
config = {{ tenant = "{}", client_id = "{}" }}
sealed = {{ client_secret = "${{{{env:CLIENT_SECRET}}}}" }}
audiences = ["https://vault.azure.net", "https://management.azure.com"]
limits.cpu = "20s"
limits.deadline = "5m"

[ca.fake]
file = "ca.pem"
hosts = ["{VAULT}", "{AUTHORITY}", "{ARM}"]

[addresses]
"{VAULT}" = "{address}"
"{AUTHORITY}" = "{address}"
"{ARM}" = "{address}"
"#,
            self.fact("subscription")?,
            self.fact("resource-group")?,
            self.fact("workspace")?,
            self.fact("tenant")?,
            self.fact("client-id")?,
        ))
    }

    /// How to open a host with this config, which keeps what it keeps below `folder`.
    ///
    /// # Errors
    /// If the client secret cannot be read.
    pub fn setup(&self, folder: &Path, config: String, allocation: Allocation) -> Result<Setup> {
        let mut setup = Setup::from_toml(config, folder);
        setup.environment =
            strongroom::Environment::from_iter([("CLIENT_SECRET".into(), self.client_secret()?.into())]);
        setup.allocation = allocation;
        setup.paths = strongroom::Paths {
            config: None,
            state: Some(folder.join("state")),
            cache: Some(folder.join("cache")),
            ..Default::default()
        };
        setup.keys = strongroom::Keys { no_keyring: true, ..strongroom::Keys::default() };
        Ok(setup)
    }

    /// A host as [`Azure::setup`] says.
    ///
    /// # Errors
    /// What is wrong with the config.
    pub fn host(&self, folder: &Path, more: &str, allocation: Allocation) -> Result<Strongroom> {
        let config = self.config(folder, more)?;
        Ok(Strongroom::open(self.setup(folder, config, allocation)?)?)
    }

    /// A bare client of the vault.
    ///
    /// # Errors
    /// If it cannot connect or sign in.
    pub async fn bare(&self) -> Result<Bare> {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fvault.azure.net%2F.default",
            self.fact("client-id")?,
            self.client_secret()?
        );
        let request = Request::post(format!("/{}/oauth2/v2.0/token", self.fact("tenant")?))
            .header("host", AUTHORITY)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))?;
        let mut authority = http::connect_tls(self.address()?, AUTHORITY, &self.authority).await?;
        let answer = authority.send_request(request).await?.into_body().collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&answer)?;
        let token = answer.get("access_token").and_then(Value::as_str).context("the fake gives a token")?;
        let sender = http::connect_tls(self.address()?, VAULT, &self.authority).await?;
        Ok(Bare { sender, authorization: format!("Bearer {token}") })
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        // Its standard input is closed: it ends by itself, and its folder with it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// What the secret `bench-NUMBER` holds.
pub fn value(number: usize) -> String {
    format!("value-of-bench-{number}-of-some-bytes")
}

/// The least that gets a secret: one connection, one token, one request, one JSON document.
pub struct Bare {
    sender: SendRequest<Full<Bytes>>,
    authorization: String,
}

impl Bare {
    /// Gets `bench-NUMBER`.
    ///
    /// # Errors
    /// If it is not what it should be.
    pub async fn get(&mut self, number: usize) -> Result<()> {
        let request = Request::get(format!("/secrets/bench-{number}?api-version=7.4"))
            .header("host", VAULT)
            .header("accept", "application/json")
            .header("authorization", &self.authorization)
            .body(Full::default())?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?.into_body().collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&answer)?;
        if answer.get("value").and_then(Value::as_str) != Some(&*value(number)) {
            bail!("the bare client got another answer");
        }
        Ok(())
    }
}
