//! One HTTP/2 connection (RFC 9113), shared by the exchanges of one pool key.
//!
//! It runs in tasks of its own, since no single exchange could drive it for the others. They end with
//! the last holder.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::exchange::MAX_HEAD_BYTES;
use super::stream::{Stream, Wire};

/// What the server may send ahead on one stream, and on all: bounds what unread answers hold.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) struct Http2 {
    pub(super) sender: SendRequest<Full<Bytes>>,
    /// Dropping the last one ends the tasks.
    _tasks: Tasks,
}

type Tasks = Arc<Mutex<JoinSet<()>>>;

/// Runs hyper's tasks, tied to the connection. It holds them weakly: it is itself held by them.
#[derive(Clone)]
struct Tied(Weak<Mutex<JoinSet<()>>>);

impl Http2 {
    /// Speaks HTTP/2 on `wire`. Sends the preface and the settings.
    pub(super) async fn new(wire: Wire) -> hyper::Result<Self> {
        let (stream, _) = Stream::new(wire);
        let tasks = Tasks::default();
        let tied = Tied(Arc::downgrade(&tasks));
        let (sender, connection) = Builder::new(tied.clone())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
            .handshake(TokioIo::new(stream))
            .await?;
        tied.execute(async move {
            // Its error, if any, reaches whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Self { sender, _tasks: tasks })
    }

    /// Whether another request may be sent.
    pub(super) fn is_reusable(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2").finish_non_exhaustive()
    }
}

impl<F> Executor<F> for Tied
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            // hyper starts some for each request: those that have ended are not kept.
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                future.await;
            });
        }
    }
}
