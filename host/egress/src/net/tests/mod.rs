//! The client against real servers on this machine, most of them hostile.
//!
//! Every request carries secrets in its path, a header and its body, and every error is searched for
//! them: see [`Bench::send`].

mod addresses;
mod fetch;
mod http2;
mod limits;
mod plain;
mod pool;
#[cfg(target_os = "linux")]
mod residue;
mod tls;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use strongroom_core::Network;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::resolver::{Resolver, Resolving};
use super::{Answer, Cas, Client, Destination, Limits, Outgoing, SendError, Settings};

/// What no error may show.
const SECRET: &str = "S3CR3T";

/// Longer than anything here takes, short enough that a hang fails.
const LONG: Duration = Duration::from_secs(20);

/// Answers by a script; the last answer stays.
#[derive(Debug, Default)]
struct Fake {
    script: Mutex<VecDeque<Result<Vec<IpAddr>, io::ErrorKind>>>,
    asked: AtomicUsize,
    /// Never answers.
    mute: bool,
}

impl Fake {
    fn new(script: Vec<Result<Vec<IpAddr>, io::ErrorKind>>) -> Self {
        Self { script: Mutex::new(script.into()), ..Self::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolver for Fake {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.mute {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            let mut script = self.script.lock().unwrap();
            let answer = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
            answer.unwrap_or(Ok(vec![Ipv4Addr::LOCALHOST.into()])).map_err(io::Error::from)
        })
    }
}

/// A client and its resolver.
struct Bench {
    client: Client,
    resolver: Arc<Fake>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Fake::default(), Settings::default())
    }

    /// Nothing is read from this machine's own bundles.
    fn with(resolver: Fake, settings: Settings) -> Self {
        let resolver = Arc::new(resolver);
        let bundles = if settings.bundles == Settings::default().bundles { vec![] } else { settings.bundles.clone() };
        Self { client: Client::new(resolver.clone(), Settings { bundles, ..settings }), resolver }
    }

    /// Sends, and looks into the error for what must not be there.
    async fn send(&self, to: &Destination, outgoing: Outgoing, limits: &Limits) -> Result<Answer, SendError> {
        let result = tokio::time::timeout(LONG, self.client.exchange(to, outgoing, limits)).await.expect("it hangs");
        if let Err(error) = &result {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(SECRET), "{shown}");
        }
        result
    }

    async fn get(&self, to: &Destination) -> Result<Answer, SendError> {
        self.send(to, outgoing(Method::GET, ""), &limits()).await
    }
}

fn limits() -> Limits {
    Limits {
        deadline: Instant::now() + LONG,
        connect: None,
        first_byte: None,
        between_bytes: None,
        header_bytes: super::MAX_HEAD_BYTES,
        body_bytes: 64 * 1024,
    }
}

fn outgoing(method: Method, body: &'static str) -> Outgoing {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {SECRET}").parse().unwrap());
    Outgoing {
        method,
        path_and_query: format!("/v1/{SECRET}?q={SECRET}").parse().unwrap(),
        headers,
        body: Bytes::from_static(body.as_bytes()),
    }
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

/// A server on this machine that does as its handler says.
struct Server {
    port: u16,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Each connection goes to `handler`, with its number.
    async fn start<F, Fut>(handler: F) -> Self
    where
        F: Fn(usize, TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(), handler)
    }

    fn on<F, Fut>(listener: TcpListener, handler: F) -> Self
    where
        F: Fn(usize, TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(handler(counter.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        Self { port, accepted, task }
    }

    /// Answers each request with the same bytes, and then keeps the connection open.
    async fn canned(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                while read_request(&mut stream).await.is_some() {
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers the first request of each connection, and closes it.
    async fn closing(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                // Closing with unread bytes would reset the connection and could lose the answer.
                let _ = stream.read(&mut [0]).await;
            }
        })
        .await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn to(&self) -> Destination {
        Destination {
            secure: false,
            host: "h.test".into(),
            port: self.port,
            network: Network::Loopback,
            http2: false,
            partition: [0; 32],
            cas: Cas::default(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request as it came, head and body; `None` at the end of the connection.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(seen).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

/// Waits until the other side has closed.
async fn until_closed<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut sink = [0; 1024];
    while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {}
}

/// Something that a server tells the test.
#[derive(Clone, Default)]
struct Flag(Arc<Notify>);

impl Flag {
    fn raise(&self) {
        self.0.notify_one();
    }

    async fn raised(&self) {
        tokio::time::timeout(LONG, self.0.notified()).await.expect("it never happened");
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
