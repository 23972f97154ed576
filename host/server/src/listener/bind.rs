//! From a listener of the config to a socket that listens.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use strongroom::{Failure, Kind, Paths};
use strongroom_core::Name;
use strongroom_core::config::listeners::{At, Door, Listener, OpenTo};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{SocketFile, tls, unix};

/// What a listener is bound to. While it stays the same, what is served there changes without a new socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Socket(PathBuf),
    Address(SocketAddr),
}

/// A socket that listens.
pub(crate) enum Socket {
    /// A Unix socket; the file goes away with it.
    Unix { listener: UnixListener, _file: SocketFile },
    /// TCP.
    Tcp(TcpListener),
}

/// A connection that was accepted.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
        }
    }
}

/// A listener of the config, with every file of it read.
pub(crate) struct Wanted {
    pub(crate) place: Place,
    pub(crate) doors: BTreeSet<Door>,
    /// Of an address: its certificate; without one it is on loopback.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Of a Unix socket.
    pub(crate) open_to: OpenTo,
    /// The files that were read.
    pub(crate) files: Vec<PathBuf>,
}

impl Wanted {
    /// What the config says, with relative paths seen from `folder`.
    ///
    /// # Errors
    /// `server.socket` where the user has no folder for a socket; `server.tls` for a file that cannot be used.
    pub(crate) fn of(listener: &Listener, folder: &Path, paths: &Paths) -> Result<Self, Failure> {
        let mut wanted = Self {
            place: Place::Socket(PathBuf::new()),
            doors: listener.doors.clone(),
            tls: None,
            open_to: OpenTo::User,
            files: Vec::new(),
        };
        match &listener.at {
            At::Socket { path, open_to } => {
                let path = match path {
                    Some(path) => folder.join(path),
                    None => paths.socket().ok_or_else(|| {
                        let message = "there is no folder for the server's socket";
                        Failure::new(Kind::InvalidConfig, "server.socket", message)
                            .help("set XDG_RUNTIME_DIR or HOME, or write a listener: [listeners.main] socket = \"...\"")
                    })?,
                };
                wanted.place = Place::Socket(path);
                wanted.open_to = *open_to;
            }
            At::Tls { address, tls } => {
                wanted.place = Place::Address(*address);
                let files = tls::Files {
                    certificate: folder.join(&tls.certificate),
                    key: folder.join(&tls.key),
                    client_ca: tls.client_ca.as_ref().map(|path| folder.join(path)),
                };
                wanted.tls = Some(Arc::new(files.read()?));
                wanted.files = [files.certificate, files.key].into_iter().chain(files.client_ca).collect();
            }
            At::InsecureLoopback { address } => wanted.place = Place::Address(*address),
        }
        Ok(wanted)
    }

    /// Where it is, and its doors, for people. `socket` tells the port where the config leaves that to the system.
    pub(crate) fn shown(&self, socket: Option<&Socket>) -> (String, String) {
        let place = match &self.place {
            Place::Socket(path) => path.display().to_string(),
            Place::Address(address) => {
                let bound = match socket {
                    Some(Socket::Tcp(listener)) => listener.local_addr().ok(),
                    _ => None,
                };
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", bound.unwrap_or(*address))
            }
        };
        (place, self.doors.iter().map(|door| door.name()).collect::<Vec<_>>().join(", "))
    }
}

/// Binds a listener.
///
/// # Errors
/// `server.running`, `server.socket`, and `server.address` for one that cannot be had.
pub(crate) async fn bind(name: &Name, wanted: &Wanted) -> Result<Socket, Failure> {
    match &wanted.place {
        Place::Socket(path) => {
            let (listener, file) = unix::listen(path, wanted.open_to)?;
            let listener = UnixListener::from_std(listener).map_err(|error| {
                Failure::new(Kind::Internal, "server.socket", format!("{} cannot be used: {error}", path.display()))
            })?;
            Ok(Socket::Unix { listener, _file: file })
        }
        Place::Address(address) => TcpListener::bind(address).await.map(Socket::Tcp).map_err(|error| {
            let message = format!("the listener {name} cannot listen on {address}: {error}");
            let failure = Failure::new(Kind::InvalidConfig, "server.address", message);
            match error.kind() {
                io::ErrorKind::AddrInUse => failure.help("another program listens there; choose another port"),
                io::ErrorKind::PermissionDenied => failure.help("ports below 1024 need a right of their own"),
                _ => failure,
            }
        }),
    }
}
