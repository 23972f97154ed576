//! From a listener of the config to a socket that listens.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom::{Failure, Kind, Paths};
use strongroom_core::Name;
use strongroom_core::config::listeners::{At, Door, Listener, OpenTo};
use tokio::net::{TcpListener, UnixListener};

use super::tls::Certificate;
use super::{Bound, Socket, TlsFiles, unix};

/// Where a listener is, with every path absolute. Two that are equal need not be bound anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Socket { path: PathBuf, open_to: OpenTo },
    Tls { address: SocketAddr, files: TlsFiles },
    Loopback { address: SocketAddr },
}

impl Place {
    /// What the config says, with relative paths seen from `folder`.
    ///
    /// # Errors
    /// `server.socket` where the user has no folder for a socket.
    pub(crate) fn of(listener: &Listener, folder: &Path, paths: &Paths) -> Result<Self, Failure> {
        Ok(match &listener.at {
            At::Socket { path: Some(path), open_to } => Self::Socket { path: folder.join(path), open_to: *open_to },
            At::Socket { path: None, open_to } => {
                let path = paths.socket().ok_or_else(|| {
                    Failure::new(Kind::InvalidConfig, "server.socket", "there is no folder for the server's socket")
                        .help("set XDG_RUNTIME_DIR or HOME, or write a listener: [listeners.main] socket = \"...\"")
                })?;
                Self::Socket { path, open_to: *open_to }
            }
            At::Tls { address, tls } => Self::Tls {
                address: *address,
                files: TlsFiles {
                    certificate: folder.join(&tls.certificate),
                    key: folder.join(&tls.key),
                    client_ca: tls.client_ca.as_ref().map(|path| folder.join(path)),
                },
            },
            At::InsecureLoopback { address } => Self::Loopback { address: *address },
        })
    }
}

/// Binds a listener.
///
/// # Errors
/// `server.running`, `server.socket`, `server.tls`, and `server.address` for one that cannot be had.
pub(crate) async fn bind(name: &Name, place: &Place) -> Result<Bound, Failure> {
    let tcp = async |address: &SocketAddr| {
        TcpListener::bind(address).await.map_err(|error| {
            let failure = Failure::new(
                Kind::InvalidConfig,
                "server.address",
                format!("the listener {name} cannot listen on {address}: {error}"),
            );
            match error.kind() {
                std::io::ErrorKind::AddrInUse => failure.help("another program listens there; choose another port"),
                std::io::ErrorKind::PermissionDenied => failure.help("ports below 1024 need a right of their own"),
                _ => failure,
            }
        })
    };
    let socket = match place {
        Place::Socket { path, open_to } => {
            let (listener, file) = unix::listen(path, *open_to)?;
            let listener = UnixListener::from_std(listener).map_err(|error| {
                Failure::new(Kind::Internal, "server.socket", format!("{} cannot be used: {error}", path.display()))
            })?;
            Socket::Unix { listener, open_to: *open_to, _file: Some(file) }
        }
        Place::Tls { address, files } => {
            let certificate = Certificate::read(files.clone())?;
            Socket::Tcp { listener: tcp(address).await?, certificate: Some(Arc::new(certificate)) }
        }
        Place::Loopback { address } => Socket::Tcp { listener: tcp(address).await?, certificate: None },
    };
    Ok(Bound { name: name.clone(), socket })
}

/// The doors of a listener, for people.
pub(crate) fn doors(doors: &BTreeSet<Door>) -> String {
    doors.iter().map(|door| door.name()).collect::<Vec<_>>().join(", ")
}
