//! Servers on this machine that answer as a test says, and names that lead to them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CrlDistributionPoint, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use strongroom::{Resolver, Resolving};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Who is asked for addresses: this machine for every name that ends in `.test`, unless it was told
/// otherwise. It remembers who was asked for.
#[derive(Debug, Default)]
pub struct Names {
    asked: Mutex<Vec<String>>,
    told: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
    mute: Mutex<bool>,
}

impl Names {
    /// The answers for `name`, one after the other; the last one stays.
    pub fn tell(&self, name: &str, answers: &[&[&str]]) {
        let answers = answers.iter().map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        self.told.lock().unwrap().insert(name.to_owned(), answers);
    }

    /// Never answers from now on.
    pub fn silence(&self) {
        *self.mute.lock().unwrap() = true;
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        self.asked.lock().unwrap().push(host.to_owned());
        let mut told = self.told.lock().unwrap();
        let answer = match told.get_mut(host) {
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers[0].clone()),
            None if host.ends_with(".test") => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let mute = *self.mute.lock().unwrap();
        Box::pin(async move {
            if mute {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            answer
        })
    }
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub connection: usize,
    pub head: String,
    pub length: usize,
}

impl Seen {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub fn path(&self) -> &str {
        self.line().split(' ').nth(1).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// What a server does with a request.
pub enum Reply {
    /// These bytes, and the connection stays open.
    Send(Vec<u8>),
    /// These bytes, and then the end.
    Close(Vec<u8>),
    /// These bytes, then those again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// Byte after byte, with a wait before each.
    Drip(Vec<u8>, Duration),
    /// Nothing, until the other side gives up.
    Silence,
}

/// A whole answer with these headers (each line ended) and this body.
pub fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    Reply::Send([head.as_bytes(), body].concat())
}

pub fn ok(body: impl AsRef<[u8]>) -> Reply {
    answer("200 OK", "", body)
}

#[derive(Default)]
struct Record {
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

pub struct Backend {
    pub port: u16,
    secure: bool,
    record: Arc<Record>,
    task: tokio::task::JoinHandle<()>,
}

type Answering = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

impl Backend {
    /// HTTP in the clear.
    pub async fn plain(answering: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, false, Arc::new(answering)).await
    }

    /// HTTPS with a certificate for `vault.test`.
    pub async fn secure(answering: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Some(authority().acceptor("vault.test", &[])), false, Arc::new(answering)).await
    }

    /// HTTPS with a certificate for `name`.
    pub async fn named(name: &str, answering: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Some(authority().acceptor(name, &[])), false, Arc::new(answering)).await
    }

    /// The same in HTTP/2 alone.
    pub async fn http2(answering: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Some(authority().acceptor("vault.test", &[b"h2"])), false, Arc::new(answering)).await
    }

    /// HTTPS with a certificate for another name.
    pub async fn impostor() -> Self {
        Self::start(Some(authority().acceptor("other.test", &[])), false, Arc::new(|_| ok("impostor"))).await
    }

    /// Takes connections and says nothing, not even in TLS.
    pub async fn mute() -> Self {
        Self::start(None, true, Arc::new(|_| Reply::Silence)).await
    }

    async fn start(tls: Option<TlsAcceptor>, mute: bool, answering: Answering) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::new(Record::default());
        let secure = tls.is_some() || mute;
        let shared = record.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tls, answering, record) = (tls.clone(), answering.clone(), shared.clone());
                let number = record.accepted.fetch_add(1, Ordering::SeqCst);
                record.open.fetch_add(1, Ordering::SeqCst);
                connections.spawn(async move {
                    let open = Open(record.clone());
                    match tls {
                        _ if mute => until_closed(&mut stream).await,
                        None => serve(stream, number, &answering, &record).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                match stream.get_ref().1.alpn_protocol() {
                                    Some(b"h2") => serve_http2(stream, number, answering, record).await,
                                    _ => serve(stream, number, &answering, &record).await,
                                }
                            }
                        }
                    }
                    drop(open);
                });
            }
        });
        Self { port, secure, record, task }
    }

    /// The origin under which a plugin reaches it.
    pub fn origin(&self) -> String {
        let (scheme, host) = if self.secure { ("https", "vault") } else { ("http", "plain") };
        format!("{scheme}://{host}.test:{}", self.port)
    }

    pub fn authority(&self) -> String {
        self.origin().split_once("://").unwrap().1.to_owned()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.record.seen.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.record.accepted.load(Ordering::SeqCst)
    }

    /// Waits until the other side has closed all connections but `kept`.
    pub async fn until_open(&self, kept: usize) {
        let all_closed = async {
            while self.record.open.load(Ordering::SeqCst) > kept {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all_closed).await.expect("connections were left open");
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Open(Arc<Record>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    connection: usize,
    answering: &Answering,
    to: &Record,
) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let seen = Seen { connection, head, length: body.len() };
        let reply = answering(&seen);
        to.seen.lock().unwrap().push(seen);
        let sent = match reply {
            Reply::Send(bytes) => write(&mut stream, &bytes).await,
            Reply::Close(bytes) => {
                let _ = write(&mut stream, &bytes).await;
                let _ = stream.shutdown().await;
                until_closed(&mut stream).await;
                return;
            }
            Reply::Endless(head, again) => {
                let _ = write(&mut stream, &head).await;
                while write(&mut stream, &again).await.is_ok() {}
                return;
            }
            Reply::Drip(bytes, wait) => {
                for byte in bytes {
                    tokio::time::sleep(wait).await;
                    if write(&mut stream, &[byte]).await.is_err() {
                        return;
                    }
                }
                Ok(())
            }
            Reply::Silence => {
                until_closed(&mut stream).await;
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The same in HTTP/2, for answers that are whole.
async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    connection: usize,
    answering: Answering,
    to: Arc<Record>,
) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut head = format!("{} {} HTTP/2\r\n", request.method(), request.uri().path());
        for (name, value) in request.headers() {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        let seen = Seen { connection, head, length: 0 };
        let Reply::Send(bytes) = answering(&seen) else { panic!("an answer of another kind") };
        to.seen.lock().unwrap().push(seen);
        let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        std::future::ready(Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(bytes).slice(body..)))))
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn until_closed<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut sink = [0; 1024];
    while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {}
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(seen).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// A certificate authority, the operator's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

pub fn authority() -> &'static Authority {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    });
    &AUTHORITY
}

impl Authority {
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name` whose revocation may be asked about at `revoked`, and its key, as PEM.
    pub fn issue(&self, name: &str, revoked: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![revoked.to_owned()] }];
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn acceptor(&self, name: &str, protocols: &[&[u8]]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(leaf)], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}
