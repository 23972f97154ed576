//! From a listener of the config to a socket that listens.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use strongroom::{Failure, Kind, Paths};
use strongroom_core::Name;
use strongroom_core::config::listeners::{At, Door, Listener, OpenTo};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::tls::{self, Tls};
use super::{SocketFile, unix};
use crate::systemd::PassedSocket;
use crate::watched::Watched;

/// What a listener is bound to. While it stays the same, what is served there changes without a new socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Socket(PathBuf),
    Address(SocketAddr),
}

impl Place {
    /// Whether both are the same one, however they are written.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let known = |path: &Path| {
            let folder = std::fs::metadata(path.parent()?).ok()?;
            Some((folder.dev(), folder.ino(), path.file_name()?.to_owned()))
        };
        match (self, other) {
            (Self::Socket(one), Self::Socket(two)) => {
                one == two || known(one).is_some_and(|one| Some(one) == known(two))
            }
            (Self::Address(one), Self::Address(two)) => one == two,
            (Self::Socket(_), Self::Address(_)) | (Self::Address(_), Self::Socket(_)) => false,
        }
    }

    /// Whether there cannot be listeners at both.
    pub(crate) fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(two)) => {
                let all = one.ip().is_unspecified() || two.ip().is_unspecified();
                let both = one.is_ipv4() == two.is_ipv4();
                one.port() != 0 && one.port() == two.port() && (one == two || all && both)
            }
            _ => self.is(other),
        }
    }

    /// Whether the system chooses the port: then two that read alike are two.
    pub(crate) fn is_chosen_by_system(&self) -> bool {
        matches!(self, Self::Address(address) if address.port() == 0)
    }
}

/// A socket that was passed, and so is not ours to make, to move or to open to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Unix,
    Tcp(SocketAddr),
}

impl Held {
    /// Whether the listener `name`, for which it was passed, is to be there still, and can be there.
    ///
    /// # Errors
    /// `server.activation`.
    pub(crate) fn fits(&self, name: &Name, wanted: Option<&Wanted>) -> Result<(), Failure> {
        let wrong = |why: &str| {
            let message = format!("the socket that was passed for the listener {name} {why}");
            Err(Failure::new(Kind::InvalidConfig, "server.activation", message))
        };
        match (wanted.map(|wanted| &wanted.place), self) {
            (None, _) => wrong("has no listener any more; stop its socket unit, and start the server anew"),
            (Some(Place::Socket(_)), Self::Unix) => Ok(()),
            // The config vouches for its own address, not for what was passed in its place.
            (Some(Place::Address(_)), Self::Tcp(address)) => {
                match wanted.is_some_and(|wanted| wanted.tls.is_some()) || address.ip().is_loopback() {
                    true => Ok(()),
                    false => wrong("is not on loopback, and has no TLS"),
                }
            }
            (Some(_), _) => wrong("is of another kind"),
        }
    }
}

/// A socket that listens.
pub(crate) enum Socket {
    /// A Unix socket; a file that it made goes away with it.
    Unix { listener: UnixListener, file: Option<SocketFile> },
    /// TCP.
    Tcp { listener: TcpListener, passed: bool },
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
            Self::Tcp { listener, .. } => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
        }
    }

    /// The port that it has, if any.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Unix { .. } => None,
            Self::Tcp { listener, .. } => listener.local_addr().ok().map(|address| address.port()),
        }
    }

    /// Which one was passed; `None` of one that was made here.
    pub(crate) fn held(&self) -> Option<Held> {
        match self {
            Self::Unix { file, .. } => file.is_none().then_some(Held::Unix),
            Self::Tcp { listener, passed } => listener.local_addr().ok().filter(|_| *passed).map(Held::Tcp),
        }
    }
}

/// A listener of the config, with every file of it read.
pub(crate) struct Wanted {
    pub(crate) place: Place,
    pub(crate) doors: BTreeSet<Door>,
    /// Of an address: its certificate; without one it is on loopback.
    pub(crate) tls: Option<Tls>,
    /// Of a Unix socket.
    pub(crate) open_to: OpenTo,
}

impl Wanted {
    /// What the config says, with relative paths seen from `folder`. Its files are `watched`.
    ///
    /// # Errors
    /// `server.socket` where the user has no folder for a socket; `server.tls` for a file that cannot be used.
    pub(crate) fn of(
        listener: &Listener,
        folder: &Path,
        paths: &Paths,
        watched: &mut Watched,
    ) -> Result<Self, Failure> {
        let mut wanted = Self {
            place: Place::Socket(PathBuf::new()),
            doors: listener.doors.clone(),
            tls: None,
            open_to: OpenTo::User,
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
                    // The numbers are for whoever can reach them: there, the certificate alone says who that is.
                    needs_client: listener.doors.contains(&Door::Metrics),
                };
                for path in [&files.certificate, &files.key].into_iter().chain(&files.client_ca) {
                    watched.before_reading(path);
                }
                wanted.tls = Some(files.read()?);
            }
            At::InsecureLoopback { address } => wanted.place = Place::Address(*address),
        }
        Ok(wanted)
    }

    /// Where it is, and its doors, for people. `socket` tells the port where the config leaves that to the system.
    pub(crate) fn shown(&self, socket: Option<&Socket>) -> (String, String) {
        let place = match &self.place {
            Place::Socket(path) => {
                let passed = match socket {
                    Some(Socket::Unix { listener, file: None }) => listener.local_addr().ok(),
                    _ => None,
                };
                let passed = passed.as_ref().and_then(|address| address.as_pathname());
                passed.unwrap_or(path).display().to_string()
            }
            Place::Address(address) => {
                let bound = match socket {
                    Some(Socket::Tcp { listener, .. }) => listener.local_addr().ok(),
                    _ => None,
                };
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", bound.unwrap_or(*address))
            }
        };
        (place, self.doors.iter().map(|door| door.name()).collect::<Vec<_>>().join(", "))
    }
}

/// Binds a listener, of a server that already has the ports `among`.
///
/// # Errors
/// `server.running`, `server.socket`, and `server.address` for one that cannot be had; `server.activation` for a passed
/// socket of another kind.
pub(crate) async fn bind(
    name: &Name,
    wanted: &Wanted,
    passed: Option<PassedSocket>,
    among: &[u16],
) -> Result<Socket, Failure> {
    let unusable = |error: io::Error| {
        Failure::new(Kind::Internal, "server.socket", format!("the listener {name} cannot be used: {error}"))
    };
    match passed {
        None => {}
        // Whoever passes it has made it, and removes it.
        Some(PassedSocket::Unix(listener)) => {
            Held::Unix.fits(name, Some(wanted))?;
            let listener = UnixListener::from_std(listener).map_err(unusable)?;
            return Ok(Socket::Unix { listener, file: None });
        }
        Some(PassedSocket::Tcp(listener)) => {
            Held::Tcp(listener.local_addr().map_err(unusable)?).fits(name, Some(wanted))?;
            let listener = TcpListener::from_std(listener).map_err(unusable)?;
            return Ok(Socket::Tcp { listener, passed: true });
        }
    }
    match &wanted.place {
        Place::Socket(path) => {
            let (listener, file) = unix::listen(path, wanted.open_to)?;
            let listener = UnixListener::from_std(listener).map_err(|error| {
                Failure::new(Kind::Internal, "server.socket", format!("{} cannot be used: {error}", path.display()))
            })?;
            Ok(Socket::Unix { listener, file: Some(file) })
        }
        Place::Address(address) => {
            let bound = TcpListener::bind(address).await;
            bound.map(|listener| Socket::Tcp { listener, passed: false }).map_err(|error| {
                let message = format!("the listener {name} cannot listen on {address}: {error}");
                let failure = Failure::new(Kind::InvalidConfig, "server.address", message);
                match error.kind() {
                    io::ErrorKind::AddrInUse if among.contains(&address.port()) => {
                        failure.help("this server itself has that port, at another address: restart it")
                    }
                    io::ErrorKind::AddrInUse => failure.help("another program listens there; choose another port"),
                    io::ErrorKind::PermissionDenied => failure.help("ports below 1024 need a right of their own"),
                    _ => failure,
                }
            })
        }
    }
}
