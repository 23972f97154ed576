//! One HTTP/1.1 connection (RFC 9112), driven by whoever uses it.
//!
//! hyper's connection is polled inside the exchange and not by a task of its own. So an exchange that
//! is dropped takes its connection and socket with it at once, nothing is left running, and after an
//! answer it is known when hyper has let go of the memory that held it.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::exchange::MAX_HEAD_BYTES;
use super::stream::{BUFFER_BYTES, Meter, Stream, Wire};

/// One connection.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<Stream>, Full<Bytes>>>,
    pub(super) meter: Arc<Meter>,
}

impl Http1 {
    /// Speaks HTTP/1.1 on `wire`. Nothing is sent yet.
    pub(super) async fn new(wire: Wire) -> hyper::Result<Self> {
        let (stream, meter) = Stream::new(wire);
        // hyper's default of 100 fields is ours; saying so would make it allocate for each answer.
        let (sender, connection) = Builder::new()
            .max_header_size(MAX_HEAD_BYTES)
            // An answer's head fits. A fixed size makes hyper go back to the beginning of its buffer
            // before each read, so that `Stream` can wipe it.
            .read_buf_exact_size(Some(BUFFER_BYTES))
            // Else the body, often a secret, is copied into a buffer that is not wiped.
            .writev(true)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self { sender, connection: Some(connection), meter })
    }

    /// Awaits `future`, which needs the connection to be driven.
    pub(super) async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.poll(cx);
            future.as_mut().poll(cx)
        })
        .await
    }

    /// Whether another request may be sent. It may still turn out that the server has closed it.
    pub(super) fn is_reusable(&mut self) -> bool {
        // Also wipes what the last answer left in hyper's buffer: an idle connection is read from.
        self.poll(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(_) = Pin::new(connection).poll(cx)
        {
            // An error, if it was one, reaches whoever waits for the answer.
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            wipe(connection.into_parts().read_buf);
        }
    }
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.close();
    }
}

/// Wipes a piece of a body, and what lay before it in the same memory, if nobody else holds a part of
/// that. Where hyper still does, it is wiped with its next read or its end.
pub(super) fn wipe(piece: Bytes) {
    if let Ok(mut piece) = piece.try_into_mut() {
        piece.clear();
        // Goes back to the beginning of the allocation where that is hyper's buffer; never allocates.
        let _ = piece.try_reclaim(BUFFER_BYTES);
        piece.resize(piece.capacity(), 0);
        // Keeps the compiler from leaving out what nobody reads. `zeroize` would write 36 KiB byte by byte.
        black_box(piece.as_mut());
    }
}
