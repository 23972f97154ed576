//! The bytes between hyper and a socket, counted, and wiped where hyper keeps them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How much was read since a request began, and how much may be.
#[derive(Debug, Default)]
pub(super) struct Meter {
    read: AtomicUsize,
    allowed: AtomicUsize,
}

impl Meter {
    /// Counts anew; reading fails once `allowed` bytes were read.
    pub(super) fn begin(&self, allowed: usize) {
        self.read.store(0, Ordering::Relaxed);
        self.allowed.store(allowed, Ordering::Relaxed);
    }

    /// Lets more through, all in all.
    pub(super) fn allow(&self, allowed: usize) {
        self.allowed.store(allowed, Ordering::Relaxed);
    }

    /// Bytes read since [`Meter::begin`].
    pub(super) fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether reading was stopped.
    pub(super) fn is_exceeded(&self) -> bool {
        self.read() >= self.allowed.load(Ordering::Relaxed)
    }
}

/// A connection's bytes, plain or through TLS.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A [`Wire`] with its [`Meter`].
#[derive(Debug)]
pub(super) struct Stream {
    wire: Wire,
    meter: Arc<Meter>,
    /// How much of hyper's buffer, at most, may hold bytes that were read.
    dirty: usize,
}

/// The size of the whole buffer that hyper reads HTTP/1.1 into; see [`Http1`](super::http1::Http1).
pub(super) const BUFFER_BYTES: usize = super::exchange::MAX_HEAD_BYTES + 4096;

impl Stream {
    pub(super) fn new(wire: Wire) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter::default());
        // HTTP/2 has its own windows; nobody counts for it.
        meter.allow(usize::MAX);
        (Self { wire, meter: meter.clone(), dirty: 0 }, meter)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.is_exceeded() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        // hyper reads into the memory that held the last answer, going back to its beginning. It hands
        // over only what is free of it, so that zeroing it wipes the secret of that answer.
        let free = buf.remaining();
        buf.initialize_unfilled_to(this.dirty.min(free));
        if free >= BUFFER_BYTES {
            this.dirty = 0;
        }
        let before = buf.filled().len();
        let polled = match &mut this.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let read = buf.filled().len().saturating_sub(before);
        this.dirty = this.dirty.saturating_add(read);
        this.meter.read.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
