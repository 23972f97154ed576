//! One connection: hyper's HTTP/1.1 with limits on everything a client decides, and a way to end it between requests.
//!
//! It must never wait without a limit: for a handshake, a header, a body or a reader.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tower::Service;

use crate::listener::Peer;

/// How long a TLS handshake may take.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a client may take to send the head of a request, or stay without sending any; at most a quarter longer.
const HEAD: Duration = Duration::from_secs(60);

/// The same once the server stops.
const HEAD_AT_STOP: Duration = Duration::from_secs(2);

/// How often that is looked at: a timer for each request would cost more than most answers.
const LOOKS: u32 = 4;

/// How long a client may leave an answer unread.
const WRITE: Duration = Duration::from_secs(30);

/// The largest head of a request that is read, in bytes. Doors take half of that, and refuse what is larger in their own words;
/// what is larger still ends here without a word, and so does what has more than hyper's hundred headers.
const MAX_HEAD_BYTES: usize = 2 * crate::doors::MAX_HEAD_BYTES;

/// Serves a connection until its end, or until `stop` says so and the running request is answered.
///
/// Most connections do nothing most of the time: what is kept for one is in one place, and not in each future through whose
/// hands it went.
pub(crate) fn serve<S>(
    stream: S,
    peer: Arc<Peer>,
    router: Router,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_patiently(stream, peer, router, stop, HEAD)
}

/// `patience`: how long a head may take.
fn serve_patiently<S>(
    stream: S,
    peer: Arc<Peer>,
    router: Router,
    mut stop: watch::Receiver<bool>,
    patience: Duration,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let progress = Arc::new(Progress::default());
    let seen = Arc::clone(&progress);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let answering = Answering::begin(&progress);
        request.extensions_mut().insert(Arc::clone(&peer));
        // A router is always ready.
        let answered = router.clone().call(request.map(Body::new));
        async move {
            let _answering = answering;
            answered.await
        }
    });
    let mut connection = Box::pin(
        http1::Builder::new()
            // Of a head that does not come, `idle` knows.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            // A client that has closed its side may still read.
            .half_close(true)
            .serve_connection(TokioIo::new(Impatient { stream, waiting: None }), service),
    );
    async move {
        tokio::select! {
            biased;
            // What goes wrong with a connection is the client's to notice.
            _ = connection.as_mut() => return,
            () = idle(&seen, patience) => return,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = idle(&seen, patience.min(HEAD_AT_STOP)) => {}
        }
    }
}

/// What a connection has done so far.
#[derive(Default)]
struct Progress {
    /// Requests that have begun.
    begun: AtomicU32,
    /// Requests that are answered.
    ended: AtomicU32,
}

/// A request, until its answer is there or nobody waits for it any more.
struct Answering(Arc<Progress>);

impl Answering {
    fn begin(progress: &Arc<Progress>) -> Self {
        progress.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(progress))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Comes back when the client owes the head of a request for too long.
async fn idle(progress: &Progress, patience: Duration) {
    let (mut before, mut looks) = (None, 0);
    while looks < LOOKS {
        tokio::time::sleep(patience / LOOKS).await;
        let (begun, ended) = (progress.begun.load(Ordering::Relaxed), progress.ended.load(Ordering::Relaxed));
        let waits = begun == ended && before == Some(begun);
        looks = if waits { looks + 1 } else { 0 };
        before = Some(begun);
    }
}

/// A stream that gives up on a reader who does not read.
struct Impatient<S> {
    stream: S,
    /// Set while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    /// Ends a write that waits for too long.
    fn watched<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watched(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watched(context, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_client_that_says_nothing_or_never_ends_is_let_go_and_one_that_asks_is_answered() {
        let start = |patience| {
            let (client, server) = tokio::io::duplex(4096);
            let (stop, stopped) = watch::channel(false);
            let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
            let serving = tokio::spawn(serve_patiently(server, Arc::new(Peer::Loopback), router, stopped, patience));
            (client, serving, stop)
        };
        let soon = Duration::from_millis(40);
        let (_silent, serving, _stop) = start(soon);
        serving.await.unwrap();

        let (mut slow, serving, _stop) = start(soon);
        slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        let trickle = tokio::spawn(async move {
            while slow.write_all(b"a").await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
        serving.await.unwrap();
        trickle.await.unwrap();

        let (mut client, serving, stop) = start(HEAD);
        for _ in 0..3 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut answer = [0; 1024];
            assert!(client.read(&mut answer).await.unwrap() > 0);
        }
        assert!(!serving.is_finished());
        stop.send(true).unwrap();
        serving.await.unwrap();
    }
}
