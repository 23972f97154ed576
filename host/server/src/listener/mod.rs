//! Listening: what is bound, and who is at the other end of what is accepted.
//!
//! Each kind of listener knows its callers in its own way; none of them trusts what a request says of its sender.

mod bind;
pub(crate) mod tls;
mod unix;

use std::path::PathBuf;
use std::sync::Arc;

use strongroom_core::config::listeners::OpenTo;
use tokio::net::{TcpListener, UnixListener};

pub(crate) use self::bind::{Place, bind, doors};
use self::tls::Certificate;
pub(crate) use self::unix::SocketFile;
pub use self::unix::default_socket;

/// What is bound and not yet served.
pub(crate) struct Bound {
    /// Its name in the config.
    pub(crate) name: strongroom_core::Name,
    pub(crate) socket: Socket,
}

/// A socket that listens.
pub(crate) enum Socket {
    /// A Unix socket; the file goes away with it.
    Unix { listener: UnixListener, open_to: OpenTo, _file: Option<SocketFile> },
    /// TCP, with TLS or, on loopback, without.
    Tcp { listener: TcpListener, certificate: Option<Arc<Certificate>> },
}

impl Socket {
    /// The certificate of a TLS listener.
    pub(crate) fn certificate(&self) -> Option<Arc<Certificate>> {
        match self {
            Self::Unix { .. } => None,
            Self::Tcp { certificate, .. } => certificate.clone(),
        }
    }
}

/// Who is at the other end of a connection, as far as the connection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process of this machine: its user and groups when it connected.
    Unix { uid: u32, gids: Vec<u32> },
    /// Somebody with a certificate of the listener's authorities: the DNS and URI names in it.
    Certificate { names: Vec<String> },
    /// Somebody on the network, over TLS.
    Network,
    /// A program of this machine, which nothing tells from others.
    Loopback,
}

/// Where a listener is reached, for people.
pub(crate) fn shown(place: &Place) -> String {
    match place {
        Place::Socket { path, .. } => path.display().to_string(),
        Place::Tls { address, .. } => format!("https://{address}"),
        Place::Loopback { address } => format!("http://{address}"),
    }
}

/// Paths of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: Option<PathBuf>,
}
