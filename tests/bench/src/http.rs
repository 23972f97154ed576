//! One secret from a server on this machine: the plugin `vault-kv` in a fresh sandbox, beside a bare
//! hyper client that sends the same request and takes the same answer apart.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Body;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use strongroom::{Allocation, Compiler, Setup, Strongroom};
use strongroom_core::Lock;
use strongroom_core::lock::Locked;
use tokio_rustls::TlsConnector;

use crate::calls::POOLED;
use crate::measure::{in_turn, more, row};
use crate::server::{Server, start};

const ROUNDS: usize = 10_000;

/// The example provider, as `cargo xtask test` builds it.
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/bundled/examples/vault-kv.wasm");

/// Both, with or without TLS.
///
/// # Errors
/// What one of the two says.
pub async fn get(tls: bool) -> Result<()> {
    let server = start(tls)?;
    let folder = tempfile::tempdir()?;
    let host = host(&server, tls, folder.path(), POOLED)?;
    let reference = [host.parse("vault://secret/app/db#password")?];
    let mut client = connect(&server, tls).await?;
    let ours = async || {
        for answer in host.resolve_all(&reference).await {
            let secret = answer.map_err(|failure| anyhow::anyhow!("{failure} {:?}", failure.helps()))?;
            if secret.expose() != b"a value of some bytes" {
                bail!("the library did not answer");
            }
        }
        Ok(())
    };
    let bare = async || {
        let request = Request::get("/v1/secret/data/app/db")
            .header("host", format!("localhost:{}", server.address.port()))
            .header("x-vault-request", "true")
            .header("x-vault-token", "a token of some bytes")
            .body(Empty::<Bytes>::new())?;
        let answer = client.send_request(request).await?.into_body().collect().await?.to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        if answer.pointer("/data/data/password").and_then(|value| value.as_str()) != Some("a value of some bytes") {
            bail!("the bare client got another answer");
        }
        Ok(())
    };
    let (ours, least) = in_turn(ROUNDS, ours, bare).await?;
    let (what, target) = if tls { ("with TLS", "40 us more") } else { ("plain", "25 us more") };
    row(&format!("one secret from a local HTTP server, {what}"), ours, least, &more(ours, least), target);
    Ok(())
}

/// Gets one secret `count` times in the clear, for a tool that counts instructions.
///
/// # Errors
/// What the library says.
pub async fn hot(count: usize) -> Result<()> {
    let (server, folder) = (start(false)?, tempfile::tempdir()?);
    let host = host(&server, false, folder.path(), Allocation::OnDemand)?;
    let reference = [host.parse("vault://secret/app/db#password")?];
    for _ in 0..count {
        for answer in host.resolve_all(&reference).await {
            answer?;
        }
    }
    Ok(())
}

/// Makes a comment of the manifest's line on its credential, which is never sent in the clear.
fn without_credential(plugin: &mut [u8]) -> Result<()> {
    let line = b"credential = {";
    let at = plugin.windows(line.len()).position(|window| window == line).context("the manifest has no such line")?;
    plugin.get_mut(at..).into_iter().flatten().take_while(|byte| **byte != b'\n').for_each(|byte| *byte = b'#');
    Ok(())
}

/// A host whose one mount is the plugin, with a credential whose token the server never checks.
fn host(server: &Server, tls: bool, folder: &std::path::Path, allocation: Allocation) -> Result<Strongroom> {
    let address = format!("{}://localhost:{}", if tls { "https" } else { "http" }, server.address.port());
    std::fs::write(folder.join("ca.pem"), &server.authority)?;
    let mut plugin = std::fs::read(PLUGIN).context("the example is built by `cargo xtask test`")?;
    if !tls {
        without_credential(&mut plugin)?;
    }
    std::fs::write(folder.join("vault-kv.wasm"), plugin)?;
    let mut setup = Setup::from_toml("", folder);
    setup.environment = strongroom::Environment::from_iter([("TOKEN".into(), "a-token-of-some-bytes".into())]);
    setup.allocation = allocation;
    setup.paths = strongroom::Paths {
        config: None,
        state: Some(folder.join("state")),
        cache: Some(folder.join("cache")),
        ..Default::default()
    };
    // By its name: a tool that counts instructions is what /proc/self/exe would be.
    let program = std::env::args_os().next().unwrap_or_default().into();
    setup.compiler = Some(Compiler { program, args: vec![Compiler::ARGUMENT.into()] });
    let nothing = Setup { source: strongroom::Source::Nothing, ..setup.clone() };
    let (manifest, digest, rights) = Strongroom::open(nothing)?.look_at_plugin(&folder.join("vault-kv.wasm"))?;
    let mut lock = Lock::default();
    lock.insert(Locked { name: manifest.name.clone(), version: manifest.version.clone(), digest, rights });
    std::fs::write(folder.join("strongroom.lock"), lock.to_toml()?)?;
    let text = format!(
        r#"
[mounts.vault]
plugin = {{ path = "vault-kv.wasm", digest = "{digest}" }}
config = {{ address = "{address}" }}
network = "loopback"
# A tool that counts instructions is slow.
limits.cpu = "20s"
{}

[credentials.token]
plugin = "auth-token"
sealed = {{ token = "${{{{env:TOKEN}}}}" }}
audiences = ["{address}"]

[ca.test]
file = "ca.pem"
hosts = ["localhost:{}"]
"#,
        if tls { "credential = \"token\"" } else { "" },
        server.address.port()
    );
    setup.source = strongroom::Source::Text { text, folder: folder.to_owned() };
    Ok(Strongroom::open(setup)?)
}

async fn connect(server: &Server, tls: bool) -> Result<SendRequest<Empty<Bytes>>> {
    if !tls {
        let stream = tokio::net::TcpStream::connect(server.address).await?;
        stream.set_nodelay(true)?;
        let (client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn(connection);
        return Ok(client);
    }
    connect_tls(server.address, "localhost", &server.authority).await
}

/// A bare client of `name` at `address`, with HTTP/1.1 over TLS, which trusts `authority` (PEM) alone.
///
/// # Errors
/// If nobody listens there, or is somebody else.
pub async fn connect_tls<B>(address: SocketAddr, name: &'static str, authority: &str) -> Result<SendRequest<B>>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name)?, stream).await?;
    let (client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn(connection);
    Ok(client)
}
