//! The listeners: TLS for every name, plain HTTP for local endpoints and control, and a proxy. Here
//! answers are delayed, cut or dropped; it must never connect to anything but this machine.

use std::fmt;
use std::net::{Ipv4Addr, TcpListener as Listener};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::control;
use crate::entra::{Landing, browse};
use crate::faults::End;
use crate::http::{Answer, Call, find};
use crate::record::Entry;
use crate::world::World;

/// A backup of a secret with many versions is the largest that comes.
const BODY_MOST: usize = 4 << 20;
/// A program that waits for its browser answers at once, or never.
const LANDING_SECONDS: u64 = 10;
/// What is sent of a cut answer has this long to leave before the connection is closed.
const CUT_MILLISECONDS: u64 = 20;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) lock: Mutex<World>,
    ports: [u16; 3],
    connections: AtomicU64,
}

impl Shared {
    pub(crate) fn new(world: World, ports: [u16; 3]) -> Self {
        Self { lock: Mutex::new(world), ports, connections: AtomicU64::new(0) }
    }

    /// Whether a name is served with TLS; one that is not is written down.
    pub(crate) fn serves(&self, name: &str) -> bool {
        let mut world = self.world();
        let serves = !is_local(name) && world.service_of(name, "/").is_some();
        if !serves {
            world.record.unknown_host(name);
        }
        serves
    }

    /// Counts a connection and gives its number.
    fn connected(&self) -> u64 {
        let mut world = self.world();
        world.record.connections = world.record.connections.saturating_add(1);
        self.connections.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }
}

/// Addresses that local endpoints have.
fn is_local(name: &str) -> bool {
    matches!(name, "127.0.0.1" | "localhost" | "[::1]" | "169.254.169.254")
}

/// How a request came.
#[derive(Clone)]
struct Way {
    /// The name of the TLS session; none without TLS.
    name: Option<String>,
    /// Through the proxy's port.
    proxy: bool,
    connection: u64,
}

/// Serves until the other end of `stopped` is used or dropped.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    listeners: [Listener; 3],
    config: ServerConfig,
    stopped: oneshot::Receiver<()>,
) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let [https, http, proxy] = listeners.map(TcpListener::from_std);
    let (Ok(https), Ok(http), Ok(proxy)) = (https, http, proxy) else { return };
    tokio::select! {
        _ = stopped => {}
        () = secure(Arc::clone(&shared), https, acceptor) => {}
        () = plain(Arc::clone(&shared), http, false) => {}
        () = plain(shared, proxy, true) => {}
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            return stream;
        }
        // Out of descriptors: others end.
        sleep(Duration::from_millis(10)).await;
    }
}

async fn secure(shared: Arc<Shared>, listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let stream = accept(&listener).await;
        let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let name = stream.get_ref().1.server_name().map(str::to_ascii_lowercase);
            let connection = shared.connected();
            converse(shared, stream, Way { name: Some(name.unwrap_or_default()), proxy: false, connection }).await;
        });
    }
}

async fn plain(shared: Arc<Shared>, listener: TcpListener, proxy: bool) {
    loop {
        let stream = accept(&listener).await;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A tunnel's connection counts where it leads.
            let connection = if proxy { 0 } else { shared.connected() };
            converse(shared, stream, Way { name: None, proxy, connection }).await;
        });
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(shared: Arc<Shared>, stream: S, way: Way) {
    let service = service_fn(move |request| handle(Arc::clone(&shared), way.clone(), request));
    // What goes wrong with a connection is the client's to notice.
    let _ = Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// The connection is closed without an answer.
#[derive(Debug)]
struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a fault dropped the connection")
    }
}

impl std::error::Error for Dropped {}

async fn handle(shared: Arc<Shared>, way: Way, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    if way.proxy && request.method() == Method::CONNECT {
        return Ok(tunnel(&shared, request));
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_MOST).collect().await else {
        return Ok(Answer::error(413, "RequestTooLarge", "The body is too large, or broke off.").response());
    };
    let host = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = host.or_else(|| Some(parts.headers.get("host")?.to_str().ok()?.to_owned())).unwrap_or_default();
    let name = host_name(&host);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let call = Call::new(parts.method, &name, target, parts.headers, body.to_bytes().to_vec());
    match &way.name {
        // No client may take one name's certificate for another's.
        Some(session) if *session != name => return Ok(misdirected()),
        None if !is_local(&name) => return Ok(misdirected()),
        _ => {}
    }
    if way.name.is_none() && call.segments.first().is_some_and(|first| first == "control") {
        return Ok(answer_control(&shared, &call).await.response());
    }
    answer(shared, way, parts.version, call).await
}

fn misdirected() -> Response<Body> {
    Answer::error(421, "MisdirectedRequest", "The fake Azure has no such name here.").response()
}

/// Without the port, in lower case.
fn host_name(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.to_ascii_lowercase()
}

/// A request under way: written to the record when it is over, however it ends.
struct UnderWay {
    shared: Arc<Shared>,
    entry: Option<Entry>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared.world().record.end(entry);
        }
    }
}

async fn answer(shared: Arc<Shared>, way: Way, version: Version, call: Call) -> Result<Response<Body>, Dropped> {
    let (under_way, answer, delay, end) = {
        let mut world = shared.world();
        let Some(service) = world.service_of(&call.host, &call.path) else {
            return Ok(Answer::error(404, "NotFound", "The fake Azure has no such path here.").response());
        };
        let mut entry = Entry::new(service, &call, way.connection, &format!("{version:?}"));
        world.record.begin(service);
        let met = world.faults.meet(service, &call);
        let answer = met.instead(service, world.clock.now()).unwrap_or_else(|| world.answer(service, &call));
        let answer = met.change(answer);
        entry.fault = met.names();
        entry.status = if met.end() == End::Dropped { 0 } else { answer.status };
        let delay = world.settings.latency_ms.saturating_add(met.delay());
        (UnderWay { shared: Arc::clone(&shared), entry: Some(entry) }, answer, delay, met.end())
    };
    if delay > 0 {
        sleep(Duration::from_millis(delay)).await;
    }
    drop(under_way);
    match end {
        End::Whole => Ok(answer.response()),
        End::Dropped => Err(Dropped),
        End::Truncated => {
            let whole = answer.body.len();
            let half = Half { data: Some(answer.body.iter().copied().take(whole / 2).collect()), whole, wait: None };
            let response = Answer { body: Vec::new(), ..answer }.with("Content-Length", &whole.to_string()).response();
            Ok(response.map(|_| Body::new(half)))
        }
    }
}

/// Half of a body that was announced whole.
struct Half {
    data: Option<Bytes>,
    whole: usize,
    wait: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Half {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(CUT_MILLISECONDS))));
        wait.as_mut().poll(context).map(|()| Some(Err(Dropped)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.whole).unwrap_or(u64::MAX))
    }
}

/// Leads a tunnel to the TLS port, if the name is one of the fake's.
fn tunnel(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let name = request.uri().host().unwrap_or_default().to_ascii_lowercase();
    if !shared.serves(&name) {
        return Answer::text(502, "text/plain", &format!("the fake Azure has no host {name}")).response();
    }
    let port = shared.ports[0];
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
        let _ = server.set_nodelay(true);
        let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut server).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    response
}

async fn answer_control(shared: &Shared, call: &Call) -> Answer {
    if call.segments.iter().map(String::as_str).eq(["control", "browse"]) {
        let url = call.json().and_then(|body| Some(body.get("url")?.as_str()?.to_owned()));
        let url = url.or_else(|| find(&call.form(), "url").map(str::to_owned)).unwrap_or_default();
        let landing = browse(&mut shared.world(), &url);
        return match landing {
            Err(why) => Answer::error(400, "Browser", &why),
            Ok(landing) => match timeout(Duration::from_secs(LANDING_SECONDS), land(&landing)).await {
                Ok(Ok(page)) => Answer::text(200, "text/plain", &page),
                Ok(Err(error)) => Answer::error(502, "Browser", &format!("{}: {error}", landing.redirect_uri)),
                Err(_) => Answer::error(504, "Browser", &format!("{} did not answer", landing.redirect_uri)),
            },
        };
    }
    control::answer(&mut shared.world(), call)
}

/// Goes where the authority's page sends the browser: a loopback address, as the page has checked.
async fn land(landing: &Landing) -> std::io::Result<String> {
    let rest = landing.redirect_uri.strip_prefix("http://").unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80);
    let name = if authority.starts_with("[::1]") { "::1" } else { "127.0.0.1" };
    let mut stream = TcpStream::connect((name, port)).await?;
    let fields = landing.encoded();
    let request = if landing.post {
        format!(
            "POST /{path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: \
             {}\r\nConnection: close\r\n\r\n{fields}",
            fields.len()
        )
    } else {
        format!("GET /{path}?{fields} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")
    };
    stream.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
