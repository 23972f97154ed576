//! What systemd passes and wants to know: sockets that it holds (`sd_listen_fds(3)`), and the server's state
//! (`sd_notify(3)`). Without systemd nothing of it is there, and nothing is said.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use strongroom::{Environment, Failure, Kind};
use strongroom_core::Name;

/// Sockets that were passed, by the names that the unit gives them (`FileDescriptorName=`): those of listeners.
#[derive(Default)]
pub(crate) struct Passed(BTreeMap<String, PassedSocket>);

/// One of them.
pub(crate) enum PassedSocket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Passed {
    /// Takes over what was passed to this very process.
    ///
    /// # Errors
    /// `server.activation` for a socket that is neither a Unix nor a TCP one, or has no name of its own.
    pub(crate) fn take(environment: &Environment) -> Result<Self, Failure> {
        let mut passed = ListenFd::from_env();
        let wrong = |message: String| {
            Failure::new(Kind::InvalidConfig, "server.activation", message)
                .help("give each socket unit the name of a listener: FileDescriptorName=main")
        };
        let names = environment.setting("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut all = BTreeMap::new();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let neither = |_| wrong(format!("the socket `{name}` that was passed cannot be used"));
            let socket = match passed.take_unix_listener(index) {
                Ok(Some(listener)) => {
                    listener.set_nonblocking(true).map_err(neither)?;
                    PassedSocket::Unix(listener)
                }
                _ => match passed.take_tcp_listener(index).map_err(neither)? {
                    Some(listener) => {
                        listener.set_nonblocking(true).map_err(neither)?;
                        PassedSocket::Tcp(listener)
                    }
                    None => continue,
                },
            };
            if Name::parse(name).is_err() || all.insert(name.to_owned(), socket).is_some() {
                return Err(wrong(format!("the socket `{name}` that was passed has no name of its own")));
            }
        }
        Ok(Self(all))
    }

    /// The socket of a listener, if it was passed.
    pub(crate) fn remove(&mut self, listener: &Name) -> Option<PassedSocket> {
        self.0.remove(listener.as_str())
    }

    /// A socket that no listener has taken.
    ///
    /// # Errors
    /// `server.activation`.
    pub(crate) fn all_taken(&self) -> Result<(), Failure> {
        let Some(name) = self.0.keys().next() else { return Ok(()) };
        let message = format!("a socket named `{name}` was passed, and no listener has that name");
        Err(Failure::new(Kind::InvalidConfig, "server.activation", message)
            .help(format!("write one, [listeners.{name}], or name the socket unit after one that there is")))
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Whoever wants to know listens; if nobody does, nothing is lost.
    let _ = sd_notify::notify(states);
}

/// Requests are answered from now on.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// A changed config is being read.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// No more requests are taken.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}
