//! Clients of a server that is measured, in a process of their own: what they ask, and connections that do nothing or
//! next to nothing. `tests/bench/serve` drives them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsConnector;

/// How many handshakes are under way at once.
const HANDSHAKES: usize = 64;

/// How often a slow client sends one more byte of its request's head.
const BYTE: Duration = Duration::from_secs(3);

/// Who is asked, and what: `FOLDER/ca.pem` and `FOLDER/request`, the whole head of a request.
pub struct Target {
    port: u16,
    tls: Arc<ClientConfig>,
    /// The whole head.
    pub request: Arc<[u8]>,
}

impl Target {
    /// What the folder says of it.
    ///
    /// # Errors
    /// What is not in the folder.
    pub fn read(folder: &Path, port: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("ca.pem"))?)?;
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let request = fs::read(folder.join("request")).context("the request is in the folder")?;
        Ok(Self { port: port.parse()?, tls: Arc::new(tls), request: request.into() })
    }

    /// A connection on which it was asked once.
    ///
    /// # Errors
    /// Whatever keeps it from being there.
    pub fn connect(&self) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        let client = ClientConnection::new(Arc::clone(&self.tls), server_name()?)?;
        let mut stream = StreamOwned::new(client, stream);
        ask(&mut stream, &self.request)?;
        Ok(stream)
    }
}

fn server_name() -> Result<ServerName<'static>> {
    Ok(ServerName::try_from("localhost")?)
}

/// How long the answer is that begins with these bytes, once its head is there.
///
/// # Errors
/// It is no 200.
pub fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        bail!("it was answered {}", String::from_utf8_lossy(answer));
    }
    let body = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("an answer has a length")?;
    Ok(Some(end + 4 + body.trim().parse::<usize>()?))
}

fn ask(stream: &mut (impl Read + Write), request: &[u8]) -> Result<()> {
    stream.write_all(request)?;
    let mut answer = Vec::with_capacity(2048);
    let mut buffer = [0; 2048];
    loop {
        if length(&answer)?.is_some_and(|length| answer.len() >= length) {
            return Ok(());
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            bail!("the connection ended");
        }
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
}

/// Opens `idle` connections that ask once and then stay, and `slow` ones that never come to the end of a request's head,
/// prints `ready`, and keeps them until its standard input is closed. Then it prints `closed=`: how many the
/// server had ended by then.
///
/// # Errors
/// A connection that cannot be had.
pub fn connections(folder: &Path, port: &str, idle: &str, slow: &str) -> Result<()> {
    let _ = strongroom_process::raise_file_limit();
    let (idle, slow): (usize, usize) = (idle.parse()?, slow.parse()?);
    let target = Arc::new(Target::read(folder, port)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (handshakes, closed) = (Arc::new(Semaphore::new(HANDSHAKES)), Arc::new(AtomicUsize::new(0)));
        let mut opening = tokio::task::JoinSet::new();
        for number in 0..idle + slow {
            let (target, handshakes) = (Arc::clone(&target), Arc::clone(&handshakes));
            let closed = Arc::clone(&closed);
            opening.spawn(async move {
                let _one = handshakes.acquire().await?;
                let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, target.port)).await?;
                let stream = TlsConnector::from(Arc::clone(&target.tls)).connect(server_name()?, stream).await?;
                let (opened, open) = oneshot::channel();
                let request = Arc::clone(&target.request);
                tokio::spawn(async move {
                    // What goes wrong with it is that it ends.
                    let _ = stay(stream, &request, number >= idle, opened).await;
                    closed.fetch_add(1, Ordering::Relaxed);
                });
                open.await.context("a connection ended before its first answer")
            });
        }
        while let Some(opened) = opening.join_next().await {
            opened??;
        }
        println!("ready");
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        println!("closed={}", closed.load(Ordering::Relaxed));
        Ok(())
    })
}

/// Stays as long as the server lets it.
async fn stay<S>(mut stream: S, request: &[u8], slow: bool, opened: oneshot::Sender<()>) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = [0; 2048];
    if slow {
        let _ = opened.send(());
        for byte in request {
            stream.write_all(&[*byte]).await?;
            stream.flush().await?;
            if let Ok(read) = tokio::time::timeout(BYTE, stream.read(&mut buffer)).await {
                bail!("the server did not wait: {read:?}");
            }
        }
        bail!("the whole head was sent");
    }
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while length(&answer)?.is_none_or(|length| answer.len() < length) {
        let count = stream.read(&mut buffer).await?;
        answer.extend_from_slice(buffer.get(..count).filter(|read| !read.is_empty()).context("no answer")?);
    }
    let _ = opened.send(());
    match stream.read(&mut buffer).await? {
        0 => Ok(()),
        more => bail!("{more} bytes that nobody asked for"),
    }
}
